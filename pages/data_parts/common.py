"""What the sections of the Data screen share: the set that is looked at, the one pass over it, small things."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import streamlit as st

from model.dataset import DatasetError, Film
from model.exploration import Exploration, ExplorationCancelled
from utils import data_sets, look
from utils.charts import config
from utils.data_sets import FilmSet
from utils.settings import SettingsError, get_settings

# Names of what a session keeps.
SET = "data-set"
FOLDER = "data-folder"
SPLIT = "data-split"
LISTING = "data-listing"
STOPPED = "data-stopped"
NAME = "data-session"
PAGE = "data-page"
AUGMENTED = "data-augmented"
JOINED = "data-joined"

OTHER = "Another folder"
ALL = "all"


def chosen_set() -> FilmSet | None:
    """The set that the session looks at; None, and a sentence on the screen, where there is none."""
    places: dict[str, Path] = {}
    try:
        places = {place.label: place.folder for place in data_sets.registered(get_settings())}
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
    options = [*places, OTHER]
    if st.session_state.get(SET) not in options:  # uploaded sets can be deleted, on Training
        st.session_state[SET] = options[0]
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.selectbox("Set of films", options, key=SET, persist_state="session")
    if name == OTHER:
        typed = right.text_input(
            "Folder, as the server sees it",
            key=FOLDER,
            persist_state="session",
            placeholder="/data/films",
            help="It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each.",
        )
        if not typed.strip():
            st.info(
                "Name a folder of X-rays to look at: type its path above, or set PNEUMOSCOPE_DATA before the app "
                "starts. It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each. "
                "Files are only read, never changed.",
                icon=":material/folder_open:",
            )
            return None
    try:
        folder = data_sets.typed_folder(typed) if name == OTHER else places[name]
        films = listed(folder)
    except DatasetError as error:
        st.session_state.pop(LISTING, None)
        st.error(look.plain(str(error)), icon=":material/error:")
        st.button("Look again", icon=":material/refresh:")
        return None
    with (st.container if name == OTHER else right.container)(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(films.dataset.films):,} files in {look.plain(str(folder))}", width="content")
        st.button(
            "List again",
            icon=":material/refresh:",
            type="tertiary",
            on_click=lambda: st.session_state.pop(LISTING, None),
            help="Look for files that came, went or changed.",
        )
    return films


def listed(folder: Path) -> FilmSet:
    """The listing of a folder, kept until another is chosen: thousands of files take a second."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder} (any more): check its name, or whether it is mounted."
        )
    kept = st.session_state.get(LISTING)
    if kept is None or kept[0] != folder:
        with st.spinner("Listing the films"):
            kept = (folder, data_sets.list_films(folder))
        for key in (PAGE, AUGMENTED, SPLIT):
            st.session_state.pop(key, None)
        st.session_state[LISTING] = kept
    films: FilmSet = kept[1]
    return films


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
    line, button = st.columns([5, 1], vertical_alignment="center")
    done, total = current.done, current.total
    words = f"Read {done:,} of {total:,} films" if done < total else "Comparing the films with each other"
    line.progress(done / total, text=words)
    button.button("Cancel", on_click=cancel, args=(films, current, name), width="stretch", key="data-cancel")
    st.caption("Each film is opened once and nothing is written. You can look at other screens meanwhile.")


def cancel(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    current.leave(name)
    st.session_state[STOPPED] = films.stamp


def begin_again(films: FilmSet) -> None:
    data_sets.forget_pass(films)
    st.session_state.pop(LISTING, None)


def chart(figure: object, name: str, told: str) -> None:
    st.plotly_chart(figure, key=f"data-{name}", theme="streamlit", config=config(f"data-{name}"), alt=told)


def shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-11:]}"
