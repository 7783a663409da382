"""The atlas is made from films whose lungs thresholds find; drawn films, whose lungs are known, must come out right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model.lung_atlas import Example, box_of, by_threshold, changed, example, fit, ridge, usual
from model.lungs import SIDE, dice, find_lungs


def drawn(seed: int, *, whole: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A film, float32 (SIDE, SIDE), of a bright body with two dark lungs, and their mask."""
    random = np.random.default_rng(seed)
    mask = Image.new("1", (SIDE, SIDE))
    x, y = 56 + random.uniform(-4, 4), 54 + random.uniform(-4, 4)
    height = random.uniform(27, 33)
    for side in (-1, 1):
        low = y + (height if whole or side < 0 else 0)
        centre = x + 21 * side
        ImageDraw.Draw(mask).ellipse((centre - 12, y - height, centre + 12, low), fill=1)
    lungs = np.asarray(mask, dtype=np.bool_)
    film = np.where(lungs, 60.0, 170.0)
    film[:, :8] = film[:, -8:] = 5
    return (film + random.normal(size=film.shape) * 6).clip(0, 255).astype(np.float32), lungs


def test_thresholds_find_the_lungs_of_a_clear_film() -> None:
    film, lungs = drawn(1)
    pair = by_threshold(film)
    assert pair is not None
    assert dice(pair[0] | pair[1], lungs) > 0.75  # generous, as its film is sharp
    assert not (pair[0] & pair[1]).any()
    assert pair[0].nonzero()[1].mean() < pair[1].nonzero()[1].mean()


def test_without_two_whole_lungs_there_is_no_example() -> None:
    assert example(np.full((SIDE, SIDE), 90, np.float32)) is None
    assert example(drawn(1, whole=False)[0]) is None
    found = example(drawn(1)[0])
    assert found is not None and not (drawn(1)[1] & (found.mask < 0.5)).any()


def test_a_changed_copy_keeps_its_lungs_whole_and_comes_again() -> None:
    original = example(drawn(2)[0])
    assert original is not None
    differ = 0
    for seed in range(12):
        copy = changed(original, seed)
        again = changed(original, seed)
        assert np.array_equal(copy.film, again.film) and np.array_equal(copy.box, again.box)
        assert copy.film.min() >= 0 and copy.film.max() <= 255
        rows, columns = (np.flatnonzero((copy.mask > 0.5).any(axis=axis)) for axis in (1, 0))
        left, top, right, bottom = copy.box
        # A small rotation may lead a corner out of the box.
        assert columns[0] >= left - 4 and columns[-1] <= right + 4
        assert rows[0] >= top - 4 and rows[-1] <= bottom + 4
        inside = copy.mask > 0.99
        differ += copy.film[inside].std() > 25
    assert differ >= 3  # opacities were painted into some


def test_the_least_usual_outlines_are_left_out() -> None:
    films = [drawn(seed) for seed in range(100)]
    examples = [Example(film, mask.astype(np.float32), box_of(mask)) for film, mask in films]
    stripes = np.indices((SIDE, SIDE))[0] % 9 > 3
    odd = replace(examples[0], mask=np.asarray(examples[0].mask * stripes, np.float32))
    kept = usual([*examples, odd])
    assert 80 <= len(kept) <= 92
    assert all(each is not odd for each in kept)


def test_both_forms_of_the_regression_agree() -> None:
    random = np.random.default_rng(0)
    few, weights = random.normal(size=(20, 30)).astype(np.float32), random.normal(size=(30, 2))
    aims = (few @ weights).astype(np.float32)
    squares = few.T @ few + 0.02 * len(few) * np.eye(30)
    assert ridge(few, aims) == pytest.approx(np.linalg.solve(squares, few.T @ aims), abs=1e-4)
    many = random.normal(size=(400, 30)).astype(np.float32)
    assert ridge(many, (many @ weights).astype(np.float32)) == pytest.approx(weights, abs=0.15)


@pytest.mark.slow
def test_an_atlas_of_drawn_films_finds_the_lungs_of_another() -> None:
    examples: list[Example] = [each for seed in range(30) if (each := example(drawn(seed)[0])) is not None]
    atlas, quality = fit(examples, draws=6)
    assert quality["mean"] > 0.75
    for seed in (101, 102, 103):
        film, lungs = drawn(seed)
        found = find_lungs(film.astype(np.uint8), atlas=atlas)
        assert found.found == "film"
        assert dice(found.mask, lungs) > 0.75
