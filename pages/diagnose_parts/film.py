"""The opened film, large: with its map, and for a DICOM film its frame and window.

A fragment: moving the map's opacity or the window draws this part of the page alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from model.films import DicomFacts, ImageError, Window
from pages.diagnose_parts import common, saving, where
from pages.diagnose_parts.common import FRAME, Opened
from utils import look
from utils.readings import NOT_KEPT, Reading, shown

if TYPE_CHECKING:
    from model.dicom import DicomFrame


SYNTHETIC = (
    "Mixed from averages of many films, without the fine detail of an X-ray: what the network says of it shows how the "
    "screen works, not how good the network is."
)


def empty() -> None:
    """The same frame before the first film."""
    st.html(look.name_line("No film yet"))
    with st.container(key="viewer"):
        st.html(look.empty_viewer("The X-ray you drop above is shown here."))


@st.fragment
def show(opened: Opened) -> None:
    """The film with its name above and what can be set below it."""
    # Beside the name, or the film would move down when its case is known.
    with st.container(horizontal=True, vertical_alignment="center", key="film-name"):
        st.html(look.name_line(opened.entry.name, synthetic=opened.entry.synthetic), width="content")
        saving.case_line(opened.entry.key)
    viewer = st.container(key="viewer")
    if opened.entry.synthetic:
        st.caption(SYNTHETIC)
    controls = st.container()
    film = adjusted(opened)
    with controls:
        address, words = where.picture(opened, film)
    viewer.image(address, width="stretch", alt=words)


def adjusted(opened: Opened) -> bytes:
    """The picture to show; below it, for a DICOM film, which frame and which window (PS3.3 C.11.2)."""
    reading = opened.reading
    facts = None if reading.source is None else reading.source.dicom
    if facts is None:
        return reading.picture
    if reading.dicom is None:
        st.caption("Frame and window cannot be changed any more: drop the file again for that.")
        return reading.picture
    number = facts.frame
    if facts.frames > 1:
        key = f"frame-{reading.key}"
        st.session_state.setdefault(key, facts.frame)
        number = int(st.number_input(f"Frame, 1 to {facts.frames}", 1, facts.frames, key=key, width=200))
        if number != facts.frame:
            if common.again(reading, opened.version, frame=number, window=None):
                st.rerun()
            common.problem()
    if facts.highest <= facts.lowest:  # colour has no window
        return reading.picture
    span = facts.highest - facts.lowest
    own = reading.dicom.window or Window((facts.lowest + facts.highest) / 2, max(span, 1.0))
    with st.expander("Window: brightness and contrast", icon=":material/contrast:"):
        window = chosen_window(f"{reading.key}-{number}", own, facts)
        use = f"window-used-{reading.key}-{number}"
        st.session_state.setdefault(use, facts.by_hand)
        used = st.toggle(
            "Use this window for the reading",
            key=use,
            disabled=window is None,
            help="Off: the window is for the eye, and the probability is that of the film as the file shows it.",
        )
        wanted = window if used else None
        if wanted != (facts.window if facts.by_hand else None):
            if common.again(reading, opened.version, frame=number, window=wanted):
                st.rerun()
            common.problem()
        if window is None or used:
            return reading.picture
        st.caption("For the eye only: the probability is that of the film as the file shows it.")
        try:
            return shown(decoded(reading, number), window, offers=reading.offers)
        except ImageError as error:
            st.caption(str(error))
            return reading.picture


def chosen_window(name: str, own: Window, facts: DicomFacts) -> Window | None:
    """The window that the sliders stand at; None where they stand at the film's own."""
    span = facts.highest - facts.lowest
    step = 1.0 if span >= 20 else span / 100
    start = facts.window if facts.by_hand and facts.window else own
    centre, width = f"window-centre-{name}", f"window-width-{name}"

    def start_over() -> None:
        st.session_state[centre], st.session_state[width] = own.centre, own.width

    st.session_state.setdefault(centre, start.centre)
    st.session_state.setdefault(width, start.width)
    lowest = min(facts.lowest, own.centre, start.centre)
    highest = max(facts.highest, own.centre, start.centre)
    form = "%.0f" if step == 1.0 else "%.2f"
    widest = 2 * max(span, own.width, start.width, 1.0)
    chosen = Window(
        st.slider("Centre", lowest, highest, step=step, format=form, key=centre),
        st.slider("Width", min(1.0, own.width), widest, step=step, format=form, key=width),
        own.shape,
    )
    st.button("As in the file", icon=":material/undo:", on_click=start_over, disabled=chosen == own)
    return None if chosen == own else chosen


def decoded(reading: Reading, number: int) -> DicomFrame:
    """The frame that is looked at, decoded once for all moves of the sliders; one a session."""
    kept = st.session_state.get(FRAME)
    if kept is None or kept[0] != (reading.key, number):
        if reading.dicom is None:
            raise ImageError(NOT_KEPT)
        kept = st.session_state[FRAME] = ((reading.key, number), reading.dicom.decode(number))
    frame: DicomFrame = kept[1]
    return frame
