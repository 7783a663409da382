"""The sets of films that can be opened by name, and the one pass over a set, in the background.

A pass belongs to the set, not to a session: sessions that look at one set at the same time share it, and it is
stopped when none of them waits for it any more. These are the department's own folders, and the sets that it uploaded
to train on; never the films dropped on Diagnose.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from model.datacheck import Copies
from model.dataset import Dataset, DatasetError, read_dataset
from model.exploration import (
    EIGEN_FILMS,
    EigenImages,
    Exploration,
    ExplorationCancelled,
    eigen_images,
    explore,
    preview,
    stamp,
)
from model.films import ImageError, prepare, read_xray
from utils.readings import data_uri
from utils.settings import PREFIX, Settings
from utils.uploads import uploaded_sets

log = logging.getLogger(__name__)

UPLOADED = "uploaded"
KEPT_SETS = 2
"""Passes kept in memory; the one not used for longest goes first."""
_TILE = 168  # pixels
_LARGE = 1400


@dataclass(frozen=True)
class Place:
    """A folder that can be chosen by name; `variable` is the setting that names it, or "uploaded"."""

    variable: str
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.folder.name} ({self.variable})"


@dataclass(frozen=True)
class FilmSet:
    """The listing of one folder; `stamp` tells whether two listings are of the same files."""

    dataset: Dataset
    stamp: str


def registered(settings: Settings) -> tuple[Place, ...]:
    """The folders that the installation's settings name, and the uploaded sets."""
    named = ((f"{PREFIX}DATA", settings.data), (f"{PREFIX}DATA_FULL_SIZE", settings.data_full_size))
    return (
        *(Place(variable, folder) for variable, folder in named if folder is not None),
        *(Place(UPLOADED, folder) for folder in uploaded_sets(settings.home)),
    )


def typed_folder(text: str) -> Path:
    """The folder that somebody typed. DatasetError, in one sentence, where it cannot be one."""
    try:
        folder = Path(text.strip().strip("\"'")).expanduser()
    except RuntimeError as error:  # "~nobody": pathlib's way to say that there is no such user
        raise DatasetError("The home directory after '~' is not known: write the whole path.") from error
    if not folder.is_absolute():
        raise DatasetError(
            "Write the whole path of the folder, from its root on, as the server sees it: for example /data/films."
        )
    return folder


def list_films(folder: Path) -> FilmSet:
    """List a folder without opening a film. DatasetError, in one sentence, where that cannot be done."""
    try:
        dataset = read_dataset(folder, both_classes=False)
        return FilmSet(dataset, stamp(dataset))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        if isinstance(error, DatasetError):
            raise
        reason = getattr(error, "strerror", None) or "its name is no path"
        raise DatasetError(
            f"The folder cannot be read ({reason}): check its name and permissions."
        ) from error


class Pass:
    """One pass over a set, running in a thread of its own since it was made."""

    def __init__(self, dataset: Dataset) -> None:
        self.total = len(dataset.films)
        self.done = 0
        self.result: Future[Exploration] = Future()
        self._waiting: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._work, args=(dataset,), name="data-pass", daemon=True).start()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, or is about to be: somebody who wants it needs a new one."""
        return self._stop.is_set()

    def join(self, session: str) -> bool:
        """Wait for it, too. False where it is being stopped already."""
        with self._lock:
            if self._stop.is_set():
                return False
            self._waiting.add(session)
            return True

    def leave(self, session: str) -> None:
        """Wait no longer. The last one to leave stops it."""
        with self._lock:
            self._waiting.discard(session)
            if not self._waiting and not self.result.done():
                self._stop.set()

    def _work(self, dataset: Dataset) -> None:
        # One processor stays free for the screens and the network.
        workers = max(1, (os.cpu_count() or 1) - 1)
        try:
            found = explore(dataset, progress=self._progress, cancelled=self._stop.is_set, workers=workers)
            self.result.set_result(found)
        except (ExplorationCancelled, DatasetError) as error:
            self.result.set_exception(error)
        except Exception as error:
            # Whatever goes wrong must reach the waiting page. Not its text: it may name a file, and so a patient.
            log.error("a set of films could not be read: %s", type(error).__name__)
            self.result.set_exception(error)

    def _progress(self, done: int, total: int) -> None:
        self.done = done


@st.cache_resource(max_entries=KEPT_SETS, show_spinner=False)
def _pass(stamp: str, _dataset: Dataset) -> Pass:
    return Pass(_dataset)


def pass_over(films: FilmSet, session: str) -> Pass:
    """The pass over a set, started by the first session that asks for it and shared by the others."""
    while True:
        current = _pass(films.stamp, films.dataset)
        if current.join(session):
            return current
        _pass.clear(films.stamp, films.dataset)


def forget_pass(films: FilmSet) -> None:
    """Let the next `pass_over` begin anew."""
    _pass.clear(films.stamp, films.dataset)


@st.cache_resource(max_entries=12, show_spinner=False)
def eigen_of(stamp: str, split: str | None, label: int, _found: Exploration) -> EigenImages:
    """Eigen-images of a class, from at most `EIGEN_FILMS` films. ValueError as :func:`eigen_images`."""
    return eigen_images(_found.pictures(label, split, most=EIGEN_FILMS))


@st.cache_data(max_entries=600, show_spinner=False)
def tile(path: str, size: int, changed: int) -> tuple[str, str]:
    """A small film on a black square, so that a grid keeps its lines: see `picture`.

    `size` and `changed` tell versions of the file apart.
    """
    return picture(Path(path), longest=_TILE, square=True)


def picture(path: Path, *, longest: int = _LARGE, square: bool = False) -> tuple[str, str]:
    """A film for the screen as a data: address, or "" and one sentence that says why there is none."""
    try:
        pixels = read_xray(path.read_bytes()).pixels
    except ImageError as error:
        return "", str(error)
    except OSError:
        return "", "The file cannot be opened any more."
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    if square:
        film, side = image, max(image.size)
        image = Image.new("L", (side, side))
        image.paste(film, ((side - film.width) // 2, (side - film.height) // 2))
    return address(image), ""


def address(image: Image.Image) -> str:
    """A grey picture as a data: address.

    Not by way of Streamlit's store of files: that forgets the pictures of one run when the next one begins, and whoever
    turns pages quickly would be left with addresses that lead nowhere.
    """
    target = io.BytesIO()
    image.save(target, format="JPEG", quality=90)
    return data_uri(target.getvalue())


def network_view(path: Path) -> NDArray[np.uint8]:
    """A film as the network's input, one channel: uint8 (224, 224). ImageError where it cannot be read."""
    try:
        return prepare(read_xray(path.read_bytes()).pixels)[:, :, 0]
    except OSError as error:
        raise ImageError("The file cannot be opened any more.") from error


@st.cache_data(max_entries=8, show_spinner=False)
def draws(path: str, size: int, changed: int, seed: int) -> dict[str, NDArray[np.uint8]]:
    """Twelve draws of every recipe from one film. ImageError, PreviewError."""
    return preview(network_view(Path(path)), seed=seed)


def copies_row(copies: Copies) -> dict[str, object]:
    """One row of a list of copies."""
    return {
        "files": " | ".join(copies.files),
        "splits": ", ".join(copies.splits),
        "classes": ", ".join(copies.labels),
        "patients": ", ".join(copies.patients),
        "correlation": copies.correlation,
    }


def version_of(path: Path) -> tuple[int, int]:
    """Size and time of change of a file, (0, 0) where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
