"""The films that a version learnt from, as its network sees them: which of them a new film is most like, and how far
from all of them it is.

What the network sees of a film is its last feature map, averaged over height and width (*pooled*, one number a
channel). ``features.npz``, beside the version's model, holds it for every film that the version was trained,
validated and tested on, in fewer numbers: coordinates along the principal axes of the training films, and how far a
film lies off them. Only training films are ever searched; those of validation and test are there so that everything
said about a search can be measured again without a single image.

The distance of two films is the Euclidean one of their pooled features, of which the coordinates keep nearly all: what
lies off the axes counts by its length alone, so that the distance kept is never larger than the true one, and a
picture that is no chest X-ray at all stays far away.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.registry import FEATURES_FILE, Version, VersionError

FORMAT = 1
NEAREST = 10
"""Films that a share of pneumonia, or a distance, is taken over."""
AXES = 64
"""Principal axes kept."""
BLOCK = 1024
"""Films whose distances to all others are computed at once."""
Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = ("training", "validation", "test")

FloatArray = NDArray[np.float64]
Coordinates = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A film that the version was trained on: its file as in the predictions, label (1 PNEUMONIA), subgroup and
    distance (0: the same to the network)."""

    file: str
    label: int
    subgroup: str
    distance: float


@dataclass(frozen=True)
class PooledFilms:
    """Films with their pooled features float32 ``(n, c)``; labels int64 ``(n,)``; ``parts`` as in `PARTS`."""

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    subgroups: tuple[str, ...]
    parts: tuple[Part, ...]
    pooled: NDArray[np.float32]


