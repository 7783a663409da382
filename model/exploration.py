"""What a set of films looks like: one pass over it, and what a class has that the other has not.

One pass opens every film once and keeps little of it: its size, how it is stored, brightness, contrast, black border, a
picture of 64 x 64 pixels, and what :mod:`model.datacheck` needs. Everything else is computed from that. No file is ever
changed: the augmentation preview works on a film in memory, in a process of its own, because it runs TensorFlow,
which the serving process never loads.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.augmentation import RECIPES
from model.datacheck import DataReport, Look, look_at, report_on
from model.dataset import CLASSES, Dataset, DatasetError
from model.evaluation import Interval, auc
from model.films import XRay

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Pictures = NDArray[np.uint8]

SIDE = 64
"""Height and width, in pixels, of the small picture kept of each film."""
PICTURES = 4_000
"""At most so many small pictures are kept of each class and split (16 KiB for four, 16 MB for all); the others are
left out at random."""
BLACK = 16
"""Grey levels up to this one, of 255, count as black: JPEG does not keep 0."""
_BLACK_SHARE = 0.98  # of a row or column; letters and scratches stand in borders too
EIGEN_FILMS = 2_000
"""Eigen-images are made from at most so many films of a class, drawn at random."""
VARIANCE = 0.70
COMPONENTS = 64
_BATCH = 500
_PREVIEW_SIDE = 112  # half the network's input, whose first layer takes 2 x 2 means
_PREVIEW_SECONDS = 180


class ExplorationCancelled(Exception):  # noqa: N818
    """The pass was stopped because somebody asked for it."""


class PreviewError(RuntimeError):
    """The augmentation preview could not be made; the message is one sentence."""


@dataclass(frozen=True)
class _Facts:
    """What is kept of one readable film, beside its :class:`model.datacheck.Look`."""

    mode: str
    border: float
    brightness: float
    contrast: float
    histogram: FloatArray


@dataclass(frozen=True)
class Group:
    """The readable films of one split and class.

    Attributes:
        count: films.
        histogram: float64 (256,), mean share of each grey level; every film weighs the same. Zeros without films.
        pictures: uint8 (k, 64, 64), k at most :data:`PICTURES`.
        order: int64 (k,), the draw's random order, the same for all groups: the films with the smallest numbers of
            several groups are a fair draw from them together.
    """

    count: int
    histogram: FloatArray
    pictures: Pictures
    order: IntArray


@dataclass(frozen=True)
class Exploration:
    """What one pass found. Arrays have one entry a readable film, in the order of ``dataset.films``.

    Attributes:
        dataset: the films.
        report: what is wrong with them.
        position: int64 (n,), place in ``dataset.films``.
        labels: int64 (n,).
        width, height: int64 (n,), pixels as stored.
        colour: bool (n,), stored as anything but grey.
        border: float64 (n,), share of the film's area in black bars along its edges, 0 to 1.
        brightness: float64 (n,), mean grey level, 0 to 255.
        contrast: float64 (n,), 95th less 5th percentile of the grey levels, 0 to 255.
        groups: by split and label.
    """

    dataset: Dataset
    report: DataReport
    position: IntArray
    labels: IntArray
    width: IntArray
    height: IntArray
    colour: NDArray[np.bool_]
    border: FloatArray
    brightness: FloatArray
    contrast: FloatArray
    groups: Mapping[tuple[str, int], Group]

    def within(self, split: str | None) -> NDArray[np.bool_]:
        """Which of the readable films lie in ``split``; all of them for None. Bool (n,)."""
        films = self.dataset.films
        return np.array([split is None or films[place].split == split for place in self.position], dtype=bool)

    def count(self, label: int, split: str | None) -> int:
        """Readable films of a class."""
        return sum(group.count for group in self._groups(label, split))

    def pictures(self, label: int, split: str | None, *, most: int = PICTURES) -> Pictures:
        """Small pictures of a class, uint8 (k, 64, 64): a random draw where there are more than ``most``."""
        groups = self._groups(label, split)
        if not groups:
            return np.zeros((0, SIDE, SIDE), dtype=np.uint8)
        order = np.concatenate([group.order for group in groups])
        chosen = np.argsort(order)[:most]
        return np.concatenate([group.pictures for group in groups])[chosen]

    def histogram(self, label: int, split: str | None) -> FloatArray:
        """Mean share of each grey level among the films of a class, float64 (256,); zeros without films."""
        groups = self._groups(label, split)
        total = sum(group.count for group in groups)
        histogram = np.zeros(256)
        for group in groups:
            histogram += group.histogram * group.count / max(total, 1)
        return histogram

    def _groups(self, label: int, split: str | None) -> list[Group]:
        return [
            group for (its_split, its_label), group in self.groups.items()
            if its_label == label and split in (None, its_split)
        ]  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """The films of one split, or of all, as listed: readable or not.

    Attributes:
        split: its name; "all" for the whole set.
        normal, pneumonia: films.
        patients: by their keys; a film without a number counts as a patient of its own.
        without_number: films whose names carry no patient number.
        subgroups: films of each, sorted by name.
    """

    split: str
    normal: int
    pneumonia: int
    patients: int
    without_number: int
    subgroups: Mapping[str, int]

    @property
    def films(self) -> int:
        return self.normal + self.pneumonia


def counts(dataset: Dataset) -> tuple[Counts, ...]:
    """Films, patients and subgroups of each split, then of all where there are several; nothing is opened."""
    named = [(split, dataset.split(split)) for split in dataset.splits]
    if len(named) > 1:
        named.append(("all", dataset.films))
    return tuple(
        Counts(
            split=split,
            normal=sum(film.label == 0 for film in films),
            pneumonia=sum(film.label == 1 for film in films),
            patients=len({film.patient for film in films}),
            without_number=sum(not film.series for film in films),
            subgroups=dict(sorted(Counter(film.subgroup for film in films).items())),
        )
        for split, films in named
    )


def stamp(dataset: Dataset) -> str:
    """SHA-256 over every film's relative path, size and time of change; no content is read.

    Two listings with one stamp are the same set, as far as the file system tells. A file that is gone counts as such.
    """
    digest = hashlib.sha256(str(dataset.root).encode())
    for film in dataset.films:
        try:
            status = film.path.stat()
            told = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            told = "gone"
        digest.update(f"{film.path.relative_to(dataset.root).as_posix()} {told}\n".encode())
    return digest.hexdigest()


def explore(
    dataset: Dataset,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    workers: int | None = None,
    pictures: int = PICTURES,
) -> Exploration:
    """Open every film once and keep what the Data screen tells.

    Args:
        dataset: the films; a class may be missing.
        progress: called with (films done, films in all) after each film. After the last one the films are compared
            with each other, which for thousands takes a few seconds.
        cancelled: asked after each film.
        workers: threads; None: one a processor.
        pictures: small pictures kept of each split and class, at most.

    Returns:
        What was found. An unreadable file is part of it, not an error.

    Raises:
        ExplorationCancelled: where ``cancelled`` said so.
        DatasetError: no film could be read at all.
    """
    films = dataset.films
    looks: list[Look] = []
    position: list[int] = []
    facts: list[_Facts] = []
    # Where it is stopped, the films already handed to the threads are dropped at once.
    with closing(look_at(films, also=_facts, workers=workers)) as looking:
        for place, (look, found) in enumerate(looking):
            looks.append(look)
            if found is not None:
                position.append(place)
                facts.append(found)
            if cancelled is not None and cancelled():
                raise ExplorationCancelled
            if progress is not None:
                progress(place + 1, len(films))
    if not facts:
        raise DatasetError(
            f"None of the {len(films):,} files in {dataset.root} could be read as a film. {looks[0].message}"
        )
    order = np.random.default_rng(0).permutation(len(films))
    sizes = np.array([looks[place].size for place in position], dtype=np.int64)
    return Exploration(
        dataset=dataset,
        report=report_on(dataset, looks),
        position=np.array(position, dtype=np.int64),
        labels=np.array([films[place].label for place in position], dtype=np.int64),
        width=sizes[:, 0],
        height=sizes[:, 1],
        colour=np.array([each.mode != "grey" for each in facts], dtype=bool),
        border=np.array([each.border for each in facts]),
        brightness=np.array([each.brightness for each in facts]),
        contrast=np.array([each.contrast for each in facts]),
        groups={
            (split, label): _group(dataset, split, label, position, looks, facts, order, pictures)
            for split in dataset.splits
            for label in range(len(CLASSES))
        },
    )


def _group(
    dataset: Dataset,
    split: str,
    label: int,
    position: list[int],
    looks: list[Look],
    facts: list[_Facts],
    order: IntArray,
    most: int,
) -> Group:
    films = dataset.films
    members = [
        index for index, place in enumerate(position)
        if films[place].split == split and films[place].label == label
    ]  # fmt: skip
    drawn = sorted(members, key=lambda index: order[position[index]])[:most]
    pictures = np.zeros((len(drawn), SIDE, SIDE), dtype=np.uint8)
    for row, index in enumerate(drawn):
        thumbnail = looks[position[index]].thumbnail
        assert thumbnail is not None  # only readable films have facts
        pictures[row] = thumbnail
    histogram = np.zeros(256)
    for index in members:
        histogram += facts[index].histogram / len(members)
    numbers = np.array([order[position[index]] for index in drawn], dtype=np.int64)
    return Group(len(members), histogram, pictures, numbers)


def _facts(xray: XRay) -> _Facts:
    histogram = np.bincount(xray.pixels.ravel(), minlength=256) / xray.pixels.size
    low, high = np.searchsorted(np.cumsum(histogram), (0.05, 0.95))
    return _Facts(
        mode=xray.source.photometric,
        border=black_border(xray.pixels),
        brightness=float(histogram @ np.arange(256)),
        contrast=float(high - low),
        histogram=histogram,
    )


def black_border(pixels: NDArray[np.uint8]) -> float:
    """Share of the film's area in black bars along its edges: 0 without any, 1 for a black film.

    ``pixels``: uint8 (height, width). A row or column belongs to a bar where 98 % of it is black (at most 16 of 255)
    and so is everything between it and the edge.
    """
    dark = pixels <= BLACK
    inside = 1.0
    for axis in (0, 1):
        free = np.flatnonzero(dark.mean(axis=axis) < _BLACK_SHARE)
        inside *= (free[-1] - free[0] + 1) / dark.shape[1 - axis] if free.size else 0.0
    return 1.0 - inside


# --- what a network could cheat with ----------------------------------------------------------------

Key = Literal["width", "height", "aspect", "colour", "border", "brightness", "contrast"]


@dataclass(frozen=True)
class Cue:
    """How well one figure alone, that is no sign of disease, tells the classes apart.

    Attributes:
        key: which.
        name: as on screen.
        auc: area under the ROC, at least 0.5; None where it cannot be computed.
        interval: its 95 % interval (DeLong); None with the area.
        higher: the class in which the figure is larger; "" without an area.
        unavailable: why there is no area, one sentence; "" where there is one.
        meaning: what the figure is, one sentence.
        network: what the network gets to see of it, one sentence.
    """

    key: Key
    name: str
    auc: float | None
    interval: Interval | None
    higher: str
    unavailable: str
    meaning: str
    network: str

    @property
    def verdict(self) -> str:
        """The area in words, one sentence."""
        if self.auc is None or self.interval is None:
            return self.unavailable
        if self.interval.low <= 0.5:
            return "No sign that it differs between the classes."
        strengths = (
            (0.6, "Hardly tells the classes apart"),
            (0.7, "Tells the classes apart a little"),
            (0.85, "Clearly tells the classes apart"),
            (0.95, "Tells the classes apart well"),
            (np.inf, "All but gives the class away"),
        )
        words = next(words for limit, words in strengths if self.auc < limit)
        return f"{words}: higher in {self.higher}."


_CUES: tuple[tuple[Key, str, str, str], ...] = (
    (
        "width", "Width", "Pixels a row, as stored.",
        "Not seen as a number, as every film is stretched to one square; but a larger film comes out smoother.",
    ),
    (
        "height", "Height", "Rows of pixels, as stored.",
        "Not seen as a number, as every film is stretched to one square; but a larger film comes out smoother.",
    ),
    (
        "aspect", "Width to height", "Ratio of width to height.",
        "Not seen as a number, as every film is stretched to one square; but the chest on it is stretched too.",
    ),
    (
        "colour", "Colour mode", "Whether the file stores colour (RGB, YCbCr, palette) or grey.",
        "Never seen: every film is turned to grey when it is read.",
    ),
    (
        "border", "Black border", "Share of the area in black bars along the edges.",
        "Seen: the bars are part of the picture.",
    ),
    (
        "brightness", "Brightness", "Mean grey level.",
        "Never seen as such: the first layers bring each film to mean 0. Where it is bright within the film is seen.",
    ),
    (
        "contrast", "Contrast", "95th less 5th percentile of the grey levels.",
        "Never seen as such: the first layers bring each film to variance 1. Local contrast is seen.",
    ),
)  # fmt: skip


def cues(exploration: Exploration, split: str | None) -> tuple[Cue, ...]:
    """Each figure's area under the ROC alone, over the readable films of ``split`` (None: all films)."""
    chosen = exploration.within(split)
    labels = exploration.labels[chosen]
    values: dict[Key, FloatArray] = {
        "width": exploration.width[chosen].astype(np.float64),
        "height": exploration.height[chosen].astype(np.float64),
        "aspect": exploration.width[chosen] / exploration.height[chosen],
        "colour": exploration.colour[chosen].astype(np.float64),
        "border": exploration.border[chosen],
        "brightness": exploration.brightness[chosen],
        "contrast": exploration.contrast[chosen],
    }
    return tuple(
        _cue(key, name, meaning, network, values[key], labels) for key, name, meaning, network in _CUES
    )


