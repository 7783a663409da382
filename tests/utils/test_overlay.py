"""The map on the film: what is drawn where, what leaves the house, and the finer map in the background."""

from __future__ import annotations

import io
import struct
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.explanation import COLOURS, LEAST_SCALE
from model.inference import InferenceError
from utils import overlay

FILM = np.full((60, 80), 100, np.uint8)
LEFT = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)


@pytest.mark.parametrize("style", ["Colours", "Contours"])
def test_no_opacity_and_no_heat_leave_the_film_as_it_is(style: overlay.Style) -> None:
    grey = np.repeat(FILM[:, :, None], 3, axis=2)
    assert (overlay.drawn(FILM, LEFT, opacity=0.0, style=style) == grey).all()
    assert (overlay.drawn(FILM, LEFT * 0, opacity=1.0, style=style) == grey).all()
    assert (overlay.drawn(FILM, -LEFT, opacity=1.0, style=style) == grey).all()


def test_colours_lie_where_the_heat_is() -> None:
    picture = overlay.drawn(FILM, LEFT, opacity=1.0, style="Colours")
    assert picture.shape == (60, 80, 3)
    assert (picture[:, 0] == COLOURS[-1]).all()
    assert (picture[:, -1] == 100).all()


def test_contours_run_between_heat_and_none_and_leave_the_rest() -> None:
    picture = overlay.drawn(FILM, LEFT, opacity=1.0, style="Contours").astype(int)
    line = (picture == COLOURS[-1]).all(axis=2)
    row = np.flatnonzero(line[30])
    # The heat falls from 1 to 0 between the middles of the two cells, columns 20 and 60.
    assert row.min() > 20
    assert row.max() < 60
    assert len(overlay.LEVELS) == (np.diff(row) > 1).sum() + 1
    assert (line.any(axis=1)).all(), "the lines run from border to border"
    touched = np.abs(picture - 100).max(axis=2) > 0
    assert touched.mean() < 0.3


def test_a_weak_map_is_not_drawn_as_a_strong_one() -> None:
    weak = LEFT * np.float32(LEAST_SCALE / 4)
    picture = overlay.drawn(FILM, weak, opacity=1.0, style="Colours")
    assert not (picture == COLOURS[-1]).all(axis=2).any()
    assert overlay.is_nothing(LEFT * np.float32(LEAST_SCALE / 20))
    assert not overlay.is_nothing(weak)
    assert overlay.is_nothing(-LEFT)


def test_the_download_holds_the_picture_its_scale_and_no_metadata() -> None:
    picture = overlay.drawn(FILM, LEFT, opacity=0.5, style="Colours")
    data = overlay.png(picture, heat=LEFT)
    kinds, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kinds.append(data[place + 4 : place + 8])
        place += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {}
        pixels = np.asarray(image)
    assert (pixels[:60] == picture).all()
    assert len(pixels) > 60, "the scale stands below"


def test_the_picture_of_the_screen_comes_back_as_pixels() -> None:
    target = io.BytesIO()
    Image.fromarray(FILM).save(target, format="JPEG")
    assert overlay.pixels_of(target.getvalue()).shape == (60, 80)
    with Image.open(io.BytesIO(overlay.jpeg(np.repeat(FILM[:, :, None], 3, axis=2)))) as image:
        assert (image.format, image.size) == ("JPEG", (80, 60))


class BrightReader:
    """Finds pneumonia in bright images; waits where it is told to."""

    def __init__(self, *, gate: threading.Event | None = None) -> None:
        self.gate = gate
        self.read = 0

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        if self.gate is not None:
            self.gate.wait(60)
        self.read += len(images)
        return images.mean(axis=(1, 2, 3)) / 255


class BrokenReader:
    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        raise RuntimeError("engine says no")


def test_the_finer_map_finds_the_bright_place() -> None:
    seen = np.full((28, 28), 40, np.uint8)
    seen[:6, :6] = 250
    finer = overlay.FinerMap(BrightReader(), seen)  # type: ignore[arg-type]
    heat = finer.result.result(60)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert max(row, column) < 3
    assert finer.share == 1
    assert not finer.stopped


def test_the_finer_map_can_be_stopped() -> None:
    gate = threading.Event()
    reader = BrightReader(gate=gate)
    finer = overlay.FinerMap(reader, np.zeros((28, 28), np.uint8))  # type: ignore[arg-type]
    finer.stop()
    gate.set()
    with pytest.raises(InferenceError):
        finer.result.result(60)
    assert finer.stopped
    assert reader.read < 30


def test_a_network_that_fails_leaves_a_sentence() -> None:
    finer = overlay.FinerMap(BrokenReader(), np.zeros((28, 28), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="try once more"):
        finer.result.result(60)
