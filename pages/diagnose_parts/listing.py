"""The list of films: what could not be read, the table, and the list as CSV."""

from __future__ import annotations

from collections.abc import Sequence

import pandas
import streamlit as st

from pages.diagnose_parts import common, saving, where
from utils import look, session
from utils.decisions import PNEUMONIA, decide
from utils.readings import Certainty, Entry, Worklist, readings_csv

TABLE = "diagnose-table"


def bad_files(entries: Sequence[Entry]) -> None:
    """The files that could not be read, each with its sentence."""
    worklist = common.worklist()
    st.html(look.bad_files([(entry.name, worklist.reading(entry.key).message) for entry in entries]))


def table(good: Sequence[Entry], *, threshold: float, certain: Certainty | None) -> None:
    """One row a film; a selected row opens its film."""
    worklist = common.worklist()
    rows = [worklist.row(entry, threshold=threshold, certainty=certain) for entry in good]
    for row, entry in zip(rows, good, strict=True):
        row["case"] = saving.case_of(entry.key)
    found = [worklist.reading(entry.key).probability for entry in good]
    judged = [probability for probability in found if probability is not None]
    flagged = sum(decide(probability, threshold=threshold) == PNEUMONIA for probability in judged)
    refused = len(good) - len(judged)
    left_out = f" {refused} {'is' if refused == 1 else 'are'} not judged." if refused else ""
    st.markdown(
        f"**{flagged} of {len(judged)}** films flagged as PNEUMONIA.{left_out} Select a row to open its film."
    )

    def open_row() -> None:
        selected = st.session_state[TABLE]["selection"]["rows"]
        if selected:
            st.session_state[common.OPENED] = good[selected[0]].key

    columns = [
        "film",
        "probability",
        "decision",
        *(["certainty"] if certain else []),
        *(["case"] if any(row["case"] for row in rows) else []),
        "file",
        "remarks",
    ]
    st.dataframe(
        pandas.DataFrame(rows),
        key=TABLE,
        column_order=columns,
        height=min(2 + 36 + 44 * len(rows), 262),
        row_height=44,
        hide_index=True,
        on_select=open_row,
        selection_mode="single-row",
        placeholder="–",
        column_config={
            "film": st.column_config.ImageColumn("Film", width=60),
            "file": st.column_config.TextColumn("File", width="medium"),
            "probability": st.column_config.NumberColumn("Probability", format="%.3f", width=90),
            "decision": st.column_config.TextColumn("Decision", width=120),
            "certainty": st.column_config.TextColumn(
                "How sure",
                width=120,
                help=""
                if certain is None
                else f"Whatever the threshold: the verdict at {certain.rule.error_rate * 100:g} % errors.",
            ),
            "case": st.column_config.TextColumn("Case", width=110, help="Under this pseudonym it is saved."),
            "remarks": st.column_config.TextColumn("Remarks", width="large"),
        },
    )


def actions(worklist: Worklist, *, threshold: float, certain: Certainty | None) -> None:
    """The list as CSV, and away with it."""
    entries, cases = tuple(worklist.entries), saving.known_cases()

    def table_of_readings() -> bytes:
        return readings_csv(entries, worklist.readings, threshold=threshold, certainty=certain, cases=cases)

    with st.container(horizontal=True):
        st.download_button(
            "Download CSV",
            # File names stand beside pseudonyms here only.
            data=session.exported(
                table_of_readings, subject="readings", after={"films": len(entries), "threshold": threshold}
            ),
            file_name="pneumoscope.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.button("Clear the list", icon=":material/delete:", on_click=clear)


def clear() -> None:
    st.session_state[common.WORKLIST] = Worklist()
    st.session_state[common.OPENED] = None
    saving.forget()
    for name in (common.FRAME, *where.KEPT):
        st.session_state.pop(name, None)
