"""The worklist: which cases there are, in which order, a page at a time, and all of them as CSV.

Filtering, sorting and paging happen in the database, on indexes that hold all columns this takes (`utils.tables`); the
rows themselves, which are wide, are looked at for one page only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.expression import UnaryExpression

from model.reading_table import harmless
from utils import audit_trail, openings
from utils.cases import record_in_words, visible
from utils.database import snapshot, transaction
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA, decide
from utils.permissions import Action, Person
from utils.tables import Case

OPEN = "open"
"""Of a filter's verdict: none has been given yet."""
GIVEN = "given"
"""Of a filter's verdict: one has been given, whichever."""
COLUMNS = (
    "case",
    "read_at",
    "read_by",
    "version",
    "probability",
    "decision",
    "threshold",
    "certainty",
    "verdict",
    "verdict_by",
    "verdict_at",
    "note",
    "patient",
    "view",
    "age",
    "sex",
    "remarks",
    "film_kept",
    "threshold_when_read",
)
"""Columns of the CSV: `decision` is that at `threshold`, the one in force when the list was exported."""
_AT_ONCE = 1000
"""Cases that an export reads at once."""


class Sort(StrEnum):
    """The order of the list; what was not judged has no probability and comes last where that decides."""

    LIKELIEST = "probability"
    OLDEST = "age"
    NEWEST = "newest"


@dataclass(frozen=True)
class Filter:
    """Which cases are wanted; what is left empty does not matter.

    Attributes:
        decision: PNEUMONIA, NORMAL or NOT JUDGED, at the threshold that the list is asked for with.
        verdict: NORMAL, PNEUMONIA, CANNOT TELL, `OPEN` or `GIVEN`.
        person: name of who read the film first or gave the verdict.
        since, until: first and last day of the first reading, in the time zone of the server.
        version: name of the version of the latest reading.
        cannot_tell: whether the network itself could not tell, at the error rate of the time it read the film.
        search: a part of the pseudonym.
    """

    decision: str = ""
    verdict: str = ""
    person: str = ""
    since: date | None = None
    until: date | None = None
    version: str = ""
    cannot_tell: bool = False
    search: str = ""

    @property
    def chosen(self) -> dict[str, Any]:
        """The fields that matter, with their values as text."""
        return {name: str(value) for name, value in asdict(self).items() if value not in ("", None, False)}


@dataclass(frozen=True)
class Row:
    """One case of the list; see `utils.tables.Case`. `opened` says who else has it open: their titles."""

    pseudonym: str
    created: datetime
    by: str
    version: str
    probability: float | None
    certainty: str
    verdict: str | None
    verdict_by: str | None
    remarks: str
    opened: tuple[str, ...]

    def decision(self, threshold: float) -> str:
        return _decision(self.probability, threshold)


@dataclass(frozen=True)
class Page:
    """Some rows of a list that has `total` cases, of which `judged` have a probability and `flagged` reach the
    threshold."""

    rows: tuple[Row, ...]
    total: int
    judged: int
    flagged: int


@dataclass(frozen=True)
class Names:
    """What a filter can choose from: names of the people and the versions in the cases."""

    people: tuple[str, ...]
    versions: tuple[str, ...]


def page(
    wanted: Filter,
    sort: Sort,
    *,
    threshold: float,
    who: Person,
    offset: int = 0,
    limit: int = 50,
    browser: str = "",
) -> Page:
    """A page of the list.

    Args:
        wanted: which cases.
        sort: in which order.
        threshold: that the decision is taken at, in [0, 1].
        who: sees no case that is not permitted.
        offset: cases before the page.
        limit: cases on it.
        browser: as `utils.openings` knows the one that asks; who has a case open there is not told to it.

    Raises:
        Forbidden: `who` may see no cases.
        DatabaseError: they cannot be read.
    """
    conditions = _conditions(wanted, threshold=threshold, who=who)
    with snapshot() as session:
        counted = select(
            func.count(), func.count(Case.probability), func.count().filter(Case.probability >= threshold)
        )
        total, judged, flagged = session.execute(counted.select_from(Case).where(*conditions)).one()
        # First where they are, from the index alone; an offset through the rows would read all of them.
        query = select(Case.id).where(*conditions).order_by(*_order(sort)).offset(offset).limit(limit)
        found = session.scalars(query).all()
        return Page(_rows(session, found, browser=browser), total, judged, flagged)


