"""Mistakes: the missed pneumonias and the false alarms, worst first, with their films where these are at hand."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath

import numpy as np
import streamlit as st

from pages.metrics_parts import common
from pages.metrics_parts.common import Context
from utils import data_sets
from utils.decisions import format_probability

KINDS = {"fn": "missed pneumonias", "fp": "false alarms"}
PAGE_SIZE = 12
SIDE = 480
"""Longest side of a picture, in pixels."""


def show(context: Context) -> None:
    counts = context.result.confusion
    cell = st.segmented_control(
        "Mistakes",
        options=list(KINDS),
        format_func=lambda key: f"{getattr(counts, key):,} {KINDS[key]}",
        default="fn",
        required=True,
        key="metrics-mistakes",
        persist_state="session",
        label_visibility="collapsed",
    )
    indices = context.measured.chosen(cell, threshold=context.threshold)
    if not indices.size:
        st.success(f"At this threshold there are no {KINDS[cell]}.", icon=":material/check:")
        return
    pages = math.ceil(indices.size / PAGE_SIZE)
    page = 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if pages > 1:
            # A threshold that leaves fewer films must not leave the page beyond the last: the key names their number.
            page = st.pagination(pages, key=f"metrics-page-{cell}-{pages}")
        common.csv_button(
            lambda: context.measured.film_rows(indices),
            name=f"{KINDS[cell].replace(' ', '-')}-{context.source.slug}",
        )
    shown = indices[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    st.caption("Worst first: " + ("the lowest" if cell == "fn" else "the highest") + " probability on top.")
    gallery(context, shown)


def gallery(context: Context, indices: np.ndarray) -> None:
    """The films in rows that wrap; a film that is not at hand is named with its probability."""
    pictures = [picture(context.source.films, context.measured.files[index]) for index in indices]
    if not any(pictures):
        st.info(
            "The films are not at hand, so they are named only: "
            + (
                "the folder they were scored from is gone."
                if context.source.kind == "own"
                else "set PNEUMOSCOPE_DATA to the folder that holds train/ and test/."
            ),
            icon=":material/info:",
        )
        st.table(
            [
                {
                    "File": context.measured.files[index],
                    "Probability": _probability(context, index),
                    "Subgroup": str(context.measured.table["subgroup"].iloc[index]),
                }
                for index in indices
            ],
            hide_index=True,
            border="horizontal",
        )
        return
    grid = st.grid(min_column_width=165, gap="small", key="gallery")
    for index, image in zip(indices, pictures, strict=True):
        name = PurePosixPath(context.measured.files[index]).name
        subgroup = str(context.measured.table["subgroup"].iloc[index])
        with grid.cell():
            if image:
                st.image(image, width="stretch", alt=f"Chest X-ray {name}")
            else:
                st.caption("This film cannot be opened.")
            st.markdown(
                f"**{_probability(context, index)}** {_escaped(subgroup)}  \n:small[{_escaped(name)}]"
            )


def _probability(context: Context, index: int) -> str:
    return format_probability(float(context.measured.probabilities[index]), threshold=context.threshold)


def _escaped(name: str) -> str:
    """A file's name as text, whatever signs of Markdown it holds."""
    return "".join(
        f"\\{sign}" if not sign.isalnum() and sign.isascii() and sign != " " else sign for sign in name
    )


def picture(folder: Path | None, name: str) -> str:
    """The film, made small, as a data: address; empty where it is not there or cannot be read.

    Only files inside `folder` are opened, whatever the predictions file says.
    """
    if folder is None:
        return ""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        return ""
    return data_sets.picture(path, longest=SIDE)[0]
