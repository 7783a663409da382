from __future__ import annotations

import numpy as np
import pytest

from model.appearance import content_box, correction, from_afar, overview, unlikeness
from model.films import read_xray
from model.samples import sample_files
from tests.model.chest_films import chest_film


def test_a_film_without_borders_is_all_content() -> None:
    film = chest_film()
    assert content_box(film).share(film.shape) == 1


@pytest.mark.parametrize("level", [0, 255])
def test_borders_are_found_on_every_side(level: int) -> None:
    film = chest_film(height=320, width=320)
    framed = np.pad(film, ((64, 0), (32, 96)), constant_values=level)
    box = content_box(framed)
    assert abs(box.top - 64) <= 8 and box.bottom == framed.shape[0]
    assert abs(box.left - 32) <= 8 and abs(box.right - (32 + 320)) <= 8
    assert box.share(framed.shape) == pytest.approx(320 * 320 / framed.size, abs=0.05)


def test_borders_never_take_everything() -> None:
    plain = np.full((200, 100), 7, dtype=np.uint8)
    box = content_box(plain)
    assert box.bottom > box.top and box.right > box.left


def test_borders_do_not_change_the_look_from_afar() -> None:
    film = chest_film(height=320, width=320)
    framed = np.pad(film, 80)
    assert np.abs(from_afar(framed) - from_afar(film)).mean() < 0.2  # borders are found to 1/64 of the side
    assert unlikeness(from_afar(framed)) < 0.2


def test_synthetic_films_look_like_films_and_nothing_else_does() -> None:
    for file in sample_files():
        pixels = read_xray(file.read_bytes()).pixels
        assert unlikeness(from_afar(pixels)) < 0.2
        assert correction(pixels) == ""
    across, down = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, 128))
    for strange in (across, down, (across + down) / 2):
        assert unlikeness(from_afar(strange.astype(np.uint8))) > 0.42
    assert unlikeness(from_afar(np.full((64, 64), 9, dtype=np.uint8))) == 1


@pytest.mark.parametrize(("turns", "offer"), [(0, ""), (1, "turn-90"), (2, "turn-180"), (3, "turn-270")])
def test_synthetic_films_are_righted(turns: int, offer: str) -> None:
    for file in sample_files():
        pixels = read_xray(file.read_bytes()).pixels
        assert correction(np.ascontiguousarray(np.rot90(pixels, turns))) == offer
        assert correction(np.ascontiguousarray(pixels[:, ::-1])) == ""
        assert correction(255 - pixels) == "invert"


def test_a_large_film_is_looked_at_in_small() -> None:
    large = chest_film(height=1100, width=1300)
    small = overview(large)
    assert 256 <= min(small.shape) < 512
    np.testing.assert_allclose(from_afar(small), from_afar(large), atol=0.1)
    film = chest_film(height=300, width=400)
    assert overview(film) is film
