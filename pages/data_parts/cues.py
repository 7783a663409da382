"""Sizes, and what a network could tell the classes apart by without looking at lungs."""

from __future__ import annotations

import numpy as np
import streamlit as st

from model.dataset import CLASSES
from model.exploration import (
    cues,
)
from pages.data_parts.common import chart, chosen_split, explored
from utils import data_charts
from utils.charts import interval_in_words, percent
from utils.data_sets import FilmSet


def show(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    split = chosen_split(films)
    told = cues(found, split)
    st.markdown("#### What a network could cheat with")
    st.markdown(
        "None of these figures is a sign of disease. Where one alone tells the classes apart, a network can have a "
        "good AUC without looking at lungs: 0.5 is chance, 1 tells all."
    )
    if any(cue.auc is not None for cue in told):
        chart(
            data_charts.cues_figure(told),
            "cues",
            "Area under the ROC of each figure alone; the same numbers as in the table below.",
        )
    st.table(
        [
            {
                "Figure": f"**{cue.name}**: {cue.meaning}",
                "AUC alone (95 % interval)": interval_in_words(cue.auc, cue.interval),
                "In words": cue.verdict,
                "Does the network see it?": cue.network,
            }
            for cue in told
        ],
        hide_index=True,
        border="horizontal",
    )
    st.caption(
        "Over the films chosen above, each taken as independent; the direction is the one that makes the AUC at least "
        "0.5. Intervals: DeLong. The last column is true of the networks trained here; a file of another origin may "
        "see brightness and contrast."
    )
    chosen = found.within(split)
    labels = found.labels[chosen]
    if labels.size == 0:
        st.info("None of these films could be read.", icon=":material/info:")
        return
    width, height = found.width[chosen], found.height[chosen]
    st.markdown("#### Sizes")
    different = len(set(zip(width.tolist(), height.tolist(), strict=True)))
    if different == 1:
        st.markdown(
            f"All {labels.size:,} films are {width[0]} × {height[0]} pixels. Where films were brought to one size "
            "before, their first sizes can no longer be told; traces of them may be left in the picture."
        )
    else:
        st.markdown(
            f"{different:,} different sizes, {width.min():,} to {width.max():,} pixels wide and {height.min():,} to "
            f"{height.max():,} high; in the middle {median_of(width, labels)} wide."
        )
        left, right = st.columns(2, gap="large")
        with left:
            chart(data_charts.sizes_figure(width, height, labels), "sizes", "Width against height by class.")
        with right:
            spread(width / height, labels, "Width to height", "aspect")
    st.markdown("#### Brightness, contrast and borders")
    left, right = st.columns(2, gap="large")
    with left:
        spread(found.brightness[chosen], labels, "Brightness (mean grey level)", "brightness")
    with right:
        spread(
            found.contrast[chosen],
            labels,
            "Contrast (95th less 5th percentile)",
            "contrast",
        )
    border = found.border[chosen]
    shares = " and ".join(
        f"{percent(float((border[labels == label] > 0).mean()))} of {name}"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )
    bars = f"A black bar along an edge is found on {shares}"
    if (border > 0).any():
        bars += f"; half of these bars cover more than {percent(float(np.median(border[border > 0])))} of their film"
    st.markdown(f"{bars}.")


def median_of(values: np.ndarray, labels: np.ndarray) -> str:
    return " and ".join(
        f"{np.median(values[labels == label]):,.0f} ({name})"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )


def spread(values: np.ndarray, labels: np.ndarray, title: str, key: str) -> None:
    told = "; ".join(
        f"{name}: half of the films between {np.percentile(values[labels == label], 25):.3g} and "
        f"{np.percentile(values[labels == label], 75):.3g}"
        for label, name in enumerate(CLASSES)
        if (labels == label).any()
    )
    chart(data_charts.distribution_figure(values, labels, title=title), key, f"{title} by class. {told}.")
    st.caption(f"{told}.")
