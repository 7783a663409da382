from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.films import DicomFacts, Source, Window, XRay, read_xray
from model.quality import _MEAN_FILM, remarks


def ordinary(height: int = 256, width: int = 300) -> NDArray[np.uint8]:
    """A film with the coarse look of a chest: the mean film enlarged."""
    levels = np.clip(np.asarray(_MEAN_FILM, dtype=float) * 0.55 + 125, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC))


def codes(pixels: NDArray[np.uint8], *, colour_share: float = 0.0) -> list[str]:
    height, width = pixels.shape
    source = Source("PNG", width, height, 8, "grey", colour_share=colour_share)
    found = remarks(XRay(pixels, source))
    assert all(remark.message.endswith((".", ").")) and ":" in remark.message for remark in found)
    return [remark.code for remark in found]


def test_an_ordinary_film_gets_no_remark() -> None:
    assert codes(ordinary()) == []
    assert codes(ordinary(224, 224), colour_share=0.005) == []


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (ordinary(223, 300), ["too-small"]),
        (ordinary(300, 223), ["too-small"]),
        (ordinary(700, 300), ["unusual-shape"]),
        (ordinary(300, 700), ["unusual-shape"]),
        ((ordinary() * 0.5).astype(np.uint8), ["too-dark"]),
        ((60 + np.minimum(ordinary() * 1.2, 195)).astype(np.uint8), ["too-bright"]),
        ((100 + ordinary() * 0.3).astype(np.uint8), ["low-contrast"]),
        (255 - ordinary(), ["inverted"]),
        (np.rot90(ordinary()), ["on-its-side"]),
        (np.rot90(ordinary(), 3), ["on-its-side"]),
        (np.rot90(ordinary(), 2), ["upside-down"]),
        (ordinary()[:, ::-1], []),
    ],
)
def test_each_remark_alone(pixels: NDArray[np.uint8], expected: list[str]) -> None:
    assert codes(np.ascontiguousarray(pixels)) == expected


def test_colour() -> None:
    assert codes(ordinary(), colour_share=0.2) == ["colour"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DicomFacts(modality="DX", view="PA", age=1, sex="F"), []),
        (DicomFacts(view="AP", age=5), []),
        (DicomFacts(), []),
        (DicomFacts(age=0), ["age"]),
        (DicomFacts(age=6), ["age"]),
        (DicomFacts(view="LL"), ["view"]),
        (DicomFacts(burned_in=True), ["burned-in-text"]),
        (DicomFacts(frames=3, frame=2), ["frames"]),
        (DicomFacts(window=Window(100, 50), by_hand=True), ["window-by-hand"]),
        (DicomFacts(window=Window(100, 50)), []),
        (DicomFacts(view="LL", age=70, burned_in=True), ["view", "age", "burned-in-text"]),
    ],
)
def test_what_a_dicom_file_says_of_itself(facts: DicomFacts, expected: list[str]) -> None:
    pixels = ordinary()
    found = remarks(XRay(pixels, Source("DICOM", 300, 256, 12, "MONOCHROME2", dicom=facts)))
    assert [remark.code for remark in found] == expected
    assert all(remark.message.endswith(".") and ":" in remark.message for remark in found)


def test_noise_is_not_called_turned() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (256, 256), dtype=np.uint8)
    assert codes(noise) == []
    checks = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert codes(checks) == []


@pytest.mark.data
@pytest.mark.slow
def test_false_alarms_on_training_films() -> None:
    folder = os.environ.get("PNEUMOSCOPE_DATA")
    if not folder:
        pytest.skip("PNEUMOSCOPE_DATA is not set")
    paths = sorted(Path(folder).glob("train/*/*.jp*g"))[::5]
    alarms: Counter[str] = Counter()
    turned_missed = inverted_missed = 0
    for path in paths:
        pixels = read_xray(path.read_bytes()).pixels
        alarms.update(codes(pixels) or ["none"])
        turned_missed += "on-its-side" not in codes(np.rot90(pixels).copy())
        inverted_missed += "inverted" not in codes(255 - pixels)
    assert alarms["none"] >= 0.99 * len(paths)
    assert turned_missed <= 0.01 * len(paths)
    assert inverted_missed <= 0.01 * len(paths)
