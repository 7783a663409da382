from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text

from tests.database_writer import write
from tests.postgresql import Server
from utils import database
from utils.audit_trail import verify
from utils.database import Conflict, DatabaseError, snapshot, transaction
from utils.settings import PROJECT, SettingsError, get_settings
from utils.tables import AuditLine, Choice


def put(name: str, value: object = 1) -> None:
    with transaction() as session:
        session.merge(Choice(name=name, value={"is": value}))


def names() -> list[str]:
    with snapshot() as session:
        return list(session.scalars(select(Choice.name).order_by(Choice.name)))


def in_another_thread(action: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    yield tmp_path / "home"
    database.close()


def test_a_transaction_is_kept_whole_or_not_at_all(department_database: str) -> None:
    put("first")

    def fail() -> None:
        with transaction() as session:
            session.add(Choice(name="second", value={}))
            session.flush()
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names() == ["first"]
    with transaction() as session:
        kept = session.get_one(Choice, "first")
    assert kept.value == {"is": 1}, "what was loaded is readable afterwards"


def test_what_a_snapshot_sees_stays_as_it_is(department_database: str) -> None:
    put("before")
    with snapshot() as session:
        count = select(func.count()).select_from(Choice)
        assert session.scalar(count) == 1
        in_another_thread(lambda: put("meanwhile"))
        assert session.scalar(count) == 1
    assert names() == ["before", "meanwhile"]


def test_a_snapshot_does_not_write(department_database: str) -> None:
    put("before")
    with pytest.raises(DatabaseError, match="may not be written to"), snapshot() as session:
        session.execute(delete(Choice))
    put("still possible")
    assert names() == ["before", "still possible"]


def test_one_writer_at_a_time(department_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LONGEST_WAIT", 0.1)
    with transaction() as session:
        session.add(Choice(name="mine", value={}))
        with pytest.raises(DatabaseError, match="is busy, and nothing was saved"):
            in_another_thread(lambda: put("theirs"))
        with pytest.raises(RuntimeError, match="within a transaction"):
            put("my own again")
    put("theirs")
    assert names() == ["mine", "theirs"]


def test_the_same_thing_added_twice_is_a_conflict(department_database: str) -> None:
    put("name")
    with pytest.raises(Conflict, match="Somebody else has changed this"), transaction() as session:
        session.add(Choice(name="name", value={}))
    with pytest.raises(DatabaseError) as found, transaction() as session:
        session.execute(text("INSERT INTO choices (name) VALUES ('somebody''s words')"))
    assert not isinstance(found.value, Conflict)
    assert found.value.__cause__ is None, "the database's own message may quote what was to be saved"


def start_writer(name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.database_writer", name, str(count)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_all_is_whole(*, at_least: int) -> int:
    """Every choice has its line in the trail and is counted once; gives how many there are."""
    with snapshot() as session:
        kept = set(session.scalars(select(Choice.name).where(Choice.name != "counter")))
        counted = session.get_one(Choice, "counter").value["is"]
        subjects = list(session.scalars(select(AuditLine.subject).order_by(AuditLine.id)))
    assert sorted(subjects) == sorted(kept)
    assert counted == len(kept) >= at_least
    found = verify()
    assert found.whole and found.lines == counted
    return counted


def test_many_processes_at_once_lose_nothing(department_database: str) -> None:
    """They start with no database at all, so that they also bring it up to date all at once."""
    writers = [start_writer(name, 16) for name in ("a", "b", "c")]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert assert_all_is_whole(at_least=48) == 48


def test_a_process_killed_while_it_writes_leaves_nothing_half_done(department_database: str) -> None:
    writer = start_writer("killed", 1_000_000)
    assert writer.stdout is not None
    for _ in range(3):
        assert writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    written = 3 + len(writer.stdout.readlines())
    writer.wait()
    assert_all_is_whole(at_least=written)
    write("next", 2)
    assert_all_is_whole(at_least=written + 2)


def test_a_process_killed_within_a_transaction_lets_others_write_at_once(department_database: str) -> None:
    put("before")
    code = (
        "from utils.database import transaction\nfrom utils.tables import Choice\n"
        "with transaction() as session:\n"
        "    session.add(Choice(name='half', value={}))\n    session.flush()\n"
        "    print('written', flush=True)\n    input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    put("after")
    assert names() == ["after", "before"]


def test_a_full_disk(home: Path) -> None:
    put("before")
    sizes = [path.stat().st_size for path in home.iterdir()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes), hard))  # no file grows any more
    try:
        for _ in range(2):
            with pytest.raises(DatabaseError, match="nothing was saved"):
                put("large", "x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names() == ["before"]
    put("large", "x" * 1_000_000)
    assert names() == ["before", "large"]


def test_what_was_deleted_is_not_in_the_file_any_more(home: Path) -> None:
    put("kept")
    put("note", "Seen by nobody else")
    with transaction() as session:
        session.execute(delete(Choice).where(Choice.name == "note"))
    database.close()
    assert names() == ["kept"]
    database.close()
    assert not any(b"Seen by nobody else" in path.read_bytes() for path in home.iterdir())


def test_a_full_database(home: Path) -> None:
    put("before")

    def put_too_much() -> None:
        with transaction() as session:
            session.connection().exec_driver_sql("PRAGMA max_page_count = 50")
            session.add(Choice(name="large", value={"is": "x" * 1_000_000}))

    with pytest.raises(DatabaseError, match="is full, and nothing was saved: free some space"):
        put_too_much()
    assert names() == ["before"]


def test_a_database_file_that_goes_away_and_comes_back(home: Path) -> None:
    put("before")
    home.rename(home.with_name("elsewhere"))
    for _ in range(2):
        with pytest.raises(DatabaseError, match="file is gone, and nothing was saved"):
            put("meanwhile")
        with pytest.raises(DatabaseError, match="file is gone"):
            names()
    assert not home.exists(), "no empty database takes its place"
    home.with_name("elsewhere").rename(home)
    put("after")
    assert names() == ["after", "before"]


def test_a_restored_database_file_is_noticed(home: Path) -> None:
    put("in the backup")
    database.close()
    shutil.copy(home / database.FILE, home / "backup.db")
    put("later")
    for path in home.glob(f"{database.FILE}*"):
        path.unlink()
    (home / "backup.db").rename(home / database.FILE)
    assert names() == ["in the backup"]


def test_a_server_that_goes_away_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: Server
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", postgresql_server.new_database())
    put("before")

    def cut_off(*, saving: bool) -> None:
        with transaction() as session:
            session.add(Choice(name="half", value={}))
            session.flush()
            postgresql_server.stop()
            if not saving:
                session.add(Choice(name="other half", value={}))

    try:
        with pytest.raises(DatabaseError, match="cannot be reached, and nothing was saved"):
            cut_off(saving=False)
        with pytest.raises(DatabaseError, match="cannot be reached"):
            put("meanwhile")
        with pytest.raises(DatabaseError, match="cannot be reached: try again"):
            names()
        postgresql_server.start()
        put("after")
        # Whether a commit arrived cannot always be known: the sentence does not claim that nothing was saved.
        with pytest.raises(DatabaseError, match="look whether the last change is there"):
            cut_off(saving=True)
    finally:
        postgresql_server.start()
    assert names() == ["after", "before"]
    database.close()


def test_databases_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", f"postgresql://me:hunter2@/name?host={tmp_path}")
    assert "hunter2" not in repr(get_settings())
    with pytest.raises(DatabaseError, match="cannot be reached"):
        names()
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", "postgresql+asyncpg://me:hunter2@host/name")
    with pytest.raises(
        SettingsError, match="PNEUMOSCOPE_DATABASE_URL cannot be used: .*postgresql://"
    ) as found:
        names()
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", "postgresql://me:hunter2@host:hunter2/name")
    with pytest.raises(SettingsError, match="write it as postgresql://") as unreadable:
        names()
    assert "hunter2" not in str(found.value) + str(unreadable.value) + caplog.text
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", "sqlite://")
    with pytest.raises(SettingsError, match="name the file"):
        names()
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL")
    home.mkdir()
    (home / database.FILE).write_text("no database at all, but long enough to have a head\n" * 40)
    with pytest.raises(DatabaseError, match="is damaged, and nothing was saved: restore a backup"):
        names()
    (home / database.FILE).unlink()
    put("fine")
    assert (home / database.FILE).stat().st_mode & 0o077 == 0, "nobody else on the computer reads it"
    database.close()
