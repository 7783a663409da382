"""Cases: what the department saves of the films that are read, and the clinician's verdict on each.

A case is one film, known by the hash of its file, under a pseudonym. It keeps its latest reading with all that the
screen needs to show it again, the readings before, the verdict and every change of it; no file name, nothing of the
patient. The film itself lies encrypted in `utils.film_store` where the department keeps films: it is written before the
record that names it and removed after it, and what a killed process leaves between the two is swept away.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session, selectinload

from model.films import Source
from utils import audit_trail, film_store, verdict_set
from utils.database import Conflict, DatabaseError, snapshot, transaction
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA, decide
from utils.film_store import FilmStoreError
from utils.permissions import Action, Person
from utils.readings import Reading, corrections_in_words
from utils.settings import SettingsError, get_settings
from utils.tables import Case, CaseChange, CaseReading
from utils.uploads import UploadError

__all__ = ["Conflict", "DatabaseError", "FilmStoreError"]

log = logging.getLogger(__name__)

VERDICTS = (NORMAL, PNEUMONIA, CANNOT_TELL)
LONGEST_NOTE = 4000
"""Characters of a note."""
RETENTION = Person("retention", "automatic deletion", frozenset())
"""Who deletes what is past its days."""
_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that is taken for another one
_PATIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AT_ONCE = 200
"""Cases that expire in one transaction: others can write in between."""


class CaseError(ValueError):
    """What was typed cannot be kept; one sentence."""


class NoSuchCase(LookupError):  # noqa: N818 - it is no error of the program
    """There is no case with this pseudonym; one sentence."""

    def __init__(self) -> None:
        super().__init__(
            "There is no case with this pseudonym: it was mistyped, or the case has been deleted."
        )


@dataclass(frozen=True)
class Saved:
    """What became of a reading that was to be saved.

    Attributes:
        pseudonym: of its case.
        new: whether the film was not known before.
        created, by: when and by whom the film was first read.
        version: of the reading that the case shows now.
        patient: the patient's pseudonym that the case has; another one given later does not replace it.
        film: whether the film itself is kept.
        heat: whether the heat map is kept.
        problem: why the film is not kept although it should be, one sentence; empty where it is as it should be. The
            record is saved all the same.
    """

    pseudonym: str
    new: bool
    created: datetime
    by: str
    version: str
    patient: str | None
    film: bool
    heat: bool
    problem: str = ""


@dataclass(frozen=True)
class ReadingView:
    """One reading of a case's film; see `utils.tables.CaseReading`."""

    when: datetime
    by: str
    version: str
    network: str
    probability: float | None
    threshold: float

    @property
    def decision(self) -> str:
        """At the threshold of that time."""
        return _decision(self.probability, self.threshold)


@dataclass(frozen=True)
class ChangeView:
    """One change of the verdict or the note: both before and after, with the keys `verdict` and `note`."""

    when: datetime
    by: str
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class CaseView:
    """A case as it was when it was looked up; what each part means stands at `utils.tables.Case`.

    Attributes:
        corrections: keys of `utils.readings.OFFERS`, in their order.
        pooled: float16 (c,).
        heat: float32 (h, w); None unless it is kept.
        film: whether the film is kept; `film` of this module gives it.
        readings: of all versions, the oldest first; the last is the one that the case shows.
        changes: of verdict and note, the oldest first.
        revision: `give_verdict` wants it back.
    """

    pseudonym: str
    patient: str | None
    image: str
    created: datetime
    by: str
    version: str
    network: str
    probability: float | None
    threshold: float
    certainty: str
    refusal: str
    overruled: bool
    corrections: tuple[str, ...]
    quality: tuple[str, ...]
    done: tuple[str, ...]
    view: str | None
    age: int | None
    sex: str | None
    pooled: NDArray[np.float16] | None
    heat: NDArray[np.float32] | None
    film: bool
    verdict: str | None
    note: str
    verdict_by: str | None
    verdict_at: datetime | None
    revision: int
    readings: tuple[ReadingView, ...]
    changes: tuple[ChangeView, ...]

    @property
    def decision(self) -> str:
        """At the threshold of the reading's time; NOT JUDGED where the picture was refused."""
        return _decision(self.probability, self.threshold)

    @property
    def record(self) -> str:
        """What everybody must know who sees this case: refused, overruled, corrected; empty for most."""
        return record_in_words(self.refusal, overruled=self.overruled, corrections=self.corrections)


