"""Measures of heat maps on toys whose true importance is known, on hand-worked tables, and on the released network."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from model.__main__ import main
from model.calibration import sigmoid
from model.dataset import DatasetError
from model.explanation import upsample
from model.faithfulness import (
    TRUTH,
    Curves,
    area,
    blurred,
    centre_map,
    compared,
    curves,
    likeness,
    matched,
    mean_of,
    measure_curves,
    measure_likeness,
    measure_pointing,
    peak,
    rank_correlation,
    ranks,
    surrogate,
    widened,
)
from model.faithfulness_commands import chosen_images, reader, two_lungs
from model.inference import Predictor
from model.opacities import (
    FOCAL,
    LOBAR,
    Lungs,
    brightness_step,
    draw_opacity,
    moved_outside,
    paste,
)
from model.randomised import blocks_of, randomise, randomised_version
from model.registry import RELEASED, Version, list_versions, read_version

SIDE = 32


class Toy:
    """Looks at 8 x 8 cells of a film of 32 x 32 pixels: the logit is a weighted sum of how much brighter than 100 each
    is. What each cell adds is known: that is the true map."""

    def __init__(self, weights: NDArray[np.float64], *, constant: float = -2.0) -> None:
        self.weights, self.constant = weights, constant

    def shares(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = images[..., 0].reshape(len(images), 8, 4, 8, 4).mean((2, 4))
        return np.asarray(self.weights * (cells - 100) / 100, dtype=np.float32)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return sigmoid(self.shares(images).sum((1, 2), dtype=np.float64) + self.constant)

    def read(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        return self.predict(images), self.shares(images)


def toy_films(count: int, *, bright: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise of 100 grey levels; the first ``bright`` films have a bright patch at a place of their own."""
    random = np.random.default_rng(seed)
    films = random.normal(100, 6, (count, SIDE, SIDE))
    for film in films[:bright]:
        row, column = random.integers(0, SIDE - 10, 2)
        film[row : row + 10, column : column + 10] += 100
    return np.repeat(np.clip(films, 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def toy_lungs(film: NDArray[np.uint8]) -> Lungs:
    left = np.zeros(film.shape, bool)
    left[4:28, 1:10] = True
    return left, left[:, ::-1].copy()


# ---------------------------------------------------------------- figures


def test_mean_and_its_interval() -> None:
    single = mean_of([2.0])
    assert (single.value, single.low, single.high, single.films) == (2.0, None, None, 1)
    same = mean_of([0.5] * 7)
    assert (same.low, same.high) == (0.5, 0.5)
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_of(values)
    assert found.low is not None and found.high is not None
    # Of 400 values the percentile interval is that of the normal distribution, to the bootstrap's own noise.
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_area_by_hand() -> None:
    # Trapezoids of width 1/4: (1 + 0.5)/2 + (0.5 + 0.5)/2 + (0.5 + 0)/2 + 0, each times 1/4.
    assert area(np.array([1.0, 0.5, 0.5, 0.0, 0.0])) == pytest.approx((0.75 + 0.5 + 0.25) / 4)
    assert area(np.full(11, 0.3)) == pytest.approx(0.3)


def test_compared_by_hand() -> None:
    def pair(deletion: float, insertion: float) -> Curves:
        return Curves(np.full(3, deletion), np.full(3, insertion))

    found = {TRUTH: [pair(0.2, 0.9), pair(0.4, 0.7)], "other": [pair(0.5, 0.8), pair(0.3, 0.4)]}
    other = json.loads(json.dumps(compared(found, truth=TRUTH)))["other"]
    assert other["deletion_area"]["value"] == pytest.approx(0.4)
    assert other["deletion_gain"]["value"] == pytest.approx(((0.5 - 0.2) + (0.3 - 0.4)) / 2)
    assert other["insertion_gain"]["value"] == pytest.approx(((0.9 - 0.8) + (0.7 - 0.4)) / 2)
    assert (other["films_better_deletion"], other["films_better_insertion"]) == (0.5, 1.0)


# ---------------------------------------------------------------- maps


def test_random_map_is_as_smooth_as_the_heat_map_and_another_one() -> None:
    heat = upsample(np.random.default_rng(2).random((4, 4)).astype(np.float32), (16, 16))
    random = np.random.default_rng(3)
    other = surrogate(heat, random)
    # The same power at each frequency means the same correlation of neighbours at every distance.
    np.testing.assert_allclose(np.abs(np.fft.fft2(other)), np.abs(np.fft.fft2(heat)), atol=1e-5)
    assert other.std() == pytest.approx(heat.std(), rel=1e-5)
    correlations = [np.corrcoef(heat.ravel(), surrogate(heat, random).ravel())[0, 1] for _ in range(200)]
    assert abs(np.mean(correlations)) < 0.1


def test_centre_map_is_hottest_in_the_middle() -> None:
    heat = centre_map(7, 9)
    assert peak(heat) == (3, 4)
    np.testing.assert_allclose(heat, heat[::-1, ::-1])


def test_ranks_go_by_heat_and_then_by_ties() -> None:
    heat = np.array([[0.0, 5.0], [0.0, 1.0]])
    ties = np.array([[0.0, 0.0], [1.0, 9.0]])
    assert ranks(heat, ties=ties).tolist() == [[3, 0], [2, 1]]


def test_peak() -> None:
    assert peak(np.zeros((3, 3))) is None
    assert peak(-np.ones((3, 3))) is None
    heat = np.zeros((5, 5))
    heat[1, 2:5] = 4
    assert peak(heat) == (1, 3)


def test_widened() -> None:
    region = np.zeros((7, 7), bool)
    region[3, 3] = True
    assert widened(region, 1).sum() == 5  # a cross
    assert widened(region, 1.5).sum() == 9
    assert not widened(np.zeros((4, 4), bool), 3).any()


# ---------------------------------------------------------------- likeness


def test_rank_correlation() -> None:
    heat = np.arange(9.0).reshape(3, 3)
    assert rank_correlation(heat, heat**3) == pytest.approx(1)
    assert rank_correlation(heat, -heat) == pytest.approx(-1)
    # By hand, ranks 1 2 3 and 3 1 2: 1 - 6 (4 + 1 + 1) / (3 * 8).
    assert rank_correlation(np.array([[1.0, 2, 3]]), np.array([[9.0, 1, 4]])) == pytest.approx(-0.5)
    assert rank_correlation(heat, np.ones((3, 3))) is None


def test_likeness_by_hand() -> None:
    heat = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert likeness(heat, 7 * heat) == pytest.approx(1)
    # Same mean 1/2 and variance 1/4, no covariance: 1 * c2 / (1/2 + c2).
    assert likeness(heat, heat.T) == pytest.approx(0.0009 / (0.5 + 0.0009))
    assert likeness(heat, 1 - heat) < -0.9


def test_likeness_of_many_counts_maps_without_heat_as_nothing_in_common() -> None:
    truth = np.random.default_rng(4).random((6, 5, 5)).astype(np.float32)
    same = measure_likeness(truth, [truth, np.zeros_like(truth)])
    assert same["rank_correlation"] == {"value": 0.5, "low": 0.5, "high": 0.5, "films": 6}
    assert same["rank_correlation_by_draw"] == [1.0, 0.0]
    assert same["maps_without_heat"] == 0.5


# ---------------------------------------------------------------- deletion and insertion


def test_curves_of_a_network_that_counts_bright_pixels() -> None:
    """16 pixels, 4 of them bright; the answer is the share of them that is seen, so the curves are known."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[0] = 200
    fill = np.zeros_like(image)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray((images[..., 0] > 100).sum((1, 2)) / 4)

    heat = image[..., 0].astype(np.float64)
    ties = np.zeros((4, 4))
    best, worst = curves(
        image, fill, [ranks(heat, ties=ties), ranks(-heat, ties=ties)], predict, steps=4, feather=0
    )
    assert best.deletion.tolist() == [1, 0, 0, 0, 0]
    assert best.insertion.tolist() == [0, 1, 1, 1, 1]
    assert worst.deletion.tolist() == [1, 1, 1, 1, 0]
    assert worst.insertion.tolist() == [0, 0, 0, 0, 1]
    assert (best.deletion_area, best.insertion_area) == (0.125, 0.875)


def test_true_map_of_a_toy_beats_maps_that_know_nothing() -> None:
    toy = Toy(np.full((8, 8), 1.5))
    films = toy_films(40, bright=20)
    found = json.loads(
        json.dumps(measure_curves(films, np.arange(40) >= 20, toy.read, toy.predict, threshold=0.5))
    )
    assert found["films"] == 20
    for other in ("random map", "heat map of another film", "middle of the image"):
        for gain in ("deletion_gain", "insertion_gain"):
            assert found["probability"][other][gain]["low"] > 0, (other, gain)


def test_map_that_has_nothing_to_do_with_the_answer_beats_no_random_map() -> None:
    toy = Toy(np.full((8, 8), 1.5))
    random = np.random.default_rng(5)

    def misled(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        return toy.predict(images), random.random((len(images), 8, 8)).astype(np.float32)

    films = toy_films(60, bright=30)
    found = json.loads(
        json.dumps(measure_curves(films, np.arange(60) >= 30, misled, toy.predict, threshold=0.5))
    )
    gain = found["probability"]["random map"]["deletion_gain"]
    assert gain["low"] < 0 < gain["high"]


def test_films_without_heat_are_counted_and_left_out() -> None:
    films = toy_films(12, bright=6)

    def cold(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        probabilities, shares = Toy(np.full((8, 8), 1.5)).read(images)
        shares[:2] = -1
        return probabilities, shares

    found = measure_curves(
        films, np.arange(12) >= 6, cold, Toy(np.full((8, 8), 1.5)).predict, threshold=0.5, steps=4
    )
    assert found["films"] == 4
    assert found["films_without_heat"]["flagged"] == 2  # type: ignore[index]


def test_curves_need_flagged_and_normal_films() -> None:
    toy = Toy(np.full((8, 8), 1.5))
    with pytest.raises(DatasetError, match="need films that are flagged"):
        measure_curves(toy_films(4, bright=0), np.ones(4, bool), toy.read, toy.predict, threshold=0.5)


def test_fill_has_the_exposure_of_the_film() -> None:
    random = np.random.default_rng(6)
    image = random.normal(90, 20, (32, 32, 3)).astype(np.uint8)
    fill = matched(random.normal(150, 40, (32, 32, 3)).astype(np.uint8), image)
    assert fill.mean() == pytest.approx(image.mean(), abs=1)
    assert fill.std() == pytest.approx(image.std(), abs=1)
    assert blurred(image).std() < 0.2 * image.std()


# ---------------------------------------------------------------- opacities and pointing


@pytest.mark.parametrize("radii", [FOCAL, LOBAR])
def test_opacity_lies_in_its_lung_with_a_soft_edge(radii: tuple[float, float]) -> None:
    film = np.full((128, 128), 80, np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[20:100, 16:56] = True
    lungs = (mask, mask[:, ::-1].copy())
    random = np.random.default_rng(7)
    for number in range(10):
        opacity = draw_opacity(lungs, number % 2, random, radii=radii)
        assert opacity.shape.min() >= 0 and opacity.shape.max() <= 1
        assert (opacity.region & widened(lungs[number % 2], 4)).sum() == opacity.region.sum()
        edge = np.abs(np.diff(opacity.shape, axis=1)).max()
        assert edge < 0.4
        assert np.array_equal(paste(film, opacity, contrast=0, step=50), film)
        rise = paste(film, opacity, contrast=1, step=50).astype(int) - film
        assert rise[~widened(opacity.region, 20)].max() <= 10
        assert rise[opacity.region].mean() == pytest.approx(
            50 * opacity.shape[opacity.region].mean(), rel=0.2
        )


def test_opacity_hides_fine_detail() -> None:
    random = np.random.default_rng(8)
    film = random.normal(100, 15, (64, 64)).clip(0, 255).astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[5:60, 5:30] = True
    opacity = draw_opacity((mask, mask[:, ::-1].copy()), 0, random, radii=LOBAR)
    middle = opacity.shape > 0.9
    veiled = paste(film, opacity, contrast=1, step=0)
    assert veiled[middle].std() < 0.7 * film[middle].std()
    assert np.array_equal(veiled[opacity.shape == 0], film[opacity.shape == 0])


def test_opacity_moved_outside_touches_no_lung_and_is_the_same() -> None:
    lungs = toy_lungs(np.zeros((SIDE, SIDE), np.uint8))
    wide = tuple(np.pad(mask, 20) for mask in lungs)
    random = np.random.default_rng(9)
    opacity = draw_opacity((wide[0], wide[1]), 0, random)
    moved = moved_outside(opacity, (wide[0], wide[1]), random)
    assert moved is not None
    assert not (moved.shape[wide[0] | wide[1]] > 0).any()
    assert moved.region.sum() == opacity.region.sum()
    everywhere = np.ones((40, 40), bool)
    assert moved_outside(draw_opacity((everywhere,) * 2, 0, random), (everywhere,) * 2, random) is None


def test_brightness_step_is_from_lung_to_what_lies_between() -> None:
    film = np.full((SIDE, SIDE), 60, np.uint8)
    film[:, 14:18] = 170
    lungs = toy_lungs(film)
    opacity = draw_opacity(lungs, 0, np.random.default_rng(10))
    assert brightness_step(film, opacity, lungs) == 110
    assert brightness_step(np.full((SIDE, SIDE), 60, np.uint8), opacity, lungs) == 10


def test_empty_lung() -> None:
    empty = np.zeros((8, 8), bool)
    with pytest.raises(ValueError, match="no lung"):
        draw_opacity((empty, empty), 0, np.random.default_rng(0))


def toy_pointing(toy: Toy, films: NDArray[np.uint8]) -> dict[str, dict[str, object]]:
    found = json.loads(json.dumps(measure_pointing(films, toy.read, toy_lungs, threshold=0.5)))
    assert found["films"] == len(films)
    return {entry["opacity"]: entry for entry in found["opacities"]}


def test_toy_that_sees_brightness_points_at_the_opacity() -> None:
    films = toy_films(24, bright=0)
    films[:, :, 14:18] = 190  # between the lungs: what the contrast is measured by
    weights = np.full((8, 8), 3.0)
    weights[:, 3:5] = 0
    strongest = toy_pointing(Toy(weights), films)["focal"]["contrasts"][-1]  # type: ignore[index]
    assert strongest["films_that_rise"] == 1
    assert strongest["logit_rise"]["low"] > 0
    assert strongest["change"]["near"]["value"] == 1
    assert strongest["change"]["lung"]["value"] == 1


def test_toy_that_looks_elsewhere_does_not_point_at_the_opacity() -> None:
    films = toy_films(24, bright=0)
    films[:, :, 14:18] = 190
    weights = np.zeros((8, 8))
    weights[:, 3:5] = 0.5
    entry = toy_pointing(Toy(weights), films)["focal"]
    strongest = entry["contrasts"][-1]  # type: ignore[index]
    assert strongest["heat"]["within"]["value"] == 0
    assert strongest["logit_rise"]["value"] == pytest.approx(0, abs=0.05)
    chance = entry["chance"]
    assert 0 < chance["anywhere in the film"]["within"] < chance["anywhere in the lungs"]["within"] < 1  # type: ignore[index]


def test_film_without_a_lung_is_left_out() -> None:
    films = toy_films(3, bright=0)
    seen: list[int] = []

    def lungs(film: NDArray[np.uint8]) -> Lungs:
        seen.append(1)
        left, right = toy_lungs(film)
        return (left, right) if len(seen) > 1 else (left, np.zeros_like(right))

    found = measure_pointing(films, Toy(np.ones((8, 8))).read, lungs, threshold=0.5)
    assert found["films"] == 2


# ---------------------------------------------------------------- random weights


def test_blocks_hold_all_weights_from_the_output_down(tiny_version: Version) -> None:
    blocks = blocks_of(tiny_version.model_file)
    assert [block.name for block in blocks] == ["head", "block5", "block4", "block3", "block2", "block1"]
    paths = [path for block in blocks for path in block.weights]
    with h5py.File(tiny_version.model_file) as file:
        stored: list[str] = []
        file["model_weights"].visititems(
            lambda name, item: stored.append(name) if isinstance(item, h5py.Dataset) else None
        )
    assert sorted(paths) == sorted(f"/model_weights/{name}" for name in stored)


def test_only_the_weights_named_are_drawn_anew(tiny_version: Version, tmp_path: Path) -> None:
    blocks = blocks_of(tiny_version.model_file)
    other = randomised_version(tiny_version, blocks[:2], tmp_path / "other", np.random.default_rng(0))
    assert other.card.sha256 != tiny_version.card.sha256
    assert read_version(other.folder).card.calibration == tiny_version.card.calibration
    with h5py.File(tiny_version.model_file) as before, h5py.File(other.model_file) as after:
        for number, block in enumerate(blocks):
            for path in block.weights:
                same = np.array_equal(before[path][...], after[path][...])
                if before[path].ndim > 1:
                    assert same == (number >= 2), path
        path = next(path for path in blocks[1].weights if path.endswith("kernel"))
        kernel = after[path][...]
        assert kernel.std() == pytest.approx(np.sqrt(2 / 36), rel=0.3)


def test_kernels_keep_their_shape_and_normalisations_begin_at_one(tmp_path: Path) -> None:
    file = tmp_path / "some.h5"
    with h5py.File(file, "w") as stored:
        for name, shape in {
            "kernel": (3, 3, 8, 16),
            "depthwise_kernel": (3, 3, 50, 1),
            "gamma": (5,),
            "bias": (5,),
        }.items():
            stored[name] = np.full(shape, 9.0, np.float32)
    randomise(file, ("kernel", "depthwise_kernel", "gamma", "bias"), np.random.default_rng(1))
    with h5py.File(file) as stored:
        assert stored["kernel"][...].std() == pytest.approx(np.sqrt(2 / 72), rel=0.1)
        assert stored["depthwise_kernel"][...].std() == pytest.approx(np.sqrt(2 / 9), rel=0.15)
        assert (stored["gamma"][...] == 1).all()
        assert (stored["bias"][...] == 0).all()


# ---------------------------------------------------------------- the command


def test_every_way_of_parting_a_network_holds_all_its_layers(tmp_path: Path) -> None:
    """Names that tell no blocks, with scales beside kernels: five parts and the head, none twice."""
    file = tmp_path / "plain.h5"
    with h5py.File(file, "w") as stored:
        weights = stored.create_group("model_weights")
        names = [f"c{number}" for number in range(12)] + ["last"]
        weights.attrs["layer_names"] = [*names, "pooling"]
        for name in names:
            layer = weights.create_group(name)
            layer.attrs["weight_names"] = [f"{name}/kernel", f"{name}/bias"]
            layer[f"{name}/kernel"] = np.zeros((4, 1) if name == "last" else (3, 3, 2, 2))
            layer[f"{name}/bias"] = np.zeros(2)
        weights.create_group("pooling").attrs["weight_names"] = np.array([], "S1")
    blocks = blocks_of(file)
    assert [block.name for block in blocks] == [
        "head",
        *(f"part {part} of 5" for part in (5, 4, 3, 2, 1)),
    ]
    paths = [path for block in blocks for path in block.weights]
    assert len(paths) == len(set(paths)) == 26
    assert blocks[0].weights == ("/model_weights/last/last/kernel", "/model_weights/last/last/bias")


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faithfulness", str(tmp_path / "nowhere")]) == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def released() -> Version:
    return read_version(list_versions(RELEASED)[0].folder)


def test_report_that_ships_is_of_test_films_and_says_what_the_card_says(released: Version) -> None:
    report = released.report("faithfulness")
    assert report is not None
    assert (report["split"], report["films"]) == ("test", 100)
    areas = report["curves"]["probability"]
    assert (
        areas["random map"]["deletion_gain"]["low"] > 0 and areas["random map"]["insertion_gain"]["low"] > 0
    )
    assert (
        areas["middle of the image"]["insertion_gain"]["high"] < 0
    )  # the card says so: worse than the middle
    card = Path(__file__).parents[2].joinpath("docs", "model-card.md").read_text(encoding="utf-8")
    assert report["command"] in card
    for entry in areas.values():
        area = entry["deletion_area"]
        assert f"{area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})" in card


@pytest.mark.data
@pytest.mark.slow
def test_shares_are_those_of_the_heat_map_that_is_shown(
    released: Version, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    predictor = Predictor.load(released, cache=tmp_path_factory.mktemp("cache"))
    images, labels = chosen_images(Namespace(data=data_folder, split="validation", films=4, seed=1), released)
    assert labels.tolist() == [0] * 4 + [1] * 4
    probabilities, shares = reader(released, predictor)(images)
    evidence = predictor.read(images)
    assert evidence.heat is not None
    np.testing.assert_allclose(probabilities, evidence.probabilities, atol=1e-6)
    np.testing.assert_allclose(np.maximum(shares, 0), evidence.heat, atol=1e-5)
    for image in images:
        left, right = two_lungs(image[:, :, 0])
        assert left.any() and right.any() and not (left & right).any()


@pytest.mark.data
@pytest.mark.slow
def test_whole_command_on_a_few_films(
    data_folder: Path, released: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    words = ["faithfulness", str(data_folder), "--version", released.name, "--split", "validation"]
    assert main([*words, "--films", "3", "--draws", "0", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["films_by_class"] == {"NORMAL": 3, "PNEUMONIA": 3}
    assert figures["pointing"]["films"] == 3
    balanced = released.card.operating_point("balanced").threshold
    assert figures["curves"]["blurred"]["probability_of_flagged"]["value"] > balanced
    assert "Deletion and insertion" in capsys.readouterr().out
