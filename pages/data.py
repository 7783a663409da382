"""Data: what a set of films holds, what a network could cheat with, and what is wrong with it."""

from __future__ import annotations

import streamlit as st

from pages.data_parts import augmentation, averages, common, counts, cues, eigen, films, quality
from utils import look, session
from utils.decisions import ASSISTS
from utils.permissions import Action

session.enter("Data", Action.SEE_DATA)

SECTION = "data-section"


def main() -> None:
    st.html(look.STYLE)
    st.title("Data")
    chosen = common.chosen_set()
    if chosen is not None:
        section = st.segmented_control(
            "What to look at",
            list(SECTIONS),
            default=next(iter(SECTIONS)),
            required=True,
            key=SECTION,
            persist_state="session",
            label_visibility="collapsed",
            wrap=True,
        )
        SECTIONS[section or next(iter(SECTIONS))](chosen)
    st.caption(ASSISTS)


SECTIONS = {
    "Counts": counts.show,
    "Sizes and cues": cues.show,
    "Films": films.show,
    "Augmentation": augmentation.show,
    "Averages": averages.show,
    "Eigen-images": eigen.show,
    "Quality": quality.show,
}

main()