def record_in_words(refusal: str, *, overruled: bool, corrections: Sequence[str]) -> str:
    """What everybody must know who sees a case: refused, overruled, corrected; empty for most."""
    parts = []
    if refusal and not overruled:
        parts.append(f"Not judged: {refusal}")
    elif refusal:
        parts.append(f"Refused at first and read nevertheless, on request: {refusal}")
    if corrections:
        parts.append(f"Corrected on request before reading: {corrections_in_words(corrections)}.")
    return " ".join(parts)


@dataclass(frozen=True)
class Stored:
    """What is stored at the moment.

    Attributes:
        cases: how many, `verified` of them with a verdict, `heats` with a heat map.
        oldest: when the oldest was first read; None where there is none.
        films: how many films lie encrypted in the folder.
        film_bytes: what they take.
    """

    cases: int
    verified: int
    heats: int
    oldest: datetime | None
    films: int
    film_bytes: int


@dataclass(frozen=True)
class Deleted:
    """What was deleted: cases, and how many of their films; `problem`: why a film was not, one sentence, else empty."""

    cases: int
    films: int
    problem: str = ""


def save(
    reading: Reading,
    *,
    network: str,
    pixels: NDArray[np.uint8] | None,
    who: Person,
    threshold: float,
    certainty: str,
    patient: str | None = None,
    heat: bool = False,
    anew: bool = False,
) -> Saved:
    """Save a reading as a case; a film that is known already, by its hash, stays one case.

    A reading by another network than the case's latest becomes its latest, and so does one that somebody asked for
    (`anew`). Any other reading of a known film changes nothing but the audit trail, and adds the film itself where it
    was not kept before. Where the film cannot be kept the record is saved without it: `Saved.problem` says why.

    Args:
        reading: of a film that could be read; its probability may be missing.
        network: SHA-256 of the version's network.
        pixels: the film as it was read, uint8 (height, width), to be kept encrypted; None keeps none.
        who: reads it; must be permitted to read films.
        threshold: that person's, in [0, 1].
        certainty: NORMAL, PNEUMONIA, CANNOT TELL or nothing.
        patient: a pseudonym of the patient, as `checked_patient` takes it; kept where the case has none.
        heat: whether the heat map is kept with the case.
        anew: whether somebody had a known film read otherwise: corrected, through another window, or although refused.

    Raises:
        Forbidden: `who` may not.
        CaseError: the patient's pseudonym cannot be kept.
        DatabaseError: nothing was saved.
        FilmStoreError: nothing was saved, because the film that is kept could not be replaced by this reading's.
        ValueError: the reading is none of a film that could be read.
    """
    who.require(Action.READ_FILMS)
    if reading.failed or reading.source is None:
        raise ValueError("only a film that could be read becomes a case")
    patient = checked_patient(patient)
    sealed, problem = None, ""
    with contextlib.ExitStack() as stack:
        if pixels is not None:
            # A database that cannot be reached is found here, before anything is written.
            with snapshot() as session:
                known = session.scalar(select(Case).where(Case.image == reading.key))
                wanted = _wants_film(known, reading, network, anew=anew)
            try:
                stack.enter_context(film_store.adding())
                sealed = film_store.sealed(pixels) if wanted else None
            except (FilmStoreError, SettingsError) as error:
                problem = str(error)
        with transaction() as session:
            now = datetime.now(UTC)
            case = session.scalar(select(Case).where(Case.image == reading.key))
            new = case is None
            wanted = _wants_film(case, reading, network, anew=anew)
            before: dict[str, Any] = {}
            if case is None:
                case = Case(
                    pseudonym=_new_pseudonym(session), image=reading.key, created=now, by=who.name, film=False
                )
                session.add(case)
            else:
                before = {"version": case.version, "probability": _rounded(case.probability)}
            overruled_before = bool(case.overruled)
            same_film = not new and _same_film(case, reading)
            replaces = new or anew or case.network != network
            if replaces:
                _take(case, reading, network=network, threshold=threshold, certainty=certainty, heat=heat)
                case.readings.append(
                    CaseReading(
                        when=now,
                        by=who.name,
                        version=reading.version,
                        network=network,
                        probability=reading.probability,
                        threshold=threshold,
                    )
                )
            elif heat and case.heat is None and reading.heat is not None and same_film:
                case.heat = _packed(reading.heat)
            if case.patient is None:
                case.patient = patient
            session.flush()  # what the database does not take is known before the film is written
            outdated = replaces and case.film and not same_film
            if wanted and sealed is not None:
                try:
                    film_store.put(reading.key, sealed)
                    case.film = True
                except FilmStoreError as error:
                    problem = str(error)
            if outdated and problem:
                raise FilmStoreError(problem)
            if outdated and pixels is None:
                case.film = False  # it does not go with the record any more; the sweep removes it
            after = {
                "version": reading.version,
                "probability": _rounded(reading.probability),
                "threshold": threshold,
                "decision": _decision(reading.probability, threshold),
                "film kept": case.film,
            }
            audit_trail.add(session, "reading", who=who, subject=case.pseudonym, before=before, after=after)
            if reading.overruled and not overruled_before:
                refusal = {"refusal": reading.refusal}
                audit_trail.add(session, "overruled", who=who, subject=case.pseudonym, after=refusal)
            session.flush()
            saved = Saved(
                pseudonym=case.pseudonym,
                new=new,
                created=case.created,
                by=case.by,
                version=case.version,
                patient=case.patient,
                film=case.film,
                heat=case.heat is not None,
                problem=problem,
            )
    return saved