def next_after(
    pseudonym: str,
    wanted: Filter,
    sort: Sort,
    *,
    threshold: float,
    who: Person,
    browser: str = "",
) -> str | None:
    """The case that follows another one in the list and that nobody else has open; None after the last.

    The other one need not be on the list any more: a verdict may just have taken it off. After one that is gone the
    list begins anew.

    Raises:
        Forbidden, DatabaseError: as `page`.
    """
    conditions = _conditions(wanted, threshold=threshold, who=who)
    with snapshot() as session:
        place = session.execute(
            select(Case.id, Case.probability, Case.created).where(Case.pseudonym == pseudonym)
        ).one_or_none()
        after = [] if place is None else [_after(sort, *place)]
        taken = Case.id.in_(openings.others(browser))
        found = session.scalar(
            select(Case.id).where(*conditions, *after, ~taken).order_by(*_order(sort)).limit(1)
        )
        return session.scalar(select(Case.pseudonym).where(Case.id == found))


def names(*, who: Person) -> Names:
    """The people and versions of all cases that the person may see.

    Raises:
        Forbidden, DatabaseError: as `page`.
    """
    with snapshot() as session:
        rows = session.execute(
            select(Case.by, Case.verdict_by, Case.version).where(visible(who)).distinct()
        ).all()
    people = {name for by, verdict_by, _ in rows for name in (by, verdict_by) if name}
    return Names(tuple(sorted(people)), tuple(sorted({version for *_, version in rows})))


def any_case(*, who: Person) -> bool:
    """Whether there is any case that the person may see.

    Raises:
        Forbidden, DatabaseError: as `page`.
    """
    with snapshot() as session:
        return session.scalar(select(Case.id).where(visible(who)).limit(1)) is not None


def newest(*, who: Person) -> int:
    """Number of the case that came last, to see whether there are new ones; 0 where there is none.

    Raises:
        Forbidden, DatabaseError: as `page`.
    """
    with snapshot() as session:
        return session.scalar(select(func.max(Case.id)).where(visible(who))) or 0


def export_csv(wanted: Filter, sort: Sort, *, threshold: float, who: Person) -> Iterator[bytes]:
    """The list as CSV (UTF-8), with `COLUMNS`, a part at a time; the export is a line of the audit trail.

    Times are ISO 8601 in UTC. A cell that a spreadsheet would take for a formula gets an apostrophe in front.

    Raises:
        Forbidden: `who` may not export cases; before the first part.
        DatabaseError: they cannot be read, or the audit trail cannot be written.
    """
    who.require(Action.EXPORT_CASES)
    conditions = _conditions(wanted, threshold=threshold, who=who)
    with transaction() as session:
        count = session.scalar(select(func.count()).select_from(Case).where(*conditions))
        audit_trail.add(
            session,
            "export",
            who=who,
            after={"cases": count, "as": "CSV", "threshold": threshold} | wanted.chosen,
        )
    return _csv(conditions, sort, threshold=threshold)


