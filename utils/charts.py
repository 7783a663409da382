"""Plotly figures: results in, figure out. No figure computes a number that is not in the result it was given.

Grounds are transparent and texts beside the figure take the theme's colour, so that a figure looks right in the dark
theme and in the light one (`st.plotly_chart(figure, theme="streamlit")`). Colours are Okabe and Ito's, told apart by
colour-blind readers, and never the only sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from model.evaluation import Confusion, Interval, OperatingRates, Proportion, Roc

# The matrix has grounds of its own, deep enough for white text in both themes (at least 5:1).
CLEAR = ("#456173", "#00588f")
FLAGGED = ("#6e5d45", "#9a5b00")
# Between the light and the dark blue of the themes: at least 3:1 on either ground.
CURVE = "#2c80cb"
CURRENT = "#d55e00"
NEUTRAL = "#7d8794"
POINT_SYMBOLS = ("circle-open", "square-open", "triangle-up-open", "diamond-open")
LABELS = ("NORMAL", "PNEUMONIA")
HEIGHT = 430


def config(name: str) -> dict[str, Any]:
    """Plotly's own settings for a figure on a page; `name` is the name under which it downloads, as SVG."""
    return {
        "displaylogo": False,
        "scrollZoom": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        "toImageButtonOptions": {"format": "svg", "filename": name},
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
                f"<b>{count} {name}</b><br>{share} of the {total} films<br>"
                f"with reference label {label}<br>were called {decision}"
            )
            annotations.append(
                {
                    "x": decision,
                    "y": label,
                    "text": f"<span style='font-size:1.9em'><b>{count}</b></span><br>{share}<br>{name}",
                    "showarrow": False,
                    "font": {"size": 13, "color": "#ffffff"},
                }
            )
    figure = go.Figure(
        go.Heatmap(
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
    )
    figure.update_layout(annotations=annotations, **_layout())
    figure.update_xaxes(title_text="Decision", side="bottom", showgrid=False, zeroline=False, fixedrange=True)
    figure.update_yaxes(
        title_text="Reference label",
        autorange="reversed",
        tickangle=-90,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure


def roc_figure(
    roc: Roc,
    *,
    current: OperatingRates | None = None,
    operating_points: Mapping[str, OperatingRates] | None = None,
) -> go.Figure:
    """The ROC curve with its 95 % band, the chance line, the current threshold and the operating points.

    Args:
        roc: the curve.
        current: rates at the threshold in use, on the same films.
        operating_points: rates at each named threshold, on the same films.
    """
    figure = go.Figure()
    x = roc.false_positive_rate
    figure.add_scatter(x=x, y=roc.band_high, mode="lines", line_width=0, hoverinfo="skip", showlegend=False)
    figure.add_scatter(
        x=x,
        y=roc.band_low,
        mode="lines",
        line_width=0,
        fill="tonexty",
        fillcolor="rgba(44, 128, 203, 0.22)",
        hoverinfo="skip",
        name="95 % band",
    )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
        name="chance",
    )
    figure.add_scatter(
        x=x,
        y=roc.sensitivity,
        mode="lines",
        line={"color": CURVE, "width": 2.5},
        name=f"AUC {interval_in_words(roc.auc, roc.auc_interval)}",
        text=[_curve_hover(roc, index) for index in range(x.size)],
        hovertemplate="%{text}<extra></extra>",
    )
    for index, (name, rates) in enumerate((operating_points or {}).items()):
        _add_point(
            figure, name, rates, symbol=POINT_SYMBOLS[index % len(POINT_SYMBOLS)], color=NEUTRAL, size=12
        )
    if current is not None:
        _add_point(figure, "current", current, symbol="x", color=CURRENT, size=11)
    figure.update_layout(
        # The lower right of a ROC plot is empty: the legend stands there and takes no width on a phone.
        legend={
            "x": 0.995,
            "y": 0.01,
            "xanchor": "right",
            "yanchor": "bottom",
            "bgcolor": "rgba(0, 0, 0, 0)",
            "font": {"size": 12},
            "traceorder": "reversed",
        },
        hovermode="closest",
        **_layout(),
    )
    axis = {
        "range": [-0.02, 1.02],
        "tickformat": ".0%",
        "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
        "zeroline": False,
    }
    figure.update_xaxes(title_text="Normal films flagged (1 − specificity)", **axis)
    figure.update_yaxes(title_text="Pneumonias flagged (sensitivity)", **axis)
    return figure


def interval_in_words(value: float | None, interval: Interval | None) -> str:
    """A figure in [0, 1] with three decimals and its interval; a dash where there is none."""
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _layout() -> dict[str, Any]:
    return {
        "height": HEIGHT,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
    }


def _curve_hover(roc: Roc, index: int) -> str:
    threshold = roc.thresholds[index]
    where = f"threshold {threshold:.3f}" if threshold <= 1 else "nothing flagged"
    return (
        f"{where}<br>sensitivity {percent(float(roc.sensitivity[index]))}"
        f"<br>specificity {percent(1 - float(roc.false_positive_rate[index]))}"
        f"<br>95 % band {percent(float(roc.band_low[index]))} to {percent(float(roc.band_high[index]))}"
    )


def _add_point(
    figure: go.Figure, name: str, rates: OperatingRates, *, symbol: str, color: str, size: int
) -> None:
    if rates.sensitivity.value is None or rates.specificity.value is None:
        return
    figure.add_scatter(
        x=[1 - rates.specificity.value],
        y=[rates.sensitivity.value],
        mode="markers",
        marker={"symbol": symbol, "color": color, "size": size, "line": {"width": 2.5, "color": color}},
        name=f"{name} {rates.threshold:.3f}",
        hovertemplate=(
            f"<b>{name}, threshold {rates.threshold:.3f}</b>"
            f"<br>sensitivity {_two_lines(rates.sensitivity)}<br>specificity {_two_lines(rates.specificity)}"
            "<extra></extra>"
        ),
    )


def _two_lines(share: Proportion) -> str:
    return share_in_words(share).replace("; ", ";<br>  ")
