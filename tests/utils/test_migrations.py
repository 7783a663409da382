"""That the migrations, one after the other, make what `utils.tables` says, and keep what is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, select, text

from utils import audit_trail, database
from utils.database import DatabaseError, snapshot, transaction
from utils.settings import get_settings
from utils.tables import Account, Case, CaseChange, CaseReading, Choice, SignIn, Table


def bare_engine() -> Engine:
    """The department's database, as it lies there: nobody brings it up to date."""
    settings = get_settings()
    if settings.database_url is None:
        settings.home.mkdir(parents=True, exist_ok=True)
        return create_engine(f"sqlite:///{settings.home / database.FILE}")
    return create_engine(settings.database_url.replace("postgresql:", "postgresql+psycopg:"))


@contextmanager
def bare_connection() -> Iterator[Connection]:
    engine = bare_engine()
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(database.MIGRATIONS))
    return made


def upgrade(connection: Connection, revision: str) -> None:
    configuration = config()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, revision)


def schema(connection: Connection) -> dict[str, Any]:
    """All that the database knows of its tables, as text."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table)
            ),
            "key": inspector.get_pk_constraint(table),
            "foreign": sorted(map(str, inspector.get_foreign_keys(table))),
            "unique": sorted(map(str, inspector.get_unique_constraints(table))),
            "indexes": sorted(map(str, inspector.get_indexes(table))),
            "checks": sorted(map(str, inspector.get_check_constraints(table))),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_the_migrations_make_the_tables(department_database: str) -> None:
    with snapshot():
        pass  # the first to open it brings it up to date
    with bare_connection() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Table.metadata) == []
        migrated = schema(connection)
        assert set(migrated) == set(Table.metadata.tables)
        Table.metadata.drop_all(connection)
        Table.metadata.create_all(connection)
        assert migrated == schema(connection)


def test_there_is_one_line_of_migrations() -> None:
    script = ScriptDirectory.from_config(config())
    assert [revision.revision for revision in script.walk_revisions()][-2:] == ["0002", "0001"]
    assert len(script.get_heads()) == 1


WHEN = "2026-11-20 08:15:00.000123+00:00"
EARLIER = (
    "INSERT INTO accounts (id, name, title, roles, password, active, must_change, created, failures)"
    f""" VALUES (7, 'ada', 'Dr Ada', '["clinician", "admin"]', 'argon', true, false, '{WHEN}', 2)""",
    "INSERT INTO sign_ins (token, account_id, created, seen, address)"
    f" VALUES ('{'5' * 64}', 7, '{WHEN}', '{WHEN}', '10.1.2.3')",
    """INSERT INTO choices (name, value) VALUES ('saving', '{"is": "records"}')""",
    'INSERT INTO audit_lines (id, "when", who, address, event, subject, before, after, previous, hash)'
    f""" VALUES (1, '{WHEN}', 'ada', '10.1.2.3', 'setting', 'saving', '{{}}', '{{"is": "records"}}', '{"0" * 64}',"""
    " '19123c87fdd56c58753d21795f7603b1c4091362c0246faa8a73fff71564d9c5')",
)
"""What a database held before there were cases."""


def test_an_earlier_schema_with_data(department_database: str) -> None:
    with bare_connection() as connection:
        upgrade(connection, "0001")
        assert "cases" not in schema(connection)
        for statement in EARLIER:
            connection.execute(text(statement.replace(":", "\\:")))
    with snapshot() as session:
        account = session.scalars(select(Account)).one()
        assert (account.id, account.name, account.roles) == (7, "ada", ["clinician", "admin"])
        assert account.active and account.failures == 2 and account.locked_until is None
        assert account.created == datetime(2026, 11, 20, 8, 15, 0, 123, tzinfo=UTC)
        assert session.scalars(select(SignIn)).one().account_id == 7
        assert session.get_one(Choice, "saving").value == {"is": "records"}
        assert session.scalars(select(Case)).all() == []
    # The hash was computed by the program of that time: a change of how it is computed would show here.
    assert audit_trail.verify().lines == 1
    assert audit_trail.verify().whole
    with transaction() as session:
        session.delete(session.get_one(Account, 7))
        session.add(make_case())
    with snapshot() as session:
        assert session.scalars(select(SignIn)).all() == [], "goes with its account"
        assert session.scalars(select(Case)).one().readings[0].probability == 0.25


def make_case() -> Case:
    when = datetime(2026, 11, 20, tzinfo=UTC)
    return Case(
        pseudonym="K7M2-QX4D",
        image="a" * 64,
        created=when,
        by="ada",
        version="tiny",
        network="b" * 64,
        probability=0.25,
        threshold=0.5,
        readings=[
            CaseReading(
                when=when, by="ada", version="tiny", network="b" * 64, probability=0.25, threshold=0.5
            )
        ],
        changes=[CaseChange(when=when, by="ada", before={}, after={"verdict": "NORMAL"})],
    )


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "$HEAD"


def upgrade() -> None:
    with op.batch_alter_table("cases") as table:
        table.alter_column("note", existing_type=sa.Text(), type_=sa.String(4000), existing_nullable=False)
        table.add_column(sa.Column("bed", sa.String(20), nullable=True))
    op.execute("$LAST")
"""


def with_next(folder: Path, monkeypatch: pytest.MonkeyPatch, *, last: str) -> None:
    """The program as it will be one day: with a migration more, which ends with the statement `last`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(database.__file__).parent / "migrations", folder)
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    head = ScriptDirectory.from_config(config()).get_current_head()
    script = NEXT.replace("$HEAD", str(head)).replace("$LAST", last)
    (folder / "versions" / "m9001_next.py").write_text(script)


def test_a_later_migration_keeps_what_refers_to_a_table_it_makes_anew(
    department_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction() as session:
        session.add(make_case())
    database.close()
    now = database.MIGRATIONS
    with_next(tmp_path / "next", monkeypatch, last="INSERT INTO nowhere VALUES (1)")
    with pytest.raises(DatabaseError, match="did not take it"), snapshot():
        pass
    with bare_connection() as connection:
        assert "bed" not in {column["name"] for column in inspect(connection).get_columns("cases")}
        assert MigrationContext.configure(connection).get_current_heads() != ("9001",)
    with_next(tmp_path / "next", monkeypatch, last="UPDATE cases SET bed = 'window'")
    with snapshot() as session:
        case = session.scalars(select(Case)).one()
        assert [reading.probability for reading in case.readings] == [0.25]
        assert [change.after for change in case.changes] == [{"verdict": "NORMAL"}]
        assert session.execute(text("SELECT bed FROM cases")).scalar_one() == "window"
    with transaction() as session:
        session.delete(session.scalars(select(Case)).one())
    with snapshot() as session:
        assert session.scalars(select(CaseReading)).all() == [], "what refers to a case still goes with it"
    database.close()
    monkeypatch.setattr(database, "MIGRATIONS", now)
    with pytest.raises(DatabaseError, match=r"made by a newer Pneumoscope \(schema 9001\)"), snapshot():
        pass
