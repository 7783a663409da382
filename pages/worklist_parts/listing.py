"""The list of cases, a page at a time: filters, table, empty states, what can be taken away."""

from __future__ import annotations

import pandas
import streamlit as st

from pages.worklist_parts import common, filters, reports
from utils import choices, look, openings, people, worklist
from utils.choices import Choices
from utils.decisions import SHAPES, format_probability
from utils.permissions import Action
from utils.session import Screen
from utils.worklist import OPEN, Filter, Page, Row

TABLE = "worklist-table"
COLUMNS = (
    "case",
    "probability",
    "decision",
    "verdict",
    "opened",
    "certainty",
    "created",
    "by",
    "verdict_by",
    "version",
    "remarks",
)
ROWS = 50
"""Cases on a page."""
_LOOK_EVERY = 10.0
"""Seconds between two looks whether there are new cases."""


def show(screen: Screen) -> None:
    """The list, or why there is none."""
    st.title("Worklist")
    common.say_now()
    try:
        openings.leave(common.browser())
        chosen = choices.get_choices()
        if not worklist.any_case(who=screen.person):
            nothing_saved(chosen, screen)
            return
        filters.show(screen.person)
        the_list(screen, chosen)
    except common.UNREACHABLE as error:
        st.error(str(error), icon=":material/error:")


def nothing_saved(chosen: Choices, screen: Screen) -> None:
    """Why the list is empty, and what to do about it."""
    st.html(look.name_line("No cases yet"))
    if chosen.saving != "off":
        st.markdown("Films that are read on the Diagnose screen come here.")
        if screen.person.may(Action.READ_FILMS):
            st.page_link("pages/diagnose.py", label="Read a film", icon=":material/radiology:")
        return
    st.markdown(
        "The department saves nothing of the films that are read, so that nothing can be listed here."
    )
    if screen.person.may(Action.CHANGE_SETTINGS):
        st.page_link(
            "pages/administration.py",
            label="Choose what is saved: Administration, Records",
            icon=":material/admin_panel_settings:",
        )
    else:
        st.markdown("Your administrator can change that.")