def _csv(conditions: Sequence[ColumnElement[bool]], sort: Sort, *, threshold: float) -> Iterator[bytes]:
    columns = (
        Case.pseudonym,
        Case.created,
        Case.by,
        Case.version,
        Case.probability,
        Case.certainty,
        Case.verdict,
        Case.verdict_by,
        Case.verdict_at,
        Case.note,
        Case.patient,
        Case.view,
        Case.age,
        Case.sex,
        Case.film,
        Case.threshold,
        *_REMARKS,
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    with snapshot() as session:
        query = select(*columns).where(*conditions).order_by(*_order(sort))
        for part in session.execute(query.execution_options(yield_per=_AT_ONCE)).partitions():
            for case in part:
                writer.writerow(
                    [
                        case.pseudonym,
                        case.created.isoformat(timespec="seconds"),
                        harmless(case.by),
                        harmless(case.version),
                        "" if case.probability is None else repr(case.probability),
                        _decision(case.probability, threshold),
                        repr(threshold),
                        case.certainty,
                        case.verdict or "",
                        harmless(case.verdict_by or ""),
                        "" if case.verdict_at is None else case.verdict_at.isoformat(timespec="seconds"),
                        harmless(case.note),
                        harmless(case.patient or ""),
                        case.view or "",
                        "" if case.age is None else case.age,
                        case.sex or "",
                        harmless(_remarks(case)),
                        "yes" if case.film else "no",
                        repr(case.threshold),
                    ]
                )
            yield text.getvalue().encode("utf-8")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8")


# --- which, and in which order ---

_REMARKS: tuple[InstrumentedAttribute[Any], ...] = (
    Case.refusal,
    Case.overruled,
    Case.corrections,
    Case.quality,
)


def _conditions(wanted: Filter, *, threshold: float, who: Person) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [visible(who)]
    if wanted.decision == PNEUMONIA:
        found.append(Case.probability >= threshold)
    elif wanted.decision == NORMAL:
        found.append(Case.probability < threshold)
    elif wanted.decision == NOT_JUDGED:
        found.append(Case.probability.is_(None))
    if wanted.verdict == OPEN:
        found.append(Case.verdict.is_(None))
    elif wanted.verdict == GIVEN:
        found.append(Case.verdict.is_not(None))
    elif wanted.verdict:
        found.append(Case.verdict == wanted.verdict)
    if wanted.person:
        found.append(or_(Case.by == wanted.person, Case.verdict_by == wanted.person))
    if wanted.since is not None:
        found.append(Case.created >= _start(wanted.since))
    if wanted.until is not None:
        found.append(Case.created < _start(wanted.until + timedelta(days=1)))
    if wanted.version:
        found.append(Case.version == wanted.version)
    if wanted.cannot_tell:
        found.append(Case.certainty == CANNOT_TELL)
    if text := wanted.search.strip().upper():
        # By itself, so that the pseudonyms' own index is looked through and not the rows.
        found.append(Case.id.in_(select(Case.id).where(Case.pseudonym.contains(text, autoescape=True))))
    return found


def _start(day: date) -> datetime:
    """When a day begins where the server stands."""
    return datetime.combine(day, time.min).astimezone()


def _order(sort: Sort) -> tuple[UnaryExpression[Any], ...]:
    if sort is Sort.LIKELIEST:
        return Case.probability.desc().nulls_last(), Case.id.desc()
    if sort is Sort.OLDEST:
        return Case.created.asc(), Case.id.asc()
    return Case.created.desc(), Case.id.desc()


def _after(sort: Sort, number: int, probability: float | None, created: datetime) -> ColumnElement[bool]:
    """What comes after a case in the order of `_order`."""
    if sort is Sort.OLDEST:
        return or_(Case.created > created, and_(Case.created == created, Case.id > number))
    if sort is Sort.NEWEST:
        return or_(Case.created < created, and_(Case.created == created, Case.id < number))
    if probability is None:
        return and_(Case.probability.is_(None), Case.id < number)
    return or_(
        Case.probability < probability,
        and_(Case.probability == probability, Case.id < number),
        Case.probability.is_(None),
    )


# --- rows ---


def _rows(session: Session, numbers: Sequence[int], *, browser: str) -> tuple[Row, ...]:
    columns = (
        Case.id,
        Case.pseudonym,
        Case.created,
        Case.by,
        Case.version,
        Case.probability,
        Case.certainty,
        Case.verdict,
        Case.verdict_by,
        *_REMARKS,
    )
    cases = {case.id: case for case in session.execute(select(*columns).where(Case.id.in_(numbers)))}
    opened = openings.titles(session, numbers, browser=browser)
    return tuple(
        Row(
            pseudonym=case.pseudonym,
            created=case.created,
            by=case.by,
            version=case.version,
            probability=case.probability,
            certainty=case.certainty,
            verdict=case.verdict,
            verdict_by=case.verdict_by,
            remarks=_remarks(case),
            opened=opened.get(case.id, ()),
        )
        for case in (cases[number] for number in numbers)
    )


def _remarks(case: Any) -> str:
    record = record_in_words(case.refusal, overruled=case.overruled, corrections=case.corrections)
    return " ".join(part for part in (record, *case.quality) if part)


def _decision(probability: float | None, threshold: float) -> str:
    return NOT_JUDGED if probability is None else decide(probability, threshold=threshold)
