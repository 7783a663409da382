"""Live performance: how the network does on the department's own cases, by the verdicts given on them."""

from __future__ import annotations

import streamlit as st

from pages.live_parts import agreement, disagreements, drift
from utils import choices, live, look, session
from utils.database import DatabaseError
from utils.decisions import ASSISTS
from utils.permissions import Action
from utils.settings import SettingsError

screen = session.enter("Live performance", Action.SEE_METRICS)

SECTION = "live-section"
SECTIONS = {"Agreement": agreement.show, "Disagreements": disagreements.show, "Drift": drift.show}


def main() -> None:
    st.html(look.STYLE)
    st.title("Live performance")
    try:
        if not live.any_case():
            nothing_yet()
        else:
            section = st.segmented_control(
                "Section",
                options=list(SECTIONS),
                default=next(iter(SECTIONS)),
                required=True,
                key=SECTION,
                persist_state="session",
                label_visibility="collapsed",
            )
            SECTIONS[section](screen)
    except (DatabaseError, SettingsError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
    st.caption(ASSISTS)


def nothing_yet() -> None:
    """Why there is nothing to see, and what brings something."""
    st.info(
        "No case has been saved yet. Here the network's decisions stand beside the verdicts given on the same films, "
        "and today's films beside those it was trained on.",
        icon=":material/info:",
    )
    if choices.get_choices().saving == "off":
        st.markdown("Saving is off: it is chosen under Administration, Records.")
    else:
        st.markdown("Read films on the Diagnose screen and give verdicts in the Worklist.")


main()
