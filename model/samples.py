"""Synthetic chest films: something to try the tool with, and test fixtures, without anybody's X-ray.

A sample is the mean film of a class plus a random mixture of the class's principal components. The coefficients are
drawn from a normal distribution with the spread of the training films, never taken from a film, so that the result is
no person's X-ray; how near it comes to one is measured by :func:`make_samples` and told in its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from model.dataset import CLASSES, DatasetError, Film, read_dataset
from model.films import ImageError, prepare, read_xray

SAMPLES = Path(__file__).parent / "samples"
MINIMUM_FILMS = 10
_OUTPUT_SIZES = ((224, 224), (336, 288), (384, 320))  # width, height: as shapes of real films vary


@dataclass(frozen=True)
class Sample:
    """One film made, and how near it comes to a real one.

    Attributes:
        file: the PNG written.
        label: "NORMAL" or "PNEUMONIA", the class it was made from; no professional has read it.
        nearest: the largest Pearson correlation with a training film of its class, over 64 x 64 pixels and after the
            mean film of the class is taken off both.
        typical: the median of the same figure for a real film and its nearest other film.
    """

    file: Path
    label: str
    nearest: float
    typical: float

    def __str__(self) -> str:
        return (
            f"{self.file}: correlation with the nearest training film {self.nearest:.3f} "
            f"(a real film with its nearest other film: {self.typical:.3f})"
        )


def sample_files() -> tuple[Path, ...]:
    """The synthetic films that come with the project, in the order of their names; empty where they are missing."""
    return tuple(sorted(SAMPLES.glob("synthetic-*.png")))


def make_samples(
    data_folder: Path,
    destination: Path,
    *,
    per_class: int = 3,
    components: int = 200,
    films_per_class: int = 700,
    spread: float = 0.8,
    seed: int = 20261121,
) -> tuple[Sample, ...]:
    """Make synthetic films from the training films of a data set and write them as PNG.

    Args:
        data_folder: a data set as :func:`model.dataset.read_dataset` takes it; only its training films are used.
        destination: folder for ``synthetic-normal-1.png`` and so on; made where it is missing.
        per_class: films to make of each class.
        components: principal components to mix, at most.
        films_per_class: films drawn at random from each class to find the components.
        spread: factor on the natural spread of the coefficients; below 1 keeps the films near the ordinary.
        seed: of the draw of films and of coefficients.

    Returns:
        What was made, with its distance from real films.

    Raises:
        DatasetError: where ``data_folder`` is no data set or has too few readable training films.
    """
    random = np.random.default_rng(seed)
    dataset = read_dataset(data_folder)
    films = dataset.split("train") or dataset.films
    destination.mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    for label, name in enumerate(CLASSES):
        chosen = [film for film in films if film.label == label]
        picked = random.choice(len(chosen), min(films_per_class, len(chosen)), replace=False)
        real = _read([chosen[index] for index in sorted(picked)])
        made = _mix(real, per_class, components, spread, random)
        nearest, typical = _nearness(made, real)
        for number, film in enumerate(made, start=1):
            path = destination / f"synthetic-{name.lower()}-{number}.png"
            _save(film, path, size=_OUTPUT_SIZES[(number - 1) % len(_OUTPUT_SIZES)])
            samples.append(Sample(path, name, float(nearest[number - 1]), typical))
    return tuple(samples)


def _read(films: list[Film]) -> NDArray[np.float32]:
    """Films as the network sees them: float32 (n, 224, 224), 0 to 255; those that cannot be read are left out."""
    readable: list[NDArray[np.uint8]] = []
    for film in films:
        try:
            readable.append(prepare(read_xray(film.path.read_bytes()).pixels)[:, :, 0])
        except ImageError:
            continue  # the data report names it; for an average one film more or less is nothing
    if len(readable) < MINIMUM_FILMS:
        raise DatasetError(
            f"Only {len(readable)} training films of a class can be read: "
            f"synthetic films need at least {MINIMUM_FILMS} of each."
        )
    return np.stack(readable).astype(np.float32)


def _mix(
    films: NDArray[np.float32], count: int, components: int, spread: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Mean film plus random components: uint8 (count, height, width)."""
    from sklearn.decomposition import PCA  # half a second to import, and only needed here

    _, height, width = films.shape
    analysis = PCA(min(components, len(films) - 1), svd_solver="randomized", random_state=0)
    analysis.fit(films.reshape(len(films), -1))
    deviations = np.sqrt(analysis.explained_variance_)
    coefficients = random.standard_normal((count, len(deviations))) * deviations * spread
    mixed = analysis.inverse_transform(coefficients.astype(np.float32))
    mixed_films: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return mixed_films.reshape(count, height, width)


def _save(film: NDArray[np.uint8], path: Path, *, size: tuple[int, int]) -> None:
    """Write a PNG that says in its text, not in its pixels, where a mark could sway a network, that it is synthetic."""
    mark = PngInfo()
    mark.add_text("Description", "SYNTHETIC chest film made from averages of many films; it shows no person.")
    image = Image.fromarray(film).resize(size, Image.Resampling.BICUBIC)
    image.save(path, "PNG", optimize=True, pnginfo=mark)


def _nearness(made: NDArray[np.uint8], real: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Largest correlation of each film made with a real one, and the median of the same among the real films.

    Over 64 x 64 pixels and after the mean film is taken off: what all chests share would hide what is one person's.
    """
    small_made, small_real = _reduced(made), _reduced(real)
    mean = small_real.mean(axis=0)
    rows_made, rows_real = _standardised(small_made - mean), _standardised(small_real - mean)
    among_real = rows_real @ rows_real.T
    np.fill_diagonal(among_real, -1)
    nearest: NDArray[np.float32] = (rows_made @ rows_real.T).max(axis=1)
    return nearest, float(np.median(among_real.max(axis=1)))


def _reduced(films: NDArray[np.generic]) -> NDArray[np.float32]:
    small = [
        np.asarray(Image.fromarray(film).resize((64, 64), Image.Resampling.BOX)).ravel()
        for film in films.astype(np.uint8)
    ]
    return np.stack(small).astype(np.float32)


def _standardised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1: the product of two rows is their Pearson correlation."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    standardised: NDArray[np.float32] = rows / lengths
    return standardised
