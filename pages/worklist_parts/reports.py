"""Reports as PDF: of the open case, and of all cases of the list. Made when asked for, and not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from utils import people, session, texts
from utils.database import DatabaseError
from utils.permissions import Action, Person
from utils.session import Screen
from utils.texts import LANGUAGES, Language
from utils.worklist import Filter, Sort

if TYPE_CHECKING:
    from utils.reporting import Report

LANGUAGE = "report-language"
_WIDTH = 300
"""Of what a button opens, in pixels: narrow enough for a telephone."""


def show_case(pseudonym: str, screen: Screen) -> None:
    """The report of one case, behind a button; nothing for whoever may not make one."""
    if screen.person.may(Action.MAKE_REPORT):
        with st.container(width="content"):
            _one(pseudonym, screen.threshold)


def show_filter(wanted: Filter, sort: Sort, total: int, screen: Screen) -> None:
    """The reports of the cases of a list in one file, behind a button; nothing for whoever may not make them.

    Args:
        wanted: which cases the list shows.
        sort: their order.
        total: how many they are.
        screen: the threshold decides.
    """
    if screen.person.may(Action.MAKE_REPORT) and screen.person.may(Action.EXPORT_CASES):
        with st.container(width="content"):
            _many(wanted, sort, total, screen.threshold)


@st.fragment
def _one(pseudonym: str, threshold: float) -> None:
    from utils import reporting  # fpdf2 takes a moment to load

    with (
        st.popover("Report", icon=":material/picture_as_pdf:", key="report-of-case"),
        st.container(width=_WIDTH),
    ):
        language = _language()
        if st.button("Make the report", icon=":material/description:", key="report-make"):
            _make(
                lambda who: reporting.of_case(pseudonym, language=language, threshold=threshold, who=who),
                file_name=f"pneumoscope-{pseudonym}.pdf",
            )
        st.caption(
            f"One page A4, with the decision at threshold {threshold:.3f}. The audit trail keeps that you made it."
        )


@st.fragment
def _many(wanted: Filter, sort: Sort, total: int, threshold: float) -> None:
    from utils import reporting

    with (
        st.popover("Reports as PDF", icon=":material/picture_as_pdf:", key="report-of-list"),
        st.container(width=_WIDTH),
    ):
        language = _language()
        if st.button(
            f"Make the reports of {total:,} {'case' if total == 1 else 'cases'}",
            icon=":material/description:",
            key="report-make-all",
            disabled=not 0 < total <= reporting.MOST,
        ):
            bar = st.progress(0.0, "Making the reports")
            _make(
                lambda who: reporting.of_list(
                    wanted,
                    sort,
                    language=language,
                    threshold=threshold,
                    who=who,
                    progress=lambda done, all_: bar.progress(done / all_, f"{done} of {all_} cases"),
                ),
                file_name="pneumoscope-cases.pdf",
            )
            bar.empty()
        if total > reporting.MOST:
            st.caption(
                f"One file holds {reporting.MOST} cases at most: filter the list. The CSV has them all."
            )
        else:
            st.caption(
                f"A summary and one page A4 a case, with the decisions at threshold {threshold:.3f}. "
                "The audit trail keeps that you made it."
            )


def _language() -> Language:
    """The reader's language: that of the browser until another one is chosen, then the same on all screens."""
    st.session_state.setdefault(LANGUAGE, texts.known(st.context.locale))
    language = st.segmented_control(
        "Language of the report",
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        required=True,
        key=LANGUAGE,
        persist_state="session",
    )
    return language or "en"


def _make(making: Callable[[Person], Report], *, file_name: str) -> None:
    """Make a report and offer it; it is gone with the next run."""
    if not session.may(Action.MAKE_REPORT):
        return
    try:
        with st.spinner("Making the report"):
            report = making(people.current())
    except (LookupError, PermissionError, DatabaseError) as error:
        st.error(str(error), icon=":material/error:")
        return
    st.download_button(
        f"Download, {_size(len(report.pdf))}",
        data=report.pdf,
        file_name=file_name,
        mime="application/pdf",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
        key="report-download",
    )
    if report.films_missing:
        st.warning(
            f"{report.films_missing} {'film is' if report.films_missing == 1 else 'films are'} kept and could not be "
            "shown: ask your administrator to look at the folder of films.",
            icon=":material/warning:",
        )


def _size(count: int) -> str:
    """Bytes, as one reads them."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