def _cue(key: Key, name: str, meaning: str, network: str, values: FloatArray, labels: IntArray) -> Cue:
    def without(reason: str) -> Cue:
        return Cue(key, name, None, None, "", reason, meaning, network)

    if values.size == 0:
        return without("There is no film that could be read.")
    if labels.min() == labels.max():
        return without(f"There are only films of {CLASSES[int(labels[0])]}.")
    if values.min() == values.max():
        return without("It is the same in all films and tells nothing.")
    area, interval, higher = alone(values, labels)
    return Cue(key, name, area, interval, higher, "", meaning, network)


def alone(values: FloatArray, labels: IntArray) -> tuple[float, Interval, str]:
    """Area under the ROC of one figure, taken in the direction that makes it at least 0.5.

    ``values``: float64 (n,), any range; ``labels``: int64 (n,) of both classes. Returns the area, its 95 % interval
    and the class in which the figure is larger.
    """
    _, ranks = np.unique(values, return_inverse=True)
    scores = ranks / max(int(ranks.max()), 1)
    higher = CLASSES[1]
    found = auc(labels, scores)
    if found is not None and found[0] < 0.5:
        higher = CLASSES[0]
        found = auc(labels, 1 - scores)
    if found is None:
        raise ValueError("An area under the ROC needs films of both classes.")
    return found[0], found[1], higher


