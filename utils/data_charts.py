"""Plotly figures of the Data screen: results of `model.exploration` in, figure out. No figure computes a result.

As in `utils.charts`, grounds are transparent and colours are Okabe and Ito's, here deep or light enough for both
themes. NORMAL is blue and drawn solid, PNEUMONIA orange and dashed: colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from model.dataset import CLASSES
from model.exploration import Average, Cue, EigenImages
from utils.charts import NEUTRAL, percent

COLOURS = ("#2c80cb", "#c47a00")
FILLS = ("rgba(44, 128, 203, 0.20)", "rgba(196, 122, 0, 0.20)")
DASHES = ("solid", "dash")
SYMBOLS = ("circle", "diamond")
HEIGHT = 320
DRAWN_POINTS = 4_000
"""A browser stays quick up to about so many points."""
_DIVERGING = ((0.0, "#2c80cb"), (0.5, "#f4f4f4"), (1.0, "#c47a00"))


def counts_figure(films: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """Films by split and class, as bars beside each other; `films` is {split: {class: count}}."""
    figure = go.Figure()
    splits = list(films)
    for label, name in enumerate(CLASSES):
        counts = [films[split][name] for split in splits]
        figure.add_bar(
            y=splits,
            x=counts,
            orientation="h",
            name=name,
            text=[f"{count:,}" for count in counts],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": COLOURS[label],
                "pattern": {"shape": ("", "/")[label], "solidity": 0.15, "fillmode": "overlay"},
            },
            hovertemplate="%{y}: %{x:,} films of " + name + "<extra></extra>",
        )
    figure.update_layout(barmode="group", **_layout(height=110 + 90 * max(len(splits), 1)))
    most = max((count for of_split in films.values() for count in of_split.values()), default=1)
    figure.update_xaxes(title_text="Films", range=[0, 1.12 * most], fixedrange=True)  # room for the numbers
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    return figure


def sizes_figure(width: NDArray[np.int64], height: NDArray[np.int64], labels: NDArray[np.int64]) -> go.Figure:
    """Width against height of each film, (n,) each; of more than `DRAWN_POINTS` every second, third … is drawn."""
    figure = go.Figure()
    step = -(-width.size // DRAWN_POINTS) if width.size else 1
    for label, name in enumerate(CLASSES):
        of_class = np.flatnonzero(labels == label)[::step]
        if of_class.size:
            figure.add_scatter(
                x=width[of_class],
                y=height[of_class],
                mode="markers",
                name=name,
                marker={"color": COLOURS[label], "symbol": SYMBOLS[label], "size": 6, "opacity": 0.55},
                hovertemplate="%{x} × %{y} pixels<extra>" + name + "</extra>",
            )
    figure.update_layout(hovermode="closest", **_layout())
    figure.update_xaxes(title_text="Width, pixels", rangemode="tozero")
    figure.update_yaxes(title_text="Height, pixels", rangemode="tozero")
    return figure


def distribution_figure(values: NDArray[np.float64], labels: NDArray[np.int64], *, title: str) -> go.Figure:
    """How a figure of the films, (n,), is spread in each class: share of the class's films in bins of equal width."""
    figure = go.Figure()
    fewest = min((int((labels == label).sum()) for label in set(labels.tolist())), default=0)
    bins = min(40, max(10, round(fewest**0.5)))  # few films in many bins would be a comb
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for label, name in enumerate(CLASSES):
        chosen = values[labels == label]
        if chosen.size == 0:
            continue
        shares = np.histogram(chosen, edges)[0] / chosen.size
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            y=shares,
            mode="lines",
            line={"color": COLOURS[label], "dash": DASHES[label], "width": 2, "shape": "hvh"},
            fill="tozeroy",
            fillcolor=FILLS[label],
            name=name,
            text=[
                f"{title} {start:.3g} to {end:.3g}<br>{percent(float(share))} of {name}"
                for start, end, share in zip(edges[:-1], edges[1:], shares, strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(**_layout())
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(title_text="Share of the class", tickformat=".0%", rangemode="tozero")
    return figure


def cues_figure(cues: Sequence[Cue]) -> go.Figure:
    """Area under the ROC of each cue alone, with its interval, beside the line of chance at 0.5."""
    figure = go.Figure()
    known = [cue for cue in cues if cue.auc is not None and cue.interval is not None]
    for label, name in enumerate(CLASSES):
        shown = [cue for cue in known if cue.higher == name]
        if not shown:
            continue
        areas = [cue.auc or 0.0 for cue in shown]
        bounds = [cue.interval for cue in shown if cue.interval is not None]
        figure.add_scatter(
            x=areas,
            y=[cue.name for cue in shown],
            mode="markers",
            marker={"color": COLOURS[label], "symbol": SYMBOLS[label], "size": 11},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [bound.high - area for bound, area in zip(bounds, areas, strict=True)],
                "arrayminus": [area - bound.low for bound, area in zip(bounds, areas, strict=True)],
                "color": COLOURS[label],
                "thickness": 2,
            },
            name=f"higher in {name}",
            text=[
                f"<b>{cue.name}</b><br>AUC {area:.3f}<br>95 % interval {bound.low:.3f} to {bound.high:.3f}"
                for cue, area, bound in zip(shown, areas, bounds, strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_layout(**_layout(height=140 + 34 * max(len(known), 1)))
    lows = [cue.interval.low for cue in known if cue.interval is not None]
    figure.update_xaxes(
        title_text="AUC of this figure alone",
        range=[min([0.48, *(low - 0.02 for low in lows)]), 1.01],
        fixedrange=True,
    )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[cue.name for cue in known][::-1],
        fixedrange=True,
        ticksuffix=" ",
    )
    return figure


def picture_figure(picture: NDArray[np.float64], *, low: float, high: float, unit: str) -> go.Figure:
    """A mean film, (height, width), black at `low` and white at `high`."""
    return _square(
        go.Heatmap(
            z=np.round(picture, 3),
            zmin=low,
            zmax=high,
            colorscale=[[0, "#000000"], [1, "#ffffff"]],
            zsmooth="best",
            colorbar={"thickness": 10, "outlinewidth": 0},
            hovertemplate="row %{y}, column %{x}: %{z:.3g} " + unit + "<extra></extra>",
        )
    )


def difference_figure(difference: NDArray[np.float64], *, unit: str) -> go.Figure:
    """PNEUMONIA less NORMAL, (height, width): orange where PNEUMONIA is brighter on average, blue where darker."""
    reach = max(float(np.abs(difference).max()), 1e-9)
    return _square(
        go.Heatmap(
            z=np.round(difference, 3),
            zmin=-reach,
            zmax=reach,
            colorscale=[list(stop) for stop in _DIVERGING],
            zsmooth="best",
            colorbar={"thickness": 10, "outlinewidth": 0},
            hovertemplate="row %{y}, column %{x}: %{z:+.3g} " + unit + "<extra></extra>",
        )
    )


def intensity_figure(histograms: Mapping[int, NDArray[np.float64]]) -> go.Figure:
    """Mean share of each grey level, by label, (256,) each. Its top is cut where black would press the rest flat."""
    figure = go.Figure()
    for label, histogram in histograms.items():
        figure.add_scatter(
            x=np.arange(256),
            y=histogram,
            mode="lines",
            line={"color": COLOURS[label], "dash": DASHES[label], "width": 2},
            fill="tozeroy",
            fillcolor=FILLS[label],
            name=CLASSES[label],
            hovertemplate="grey level %{x}: %{y:.2%} of the pixels<extra>" + CLASSES[label] + "</extra>",
        )
    figure.update_layout(**_layout())
    inner = [float(histogram[6:250].max()) for histogram in histograms.values()]
    top = 1.25 * max(inner, default=0.0) or 1.0
    figure.update_xaxes(title_text="Grey level (0 black, 255 white)", range=[-2, 257])
    figure.update_yaxes(title_text="Share of the pixels", tickformat=".1%", range=[0, top])
    return figure


def profile_figure(averages: Mapping[int, Average], *, across: bool, unit: str) -> go.Figure:
    """Brightness along the film, by label: mean over the films, and the band that holds 80 % of them.

    `across`: from the left edge of the picture to the right; else from the top to the bottom.
    """
    figure = go.Figure()
    for label, average in averages.items():
        mean, low, high = average.columns if across else average.rows
        place = (np.arange(mean.size) + 0.5) / mean.size
        figure.add_scatter(
            x=np.concatenate([place, place[::-1]]),
            y=np.concatenate([high, low[::-1]]),
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=FILLS[label],
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=place,
            y=mean,
            mode="lines",
            line={"color": COLOURS[label], "dash": DASHES[label], "width": 2.5},
            name=CLASSES[label],
            hovertemplate="at %{x:.0%}: %{y:.3g} " + unit + "<extra>" + CLASSES[label] + "</extra>",
        )
    figure.update_layout(**_layout())
    title = "From the left edge of the picture to the right" if across else "From the top to the bottom"
    figure.update_xaxes(title_text=title, tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title_text=f"Mean, {unit}")
    return figure


def variance_figure(analyses: Mapping[int, EigenImages]) -> go.Figure:
    """Share of the variance that the first components explain together, by label, with the share asked for."""
    figure = go.Figure()
    for label, analysis in analyses.items():
        together = np.cumsum(analysis.shares)
        figure.add_scatter(
            x=np.arange(1, together.size + 1),
            y=together,
            mode="lines",
            line={"color": COLOURS[label], "dash": DASHES[label], "width": 2.5},
            name=CLASSES[label],
            hovertemplate="%{x} components: %{y:.1%}<extra>" + CLASSES[label] + "</extra>",
        )
        if analysis.needed is not None:
            figure.add_scatter(
                x=[analysis.needed],
                y=[together[analysis.needed - 1]],
                mode="markers",
                marker={"color": COLOURS[label], "symbol": SYMBOLS[label], "size": 11},
                hovertemplate="%{x} components reach %{y:.1%}<extra>" + CLASSES[label] + "</extra>",
                showlegend=False,
            )
    for target in {analysis.target for analysis in analyses.values()}:
        figure.add_hline(y=target, line={"color": NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_layout(**_layout())
    figure.update_xaxes(title_text="Components", rangemode="tozero")
    figure.update_yaxes(title_text="Variance explained", tickformat=".0%", range=[0, 1.02])
    return figure


def _square(heatmap: go.Heatmap) -> go.Figure:
    figure = go.Figure(heatmap)
    figure.update_layout(**_layout(height=300))
    figure.update_xaxes(visible=False, constrain="domain", fixedrange=True)
    figure.update_yaxes(
        visible=False, autorange="reversed", scaleanchor="x", constrain="domain", fixedrange=True
    )
    return figure


def _layout(*, height: int = HEIGHT) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "legend": {
            "orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom",
            "bgcolor": "rgba(0, 0, 0, 0)",
        },
    }  # fmt: skip
