"""Subgroups: the same rates for bacterial and viral films, and by any further column of the predictions file."""

from __future__ import annotations

import streamlit as st

from model import curves
from model.evaluation import Proportion
from pages.metrics_parts import common
from pages.metrics_parts.common import Context, Row
from utils import charts


def show(context: Context) -> None:
    groupings = context.measured.groupings
    if not groupings:
        st.info(
            "These films name no subgroups: the predictions file has no column with 2 to "
            f"{common.MOST_GROUPS} different values.",
            icon=":material/info:",
        )
        return
    column = st.selectbox(
        "Grouped by",
        options=list(groupings),
        format_func=lambda name: name.replace("_", " ").capitalize(),
        key="metrics-grouping",
        persist_state="session",
        width=320,
    )
    groups = context.measured.subgroups(column, threshold=context.threshold)
    common.figure(
        charts.subgroup_figure(groups),
        key="subgroups",
        context=context,
        alt="Sensitivity and specificity of each subgroup with 95 % intervals, as in the table below.",
    )
    st.table(subgroup_rows(groups), hide_index=True, border="horizontal")
    st.caption("A group whose interval is wide may look better or worse than another by chance alone.")
    common.csv_button(lambda: subgroup_rows(groups), name=f"subgroups-{column}-{context.source.slug}")


def subgroup_rows(groups: tuple[curves.Subgroup, ...]) -> list[Row]:
    return [
        {
            "Group": group.name,
            "NORMAL": f"{group.normal:,}",
            "PNEUMONIA": f"{group.pneumonia:,}",
            "Sensitivity": _proportion(group.sensitivity),
            "Specificity": _proportion(group.specificity),
            "AUC": charts.interval_in_words(group.auc, group.auc_interval),
            "Note": group.note,
        }
        for group in groups
    ]


def _proportion(share: Proportion) -> str:
    if share.interval is None:
        return "–"
    return f"{common.share(share.value)} ({common.bounds(share.interval, percent=True)})"