# --- pictures of a class ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Average:
    """The mean film of a class, and its profiles.

    Attributes:
        films: averaged.
        picture: float64 (64, 64).
        rows: float64 (3, 64), for each row from the top its mean over the films, and the 10th and 90th percentile.
        columns: the same from the left edge of the picture to the right.
    """

    films: int
    picture: FloatArray
    rows: FloatArray
    columns: FloatArray


def average(pictures: Pictures, *, standardise: bool = False) -> Average:
    """Average small pictures, uint8 (n, 64, 64), n >= 1.

    In grey levels, or with ``standardise`` in standard deviations, each film brought to mean 0 and variance 1 as the
    network does. ValueError without films.
    """
    if len(pictures) == 0:
        raise ValueError("There is no film to average.")
    films = pictures.astype(np.float32)
    if standardise:
        films -= films.mean(axis=(1, 2), keepdims=True)
        films /= np.maximum(films.std(axis=(1, 2), keepdims=True), 1e-6)
    rows, columns = (_profile(films.mean(axis=axis)) for axis in (2, 1))
    return Average(len(films), films.mean(axis=0, dtype=np.float64), rows, columns)


def _profile(lines: NDArray[np.float32]) -> FloatArray:
    low, high = np.percentile(lines, (10, 90), axis=0)
    return np.stack([lines.mean(axis=0, dtype=np.float64), low, high]).astype(np.float64)