class Reference:
    """The training films of a version, to be searched. Immutable; may be shared by all threads."""

    def __init__(
        self,
        *,
        files: Sequence[str],
        labels: NDArray[np.int64],
        subgroups: Sequence[str],
        parts: NDArray[np.int64],
        mean: NDArray[np.float32],
        axes: NDArray[np.float32],
        coordinates: Coordinates,
    ) -> None:
        """Use :meth:`load` or :func:`reduced`. ``parts``: positions in `PARTS`; ``mean`` (c,), ``axes`` (c, d),
        ``coordinates`` (n, d + 1)."""
        self.files = tuple(files)
        self.labels = labels
        self.subgroups = tuple(subgroups)
        self.mean = mean
        self.axes = axes
        self._parts = parts
        self._coordinates = coordinates
        self._training = np.flatnonzero(parts == PARTS.index("training"))
        self._searched = np.ascontiguousarray(coordinates[self._training])
        self._squares = np.einsum("nd,nd->n", self._searched, self._searched)

    @classmethod
    def load(cls, version: Version) -> Reference | None:
        """The reference of ``version``; None where it has none.

        Raises:
            VersionError: its file is damaged or belongs to another network.
        """
        return _read(version)

    @property
    def channels(self) -> int:
        """Pooled features that a film must come with."""
        return len(self.mean)

    def __len__(self) -> int:
        """Films that are searched."""
        return len(self._training)

    def of(self, part: Part) -> NDArray[np.int64]:
        """Indices of the films of a part into ``files``, ``labels`` and ``subgroups``."""
        return np.flatnonzero(self._parts == PARTS.index(part))

    def nearest(self, pooled: NDArray[np.float32], k: int = NEAREST) -> tuple[Neighbour, ...]:
        """The ``k`` training films most like one film (fewer where there are fewer), nearest first.

        Args:
            pooled: float (c,), as `model.inference.Evidence.pooled` has it.

        Raises:
            ValueError: another number of channels.
        """
        distances, indices = self._search(self._placed(np.asarray(pooled)[None]), k)
        return tuple(
            Neighbour(self.files[index], int(self.labels[index]), self.subgroups[index], float(distance))
            for distance, index in zip(distances[0], indices[0], strict=True)
        )

    def distance(self, pooled: NDArray[np.float32]) -> FloatArray:
        """How far films lie from those trained on: the mean distance to the `NEAREST` nearest, float64 (n,).

        Args:
            pooled: float (n, c).

        Raises:
            ValueError: another number of channels.
        """
        return self._search(self._placed(pooled), NEAREST)[0].mean(axis=1)

    def distances(self, part: Literal["validation", "test"]) -> FloatArray:
        """:meth:`distance` of the films of a part, in the order of :meth:`of`; empty where the file holds none."""
        return self._search(self._coordinates[self.of(part)], NEAREST)[0].mean(axis=1)

    def place(self, pooled: NDArray[np.float32]) -> Coordinates:
        """Coordinates of films, float32 (n, d + 1): along the axes, and last how far a film lies off them.

        Raises:
            ValueError: another number of channels.
        """
        return self._placed(pooled)

    def places(self, part: Part) -> Coordinates:
        """:meth:`place` of the films of a part, in the order of :meth:`of`."""
        return self._coordinates[self.of(part)]

    def pneumonias(self, part: Literal["validation", "test"]) -> NDArray[np.int64]:
        """How many of the nearest `NEAREST` training films are pneumonia, int64, for the films of a part."""
        _, indices = self._search(self._coordinates[self.of(part)], NEAREST)
        return self.labels[indices].sum(axis=1)

    @cached_property
    def prevalence(self) -> float:
        """Share of pneumonia among the films that are searched: what chance alone would find."""
        return float(self.labels[self._training].mean())

    def _placed(self, pooled: NDArray[np.float32]) -> Coordinates:
        values = np.asarray(pooled, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] != self.channels:
            raise ValueError(
                f"expected pooled features of {self.channels} channels, got shape {values.shape}"
            )
        return _coordinates(values, self.mean, self.axes)

    def _search(self, wanted: Coordinates, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Distances (n, k) and indices (n, k) of the nearest training films."""
        k = min(k, len(self._training))
        distances = np.empty((len(wanted), k), dtype=np.float64)
        indices = np.empty((len(wanted), k), dtype=np.int64)
        for start in range(0, len(wanted), BLOCK):
            block = wanted[start : start + BLOCK]
            # The squared distance less the film's own square, which is the same for all it is compared with.
            compared = self._squares - 2 * block @ self._searched.T
            few = min(
                2 * k, len(self._training)
            )  # more than wanted: the difference below is exact, this is not
            candidates = np.argpartition(compared, few - 1, axis=1)[:, :few]
            exact = np.linalg.norm(
                self._searched[candidates].astype(np.float64) - block[:, None].astype(np.float64), axis=2
            )
            order = np.argsort(exact, axis=1, kind="stable")[:, :k]
            distances[start : start + BLOCK] = np.take_along_axis(exact, order, axis=1)
            indices[start : start + BLOCK] = self._training[np.take_along_axis(candidates, order, axis=1)]
        return distances, indices


def reduced(films: PooledFilms, *, axes: int = AXES) -> Reference:
    """A reference of films; the axes come from the training films alone.

    Raises:
        ValueError: there is no training film.
    """
    parts = np.array([PARTS.index(part) for part in films.parts], dtype=np.int64)
    training = films.pooled[parts == PARTS.index("training")].astype(np.float64)
    if not len(training):
        raise ValueError("There is no training film among these.")
    mean = training.mean(axis=0)
    # The covariance is small (c x c) however many films there are.
    values, vectors = np.linalg.eigh((training - mean).T @ (training - mean) / len(training))
    kept = vectors[:, np.argsort(values)[::-1][:axes]].astype(np.float32)
    mean32 = mean.astype(np.float32)
    return Reference(
        files=films.files,
        labels=films.labels.astype(np.int64),
        subgroups=films.subgroups,
        parts=parts,
        mean=mean32,
        axes=kept,
        coordinates=_coordinates(films.pooled.astype(np.float32), mean32, kept)
        .astype(np.float16)
        .astype(np.float32),
    )


def _coordinates(
    pooled: NDArray[np.float32], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> Coordinates:
    """Coordinates along the axes, and last the length of what lies off them: float32 (n, d + 1)."""
    centred = pooled - mean
    along = centred @ axes
    off = np.linalg.norm(centred - along @ axes.T, axis=1)
    return np.concatenate([along, off[:, None]], axis=1)


def write_features(file: Path, reference: Reference, *, sha256: str) -> None:
    """Write a reference beside ``file`` and rename it; ``sha256``: of the network that it belongs to.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            np.savez_compressed(
                stream,
                allow_pickle=False,
                format=np.array(FORMAT),
                sha256=np.array(sha256),
                files=np.array(reference.files, dtype=np.str_),
                labels=reference.labels.astype(np.int8),
                subgroups=np.array(reference.subgroups, dtype=np.str_),
                parts=reference._parts.astype(np.int8),
                mean=reference.mean,
                axes=reference.axes,
                coordinates=reference._coordinates.astype(np.float16),
            )
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _read(version: Version) -> Reference | None:
    file = version.folder / FEATURES_FILE
    if not file.is_file():
        return None
    damaged = VersionError(
        f"The features of version {version.name} are damaged: {file}; compute them again with "
        "'python -m model features'."
    )
    try:
        with np.load(file, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        sha256, known = str(values["sha256"]), int(values["format"]) == FORMAT
        reference = Reference(
            files=values["files"].tolist(),
            labels=values["labels"].astype(np.int64),
            subgroups=values["subgroups"].tolist(),
            parts=values["parts"].astype(np.int64),
            mean=values["mean"].astype(np.float32),
            axes=values["axes"].astype(np.float32),
            coordinates=values["coordinates"].astype(np.float32),
        )
        sound = known and _fits(reference)
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile):
        raise damaged from None
    if sha256 != version.card.sha256:
        raise VersionError(
            f"The features of version {version.name} were computed with another network; compute them again with "
            "'python -m model features'."
        )
    if not sound:
        raise damaged
    return reference


def _fits(reference: Reference) -> bool:
    films, width = len(reference.files), reference.axes.shape[1] + 1
    return (
        reference.labels.shape == (films,)
        and len(reference.subgroups) == films
        and reference._parts.shape == (films,)
        and reference.mean.shape == (reference.axes.shape[0],)
        and reference._coordinates.shape == (films, width)
        and len(reference) > 0
        and bool(np.isin(reference.labels, (0, 1)).all())
        and bool(np.isfinite(reference._coordinates).all() and np.isfinite(reference.axes).all())
    )
