"""How the network does on the department's own cases: its readings beside the verdicts given on them later.

A reading counts where it was made before the verdict. So the version that the clinician had before the eyes is
measured, and one that was trained on verdicts is not measured on the same ones. Everything is counted in the database.

Verified cases are a selection. How many of the flagged cases have a verdict, and how many of the others, is counted
too, and `model.verification` tells what the rates would be if that were the whole difference.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Subquery, and_, case, extract, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from model.dataset import CLASSES
from model.drift import MOST_FILMS
from model.intervals import Proportion, proportion
from model.verification import VerifiedFilms
from utils import database
from utils.database import snapshot
from utils.decisions import decide
from utils.permissions import Action, Person
from utils.settings import get_settings
from utils.tables import Case, CaseReading

Key = TypeVar("Key")


@dataclass(frozen=True)
class Wanted:
    """Which readings count.

    Attributes:
        since: made at that time or later; None: all.
        version: name of the version that made them; empty: any.
        threshold: that the decision is taken at; None: that of whoever had the film read, at that time.
    """

    since: datetime | None = None
    version: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class Tally:
    """Verified readings of one version in one month (its first day, UTC), by decision and verdict."""

    version: str
    month: date
    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class Performance:
    """Counts, and what follows from them; see `model.intervals` for the intervals."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def cases(self) -> int:
        return self.tn + self.fp + self.fn + self.tp

    @property
    def agreement(self) -> Proportion:
        """Cases whose decision is the verdict."""
        return proportion(self.tn + self.tp, self.cases)

    @property
    def sensitivity(self) -> Proportion:
        return proportion(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Proportion:
        return proportion(self.tn, self.tn + self.fp)


@dataclass(frozen=True)
class Coverage:
    """Which cases have a verdict NORMAL or PNEUMONIA: of those flagged, and of those not, at the readings' latest."""

    flagged: Proportion
    passed: Proportion
    cannot_tell: int
    """Cases whose verdict is CANNOT TELL; they count as not verified."""


@dataclass(frozen=True)
class Disagreement:
    """A case whose verdict is not what the reading before it decided."""

    pseudonym: str
    read: datetime
    version: str
    probability: float
    threshold: float
    verdict: str
    verdict_by: str

    @property
    def decision(self) -> str:
        return decide(self.probability, threshold=self.threshold)


@dataclass(frozen=True)
class Recent:
    """The newest films that a network read, one a patient, newest first.

    Attributes:
        probabilities: (n,), of the films read by the version under the name asked for, so that all are on one scale.
        pooled: float16 (m, c), of all films read by the network.
        oldest: when the oldest of them was first read; None where there is none.
    """

    probabilities: NDArray[np.float64]
    pooled: NDArray[np.float16]
    oldest: datetime | None


def any_case() -> bool:
    """Whether anything was ever saved. Asking makes no database.

    Raises:
        DatabaseError, SettingsError: it cannot be read.
    """
    settings = get_settings()
    if settings.database_url is None and not (settings.home / database.FILE).exists():
        return False
    with snapshot() as session:
        return session.scalar(select(Case.id).limit(1)) is not None


def versions() -> tuple[str, ...]:
    """Names of all versions that made a reading that was verified, the newest reading first.

    Raises:
        DatabaseError: it cannot be read.
    """
    query = (
        select(CaseReading.version)
        .join(CaseReading.case)
        .where(_before_the_verdict())
        .group_by(CaseReading.version)
        .order_by(func.max(CaseReading.id).desc())
    )
    with snapshot() as session:
        return tuple(session.scalars(query))


def tallies(wanted: Wanted, *, each_version: bool = False) -> tuple[Tally, ...]:
    """Verified readings by version and month, the oldest first.

    Args:
        wanted: which readings.
        each_version: a case counts once for each version that read it; otherwise once, with the last reading before
            its verdict.

    Raises:
        DatabaseError: it cannot be read.
    """
    last = _last_readings(wanted, each_version=each_version)
    flagged = _flagged(wanted, CaseReading.probability, CaseReading.threshold)
    with snapshot() as session:
        when = _in_utc(session, CaseReading.when)
        year, month = extract("year", when), extract("month", when)
        ill = Case.verdict == CLASSES[1]
        query = (
            select(
                CaseReading.version,
                year,
                month,
                *(
                    func.sum(case((condition, 1), else_=0))
                    for condition in (
                        and_(~ill, ~flagged), and_(~ill, flagged), and_(ill, ~flagged), and_(ill, flagged),
                    )
                ),
            )
            .join(last, last.c.id == CaseReading.id)
            .join(CaseReading.case)
            .group_by(CaseReading.version, year, month)
            .order_by(year, month, CaseReading.version)
        )  # fmt: skip
        return tuple(
            Tally(version, date(int(year), int(month), 1), *(int(count) for count in counts))
            for version, year, month, *counts in session.execute(query)
        )


def performance(found: Iterable[Tally]) -> Performance:
    """All of them together."""
    counted = list(found)
    return Performance(*(sum(getattr(each, cell) for each in counted) for cell in ("tn", "fp", "fn", "tp")))


def grouped(found: Sequence[Tally], key: Callable[[Tally], Key]) -> dict[Key, Performance]:
    """The figures of each group, in the order in which its first tally comes."""
    groups: dict[Key, list[Tally]] = {}
    for tally in found:
        groups.setdefault(key(tally), []).append(tally)
    return {name: performance(members) for name, members in groups.items()}


def coverage(wanted: Wanted) -> Coverage:
    """Which cases have a verdict, by what their latest reading decided.

    Raises:
        DatabaseError: it cannot be read.
    """
    flagged = _flagged(wanted, Case.probability, Case.threshold)
    verified = Case.verdict.in_(CLASSES)
    query = select(
        func.count().filter(and_(flagged, verified)),
        func.count().filter(flagged),
        func.count().filter(and_(~flagged, verified)),
        func.count().filter(~flagged),
        func.count().filter(and_(Case.verdict.is_not(None), Case.verdict.not_in(CLASSES))),
    ).where(Case.probability.is_not(None))
    if wanted.since is not None:
        query = query.where(Case.created >= wanted.since)
    if wanted.version:
        query = query.where(Case.version == wanted.version)
    with snapshot() as session:
        flagged_verified, all_flagged, passed_verified, all_passed, cannot_tell = session.execute(query).one()
    return Coverage(
        proportion(flagged_verified, all_flagged), proportion(passed_verified, all_passed), cannot_tell
    )


def with_coverage(counted: Performance, covered: Coverage) -> VerifiedFilms:
    """What `model.verification.corrected_rates` takes."""
    return VerifiedFilms(
        counted.tn, counted.fp, counted.fn, counted.tp, covered.flagged.total, covered.passed.total
    )


def disagreements(
    wanted: Wanted, *, who: Person, offset: int = 0, limit: int = 20
) -> tuple[tuple[Disagreement, ...], int]:
    """Cases whose verdict is not what was decided, the newest verdict first, and how many there are.

    Raises:
        Forbidden: `who` may not see all cases.
        DatabaseError: it cannot be read.
    """
    who.require(Action.SEE_ALL_CASES)
    last = _last_readings(wanted, each_version=False)
    flagged = _flagged(wanted, CaseReading.probability, CaseReading.threshold)
    query = (
        select(
            Case.pseudonym,
            CaseReading.when,
            CaseReading.version,
            CaseReading.probability,
            CaseReading.threshold,
            Case.verdict,
            Case.verdict_by,
        )
        .join(last, last.c.id == CaseReading.id)
        .join(CaseReading.case)
        .where(flagged != (Case.verdict == CLASSES[1]))
    )
    page = query.order_by(Case.verdict_at.desc(), Case.id.desc()).offset(offset).limit(limit)
    with snapshot() as session:
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        return tuple(
            Disagreement(
                pseudonym=pseudonym,
                read=read,
                version=version,
                probability=float(probability or 0),
                threshold=threshold if wanted.threshold is None else wanted.threshold,
                verdict=str(verdict),
                verdict_by=by or "",
            )
            for pseudonym, read, version, probability, threshold, verdict, by in session.execute(page)
        ), total


def recent(*, network: str, version: str, since: datetime | None) -> Recent:
    """The newest films that a network read, at most `MOST_FILMS`.

    Args:
        network: SHA-256 of the network.
        version: name of the version, with the department's calibration where there is one.
        since: first read at that time or later; None: all.

    Raises:
        DatabaseError: it cannot be read.
    """
    query = (
        select(Case.patient, Case.version, Case.probability, Case.pooled, Case.created)
        .where(Case.network == network, Case.probability.is_not(None))
        .order_by(Case.created.desc(), Case.id.desc())
        .limit(4 * MOST_FILMS)  # several may be of one patient
    )
    if since is not None:
        query = query.where(Case.created >= since)
    seen: set[str] = set()
    probabilities: list[float] = []
    pooled: list[NDArray[np.float16]] = []
    oldest: datetime | None = None
    with snapshot() as session:
        for patient, name, probability, features, created in session.execute(query):
            if patient is not None:
                if patient in seen:
                    continue
                seen.add(patient)
            oldest = created
            if name == version:
                probabilities.append(float(probability or 0))
            if features is not None:
                pooled.append(np.load(io.BytesIO(features), allow_pickle=False))
            if max(len(probabilities), len(pooled)) == MOST_FILMS:
                break
    alike = [each for each in pooled if each.shape == pooled[0].shape]
    return Recent(
        np.array(probabilities, dtype=np.float64),
        np.stack(alike) if alike else np.empty((0, 0), dtype=np.float16),
        oldest,
    )


def month_of(tally: Tally) -> date:
    return tally.month


def version_of(tally: Tally) -> str:
    return tally.version


def now() -> datetime:
    return datetime.now(UTC)


def _before_the_verdict() -> ColumnElement[bool]:
    return and_(
        Case.verdict.in_(CLASSES),
        CaseReading.probability.is_not(None),
        CaseReading.when <= Case.verdict_at,
    )


def _last_readings(wanted: Wanted, *, each_version: bool) -> Subquery:
    """Of each case, or each case and version, the last reading before the verdict."""
    query = select(func.max(CaseReading.id).label("id")).join(CaseReading.case).where(_before_the_verdict())
    if wanted.version:
        query = query.where(CaseReading.version == wanted.version)
    if wanted.since is not None:
        query = query.where(CaseReading.when >= wanted.since)
    groups = [CaseReading.case_id, CaseReading.version] if each_version else [CaseReading.case_id]
    return query.group_by(*groups).subquery()


def _flagged(
    wanted: Wanted,
    probability: InstrumentedAttribute[float | None],
    threshold: InstrumentedAttribute[float],
) -> ColumnElement[bool]:
    return probability >= (threshold if wanted.threshold is None else wanted.threshold)


def _in_utc(session: Session, when: InstrumentedAttribute[datetime]) -> ColumnElement[Any]:
    """A time whose year and month are those of UTC, as SQLite keeps it anyway."""
    if session.get_bind().dialect.name == "postgresql":
        return func.timezone("UTC", when)
    return when.expression
