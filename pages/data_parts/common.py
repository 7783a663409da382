"""What the sections of the Data screen share: the set that is looked at, the one pass over it, small things."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import uuid4

import streamlit as st

from model.dataset import DatasetError, Film
from model.exploration import Exploration, ExplorationCancelled
from utils import data_sets, film_choice
from utils.charts import config
from utils.data_sets import FilmSet
from utils.settings import SettingsError, get_settings

# Names of what a session keeps.
SCREEN = "data"
SPLIT = "data-split"
STOPPED = "data-stopped"
NAME = "data-session"
PAGE = "data-page"
AUGMENTED = "data-augmented"
JOINED = "data-joined"

ALL = "all"


def chosen_set() -> FilmSet | None:
    """The set that the session looks at; None, and a sentence on the screen, where there is none."""
    places: dict[str, Path] = {}
    try:
        places = {place.label: place.folder for place in data_sets.registered(get_settings())}
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
    chosen = film_choice.choose(
        SCREEN,
        places,
        invitation="Name a folder of X-rays to look at: type its path above, or set PNEUMOSCOPE_DATA before the app "
        "starts.",
        forget=(PAGE, AUGMENTED, SPLIT),
    )
    return chosen.films if isinstance(chosen, film_choice.Chosen) else None


def chosen_split(films: FilmSet) -> str | None:
    """The split to look at, the training films first; None: all films."""
    splits = films.dataset.splits
    if len(splits) < 2:
        return None
    if st.session_state.get(SPLIT) not in (*splits, ALL):
        st.session_state[SPLIT] = splits[0]
    chosen = st.segmented_control(
        "Films of", [*splits, ALL], required=True, key=SPLIT, persist_state="session", wrap=True
    )
    return None if chosen == ALL else chosen


def of_class(films: FilmSet, split: str | None, label: int) -> list[Film]:
    return [film for film in films.dataset.films if film.label == label and split in (None, film.split)]


def explored(films: FilmSet) -> Exploration | None:
    """What the pass over the films found. Until it has ended: None, and its progress on the screen."""
    name = st.session_state.setdefault(NAME, uuid4().hex)
    before: data_sets.Pass | None = st.session_state.get(JOINED)
    if st.session_state.get(STOPPED) == films.stamp:
        st.info("Reading was stopped: this section needs every film read once.", icon=":material/info:")
        st.button("Read the films", type="primary", on_click=lambda: st.session_state.pop(STOPPED, None))
        return None
    current = data_sets.pass_over(films, name)
    if before is not None and before is not current:
        before.leave(name)
    st.session_state[JOINED] = current
    if not current.result.done():
        wait_for(films, current, name)
        return None
    error = current.result.exception()
    if error is None:
        return current.result.result()
    if isinstance(error, ExplorationCancelled):
        data_sets.forget_pass(films)
        st.rerun()
    if isinstance(error, DatasetError):
        st.error(str(error), icon=":material/error:")
    else:
        st.error("The films could not be read to the end; the log names the cause.", icon=":material/error:")
    st.button("Try again", icon=":material/refresh:", on_click=begin_again, args=(films,))
    return None


@st.fragment(run_every=0.7)
def wait_for(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    if current.result.done() or st.session_state.get(STOPPED) == films.stamp:
        st.rerun()
    film_choice.show_pass(current, key="data-cancel", cancel=partial(cancel, films, current, name))


def cancel(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    current.leave(name)
    st.session_state[STOPPED] = films.stamp


def begin_again(films: FilmSet) -> None:
    data_sets.forget_pass(films)
    film_choice.forget_listing(SCREEN)


def chart(figure: object, name: str, told: str) -> None:
    st.plotly_chart(figure, key=f"data-{name}", theme="streamlit", config=config(f"data-{name}"), alt=told)


def shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-11:]}"