def the_list(screen: Screen, chosen: Choices) -> None:
    wanted, sort = common.wanted(), common.sort()
    number = int(st.session_state.get(common.PAGE, 1))
    found = _page(screen, number)
    pages = max(1, -(-found.total // ROWS))
    if number > pages:  # cases have left the list
        number = st.session_state[common.PAGE] = pages
        found = _page(screen, number)
    if chosen.saving == "off":
        st.caption(
            ":material/info: The department saves no new cases at present; these were saved before.",
        )
    if not found.total:
        nothing_found(wanted)
        return
    with st.container(horizontal=True, vertical_alignment="center", key="worklist-summary"):
        st.markdown(in_words(found, screen.threshold), width="content")
        new_cases(worklist.newest(who=screen.person), screen)
    table(found, screen)
    with st.container(horizontal=True, vertical_alignment="center", key="worklist-actions"):
        st.button(
            "Open the first",
            icon=":material/play_arrow:",
            type="primary",
            shortcut="O",
            on_click=common.open_case,
            args=(found.rows[0].pseudonym,),
            help="Opens the first case of this page; from there on, case after case.",
        )
        if pages > 1:
            st.pagination(pages, key=common.PAGE, persist_state="session")
    with st.container(horizontal=True, vertical_alignment="center", key="worklist-exports"):
        exports(wanted, sort, found.total, screen)


def _page(screen: Screen, number: int) -> Page:
    return worklist.page(
        common.wanted(),
        common.sort(),
        threshold=screen.threshold,
        who=screen.person,
        offset=(number - 1) * ROWS,
        limit=ROWS,
        browser=common.browser(),
    )


def in_words(found: Page, threshold: float) -> str:
    """How many cases, and how many of them are flagged."""
    cases = f"**{found.total:,} {'case' if found.total == 1 else 'cases'}**"
    refused = found.total - found.judged
    left_out = f", {refused:,} not judged" if refused else ""
    return f"{cases}, {found.flagged:,} flagged as PNEUMONIA at threshold {threshold:.3f}{left_out}."


def nothing_found(wanted: Filter) -> None:
    """Why the list is empty though there are cases."""
    if wanted == common.START:
        st.success("Every case has a verdict: nothing is left to read.", icon=":material/done_all:")
        st.button("Show all cases", on_click=filters.show_all)
    else:
        st.info("No case is like that. Take a filter away, or begin anew.", icon=":material/search_off:")
        st.button("Clear the filters", icon=":material/filter_list_off:", on_click=filters.clear)


def table(found: Page, screen: Screen) -> None:
    """One row a case; a selected row opens it."""
    hidden = ("verdict", "verdict_by") if common.wanted().verdict == OPEN else ()

    def open_row() -> None:
        selected = st.session_state[TABLE]["selection"]["rows"]
        if selected:
            common.open_case(found.rows[selected[0]].pseudonym)

    st.dataframe(
        pandas.DataFrame([_cells(row, screen.threshold) for row in found.rows]),
        key=TABLE,
        height=min(2 + 36 + 36 * len(found.rows), 38 + 36 * 15),
        row_height=36,
        hide_index=True,
        column_order=[name for name in COLUMNS if name not in hidden],
        on_select=open_row,
        selection_mode="single-row",
        placeholder="–",
        alt="The list of cases; select a row to open its case",
        column_config={
            "case": st.column_config.TextColumn("Case", width=110, pinned=True),
            "probability": st.column_config.TextColumn("Probability", width=90, alignment="right"),
            "decision": st.column_config.TextColumn("Decision", width=130),
            "verdict": st.column_config.TextColumn("Verdict", width=130),
            "opened": st.column_config.TextColumn(
                "Open by", width=110, help="Who else has the case open at the moment."
            ),
            "certainty": st.column_config.TextColumn(
                "How sure", width=130, help="The network's own verdict at the error rate of that time."
            ),
            "created": st.column_config.DatetimeColumn("First read", format="D MMM YYYY, HH:mm", width=150),
            "by": st.column_config.TextColumn("By", width=110),
            "verdict_by": st.column_config.TextColumn("Verdict by", width=110),
            "version": st.column_config.TextColumn("Version", width=150),
            "remarks": st.column_config.TextColumn("Remarks", width="large"),
        },
    )


def _cells(row: Row, threshold: float) -> dict[str, object]:
    decision = row.decision(threshold)
    return {
        "case": row.pseudonym,
        "probability": None
        if row.probability is None
        else format_probability(row.probability, threshold=threshold),
        "decision": f"{SHAPES[decision]} {decision}",
        "verdict": f"{SHAPES[row.verdict]} {row.verdict}" if row.verdict else None,
        "opened": ", ".join(row.opened) or None,
        "certainty": f"{SHAPES[row.certainty]} {row.certainty}" if row.certainty else None,
        "created": row.created.astimezone().replace(tzinfo=None),
        "by": row.by,
        "verdict_by": row.verdict_by,
        "version": row.version,
        "remarks": row.remarks or None,
    }


@st.fragment(run_every=_LOOK_EVERY)
def new_cases(shown: int, screen: Screen) -> None:
    """Says that cases have come since the list was drawn; the list itself stays as it is, so that no row moves."""
    try:
        newest = worklist.newest(who=people.current())
    except (*common.UNREACHABLE, PermissionError):
        return
    if newest > shown and st.button("New cases: show them", icon=":material/refresh:", type="tertiary"):
        st.rerun()


def exports(wanted: Filter, sort: worklist.Sort, total: int, screen: Screen) -> None:
    """The whole list, all pages of it, to take away: as CSV, and as reports."""
    threshold = screen.threshold
    who = people.later()

    def data() -> bytes:
        # Runs when the button is pressed, in a thread of its own.
        return b"".join(worklist.export_csv(wanted, sort, threshold=threshold, who=who()))

    if screen.person.may(Action.EXPORT_CASES):
        st.download_button(
            f"Download {total:,} {'case' if total == 1 else 'cases'} as CSV",
            data=data,
            file_name="pneumoscope-cases.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="worklist-csv",
            help="All pages of the list, with the decision at the current threshold. The audit trail keeps that you "
            "took it.",
        )
    reports.show_filter(wanted, sort, total, screen)
