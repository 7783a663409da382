"""A labelled folder of films becomes predictions, for the command line's ``evaluate`` and for the screen Own films.

A bad file never stops the rest: it is listed with its sentence. Scoring can be watched and stopped.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.dataset import CLASSES, DatasetError, Film, fingerprint, read_dataset
from model.films import MAXIMUM_BYTES, ImageError, prepare, read_xray
from model.registry import Card, Predictions

log = logging.getLogger(__name__)

BATCH = 8
"""Films read between two looks at `cancelled`; the network takes eight at a time as well."""
NETWORK_FAILED = "The network could not read this film."


class ScoringCancelled(Exception):  # noqa: N818  what was asked for is no error
    """Scoring was stopped on request."""


class Reader(Protocol):
    """What this module needs of `model.inference.Predictor`."""

    card: Card

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read: its path within the folder, and the sentence that says why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Scoring:
    """A folder, read.

    Attributes:
        predictions: the films that could be read, in the order of the folder; probabilities calibrated as the
            version's card says.
        extra: further columns, one entry a film: ``split`` (train, val, test or all), ``series`` (of the file's
            name) and ``folder`` (folders between the class folder and the film, for example a machine's).
        unreadable: the files that could not.
        fingerprint: as `model.dataset.fingerprint` of all films, readable or not; 64 hexadecimal digits.
    """

    predictions: Predictions
    extra: dict[str, tuple[str, ...]]
    unreadable: tuple[Unreadable, ...]
    fingerprint: str


def count_films(films: Sequence[Film]) -> dict[str, int]:
    """The number of films of each class, ``NORMAL`` first; no file is opened."""
    return {name: sum(film.class_name == name for film in films) for name in CLASSES}


def chosen_films(folder: Path, split: str | None = None) -> tuple[Film, ...]:
    """The films of a labelled folder that would be scored.

    Args:
        split: one of the folder's splits (``train``, ``val``, ``test``); None: all films.

    Raises:
        DatasetError: the folder is none of labelled films, or has no such split.
    """
    dataset = read_dataset(folder)
    if split is None:
        return dataset.films
    films = dataset.split(split)
    if not films:
        raise DatasetError(f"{folder} has no folder {split}; it has: {', '.join(dataset.splits)}.")
    return films


def score_folder(
    folder: Path,
    predictor: Reader,
    *,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Scoring:
    """Read every film of a labelled folder with `predictor`.

    Args:
        folder: NORMAL/ and PNEUMONIA/, or train/, val/, test/ with these.
        split: one of the folder's splits; None: all films.
        progress: called with the number of films done and of all films.
        cancelled: asked before every few films.

    Raises:
        DatasetError: the folder is none of labelled films, or no film of it can be read.
        ScoringCancelled: `cancelled` said so.
    """
    films = chosen_films(folder, split)
    read: list[Film] = []
    probabilities: list[float] = []
    unreadable: list[Unreadable] = []
    hashes: dict[Path, bytes] = {}
    for start in range(0, len(films), BATCH):
        if cancelled is not None and cancelled():
            raise ScoringCancelled
        if progress is not None:
            progress(start, len(films))
        batch: list[Film] = []
        images: list[NDArray[np.uint8]] = []
        for film in films[start : start + BATCH]:
            try:
                data = _bytes(film.path)
                hashes[film.path] = hashlib.sha256(data).digest()
                image = prepare(read_xray(data).pixels, size=predictor.card.input_size)
            except ImageError as error:
                unreadable.append(Unreadable(film.path.relative_to(folder).as_posix(), str(error)))
            else:
                batch.append(film)
                images.append(image)
        for film, probability in zip(batch, _probabilities(images, predictor), strict=True):
            if probability is None:
                unreadable.append(Unreadable(film.path.relative_to(folder).as_posix(), NETWORK_FAILED))
            else:
                read.append(film)
                probabilities.append(probability)
    if progress is not None:
        progress(len(films), len(films))
    if not read:
        first = f" The first says: {unreadable[0].reason}" if unreadable else ""
        raise DatasetError(f"None of the {len(films)} films could be read.{first}")
    return Scoring(
        predictions=Predictions(
            files=tuple(film.path.relative_to(folder).as_posix() for film in read),
            patients=tuple(film.patient for film in read),
            labels=np.array([film.label for film in read], dtype=np.int64),
            subgroups=tuple(film.subgroup for film in read),
            probabilities=np.array(probabilities, dtype=np.float64),
        ),
        extra={
            "split": tuple(film.split for film in read),
            "series": tuple(film.series for film in read),
            "folder": tuple(_between(film, folder) for film in read),
        },
        unreadable=tuple(unreadable),
        fingerprint=fingerprint(films, folder, hashes=hashes),
    )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            # One byte more than is read: the reading function then says its own sentence, and memory stays small.
            with path.open("rb") as stream:
                return stream.read(MAXIMUM_BYTES + 1)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.") from None


def _probabilities(images: Sequence[NDArray[np.uint8]], predictor: Reader) -> list[float | None]:
    if not images:
        return []
    try:
        return [float(value) for value in predictor.predict(np.stack(images))]
    except Exception as error:
        # Whatever an engine raises: no film may take the others with it.
        if len(images) == 1:
            log.error("the network failed on a film: %s", error)
            return [None]
        return [_probabilities([image], predictor)[0] for image in images]


def _between(film: Film, folder: Path) -> str:
    root = folder if film.split == "all" else folder / film.split
    return film.path.parent.relative_to(root / film.class_name).as_posix().removeprefix(".")
