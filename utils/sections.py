"""The sections of a screen, of which one shows: chosen by the user, or gone to by the program."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def _key(name: str) -> str:
    number = st.session_state.setdefault(f"{name}-round", 0)
    return f"{name}-{number}" if number else name


def choose(name: str, options: Sequence[str], *, first: str, label: str) -> str:
    """The section to show; kept for the session under ``name``.

    Args:
        first: where to begin.
        label: what a screen reader is told.
    """
    key = _key(name)
    if st.session_state.get(key) not in options:
        st.session_state[key] = first
    chosen = st.segmented_control(
        label,
        options,
        required=True,
        key=key,
        persist_state="session",
        label_visibility="collapsed",
        wrap=True,
    )
    return str(chosen)


def go_to(name: str, section: str) -> None:
    """Show ``section`` from the next run on.

    By a new widget: the browser sends the values of all widgets with each run, and one that was under way (the
    sidebar looks every few seconds which version is in use) would bring the old section back.
    """
    st.session_state[f"{name}-round"] = st.session_state.get(f"{name}-round", 0) + 1
    st.session_state[_key(name)] = section
