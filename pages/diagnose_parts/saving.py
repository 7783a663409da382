"""Saving what was read, as the department chose: which case a film became, and what could not be saved yet.

A reading on the screen hangs on nothing here. What cannot be saved waits in the session, with its film where films are
kept, until a button saves it after all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from model.films import ImageError
from model.registry import Version
from utils import audit_trail, cases, choices, department, evidence, look, people, session
from utils.cases import CaseError, NoSuchCase, Saved
from utils.choices import Choices
from utils.database import DatabaseError
from utils.film_store import FilmStoreError
from utils.permissions import Action, Forbidden, Person, SignedOut
from utils.readings import HELD_BYTES, Reading, film_as_read
from utils.settings import SettingsError

STATE = "diagnose-saving"
THRESHOLD = "diagnose-threshold"  # the one of the last run, for callbacks

_REASONS = (DatabaseError, FilmStoreError, SettingsError, SignedOut, Forbidden, CaseError)
"""What may keep a reading from being saved; each is a sentence."""


@dataclass(frozen=True)
class _Waiting:
    """A reading that is to be saved, with all that saving needs."""

    reading: Reading
    network: str
    threshold: float
    certainty: str
    patient: str | None
    anew: bool
    pixels: NDArray[np.uint8] | None


@dataclass
class _State:
    """What this session knows of saving.

    Attributes:
        saved: the case of each film, by the hash of its file.
        waiting: what could not be saved, by the same hash.
        unnoted: events for the audit trail that could not be entered, where nothing is saved.
        problem: why not, one sentence.
        batch: number of the batch that is read, `done` what of it has been seen to.
        halted: whether saving failed in it.
    """

    saved: dict[str, Saved] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    unnoted: list[tuple[audit_trail.Event, dict[str, Any]]] = field(default_factory=list)
    problem: str = ""
    batch: int = -1
    done: set[str] = field(default_factory=set)
    halted: bool = False


def _state() -> _State:
    found = st.session_state.setdefault(STATE, _State())
    assert isinstance(found, _State)
    return found


# --- what the screen says ---


def patient_field(batch: int) -> tuple[str | None, bool]:
    """Where films are saved: a field for the patient's pseudonym, empty again for each batch.

    Returns:
        The pseudonym, and whether it can be taken as it is.
    """
    text = st.text_input(
        "Patient's pseudonym, if any",
        key=f"diagnose-patient-{batch}",
        max_chars=64,
        help="For the next films you drop, all of one patient. Films of one patient stay together when a network is "
        "trained. No name, and no number that the hospital uses.",
    )
    try:
        return cases.checked_patient(text), True
    except CaseError as error:
        st.caption(f":material/error: {error}")
        return None, False


def chosen() -> Choices | None:
    """The department's choices; None where they cannot be read."""
    try:
        return choices.get_choices()
    except (DatabaseError, SettingsError):
        return None


def line(made: Choices | None) -> None:
    """One quiet line, what is saved; below it, only where something could not be saved, why, and a button."""
    st.caption(f":material/inventory_2: {in_words(made)}")
    state = _state()
    if not (state.waiting or state.unnoted):
        return
    without_film = sum(key in state.saved and not one.anew for key, one in state.waiting.items())
    unsaved = len(state.waiting) - without_film
    parts = []
    if unsaved:
        parts.append(
            f"{_films(unsaved)} read and not saved yet. Keep this page open: the readings are here and nowhere else."
        )
    if without_film:
        parts.append(f"{_films(without_film)} saved without the picture.")
    if state.unnoted:
        parts.append("The audit trail does not tell of the last readings yet.")
    st.error(look.plain(f"{' '.join(parts)} {state.problem}"), icon=":material/error:")
    st.button("Try saving again", icon=":material/save:", key="diagnose-save-again", on_click=_try_again)


def in_words(made: Choices | None) -> str:
    """What is saved of a film that is read here."""
    if made is None:
        return "The database cannot be read at the moment: what you read waits on this page until it can be saved."
    if made.saving == "off":
        return "Nothing is saved: readings and films are gone when you close this page."
    what = "its film, encrypted" if made.saving == "films" else "without its film"
    days = made.retention_days
    until = "" if days is None else f", for {days} {'day' if days == 1 else 'days'}"
    kept = f"with {what}" if made.saving == "films" else what
    return (
        f"Each film you read is saved as a case under a pseudonym, {kept}{until}. File names are not saved."
    )


def case_of(key: str) -> str:
    """The pseudonym of a film's case; empty where it has none."""
    found = _state().saved.get(key)
    return "" if found is None else found.pseudonym


def known_cases() -> dict[str, str] | None:
    """The pseudonyms of this page's cases by film; None where nothing was saved."""
    return {key: one.pseudonym for key, one in _state().saved.items()} or None


def case_line(key: str) -> None:
    """Beside the opened film: its case, and whether the film was known before."""
    state = _state()
    found = state.saved.get(key)
    if found is None:
        if key in state.waiting:
            st.caption(":material/error: Not saved yet.", width="content")
        return
    parts = [f"Case **{found.pseudonym}**"]
    if not found.new:
        parts.append(f"read before, first on {found.created.astimezone():%d %B %Y, %H:%M}")
    if found.patient:
        parts.append(f"patient {look.plain(found.patient)}")
    if found.film:
        parts.append("film kept")
    if found.heat:
        parts.append("heat map kept")
    st.caption(f":material/folder_open: {' · '.join(parts)}", width="content")


def heat_button(reading: Reading, heat: NDArray[np.float32]) -> None:
    """Keeping the map that is shown with the case, where there is a case."""
    found = _state().saved.get(reading.key)
    if found is None or reading.key in _state().waiting:
        return
    st.button(
        "Map kept" if found.heat else "Keep map",
        icon=":material/bookmark_added:" if found.heat else ":material/bookmark_add:",
        key="map-keep",
        help="Keeps this map with the case, for whoever opens it later. Asked for again, it replaces the one kept.",
        on_click=_keep_heat,
        args=(reading, heat),
    )


