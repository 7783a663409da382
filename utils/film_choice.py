"""Which set of films a screen works on: a registered one or a typed folder, and how far the pass over it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from model.dataset import DatasetError
from utils import data_sets, look
from utils.data_sets import FilmSet

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

OTHER = "Another folder"
_LAYOUT = "It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each."


@dataclass(frozen=True)
class Chosen:
    """The set that was chosen: its name in the list, its listing, and the line below it, for further buttons."""

    name: str
    folder: Path
    films: FilmSet
    line: DeltaGenerator


def set_key(screen: str) -> str:
    """Key under which the session keeps the name of the set that a screen works on."""
    return f"{screen}-set"


def folder_key(screen: str) -> str:
    """Key of the typed folder."""
    return f"{screen}-folder"


def _listing_key(screen: str) -> str:
    return f"{screen}-listing"


def forget_listing(screen: str) -> None:
    """Let the next run of the screen list the folder anew."""
    st.session_state.pop(_listing_key(screen), None)


def choose(
    screen: str,
    places: Mapping[str, Path],
    *,
    also: Sequence[str] = (),
    invitation: str,
    forget: Sequence[str] = (),
) -> Chosen | str | None:
    """Let the session choose a set.

    Args:
        screen: the beginning of the names that the session keeps.
        places: registered folders by their names in the list.
        also: further entries of the list, which the screen sees to.
        invitation: what to do where no folder is named yet.
        forget: names in the session that end with the folder.

    Returns:
        The set; one of ``also``; or None, with a sentence on the screen, where there is no set yet.
    """
    options = [*places, OTHER, *also]
    if st.session_state.get(set_key(screen)) not in options:  # uploaded sets can be deleted
        st.session_state[set_key(screen)] = options[0]
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.selectbox("Set of films", options, key=set_key(screen), persist_state="session")
    if name in also:
        return name
    typed = ""
    if name == OTHER:
        typed = right.text_input(
            "Folder, as the server sees it",
            key=folder_key(screen),
            persist_state="session",
            placeholder="/data/films",
            help=_LAYOUT,
        )
        if not typed.strip():
            st.info(
                f"{invitation} {_LAYOUT} Files are only read, never changed.", icon=":material/folder_open:"
            )
            return None
    try:
        folder = data_sets.typed_folder(typed) if name == OTHER else places[name]
        films = _listed(screen, folder, forget)
    except DatasetError as error:
        forget_listing(screen)
        st.error(look.plain(str(error)), icon=":material/error:")
        st.button("Look again", icon=":material/refresh:")
        return None
    line = (st if name == OTHER else right).container(horizontal=True, vertical_alignment="center")
    line.caption(f"{len(films.dataset.films):,} files in {look.plain(str(folder))}", width="content")
    line.button(
        "List again",
        icon=":material/refresh:",
        type="tertiary",
        on_click=forget_listing,
        args=(screen,),
        help="Look for files that came, went or changed.",
    )
    return Chosen(name, folder, films, line)


def _listed(screen: str, folder: Path, forget: Sequence[str]) -> FilmSet:
    """The listing of a folder, kept until another is chosen: thousands of files take a second."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder} (any more): check its name, or whether it is mounted."
        )
    kept = st.session_state.get(_listing_key(screen))
    if kept is None or kept[0] != folder:
        with st.spinner("Listing the films"):
            kept = (folder, data_sets.list_films(folder))
        for key in forget:
            st.session_state.pop(key, None)
        st.session_state[_listing_key(screen)] = kept
    films: FilmSet = kept[1]
    return films


def show_pass(current: data_sets.Pass, *, key: str, cancel: Callable[[], None]) -> None:
    """How far a pass over the films is, with a button that waits for it no longer."""
    line, button = st.columns([5, 1], vertical_alignment="center")
    done, total = current.done, current.total
    words = f"Read {done:,} of {total:,} films" if done < total else "Comparing the films with each other"
    line.progress(done / total, text=words)
    button.button("Cancel", on_click=cancel, width="stretch", key=key)
    st.caption("Each film is opened once and nothing is written. You can look at other screens meanwhile.")
