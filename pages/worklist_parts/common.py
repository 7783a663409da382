"""What the parts of the worklist share: which case is open, which cases are wanted, and what is said once."""

from __future__ import annotations

import streamlit as st

from utils import openings, people, worklist
from utils.database import DatabaseError
from utils.settings import SettingsError
from utils.worklist import OPEN, Filter, Sort

CASE = "case"
"""The open case in the link: `?case=K7M2-QX4D`."""
WANTED = "worklist-wanted"
SORT = "worklist-sort"
PAGE = "worklist-page"
SAID = "worklist-said"
_PROBLEM = "worklist-problem"
START = Filter(verdict=OPEN)
"""The list begins with what is to be done."""
UNREACHABLE = (DatabaseError, SettingsError)
"""Why the records cannot be looked at or changed at the moment; each is a sentence."""
_BROWSER = "worklist-browser"


def opened() -> str:
    """Pseudonym of the open case, as the link has it; empty where the list shows."""
    return str(st.query_params.get(CASE, "")).strip().upper()


def open_case(pseudonym: str) -> None:
    st.query_params[CASE] = pseudonym


def close_case() -> None:
    """Back to the list."""
    st.query_params.pop(CASE, None)


def wanted() -> Filter:
    """The cases that the list shows, in this session."""
    found = st.session_state.setdefault(WANTED, START)
    assert isinstance(found, Filter)
    return found


def sort() -> Sort:
    """The order of the list, in this session."""
    return Sort(st.session_state.setdefault(SORT, Sort.LIKELIEST))


def set_wanted(filter_: Filter, order: Sort) -> None:
    """Other cases, or another order: the list begins at its first page."""
    st.session_state[WANTED], st.session_state[SORT] = filter_, order
    st.session_state[PAGE] = 1


def browser() -> str:
    """What this session is called in `utils.openings`."""
    return str(st.session_state.setdefault(_BROWSER, openings.new_browser()))


def say(text: str, *, icon: str = ":material/check:") -> None:
    """Say something in the next run, once."""
    st.session_state[SAID] = (text, icon)


def say_now() -> None:
    """What is to be said."""
    if (said := st.session_state.pop(SAID, None)) is not None:
        st.toast(said[0], icon=said[1])


def problem_is(text: str) -> None:
    """Say in this run or the next, once, what went wrong."""
    st.session_state[_PROBLEM] = text


def problem() -> None:
    """What went wrong."""
    if text := st.session_state.pop(_PROBLEM, ""):
        st.error(text, icon=":material/error:")


def go_on(pseudonym: str, *, threshold: float) -> None:
    """Open the case that follows in the list; after the last one the list itself. For callbacks."""
    try:
        following = worklist.next_after(
            pseudonym, wanted(), sort(), threshold=threshold, who=people.current(), browser=browser()
        )
    except (*UNREACHABLE, PermissionError) as error:
        problem_is(str(error))
        return
    if following is None:
        close_case()
        say("That was the last case of the list.", icon=":material/done_all:")
    else:
        open_case(following)
