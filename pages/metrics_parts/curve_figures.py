"""Curves: how the probabilities behave over all thresholds, and what they mean at another prevalence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from model import curves
from pages.metrics_parts import common
from pages.metrics_parts.common import Context, Row
from utils import charts

PREVALENCE = "metrics-prevalence"
USUAL_PREVALENCE = 20.0
"""Percent, until somebody types another."""
Drawn = tuple[go.Figure, str]
"""A figure and what it shows in words, for those who cannot see it."""


def show(context: Context) -> None:
    """What the network tells apart, over all thresholds."""
    pairs = st.grid(2, min_column_width=340, gap="medium")
    cells(pairs, CURVES, context)
    common.csv_button(
        lambda: sweep_rows(context.measured.sweep),
        name=f"curves-{context.source.slug}",
        label="Curves as CSV",
    )


def show_in_practice(context: Context) -> None:
    """What a probability is worth: is it right, does acting on it help, what does it mean at one's own prevalence.

    A section of its own: six figures take longer than a move of the threshold may.
    """
    pairs = st.grid(2, min_column_width=340, gap="medium")
    cells(pairs, IN_PRACTICE, context)
    with pairs.cell():
        predictive(context)


def cells(grid: Any, titles: Sequence[str], context: Context) -> None:
    for title in titles:
        with grid.cell():
            st.markdown(f"#### {title}")
            draw(title, context)


def draw(title: str, context: Context) -> None:
    build, note, needs_both = FIGURES[title]
    if needs_both and not context.measured.both:
        st.info(f"{title} needs films of both classes.", icon=":material/info:")
        return
    figure, alt = build(context)
    common.figure(figure, key=title.lower().replace(" ", "-"), context=context, alt=alt)
    st.caption(note(context))


def precision_recall(context: Context) -> Drawn:
    curve = context.measured.precision_recall
    figure = charts.precision_recall_figure(curve, current=context.result)
    return figure, f"Precision-recall curve, average precision {common.number(curve.average_precision)}."


def calibration(context: Context) -> Drawn:
    after, before = context.measured.reliability, context.measured.reliability_before
    alt = f"Reliability diagram, calibration error {common.number(context.result.ece)}."
    return charts.reliability_figure(after, before), alt


def distribution(context: Context) -> Drawn:
    figure = charts.distribution_figure(context.measured.distribution, threshold=context.threshold)
    return figure, f"Histogram of probabilities by class with the threshold at {context.threshold:.3f}."


def sweep(context: Context) -> Drawn:
    figure = charts.sweep_figure(context.measured.sweep, threshold=context.threshold)
    return figure, (
        f"Sensitivity and specificity against the threshold; at {context.threshold:.3f} they are "
        f"{common.share(context.result.sensitivity.value)} and {common.share(context.result.specificity.value)}."
    )


def decision(context: Context) -> Drawn:
    figure = charts.decision_figure(context.measured.decision, threshold=context.threshold)
    return figure, "Net benefit of the network, of treating all and of treating none, against the threshold."


def _calibration_note(context: Context) -> str:
    if context.measured.reliability_before is None:
        return (
            "Films in ten bins of their probability. On the diagonal a probability of 0.8 means that 8 of 10 such "
            "films show pneumonia. The card does not say what the probabilities were before calibration."
        )
    prevalence = context.version.card.calibration.prevalence
    note = "Films in ten bins of their probability; on the diagonal a probability means what it says."
    if prevalence is not None:
        note += (
            f" The probabilities are made for a prevalence of {common.share(prevalence)}; of these films "
            f"{common.share(context.measured.base_rate)} show pneumonia."
        )
    return note


FIGURES: dict[str, tuple[Callable[[Context], Drawn], Callable[[Context], str], bool]] = {
    "Precision and recall": (
        precision_recall,
        lambda context: (
            "Precision hangs on how common pneumonia is: "
            f"{common.share(context.measured.base_rate)} of these films."
        ),
        True,
    ),
    "Calibration": (calibration, _calibration_note, False),
    "Distribution of probabilities": (
        distribution,
        lambda _: "What lies at or right of the threshold is flagged.",
        False,
    ),
    "Sensitivity and specificity": (
        sweep,
        lambda _: "Bands: 95 % intervals at each threshold by itself (Wilson).",
        False,
    ),
    "Decision curve": (
        decision,
        lambda _: (
            "Net benefit: pneumonias found, less false alarms weighed by the odds of the threshold (Vickers and Elkin "
            "2006). The network helps where its line lies above both others."
        ),
        True,
    ),
}


IN_PRACTICE = ("Calibration", "Decision curve")
CURVES = tuple(title for title in FIGURES if title not in IN_PRACTICE)


def predictive(context: Context) -> None:
    """PPV and NPV at the prevalence that the clinician types in."""
    st.markdown("#### Predictive values at your prevalence")
    rate = context.measured.base_rate
    typed = st.number_input(
        "Share of pneumonia among the children you X-ray, in percent",
        min_value=0.1,
        max_value=99.9,
        value=USUAL_PREVALENCE,
        step=1.0,
        format="%.1f",
        key=PREVALENCE,
        persist_state="session",
        width=380,
    )
    st.caption(
        f"In this set {common.share(rate)} of the films show pneumonia: the precision and NPV of the overview hold for "
        "that share only."
    )
    sensitivity, specificity = context.result.sensitivity, context.result.specificity
    if sensitivity.value is None or specificity.value is None:
        st.info("Predictive values need films of both classes.", icon=":material/info:")
        return
    values = curves.predictive_values(sensitivity, specificity, typed / 100)
    with st.grid(2, min_column_width=150, gap="xsmall"):
        for name, value, interval, meaning in (
            ("PPV", values.ppv, values.ppv_interval, "Of the flagged films, the share with pneumonia."),
            ("NPV", values.npv, values.npv_interval, "Of the films not flagged, the share that is normal."),
        ):
            st.metric(
                name,
                common.share(value),
                delta=common.bounds(interval, percent=True) or None,
                delta_color="off",
                delta_arrow="off",
                help=f"{meaning} At this threshold and the prevalence above (Mercaldo et al. 2007).",
                border=True,
            )
    common.figure(
        charts.predictive_figure(sensitivity, specificity, prevalence=typed / 100, base_rate=rate),
        key="predictive-values",
        context=context,
        alt=f"PPV and NPV against prevalence; at {typed:.1f} % PPV is {common.share(values.ppv)}, NPV "
        f"{common.share(values.npv)}.",
    )


def sweep_rows(table: curves.Sweep) -> list[Row]:
    """One row a threshold, as numbers."""
    names = (
        "tn",
        "fp",
        "fn",
        "tp",
        "sensitivity",
        "sensitivity_low",
        "sensitivity_high",
        "specificity",
        "specificity_low",
        "specificity_high",
        "precision",
        "npv",
        "accuracy",
        "f1_pneumonia",
        "youden",
    )
    columns = {name: getattr(table, name) for name in names}
    return [
        {"threshold": round(float(threshold), 6)}
        | {
            name: int(column[index]) if _is_count(name) else common.plain(column[index])
            for name, column in columns.items()
        }
        for index, threshold in enumerate(table.thresholds)
    ]


def _is_count(name: str) -> bool:
    return name in ("tn", "fp", "fn", "tp")
