"""One case, open: film and map, reading, verdict, and what else is known of it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.diagnose_parts import alike, certainty
from pages.worklist_parts import common, film, history, presence, reports, verdict
from utils import cases, evidence, look, people, session
from utils.cases import CaseView, FilmStoreError, NoSuchCase
from utils.permissions import Action, Forbidden
from utils.session import Screen

VIEW = "worklist-view"  # the open case as it was last looked up, for the time that the database cannot be reached
PART = "worklist-part"
HISTORY = "Readings and changes"
ALIKE = "Films that are alike"
SURE = "How sure"


def show(pseudonym: str, screen: Screen) -> None:
    """The open case, or why it cannot be shown."""
    view = looked_up(pseudonym, screen)
    header(pseudonym, screen)
    common.say_now()
    common.problem()
    if view is None:
        verdict.rest(pseudonym)
        return
    presence.show(view.pseudonym, view.revision)
    version = film.version_of(view, screen)
    left, right = st.columns([3, 2], gap="large")
    with left:
        looked_at = film.show(view, version, screen)
    with right:
        film.answer(looked_at, view, version, threshold=screen.threshold)
        verdict.show(view, screen)
        reports.show_case(view.pseudonym, screen)
    more(looked_at, view)
    delete(view, screen)


def looked_up(pseudonym: str, screen: Screen) -> CaseView | None:
    """The case; where the database cannot be reached, as it was when it was last looked up here."""
    kept = st.session_state.get(VIEW)
    try:
        view = cases.open_case(pseudonym, who=screen.person)
    except (NoSuchCase, Forbidden) as error:
        st.session_state.pop(VIEW, None)
        common.problem_is(str(error))
        return None
    except common.UNREACHABLE as error:
        common.problem_is(str(error))
        return kept if isinstance(kept, CaseView) and kept.pseudonym == pseudonym else None
    st.session_state[VIEW] = view
    return view


def header(pseudonym: str, screen: Screen) -> None:
    """Where one is, the way back and the way on."""
    with st.container(horizontal=True, vertical_alignment="center", key="worklist-header"):
        st.button("All cases", icon=":material/arrow_back:", shortcut="L", on_click=leave, args=(pseudonym,))
        st.title(f"Case {look.plain(pseudonym)}", width="content")
        st.space("stretch")
        st.button(
            "Next case",
            icon=":material/skip_next:",
            shortcut="J",
            on_click=go_on,
            args=(pseudonym, screen.threshold),
            help="The next case of the list that nobody else has open. Nothing is saved.",
        )


def leave(pseudonym: str) -> None:
    verdict.keep_typed(pseudonym)
    common.close_case()


def go_on(pseudonym: str, threshold: float) -> None:
    verdict.keep_typed(pseudonym)
    common.go_on(pseudonym, threshold=threshold)


def more(looked_at: film.Looked, view: CaseView) -> None:
    """What else is known of the case; only the chosen part is computed."""
    opened = looked_at.opened
    parts: dict[str, Callable[[], None]] = {HISTORY: lambda: history.show(view)}
    if opened is not None and view.pooled is not None:
        parts[ALIKE] = lambda: alike.show(opened)
    if opened is not None and view.probability is not None:
        parts[SURE] = lambda: certainty.show(opened, certain=evidence.certainty_of(opened.version))
    if st.session_state.get(PART) not in parts:
        st.session_state[PART] = HISTORY
    part = st.segmented_control(
        "More about this case",
        options=list(parts),
        required=True,
        key=PART,
        persist_state="session",
        label_visibility="collapsed",
        wrap=True,
    )
    with st.container(key="evidence"):
        parts[str(part)]()
    if opened is None:
        st.caption(
            f"Version {look.plain(view.version)}, which read this film, is not at hand any more: which films are "
            "alike and how sure it is cannot be told."
        )


def delete(view: CaseView, screen: Screen) -> None:
    if not screen.person.may(Action.DELETE_CASE):
        return
    with st.popover("Delete this case", icon=":material/delete:", type="tertiary"):
        st.markdown("The case goes with its film, its readings and its verdict. This cannot be undone.")
        st.button(
            f"Delete {view.pseudonym}",
            icon=":material/delete_forever:",
            on_click=_delete,
            args=(view.pseudonym,),
        )


@session.permitted(Action.DELETE_CASE)
def _delete(pseudonym: str) -> None:
    try:
        cases.delete(pseudonym, who=people.current())
    except (*common.UNREACHABLE, FilmStoreError, NoSuchCase, PermissionError) as error:
        common.problem_is(str(error))
        return
    verdict.forget(pseudonym)
    common.close_case()
    common.say(f"Case {pseudonym} is deleted.", icon=":material/delete:")
