"""Eigen-images of each class."""

from __future__ import annotations

import numpy as np
import streamlit as st
from PIL import Image

from model.dataset import CLASSES
from model.exploration import (
    EIGEN_FILMS,
    VARIANCE,
    EigenImages,
)
from pages.data_parts.common import chart, chosen_split, explored
from utils import data_charts, data_sets
from utils.charts import percent
from utils.data_sets import FilmSet

SHOWN_EIGEN = 12


def show(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    split = chosen_split(films)
    st.markdown(
        "The directions in which the films of one class differ most from their mean (principal components). A film is "
        "the mean plus so much of each. The first ones usually show exposure, size and position of the chest, not "
        "disease."
    )
    analyses: dict[int, EigenImages] = {}
    for label, name in enumerate(CLASSES):
        try:
            with st.spinner(f"Analysing the films of {name}", show_time=True):
                analyses[label] = data_sets.eigen_of(films.stamp, split, label, found)
        except ValueError as error:
            st.info(f"{name}: {error}", icon=":material/info:")
    if not analyses:
        return
    for label, analysis in analyses.items():
        st.markdown(f"#### {CLASSES[label]}: {needed_in_words(analysis)}")
        with st.container(horizontal=True, gap="small"):
            st.image(grey(analysis.mean), caption="mean", width=104, alt=f"Mean film of {CLASSES[label]}")
            for number, image in enumerate(analysis.images[: analysis.needed or SHOWN_EIGEN], start=1):
                if number > 2 * SHOWN_EIGEN:
                    break
                share = percent(float(analysis.shares[number - 1]))
                st.image(
                    grey(image),
                    caption=f"{number}: {share}",
                    width=104,
                    alt=f"Eigen-image {number} of {CLASSES[label]}, explains {share} of the variance",
                )
    st.markdown("#### Variance explained")
    chart(
        data_charts.variance_figure(analyses),
        "variance",
        ". ".join(f"{CLASSES[label]}: {needed_in_words(each)}" for label, each in analyses.items()),
    )
    drawn = ", ".join(f"{each.films:,} of {CLASSES[label]}" for label, each in analyses.items())
    st.caption(
        f"From {drawn}, reduced to 64 × 64 pixels; of more than {EIGEN_FILMS:,} films of a class that many are drawn "
        "at random. Incremental principal component analysis (Ross et al. 2008) as in scikit-learn."
    )


def needed_in_words(analysis: EigenImages) -> str:
    share = f"{VARIANCE:.0%}".replace("%", " %")
    if analysis.needed is None:
        return f"{len(analysis.shares)} components explain {percent(float(analysis.shares.sum()))} of the variance"
    things = "component explains" if analysis.needed == 1 else "components explain"
    return f"{analysis.needed} {things} {share} of the variance"


def grey(image: np.ndarray) -> str:
    """An array stretched from black to white, twice as large, as an address for the browser."""
    low, high = float(image.min()), float(image.max())
    scaled = np.rint((image - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    return data_sets.address(Image.fromarray(scaled).resize((128, 128), Image.Resampling.BILINEAR))