def checked_patient(text: str | None) -> str | None:
    """A patient's pseudonym without blanks around it; None for nothing.

    Raises:
        CaseError: it is none: letters without accents, digits, full stops, hyphens and underscores, at most 64.
    """
    text = (text or "").strip()
    if not text:
        return None
    if not _PATIENT.fullmatch(text):
        raise CaseError(
            "A patient's pseudonym is made of letters, digits, full stops, hyphens and underscores, at most 64 of "
            "them: no name, no blanks."
        )
    return text


def visible(who: Person) -> ColumnElement[bool]:
    """The condition on `Case` that says which cases a person may see: all, or the own ones and those without verdict.

    Raises:
        Forbidden: `who` may see none.
    """
    if who.may(Action.SEE_ALL_CASES):
        return true()
    who.require(Action.SEE_OPEN_CASES)
    return or_(Case.by == who.name, Case.verdict.is_(None))


def open_case(pseudonym: str, *, who: Person) -> CaseView:
    """A case with all that is kept of it, but for its film.

    Raises:
        NoSuchCase: there is none.
        Forbidden: `who` may not see it.
        DatabaseError: it cannot be read.
    """
    with snapshot() as session:
        return _view(_seen_by(session, pseudonym, who))


def film(pseudonym: str, *, who: Person) -> NDArray[np.uint8] | None:
    """The film of a case, uint8 (height, width), as its latest reading saw it; None where none is kept.

    Raises:
        NoSuchCase, Forbidden, DatabaseError: as `open_case`.
        FilmStoreError: it is kept and cannot be shown; one sentence.
    """
    with snapshot() as session:
        case = _seen_by(session, pseudonym, who)
        image, kept = case.image, case.film
    if not kept:
        return None
    pixels = film_store.get(image)
    if pixels is None:
        raise FilmStoreError(
            "The film of this case is not where it was kept: ask your administrator to restore the folder of films."
        )
    return pixels


