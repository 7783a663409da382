"""A journal: every line that was written whole comes back, whoever writes and whenever a writer dies."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from model.journal import Journal, JournalError


class Line(BaseModel):
    who: str
    before: str = Field(default="", alias="from")
    number: int = 0


def add_many(file: Path, who: str, count: int) -> None:
    journal = Journal(file, Line)
    for number in range(count):
        journal.append(Line(who=who, number=number))


def add_next(file: Path, count: int) -> None:
    """Adds one more than the largest number so far: right only where nobody adds between looking and adding."""
    journal = Journal(file, Line)
    for _ in range(count):
        with journal.locked() as add:
            add(Line(who="next", number=1 + max((line.number for line in journal.lines()), default=0)))


@pytest.fixture
def journal(tmp_path: Path) -> Journal[Line]:
    return Journal(tmp_path / "below" / "log.jsonl", Line)


def test_nothing_stands_in_a_journal_that_is_not_there(journal: Journal[Line]) -> None:
    assert journal.lines() == []
    assert not journal.file.exists()


def test_lines_come_back_in_order_and_by_their_aliases(journal: Journal[Line]) -> None:
    lines = [Line.model_validate({"who": "Dr Ä\n2", "from": "one", "number": number}) for number in range(3)]
    for line in lines:
        journal.append(line)
    assert journal.lines() == lines
    assert journal.file.read_text(encoding="utf-8").count("\n") == 3
    assert '"from":"one"' in journal.file.read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", [1, 10, -2, -1])
def test_a_torn_last_line_is_left_out_and_swallows_nothing(journal: Journal[Line], kept: int) -> None:
    journal.append(Line(who="A"))
    whole = journal.file.read_bytes()
    journal.file.write_bytes(whole + whole[:kept])
    whole_lines = 2 if kept == -1 else 1  # all but the end of the line was written: nothing is missing
    assert len(journal.lines()) == whole_lines
    journal.append(Line(who="B"))
    assert [line.who for line in journal.lines()] == ["A"] * whole_lines + ["B"]


def test_damage_in_the_middle_costs_that_line_only(journal: Journal[Line]) -> None:
    for who in "ABC":
        journal.append(Line(who=who))
    raw = journal.file.read_bytes().splitlines(keepends=True)
    journal.file.write_bytes(raw[0] + b"\xff\x00{\n" + raw[2])
    assert [line.who for line in journal.lines()] == ["A", "C"]


def test_processes_that_write_at_once_lose_nothing(journal: Journal[Line]) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_many, args=(journal.file, f"{number}", 20)) for number in range(3)]
    writers += [context.Process(target=add_next, args=(journal.file, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = journal.lines()
    assert len(lines) == 120
    assert {writer.exitcode for writer in writers} == {0}
    for number in range(3):
        assert [line.number for line in lines if line.who == f"{number}"] == list(range(20))
    counted = [line.number for line in lines if line.who == "next"]
    assert counted == sorted(counted) and len(set(counted)) == 60


def test_a_journal_that_cannot_be_written_says_so(journal: Journal[Line]) -> None:
    journal.file.parent.write_text("in the way")
    with pytest.raises(JournalError, match="cannot be written"):
        journal.append(Line(who="A"))


def fill(file: Path, most: int) -> None:
    """As on a full disk: a line is taken in part, or not at all."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        add_many(file, "A" * 50, 100)
    except JournalError:
        return
    raise SystemExit(1)


def test_a_full_disk_leaves_whole_lines(journal: Journal[Line]) -> None:
    writer = multiprocessing.get_context("fork").Process(target=fill, args=(journal.file, 1000))
    writer.start()
    writer.join()
    assert writer.exitcode == 0
    assert len(journal.lines()) > 3
    assert journal.file.read_bytes().endswith(b"\n")
