from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model.films import DicomFacts, Source, Window, XRay, read_xray
from model.quality import corrected, remarks, sharpness
from model.samples import SAMPLES
from tests.model import dicom_films
from tests.model.chest_films import chest_film


def ordinary(height: int = 256, width: int = 300) -> NDArray[np.uint8]:
    return chest_film(height=height, width=width)


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
        ((50 + np.minimum(ordinary() * 1.2, 195)).astype(np.uint8), ["too-bright"]),
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


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PatientAge": "004Y", "ViewPosition": "PA"}, []),
        ({"PatientAge": "070Y", "ViewPosition": "AP"}, ["age"]),
        ({"PatientAge": "003M", "ViewPosition": "PA"}, ["age"]),
        ({"PatientAge": "002Y", "ViewPosition": "LL"}, ["view"]),
        ({"PatientAge": "044Y", "ViewPosition": "LL"}, ["view", "age"]),
        ({}, []),
    ],
)
def test_a_dicom_film_of_somebody_else_gets_its_remark(elements: dict[str, Any], expected: list[str]) -> None:
    values = ordinary(240, 260).astype(np.uint16) * 16
    xray = read_xray(dicom_films.film(values, **elements))
    assert [remark.code for remark in remarks(xray)] == expected


def test_noise_is_not_called_turned() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (256, 256), dtype=np.uint8)
    assert codes(noise) == []
    checks = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert codes(checks) == ["clipped"]


def test_blurred() -> None:
    pixels = read_xray((SAMPLES / "synthetic-pneumonia-1.png").read_bytes()).pixels
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))
    assert codes(pixels) == []
    assert codes(blurred) == ["blurred"]
    assert sharpness(blurred) < 0.5 < 0.8 < sharpness(pixels)


@pytest.mark.parametrize("window", [(0.0, 145.0), (110.0, 255.0)])
def test_clipped_at_either_end(window: tuple[float, float]) -> None:
    low, high = window
    shown = np.clip((ordinary().astype(float) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    assert "clipped" in codes(shown)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_large_borders_can_be_cropped(level: int) -> None:
    film = ordinary(400, 400)
    framed = np.full((640, 560), level, dtype=np.uint8)
    framed[180:580, 60:460] = film
    framed[20:44, 20:44] = 200  # a marker does not end the border
    found = remarks(XRay(framed, Source("PNG", 560, 640, 8, "grey")))
    offers = {remark.code: remark.offer for remark in found}
    assert offers.get("large-borders") == "crop"
    cropped = corrected(framed, "crop")
    assert np.abs(np.array(cropped.shape) - 400).max() <= 20
    assert "large-borders" not in codes(cropped)
    assert "large-borders" not in codes(film)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_film_is_offered_the_turn_that_rights_it(turns: int) -> None:
    film = ordinary()
    turned = np.ascontiguousarray(np.rot90(film, turns))
    (remark,) = remarks(XRay(turned, Source("PNG", turned.shape[1], turned.shape[0], 8, "grey")))
    assert remark.offer == f"turn-{90 * turns}"
    np.testing.assert_array_equal(corrected(turned, remark.offer), film)


def test_an_inverted_film_is_offered_inversion() -> None:
    film = ordinary()
    (remark,) = remarks(XRay(255 - film, Source("PNG", 300, 256, 8, "grey")))
    assert remark.offer == "invert"
    np.testing.assert_array_equal(corrected(255 - film, remark.offer), film)


def test_corrections_leave_the_film_alone_and_know_their_names() -> None:
    film = ordinary()
    before = film.copy()
    for offer in ("", "invert", "turn-90", "turn-180", "turn-270", "crop"):
        made = corrected(film, offer)
        assert made.dtype == np.uint8 and made.flags.c_contiguous and not made.flags.writeable
        assert not np.shares_memory(made, film)
    np.testing.assert_array_equal(film, before)
    np.testing.assert_array_equal(corrected(film, "turn-90"), np.rot90(film, -1))
    with pytest.raises(ValueError, match="no correction"):
        corrected(film, "turn-45")


@pytest.mark.data
@pytest.mark.slow
def test_false_alarms_and_detection_on_training_films(data_folder: Path) -> None:
    paths = sorted(data_folder.glob("train/*/*.jp*g"))[::10]
    alarms: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for path in paths:
        pixels = read_xray(path.read_bytes()).pixels
        alarms.update(codes(pixels))
        blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))
        for code, changed in {
            "inverted": 255 - pixels,
            "on-its-side": np.rot90(pixels),
            "upside-down": np.rot90(pixels, 2),
            "blurred": blurred,
            "large-borders": np.pad(pixels, 40),
        }.items():
            found[code] += code in codes(np.ascontiguousarray(changed))
    assert max(alarms.values(), default=0) <= 0.01 * len(paths), alarms
    assert min(found.values()) >= 0.95 * len(paths), found
