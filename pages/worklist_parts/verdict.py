"""The verdict: three buttons, a note, save. What was typed stays until it is saved or thrown away by its author.

A draft remembers what its author had seen of the case when it was begun. Where somebody else changed the case since,
nothing is saved before the author has seen the change and decided which of the two holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.worklist_parts import common, history
from utils import cases, look, people, session
from utils.cases import LONGEST_NOTE, CaseError, CaseView, NoSuchCase
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA, SHAPES
from utils.permissions import Action
from utils.session import Screen

DRAFTS = "worklist-drafts"
NOTE = "worklist-note"
KEYS = {NORMAL: "N", PNEUMONIA: "P", CANNOT_TELL: "T"}


@dataclass
class Draft:
    """A verdict that is not saved yet; `seen` is the case as its author saw it."""

    seen: CaseView
    verdict: str | None
    note: str

    @property
    def touched(self) -> bool:
        return (self.verdict, self.note.strip()) != (self.seen.verdict, self.seen.note)


def drafts() -> dict[str, Draft]:
    """The drafts of this session, by the pseudonyms of their cases."""
    found: dict[str, Draft] = st.session_state.setdefault(DRAFTS, {})
    return found


def draft_of(view: CaseView) -> Draft:
    """The draft of a case, begun now where there is none; those of other cases that say nothing new go."""
    found = drafts()
    for other in [name for name, draft in found.items() if name != view.pseudonym and not draft.touched]:
        del found[other]
    draft = found.get(view.pseudonym)
    if draft is None:
        draft = found[view.pseudonym] = Draft(view, view.verdict, view.note)
        st.session_state.pop(_key(view.pseudonym), None)
    return draft


def _key(pseudonym: str) -> str:
    return f"{NOTE}-{pseudonym}"


def keep_typed(pseudonym: str) -> None:
    """Put what stands in the field into the draft, which outlives the field. What callbacks do first."""
    draft = drafts().get(pseudonym)
    if draft is not None:
        draft.note = st.session_state.get(_key(pseudonym), draft.note)


def forget(pseudonym: str) -> None:
    drafts().pop(pseudonym, None)
    st.session_state.pop(_key(pseudonym), None)


def rest(pseudonym: str) -> None:
    """What was typed for a case that cannot be shown any more."""
    draft = drafts().get(pseudonym)
    if draft is not None and draft.touched:
        verdict = f"{SHAPES[draft.verdict]} {draft.verdict}" if draft.verdict else "none"
        st.markdown(f"**Not saved.** Verdict: {verdict}. Your note:")
        st.text(draft.note or "–")
        st.button("Throw it away", icon=":material/delete:", on_click=forget, args=(pseudonym,))


def show(view: CaseView, screen: Screen) -> None:
    """The verdict as it is, and the form for whoever may give it."""
    if not screen.person.may(Action.GIVE_VERDICT):
        st.html(look.label("Verdict"))
        st.markdown(given(view))
        if view.note:
            st.text(view.note)
        st.caption("Verdicts are given by clinicians.")
        return
    draft = draft_of(view)
    keep_typed(view.pseudonym)  # what the browser has just sent
    with st.container(horizontal=True, vertical_alignment="center", key="worklist-given"):
        st.html(look.label("Verdict"), width="content")
        st.space("stretch")
        st.button(
            "Take back",
            icon=":material/undo:",
            type="tertiary",
            disabled=draft.verdict is None,
            on_click=choose,
            args=(view.pseudonym, None),
            help="No verdict, once that is saved.",
        )
    st.markdown(given(view))
    changed(view, draft)
    with st.container(horizontal=True, gap="xsmall", key="worklist-verdicts"):
        for verdict in (PNEUMONIA, NORMAL, CANNOT_TELL):
            st.button(
                f"{SHAPES[verdict]} {verdict}",
                key=f"worklist-verdict-{verdict}",
                type="primary" if draft.verdict == verdict else "secondary",
                shortcut=KEYS[verdict],
                on_click=choose,
                args=(view.pseudonym, verdict),
            )
    key = _key(view.pseudonym)
    st.session_state.setdefault(key, draft.note)
    draft.note = st.text_area(
        "Note",
        key=key,
        max_chars=LONGEST_NOTE,
        height=96,
        placeholder="No names: a case has a pseudonym.",
        persist_state="session",
    )
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="worklist-save"):
        st.button(
            "Save and next case",
            icon=":material/done_all:",
            type="primary" if draft.touched else "secondary",
            shortcut="S",
            on_click=save,
            args=(view.pseudonym, screen.threshold),
        )
        st.button(
            "Save",
            icon=":material/done:",
            shortcut="V",
            on_click=save,
            args=(view.pseudonym, None),
        )
        st.caption("Not saved yet." if draft.touched else "Unchanged.", width="content")


def given(view: CaseView) -> str:
    """The verdict that the database has, as Markdown."""
    if view.verdict_at is None:
        return "None has been given yet."
    when = f"{view.verdict_at.astimezone():%d %B %Y, %H:%M}"
    by = look.plain(view.verdict_by or "")
    if view.verdict is None:
        return f"None at present; {by} changed it on {when}."
    return f"**{SHAPES[view.verdict]} {view.verdict}**, by {by} on {when}."


def choose(pseudonym: str, verdict: str | None) -> None:
    """Put a verdict into the draft. The same once more changes nothing: a key may be held down, or hit twice."""
    keep_typed(pseudonym)
    draft = drafts().get(pseudonym)
    if draft is not None:
        draft.verdict = verdict


def save(pseudonym: str, threshold: float | None) -> None:
    """Save the draft; with a threshold, go on to the next case of the list."""
    keep_typed(pseudonym)  # before anything that can fail
    draft = drafts().get(pseudonym)
    if draft is None or not session.may(Action.GIVE_VERDICT):
        return
    try:
        cases.give_verdict(
            pseudonym,
            revision=draft.seen.revision,
            verdict=draft.verdict,
            note=draft.note,
            who=people.current(),
        )
    except (*common.UNREACHABLE, CaseError, NoSuchCase, PermissionError) as error:
        common.problem_is(f"{error} What you typed is still here.")
        return
    common.say(f"Saved: {pseudonym}, {draft.verdict or 'no verdict'}.")
    forget(pseudonym)
    if threshold is not None:
        common.go_on(pseudonym, threshold=threshold)


# --- two people in one case ---


def changed(view: CaseView, draft: Draft) -> None:
    """What somebody else changed since the draft was begun; nothing is saved before its author has decided."""
    before = draft.seen
    if view.revision == before.revision:
        return
    same_verdict = (view.verdict, view.note) == (before.verdict, before.note)
    same_reading = len(view.readings) == len(before.readings)
    if same_verdict and same_reading:
        draft.seen = view  # a map was kept: nothing that a verdict hangs on
        return
    told = []
    if not same_verdict and view.changes:
        change = view.changes[-1]
        told.append(
            f"{change.by}, {change.when.astimezone():%H:%M}: {history.in_words(change.before, change.after)}."
        )
    if not same_reading:
        told.append(f"The film was read again, by version {view.version}.")
    with st.container(border=True, key="worklist-changed"):
        st.markdown(
            f":material/sync_problem: **Changed while you had this case open.** {look.plain(' '.join(told))}"
        )
        if not draft.touched:
            st.button("Show it", on_click=show_theirs, args=(view,), type="primary")
            return
        st.markdown("Yours is below, and not saved.")
        with st.container(horizontal=True):
            st.button("Go on with mine", on_click=keep_mine, args=(view,))
            st.button("Throw mine away", on_click=take_theirs, args=(view,))


def keep_mine(view: CaseView) -> None:
    """The author has seen the change: what is saved next replaces it."""
    keep_typed(view.pseudonym)
    draft = drafts().get(view.pseudonym)
    if draft is not None:
        draft.seen = view


def show_theirs(view: CaseView) -> None:
    """Take the change over, where nothing was typed in the meantime either: that comes with the press of the button."""
    keep_typed(view.pseudonym)
    draft = drafts().get(view.pseudonym)
    if draft is None or not draft.touched:
        forget(view.pseudonym)


def take_theirs(view: CaseView) -> None:
    forget(view.pseudonym)
