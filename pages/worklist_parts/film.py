"""The film of the open case with its map, and the reading beside it; the same pieces as on Diagnose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from model.films import prepare
from model.inference import InferenceError
from model.registry import Version, VersionError
from pages.diagnose_parts import where
from pages.diagnose_parts.common import Opened
from pages.worklist_parts import common
from utils import cases, evidence, look, people, session
from utils.cases import CaseView, FilmStoreError, NoSuchCase
from utils.permissions import Action
from utils.readings import Entry, Reading, data_uri, screen_jpeg
from utils.session import Screen

FILM = "worklist-film"  # the one film that is looked at, with what was computed of it
_BLANK = (256, 256)
"""Height and width, in pixels, of what a map is drawn on where the film is not kept."""


@dataclass(frozen=True)
class Kept:
    """The open case's film in this session.

    Attributes:
        key: of the case's latest reading.
        picture: JPEG for the screen; empty where there is no film.
        seen: uint8 (h, w), what the network saw of it; None where there is no film.
        heat: float32 (h, w), computed here; None where nobody asked for it.
        problem: why there is no film although one is kept; one sentence.
    """

    key: tuple[str, int]
    picture: bytes = b""
    seen: NDArray[np.uint8] | None = None
    heat: NDArray[np.float32] | None = None
    problem: str = ""


@dataclass(frozen=True)
class Looked:
    """The case as the pieces of Diagnose take it; `opened` is None where its version is not at hand."""

    reading: Reading
    opened: Opened | None


def version_of(view: CaseView, screen: Screen) -> Version | None:
    """The version of the case's latest reading; None where it is not at hand any more."""
    found = [screen.version] if screen.version is not None else []
    if not found or (found[0].name, found[0].card.sha256) != (view.version, view.network):
        found = [
            each
            for each in session.all_versions()
            if (each.name, each.card.sha256) == (view.version, view.network)
        ]
    return found[0] if found else None


def show(view: CaseView, version: Version | None, screen: Screen) -> Looked:
    """The film, large, with the controls of its map."""
    kept = _film(view, version, screen)
    reading = Reading(
        key=view.image,
        version=view.version,
        probability=view.probability,
        picture=kept.picture,
        heat=view.heat,
        pooled=view.pooled,
        seen=kept.seen,
        refusal=view.refusal,
        overruled=view.overruled,
        offers=view.corrections,
    )
    computes = version is not None and view.probability is not None and kept.seen is not None
    if st.session_state.get(where.SHOWN) and reading.heat is None and computes:
        assert version is not None
        kept = _with_heat(kept, version)
        reading = replace(reading, heat=kept.heat)
    entry = Entry(name=view.pseudonym, key=view.image)
    opened = None if version is None else Opened(entry, reading, version, screen.threshold)
    _draw(view, kept, reading, opened, entry, screen, computes=computes)
    return Looked(reading, opened)


def _draw(
    view: CaseView,
    kept: Kept,
    reading: Reading,
    opened: Opened | None,
    entry: Entry,
    screen: Screen,
    *,
    computes: bool,
) -> None:
    viewer = st.container(key="viewer")
    if not kept.picture and view.heat is None:
        why = kept.problem or "The film of this case is not kept: the department keeps records without films."
        with viewer:
            st.html(look.empty_viewer(why))
        return
    picture = kept.picture or screen_jpeg(np.zeros(_BLANK, np.uint8))
    if view.heat is None and not computes:
        address, words = data_uri(picture), where.FILM
    else:
        shown = opened if opened is not None else _without_version(entry, reading, screen)
        if shown is None:
            address, words = data_uri(picture), where.FILM
        else:
            address, words = where.picture(shown, picture, finer=computes)
    viewer.image(address, width="stretch", alt=words)
    if not kept.picture:
        st.caption(
            f"{kept.problem or 'The film is not kept.'} Its map is, and is drawn on black, as a square: top is top."
        )
    if kept.heat is not None and view.heat is None and st.session_state.get(where.SHOWN):
        _keep_button(view, kept.heat)


def _without_version(entry: Entry, reading: Reading, screen: Screen) -> Opened | None:
    """For a map that is kept of a version that is not: drawing it needs none."""
    return None if screen.version is None else Opened(entry, reading, screen.version, screen.threshold)


def _film(view: CaseView, version: Version | None, screen: Screen) -> Kept:
    """The film, fetched and decrypted once for as long as the case is open."""
    key = (view.pseudonym, len(view.readings))
    kept = st.session_state.get(FILM)
    if isinstance(kept, Kept) and kept.key == key:
        return kept
    if not view.film:
        return Kept(key)
    try:
        pixels = cases.film(view.pseudonym, who=screen.person)
    except (*common.UNREACHABLE, FilmStoreError, NoSuchCase, PermissionError) as error:
        return Kept(key, problem=str(error))
    if pixels is None:
        return Kept(key)
    seen = None if version is None else prepare(pixels, size=version.card.input_size)[:, :, 0]
    kept = Kept(key, picture=screen_jpeg(pixels), seen=seen)
    st.session_state[FILM] = kept
    return kept


def _with_heat(kept: Kept, version: Version) -> Kept:
    """The film with the map of its version, computed where that can be done at once."""
    if kept.heat is not None:
        return kept
    assert kept.seen is not None
    future = session.predictor(version)
    if not future.done():
        _wait(version)
        return kept
    try:
        found = future.result().read(np.repeat(kept.seen[None, :, :, None], 3, axis=3))
    except (InferenceError, VersionError, ValueError) as error:
        st.caption(str(error))
        return kept
    kept = replace(kept, heat=None if found.heat is None else found.heat[0])
    st.session_state[FILM] = kept
    return kept


@st.fragment(run_every=1.0)
def _wait(version: Version) -> None:
    if session.predictor(version).done():
        st.rerun()
    st.caption(f":material/hourglass_top: Version {look.plain(version.name)} is being loaded for the map.")


def _keep_button(view: CaseView, heat: NDArray[np.float32]) -> None:
    st.button(
        "Keep this map with the case",
        icon=":material/bookmark_add:",
        on_click=_keep,
        args=(view.pseudonym, heat, view.probability),
        help="It is then shown at once, also where the film or the version is not kept any more.",
    )


@session.permitted(Action.READ_FILMS)
def _keep(pseudonym: str, heat: NDArray[np.float32], probability: float | None) -> None:
    try:
        cases.keep_heat(pseudonym, heat=heat, probability=probability, who=people.current())
    except (*common.UNREACHABLE, NoSuchCase, PermissionError) as error:
        common.problem_is(str(error))
        return
    common.say("The map is kept with the case.")


def answer(looked: Looked, view: CaseView, version: Version | None, *, threshold: float) -> None:
    """What the network said, at the threshold of now; what was said when it read the film stands in the history."""
    with st.container(key="worklist-answer"):
        if view.probability is None:
            st.html(look.refusal(view.refusal, quality=view.quality))
            return
        certain = None if version is None else evidence.certainty_of(version)
        sure = looked.reading.verdict(certain)
        st.html(
            look.answer(
                view.probability,
                threshold=threshold,
                rates="",
                certainty=(sure, certain.rule.error_rate) if certain and sure else None,
                record=view.record,
                quality=view.quality,
            )
        )
