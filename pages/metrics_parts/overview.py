"""Overview: every figure with its interval and its formula, the confusion matrix with its films, the ROC curve."""

from __future__ import annotations

import pandas
import plotly.graph_objects as go
import streamlit as st

from model.evaluation import Confusion
from model.figures import Figure, figures
from pages.metrics_parts import common
from pages.metrics_parts.common import Context, Row
from utils import charts

FIRST = ("auc", "sensitivity", "specificity", "accuracy", "precision", "npv")
"""The figures on top; all others stand below the two charts."""
CELLS = {
    "tn": "true negatives",
    "fp": "false positives",
    "fn": "false negatives",
    "tp": "true positives",
}
CELL = "metrics-cell"
MATRIX = "confusion"


def show(context: Context) -> None:
    every = figures(context.result)
    by_key = {figure.key: figure for figure in every}
    tiles([by_key[key] for key in FIRST], columns=6, key="tiles")
    pair = st.grid(2, min_column_width=340, gap="medium")
    with pair.cell():
        matrix(context)
    with pair.cell():
        roc(context)
    films(context)
    st.markdown("#### Further figures")
    tiles([figure for figure in every if figure.key not in FIRST], columns=5, key="further-tiles")
    with st.expander("All figures as a table, with formulas"):
        st.table(figure_rows(every), hide_index=True, border="horizontal")
        st.caption(
            "95 % intervals take every film as independent; those by patient allow for several films of one patient."
        )
    common.csv_button(
        lambda: numbers(every),
        name=f"figures-{context.source.slug}",
        label="Figures as CSV",
    )


def tiles(shown: list[Figure], *, columns: int, key: str) -> None:
    """One tile a figure, its interval below; they wrap on a narrow screen."""
    with st.grid(columns, min_column_width=150, gap="xsmall", key=key):
        for figure in shown:
            st.metric(
                figure.name,
                in_words(figure),
                delta=common.bounds(figure.interval, percent=figure.kind == "share") or None,
                delta_color="off",
                delta_arrow="off",
                help=explanation(figure),
                border=True,
            )


def in_words(figure: Figure) -> str:
    return common.share(figure.value) if figure.kind == "share" else common.number(figure.value)


def explanation(figure: Figure) -> str:
    """What a figure is, its formula, and the formula with the counts of this moment."""
    parts = [figure.definition, f"`{figure.formula}`" if figure.formula else ""]
    if figure.worked:
        parts.append(f"`{figure.worked}`")
    if figure.unavailable:
        parts.append(f"Not known: {figure.unavailable}.")
    if figure.interval is not None:
        parts.append("Below: 95 % interval.")
    if figure.by_patient is not None:
        percent = figure.kind == "share"
        parts.append(f"By patient: {common.bounds(figure.by_patient, percent=percent)}.")
    return "\n\n".join(part for part in parts if part)


def figure_rows(every: tuple[Figure, ...]) -> list[Row]:
    """All figures with their meaning, for reading."""
    return [
        {
            "Figure": figure.name,
            "Value": in_words(figure),
            "95 % interval": common.bounds(figure.interval, percent=figure.kind == "share"),
            "By patient": common.bounds(figure.by_patient, percent=figure.kind == "share"),
            "With these films": figure.worked or figure.unavailable,
            "Meaning": figure.definition,
        }
        for figure in every
    ]


def numbers(every: tuple[Figure, ...]) -> list[Row]:
    """The same as full numbers, for CSV."""
    return [
        {
            "figure": figure.key,
            "value": figure.value,
            **common.ends("ci", figure.interval),
            **common.ends("by_patient_ci", figure.by_patient),
            "formula": figure.formula,
            "worked": figure.worked or figure.unavailable,
            "definition": figure.definition,
        }
        for figure in every
    ]


