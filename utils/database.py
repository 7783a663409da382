"""The department's database: one writer at a time, and errors in a sentence.

SQLite in a file under the home folder, unless `PNEUMOSCOPE_DATABASE_URL` names another database. Both kinds behave
alike: a transaction has the database's one write lock from its start (SQLite's own, an advisory lock on PostgreSQL),
so that what it has looked up still holds when it writes; readers wait for nobody and see one moment throughout. The
schema is brought up to date when a process first opens a database.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from utils.settings import get_settings

log = logging.getLogger(__name__)

FILE = "pneumoscope.db"
"""Name of the SQLite database under the home folder."""
LONGEST_WAIT = 15.0
"""Seconds that a writer waits for those before it."""
LONGEST_PAUSE = 60
"""Seconds after which PostgreSQL ends the transaction of a process that has gone silent, and lets others write."""
MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_WRITE_LOCK = 5_065_872_301


class DatabaseError(RuntimeError):
    """The database could not do it; one sentence for the user."""


class Conflict(DatabaseError):  # noqa: N818 - it is no error of the program
    """Somebody else changed the same thing in the meantime; nothing was saved."""


@dataclass(frozen=True)
class _Database:
    """An open database with its schema up to date; `file` tells SQLite's file from another put in its place."""

    writing: Engine
    reading: Engine
    file: tuple[int, int] | None


_databases: dict[URL, _Database] = {}
_opening = threading.Lock()
_this_thread = threading.local()


@contextmanager
def transaction() -> Iterator[Session]:
    """A session that writes: commits at the end, takes everything back on an error.

    No other transaction runs beside it, in whatever process: keep it short. What it has loaded stays readable.

    Raises:
        Conflict: what was to be changed has been changed or removed by somebody else in the meantime.
        DatabaseError: the database is busy, full, gone, or newer than the program.
        SettingsError: a setting cannot be used.
        RuntimeError: this thread is in a transaction already, and would wait for itself.
    """
    if getattr(_this_thread, "writes", False):
        raise RuntimeError("A transaction within a transaction would wait for itself: hand the session on.")
    _this_thread.writes = True
    commits = False
    try:
        with Session(_open().writing, expire_on_commit=False) as session:
            session.connection()  # the write lock, before anything is looked up
            yield session
            session.flush()
            commits = True
            session.commit()
    except (StaleDataError, exc.DBAPIError, exc.TimeoutError) as error:
        raise _in_a_sentence(error, commits=commits) from _without_data(error)
    finally:
        _this_thread.writes = False


@contextmanager
def snapshot() -> Iterator[Session]:
    """A session that only reads, and sees one moment of the database, whatever is written meanwhile.

    Raises:
        DatabaseError, SettingsError: as `transaction`.
    """
    try:
        with Session(_open().reading, expire_on_commit=False) as session:
            yield session
    except (exc.DBAPIError, exc.TimeoutError) as error:
        sentence = str(_in_a_sentence(error)).replace(_NOTHING_SAVED, "")
        raise DatabaseError(sentence) from _without_data(error)


def close() -> None:
    """Let go of all databases; the next transaction opens its own anew."""
    with _opening:
        for known in _databases.values():
            known.writing.dispose()
        _databases.clear()


def _open() -> _Database:
    settings = get_settings()
    if settings.database_url is None:
        url = URL.create("sqlite", database=str(settings.home / FILE))
    else:
        url = make_url(settings.database_url)
        if url.drivername.startswith("postgres"):
            url = url.set(drivername="postgresql+psycopg")
    known = _databases.get(url)
    if known is not None and known.file == _identity(url):
        return known
    with _opening:
        known = _databases.get(url)
        file = _identity(url)
        if known is not None:
            if known.file == file:
                return known
            if file is None:
                raise DatabaseError(
                    "The database file is gone, and nothing was saved: put it back, or start the program anew."
                )
            log.warning("another database file has taken the place of the one in use")
            known.writing.dispose()
        engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
        try:
            _bring_up_to_date(engine)
        except (exc.DBAPIError, exc.TimeoutError) as error:
            engine.dispose()
            raise _in_a_sentence(error) from _without_data(error)
        except DatabaseError:
            engine.dispose()
            raise
        reads: dict[str, Any] = {"reads": True}
        if url.get_backend_name() == "postgresql":
            reads |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        opened = _Database(engine, engine.execution_options(**reads), _identity(url))
        _databases[url] = opened
        return opened


