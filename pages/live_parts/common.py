"""What the sections of Live performance share: the period, the version, the threshold that decisions are taken at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import streamlit as st

from utils import live
from utils.live import Wanted
from utils.session import Screen

PERIODS: dict[str, int | None] = {"30 days": 30, "90 days": 90, "12 months": 365, "All": None}
PERIOD = "live-period"
VERSION = "live-version"
THRESHOLD = "live-threshold"
ANY = "All versions"
AT_THE_TIME, IN_THE_SIDEBAR = "Of that time", "In the sidebar"


@dataclass(frozen=True)
class Chosen:
    """What the session looks at; `period` in the words of a sentence."""

    period: str
    wanted: Wanted


def choose(screen: Screen, *, decisions: bool) -> Chosen:
    """Let the session choose.

    Args:
        screen: of the page.
        decisions: whether version and threshold matter, too.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.segmented_control(
            "Period",
            options=list(PERIODS),
            default="12 months",
            required=True,
            key=PERIOD,
            persist_state="session",
        )
        days = PERIODS[name]
        since = None if days is None else live.now() - timedelta(days=days)
        words = "of all time" if days is None else f"of the last {name}"
        if not decisions:
            return Chosen(words, Wanted(since=since))
        names = [ANY, *live.versions()]
        if st.session_state.get(VERSION) not in names:
            st.session_state[VERSION] = ANY
        version = st.selectbox(
            "Version that read them", names, key=VERSION, persist_state="session", width=320
        )
        decided = st.segmented_control(
            "Threshold",
            options=[AT_THE_TIME, IN_THE_SIDEBAR],
            default=AT_THE_TIME,
            required=True,
            key=THRESHOLD,
            persist_state="session",
            help="Decisions as they were at the threshold of whoever had the film read, or as they would be at the "
            "one in the sidebar.",
        )
    return Chosen(
        words,
        Wanted(
            since=since,
            version="" if version == ANY else version,
            threshold=screen.threshold if decided == IN_THE_SIDEBAR else None,
        ),
    )