def give_verdict(pseudonym: str, *, revision: int, verdict: str | None, note: str, who: Person) -> CaseView:
    """Write verdict and note, where the case is still as the person saw it.

    Args:
        pseudonym: of the case.
        revision: `CaseView.revision` of what was looked at.
        verdict: one of `VERDICTS`; None takes it back.
        note: at most `LONGEST_NOTE` characters.
        who: must be permitted to give verdicts.

    Returns:
        The case as it is now.

    Raises:
        Conflict: the case was changed since; the sentence says who did what. Nothing was written.
        CaseError: the note is too long.
        NoSuchCase, Forbidden, DatabaseError: as `open_case`.
    """
    who.require(Action.GIVE_VERDICT)
    if verdict is not None and verdict not in VERDICTS:
        raise ValueError(f"A verdict is one of {', '.join(VERDICTS)}, not {verdict!r}.")
    note = note.strip()
    if len(note) > LONGEST_NOTE:
        raise CaseError(
            f"A note has at most {LONGEST_NOTE} characters, this one has {len(note)}: shorten it."
        )
    with transaction() as session:
        case = _seen_by(session, pseudonym, who)
        if case.revision != revision:
            raise Conflict(
                f"{_latest(case, who)} Nothing of yours was saved: look at the case anew, then decide."
            )
        before = {"verdict": case.verdict, "note": case.note}
        after = {"verdict": verdict, "note": note}
        if before == after:
            return _view(case)
        now = datetime.now(UTC)
        case.verdict, case.note = verdict, note
        case.verdict_by, case.verdict_at = who.name, now
        case.changes.append(CaseChange(when=now, by=who.name, before=before, after=after))
        # The note may hold anything: the audit trail, which is never deleted, tells only that there is one.
        audit_trail.add(
            session,
            "verdict",
            who=who,
            subject=case.pseudonym,
            before={"verdict": before["verdict"], "note": bool(before["note"])},
            after={"verdict": verdict, "note": bool(note), "note changed": before["note"] != note},
        )
        session.flush()
        return _view(case)


def keep_heat(
    pseudonym: str, *, heat: NDArray[np.float32], probability: float | None, who: Person
) -> CaseView:
    """Keep the heat map of the case's latest reading with it.

    Args:
        pseudonym: of the case.
        heat: (h, w).
        probability: of the reading that the map belongs to.
        who: must be permitted to read films.

    Raises:
        Conflict: the case shows another reading by now.
        NoSuchCase, Forbidden, DatabaseError: as `open_case`.
    """
    who.require(Action.READ_FILMS)
    with transaction() as session:
        case = _seen_by(session, pseudonym, who)
        if case.probability != probability:
            raise Conflict(f"{_latest(case, who)} The map of the earlier reading was not kept.")
        case.heat = _packed(heat)
        audit_trail.add(
            session, "heat map kept", who=who, subject=case.pseudonym, after={"version": case.version}
        )
        session.flush()
        return _view(case)


def delete(pseudonym: str, *, who: Person) -> Deleted:
    """Delete a case with all that is kept of it, its film too.

    Raises:
        Forbidden: `who` may not.
        NoSuchCase: there is none.
        FilmStoreError: the folder of films cannot be used; nothing was deleted.
        DatabaseError: nothing was deleted.
    """
    who.require(Action.DELETE_CASE)
    with film_store.removing():
        with transaction() as session:
            case = _find(session, pseudonym)
            gone = _delete(session, [case], who=who, reason="on request")
        return _films_gone(gone)


def expire(now: datetime, *, retention_days: int | None, who: Person = RETENTION) -> Deleted:
    """Delete the cases that were first read more than `retention_days` ago; None deletes none.

    Args:
        now: the time from which the days are counted back.
        retention_days: 1 or more.
        who: has it done; the audit trail tells.

    Raises:
        FilmStoreError, DatabaseError: some cases may have been deleted, the others wait for the next time.
    """
    if retention_days is None:
        return Deleted(0, 0)
    limit = now - timedelta(days=retention_days)
    cases = films = 0
    problem = ""
    while True:
        with film_store.removing():
            with transaction() as session:
                query = select(Case).where(Case.created < limit).order_by(Case.created).limit(_AT_ONCE)
                gone = _delete(
                    session, session.scalars(query), who=who, reason=f"after {retention_days} days"
                )
            done = _films_gone(gone)
        cases, films, problem = cases + done.cases, films + done.films, problem or done.problem
        if done.cases < _AT_ONCE:
            return Deleted(cases, films, problem)


