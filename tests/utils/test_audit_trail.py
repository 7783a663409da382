from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from utils import audit_trail
from utils.audit_trail import BEGINNING, Verified, Wanted, add, as_csv, main, record, search, verify
from utils.database import DatabaseError, transaction
from utils.permissions import Role
from utils.tables import AuditLine, Choice

pytestmark = pytest.mark.usefixtures("department_database")


@dataclass(frozen=True)
class Somebody:
    name: str
    address: str = "10.1.2.3"


ADA = Somebody("ada")
BOB = Somebody("bob", "fd00::7")


def write_lines() -> str:
    """Six lines; gives the head."""
    with transaction() as session:
        add(session, "sign-in", who=ADA)
        add(
            session,
            "verdict",
            who=ADA,
            subject="K7M2-QX4D",
            before={"verdict": None},
            after={"verdict": "NORMAL"},
        )
        add(session, "threshold", who=BOB, before={"threshold": 0.5}, after={"threshold": 0.37})
        add(session, "export", who=BOB, subject="cases", after={"cases": 12})
        add(
            session,
            "account",
            who=ADA,
            subject="bob",
            after={"roles": frozenset({Role.ADMIN, Role.CLINICIAN})},
        )
        add(session, "sign-out", who=ADA)
    return verify().head


def tamper(change: Callable[[Session], object]) -> Verified:
    with transaction() as session:
        change(session)
    return verify()


def row(session: Session, number: int) -> dict[str, object]:
    return dict(session.execute(select(AuditLine.__table__).where(AuditLine.id == number)).one()._mapping)


def test_lines_follow_one_another() -> None:
    assert verify() == Verified(0, None, "", BEGINNING)
    head = write_lines()
    lines = search().lines
    assert [line.number for line in lines] == [6, 5, 4, 3, 2, 1]
    assert [line.previous for line in lines] == [line.hash for line in lines[1:]] + [BEGINNING]
    assert lines[0].hash == head
    assert (lines[4].who, lines[4].address, lines[4].subject) == ("ada", "10.1.2.3", "K7M2-QX4D")
    assert (lines[4].before, lines[4].after) == ({"verdict": None}, {"verdict": "NORMAL"})
    assert lines[1].after == {"roles": ["admin", "clinician"]}
    assert verify() == Verified(6, None, "", head)
    assert verify(expect=head).whole and verify(expect=lines[3].hash).whole


def test_a_line_is_kept_with_what_it_tells_of_or_not_at_all() -> None:
    def fail() -> None:
        with transaction() as session:
            session.add(Choice(name="saving", value={}))
            add(session, "setting", who=ADA, subject="saving")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert search().total == 0
    record("setting", who=ADA)
    assert verify().lines == 1


def test_what_no_database_takes_is_put_so_that_it_does() -> None:
    record(
        "setting",
        who=Somebody("a\x00b\ud800" + "c" * 300, "0" * 100),
        subject="line\nbreak" + "x" * 400,
        after={
            "not a number": float("nan"),
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "long": "y" * 9999,
            "n": [1.5],
        },
    )
    line = search().lines[0]
    assert line.who.startswith("a b?ccc") and len(line.who) == 200 and len(line.address) == 64
    assert line.subject.startswith("line break") and len(line.subject) == 300
    assert line.after["not a number"] == "nan" and line.after["when"] == "2026-01-02T00:00:00+00:00"
    assert len(line.after["long"]) < 1000 and line.after["n"] == [1.5]
    assert verify().whole


def setting(column: str, value: object) -> Callable[[Session], object]:
    return lambda session: session.execute(update(AuditLine).where(AuditLine.id == 3).values({column: value}))


EDITS = {
    "who": "eve",
    "address": "10.9.9.9",
    "event": "sign-out",
    "subject": "another",
    "when": datetime(2020, 1, 1, tzinfo=UTC),
    "before": {"threshold": 0.4},
    "after": {},
}


def test_every_edit_is_seen() -> None:
    head = write_lines()
    for column, value in EDITS.items():
        with transaction() as session:
            before = row(session, 3)[column]
        edited = tamper(setting(column, value))
        assert (edited.lines, edited.broken_at) == (2, 3), column
        assert edited.reason == "Line 3 has been changed since it was written."
        assert tamper(setting(column, before)) == Verified(6, None, "", head), f"{column} is as it was"


def test_an_edit_with_its_hash_computed_anew_is_seen_at_the_next_line() -> None:
    head = write_lines()

    def change(session: Session) -> None:
        line = session.get_one(AuditLine, 3)
        line.after = {"threshold": 0.99}
        line.hash = audit_trail._hash(audit_trail._as_line(line))

    assert tamper(change).broken_at == 4

    def change_the_rest(session: Session) -> None:
        previous = session.get_one(AuditLine, 3).hash
        for number in (4, 5, 6):
            line = session.get_one(AuditLine, number)
            line.previous = previous
            previous = line.hash = audit_trail._hash(audit_trail._as_line(line))

    assert tamper(change_the_rest).whole, "a chain alone cannot tell that all of it was written anew"
    found = verify(expect=head)
    assert not found.whole and found.broken_at is None
    assert "written anew" in found.in_words


