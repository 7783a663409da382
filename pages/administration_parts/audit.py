"""Audit trail: who did what and when, whether the trail is whole, and taking it away as a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas
import streamlit as st

from utils import audit_trail, look, people, session
from utils.audit_trail import EVENTS, Line, Verified, Wanted
from utils.permissions import Action, Person
from utils.session import Screen

WHO, EVENT, SUBJECT = "audit-who", "audit-event", "audit-subject"
SINCE, UNTIL = "audit-since", "audit-until"
PAGE = "audit-page"
EXPECTED = "audit-expected"
FOUND = "audit-found"  # what verifying found, with the time; until the next one
ROWS = 50
"""Lines on a page."""


def show(screen: Screen) -> None:
    """The section, for whoever may see the audit trail."""
    screen.person.require(Action.SEE_AUDIT)
    st.caption(
        "Sign-ins, readings, thresholds, verdicts, training, exports, deletions: every line is chained to the one "
        "before, and none is ever changed. No patient is named."
    )
    filters()
    wanted = chosen()
    try:
        the_lines(wanted)
    except session.REFUSALS as error:
        st.error(look.plain(str(error)), icon=":material/error:")
    verifying()


def filters() -> None:
    """What to look for, in one row that wraps."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="audit-filters"):
        st.text_input("Who", key=WHO, on_change=_to_the_first_page, width=160, persist_state="session")
        st.selectbox(
            "What was done",
            ["", *EVENTS],
            format_func=lambda event: event.capitalize() if event else "Anything",
            key=EVENT,
            on_change=_to_the_first_page,
            width=210,
            persist_state="session",
        )
        st.text_input(
            "To what, or where from",
            key=SUBJECT,
            on_change=_to_the_first_page,
            placeholder="Case, version, address",
            width=210,
            persist_state="session",
        )
        for label, key in (("From", SINCE), ("To", UNTIL)):
            st.date_input(
                label,
                value=None,
                key=key,
                on_change=_to_the_first_page,
                format="YYYY-MM-DD",
                width=150,
                persist_state="session",
            )


def chosen() -> Wanted:
    """What the filters say; a day is one of the server's own time zone."""
    state = st.session_state
    return Wanted(
        who=state[WHO],
        event=state[EVENT] or None,
        text=state[SUBJECT],
        since=_midnight(state[SINCE]),
        until=_midnight(state[UNTIL], days=1),
    )


def _midnight(day: date | None, *, days: int = 0) -> datetime | None:
    """Start of the day, so many days later."""
    return None if day is None else datetime.combine(day + timedelta(days), time()).astimezone()


def _to_the_first_page() -> None:
    st.session_state.pop(PAGE, None)


def the_lines(wanted: Wanted) -> None:
    """One page of them, newest first, and the way to take all of them away."""
    number = int(st.session_state.get(PAGE, 1))
    found = audit_trail.search(wanted, offset=(number - 1) * ROWS, limit=ROWS)
    pages = max(1, -(-found.total // ROWS))
    if number > pages:
        number = st.session_state[PAGE] = pages
        found = audit_trail.search(wanted, offset=(number - 1) * ROWS, limit=ROWS)
    if not found.total:
        st.info(
            "No line is like that." if wanted != Wanted() else "Nothing has been done yet.",
            icon=":material/search_off:",
        )
        return
    st.dataframe(
        pandas.DataFrame([_cells(line) for line in found.lines]),
        height=min(2 + 36 + 36 * len(found.lines), 38 + 36 * 15),
        row_height=36,
        hide_index=True,
        placeholder="–",
        alt="Lines of the audit trail, newest first",
        column_config={
            "number": st.column_config.NumberColumn("Line", width=70, pinned=True),
            "when": st.column_config.DatetimeColumn("When", format="D MMM YYYY, HH:mm:ss", width=170),
            "who": st.column_config.TextColumn("Who", width=130),
            "address": st.column_config.TextColumn("Where from", width=120),
            "event": st.column_config.TextColumn("What was done", width=150),
            "subject": st.column_config.TextColumn("To what", width=180),
            "change": st.column_config.TextColumn("Before → after", width="large"),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center", key="audit-actions"):
        _download(wanted, found.total, people.later())
        if pages > 1:
            st.pagination(pages, key=PAGE, persist_state="session")


def _cells(line: Line) -> dict[str, object]:
    return {
        "number": line.number,
        "when": line.when.astimezone().replace(tzinfo=None),
        "who": line.who,
        "address": line.address or None,
        "event": line.event,
        "subject": line.subject or None,
        "change": _in_words(line.before, line.after) or None,
    }


def _in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """``threshold: 0.5 → 0.37; roles: technician``."""
    parts = []
    for name in dict.fromkeys((*before, *after)):
        values = [_word(side[name]) for side in (before, after) if name in side]
        gone = " → –" if name not in after and after else ""
        parts.append(f"{name}: {' → '.join(values)}{gone}")
    return "; ".join(parts)


def _word(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "–"
    if isinstance(value, dict):
        return f"({_in_words({}, value)})"
    return str(value)


def taken_away(wanted: Wanted, *, total: int, who: Person) -> bytes:
    """The lines as CSV; that they were taken becomes a line first."""
    who.require(Action.SEE_AUDIT)
    audit_trail.record("export", who=who, subject="audit trail", after={"lines": total})
    return audit_trail.as_csv(wanted).encode()


def _download(wanted: Wanted, total: int, who: Callable[[], Person]) -> None:
    st.download_button(
        f"Download {total:,} {'line' if total == 1 else 'lines'} as CSV",
        # Runs when the button is pressed, in a thread of its own.
        data=lambda: taken_away(wanted, total=total, who=who()),
        file_name="pneumoscope-audit-trail.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="audit-csv",
        help="All pages of what is found, with the hashes. That you took it becomes a line too.",
    )


def verifying() -> None:
    """Whether the chain is whole, at the press of a button."""
    st.markdown("#### Is it whole?")
    with st.container(horizontal=True, vertical_alignment="bottom", key="audit-verify"):
        st.text_input(
            "Head noted before (optional)",
            key=EXPECTED,
            max_chars=64,
            width=420,
            placeholder="64 characters",
            help="The head is the hash of the newest line. Noted outside of the database, it tells later whether the "
            "newest lines were removed, or the whole trail was written anew.",
        )
        pressed = st.button("Verify all lines", icon=":material/verified:")
    if pressed and session.may(Action.SEE_AUDIT):
        with st.spinner("Following the chain, line by line"):
            st.session_state[FOUND] = _verify()
    found: tuple[Verified, datetime] | str | None = st.session_state.get(FOUND)
    if isinstance(found, str):
        st.error(look.plain(found), icon=":material/error:")
    elif found is not None:
        result, when = found
        words = look.plain(f"{result.in_words} Verified at {when.astimezone():%H:%M:%S}.")
        if result.whole:
            st.success(words, icon=":material/verified:")
            st.caption("The head: note it outside of the database.")
            st.code(result.head, language=None, wrap_lines=True)
        else:
            st.error(words, icon=":material/gpp_bad:")


def _verify() -> tuple[Verified, datetime] | str:
    expected = str(st.session_state[EXPECTED]).strip().lower()
    if expected and not re.fullmatch(r"[0-9a-f]{64}", expected):
        return "A head has 64 characters, 0 to 9 and a to f: copy the whole of it."
    try:
        return audit_trail.verify(expect=expected or None), datetime.now(UTC)
    except session.REFUSALS as error:
        return str(error)
