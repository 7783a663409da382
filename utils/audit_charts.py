"""The figure of a shortcut audit, and films with their lungs outlined, painted over, or alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from model.audit import CHANGE, SIZE, TARGET, View, name_of
from model.lungs import Grey, Mask, grown
from utils.charts import CURRENT, CURVE, NEUTRAL

OUTLINE = (230, 159, 0)
_SYMBOLS = {"": "circle", "black": "square", "mean": "square-open"}
_LEGEND = {"": "nothing painted", "black": "painted black", "mean": "painted mean grey"}


def audit_figure(views: Sequence[View]) -> go.Figure:
    """The AUC of each view with its interval, beside chance, the full film, and what is asked for without lungs.

    ``views`` as `model.audit.Audit.all_views` gives them, the first of the full films. Two fills of one change share a
    row; the height depends on the number of rows only.
    """
    rows = list(dict.fromkeys(view.key for view in views))
    full = views[0].auc
    figure = go.Figure()
    for fill in dict.fromkeys(view.fill for view in views):
        shown = [view for view in views if view.fill == fill]
        shift = {"": 0.0, "black": -0.14, "mean": 0.14}[fill]
        figure.add_scatter(
            x=[view.auc for view in shown],
            y=[rows.index(view.key) + shift for view in shown],
            mode="markers",
            marker={"color": CURVE, "symbol": _SYMBOLS[fill], "size": 10},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [view.interval.high - view.auc for view in shown],
                "arrayminus": [view.auc - view.interval.low for view in shown],
                "color": CURVE,
                "thickness": 1.8,
                "width": 4,
            },
            name=_LEGEND[fill],
            text=[
                f"<b>{name_of(view)}</b><br>AUC {view.auc:.3f}"
                f"<br>95 % interval {view.interval.low:.3f} to {view.interval.high:.3f}"
                f"<br>full film less this: {view.difference:+.3f}"
                for view in shown
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    lowest = min(0.45, *(view.interval.low - 0.02 for view in views))
    for at, words, colour, dash in (
        (0.5, "chance", NEUTRAL, "dot"),
        (full - TARGET, f"{TARGET:.2f} below", CURRENT, "dash"),
    ):
        figure.add_vline(x=at, line={"color": colour, "dash": dash, "width": 1.5})
        figure.add_annotation(
            x=at, y=1, yref="paper", yanchor="bottom", text=words, showarrow=False, font={"size": 12}
        )
    figure.update_layout(
        height=130 + 36 * len(rows),
        margin={"l": 8, "r": 12, "t": 24, "b": 8},
        legend={"orientation": "h", "yanchor": "top", "y": -0.16, "x": 0, "xanchor": "left"},
        hovermode="closest",
    )
    figure.update_xaxes(title_text="AUC", range=[max(0.0, lowest), 1.01], fixedrange=True, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[(SIZE if key == SIZE.key else CHANGE[key]).short for key in rows],
        range=[len(rows) - 0.5, -0.5],
        fixedrange=True,
        ticksuffix=" ",
        zeroline=False,
    )
    return figure


def outlined(film: Grey, mask: Mask) -> np.ndarray:
    """The film with the mask's edge drawn on it, uint8 (height, width, 3)."""
    picture = np.repeat(film[:, :, None], 3, axis=2)
    picture[grown(mask, 0.006) & ~mask] = OUTLINE
    return picture


def picture_uri(picture: np.ndarray) -> str:
    """A picture, uint8 grey or RGB, as a PNG in a ``data:`` address."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
