"""The films that a version learnt from, as its network sees them: which of them a new film is most like, and how far
from all of them it is.

What the network sees of a film is its last feature map, averaged over height and width (*pooled*, one number a
channel). ``features.npz``, beside the version's model, holds it for every film that the version was trained,
validated and tested on, in fewer numbers: coordinates along the principal axes of the training films, each in units of
their spread along it, and last how far a film lies off all these axes, in units of its own. Only training films are
ever searched; those of validation and test are there so that all that is said about a search can be measured again
without a single image.

The distance of two films is the Euclidean one of these coordinates. In the pooled features as they come, how ill a film
looks is nearly all that differs; in units of spread the films nearest are alike in other respects too. Chosen on
validation films (docs/model-card.md).

From `INDEX_FROM` films on an index of `usearch` is searched, where that is installed and the command wrote one; what it
finds is measured and put in order exactly.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.registry import FEATURES_FILE, Version, VersionError

INDEX_FILE = "features.usearch"
INDEX_FROM = 200_000
"""Training films from which an index is worth its file: below it, comparing with all of them is quick enough."""
CANDIDATES = 512
"""Films that the index is asked for, of which the nearest are then found exactly; more are slower and miss fewer."""
FORMAT = 1
NEAREST = 10
"""Films that a share of pneumonia, or a distance, is taken over."""
AXES = 96
"""Principal axes kept, where there are so many."""
LEAST_SPREAD = 1e-9
"""Variance along an axis, as a share of all variance, below which nothing is left but rounding."""
FARTHEST = 6e4
"""Largest coordinate, in units of spread; float16 ends at 65,504."""
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


@dataclass(frozen=True)
class Frame:
    """From pooled features (c,) to coordinates (d + 1,): ``mean`` (c,), ``axes`` (c, d) of length 1, ``spread``
    (d + 1,) along each and off them, all float32."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: NDArray[np.float32]

    def place(self, pooled: NDArray[np.float32]) -> Coordinates:
        """Coordinates float32 (n, d + 1) of pooled features float32 (n, c)."""
        centred = pooled - self.mean
        along = centred @ self.axes
        off = np.linalg.norm(centred - along @ self.axes.T, axis=1)
        # What float16 cannot hold is far from everything.
        return np.clip(np.concatenate([along, off[:, None]], axis=1) / self.spread, -FARTHEST, FARTHEST)