def sweep() -> int:
    """Remove films that no case names: what a process left behind that was killed between the two.

    Raises:
        FilmStoreError, DatabaseError, UploadError: it could not be done.
    """
    verdict_set.sweep(get_settings().home)

    def wanted(images: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with snapshot() as session:
            for start in range(0, len(images), 500):
                part = images[start : start + 500]
                found.update(session.scalars(select(Case.image).where(Case.image.in_(part), Case.film)))
        return found

    return film_store.sweep(wanted)


def older_than(days: int, *, now: datetime) -> int:
    """How many cases were first read more than `days` ago.

    Raises:
        DatabaseError: it cannot be read.
    """
    with snapshot() as session:
        query = select(func.count()).select_from(Case).where(Case.created < now - timedelta(days=days))
        return session.scalar(query) or 0


def exists(pseudonym: str) -> bool:
    """Whether there is a case under this pseudonym; nothing of it is shown.

    Raises:
        DatabaseError: it cannot be read.
    """
    with snapshot() as session:
        return session.scalar(select(Case.id).where(Case.pseudonym == pseudonym)) is not None


def stored() -> Stored:
    """What is stored at the moment.

    Raises:
        DatabaseError: it cannot be read.
    """
    with snapshot() as session:
        cases, verified, heats, oldest = session.execute(
            select(func.count(), func.count(Case.verdict), func.count(Case.heat), func.min(Case.created))
        ).one()
    films, film_bytes = film_store.size()
    return Stored(cases, verified, heats, oldest, films, film_bytes)


# --- saving ---


def _take(
    case: Case, reading: Reading, *, network: str, threshold: float, certainty: str, heat: bool
) -> None:
    """Make a reading the latest of the case."""
    source = reading.source
    assert source is not None
    facts = source.dicom
    keeps_heat = heat or case.heat is not None
    case.version, case.network = reading.version, network
    case.probability, case.threshold, case.certainty = reading.probability, threshold, certainty
    case.refusal, case.overruled = reading.refusal, reading.overruled
    case.corrections = list(reading.offers)
    case.quality = [remark.message for remark in reading.quality]
    case.done = list(_done(source))
    case.view = None if facts is None else facts.view or None
    case.age = None if facts is None else facts.age
    case.sex = None if facts is None else facts.sex or None
    case.pooled = None if reading.pooled is None else _packed(reading.pooled)
    case.heat = _packed(reading.heat) if keeps_heat and reading.heat is not None else None


def _wants_film(case: Case | None, reading: Reading, network: str, *, anew: bool) -> bool:
    """Whether the film is to be written: not where it lies there already as the case's latest reading saw it."""
    if case is None:
        return True
    if not _same_film(case, reading):
        return anew or case.network != network
    return not (case.film and film_store.has(reading.key))


def _same_film(case: Case, reading: Reading) -> bool:
    """Whether the reading saw the film as the case's latest one did: no other frame, window or correction."""
    return case.done == list(_done(reading.source))


def _done(source: Source | None) -> tuple[str, ...]:
    """What the file was, then what was done to it."""
    assert source is not None
    return (
        f"{source.format}, {source.width} × {source.height} pixels, {source.bit_depth} bit",
        *source.done,
    )


def _new_pseudonym(session: Session) -> str:
    """One that no case has; no other transaction can take it before this one ends."""
    while True:
        drawn = "".join(secrets.choice(_LETTERS) for _ in range(8))
        pseudonym = f"{drawn[:4]}-{drawn[4:]}"
        if session.scalar(select(Case.id).where(Case.pseudonym == pseudonym)) is None:
            return pseudonym


# --- looking up ---


def _find(session: Session, pseudonym: str) -> Case:
    case = session.scalar(
        select(Case)
        .where(Case.pseudonym == pseudonym.strip().upper())
        .options(selectinload(Case.readings), selectinload(Case.changes))
    )
    if case is None:
        raise NoSuchCase
    return case


def _seen_by(session: Session, pseudonym: str, who: Person) -> Case:
    case = _find(session, pseudonym)
    if case.by == who.name or case.verdict is None:
        who.require(Action.SEE_OPEN_CASES)
    else:
        who.require(Action.SEE_ALL_CASES)
    return case


def _view(case: Case) -> CaseView:
    heat = _unpacked(case.heat)
    return CaseView(
        pseudonym=case.pseudonym,
        patient=case.patient,
        image=case.image,
        created=case.created,
        by=case.by,
        version=case.version,
        network=case.network,
        probability=case.probability,
        threshold=case.threshold,
        certainty=case.certainty,
        refusal=case.refusal,
        overruled=case.overruled,
        corrections=tuple(case.corrections),
        quality=tuple(case.quality),
        done=tuple(case.done),
        view=case.view,
        age=case.age,
        sex=case.sex,
        pooled=_unpacked(case.pooled),
        heat=None if heat is None else heat.astype(np.float32),
        film=case.film,
        verdict=case.verdict,
        note=case.note,
        verdict_by=case.verdict_by,
        verdict_at=case.verdict_at,
        revision=case.revision,
        readings=tuple(
            ReadingView(each.when, each.by, each.version, each.network, each.probability, each.threshold)
            for each in case.readings
        ),
        changes=tuple(ChangeView(each.when, each.by, each.before, each.after) for each in case.changes),
    )


def _latest(case: Case, who: Person) -> str:
    """Who did what to the case last, in one sentence for `who`."""
    change = case.changes[-1] if case.changes else None
    reading = case.readings[-1] if case.readings else None
    if change is not None and (reading is None or change.when >= reading.when):
        what = change.after.get("verdict")
        did = "took the verdict back" if what is None else f"gave the verdict {what}"
        if change.before.get("verdict") == what:
            did = "changed the note"
        somebody = "You yourself, elsewhere," if change.by == who.name else change.by
        return (
            f"{somebody} {did} at {change.when.astimezone():%H:%M on %d %B %Y}, after you opened this case."
        )
    if reading is not None and len(case.readings) > 1:
        return (
            f"{reading.by} had the film read again at {reading.when.astimezone():%H:%M on %d %B %Y}, after you "
            "opened this case."
        )
    return "The case was changed after you opened it."


# --- deleting ---


@dataclass(frozen=True)
class _Gone:
    cases: int
    images: tuple[str, ...]


def _delete(session: Session, cases: Iterable[Case], *, who: Person, reason: str) -> _Gone:
    """Delete cases, each with its line in the audit trail; gives the films that are to go after the commit."""
    identities, images = [], []
    for case in cases:
        identities.append(case.id)
        if case.film:
            images.append(case.image)
        audit_trail.add(
            session,
            "deletion",
            who=who,
            subject=case.pseudonym,
            before={"verdict": case.verdict, "film kept": case.film},
            after={"reason": reason},
        )
    session.execute(
        delete_from(Case).where(Case.id.in_(identities))
    )  # the database deletes what belongs to them
    return _Gone(len(identities), tuple(images))


def _films_gone(gone: _Gone) -> Deleted:
    films, problem = 0, ""
    for image in gone.images:
        try:
            films += film_store.delete(image)
        except FilmStoreError as error:
            problem = str(error)
    if gone.cases:
        try:
            verdict_set.sweep(get_settings().home)  # they may lie in sets for training, too
        except (DatabaseError, UploadError) as error:
            problem = problem or str(error)
    return Deleted(gone.cases, films, problem)


# --- small things ---


def _decision(probability: float | None, threshold: float) -> str:
    return NOT_JUDGED if probability is None else decide(probability, threshold=threshold)


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 6)


def _packed(array: NDArray[Any]) -> bytes:
    target = io.BytesIO()
    np.save(target, array.astype(np.float16), allow_pickle=False)
    return target.getvalue()


def _unpacked(data: bytes | None) -> NDArray[np.float16] | None:
    return None if data is None else np.load(io.BytesIO(data), allow_pickle=False)
