"""Counts by split and class, and the imbalance."""

from __future__ import annotations

import streamlit as st

from model.dataset import CLASSES
from model.exploration import (
    Counts,
    counts,
)
from pages.data_parts.common import ALL, chart
from utils import data_charts, look
from utils.charts import percent
from utils.data_sets import FilmSet


def show(films: FilmSet) -> None:
    found = counts(films.dataset)
    for each in found:
        for label, count in enumerate((each.normal, each.pneumonia)):
            if count == 0:
                where = "The set" if each.split == ALL else f"The part {each.split}"
                st.warning(
                    f"{where} has no film of {CLASSES[label]}: what compares the classes is left out there.",
                    icon=":material/warning:",
                )
    st.table([counts_row(each) for each in found], hide_index=True, border="horizontal")
    st.markdown(imbalance(found[-1]))
    chart(
        data_charts.counts_figure(
            {
                each.split: dict(zip(CLASSES, (each.normal, each.pneumonia), strict=True))
                for each in found
                if each.split != ALL or len(found) == 1
            }
        ),
        "counts",
        "Films by split and class; the same numbers as in the table above.",
    )
    st.caption(
        "Counted from folders and names, no film is opened. A patient is a number within a series of names "
        "(person…_bacteria, person…_virus, IM, NORMAL2-IM); a film without a number counts as a patient of its own."
    )


def counts_row(each: Counts) -> dict[str, str]:
    patients = f"{each.patients:,}"
    if each.without_number:
        patients += f" ({each.without_number:,} without number)"
    return {
        "Films of": look.plain(each.split),
        "NORMAL": f"{each.normal:,}",
        "PNEUMONIA": f"{each.pneumonia:,}",
        "Films": f"{each.films:,}",
        "Share of PNEUMONIA": percent(each.pneumonia / each.films),
        "Patients": patients,
        "Films a patient": f"{each.films / each.patients:.2f}",
        "Subgroups": ", ".join(f"{name} {count:,}" for name, count in each.subgroups.items()),
    }


def imbalance(each: Counts) -> str:
    if not each.normal or not each.pneumonia:
        return "There is one class only: no imbalance can be stated."
    more, less = sorted(((each.normal, CLASSES[0]), (each.pneumonia, CLASSES[1])), reverse=True)
    if more[0] == less[0]:
        return "**Imbalance:** none, both classes have as many films."
    return (
        f"**Imbalance:** {more[0] / less[0]:.2f} films of {more[1]} for each film of {less[1]}. Whoever always says "
        f"{more[1]} is right on {percent(more[0] / each.films)} of these films: an accuracy has to be read beside that."
    )
