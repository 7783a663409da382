"""``python -m model features``: the features of a version's films, written beside its model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.dataset import DatasetError, Film, read_dataset
from model.films import ImageError, prepare, read_xray
from model.inference import Predictor
from model.neighbours import (
    INDEX_FILE,
    Part,
    PooledFilms,
    Reference,
    reduced,
    write_features,
    write_index,
)
from model.registry import FEATURES_FILE, PREDICTIONS_FOLDER, Version, VersionError, read_table

BATCH = 8
Progress = Callable[[int, int], None]


def run_features(
    arguments: argparse.Namespace,
    version: Version,
    predictor: Predictor,
    *,
    progress: Progress,
    report: Callable[[object], None],
) -> int:
    """Compute and write; unreadable films are named, left out and make the exit status 1.

    Raises:
        DatasetError, VersionError: one sentence.
    """
    films, unreadable = pooled_films(arguments.data, version, predictor, progress=progress)
    for file, reason in unreadable:
        report(f"{arguments.data / file}: {reason}")
    write(version, reduced(films))
    return 1 if unreadable else 0


def write(version: Version, reference: Reference) -> Path:
    """Write ``features.npz`` into the folder of ``version``; raises VersionError."""
    file = version.folder / FEATURES_FILE
    try:
        write_features(file, reference, sha256=version.card.sha256)
        write_index(version.folder / INDEX_FILE, reference)
    except OSError as error:
        raise VersionError(f"{file} cannot be written ({error.strerror}).") from None
    return file


def parts_of(folder: Path, version: Version) -> list[tuple[Film, Part]]:
    """The films of a data set with the part that each had in making ``version``.

    Which films of ``train`` were held out stands in the version's own predictions; ``val`` takes no part.

    Raises:
        DatasetError: the folder is none of labelled films, or none of them was trained on.
        VersionError: the predictions of the version are damaged.
    """
    held: dict[str, Part | None] = {}
    for file in sorted((version.folder / PREDICTIONS_FOLDER).glob("*.csv")):
        if file.stem == "test":
            continue
        table = read_table(
            file, missing="", damaged=f"The {file.stem} predictions of version {version.name} are damaged"
        )
        # A series held out whole is neither trained nor validated on.
        held |= dict.fromkeys(table["file"], "validation" if file.stem == "validation" else None)
    found: list[tuple[Film, Part]] = []
    for film in read_dataset(folder).films:
        if film.split == "test":
            found.append((film, "test"))
        elif film.split != "val":
            part = held.get(film.path.relative_to(folder).as_posix(), "training")
            if part is not None:
                found.append((film, part))
    if not any(part == "training" for _, part in found):
        raise DatasetError(
            f"{folder} holds no film that version {version.name} was trained on; give its data set."
        )
    return found


def pooled_films(
    folder: Path, version: Version, predictor: Predictor, *, progress: Progress = lambda done, total: None
) -> tuple[PooledFilms, tuple[tuple[str, str], ...]]:
    """The pooled features of the films of a data set, and the files that could not be read, each with its reason.

    Raises:
        DatasetError, VersionError: as :func:`parts_of`.
    """
    wanted = parts_of(folder, version)
    read: list[tuple[Film, Part]] = []
    pooled: list[NDArray[np.float32]] = []
    unreadable: list[tuple[str, str]] = []
    for start in range(0, len(wanted), BATCH):
        progress(start, len(wanted))
        images = []
        for film, part in wanted[start : start + BATCH]:
            try:
                images.append(prepare(read_xray(film.path.read_bytes()).pixels, size=version.card.input_size))
            except ImageError as error:
                unreadable.append((film.path.relative_to(folder).as_posix(), str(error)))
            except OSError as error:
                unreadable.append(
                    (film.path.relative_to(folder).as_posix(), f"It cannot be read: {error.strerror}.")
                )
            else:
                read.append((film, part))
        if images:
            pooled.append(predictor.read(np.stack(images)).pooled)
    progress(len(wanted), len(wanted))
    if not any(part == "training" for _, part in read):
        raise DatasetError(f"No film of {folder} that was trained on can be read.")
    return (
        PooledFilms(
            files=tuple(film.path.relative_to(folder).as_posix() for film, _ in read),
            labels=np.array([film.label for film, _ in read], dtype=np.int64),
            subgroups=tuple(film.subgroup for film, _ in read),
            parts=tuple(part for _, part in read),
            pooled=np.concatenate(pooled),
        ),
        tuple(unreadable),
    )
