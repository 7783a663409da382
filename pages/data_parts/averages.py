"""Mean films of the classes, their difference, and intensity profiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from model.dataset import CLASSES
from model.exploration import (
    PICTURES,
    Average,
    average,
)
from pages.data_parts.common import chart, chosen_split, explored
from utils import data_charts
from utils.data_sets import FilmSet


def show(films: FilmSet) -> None:
    found = explored(films)
    if found is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        split = chosen_split(films)
        as_network = (
            st.segmented_control(
                "Grey levels",
                ["as stored", "as the network sees them"],
                default="as stored",
                required=True,
                key="data-standardise",
                persist_state="session",
                help="The network's first layers bring each film to mean 0 and variance 1.",
            )
            != "as stored"
        )
    unit = "standard deviations" if as_network else "grey levels"
    averages: dict[int, Average] = {}
    for label in range(len(CLASSES)):
        pictures = found.pictures(label, split)
        if len(pictures):
            averages[label] = average(pictures, standardise=as_network)
    one_class(averages)
    if not averages:
        return
    pictures_of = {label: each.picture for label, each in averages.items()}
    low = min(float(picture.min()) for picture in pictures_of.values())
    high = max(float(picture.max()) for picture in pictures_of.values())
    columns = st.columns(3)
    for label, picture in pictures_of.items():
        with columns[label]:
            st.markdown(f"#### Mean of {CLASSES[label]}")
            chart(
                data_charts.picture_figure(picture, low=low, high=high, unit=unit),
                f"mean-{CLASSES[label]}",
                f"Mean film of {CLASSES[label]}.",
            )
            st.caption(f"{averages[label].films:,} films")
    if len(pictures_of) == 2:
        with columns[2]:
            st.markdown("#### Difference")
            difference = pictures_of[1] - pictures_of[0]
            chart(
                data_charts.difference_figure(difference, unit=unit),
                "difference",
                "Mean film of PNEUMONIA less mean film of NORMAL.",
            )
            place = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
            st.caption(
                f"PNEUMONIA less NORMAL: orange brighter in PNEUMONIA, blue darker. Largest: "
                f"{difference[place]:+.3g} {unit}."
            )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### Profile across")
        chart(
            data_charts.profile_figure(averages, across=True, unit=unit),
            "profile-across",
            "Mean brightness of each column of the picture, by class.",
        )
    with right:
        st.markdown("#### Profile down")
        chart(
            data_charts.profile_figure(averages, across=False, unit=unit),
            "profile-down",
            "Mean brightness of each row of the picture, by class.",
        )
    st.caption("Line: mean over the films. Band: 80 % of the films lie in it.")
    st.markdown("#### Grey levels")
    chart(
        data_charts.intensity_figure({label: found.histogram(label, split) for label in averages}),
        "grey-levels",
        "How often each grey level occurs, by class, as stored.",
    )
    st.caption(
        "As stored, every film weighing the same. A peak that leaves the figure at 0 or 255 is black ground, or white "
        "letters and saturation."
    )
    st.caption(
        f"Pictures and profiles from the films reduced to 64 × 64 pixels; of more than {PICTURES:,} films of a class "
        "that many are drawn at random."
    )


def one_class(found: Mapping[int, object]) -> None:
    for label, name in enumerate(CLASSES):
        if label not in found:
            st.info(
                f"There is no readable film of {name} here: only the other class is shown.",
                icon=":material/info:",
            )
