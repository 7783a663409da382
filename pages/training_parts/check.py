"""What is in the films, told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import numpy as np
import streamlit as st

from model.dataset import CLASSES, DatasetError, Film
from model.exploration import Exploration, ExplorationCancelled, counts
from pages.training_parts.common import CHECKED, JOINED, SESSION, SHOWN_BAD_FILES, TILES
from utils import charts, data_sets, film_choice, look
from utils.data_sets import FilmSet


def checked(films: FilmSet) -> Exploration | None:
    """What is in the films. None until every one was opened, with what to do or how far it is on the screen."""
    folder = str(films.dataset.root)
    name = st.session_state.setdefault(SESSION, uuid4().hex)
    before: data_sets.Pass | None = st.session_state.get(JOINED)
    if st.session_state.get(CHECKED) != folder:
        if before is not None:
            before.leave(name)
            st.session_state.pop(JOINED)
        st.button(
            "Check the films",
            type="primary",
            icon=":material/fact_check:",
            on_click=lambda: st.session_state.update({CHECKED: folder}),
            help="Opens every film once: nothing is written.",
        )
        return None
    current = data_sets.pass_over(films, name)
    if before is not None and before is not current:
        before.leave(name)
    st.session_state[JOINED] = current
    if not current.result.done():
        wait_for(current, name)
        return None
    error = current.result.exception()
    if error is None:
        return current.result.result()
    data_sets.forget_pass(films)
    st.session_state.pop(CHECKED)
    if isinstance(error, ExplorationCancelled):
        st.rerun()
    sentence = str(error) if isinstance(error, DatasetError) else "The films could not be read to the end."
    st.error(look.plain(sentence), icon=":material/error:")
    return None


@st.fragment(run_every=0.7)
def wait_for(current: data_sets.Pass, name: str) -> None:
    if current.result.done():
        st.rerun()
    film_choice.show_pass(current, key="training-cancel", cancel=partial(cancel_check, current, name))


def cancel_check(current: data_sets.Pass, name: str) -> None:
    current.leave(name)
    st.session_state.pop(CHECKED, None)


def show_check(found: Exploration) -> list[str]:
    """The report of the check; what has to be mended before a run can start."""
    report, dataset = found.report, found.dataset
    left, right = st.columns(2, gap="large")
    with left:
        st.table(
            [
                {
                    "Films of": look.plain(each.split),
                    "NORMAL": f"{each.normal:,}",
                    "PNEUMONIA": f"{each.pneumonia:,}",
                    "Share of PNEUMONIA": charts.percent(each.pneumonia / each.films),
                    "Patients": f"{each.patients:,}",
                }
                for each in counts(dataset)
            ],
            hide_index=True,
            border="horizontal",
        )
        if report.fit:
            st.success(report.verdict.replace("above", "below"), icon=":material/check_circle:")
        else:
            st.warning(report.verdict.replace("above", "below"), icon=":material/warning:")
        lines = [f"- **{look.plain(sentence)}**" for sentence in report.problems]
        lines += [f"- {look.plain(sentence)}" for sentence in report.remarks]
        if lines:
            st.markdown("\n".join(lines))
        identical = sum(each.kind == "identical" for each in report.copies)
        alike = len(report.copies) - identical
        st.caption(
            f"Unreadable files: {len(report.unreadable):,}. Groups of identical films: {identical:,}; of nearly "
            f"identical ones: {alike:,}. Patients in more than one split: {len(report.shared_patients):,}. The lists "
            "are in Data, under Quality."
        )
        if report.unreadable:
            bad = [(each.file, each.message) for each in report.unreadable[:SHOWN_BAD_FILES]]
            st.html(look.bad_files(bad, count=len(report.unreadable)))
    with right:
        for label, class_name in enumerate(CLASSES):
            samples(class_name, [film for film in dataset.films if film.label == label])
    if report.unreadable:
        return ["take out or replace the files that cannot be read, then list the films again"]
    return []


def samples(class_name: str, films: Sequence[Film]) -> None:
    """A few films of a class, always the same ones."""
    st.markdown(f"**{class_name}**")
    if not films:
        st.info(f"There is no film of {class_name}.", icon=":material/info:")
        return
    places = np.random.default_rng(0).permutation(len(films))[:TILES]
    with st.container(horizontal=True, gap="small"):
        for film in (films[place] for place in places):
            small, _ = data_sets.tile(str(film.path), *data_sets.version_of(film.path))
            with st.container(width=84):
                if small:
                    st.image(small, width=84, alt=f"Chest X-ray, {class_name}")
                else:
                    st.html(f'<div class="data-tile">{look.empty_viewer("cannot be read")}</div>')