class Reference:
    """The training films of a version, to be searched. Immutable; may be shared by all threads."""

    def __init__(
        self,
        *,
        files: Sequence[str],
        labels: NDArray[np.int64],
        subgroups: Sequence[str],
        parts: NDArray[np.int64],
        frame: Frame,
        coordinates: Coordinates,
        index: Any = None,
    ) -> None:
        """Use :meth:`load` or :func:`reduced`. ``parts``: positions in `PARTS`; ``coordinates`` (n, d + 1)."""
        self.files = tuple(files)
        self.labels = labels
        self.subgroups = tuple(subgroups)
        self._frame = frame
        self._parts = parts
        self._coordinates = coordinates
        self._training = np.flatnonzero(parts == PARTS.index("training"))
        self._searched = np.ascontiguousarray(coordinates[self._training])
        self._squares = np.einsum("nd,nd->n", self._searched, self._searched)
        self._index = index

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
        return len(self._frame.mean)

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
        return self._frame.place(values)

    def _search(self, wanted: Coordinates, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Distances (n, k) and indices (n, k) of the nearest training films."""
        k = min(k, len(self._training))
        distances = np.empty((len(wanted), k), dtype=np.float64)
        indices = np.empty((len(wanted), k), dtype=np.int64)
        for start in range(0, len(wanted), BLOCK):
            block = wanted[start : start + BLOCK]
            candidates = self._candidates(block, min(2 * k, len(self._training)))
            exact = np.linalg.norm(
                self._searched[candidates].astype(np.float64) - block[:, None].astype(np.float64), axis=2
            )
            order = np.argsort(exact, axis=1, kind="stable")[:, :k]
            distances[start : start + BLOCK] = np.take_along_axis(exact, order, axis=1)
            indices[start : start + BLOCK] = self._training[np.take_along_axis(candidates, order, axis=1)]
        return distances, indices

    def _candidates(self, block: Coordinates, few: int) -> NDArray[np.int64]:
        """Positions (n, few) of near films, in no order: more than wanted, because rounding or the index may err."""
        if self._index is not None:
            few = min(max(CANDIDATES, few), len(self._training))
            return np.asarray(self._index.search(block, few).keys, dtype=np.int64).reshape(len(block), few)
        # The squared distance less the film's own square, which is the same for all it is compared with.
        compared = self._squares - 2 * block @ self._searched.T
        return np.argpartition(compared, few - 1, axis=1)[:, :few]


def reduced(films: PooledFilms, *, axes: int = AXES) -> Reference:
    """A reference of films; the axes come from the training films alone.

    Raises:
        ValueError: there is no training film.
    """
    parts = np.array([PARTS.index(part) for part in films.parts], dtype=np.int64)
    training = films.pooled[parts == PARTS.index("training")].astype(np.float64)
    if not len(training):
        raise ValueError("There is no training film among these.")
    frame = _frame_of(training, axes)
    coordinates = frame.place(films.pooled.astype(np.float32))
    return Reference(
        files=films.files,
        labels=films.labels.astype(np.int64),
        subgroups=films.subgroups,
        parts=parts,
        frame=frame,
        coordinates=coordinates.astype(np.float16).astype(np.float32),  # as the file will hold them
    )


def _frame_of(training: FloatArray, axes: int) -> Frame:
    """The principal axes of pooled features (n, c), at most ``axes``."""
    mean = training.mean(axis=0)
    # The covariance is small (c x c) however many films there are.
    variances, vectors = np.linalg.eigh((training - mean).T @ (training - mean) / len(training))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    least = max(LEAST_SPREAD * float(variances.clip(0).sum()), float(np.finfo(np.float32).tiny))
    kept = min(axes, max(int((variances > least).sum()), 1))
    # Off the axes, all that is left counts together, in units of its spread along one of the axes given up.
    off = max(float(variances[kept:].mean()), least) if kept < len(variances) else least
    return Frame(
        mean=mean.astype(np.float32),
        axes=vectors[:, :kept].astype(np.float32),
        spread=np.sqrt(np.append(variances[:kept].clip(least), off)).astype(np.float32),
    )


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
                mean=reference._frame.mean,
                axes=reference._frame.axes,
                spread=reference._frame.spread,
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
            frame=Frame(*(np.asarray(values[name], dtype=np.float32) for name in ("mean", "axes", "spread"))),
            coordinates=values["coordinates"].astype(np.float32),
        )
        sound = known and _fits(reference)
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile, zlib.error):
        raise damaged from None
    if sha256 != version.card.sha256:
        raise VersionError(
            f"The features of version {version.name} were computed with another network; compute them again with "
            "'python -m model features'."
        )
    if not sound:
        raise damaged
    reference._index = _index_of(version.folder / INDEX_FILE, reference._searched)
    return reference


def write_index(file: Path, reference: Reference, *, least: int = INDEX_FROM) -> bool:
    """Write an index of the films that are searched, where there are ``least`` of them and usearch is installed.

    An index that is there goes: it is of other films. Returns whether there is one now.

    Raises:
        OSError: it cannot be written.
    """
    file.unlink(missing_ok=True)
    if len(reference) < least:
        return False
    try:
        from usearch.index import Index
    except ImportError:
        return False
    searched = reference._searched
    index = Index(ndim=searched.shape[1], metric="l2sq", dtype="f32")
    index.add(np.arange(len(searched), dtype=np.uint64), searched)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        index.save(str(unfinished))
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _index_of(file: Path, searched: Coordinates) -> Any:
    """The index in a file; None where there is none, none can be read, or it is of other films."""
    if not file.is_file():
        return None
    try:
        from usearch.index import Index

        index = Index.restore(str(file), view=True)  # mapped, not read: it may be large
        if index is None or len(index) != len(searched) or index.ndim != searched.shape[1]:
            return None
        last = len(searched) - 1
        kept: Any = index.get(np.array([0, last], dtype=np.uint64))
        if not np.array_equal(kept, searched[[0, last]]):
            return None
    except (ImportError, OSError, RuntimeError, ValueError, TypeError):
        return None
    return index


def _fits(reference: Reference) -> bool:
    films, frame = len(reference.files), reference._frame
    channels, axes = frame.axes.shape
    numbers = (reference._coordinates, frame.mean, frame.axes, frame.spread)
    return (
        reference.labels.shape == (films,)
        and len(reference.subgroups) == films
        and reference._parts.shape == (films,)
        and frame.mean.shape == (channels,)
        and frame.spread.shape == (axes + 1,)
        and reference._coordinates.shape == (films, axes + 1)
        and len(reference) > 0
        and bool(np.isin(reference.labels, (0, 1)).all())
        and all(bool(np.isfinite(each).all()) for each in numbers)
        and bool((frame.spread > 0).all())
    )
