"""The films of both classes, page by page; one opens large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from model.dataset import CLASSES, Film
from model.films import ImageError, read_xray
from model.quality import remarks
from pages.data_parts.common import PAGE, chosen_split, of_class, shortened
from utils import data_sets, look
from utils.data_sets import FilmSet

MIXED = "data-mixed"
TILES = 12  # of each class on one page


def show(films: FilmSet) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        split = chosen_split(films)
        mixed = st.toggle(
            "In mixed order",
            value=True,
            key=MIXED,
            persist_state="session",
            help="Else by name. Always the same mix.",
        )
    groups = [of_class(films, split, label) for label in range(len(CLASSES))]
    if mixed:
        groups = [
            [group[place] for place in np.random.default_rng(0).permutation(len(group))] for group in groups
        ]
    pages = max(1, -(-max(map(len, groups)) // TILES))
    page = min(st.session_state.get(PAGE, 0), pages - 1)
    with st.container(horizontal=True, vertical_alignment="center"):
        turn("Previous", page - 1, "chevron_left", disabled=page == 0)
        st.markdown(f"Page **{page + 1:,}** of {pages:,}", width="content")
        turn("Next", page + 1, "chevron_right", disabled=page >= pages - 1)
    for column, name, group in zip(st.columns(2, gap="large"), CLASSES, groups, strict=True):
        with column:
            st.markdown(f"#### {name}")
            shown = group[page * TILES : (page + 1) * TILES]
            if not group:
                st.info(f"There is no film of {name} here.", icon=":material/info:")
            elif not shown:
                st.caption("No more films of this class.")
            else:
                first = page * TILES + 1
                st.caption(f"{first:,} to {first + len(shown) - 1:,} of {len(group):,}")
            tiles(shown)


def turn(label: str, page: int, icon: str, *, disabled: bool) -> None:
    st.button(
        label,
        icon=f":material/{icon}:",
        disabled=disabled,
        on_click=lambda: st.session_state.update({PAGE: page}),
    )


def tiles(films: Sequence[Film]) -> None:
    """Small films that wrap on a narrow screen; the name below one opens it."""
    with st.container(horizontal=True, gap="small"):
        for film in films:
            with st.container(width=104, gap="xsmall"):
                size, changed = data_sets.version_of(film.path)
                small, problem = data_sets.tile(str(film.path), size, changed)
                if small:
                    st.image(small, width=104, alt=f"Chest X-ray, {film.class_name}")
                else:
                    st.html(f'<div class="data-tile">{look.empty_viewer("cannot be read")}</div>')
                if st.button(
                    look.plain(shortened(film.path.stem)),
                    key=f"open-{film.path}",
                    type="tertiary",
                    help="Open large",
                    width="stretch",
                ):
                    opened(film, problem)


@st.dialog("One film", width="large")
def opened(film: Film, problem: str) -> None:
    st.markdown(f"**{look.plain(film.path.name)}**")
    if problem:
        st.error(problem, icon=":material/error:")
        return
    try:
        xray = read_xray(film.path.read_bytes())
    except (ImageError, OSError) as error:
        st.error(
            str(error) if isinstance(error, ImageError) else "The file cannot be opened any more.",
            icon=":material/error:",
        )
        return
    with st.container(key="viewer"):
        st.image(data_sets.picture(film.path)[0], width="stretch", alt=f"Chest X-ray, {film.class_name}")
    source = xray.source
    patient = f"patient {film.patient}" if film.series else "no patient number in its name"
    st.markdown(
        f"Reference label **{film.class_name}** ({film.subgroup}), {look.plain(film.split)}, {look.plain(patient)}. "
        f"{source.format}, {source.width} × {source.height} pixels, {source.bit_depth} bit, {source.photometric}."
    )
    for remark in remarks(xray):
        st.markdown(f"⚠ {remark.message}")
