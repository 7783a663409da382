"""Where it looked: the network's map on the film, as colours or contours, quick or finer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from model.explanation import scale_of
from model.inference import InferenceError
from model.registry import VersionError
from pages.diagnose_parts import common, saving
from pages.diagnose_parts.common import Opened
from utils import look, overlay, session
from utils.decisions import NORMAL, decide
from utils.readings import OTHER_VERSION, data_uri

SHOWN = "evidence-map-shown"
OPACITY = "evidence-map-opacity"
STYLE = "evidence-map-style"
FINER = "evidence-map-finer"  # the finer maps of this session's films, by what the network saw
FINER_SHOWN = "evidence-map-finer-shown"
VIEWS = "evidence-views"
DRAWN = "evidence-map-drawn"  # the one picture that was drawn last, with what it was drawn from
KEPT = (FINER, VIEWS, DRAWN)
"""What is computed of films beyond their readings, and goes with them."""
STANDARD_OPACITY = 60
FILM = "The opened chest X-ray"


@dataclass(frozen=True)
class _Drawn:
    wanted: tuple[object, ...]
    picture: NDArray[np.uint8]
    address: str


def picture(opened: Opened, film: bytes, *, finer: bool = True) -> tuple[str, str]:
    """The controls of the map; returns the address of the picture to show, and its words for those who cannot see.

    Args:
        opened: the film that is looked at.
        film: its picture, as JPEG.
        finer: whether the finer map may be asked for, which takes what the network saw and its version.
    """
    alone = (data_uri(film), FILM)
    reading = opened.reading
    if reading.probability is None:
        return alone
    on = bool(st.session_state.get(SHOWN, False))
    running = _finer(opened)
    with st.container(horizontal=True, vertical_alignment="center", key="map-buttons"):
        st.button(
            "Show the film alone" if on else "Show where it looked",
            icon=":material/visibility_off:" if on else ":material/visibility:",
            key="map-toggle",
            shortcut="M",
            on_click=_toggle,
        )
        if on:
            if finer:
                _finer_button(opened, running)
            download = st.container(width="content")
            keep = st.container(width="content")
            if running is not None and not running.result.done():
                _wait(common.seen_key(reading))
    common.problem()
    if not on:
        return alone
    heat, is_finer = _chosen(opened, running)
    if heat is None:
        st.caption(
            "This network's last layers do not tell where it looked: ask for the finer map, which hides one patch "
            "of the film after the other."
        )
        return alone
    if overlay.is_nothing(heat):
        more = " The finer map may show more." if finer else ""
        st.caption(
            "No patch of this film, hidden, lowers the network's log-odds of pneumonia: there is nothing to draw."
            if is_finer
            else f"No place of this film speaks for pneumonia by itself: there is nothing to draw.{more}"
        )
        return alone
    style, opacity = _controls()
    drawn = _drawn(opened, film, heat, style=style, opacity=opacity, finer=is_finer)
    st.html(look.heat_scale(scale_of(heat), colours=style == "Colours", levels=overlay.LEVELS))
    st.caption(_words(opened, finer=is_finer))
    download.download_button(
        "Download",
        data=lambda: overlay.png(drawn.picture, heat=heat),
        # Not the film's name, which may be a patient's.
        file_name="pneumoscope-map.png",
        mime="image/png",
        icon=":material/download:",
        on_click="ignore",
        key="map-download",
        help="The film with this map as PNG, without the file's name or anything else about it.",
    )
    with keep:
        saving.heat_button(reading, heat)
    kind = "the finer map" if is_finer else "the map"
    return drawn.address, f"{FILM} with {kind} of what speaks for pneumonia"


def _toggle() -> None:
    st.session_state[SHOWN] = not st.session_state.get(SHOWN, False)


def _controls() -> tuple[overlay.Style, float]:
    left, right = st.columns([1, 1], vertical_alignment="bottom")
    with left:
        st.session_state.setdefault(OPACITY, STANDARD_OPACITY)
        opacity = st.slider("Opacity", 0, 100, step=5, format="%d %%", key=OPACITY, persist_state="session")
    with right:
        style: overlay.Style = st.segmented_control(
            "Drawn as",
            options=("Colours", "Contours"),
            default="Colours",
            required=True,
            key=STYLE,
            persist_state="session",
        )
    return style, opacity / 100


def _drawn(
    opened: Opened,
    film: bytes,
    heat: NDArray[np.float32],
    *,
    style: overlay.Style,
    opacity: float,
    finer: bool,
) -> _Drawn:
    """The film with its map, drawn once for all moves of the threshold."""
    wanted = (common.seen_key(opened.reading), hash(film), finer, style, opacity)
    kept = st.session_state.get(DRAWN)
    if isinstance(kept, _Drawn) and kept.wanted == wanted:
        return kept
    picture = overlay.drawn(overlay.pixels_of(film), heat, opacity=opacity, style=style)
    made = _Drawn(wanted, picture, data_uri(overlay.jpeg(picture)))
    st.session_state[DRAWN] = made
    return made


def _words(opened: Opened, *, finer: bool) -> str:
    probability = opened.reading.probability
    assert probability is not None
    what = (
        "How much the network's log-odds of pneumonia fall where a patch of the film is hidden."
        if finer
        else "How much each place adds to the network's log-odds of pneumonia."
    )
    if decide(probability, threshold=opened.threshold) == NORMAL:
        what += (
            " The decision is NORMAL: the map still shows what speaks *for* pneumonia, not where the film is "
            "normal."
        )
    return f"{what} It shows where the network looked, not where the disease is."


# --- the finer map ---


def _maps() -> dict[str, overlay.FinerMap]:
    found: dict[str, overlay.FinerMap] = st.session_state.setdefault(FINER, {})
    return found


def _finer(opened: Opened) -> overlay.FinerMap | None:
    """The finer map of this film, where somebody asked for it and did not stop it."""
    found = _maps().get(common.seen_key(opened.reading))
    return None if found is None or found.stopped else found


def _chosen(opened: Opened, running: overlay.FinerMap | None) -> tuple[NDArray[np.float32] | None, bool]:
    """The map to draw, and whether it is the finer one."""
    quick = opened.reading.heat
    if running is None or not running.result.done():
        return quick, False
    if running.result.exception() is not None:
        st.caption(str(running.result.exception()))
        return quick, False
    wanted = quick is None or st.session_state.get(FINER_SHOWN, True)
    return (running.result.result(), True) if wanted else (quick, False)


def _finer_button(opened: Opened, running: overlay.FinerMap | None) -> None:
    if running is None or (running.result.done() and running.result.exception() is not None):
        st.button(
            "Finer map",
            icon=":material/blur_on:",
            key="map-finer",
            help="Hides one patch of the film after the other and reads it each time: takes some seconds.",
            on_click=_start,
            args=(opened,),
        )
    elif not running.result.done():
        st.button("Stop", icon=":material/stop:", key="map-stop", on_click=running.stop)
    elif opened.reading.heat is not None:
        st.session_state.setdefault(FINER_SHOWN, True)
        st.toggle("Finer", key=FINER_SHOWN, persist_state="session")


def _start(opened: Opened) -> None:
    seen = opened.reading.seen
    if seen is None or opened.reading.version != opened.version.name:
        st.session_state[common.PROBLEM] = OTHER_VERSION
        return
    st.session_state[FINER_SHOWN] = True
    try:
        predictor = session.predictor(opened.version).result()
    except (InferenceError, VersionError) as error:
        st.session_state[common.PROBLEM] = str(error)
        return
    _maps()[common.seen_key(opened.reading)] = overlay.FinerMap(predictor, seen)


@st.fragment(run_every=0.5)
def _wait(key: str) -> None:
    running = _maps().get(key)
    if running is None or running.result.done():
        st.rerun()
    st.progress(running.share, text="The finer map is being computed", width=240)
