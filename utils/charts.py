"""Plotly figures: results in, figure out. No figure computes a number that is not in the result it was given, but
for predictive values along the prevalence, which `model.curves` computes.

Grounds are transparent and texts beside the figure take the theme's colour, so that a figure looks right in the dark
theme and in the light one (`st.plotly_chart(figure, theme="streamlit")`). Colours are Okabe and Ito's, told apart by
colour-blind readers, made so deep or light that they keep 3:1 on black and on white, and never the only sign: lines
differ by dash, points by shape. A figure's height does not change with its values, nor does an axis move with the
threshold, so nothing jumps.

Names that come from outside (of versions, operating points, groups) are escaped: Plotly reads texts as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from model.conformal import RiskCoverage
from model.curves import (
    DecisionCurve,
    Distribution,
    PrecisionRecall,
    Reliability,
    Subgroup,
    Sweep,
    predictive_values,
)
from model.evaluation import Confusion, Evaluation, Interval, OperatingRates, Proportion, Roc

if TYPE_CHECKING:
    import pandas

# The matrix has grounds of its own, deep enough for white text in both themes (at least 5:1).
CLEAR = ("#456173", "#00588f")
FLAGGED = ("#6e5d45", "#9a5b00")
# Between the light and the dark blue of the themes: at least 3:1 on either ground.
CURVE = "#2c80cb"
CURRENT = "#d55e00"
NEUTRAL = "#7d8794"
POINT_SYMBOLS = ("circle-open", "square-open", "triangle-up-open", "diamond-open")
LABELS = ("NORMAL", "PNEUMONIA")
CLASS_COLOURS = (CURVE, "#c47a00")
COMPARED = (CURVE, "#c47a00", "#009e73", "#c06a9a", "#d55e00", NEUTRAL)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
HEIGHT = 430
HISTORY_HEIGHT = 320
LIVE_HEIGHT = 250
PREVALENCES: NDArray[np.float64] = np.concatenate([[0.001, 0.003, 0.005], np.arange(1, 100) / 100, [0.995]])
LONGEST_NAME = 20
"""Characters of a name in a legend: a longer line would squeeze the plot on a phone."""

HistoryFigure = Literal["loss", "accuracy", "precision", "recall", "auc", "f1"]
HISTORY_NAMES: Mapping[str, str] = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Sensitivity (recall)",
    "auc": "AUC",
    "f1": "F1, pneumonia",
}


def config(name: str, *, picture: Literal["svg", "png"] = "svg") -> dict[str, Any]:
    """Plotly's own settings for a figure on a page; `name` and `picture` are the name and the format in which it
    downloads. A PNG has twice the pixels of the screen."""
    return {
        "displaylogo": False,
        "scrollZoom": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        "toImageButtonOptions": {"format": picture, "filename": name, "scale": 2 if picture == "png" else 1},
    }


def percent(value: float | None) -> str:
    """A share with one decimal; 100 and 0 are said only where exact.

    >>> percent(0.923)
    '92.3 %'
    >>> percent(0.9999)
    '>99.9 %'
    """
    if value is None:
        return "–"
    if 0.9995 <= value < 1:
        return ">99.9 %"
    if 0 < value < 0.0005:
        return "<0.1 %"
    return f"{value:.1%}".replace("%", " %")


def share_in_words(share: Proportion) -> str:
    """A proportion with its count and interval, for hover texts and tables."""
    if share.interval is None:
        return "–"
    return (
        f"{percent(share.value)} ({share.count} of {share.total}; 95 % interval "
        f"{percent(share.interval.low)} to {percent(share.interval.high)})"
    )


class _Drawing:
    """A figure in the making: plain dicts, which Plotly checks once, in `finished`: step by step takes far longer."""

    def __init__(self) -> None:
        self.traces: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {}
        self.xaxis: dict[str, Any] = {}
        self.yaxis: dict[str, Any] = {}

    def scatter(self, **values: Any) -> None:
        self.traces.append({"type": "scatter", **values})

    def bar(self, **values: Any) -> None:
        self.traces.append({"type": "bar", **values})

    def heatmap(self, **values: Any) -> None:
        self.traces.append({"type": "heatmap", **values})

    def finished(self) -> go.Figure:
        return go.Figure(
            {"data": self.traces, "layout": {**self.layout, "xaxis": self.xaxis, "yaxis": self.yaxis}}
        )


def confusion_figure(confusion: Confusion) -> go.Figure:
    """The confusion matrix: reference label down, decision across, counts and shares of the row.

    Right cells are blue, wrong ones orange, the deeper the larger their share of the row; the words say which
    is which.
    """
    rows = (
        (("true negatives", confusion.tn, 1), ("false positives", confusion.fp, -1)),
        (("false negatives", confusion.fn, -1), ("true positives", confusion.tp, 1)),
    )
    depth: list[list[float]] = []
    hover: list[list[str]] = []
    annotations = []
    for label, row in zip(LABELS, rows, strict=True):
        total = sum(count for _, count, _ in row)
        # The sign picks the colour, so an empty wrong cell must stay below zero.
        depth.append([sign * max(count / total if total else 0, 1e-9) for _, count, sign in row])
        hover.append([])
        for decision, (name, count, _) in zip(LABELS, row, strict=True):
            share = percent(count / total) if total else "no films"
            hover[-1].append(
                f"<b>{count:,} {name}</b><br>{share} of the {total:,} films<br>"
                f"with reference label {label}<br>were called {decision}"
            )
            annotations.append(
                {
                    "x": decision,
                    "y": label,
                    "text": f"<span style='font-size:1.9em'><b>{count:,}</b></span><br>{share}<br>{name}",
                    "showarrow": False,
                    "font": {"size": 13, "color": "#ffffff"},
                }
            )
    figure = _Drawing()
    figure.heatmap(
        x=list(LABELS),
        y=list(LABELS),
        z=depth,
        zmin=-1,
        zmax=1,
        colorscale=[[0, FLAGGED[1]], [0.4999, FLAGGED[0]], [0.5, CLEAR[0]], [1, CLEAR[1]]],
        showscale=False,
        xgap=4,
        ygap=4,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.layout.update(annotations=annotations, **_layout())
    figure.xaxis.update(
        title={"text": "Decision"}, side="bottom", showgrid=False, zeroline=False, fixedrange=True
    )
    figure.yaxis.update(
        title={"text": "Reference label"},
        autorange="reversed",
        tickangle=-90,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure.finished()


def roc_figure(
    roc: Roc,
    *,
    current: OperatingRates | None = None,
    operating_points: Mapping[str, OperatingRates] | None = None,
    size_floor: float | None = None,
) -> go.Figure:
    """The ROC curve with its 95 % band, the chance line, the current threshold and the operating points.

    Args:
        roc: the curve.
        current: rates at the threshold in use, on the same films.
        operating_points: rates at each named threshold, on the same films.
        size_floor: the AUC that the width of the image alone gives on the films as published. Only its area is known,
            so it is a line of the legend, not of the plot.
    """
    figure = _Drawing()
    if size_floor is not None:
        _add_legend_text(figure, f"image size alone: AUC {size_floor:.3f}")
    x = roc.false_positive_rate
    figure.scatter(x=x, y=roc.band_high, mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False)
    figure.scatter(
        x=x,
        y=roc.band_low,
        mode="lines",
        line={"width": 0},
        fill="tonexty",
        fillcolor="rgba(44, 128, 203, 0.22)",
        hoverinfo="skip",
        name="95 % band",
    )
    _add_chance(figure)
    figure.scatter(
        x=x,
        y=roc.sensitivity,
        mode="lines",
        line={"color": CURVE, "width": 2.5},
        name=f"AUC {interval_in_words(roc.auc, roc.auc_interval)}",
        text=[_curve_hover(roc, index) for index in range(x.size)],
        hovertemplate=_HOVER,
    )
    for index, (name, rates) in enumerate((operating_points or {}).items()):
        _add_point(
            figure, name, rates, symbol=POINT_SYMBOLS[index % len(POINT_SYMBOLS)], color=NEUTRAL, size=12
        )
    if current is not None:
        _add_point(figure, "current", current, symbol="x", color=CURRENT, size=11)
    figure.layout.update(legend=_legend_inside("right"), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Normal films flagged (1 − specificity)"}, **_share_axis())
    figure.yaxis.update(title={"text": "Pneumonias flagged (sensitivity)"}, **_share_axis())
    return figure.finished()


def comparison_roc_figure(curves: Mapping[str, Roc]) -> go.Figure:
    """ROC curves of several versions on the same films, by name, without their bands."""
    figure = _Drawing()
    _add_chance(figure)
    for index, (name, roc) in enumerate(curves.items()):
        figure.scatter(
            x=roc.false_positive_rate,
            y=roc.sensitivity,
            mode="lines",
            line={
                "color": COMPARED[index % len(COMPARED)],
                "dash": DASHES[index % len(DASHES)],
                "width": 2.5,
            },
            name=f"{_shown(name, 18)} AUC {roc.auc:.3f}",
            text=[
                f"<b>{escape(name)}</b>, AUC {interval_in_words(roc.auc, roc.auc_interval)}<br>"
                + _curve_hover(roc, point)
                for point in range(roc.thresholds.size)
            ],
            hovertemplate=_HOVER,
        )
    figure.layout.update(legend=_legend_inside("right"), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Normal films flagged (1 − specificity)"}, **_share_axis())
    figure.yaxis.update(title={"text": "Pneumonias flagged (sensitivity)"}, **_share_axis())
    return figure.finished()


def precision_recall_figure(curve: PrecisionRecall, *, current: Evaluation | None = None) -> go.Figure:
    """The precision-recall curve in steps, the precision of guessing, and the threshold in use.

    Args:
        curve: the curve.
        current: figures at the threshold in use, on the same films; gives the interval of the average precision too.
    """
    figure = _Drawing()
    figure.scatter(
        x=[0, 1],
        y=[curve.prevalence, curve.prevalence],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
        name=f"guessing {percent(curve.prevalence)}",
    )
    interval = None if current is None else current.average_precision_interval
    figure.scatter(
        x=curve.recall,
        y=curve.precision,
        mode="lines",
        # Between two points the precision is that of the later one: up or down first, then along.
        line={"color": CURVE, "width": 2.5, "shape": "vh"},
        name=f"AP {interval_in_words(curve.average_precision, interval)}",
        text=[
            f"{_at(threshold)}<br>sensitivity (recall) {percent(float(recall))}"
            f"<br>precision {percent(float(precision))}"
            for threshold, recall, precision in zip(
                curve.thresholds, curve.recall, curve.precision, strict=True
            )
        ],
        hovertemplate=_HOVER,
    )
    if current is not None and current.sensitivity.value is not None and current.precision.value is not None:
        figure.scatter(
            x=[current.sensitivity.value],
            y=[current.precision.value],
            mode="markers",
            marker={"symbol": "x", "color": CURRENT, "size": 11},
            name=f"current {current.threshold:.3f}",
            text=[
                f"<b>current, threshold {current.threshold:.3f}</b>"
                f"<br>sensitivity {_two_lines(current.sensitivity)}"
                f"<br>precision {_two_lines(current.precision)}"
            ],
            hovertemplate=_HOVER,
        )
    figure.layout.update(
        legend=_legend_inside("left") | {"traceorder": "reversed"}, hovermode="closest", **_layout()
    )
    figure.xaxis.update(title={"text": "Pneumonias flagged (sensitivity, recall)"}, **_share_axis())
    figure.yaxis.update(title={"text": "Flagged films with pneumonia (precision)"}, **_share_axis())
    return figure.finished()


def reliability_figure(after: Reliability, before: Reliability | None = None) -> go.Figure:
    """The reliability diagram, and below it how many films each bin holds.

    Args:
        after: of the probabilities as they are shown.
        before: of the same films before calibration.
    """
    figure = _Drawing()
    figure.scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
        name="perfect",
    )
    if before is not None:
        _add_reliability(
            figure, before, "before calibration", color=NEUTRAL, symbol="square-open", dash="dash", bars=False
        )
    name = "probability" if before is None else "after calibration"
    _add_reliability(figure, after, name, color=CURVE, symbol="circle", dash="solid", bars=True)
    centres = (after.edges[:-1] + after.edges[1:]) / 2
    figure.bar(
        x=centres,
        y=after.counts,
        width=np.diff(after.edges) * 0.94,
        yaxis="y2",
        marker={"color": NEUTRAL},
        text=[_short(int(count)) for count in after.counts],
        textposition="outside",
        textangle=0,
        cliponaxis=False,
        hovertext=[
            f"{_films(int(count))} from {low:.0%} to {high:.0%}".replace("%", " %")
            for count, low, high in zip(after.counts, after.edges[:-1], after.edges[1:], strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    figure.layout.update(legend=legend_above(), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Probability of pneumonia"}, anchor="y2", **_share_axis())
    figure.yaxis.update(title={"text": "Share with pneumonia"}, **_share_axis())
    most = int(after.counts.max(initial=1))
    figure.yaxis.update(domain=[0.3, 1])
    figure.layout.update(
        # Room for the number above the highest bar.
        yaxis2={
            "domain": [0, 0.2],
            "range": [0, 1.35 * most],
            "title": {"text": "Films"},
            "showticklabels": False,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
    )
    return figure.finished()


def distribution_figure(distribution: Distribution, *, threshold: float) -> go.Figure:
    """How many films of each class have which probability: PNEUMONIA upwards, NORMAL downwards.

    Heights grow with the square root of the count: most films lie at the two ends, and on an even scale the few
    between them, which a threshold decides on, would not be seen.
    """
    figure = _Drawing()
    centres = (distribution.edges[:-1] + distribution.edges[1:]) / 2
    width = float(distribution.edges[1] - distribution.edges[0])
    for label in (1, 0):
        counts = (distribution.normal, distribution.pneumonia)[label]
        figure.bar(
            x=centres,
            y=np.sqrt(counts) * (1 if label else -1),
            width=width * 0.9,
            marker={
                # Lighter than its edge, so that the line of the threshold is seen before it.
                "color": _transparent(CLASS_COLOURS[label], 0.55),
                "line": {"width": 1, "color": CLASS_COLOURS[label]},
            },
            name=f"{LABELS[label]} {'↑' if label else '↓'}",
            hovertext=[
                f"{_films(int(count))} of {LABELS[label]}<br>probability {low:.2f} to {low + width:.2f}"
                for count, low in zip(counts, distribution.edges[:-1], strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    top = np.sqrt(
        [distribution.pneumonia.max(initial=0), distribution.normal.max(initial=0)], dtype=np.float64
    )
    top = np.maximum(top, 1) * 1.06
    _add_threshold(figure, threshold, (-top[1], top[0]))
    figure.layout.update(barmode="overlay", bargap=0, legend=legend_above(), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Probability of pneumonia"}, **_share_axis())
    ticks = _square_root_ticks(float(top.max()) ** 2)
    figure.yaxis.update(
        title={"text": "Films (square-root scale)"},
        range=[-top[1], top[0]],
        tickvals=[*(-np.sqrt(ticks[:0:-1])), *np.sqrt(ticks)],
        ticktext=[f"{count:,}" for count in (*ticks[:0:-1], *ticks)],
        fixedrange=True,
        zeroline=True,
        zerolinecolor=NEUTRAL,
    )
    return figure.finished()


def sweep_figure(sweep: Sweep, *, threshold: float) -> go.Figure:
    """Sensitivity and specificity against the threshold, each with its 95 % band, and the threshold in use.

    A rate that the films cannot tell (sensitivity without a film of pneumonia) is left out.
    """
    figure = _Drawing()
    for label, name in ((1, "sensitivity"), (0, "specificity")):
        rate = getattr(sweep, name)
        low, high = getattr(sweep, f"{name}_low"), getattr(sweep, f"{name}_high")
        if np.isnan(rate).all():
            continue
        _add_band(figure, sweep.thresholds, low, high, colour=CLASS_COLOURS[label])
        wrong, total = (sweep.fn, sweep.fn + sweep.tp) if label else (sweep.fp, sweep.fp + sweep.tn)
        figure.scatter(
            x=sweep.thresholds,
            y=rate,
            mode="lines",
            line={"color": CLASS_COLOURS[label], "dash": DASHES[label], "width": 2.5},
            name=name,
            text=[
                f"threshold {at:.3f}<br>{name} {percent(value)}<br>95 % interval {percent(below)} to "
                f"{percent(above)}<br>{errors:,} of {films:,} {'missed' if label else 'flagged'}"
                for at, value, below, above, errors, films in zip(
                    sweep.thresholds, rate, low, high, wrong, total, strict=True
                )
            ],
            hovertemplate=_HOVER,
        )
    _add_threshold(figure, threshold, (0, 1))
    figure.layout.update(legend=legend_above(), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Threshold"}, **_share_axis(percentages=False))
    figure.yaxis.update(title={"text": "Share of the class called rightly"}, **_share_axis())
    return figure.finished()


def decision_figure(curve: DecisionCurve, *, threshold: float) -> go.Figure:
    """Net benefit against the threshold probability: of the network, of treating all, of treating none."""
    figure = _Drawing()
    lines = (
        ("treat none", np.zeros_like(curve.thresholds), NEUTRAL, "dot", 1.5),
        ("treat all", curve.treat_all, "#009e73", "dash", 2),
        ("network", curve.model, CURVE, "solid", 2.5),
    )
    for name, benefit, colour, dash, width in lines:
        figure.scatter(
            x=curve.thresholds,
            y=benefit,
            mode="lines",
            line={"color": colour, "dash": dash, "width": width},
            name=name,
            text=[
                f"{name}, threshold {at:.2f}<br>net benefit {100 * value:.1f} of 100 films".replace("-", "−")
                for at, value in zip(curve.thresholds, benefit, strict=True)
            ],
            hovertemplate=_HOVER,
        )
    # Treating all falls without bound towards a threshold of 1: only the part that can be compared is shown.
    best = max(float(curve.model.max(initial=0)), float(curve.treat_all.max(initial=0)), 0.05)
    span = (-0.15 * best, 1.08 * best)
    _add_threshold(figure, threshold, span)
    figure.layout.update(legend=legend_above() | {"traceorder": "reversed"}, hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Threshold"}, **_share_axis(percentages=False))
    figure.yaxis.update(title={"text": "Net benefit (true positives a film)"}, range=span, zeroline=False)
    return figure.finished()


def risk_coverage_figure(curve: RiskCoverage) -> go.Figure:
    """Share of wrong decisions against the share of films read, the surest first, and the same in any order."""
    figure = _Drawing()
    figure.scatter(
        x=[0, 1],
        y=[curve.error, curve.error],
        mode="lines",
        line=_MARK,
        hoverinfo="skip",
        name=f"in any order {percent(curve.error)}",
    )
    figure.scatter(
        x=curve.covered,
        y=curve.risk,
        mode="lines",
        line={"color": CURVE, "width": 2.5},
        name=f"the surest first, area {curve.area:.4f}",
        text=[
            f"{percent(covered)} of the films read<br>{percent(risk)} of them decided wrongly"
            for covered, risk in zip(curve.covered, curve.risk, strict=True)
        ],
        hovertemplate=_HOVER,
    )
    most = max(float(curve.risk.max(initial=0)), 0.05)
    figure.layout.update(legend=legend_above(), hovermode="closest", **_layout(height=HISTORY_HEIGHT))
    figure.xaxis.update(title={"text": "Share of films read"}, **_share_axis())
    figure.yaxis.update(
        title={"text": "Wrong decisions among them"},
        range=[-0.03 * most, 1.1 * most],
        tickformat=".1%",
        zeroline=False,
    )
    return figure.finished()


def predictive_figure(
    sensitivity: Proportion, specificity: Proportion, *, prevalence: float, base_rate: float
) -> go.Figure:
    """PPV and NPV against the prevalence of pneumonia, each with its 95 % band.

    Args:
        sensitivity: at the threshold in use.
        specificity: at the threshold in use.
        prevalence: the clinician's own, in [0, 1].
        base_rate: share of pneumonia in the set, in [0, 1].
    """
    figure = _Drawing()
    values = [predictive_values(sensitivity, specificity, float(share)) for share in PREVALENCES]
    for label, name, meaning in (
        (1, "PPV", "of the flagged films have pneumonia"),
        (0, "NPV", "of the films not flagged are normal"),
    ):
        known = []
        for each in values:
            value, interval = (each.ppv, each.ppv_interval) if label else (each.npv, each.npv_interval)
            if value is not None and interval is not None:
                known.append((each.prevalence, value, interval.low, interval.high))
        if not known:
            continue
        x, y, low, high = np.array(known).T
        _add_band(figure, x, low, high, colour=CLASS_COLOURS[label])
        figure.scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": CLASS_COLOURS[label], "dash": DASHES[label], "width": 2.5},
            name=name,
            text=[
                f"prevalence {percent(share)}<br>{name} {percent(value)}: {meaning}"
                f"<br>95 % interval {percent(below)} to {percent(above)}"
                for share, value, below, above in known
            ],
            hovertemplate=_HOVER,
        )
    _add_line_up(figure, base_rate, (0, 1), f"this set {percent(base_rate)}", colour=NEUTRAL, dash="dot")
    _add_line_up(
        figure, prevalence, (0, 1), f"yours {percent(prevalence)}", colour=CURRENT, dash="longdashdot"
    )
    figure.layout.update(legend=legend_above(), hovermode="closest", **_layout())
    figure.xaxis.update(title={"text": "Prevalence of pneumonia"}, **_share_axis())
    figure.yaxis.update(title={"text": "Predictive value"}, **_share_axis())
    return figure.finished()


def subgroup_figure(groups: Sequence[Subgroup]) -> go.Figure:
    """Sensitivity and specificity of each group with 95 % intervals, one row a group, in the order given.

    The height depends on the number of groups only. The scale begins at 0, 50 or 80 %, so that it seldom moves.
    """
    figure = _Drawing()
    rows = np.arange(len(groups), dtype=np.float64)
    lowest = 1.0
    for label, name in ((1, "sensitivity"), (0, "specificity")):
        shares = [group.sensitivity if label else group.specificity for group in groups]
        drawn = [
            (row + (-0.16 if label else 0.16), share.value, share.interval, share, group)
            for row, share, group in zip(rows, shares, groups, strict=True)
            if share.value is not None and share.interval is not None
        ]
        lowest = min([lowest, *(interval.low for _, _, interval, _, _ in drawn)])
        figure.scatter(
            x=[value for _, value, _, _, _ in drawn],
            y=[row for row, _, _, _, _ in drawn],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [interval.high - value for _, value, interval, _, _ in drawn],
                "arrayminus": [value - interval.low for _, value, interval, _, _ in drawn],
                "thickness": 1.8,
                "width": 5,
            },
            mode="markers",
            marker={"color": CLASS_COLOURS[label], "symbol": ("circle", "diamond")[label], "size": 10},
            name=name,
            text=[
                f"<b>{escape(group.name)}</b><br>{name} {_two_lines(share)}"
                + (f"<br>{escape(group.note).replace('. ', '.<br>')}" if group.note else "")
                for _, _, _, share, group in drawn
            ],
            hovertemplate=_HOVER,
        )
    start = max(edge for edge in (0.0, 0.5, 0.8) if edge <= max(lowest - 0.02, 0))
    figure.layout.update(
        legend=legend_above(), hovermode="closest", **_layout(height=130 + 62 * max(len(groups), 2))
    )
    figure.xaxis.update(
        title={"text": "Share called rightly, with 95 % interval"},
        range=[start - 0.02 * (1 - start), 1 + 0.02 * (1 - start)],
        tickvals=np.linspace(start, 1, 5 if start != 0.5 else 6),
        tickformat=".0%",
        zeroline=False,
        fixedrange=True,
    )
    figure.yaxis.update(
        range=[len(groups) - 0.5, -0.5],
        tickvals=rows,
        ticktext=[
            f"{_shown(group.name, 14)}<br>{_short(group.normal + group.pneumonia)} films" for group in groups
        ],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure.finished()


def history_figure(frame: pandas.DataFrame, figure: HistoryFigure) -> go.Figure:
    """One figure of a training run by epoch, on training and on validation films.

    Args:
        frame: a version's history: a row an epoch, columns `epoch`, `<figure>` and `val_<figure>`; F1 follows from
            precision and recall where it has no column. Where `side` says that images grow during the run, a line
            marks the first epoch with larger ones.
        figure: which one.
    """
    drawn = _Drawing()
    epochs = np.asarray(
        frame["epoch"] if "epoch" in frame else np.arange(1, len(frame) + 1), dtype=np.float64
    )
    for prefix, name, colour, dash, symbol in (
        ("", "training", NEUTRAL, "dash", "square-open"),
        ("val_", "validation", CURVE, "solid", "circle"),
    ):
        values = _history_values(frame, prefix, figure)
        if values is None:
            continue
        drawn.scatter(
            x=epochs,
            y=values,
            mode="lines+markers" if epochs.size <= 100 else "lines",
            connectgaps=False,
            line={"color": colour, "dash": dash, "width": 2.5},
            marker={"symbol": symbol, "size": 7, "line": {"width": 2, "color": colour}},
            name=name,
            text=[
                f"epoch {epoch:.0f}, {name}<br>{HISTORY_NAMES[figure]} {value:.4f}"
                for epoch, value in zip(epochs, values, strict=True)
            ],
            hovertemplate=_HOVER,
        )
    known = [value for trace in drawn.traces for value in trace["y"] if np.isfinite(value)]
    if "side" in frame and known:
        span = (min(known), max(known))
        sides = np.asarray(frame["side"], dtype=np.float64)
        for index in np.flatnonzero(np.diff(sides) != 0) + 1:
            between = float(epochs[index - 1] + epochs[index]) / 2
            _add_line_up(drawn, between, span, f"images of {sides[index]:.0f} px", colour=NEUTRAL, dash="dot")
    drawn.layout.update(legend=legend_above(), hovermode="closest", **_layout(height=HISTORY_HEIGHT))
    drawn.xaxis.update(title={"text": "Epoch"}, tickformat="d", nticks=12, zeroline=False)
    drawn.yaxis.update(title={"text": HISTORY_NAMES[figure]}, nticks=7, zeroline=False)
    return drawn.finished()


def live_history_figure(frame: pandas.DataFrame, figure: HistoryFigure, *, epochs: int) -> go.Figure:
    """The same while a run goes on, one of several side by side: its axes stand still as the curves grow.

    Args:
        frame: as in `history_figure`.
        figure: which one.
        epochs: of the whole run, at most.
    """
    drawn = history_figure(frame, figure)
    last = max(epochs, len(frame))
    drawn.update_layout(height=LIVE_HEIGHT)
    drawn.update_xaxes(range=[1 - 0.03 * last, last + 0.03 * last] if last > 1 else [0.5, 1.5])
    if last <= 12:
        drawn.update_xaxes(tickmode="linear", tick0=1, dtick=1)
    drawn.update_yaxes(title_text="")
    if figure == "loss":
        drawn.update_yaxes(rangemode="tozero")
    else:
        drawn.update_yaxes(range=[-0.03, 1.06], dtick=0.25)
    return drawn


def interval_in_words(value: float | None, interval: Interval | None) -> str:
    """A figure in [0, 1] with three decimals and its interval; a dash where there is none."""
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


_HOVER = "%{text}<extra></extra>"
"""The text given with each point, and nothing else. Names never stand in a template: it has a grammar of its own."""
_MARK = {"color": NEUTRAL, "dash": "dot", "width": 1.5}


def _layout(*, height: int = HEIGHT) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 8, "r": 18, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
    }


def _legend_inside(side: Literal["left", "right"]) -> dict[str, Any]:
    """In the lower corner that the curve leaves empty, where it takes no width on a phone."""
    return {
        "x": 0.995 if side == "right" else 0.01,
        "y": 0.01,
        "xanchor": side,
        "yanchor": "bottom",
        "bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"size": 12},
        "traceorder": "reversed",
    }


def legend_above() -> dict[str, Any]:
    """A legend in one line above the plot."""
    return {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "xanchor": "left",
        "yanchor": "bottom",
        "bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"size": 12},
        "traceorder": "normal",
    }


def _share_axis(*, percentages: bool = True) -> dict[str, Any]:
    return {
        "range": [-0.02, 1.02],
        "tickformat": ".0%" if percentages else ".1f",
        "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
        "zeroline": False,
    }


def _shown(name: str, longest: int = LONGEST_NAME) -> str:
    """A name from outside, escaped, cut where a phone has no room for it; the hover text has the whole."""
    return escape(name if len(name) <= longest else f"{name[: longest - 1]}…")


def _films(count: int) -> str:
    return "1 film" if count == 1 else f"{count:,} films"


def _short(count: int) -> str:
    """A count in at most four characters, up to 10 million.

    >>> _short(987), _short(12_345), _short(1_234_567)
    ('987', '12k', '1.2M')
    """
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def _at(threshold: float) -> str:
    return f"threshold {threshold:.3f}" if threshold <= 1 else "nothing flagged"


def _transparent(colour: str, opacity: float = 0.22) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def _add_chance(figure: _Drawing) -> None:
    figure.scatter(x=[0, 1], y=[0, 1], mode="lines", line=_MARK, hoverinfo="skip", name="chance")


def _add_legend_text(figure: _Drawing, text: str) -> None:
    """A line of the legend without anything in the plot."""
    figure.scatter(
        x=[None], y=[None], mode="markers", marker={"color": NEUTRAL, "symbol": "line-ew"}, name=text
    )


def _add_band(
    figure: _Drawing,
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    colour: str,
) -> None:
    common = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.scatter(y=high, **common)
    figure.scatter(y=low, fill="tonexty", fillcolor=_transparent(colour), **common)


def _add_threshold(figure: _Drawing, threshold: float, span: tuple[float, float]) -> None:
    _add_line_up(figure, threshold, span, f"threshold {threshold:.3f}", colour=CURRENT, dash="longdashdot")


def _add_line_up(
    figure: _Drawing, x: float, span: tuple[float, float], name: str, *, colour: str, dash: str
) -> None:
    """A vertical line that the legend names: two of them near each other keep their names apart there."""
    figure.scatter(
        x=[x, x],
        y=list(span),
        mode="lines",
        line={"color": colour, "dash": dash, "width": 2},
        hoverinfo="skip",
        name=name,
    )


def _add_reliability(
    figure: _Drawing,
    reliability: Reliability,
    name: str,
    *,
    color: str,
    symbol: str,
    dash: str,
    bars: bool,
) -> None:
    """`bars`: draw the intervals; the hover text has them anyway."""
    filled = reliability.counts > 0
    mean, share = reliability.mean_probability[filled], reliability.share[filled]
    low, high = reliability.low[filled], reliability.high[filled]
    figure.scatter(
        x=mean,
        y=share,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": high - share,
            "arrayminus": share - low,
            "thickness": 1.5,
            "width": 4,
            "visible": bars,
        },
        mode="lines+markers",
        line={"color": color, "width": 1.5, "dash": dash},
        marker={"color": color, "symbol": symbol, "size": 9},
        name=name,
        text=[
            f"<b>{name}</b><br>mean probability {percent(at)}<br>with pneumonia {percent(value)} of "
            f"{_films(int(count))}<br>95 % interval {percent(below)} to {percent(above)}"
            for at, value, below, above, count in zip(
                mean.tolist(),
                share.tolist(),
                low.tolist(),
                high.tolist(),
                reliability.counts[filled],
                strict=True,
            )
        ],
        hovertemplate=_HOVER,
    )


def _square_root_ticks(most: float) -> list[int]:
    """0 and a few round counts up to `most`, spread evenly on a square-root scale."""
    step = 1
    while most > 40 * step:
        step *= 10
    return [0, *(step * root**2 for root in range(1, 7) if step * root**2 <= most)]


def _history_values(frame: pandas.DataFrame, prefix: str, figure: str) -> NDArray[np.float64] | None:
    if prefix + figure in frame:
        return np.asarray(frame[prefix + figure], dtype=np.float64)
    names = (f"{prefix}precision", f"{prefix}recall")
    if figure != "f1" or not set(names) <= set(frame):
        return None
    precision, recall = (np.asarray(frame[name], dtype=np.float64) for name in names)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def _curve_hover(roc: Roc, index: int) -> str:
    return (
        f"{_at(roc.thresholds[index])}<br>sensitivity {percent(float(roc.sensitivity[index]))}"
        f"<br>specificity {percent(1 - float(roc.false_positive_rate[index]))}"
        f"<br>95 % band {percent(float(roc.band_low[index]))} to {percent(float(roc.band_high[index]))}"
    )


def _add_point(
    figure: _Drawing, name: str, rates: OperatingRates, *, symbol: str, color: str, size: int
) -> None:
    if rates.sensitivity.value is None or rates.specificity.value is None:
        return
    figure.scatter(
        x=[1 - rates.specificity.value],
        y=[rates.sensitivity.value],
        mode="markers",
        marker={"symbol": symbol, "color": color, "size": size, "line": {"width": 2.5, "color": color}},
        name=f"{_shown(name)} {rates.threshold:.3f}",
        text=[
            f"<b>{escape(name)}, threshold {rates.threshold:.3f}</b>"
            f"<br>sensitivity {_two_lines(rates.sensitivity)}<br>specificity {_two_lines(rates.specificity)}"
        ],
        hovertemplate=_HOVER,
    )


def _two_lines(share: Proportion) -> str:
    return share_in_words(share).replace("; ", ";<br>  ")