# --- what is done ---


def films_read(
    readings: Iterable[Reading],
    load: Callable[[str], bytes],
    version: Version,
    *,
    batch: int,
    threshold: float,
    patient: str | None,
) -> None:
    """Save what was read of a batch, each film once, however often the run is cut short and goes on.

    Args:
        readings: films that could be read; what was saved of this batch already is passed over.
        load: gives the bytes of one of them by its hash.
        version: what they were read with.
        batch: number of the batch.
        threshold: the session's, in [0, 1].
        patient: pseudonym, for all of them.
    """
    state = _state()
    if state.batch != batch:
        state.batch, state.done, state.halted = batch, set(), False
    todo = [one for one in readings if not one.failed and one.key not in state.done]
    if not todo:
        return
    made = chosen()
    if made is not None and made.saving == "off":
        state.done.update(one.key for one in todo)
        _note("reading", {"films": len(todo), "version": version.name, "saved": False})
        return
    for reading in todo:
        film = None
        if made is None or made.saving == "films":
            film = _film(reading, load(reading.key))
        _save(_waiting(reading, version, threshold=threshold, patient=patient, anew=False, film=film))
        state.done.add(reading.key)


def read_anew(reading: Reading, version: Version, *, synthetic: bool) -> None:
    """Save what became of a film that somebody had read otherwise: corrected, through a window, or although refused."""
    if reading.failed or synthetic:
        return
    state = _state()
    state.halted = False
    made = chosen()
    threshold = float(st.session_state.get(THRESHOLD, session.start_threshold(version)))
    if made is not None and made.saving == "off":
        event: audit_trail.Event = "overruled" if reading.overruled else "reading"
        _note(event, {"films": 1, "version": version.name, "saved": False})
        return
    film = _film(reading, None) if made is None or made.saving == "films" else None
    _save(_waiting(reading, version, threshold=threshold, patient=None, anew=True, film=film))


def forget() -> None:
    """The list is emptied: its cases are no more of this page. What waits to be saved stays."""
    _state().saved = {key: one for key, one in _state().saved.items() if key in _state().waiting}


def _waiting(
    reading: Reading,
    version: Version,
    *,
    threshold: float,
    patient: str | None,
    anew: bool,
    film: NDArray[np.uint8] | None,
) -> _Waiting:
    earlier = _state().waiting.get(reading.key)
    return _Waiting(
        reading=reading,
        network=department.base_of(version).card.sha256,
        threshold=threshold,
        certainty=reading.verdict(evidence.certainty_of(version)),
        patient=patient if earlier is None else patient or earlier.patient,
        anew=anew,
        pixels=film,
    )


def _film(reading: Reading, data: bytes | None) -> NDArray[np.uint8] | None:
    try:
        film = film_as_read(reading, data)
    except ImageError:
        return None
    return None if film is None else film.pixels


def _save(one: _Waiting) -> None:
    """Save a reading, or let it wait with the reason."""
    state = _state()
    key = one.reading.key
    if state.halted:
        _wait(one)  # the reason is known; others that are tried would only take their time to fail
        return
    try:
        who, made = _who_and_what()
        if made.saving == "off":  # chosen since
            state.waiting.pop(key, None)
            return
        saved = cases.save(
            one.reading,
            network=one.network,
            pixels=one.pixels if made.saving == "films" else None,
            who=who,
            threshold=one.threshold,
            certainty=one.certainty,
            patient=one.patient,
            heat=made.keep_heat,
            anew=one.anew,
        )
    except _REASONS as error:
        state.problem, state.halted = str(error), True
        _wait(one)
        return
    before = state.saved.get(key)
    # A film that this page brought in does not become one "read before" by being corrected, or saved at a second try.
    state.saved[key] = replace(saved, new=saved.new or (before is not None and before.new))
    if saved.problem:
        state.problem = saved.problem
        _wait(replace(one, anew=False))
    else:
        state.waiting.pop(key, None)


def _wait(one: _Waiting) -> None:
    waiting = _state().waiting
    waiting.pop(one.reading.key, None)
    waiting[one.reading.key] = one
    held = 0
    for key, each in reversed(waiting.items()):
        held += 0 if each.pixels is None else each.pixels.nbytes
        if held > HELD_BYTES and each.pixels is not None:
            waiting[key] = replace(each, pixels=None)  # its record can still be saved


def _try_again() -> None:
    state = _state()
    state.halted = False
    for one in list(state.waiting.values()):
        _save(one)
    unnoted, state.unnoted = state.unnoted, []
    for event, after in unnoted:
        _note(event, after)


def _note(event: audit_trail.Event, after: dict[str, Any]) -> None:
    """Tell the audit trail of readings that are not saved: how many, and by which version."""
    state = _state()
    try:
        audit_trail.record(event, who=people.current(), after=after)
    except _REASONS as error:
        state.problem = str(error)
        state.unnoted.append((event, after))


def _keep_heat(reading: Reading, heat: NDArray[np.float32]) -> None:
    state = _state()
    found = state.saved[reading.key]
    try:
        who, _ = _who_and_what()
        cases.keep_heat(found.pseudonym, heat=heat, probability=reading.probability, who=who)
    except (*_REASONS, NoSuchCase) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    state.saved[reading.key] = replace(found, heat=True)


def _who_and_what() -> tuple[Person, Choices]:
    who = people.current()
    who.require(Action.READ_FILMS)
    return who, choices.get_choices()


def _films(count: int) -> str:
    return "1 film is" if count == 1 else f"{count} films are"
