"""Who did what and when: lines that are only ever added, each chained to the one before by its hash.

A line's hash is the SHA-256 of everything in it and of the hash of the line before. Whoever changes, inserts, removes
or moves a line breaks the chain there, and `verify` says where. Two things no chain can tell by itself: that the
newest lines were cut off, and that all hashes were computed anew. Both are told from a head, the hash of the newest
line, that was noted elsewhere:

    python -m utils.audit_trail verify [--expect HASH]
    python -m utils.audit_trail export [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import getpass
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from model.reading_table import harmless
from utils.database import DatabaseError, snapshot, transaction
from utils.settings import SettingsError
from utils.tables import AuditLine

Event = Literal[
    "sign-in",
    "sign-in refused",
    "sign-out",
    "reading",
    "overruled",
    "heat map kept",
    "threshold",
    "department threshold",
    "verdict",
    "report",
    "export",
    "deletion",
    "promotion",
    "import",
    "training",
    "account",
    "setting",
]
EVENTS: tuple[Event, ...] = get_args(Event)
BEGINNING = "0" * 64
"""What stands for the hash before the first line; the head of an empty trail."""
COLUMNS = ("number", "when", "who", "from", "event", "subject", "before", "after", "previous", "hash")
_LONGEST_TEXT = 500
_AT_ONCE = 1000


class Who(Protocol):
    """What the trail needs of `utils.permissions.Person`."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        number: 1, 2, 3, ... without a gap.
        when: UTC.
        who, address: name of the account, and where from.
        event: one of `EVENTS`.
        subject: what it was done to: a case's pseudonym, a version, an account.
        before, after: what was changed, as JSON has it.
        previous, hash: of the line before, and of this one; 64 hexadecimal digits.
    """

    number: int
    when: datetime
    who: str
    address: str
    event: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Wanted:
    """What lines have to fit; what is left as it is fits all.

    Attributes:
        who: part of the name, upper or lower case.
        event: exactly this.
        text: part of the subject or of the address.
        since, until: with zone; from the one on, up to the other and without it.
    """

    who: str = ""
    event: Event | None = None
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """For SQL."""
        conditions: list[ColumnElement[bool]] = []
        if who := self.who.strip():
            conditions.append(AuditLine.who.icontains(who, autoescape=True))
        if self.event is not None:
            conditions.append(AuditLine.event == self.event)
        if text := self.text.strip():
            conditions.append(
                or_(
                    AuditLine.subject.icontains(text, autoescape=True),
                    AuditLine.address.icontains(text, autoescape=True),
                )
            )
        if self.since is not None:
            conditions.append(AuditLine.when >= self.since)
        if self.until is not None:
            conditions.append(AuditLine.when < self.until)
        return conditions


ALL = Wanted()


@dataclass(frozen=True)
class Found:
    """Some of the lines that a search found, newest first.

    Attributes:
        lines: at most as many as were asked for.
        total: how many there are in all.
    """

    lines: tuple[Line, ...]
    total: int


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        lines: how many lines are whole, from the first on.
        broken_at: number of the first line that is not; None where the chain is whole, or its end is missing.
        reason: what is wrong, one sentence; empty where nothing is.
        head: hash of the last whole line: to be noted elsewhere.
    """

    lines: int
    broken_at: int | None
    reason: str
    head: str

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.reason

    @property
    def in_words(self) -> str:
        """One sentence or two."""
        count = f"{self.lines:,} line{'s' * (self.lines != 1)}"
        if self.whole:
            return f"The audit trail is whole: {count}."
        if self.broken_at is None:
            return f"{self.reason} What is there is whole: {count}."
        return f"{self.reason} Whole before it: {count}."


