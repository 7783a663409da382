"""What the sections of Live performance share: the period, the version, the threshold that decisions are taken at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st

from utils import live

PERIODS: dict[str, int | None] = {
    "30 days": 30,
    "90 days": 90,
    "12 months": 365,
    "All": None,
}
PERIOD = "live-period"


@dataclass(frozen=True)
class Period:
    """Its name, in the words of a sentence, and when it began; None: everything."""

    words: str
    since: datetime | None


def choose() -> Period:
    """The period that the session looks at."""
    name = st.segmented_control(
        "Period",
        options=list(PERIODS),
        default="12 months",
        required=True,
        key=PERIOD,
        persist_state="session",
    )
    days = PERIODS[name]
    if days is None:
        return Period("of all time", None)
    return Period(f"of the last {name}", live.now() - timedelta(days=days))