@dataclass(frozen=True)
class EigenImages:
    """The principal components of a class.

    Attributes:
        films: analysed.
        mean: float64 (64, 64), grey levels.
        images: float64 (k, 64, 64), each of length 1, the most telling first.
        shares: float64 (k,), share of the variance that each explains.
        target: share of the variance asked for.
        needed: components that reach it together; None where the k computed do not.
    """

    films: int
    mean: FloatArray
    images: FloatArray
    shares: FloatArray
    target: float
    needed: int | None


def eigen_images(
    pictures: Pictures, *, target: float = VARIANCE, components: int = COMPONENTS
) -> EigenImages:
    """Principal components of small pictures, uint8 (n, 64, 64), in batches (scikit-learn's IncrementalPCA).

    Source of the method: Ross et al. (2008), Int J Comput Vis 77:125-141. ``components``: at most so many are kept,
    which with the batches bounds memory at about 20 MB. ValueError for fewer than two films, or films all equal.
    """
    from sklearn.decomposition import IncrementalPCA  # half a second to import, and only needed here
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    if len(pictures) < 2:
        raise ValueError("Eigen-images need at least two films of the class.")
    if (pictures == pictures[0]).all():
        raise ValueError("All films of the class are equal: there is nothing to explain.")
    rows = pictures.reshape(len(pictures), -1)
    # Equal parts: none may hold fewer films than there are components.
    parts = np.array_split(rows, max(1, len(rows) // _BATCH))
    analysis = IncrementalPCA(n_components=min(components, len(parts[-1]) - (len(parts) == 1), rows.shape[1]))
    # On one processor it takes two seconds; on all of them it would hold up the films that are being diagnosed.
    with threadpool_limits(limits=1):
        for part in parts:
            analysis.partial_fit(part.astype(np.float32))
    shares = np.asarray(analysis.explained_variance_ratio_, dtype=np.float64)
    images = np.asarray(analysis.components_, dtype=np.float64)
    # A component's sign means nothing: brighter on the whole, so that two runs look the same.
    images *= np.where(images.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    reached = np.flatnonzero(np.cumsum(shares) >= target - 1e-9)
    side = pictures.shape[1]
    return EigenImages(
        films=len(pictures),
        mean=np.asarray(analysis.mean_, dtype=np.float64).reshape(side, side),
        images=images.reshape(-1, side, side),
        shares=shares,
        target=target,
        needed=int(reached[0]) + 1 if reached.size else None,
    )


# --- augmentation preview ---------------------------------------------------------------------------

_one_preview_at_a_time = threading.Lock()


def preview(film: NDArray[np.uint8], *, draws: int = 12, seed: int = 0) -> dict[str, Pictures]:
    """Many draws of every recipe of :data:`model.augmentation.RECIPES` from one film.

    Runs in a process of its own, so that TensorFlow (about 600 MB) goes away with it; nothing is written to disk.

    Args:
        film: uint8 (224, 224), as :func:`model.films.prepare` makes it (one channel).
        draws: of each recipe.
        seed: equal seeds give equal draws.

    Returns:
        For each recipe's name uint8 (draws, 112, 112), the size that the released network's convolutions see.

    Raises:
        PreviewError: TensorFlow is missing, failed or took too long.
        ValueError: ``film`` is not of that shape and type.
    """
    if film.shape != (2 * _PREVIEW_SIDE, 2 * _PREVIEW_SIDE) or film.dtype != np.uint8:
        raise ValueError(f"Expected uint8 (224, 224), got {film.dtype} {film.shape}.")
    sent = io.BytesIO()
    np.save(sent, film, allow_pickle=False)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "model.exploration", str(draws), str(seed)]
    try:
        with _one_preview_at_a_time:  # two at once would take twice the memory for no gain
            done = subprocess.run(
                command,
                input=sent.getvalue(),
                capture_output=True,
                cwd=Path(__file__).resolve().parents[1],
                env=environment,
                timeout=_PREVIEW_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise PreviewError(
            f"The draws took longer than {_PREVIEW_SECONDS} seconds: try again later."
        ) from error
    except OSError as error:
        raise PreviewError(f"The process for the draws could not be started ({error.strerror}).") from error
    if done.returncode != 0:
        raise PreviewError("The draws could not be made: TensorFlow is missing or failed in its own process.")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in RECIPES}


def _draw(film: NDArray[np.uint8], draws: int, seed: int) -> dict[str, Pictures]:
    import tensorflow as tf

    from model.augmentation import augment

    tf.random.set_seed(seed)
    image = tf.constant(film[np.newaxis, :, :, np.newaxis])
    drawn: dict[str, Pictures] = {}
    for name, recipe in RECIPES.items():
        # One by one: a few changes are drawn once a batch, and every draw here is to differ in them too.
        films = [augment(image, side=_PREVIEW_SIDE, recipe=recipe).numpy()[0, :, :, 0] for _ in range(draws)]
        drawn[name] = np.clip(np.rint(np.stack(films)), 0, 255).astype(np.uint8)
    return drawn


def main(arguments: list[str]) -> int:
    """The preview's own process: a film comes in by standard input, the draws go out by standard output."""
    draws, seed = map(int, arguments)
    target, sys.stdout = sys.stdout.buffer, sys.stderr  # a library's greeting must not get between the bytes
    film = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    sent = io.BytesIO()
    np.savez(sent, allow_pickle=False, **_draw(film, draws, seed))
    target.write(sent.getvalue())
    target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