def add(
    session: Session,
    event: Event,
    *,
    who: Who,
    subject: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add a line in the transaction of what it tells of: both are kept, or neither.

    Args:
        session: of `utils.database.transaction`, whose write lock keeps others from adding to the chain meanwhile.
        event: what was done.
        who: who did it.
        subject: what it was done to, without a patient's or file's name.
        before, after: what has changed: texts, numbers, lists and mappings of them; no passwords, no free text.
    """
    session.flush()
    last = session.execute(
        select(AuditLine.id, AuditLine.hash).order_by(AuditLine.id.desc()).limit(1)
    ).one_or_none()
    number, previous = (last.id + 1, last.hash) if last is not None else (1, BEGINNING)
    line = AuditLine(
        id=number,
        when=datetime.now(UTC),
        who=_text(who.name, 200),
        address=_text(who.address, 64),
        event=event,
        subject=_text(subject, 300),
        before=_plain(before or {}),
        after=_plain(after or {}),
        previous=previous,
    )
    line.hash = _hash(_as_line(line, hash_=""))
    session.add(line)
    session.flush()


def record(
    event: Event,
    *,
    who: Who,
    subject: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add a line in a transaction of its own, for what the database does not keep.

    Raises:
        DatabaseError: it could not be written.
    """
    with transaction() as session:
        add(session, event, who=who, subject=subject, before=before, after=after)


def search(wanted: Wanted = ALL, *, offset: int = 0, limit: int = 50) -> Found:
    """Some of the lines that are wanted, newest first.

    Args:
        wanted: what they have to fit.
        offset: how many are left out at the start.
        limit: how many come back at most.

    Raises:
        DatabaseError: the database, or one of the lines, cannot be read.
    """
    conditions = wanted.conditions()
    with snapshot() as session:
        total = session.scalar(select(func.count()).select_from(AuditLine).where(*conditions)) or 0
        newest_first = select(AuditLine).where(*conditions).order_by(AuditLine.id.desc())
        try:
            found = session.scalars(newest_first.offset(offset).limit(limit)).all()
        except _DAMAGED:
            raise DatabaseError("Somebody has damaged a line of the audit trail: verify it.") from None
        return Found(tuple(_as_line(line) for line in found), total)


def verify(*, expect: str | None = None) -> Verified:
    """Follow the chain from its first line to its last.

    Args:
        expect: a head that was noted earlier; the chain has to have grown from it.

    Raises:
        DatabaseError: the database cannot be read.
    """
    count, head = 0, BEGINNING
    expect = expect.strip().lower() if expect else BEGINNING
    met = expect == BEGINNING
    with snapshot() as session:
        try:
            for line in _lines(session):
                if reason := _wrong(line, number=count + 1, previous=head):
                    return Verified(count, line.number, reason, head)
                count, head = line.number, line.hash
                met = met or head == expect
        except _UnreadableError as error:
            return Verified(count, error.number, str(error), head)
    if not met:
        reason = (
            "No line has the expected head: the newest lines were removed, or the trail was written anew."
        )
        return Verified(count, None, reason, head)
    return Verified(count, None, "", head)


def as_csv(wanted: Wanted = ALL) -> str:
    """The lines that are wanted, oldest first, as a table that no spreadsheet runs.

    Raises:
        DatabaseError: the database, or one of the lines, cannot be read.
    """
    table = io.StringIO()
    write_csv(table, wanted)
    return table.getvalue()


def write_csv(stream: TextIO, wanted: Wanted = ALL) -> None:
    """`as_csv` into a file."""
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(COLUMNS)
    with snapshot() as session:
        for line in _lines(session, *wanted.conditions()):
            table.writerow(
                (
                    line.number,
                    line.when.isoformat(timespec="microseconds"),
                    *map(harmless, (line.who, line.address, line.event, line.subject)),
                    *(_canonical(each) if each else "" for each in (line.before, line.after)),
                    line.previous,
                    line.hash,
                )
            )


_DAMAGED = (ValueError, TypeError, OverflowError, RecursionError)
"""What reading a time that is none, or JSON that is none, raises."""


class _UnreadableError(DatabaseError):
    """A line that does not even hold what its columns should."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Line {number:,} of the audit trail has been changed: it cannot be read.")
        self.number = number


def _lines(session: Session, *conditions: ColumnElement[bool]) -> Iterator[Line]:
    """All lines in order, a thousand in memory at a time."""
    rest, at_once = list(conditions), _AT_ONCE
    while True:
        try:
            rows = session.execute(
                select(AuditLine.__table__).where(*rest).order_by(AuditLine.id).limit(at_once)
            ).all()
        except _DAMAGED:
            if at_once > 1:  # one by one, up to the damaged one
                at_once = 1
                continue
            raise _UnreadableError(
                session.scalars(select(func.min(AuditLine.id)).where(*rest)).one()
            ) from None
        for row in rows:
            yield _as_line(row)
        if not rows:
            return
        rest = [*conditions, AuditLine.id > rows[-1].id]


def _wrong(line: Line, *, number: int, previous: str) -> str:
    """Why the line is not the one that was written as number `number`; empty where it is."""
    if line.number > number:
        missing = (
            f"Line {number:,} is"
            if line.number == number + 1
            else f"Lines {number:,} to {line.number - 1:,} are"
        )
        return f"{missing} missing."
    if line.number < number:
        return f"Line {line.number:,} has been inserted: the first line is line 1."
    if line.previous != previous:
        return f"Line {number:,} does not follow on the line before it: one of the two was changed or moved."
    try:
        changed = _hash(line) != line.hash
    except (*_DAMAGED, AttributeError):
        changed = True
    return f"Line {number:,} has been changed since it was written." if changed else ""


def _as_line(row: Any, *, hash_: str | None = None) -> Line:
    return Line(
        number=row.id,
        when=row.when,
        who=row.who,
        address=row.address,
        event=row.event,
        subject=row.subject,
        before=row.before,
        after=row.after,
        previous=row.previous,
        hash=row.hash if hash_ is None else hash_,
    )


def _hash(line: Line) -> str:
    """SHA-256 of the line and of the hash before it."""
    parts = [
        line.number,
        line.when.astimezone(UTC).isoformat(timespec="microseconds"),
        line.who,
        line.address,
        line.event,
        line.subject,
        line.before,
        line.after,
        line.previous,
    ]
    return hashlib.sha256(_canonical(parts).encode("ascii")).hexdigest()


def _canonical(value: Any) -> str:
    """The one way to write a value as JSON: keys in order, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(value: Any) -> Any:
    """What every database gives back as it was put in: no NaN, no half characters, no classes of ours."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_text(str(key), _LONGEST_TEXT): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return _text(str(value), _LONGEST_TEXT)


def _text(value: str, longest: int) -> str:
    """Without control characters and half characters, which PostgreSQL does not take; cut to what the column holds."""
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else " " for letter in whole)[:longest]


@dataclass(frozen=True)
class _Terminal:
    """Whoever runs a command on the server itself."""

    name: str
    address: str = "terminal"


def main(arguments: list[str] | None = None) -> int:
    """The commands; exit status 0 where the trail is whole, 1 where it is not or the database cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.audit_trail", description="Verify or export the audit trail."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    verifying = commands.add_parser(
        "verify", help="follow the chain of hashes from the first line to the last"
    )
    verifying.add_argument(
        "--expect", metavar="HASH", help="a head noted earlier, which has to be in the chain"
    )
    exporting = commands.add_parser("export", help="write all lines as CSV")
    exporting.add_argument("--out", type=Path, metavar="FILE", help="where to; without it, to the terminal")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "verify":
            return _verify_command(chosen.expect)
        record("export", who=_Terminal(_user()), subject="audit trail")
        if chosen.out is None:
            write_csv(sys.stdout)
        else:
            with chosen.out.open("w", encoding="utf-8", newline="") as stream:
                write_csv(stream)
    except (DatabaseError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads has seen enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{chosen.out} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def _verify_command(expect: str | None) -> int:
    if expect is not None and (
        len(expect.strip()) != 64 or set(expect.strip().lower()) - set("0123456789abcdef")
    ):
        print("A head has 64 hexadecimal digits: copy the whole of it.", file=sys.stderr)
        return 1
    found = verify(expect=expect)
    print(found.in_words)
    print(f"Head: {found.head}")
    if found.whole:
        print(
            "Note the head elsewhere and hand it to --expect next time: without it, nobody can tell whether the"
        )
        print("newest lines were removed.")
    return 0 if found.whole else 1


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
