"""What happened to a case: its readings, by former versions too, and the changes of its verdict."""

from __future__ import annotations

from typing import Any

import streamlit as st

from utils import look
from utils.cases import CaseView, ReadingView
from utils.decisions import SHAPES, format_probability


def show(view: CaseView) -> None:
    """Readings and changes, the latest first, and what is known of the film."""
    left, right = st.columns([1, 1], gap="large")
    with left:
        readings(view)
        st.caption(look.plain(facts(view)))
    with right:
        changes(view)


def facts(view: CaseView) -> str:
    """What the film was, what the file said of it, and what the network said at the time, in sentences."""
    said = (
        f"view {view.view}" if view.view else "",
        "" if view.age is None else f"{view.age} years",
        f"sex {view.sex}" if view.sex else "",
    )
    parts = [f"Patient {view.patient}." if view.patient else ""]
    parts.append(f"{view.done[0]}{''.join(f'; {step}' for step in view.done[1:])}." if view.done else "")
    parts.append(f"The file says: {', '.join(filter(None, said))}." if any(said) else "")
    parts.append(f"How sure the network was then: {view.certainty}." if view.certainty else "")
    return " ".join(filter(None, parts))


def readings(view: CaseView) -> None:
    count = len(view.readings)
    st.markdown("**One reading**" if count == 1 else f"**{count} readings**")
    st.table(
        [
            {
                "When": look.plain(f"{reading.when.astimezone():%d %b %Y, %H:%M}, {reading.by}"),
                "Version": look.plain(reading.version),
                "Found": look.plain(found(reading)),
            }
            for reading in reversed(view.readings)
        ],
        hide_index=True,
        border="horizontal",
    )


def found(reading: ReadingView) -> str:
    """What one reading found, decided as at its time: "0.873: ▲ PNEUMONIA at threshold 0.370"."""
    decision = f"{SHAPES[reading.decision]} {reading.decision}"
    if reading.probability is None:
        return decision
    probability = format_probability(reading.probability, threshold=reading.threshold)
    return f"{probability}: {decision} at threshold {reading.threshold:.3f}"


def changes(view: CaseView) -> None:
    if not view.changes:
        st.markdown("**No verdict so far**")
        return
    st.markdown("**Verdicts and notes**")
    st.table(
        [
            {
                "When": look.plain(f"{change.when.astimezone():%d %b %Y, %H:%M}, {change.by}"),
                "What": look.plain(in_words(change.before, change.after)),
            }
            for change in reversed(view.changes)
        ],
        hide_index=True,
        border="horizontal",
    )


def in_words(before: dict[str, Any], after: dict[str, Any]) -> str:
    """One change: "NORMAL → PNEUMONIA; note: left lower lobe"."""
    parts = []
    if before.get("verdict") != after.get("verdict"):
        old, new = (_verdict(values.get("verdict")) for values in (before, after))
        parts.append(new if before.get("verdict") is None else f"{old} → {new}")
    if before.get("note") != after.get("note"):
        parts.append(f"note: {after['note']}" if after.get("note") else "note taken away")
    return "; ".join(parts)


def _verdict(verdict: str | None) -> str:
    return "no verdict" if verdict is None else f"{SHAPES[verdict]} {verdict}"
