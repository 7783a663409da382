"""One line above the open case: who else has it open, and whether it was changed meanwhile."""

from __future__ import annotations

import streamlit as st

from pages.worklist_parts import common
from utils import look, openings, people
from utils.permissions import Forbidden


@st.fragment(run_every=openings.LOOK_EVERY)
def show(pseudonym: str, revision: int) -> None:
    """The line, looked up every few seconds; a change draws the whole screen anew, which says what changed.

    What somebody is typing stays: nothing but a press of a button replaces it.
    """
    try:
        around = openings.look(pseudonym, browser=common.browser(), who=people.current())
    except common.UNREACHABLE:
        st.caption(
            ":material/cloud_off: The database cannot be reached at the moment. What you type stays here."
        )
        return
    except (people.SignedOut, Forbidden):
        st.rerun()  # the page itself says why
    if around is None:
        st.caption(":material/visibility_off: This case is gone, or not for you to see any more.")
        return
    if around.revision > revision:
        st.rerun()
    names = [look.plain(title) for title in around.others]
    if around.myself:
        names.append("you, in another window,")
    if names:
        verb = "has" if len(names) == 1 and not around.myself else "have"
        st.markdown(f":material/group: **{_joined(names)} {verb} this case open too.**")
    else:
        st.caption(":material/person: Nobody else has this case open.")


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
