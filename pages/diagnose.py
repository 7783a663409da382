"""Diagnose: drop films, read the answers, and see what speaks for them."""

from __future__ import annotations

import streamlit as st

from pages.diagnose_parts import (
    alike,
    answer,
    certainty,
    common,
    dicom_results,
    film,
    intake,
    listing,
    saving,
)
from pages.diagnose_parts.common import Opened
from utils import evidence, look, session
from utils.decisions import ASSISTS
from utils.permissions import Action
from utils.readings import Certainty

screen = session.enter("Diagnose", Action.READ_FILMS)

EVIDENCE = "diagnose-evidence"
SURE = "How sure"
ALIKE = "Films that are alike"
AS_DICOM = "Results as DICOM"


def main() -> None:
    st.html(look.STYLE)
    st.title("Diagnose")
    made = saving.chosen()
    st.session_state[saving.THRESHOLD] = screen.threshold
    intake.show(screen.version, screen.problem, threshold=screen.threshold, made=made)
    saving.line(made)
    show()
    st.caption(ASSISTS)


def show() -> None:
    worklist = common.worklist()
    good = [entry for entry in worklist.entries if not worklist.reading(entry.key).failed]
    bad = [entry for entry in worklist.entries if worklist.reading(entry.key).failed]
    certain = None if screen.version is None else evidence.certainty_of(screen.version)
    if bad:
        listing.bad_files(bad)
    if len(good) > 1:
        listing.table(good, threshold=screen.threshold, certain=certain)
    opened = next(
        (entry for entry in good if entry.key == st.session_state.get(common.OPENED)),
        good[0] if good else None,
    )
    left, right = st.columns([3, 2], gap="large")
    if opened is None or screen.version is None:
        with left:
            film.empty()
        with right:
            answer.empty(screen.version, threshold=screen.threshold)
    else:
        looked_at = Opened(opened, worklist.reading(opened.key), screen.version, screen.threshold)
        with left:
            film.show(looked_at)
        with right:
            answer.show(looked_at, certain=certain)
        if looked_at.reading.probability is not None:
            evidence_for(looked_at, certain)
    if worklist.entries:
        listing.actions(worklist, threshold=screen.threshold, certain=certain)


def evidence_for(opened: Opened, certain: Certainty | None) -> None:
    """What speaks for the answer beyond the map on the film; only the chosen part is computed."""
    source = opened.reading.source
    parts = (
        SURE,
        ALIKE,
        *((AS_DICOM,) if source is not None and source.dicom is not None else ()),
    )
    if st.session_state.get(EVIDENCE) not in (None, *parts):
        st.session_state[EVIDENCE] = SURE  # the last film was a DICOM file and this is none
    part = st.segmented_control(
        "Evidence",
        options=parts,
        default=SURE,
        required=True,
        key=EVIDENCE,
        persist_state="session",
        label_visibility="collapsed",
    )
    with st.container(key="evidence"):
        if part == ALIKE:
            alike.show(opened)
        elif part == AS_DICOM:
            dicom_results.panel(opened.reading, opened.version, opened.threshold)
        else:
            certainty.show(opened, certain=certain)


main()
