"""Downloads of the whole: a report in one HTML file, the figures as JSON, and the format of single figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from model.figures import figures
from model.registry import VersionError
from pages.metrics_parts import (
    common,
    curve_figures,
    operating,
    overview,
    side_by_side,
    subgroup_figures,
    training_history,
)
from pages.metrics_parts.common import Context, Picture, Row
from utils import charts
from utils.decisions import ASSISTS
from utils.reports import html_report

PICTURE = "metrics-picture"
Chart = tuple[str, go.Figure]


def picture() -> Picture:
    """The format chosen below; read on top, before any figure is drawn."""
    return "png" if st.session_state.get(PICTURE) == "png" else "svg"


def show(context: Context) -> None:
    name = f"metrics-{context.source.slug}"
    # The files are made later, in a thread that knows no session.
    prevalence = st.session_state.get(curve_figures.PREVALENCE, curve_figures.USUAL_PREVALENCE) / 100
    with st.container(horizontal=True, vertical_alignment="bottom", key="downloads"):
        st.download_button(
            "Report (HTML)",
            data=lambda: report(context, prevalence=prevalence),
            file_name=f"{name}.html",
            mime="text/html",
            icon=":material/description:",
            on_click="ignore",
            help="All figures, curves and tables of this choice in one file that opens anywhere and prints.",
        )
        st.download_button(
            "Figures (JSON)",
            data=lambda: as_json(context),
            file_name=f"{name}.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
            help="As `python -m model evaluate --json` writes them.",
        )
        st.segmented_control(
            "Single figures download as",
            options=["svg", "png"],
            format_func=str.upper,
            default="svg",
            required=True,
            key=PICTURE,
            persist_state="session",
            help="Point at a figure and click the camera.",
        )


def as_json(context: Context) -> bytes:
    """The figures as `python -m model evaluate --json` writes them, from the stored predictions."""
    own = context.source.own
    told: dict[str, Any] = context.result.as_json()
    told |= {
        "version": context.version.name,
        "sha256": context.version.card.sha256,
        "split": context.source.kind if own is None else own.name,
        "unreadable": [] if own is None else [each.file for each in own.unreadable],
        "engine": "stored predictions",
    }
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()


def predictive(context: Context, prevalence: float) -> list[Chart]:
    """PPV and NPV against prevalence."""
    rates = context.result.sensitivity, context.result.specificity
    if not context.measured.both:
        return []
    figure = charts.predictive_figure(*rates, prevalence=prevalence, base_rate=context.measured.base_rate)
    return [("Predictive values", figure)]


def history(context: Context) -> list[Chart]:
    """The figures of training by epoch; none where the version holds no history that can be read."""
    try:
        epochs = context.version.history()
    except VersionError:
        return []
    return [
        (f"{title} by epoch", charts.history_figure(epochs, name))
        for name, title in training_history.FIGURES.items()
        if training_history.available(epochs, name)
    ]


def versions(context: Context) -> list[tuple[str, list[Row]]]:
    """This version beside the newest others on the same films, each at this threshold; none where it is alone."""
    others = [version for version in context.versions if version.name != context.version.name]
    sides, _ = side_by_side.measured(
        context.source,
        (context.version, *others[: side_by_side.MOST_VERSIONS - 1]),
        threshold=context.threshold,
        settings=context.settings,
        measure=common.measure_anew,
    )
    if len(sides) < 2:
        return []
    found = [("Versions side by side", side_by_side.figure_rows(sides))]
    if differences := side_by_side.difference_rows(sides):
        found.append(("Differences of the AUC, paired test of DeLong", differences))
    return found


def report(context: Context, *, prevalence: float) -> bytes:
    """The whole as one HTML file. Names of films are left out: they may be patients' names.

    Args:
        prevalence: the one typed in the section In practice, in [0, 1].
    """
    films, result = context.measured, context.result
    drawn = [("Confusion matrix", charts.confusion_figure(result.confusion))]
    if films.both:
        drawn.append(("ROC curve", overview.roc_figure(context)[0]))
    for title, (build, _, needs_both) in curve_figures.FIGURES.items():
        if films.both or not needs_both:
            drawn.append((title, build(context)[0]))
    drawn += predictive(context, prevalence)
    tables = [("Thresholds", operating.threshold_rows(context))]
    for column in films.groupings:
        groups = films.subgroups(column, threshold=context.threshold)
        tables.append((f"By {column.replace('_', ' ')}", subgroup_figures.subgroup_rows(groups)))
    tables += versions(context)
    drawn += history(context)
    tables += [
        ("Published on the official test split", side_by_side.published_rows(comparable=True)),
        ("Published with other protocols, not to be compared", side_by_side.published_rows(comparable=False)),
    ]
    return html_report(
        title=f"Pneumoscope: {context.version.name} on {context.source.title}",
        facts=[
            ("Version", f"{context.version.name}, {context.version.card.created:%d %B %Y}"),
            ("Network (SHA-256)", context.version.card.sha256),
            ("Films", f"{result.n:,}: {films.normal:,} NORMAL, {films.pneumonia:,} PNEUMONIA"),
            *([("Patients", f"{result.by_patient.patients:,}")] if result.by_patient else []),
            ("Threshold", f"{context.threshold:.3f}"),
            ("Calibrated on", context.version.card.calibration.fitted_on),
            ("Written", f"{datetime.now(UTC):%d %B %Y %H:%M} UTC"),
        ],
        figures=figures(result),
        charts=drawn,
        tables=tables,
        footer=ASSISTS,
    )
