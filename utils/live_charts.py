"""The figures of Live performance: rates by month, and how today's probabilities lie beside those of validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from model.curves import Subgroup
from model.drift import mixture
from model.intervals import Proportion
from utils.charts import (
    CLASS_COLOURS,
    CURVE,
    HEIGHT,
    NEUTRAL,
    legend_above,
    percent,
    share_in_words,
)
from utils.live import Performance

_HOVER = "%{text}<extra></extra>"
_APART = 0.14  # of a month: marks of one month stand side by side


def over_time_figure(months: Mapping[date, Performance]) -> go.Figure:
    """Agreement, sensitivity and specificity of each month, with 95 % intervals for the latter two.

    Args:
        months: by the first day of the month, the oldest first.
    """
    figure = go.Figure()
    places = list(range(len(months)))
    agreement = [each.agreement for each in months.values()]
    figure.add_scatter(
        x=places,
        y=[share.value for share in agreement],
        mode="lines+markers",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        marker={"color": NEUTRAL, "symbol": "square-open", "size": 7},
        name="agreement",
        text=[_text(month, "agreement", share) for month, share in zip(months, agreement, strict=True)],
        hovertemplate=_HOVER,
    )
    for name, label, symbol, shift in (
        ("sensitivity", 1, "circle", -_APART),
        ("specificity", 0, "diamond", _APART),
    ):
        shares: list[Proportion] = [getattr(each, name) for each in months.values()]
        drawn = [
            (place + shift, month, share)
            for place, month, share in zip(places, months, shares, strict=True)
            if share.value is not None
        ]
        figure.add_scatter(
            x=[place for place, _, _ in drawn],
            y=[share.value for _, _, share in drawn],
            mode="markers",
            marker={"color": CLASS_COLOURS[label], "symbol": symbol, "size": 10},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_half(share, above=True) for _, _, share in drawn],
                "arrayminus": [_half(share, above=False) for _, _, share in drawn],
                "color": CLASS_COLOURS[label],
                "thickness": 1.6,
                "width": 4,
            },
            name=name,
            text=[_text(month, name, share) for _, month, share in drawn],
            hovertemplate=_HOVER,
        )
    _frame(figure)
    figure.update_xaxes(
        tickvals=places,
        ticktext=[f"{month:%b %Y}" for month in months],
        range=[-0.6, max(len(months), 3) - 0.4],
        nticks=8,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    figure.update_yaxes(
        title_text="Share of verified cases", range=[-0.02, 1.02], tickformat=".0%", zeroline=False
    )
    return figure


def as_groups(versions: Mapping[str, Performance]) -> tuple[Subgroup, ...]:
    """What `utils.charts.subgroup_figure` draws: one row a version."""
    return tuple(
        Subgroup(
            name=name,
            normal=each.tn + each.fp,
            pneumonia=each.fn + each.tp,
            sensitivity=each.sensitivity,
            specificity=each.specificity,
            auc=None,
            auc_interval=None,
            note="",
        )
        for name, each in versions.items()
    )


def probabilities_figure(
    today: ArrayLike, reference: ArrayLike, labels: ArrayLike, *, share: float
) -> go.Figure:
    """Share of films up to each probability: today's, those of validation, and these at today's share of pneumonia.

    Args:
        today: probabilities (n,).
        reference: of validation films (m,).
        labels: (m,), 1 PNEUMONIA.
        share: of pneumonia today, as `model.drift` found it.
    """
    figure = go.Figure()
    before, found = np.asarray(reference, dtype=np.float64), np.asarray(today, dtype=np.float64)
    even = np.full(before.size, 1 / before.size)
    for values, weights, name, colour, dash, width in (
        (before, even, "validation films", NEUTRAL, "dot", 1.5),
        (
            before,
            mixture(labels, share),
            f"these with {percent(share)} pneumonia",
            CLASS_COLOURS[1],
            "dash",
            2.5,
        ),
        (found, np.full(found.size, 1 / found.size), "films here", CURVE, "solid", 2.5),
    ):
        order = np.argsort(values, kind="stable")
        x = np.concatenate([[0.0], values[order], [1.0]])
        y = np.concatenate([[0.0], np.cumsum(weights[order]), [1.0]]).clip(0, 1)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": colour, "dash": dash, "width": width, "shape": "hv"},
            name=name,
            text=[
                f"{name}<br>{percent(float(up_to))} of them have<br>a probability up to {at:.3f}"
                for at, up_to in zip(x, y, strict=True)
            ],
            hovertemplate=_HOVER,
        )
    _frame(figure)
    figure.update_xaxes(title_text="Probability of pneumonia", range=[-0.02, 1.02], zeroline=False)
    figure.update_yaxes(
        title_text="Share of films up to there", range=[-0.02, 1.02], tickformat=".0%", zeroline=False
    )
    return figure


def _frame(figure: go.Figure) -> None:
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 18, "t": 12, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="closest",
        legend=legend_above(),
    )


def _text(month: date, name: str, share: Proportion) -> str:
    words = share_in_words(share).replace("; ", ";<br>  ")
    return f"<b>{month:%B %Y}</b><br>{name} {words}"


def _half(share: Proportion, *, above: bool) -> float:
    assert share.interval is not None and share.value is not None
    return share.interval.high - share.value if above else share.value - share.interval.low