def matrix(context: Context) -> None:
    st.markdown("#### Confusion matrix")
    counts = context.result.confusion
    st.plotly_chart(
        clickable(counts),
        key=MATRIX,
        theme="streamlit",
        config=charts.config(f"confusion-{context.source.slug}", picture=context.picture),
        on_select=take_cell,
        selection_mode="points",
        alt=f"Confusion matrix: {counts.tn} true negatives, {counts.fp} false positives, "
        f"{counts.fn} false negatives, {counts.tp} true positives.",
    )


def clickable(counts: Confusion) -> go.Figure:
    """The matrix with an unseen point in each cell: Plotly selects points, not the cells of a heatmap."""
    figure = charts.confusion_figure(counts)
    labels = list(charts.LABELS)
    figure.add_scatter(
        x=labels * 2,
        y=[labels[0]] * 2 + [labels[1]] * 2,
        mode="markers",
        marker={"opacity": 0, "size": 40},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=list(CELLS),
        text=figure.data[0].customdata[0] + figure.data[0].customdata[1],
        hovertemplate="%{text}<br><i>click: list its films</i><extra></extra>",
        showlegend=False,
    )
    # No distance is too far: the nearest point is that of the cell that was clicked.
    figure.update_layout(hovermode="closest", hoverdistance=-1, clickmode="event+select", dragmode=False)
    return figure


def take_cell() -> None:
    points = st.session_state[MATRIX]["selection"]["points"]
    st.session_state[CELL] = points[0]["customdata"] if points else None


def films(context: Context) -> None:
    """The films of one cell, chosen by a click on the matrix or by a button."""
    counts = context.result.confusion
    cell = st.pills(
        "Films of a cell: click the matrix or choose here",
        options=list(CELLS),
        format_func=lambda key: f"{getattr(counts, key):,} {CELLS[key]}",
        key=CELL,
        persist_state="page",
    )
    if cell is None:
        return
    indices = context.measured.chosen(cell, threshold=context.threshold)
    if not indices.size:
        st.info(f"At this threshold there are no {CELLS[cell]}.", icon=":material/info:")
        return
    drawn = indices[: common.MOST_ROWS]
    st.dataframe(
        pandas.DataFrame(context.measured.film_rows(drawn)),
        key="cell-films",
        hide_index=True,
        height=min(2 + 36 + 35 * len(drawn), 318),
        column_config={
            "file": st.column_config.TextColumn("File", width="large"),
            "probability": st.column_config.NumberColumn("Probability", format="%.3f"),
        },
    )
    if indices.size > drawn.size:
        st.caption(f"The first {drawn.size} of {indices.size:,}; the download holds all.")
    common.csv_button(
        lambda: context.measured.film_rows(indices),
        name=f"{CELLS[cell].replace(' ', '-')}-{context.source.slug}",
        label=f"List of {CELLS[cell]} as CSV",
    )


def roc(context: Context) -> None:
    st.markdown("#### ROC curve")
    if not context.measured.both:
        reason = context.result.unavailable.get("auc", "the films are of one class only")
        st.info(f"There is no ROC curve: {reason}.", icon=":material/info:")
        return
    figure, alt = roc_figure(context)
    common.figure(figure, key="roc", context=context, alt=alt)


def roc_figure(context: Context) -> tuple[go.Figure, str]:
    curve, current = context.measured.roc, context.current()
    # Where the card says how well the width of the test images alone tells the classes apart.
    floor = context.version.card.data.get("width_auc") if context.source.kind == "test" else None
    figure = charts.roc_figure(
        curve,
        current=current,
        operating_points=context.points(),
        size_floor=float(floor) if isinstance(floor, int | float) else None,
    )
    alt = (
        f"ROC curve with an area of {charts.interval_in_words(curve.auc, curve.auc_interval)}; at the current "
        f"threshold sensitivity {charts.share_in_words(current.sensitivity)}, specificity "
        f"{charts.share_in_words(current.specificity)}."
    )
    return figure, alt
