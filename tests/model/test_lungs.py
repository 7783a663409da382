"""Lung masks: plausible on the synthetic films, steady under what moves no lung, honest where none is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.dataset import read_dataset
from model.films import prepare, read_xray
from model.lungs import (
    Atlas,
    Lungs,
    corrected,
    correction,
    dice,
    find_lungs,
    grown,
    hull,
    plausible,
    stability,
    standard_atlas,
    tidy,
    with_opacity,
)
from model.samples import sample_files

SAMPLES = sample_files()


def film_of(file: Path) -> np.ndarray:
    return np.ascontiguousarray(prepare(read_xray(file.read_bytes()).pixels)[:, :, 0])


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_a_synthetic_film_has_two_lungs_where_it_is_dark(file: Path) -> None:
    film = film_of(file)
    found = find_lungs(film)
    assert found.found == "film" and plausible(found.mask)
    assert found.mask.shape == film.shape and found.mask.dtype == np.bool_
    between = hull(found.mask) & ~found.with_edge
    assert film[found.mask].mean() < film[between].mean() - 15
    assert dice(found.mask, found.mask[:, ::-1]) > 0.6


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_the_mask_follows_its_film(file: Path) -> None:
    steady = stability(film_of(file))
    assert set(steady) == {"shift", "zoom", "exposure", "mirror", "opacity"}
    assert min(steady.values()) > 0.7, steady


def test_any_size_gives_the_same_lungs() -> None:
    film = film_of(SAMPLES[0])
    large = np.asarray(Image.fromarray(film).resize((500, 400), Image.Resampling.BILINEAR))
    small = find_lungs(film).mask
    again = np.asarray(Image.fromarray(find_lungs(large).mask).resize((224, 224), Image.Resampling.NEAREST))
    assert dice(small, again) > 0.97


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_film_that_shows_nothing_gets_the_atlas(level: int) -> None:
    found = find_lungs(np.full((224, 224), level, np.uint8))
    assert found.found == "atlas" and plausible(found.mask)


def test_where_the_search_goes_astray_the_atlas_stands_in() -> None:
    atlas = standard_atlas()
    lost = atlas.outline.copy()
    lost[-1] -= 50 * np.sign(atlas.shapes @ np.ones(atlas.shapes.shape[1], np.float32))  # nothing is inside
    found = find_lungs(film_of(SAMPLES[0]), atlas=replace(atlas, outline=lost))
    assert found.found == "atlas" and plausible(found.mask)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((224, 224, 3), np.uint8), np.zeros((224, 224), np.float32), np.zeros((8, 224), np.uint8)],
)
def test_what_is_no_grey_film_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="grey film"):
        find_lungs(pixels)


def two_lungs(*, right: float = 1.0, top: float = 0.3) -> np.ndarray:
    mask = np.zeros((100, 100), dtype=np.bool_)
    mask[30:80, 15:40] = True
    height = round(50 * right)
    mask[round(100 * top) : round(100 * top) + height, 60:85] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (two_lungs(), True),
        (two_lungs(right=0.5), True),
        (two_lungs(right=0.3), False),
        (two_lungs(top=0.01), False),
        (np.zeros((100, 100), np.bool_), False),
        (np.ones((100, 100), np.bool_), False),
        (two_lungs().T, False),
    ],
)
def test_what_passes_for_lungs(mask: np.ndarray, expected: bool) -> None:
    assert plausible(mask) is expected


def test_tidy_keeps_two_pieces_without_holes() -> None:
    mask = two_lungs()
    untidy = mask.copy()
    untidy[50, 20] = False
    untidy[5, 5] = True
    assert np.array_equal(tidy(untidy), mask)


def test_growing_is_even_and_an_empty_mask_stays_empty() -> None:
    point = np.zeros((101, 101), np.bool_)
    point[50, 50] = True
    rows, columns = np.indices(point.shape) - 50
    assert np.array_equal(grown(point, 0.1), rows**2 + columns**2 <= 10.1**2)
    assert not grown(np.zeros((9, 9), np.bool_), 0.5).any()
    assert np.array_equal(grown(point, 0.0), point)


def test_the_hull_holds_the_lungs_and_what_lies_between() -> None:
    mask = two_lungs()
    found = hull(mask)
    assert np.array_equal(found, np.pad(np.ones((50, 70), np.bool_), ((30, 20), (15, 15))))
    for degenerate in (np.zeros((5, 5), np.bool_), np.eye(5, dtype=np.bool_)):
        assert np.array_equal(hull(degenerate), degenerate)


def test_overlap() -> None:
    mask = two_lungs()
    assert dice(mask, mask) == 1 and dice(mask, ~mask) == 0
    assert dice(np.zeros(4, np.bool_), np.zeros(4, np.bool_)) == 1
    assert dice(np.array([True, True, False]), np.array([True, False, True])) == 0.5


def test_a_correction_leads_from_one_box_to_the_other() -> None:
    box, other = np.array([10.0, 20, 60, 90]), np.array([18.0, 12, 66, 70])
    assert corrected(other, correction(box, other)) == pytest.approx(box)
    assert corrected(box, np.full(4, 9.0)) == pytest.approx(corrected(box, np.full(4, 0.5)))


def test_an_opacity_brightens_the_lower_half_of_one_lung_and_nothing_far_from_it() -> None:
    film = film_of(SAMPLES[0])
    mask = find_lungs(film).mask
    change = with_opacity(film, mask).astype(int) - film
    rows = np.flatnonzero(mask[:, :112].any(axis=1))
    inside = mask & (np.indices(mask.shape)[1] < 112) & (np.indices(mask.shape)[0] > rows.mean() + 10)
    assert change[inside].mean() > 20
    assert not change[:, 150:].any() and not change[: rows[0]].any()
    assert np.array_equal(with_opacity(film, np.zeros_like(mask)), film)


def test_an_atlas_survives_its_file(tmp_path: Path) -> None:
    atlas = standard_atlas()
    atlas.save(tmp_path / "atlas.npz")
    again = Atlas.read(tmp_path / "atlas.npz")
    for name, array in vars(atlas).items():
        assert np.abs(getattr(again, name) - array).max() <= 1e-3 * np.abs(array).max(), name
    assert (tmp_path / "atlas.npz").stat().st_size < 1_000_000


def test_the_edge_belongs_to_the_wider_mask() -> None:
    lungs = Lungs(two_lungs(), "film")
    assert (lungs.with_edge & lungs.mask).sum() == lungs.mask.sum() < lungs.with_edge.sum()


@pytest.mark.data
@pytest.mark.slow
def test_on_training_films_nearly_every_mask_is_fitted_and_steady(data_folder: Path) -> None:
    films = read_dataset(data_folder).split("train")
    chosen = [film_of(films[place].path) for place in np.linspace(0, len(films) - 1, 40).astype(int)]
    found = [find_lungs(film) for film in chosen]
    assert sum(each.found == "film" for each in found) >= 38
    steady = [stability(film) for film in chosen[::4]]
    for name in steady[0]:
        assert np.mean([each[name] for each in steady]) > 0.85, name
