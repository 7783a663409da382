"""One line above the open case: who else has it open, and whether it was changed meanwhile."""

from __future__ import annotations

import streamlit as st

from pages.worklist_parts import common
from utils import look, openings, people
from utils.openings import Around
from utils.permissions import Forbidden, SignedOut


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
    except (SignedOut, Forbidden):
        st.rerun()  # the page itself says why
    if around is None:
        st.caption(":material/visibility_off: This case is gone, or not for you to see any more.")
        return
    if around.revision > revision:
        st.rerun()
    if around.others or around.myself:
        st.markdown(f":material/group: **{look.plain(in_words(around))}**")
    else:
        st.caption(":material/person: Nobody else has this case open.")


def in_words(around: Around) -> str:
    """Who has the case open, in a sentence.

    >>> in_words(Around(("Dr Meier",), False, 1))
    'Dr Meier has this case open too.'
    """
    *names, last = around.others or ("",)
    people = f"{', '.join(names)} and {last}" if names else last
    if not around.myself:
        return f"{people} {'have' if names else 'has'} this case open too."
    if not people:
        return "You have this case open in another window too."
    return f"{people} {'have' if names else 'has'} this case open too, and you in another window."