def _identity(url: URL) -> tuple[int, int] | None:
    """Device and inode of SQLite's file; None where there is none, and for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    try:
        found = os.stat(url.database or "")  # noqa: PTH116 - at each transaction: no Path is built
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sqlite(url: URL) -> Engine:
    file = Path(url.database or "")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=True)  # SQLite gives its side files the same rights
    except OSError as error:
        raise DatabaseError(
            f"The database file {file} cannot be made ({error.strerror}): ask your administrator to make its folder"
            " writable."
        ) from None
    engine = create_engine(
        url, connect_args={"timeout": LONGEST_WAIT, "isolation_level": None}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # what was committed survives a power cut
        connection.execute("PRAGMA secure_delete = ON")  # what was deleted is overwritten with zeros

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        # Changing a table rebuilds it; with foreign keys on, that would delete what refers to its rows.
        keys = "OFF" if options.get("migrates") else "ON"
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {keys}")
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if options.get('reads') else 'OFF'}")
        connection.exec_driver_sql("BEGIN" if options.get("reads") else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = max(2, round(LONGEST_WAIT))
    if "options" not in url.query:
        arguments["options"] = (
            f"-c lock_timeout={round(1000 * LONGEST_WAIT)} -c idle_in_transaction_session_timeout={LONGEST_PAUSE}s"
        )
    engine = create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_timeout=LONGEST_WAIT, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("reads"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    return engine


def _bring_up_to_date(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    newest = set(script.get_heads())

    def heads(connection: Connection) -> set[str]:
        return set(MigrationContext.configure(connection).get_current_heads())

    with engine.execution_options(reads=True).connect() as connection:
        if heads(connection) == newest:
            return
    with engine.execution_options(migrates=True).connect() as connection, connection.begin():
        current = heads(connection)  # anew: another process may have been quicker
        if current == newest:
            return
        if unknown := current - {revision.revision for revision in script.walk_revisions()}:
            raise DatabaseError(
                f"The database was made by a newer Pneumoscope (schema {', '.join(sorted(unknown))}): install that"
                " one, or restore the backup from before it."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise DatabaseError(
                "The database could not be brought up to date, and was left as it is: some of its rows refer to rows"
                " that are missing. Restore a backup."
            )
        log.info("database schema brought from %s to %s", ", ".join(current) or "nothing", ", ".join(newest))


_NOTHING_SAVED = ", and nothing was saved"
_SQLITE = {
    "SQLITE_BUSY": f"The database is busy{_NOTHING_SAVED}: try again in a moment.",
    "SQLITE_LOCKED": f"The database is busy{_NOTHING_SAVED}: try again in a moment.",
    "SQLITE_FULL": f"The disk with the database is full{_NOTHING_SAVED}: free some space, then try again.",
    "SQLITE_IOERR": (
        f"The disk with the database does not take anything{_NOTHING_SAVED}: it may be full or damaged; look at"
        " it, then try again."
    ),
    "SQLITE_READONLY": (
        f"The database file may not be written to{_NOTHING_SAVED}: ask your administrator to make it writable."
    ),
    "SQLITE_CANTOPEN": (
        f"The database file cannot be opened{_NOTHING_SAVED}: ask your administrator whether its disk is there."
    ),
    "SQLITE_CORRUPT": f"The database file is damaged{_NOTHING_SAVED}: restore a backup.",
    "SQLITE_NOTADB": f"The database file is damaged{_NOTHING_SAVED}: restore a backup.",
}
_POSTGRESQL = {
    "53100": _SQLITE["SQLITE_FULL"],
    "53": f"The database server is overloaded{_NOTHING_SAVED}: try again in a moment.",
    "55P03": _SQLITE["SQLITE_BUSY"],
    "40": _SQLITE["SQLITE_BUSY"],
    "25006": f"The database may not be written to{_NOTHING_SAVED}: ask your administrator.",
    "42501": "The database server does not permit it: give the program's user the right to make and change tables.",
}
_GONE = (
    f"The database cannot be reached{_NOTHING_SAVED}: try again in a moment, and tell your administrator if it stays"
    " away."
)
_CUT_OFF = "The database went away while it was saving: look whether the last change is there before you make it again."
_CHANGED = f"Somebody else has changed this in the meantime{_NOTHING_SAVED}: look at it anew, then decide."
_UNEXPECTED = (
    f"The database did not take it{_NOTHING_SAVED}: ask your administrator to look at the server's log."
)
_SIMULTANEOUS = {
    "SQLITE_CONSTRAINT_UNIQUE",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_FOREIGNKEY",
    "23505",  # unique
    "23503",  # foreign key
}


def _in_a_sentence(
    error: StaleDataError | exc.DBAPIError | exc.TimeoutError, *, commits: bool = False
) -> DatabaseError:
    if isinstance(error, StaleDataError):
        return Conflict(_CHANGED)
    if isinstance(error, exc.TimeoutError):
        return DatabaseError(_SQLITE["SQLITE_BUSY"])
    original = error.orig
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or ""
    diagnosis = getattr(original, "diag", None)  # PostgreSQL's full message may quote a row
    reason = getattr(diagnosis, "message_primary", None) or str(original)
    log.error("%s %s: %s", type(original).__name__, code, reason.strip().split("\n")[0])
    if isinstance(error, exc.IntegrityError) and code in _SIMULTANEOUS:
        return Conflict(_CHANGED)
    if code.startswith("SQLITE"):
        main = "_".join(code.split("_")[:2])
        return DatabaseError(_SQLITE.get(main, _UNEXPECTED))
    if sentence := _POSTGRESQL.get(code) or _POSTGRESQL.get(code[:2]):
        return DatabaseError(sentence)
    lost = error.connection_invalidated or code.startswith(("08", "57P")) or not code
    if lost and isinstance(error, exc.OperationalError | exc.InterfaceError):
        return DatabaseError(_CUT_OFF if commits else _GONE)
    return DatabaseError(_UNEXPECTED)


def _without_data(error: Exception) -> Exception | None:
    """The error as a cause for the log; none where its text may quote what was to be saved."""
    return None if isinstance(error, exc.IntegrityError | exc.DataError) else error
