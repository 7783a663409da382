"""Which cases the list shows, and in which order."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.worklist_parts import common
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA, SHAPES
from utils.permissions import Person
from utils.settings import get_settings
from utils.worklist import GIVEN, OPEN, Filter, Names, Sort, names

VERDICT = "worklist-verdict"
DECISION = "worklist-decision"
ORDER = "worklist-order"
SEARCH = "worklist-search"
PERSON = "worklist-person"
VERSION = "worklist-version"
SINCE = "worklist-since"
UNTIL = "worklist-until"
CANNOT = "worklist-cannot-tell"
_VERDICTS = {
    OPEN: "Without a verdict",
    GIVEN: "With a verdict",
    PNEUMONIA: f"{SHAPES[PNEUMONIA]} {PNEUMONIA}",
    NORMAL: f"{SHAPES[NORMAL]} {NORMAL}",
    CANNOT_TELL: f"{SHAPES[CANNOT_TELL]} {CANNOT_TELL}",
    "": "All cases",
}
_DECISIONS = {
    "": "Any",
    PNEUMONIA: f"{SHAPES[PNEUMONIA]} {PNEUMONIA}",
    NORMAL: f"{SHAPES[NORMAL]} {NORMAL}",
    NOT_JUDGED: f"{SHAPES[NOT_JUDGED]} {NOT_JUDGED}",
}
_ORDERS: dict[str, str] = {
    Sort.LIKELIEST: "Likeliest pneumonia first",
    Sort.OLDEST: "Oldest first",
    Sort.NEWEST: "Newest first",
}
_KEPT_SECONDS = 20


def show(who: Person) -> None:
    """The filters in one row, the rarer ones behind a button; what is chosen holds for this session."""
    _start_from(common.wanted(), common.sort())
    with st.container(horizontal=True, vertical_alignment="bottom", key="worklist-filters"):
        _choice("Verdict", _VERDICTS, VERDICT, width=200)
        _choice("Decision now", _DECISIONS, DECISION, width=170)
        _choice("Order", _ORDERS, ORDER, width=240)
        more = sum(
            name in ("person", "since", "until", "version", "cannot_tell", "search")
            for name in common.wanted().chosen
        )
        with st.popover(f"More filters ({more})" if more else "More filters", icon=":material/filter_list:"):
            _more(known_names(who))
        st.button("Clear", icon=":material/filter_list_off:", on_click=clear, disabled=at_start())


def _more(known: Names) -> None:
    st.text_input(
        "Case",
        key=SEARCH,
        on_change=_take,
        placeholder="A part of its name, such as K7M2",
        persist_state="session",
    )
    _choice("Read or judged by", {"": "Anybody"} | {name: name for name in known.people}, PERSON)
    _choice("Version", {"": "Any"} | {name: name for name in known.versions}, VERSION)
    with st.container(horizontal=True):
        for label, key in (("First read from", SINCE), ("to", UNTIL)):
            st.date_input(
                label,
                value=None,
                key=key,
                on_change=_take,
                format="YYYY-MM-DD",
                width=150,
                persist_state="session",
            )
    st.toggle(
        f"Only where the network could not tell ({SHAPES[CANNOT_TELL]})",
        key=CANNOT,
        on_change=_take,
        persist_state="session",
        help="At the error rate that was set when the film was read.",
    )


def _choice(label: str, options: dict[str, str], key: str, *, width: int | None = None) -> None:
    if st.session_state.get(key) not in options:
        st.session_state[key] = next(iter(options))  # a name that is not there any more
    name: Callable[[str], str] = options.__getitem__
    st.selectbox(
        label,
        list(options),
        format_func=name,
        key=key,
        on_change=_take,
        width="stretch" if width is None else width,
        persist_state="session",
    )


def _start_from(wanted: Filter, order: Sort) -> None:
    """Put into the widgets what holds, where a widget has no state of its own yet."""
    values = {
        VERDICT: wanted.verdict,
        DECISION: wanted.decision,
        ORDER: order,
        SEARCH: wanted.search,
        PERSON: wanted.person,
        VERSION: wanted.version,
        SINCE: wanted.since,
        UNTIL: wanted.until,
        CANNOT: wanted.cannot_tell,
    }
    for key, value in values.items():
        st.session_state.setdefault(key, value)


def _take() -> None:
    """What the widgets say holds from now on; the list begins at its first page."""
    state = st.session_state
    common.set_wanted(
        Filter(
            decision=state[DECISION],
            verdict=state[VERDICT],
            person=state.get(PERSON, ""),
            since=state.get(SINCE),
            until=state.get(UNTIL),
            version=state.get(VERSION, ""),
            cannot_tell=state.get(CANNOT, False),
            search=state.get(SEARCH, ""),
        ),
        Sort(state[ORDER]),
    )


def clear() -> None:
    """Back to where the list begins."""
    _put(common.START)


def show_all() -> None:
    """All cases, with and without a verdict."""
    _put(Filter())


def _put(wanted: Filter) -> None:
    common.set_wanted(wanted, Sort.LIKELIEST)
    for key in (VERDICT, DECISION, ORDER, SEARCH, PERSON, VERSION, SINCE, UNTIL, CANNOT):
        st.session_state.pop(key, None)
    _start_from(wanted, Sort.LIKELIEST)


def at_start() -> bool:
    return common.wanted() == common.START and common.sort() is Sort.LIKELIEST


def known_names(who: Person) -> Names:
    """The people and versions to choose from; looked up anew after a while, as it takes a look at every case."""
    settings = get_settings()
    return _names(f"{settings.home} {settings.database_url}", who.name, sorted(who.roles), who)


@st.cache_data(max_entries=100, ttl=_KEPT_SECONDS, show_spinner=False)
def _names(database: str, name: str, roles: list[str], _who: Person) -> Names:
    return names(who=_who)
