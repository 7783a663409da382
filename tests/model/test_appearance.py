from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model import appearance
from model.appearance import (
    COARSE,
    FINE,
    content_box,
    correction,
    from_afar,
    learn_usual_films,
    overview,
    unlikeness,
)
from model.domain import UNLIKENESS
from model.films import read_xray
from model.samples import sample_files
from tests.model.chest_films import chequered_film, chest_film


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
        assert unlikeness(from_afar(pixels, FINE)) < 0.1
        assert correction(pixels) == ""
    across, down = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, 128))
    for strange in (across, down, (across + down) / 2):
        assert unlikeness(from_afar(strange.astype(np.uint8))) > 0.42
    assert unlikeness(from_afar(np.full((64, 64), 9, dtype=np.uint8))) == 1


def test_what_is_a_film_from_afar_only_is_told_by_the_finer_look() -> None:
    plain, strange = chequered_film(0), chequered_film(90)
    for side in (COARSE, FINE):
        assert unlikeness(from_afar(plain, side)) < UNLIKENESS[side]
    assert unlikeness(from_afar(strange)) < UNLIKENESS[COARSE]
    assert unlikeness(from_afar(strange, FINE)) > UNLIKENESS[FINE]


def test_the_finer_look_of_usual_films_is_learnt_with_their_mirror_images_and_from_other_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)

    def film() -> NDArray[np.uint8]:
        """A lopsided blot on a slope, never quite the same."""
        down, across = np.mgrid[0:96, 0:96] / 96
        blot = np.exp(-(((across - 0.3) / 0.1) ** 2 + ((down - 0.4) / 0.2) ** 2)) * random.uniform(0.8, 1.2)
        return np.clip(60 * down + 150 * blot + random.normal(0, 2, (96, 96)), 0, 255).astype(np.uint8)

    learnt = learn_usual_films(film() for _ in range(60))
    assert learnt["films"] == 60
    file = tmp_path / "usual_films.json"
    file.write_text(json.dumps(learnt))
    monkeypatch.setattr(appearance, "USUAL_FILMS", file)
    appearance._usual_films.cache_clear()
    try:
        fresh = film()
        moved = np.ascontiguousarray(fresh[8:, :88])
        assert unlikeness(from_afar(fresh)) < 0.05
        for usual in (fresh, np.ascontiguousarray(fresh[:, ::-1]), moved):
            assert unlikeness(from_afar(usual, FINE)) < 0.05
        stripes = np.kron(np.indices((16, 16))[1] % 2, np.full((6, 6), 200)).astype(np.uint8)
        assert unlikeness(from_afar(stripes, FINE)) > 0.3
        assert unlikeness(from_afar(moved)) > 2 * unlikeness(
            from_afar(fresh)
        )  # the coarse look asks for the place
    finally:
        appearance._usual_films.cache_clear()


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