def test_lines_removed_are_seen() -> None:
    head = write_lines()
    newest = tamper(lambda session: session.execute(delete(AuditLine).where(AuditLine.id == 6)))
    assert newest.whole and newest.lines == 5, "without a head to expect, nobody can tell"
    cut = verify(expect=head)
    assert (cut.lines, cut.broken_at) == (5, None)
    assert cut.in_words == (
        "No line has the expected head: the newest lines were removed, or the trail was written anew."
        " What is there is whole: 5 lines."
    )
    middle = tamper(lambda session: session.execute(delete(AuditLine).where(AuditLine.id.in_([3, 4]))))
    assert (middle.lines, middle.broken_at) == (2, 5)
    assert middle.in_words == "Lines 3 to 4 are missing. Whole before it: 2 lines."
    first = tamper(lambda session: session.execute(delete(AuditLine).where(AuditLine.id == 1)))
    assert (first.lines, first.broken_at, first.reason) == (0, 2, "Line 1 is missing.")
    all_ = tamper(lambda session: session.execute(delete(AuditLine)))
    assert all_ == Verified(0, None, "", BEGINNING)
    assert not verify(expect=head).whole


def test_lines_removed_with_the_gap_closed_are_seen() -> None:
    write_lines()

    def close_the_gap(session: Session) -> None:
        session.execute(delete(AuditLine).where(AuditLine.id == 3))
        for number in (4, 5, 6):
            session.execute(update(AuditLine).where(AuditLine.id == number).values(id=number - 1))

    found = tamper(close_the_gap)
    assert (found.lines, found.broken_at) == (2, 3)
    assert (
        found.reason == "Line 3 does not follow on the line before it: one of the two was changed or moved."
    )


def test_lines_inserted_are_seen() -> None:
    write_lines()

    def insert_after_the_third(session: Session) -> None:
        for number in (6, 5, 4):
            session.execute(update(AuditLine).where(AuditLine.id == number).values(id=number + 1))
        made = row(session, 3) | {"id": 4, "previous": row(session, 3)["hash"], "hash": "a" * 64}
        session.execute(insert(AuditLine).values(made))

    assert tamper(insert_after_the_third).broken_at == 4

    def give_it_its_hash(session: Session) -> None:
        line = session.get_one(AuditLine, 4)
        line.hash = audit_trail._hash(audit_trail._as_line(line))

    assert tamper(give_it_its_hash).broken_at == 5
    before_all = tamper(
        lambda session: session.execute(
            insert(AuditLine).values(row(session, 1) | {"id": 0, "hash": "b" * 64})
        )
    )
    assert (before_all.lines, before_all.broken_at) == (0, 0)


def test_lines_put_into_another_order_are_seen() -> None:
    write_lines()

    def swap(session: Session) -> None:
        for old, new in ((3, 100), (4, 3), (100, 4)):
            session.execute(update(AuditLine).where(AuditLine.id == old).values(id=new))

    assert tamper(swap).broken_at == 3


def test_what_is_no_line_any_more_is_seen_and_said(
    department_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "_AT_ONCE", 2)
    write_lines()
    # PostgreSQL itself keeps what is no JSON out of the column, but not JSON of another kind.
    damage = "'{'" if department_database == "sqlite" else "'[1]'"
    found = tamper(
        lambda session: session.execute(text(f"UPDATE audit_lines SET after = {damage} WHERE id = 4"))
    )
    assert (found.lines, found.broken_at) == (3, 4)
    if department_database == "sqlite":
        assert "cannot be read" in found.in_words
        with pytest.raises(DatabaseError, match="damaged a line"):
            search()
        with pytest.raises(DatabaseError, match="Line 4 of the audit trail"):
            as_csv()
        tamper(
            lambda session: session.execute(
                text("UPDATE audit_lines SET \"when\" = 'yesterday', who = x'00ff'")
            )
        )
        assert verify().broken_at == 1


def test_search() -> None:
    write_lines()
    assert [line.number for line in search(Wanted(who=" AD ")).lines] == [6, 5, 2, 1]
    assert [line.number for line in search(Wanted(event="threshold")).lines] == [3]
    assert [line.number for line in search(Wanted(text="k7m2")).lines] == [2]
    assert [line.number for line in search(Wanted(text="fd00")).lines] == [4, 3]
    assert search(Wanted(text="%")).total == 0 == search(Wanted(who="_")).total, "nothing is a pattern"
    assert [line.number for line in search(offset=2, limit=2).lines] == [4, 3]
    assert search(Wanted(who="ada"), limit=1).total == 4
    now = datetime.now(UTC)
    assert search(Wanted(since=now - timedelta(hours=1), until=now + timedelta(hours=1))).total == 6
    assert search(Wanted(since=now + timedelta(hours=1))).total == 0
    assert search(Wanted(until=now - timedelta(hours=1))).total == 0


def test_the_export_can_be_verified_and_is_run_by_no_spreadsheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "_AT_ONCE", 4)
    write_lines()
    record("account", who=ADA, subject="=cmd()")
    rows = list(csv.DictReader(io.StringIO(as_csv())))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7"]
    assert rows[-1]["subject"] == "'=cmd()"
    assert json.loads(rows[2]["after"]) == {"threshold": 0.37} and rows[0]["after"] == ""
    assert rows[-1]["hash"] == verify().head
    assert [row["number"] for row in csv.DictReader(io.StringIO(as_csv(Wanted(who="bob"))))] == ["3", "4"]


def test_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    head = write_lines()
    assert main(["verify"]) == 0
    said = capsys.readouterr().out
    assert f"The audit trail is whole: 6 lines.\nHead: {head}\n" in said and "--expect" in said
    assert main(["verify", "--expect", head.upper()]) == 0
    assert main(["verify", "--expect", head[:10]]) == 1
    assert "64 hexadecimal digits" in capsys.readouterr().err
    assert main(["export"]) == 0
    exported = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["event"] for row in exported][-1] == "export", "that it was exported is in it"
    tamper(lambda session: session.execute(delete(AuditLine).where(AuditLine.id >= 6)))
    assert main(["verify", "--expect", head]) == 1
    assert "No line has the expected head" in capsys.readouterr().out
