"""The smoke test of a version: what must hold before it may read anybody's film.

A version goes into use only where its network loads, takes and gives the shapes its card says, gives finite numbers,
and gives the probabilities that were written down when it was made, on the synthetic films that come with the project.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.films import prepare, read_xray
from model.inference import BF16_LOGIT_TOLERANCE, InferenceError, Prediction, Predictor
from model.network_file import NetworkFileError, check_network_file, input_shape
from model.registry import Card, Version, VersionError
from model.samples import sample_files

F32_TOLERANCE = 1e-3
"""Largest difference of a probability, in float32, from the one written down: other processors and releases of the
libraries add in another order. Decisions at any threshold differ by no more than that."""


def sample_images(size: int | tuple[int, int] = 224) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """The synthetic films as a network sees them.

    Args:
        size: side, or (height, width), of the network's input in pixels.

    Returns:
        Their file names, and uint8 (n, height, width, 3), 0 to 255, in the same order; n is 0 where they are missing.
    """
    height, width = (size, size) if isinstance(size, int) else size
    files = sample_files()
    images = [prepare(read_xray(file.read_bytes()).pixels, size=(height, width)) for file in files]
    stacked = np.stack(images) if images else np.empty((0, height, width, 3), np.uint8)
    return tuple(file.name for file in files), stacked


def sample_probabilities(version: Version, *, cache: Path) -> dict[str, float]:
    """What `Card.samples` holds: calibrated probabilities of the synthetic films, by plain Keras in float32.

    Raises:
        InferenceError: the network cannot be run.
    """
    names, images = sample_images(version.card.input_size)
    values = Predictor.load(version, cache=cache, engine="keras").predict(images)
    return dict(zip(names, map(float, values), strict=True))


def smoke_test(
    version: Version,
    *,
    cache: Path,
    engine: Literal["auto", "openvino", "keras"] = "auto",
    precision: Literal["auto", "bf16", "f32"] = "auto",
) -> None:
    """Try a version as it would be served, and in float32; nothing happens where all is well.

    In float32 a probability may differ from the card's by `F32_TOLERANCE`. In bfloat16 its logit may differ by
    `model.inference.BF16_LOGIT_TOLERANCE`, within which films near an operating point are read in float32 anyway. Where
    the card holds no probabilities of samples, only loading, shapes and finiteness count.

    Raises:
        VersionError: what is wrong, in one sentence.
    """
    names, images = sample_images(version.card.input_size)
    if not names:
        raise VersionError("The synthetic films of model/samples are missing; restore the folder.")
    _check_file(version)
    try:
        served = Predictor.load(version, cache=cache, engine=engine, precision=precision)
        _compare(version.card, names, served, images)
        if served.description.precision != "f32":
            exact = Predictor.load(version, cache=cache, engine=engine, precision="f32")
            _compare(version.card, names, exact, images)
    except InferenceError as error:
        raise VersionError(f"Version {version.name} failed its smoke test: {error}") from None


def _check_file(version: Version) -> None:
    """What an engine may pass over: OpenVINO takes another size than the network's own, a ReLU makes a NaN to 0."""
    import h5py

    try:
        shape = input_shape(check_network_file(version.model_file))
    except NetworkFileError as error:
        raise VersionError(f"Version {version.name} failed its smoke test: {error}") from None
    expected = (*version.card.input_size, 3)
    if shape is not None and shape[1:] != expected:
        raise VersionError(
            f"Version {version.name} failed its smoke test: its network takes images of {shape[1:]} and its card says "
            f"{expected}; import or train it again."
        )
    bad: list[str] = []

    def look(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not np.isfinite(item[()]).all():
            bad.append(name)

    with h5py.File(version.model_file, "r") as file:
        file.visititems(look)
    if bad:
        raise VersionError(
            f"Version {version.name} failed its smoke test: weights of its network are not finite ({bad[0]})."
        )


def _compare(card: Card, names: tuple[str, ...], predictor: Predictor, images: NDArray[np.uint8]) -> None:
    try:
        found = predictor.predict_with_features(images)
    except Exception as error:
        # Whatever an engine raises on a network that it cannot run after all.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VersionError(
            f"Version {card.name} failed its smoke test: its network cannot read a film ({reason[:200]})."
        ) from None
    _check_shapes(card, found, len(names))
    # The logistic curve is nowhere steeper than one quarter.
    bf16 = BF16_LOGIT_TOLERANCE / 4 * max(1.0, card.calibration.slope)
    tolerance = F32_TOLERANCE if predictor.description.precision == "f32" else max(bf16, F32_TOLERANCE)
    for name, value in zip(names, found.probabilities, strict=True):
        expected = card.samples.get(name)
        if expected is not None and not abs(float(value) - expected) <= tolerance:
            raise VersionError(
                f"Version {card.name} failed its smoke test: it gives {name} a probability of {value:.4f}, and "
                f"{expected:.4f} when it was made (at most {tolerance:.4f} apart); import or train it again."
            )


def _check_shapes(card: Card, found: Prediction, count: int) -> None:
    if found.probabilities.shape != (count,) or found.features.ndim != 4 or len(found.features) != count:
        raise VersionError(
            f"Version {card.name} failed its smoke test: it does not give one probability and one feature map a film."
        )
    if not (np.isfinite(found.probabilities).all() and np.isfinite(found.features).all()):
        raise VersionError(
            f"Version {card.name} failed its smoke test: it gives numbers that are not finite."
        )
