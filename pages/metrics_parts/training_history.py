"""Training: the figures of each epoch, on training and on validation films."""

from __future__ import annotations

import pandas
import streamlit as st

from model.registry import Version
from pages.metrics_parts import common
from utils import charts

FIGURES: dict[charts.HistoryFigure, str] = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "auc": "AUC",
    "f1": "F1",
}


def show(version: Version, *, picture: common.Picture) -> None:
    """Raises VersionError: the history is damaged."""
    history = version.history()
    if history.empty:
        st.info(f"Version {version.name} holds no training history.", icon=":material/info:")
        return
    drawn = [name for name in FIGURES if available(history, name)]
    if not drawn:
        st.info(
            f"The training history of version {version.name} names none of the known figures.",
            icon=":material/info:",
        )
        return
    pairs = st.grid(2, min_column_width=340, gap="medium")
    for name in drawn:
        with pairs.cell():
            st.markdown(f"#### {FIGURES[name]}")
            st.plotly_chart(
                charts.history_figure(history, name),
                key=f"history-{name}",
                theme="streamlit",
                config=charts.config(f"history-{name}-{version.name}", picture=picture),
                alt=f"{FIGURES[name]} by epoch, on training and on validation films.",
            )
    st.caption(
        "Training figures are running means while the weights move and films are changed at random; validation figures "
        "are taken after each epoch on films as they are. So validation can look the better one."
    )
    st.dataframe(history, hide_index=True, key="history-table")
    common.csv_button(lambda: common.records(history), name=f"history-{version.name}")


def available(history: pandas.DataFrame, name: charts.HistoryFigure) -> bool:
    """Is there something to draw? F1 follows from precision and recall where it was not written down."""
    for prefix in ("", "val_"):
        if prefix + name in history:
            return True
        if name == "f1" and {f"{prefix}precision", f"{prefix}recall"} <= set(history):
            return True
    return False
