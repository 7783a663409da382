from __future__ import annotations

import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from model.augmentation import RECIPES
from model.datacheck import check_dataset
from model.dataset import DatasetError, read_dataset
from model.exploration import (
    Cue,
    ExplorationCancelled,
    alone,
    average,
    black_border,
    counts,
    cues,
    eigen_images,
    explore,
    preview,
    stamp,
)


def film(seed: int, *, width: int = 96, height: int = 80, light: float = 0.0) -> NDArray[np.uint8]:
    """A smooth picture of its own for each seed, without black edges."""
    coarse = np.random.default_rng(seed).integers(60, 200, (7, 7)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(pixels + light, 30, 255).astype(np.uint8)


def save(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six films of each class to train with, two to test with; the normal ones are wider and brighter."""
    for split, numbers in (("train", range(1, 7)), ("test", range(7, 9))):
        for number in numbers:
            save(film(number, width=120, light=25), tmp_path / split / f"NORMAL/IM-{number:04}-0001.png")
            save(film(100 + number), tmp_path / split / f"PNEUMONIA/person{number}_virus_{number}.png")
    return tmp_path


def test_counts_need_no_film_opened(folder: Path) -> None:
    (folder / "train/PNEUMONIA/person1_bacteria_9.png").write_bytes(b"no picture")
    save(film(50), folder / "train/NORMAL/unnamed.png")
    train, test, both = counts(read_dataset(folder))
    assert (train.split, train.normal, train.pneumonia, train.films) == ("train", 7, 7, 14)
    assert (train.patients, train.without_number) == (14, 1)
    assert train.subgroups == {"bacteria": 1, "normal": 7, "virus": 6}
    assert (test.split, test.normal, test.pneumonia) == ("test", 2, 2)
    assert (both.split, both.films, both.patients) == ("all", 18, 18)


def test_a_set_without_splits_is_counted_once(folder: Path) -> None:
    (only,) = counts(read_dataset(folder / "train"))
    assert (only.split, only.films) == ("all", 12)


def test_one_pass_collects_what_is_there(folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    dataset = read_dataset(folder)
    found = explore(dataset, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 16) for done in range(1, 17)]
    assert found.report == check_dataset(dataset)
    assert found.position.tolist() == list(range(16))
    assert found.labels.tolist() == [each.label for each in dataset.films]
    assert set(found.width[found.labels == 0]) == {120}
    assert set(found.width[found.labels == 1]) == {96}
    assert set(found.height) == {80}
    first = np.asarray(Image.open(dataset.films[0].path))
    assert found.brightness[0] == pytest.approx(first.mean())
    low, high = np.percentile(first, (5, 95))
    assert found.contrast[0] == pytest.approx(high - low, abs=1)
    assert not found.border.any()
    assert not found.colour.any()
    assert found.within("test").sum() == 4
    assert found.within(None).all()
    assert found.count(0, "train") == 6
    assert found.count(1, None) == 8


def test_the_histogram_weighs_every_film_the_same(folder: Path) -> None:
    dataset = read_dataset(folder)
    found = explore(dataset)
    expected = np.mean(
        [
            np.bincount(np.asarray(Image.open(each.path)).ravel(), minlength=256) / (120 * 80)
            for each in dataset.films
            if each.label == 0
        ],
        axis=0,
    )
    assert found.histogram(0, None) == pytest.approx(expected)
    assert found.histogram(0, "train").sum() == pytest.approx(1)
    assert not found.histogram(0, "nowhere").any()


def test_pictures_are_capped_by_one_draw_for_all_splits(folder: Path) -> None:
    dataset = read_dataset(folder)
    found = explore(dataset)
    capped = explore(dataset, pictures=3)
    assert found.pictures(0, "train").shape == (6, 64, 64)
    assert found.pictures(0, None).shape == (8, 64, 64)
    assert capped.pictures(0, "train").shape == (3, 64, 64)
    assert capped.count(0, "train") == 6  # counts and histograms are of all films
    assert capped.histogram(0, "train") == pytest.approx(found.histogram(0, "train"))
    # The smaller draw is the beginning of the larger one, and that of all films is fair to both splits.
    assert (found.pictures(0, "train", most=3) == capped.pictures(0, "train")).all()
    assert (found.pictures(0, None, most=3) == capped.pictures(0, None, most=3)).all()
    assert found.pictures(1, "nowhere").shape == (0, 64, 64)


def test_unreadable_and_vanished_files_stop_nothing(folder: Path) -> None:
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    dataset = read_dataset(folder)
    dataset.films[1].path.unlink()
    found = explore(dataset)
    assert found.position.tolist() == list(range(2, 16))
    assert [each.file for each in found.report.unreadable] == [
        "train/NORMAL/IM-0001-0001.png",
        "train/NORMAL/IM-0002-0001.png",
    ]
    assert "cannot be opened" in found.report.unreadable[1].message


def test_a_set_that_vanished_is_said_in_one_sentence(folder: Path) -> None:
    dataset = read_dataset(folder)
    shutil.rmtree(folder)
    with pytest.raises(DatasetError, match="None of the 16 files"):
        explore(dataset)


def test_it_stops_when_asked(folder: Path) -> None:
    steps: list[int] = []
    with pytest.raises(ExplorationCancelled):
        explore(
            read_dataset(folder),
            progress=lambda done, total: steps.append(done),
            cancelled=lambda: len(steps) == 3,
        )
    assert steps == [1, 2, 3]


def test_a_stopped_pass_leaves_no_thread_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ExplorationCancelled) as stopped:
        explore(read_dataset(folder), cancelled=lambda: True)
    assert set(threading.enumerate()) == before
    assert stopped.value is not None  # held until here, as the waiting sessions hold it


def test_the_stamp_follows_names_sizes_and_times(folder: Path) -> None:
    dataset = read_dataset(folder)
    before = stamp(dataset)
    assert stamp(read_dataset(folder)) == before
    dataset.films[0].path.write_bytes(dataset.films[0].path.read_bytes() + b"x")
    changed = stamp(dataset)
    assert changed != before
    dataset.films[0].path.unlink()
    assert stamp(dataset) not in (before, changed)


def test_nothing_is_written(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    explore(read_dataset(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# --- a class missing --------------------------------------------------------------------------------


def test_one_class_alone_can_be_looked_at(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "PNEUMONIA")
    shutil.rmtree(folder / "train" / "PNEUMONIA")
    (folder / "train" / "PNEUMONIA").mkdir()
    with pytest.raises(DatasetError, match="both classes"):
        read_dataset(folder)
    found = explore(read_dataset(folder, both_classes=False))
    assert found.count(1, None) == 0
    assert {cue.unavailable for cue in cues(found, None)} == {"There are only films of NORMAL."}
    assert all(cue.verdict == cue.unavailable for cue in cues(found, None))


def test_no_film_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "NORMAL").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        read_dataset(tmp_path, both_classes=False)


# --- cues -------------------------------------------------------------------------------------------


def by_key(told: tuple[Cue, ...]) -> dict[str, Cue]:
    return {cue.key: cue for cue in told}


def test_what_gives_the_class_away_is_found(folder: Path) -> None:
    told = by_key(cues(explore(read_dataset(folder)), None))
    assert (told["width"].auc, told["width"].higher) == (1.0, "NORMAL")
    assert told["width"].interval is not None
    assert told["width"].verdict == "All but gives the class away: higher in NORMAL."
    assert told["height"].auc is None
    assert told["height"].verdict == "It is the same in all films and tells nothing."
    assert told["aspect"].auc == 1.0
    assert told["colour"].auc is None
    assert (told["brightness"].auc or 0) > 0.5
    assert "grey" in told["colour"].network
    assert "stretched" in told["width"].network


def test_colour_files_of_one_class(folder: Path) -> None:
    for path in (folder / "train" / "NORMAL").iterdir():
        Image.open(path).convert("RGB").save(path)
    told = by_key(cues(explore(read_dataset(folder)), "train"))
    assert (told["colour"].auc, told["colour"].higher) == (1.0, "NORMAL")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_area_is_that_of_scikit_learn_in_the_better_direction(sign: int) -> None:
    random = np.random.default_rng(5)
    labels = np.repeat([0, 1], [40, 70])
    values = sign * np.round(random.normal(labels, 1.0), 1)  # with ties
    area, interval, higher = alone(values, labels)
    assert area == pytest.approx(roc_auc_score(labels, sign * values))
    assert interval.low < area < interval.high
    assert higher == ("PNEUMONIA" if sign > 0 else "NORMAL")


def test_one_class_has_no_area() -> None:
    with pytest.raises(ValueError, match="both classes"):
        alone(np.arange(3.0), np.ones(3, dtype=np.int64))


@pytest.mark.parametrize(
    ("area", "words"),
    [(0.55, "Hardly"), (0.65, "a little"), (0.75, "Clearly"), (0.9, "well"), (0.97, "gives the class away")],
)
def test_an_area_in_words(folder: Path, area: float, words: str) -> None:
    cue = by_key(cues(explore(read_dataset(folder)), None))["width"]
    assert cue.interval is not None
    told = replace(cue, auc=area, interval=replace(cue.interval, low=area - 0.01, high=area + 0.01))
    assert words in told.verdict
    assert "No sign" in replace(told, interval=replace(cue.interval, low=0.49)).verdict


@pytest.mark.parametrize(
    ("rows", "columns", "share"), [(0, 0, 0.0), (10, 0, 0.1), (0, 20, 0.2), (10, 20, 1 - 0.9 * 0.8)]
)
def test_black_bars(rows: int, columns: int, share: float) -> None:
    pixels = np.full((100, 100), 120, dtype=np.uint8)
    pixels[:rows] = 5
    pixels[:, 100 - columns :] = 16
    assert black_border(pixels) == pytest.approx(share)


def test_black_inside_is_no_border_and_a_letter_in_a_border_is_no_film() -> None:
    pixels = np.full((100, 100), 120, dtype=np.uint8)
    pixels[40:60] = 0
    assert black_border(pixels) == 0
    pixels[:10] = 0
    pixels[4, 4:6] = 255
    assert black_border(pixels) == pytest.approx(0.1)
    assert black_border(np.zeros((50, 40), dtype=np.uint8)) == 1


# --- pictures ---------------------------------------------------------------------------------------


def stack(count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    return np.stack([film(seed + number, width=64, height=64) for number in range(count)])


def test_averages_and_profiles() -> None:
    films = stack(9)
    found = average(films)
    assert found.films == 9
    assert found.picture == pytest.approx(films.mean(axis=0), abs=1e-3)
    assert found.rows.shape == found.columns.shape == (3, 64)
    assert found.rows[0] == pytest.approx(films.mean(axis=(0, 2)), abs=1e-3)
    assert found.columns[0] == pytest.approx(films.mean(axis=(0, 1)), abs=1e-3)
    assert found.columns[1] == pytest.approx(np.percentile(films.mean(axis=1), 10, axis=0), abs=1e-3)
    with pytest.raises(ValueError, match="no film"):
        average(films[:0])


def test_standardised_averages_know_no_exposure() -> None:
    films = stack(4)
    darker = (films * 0.5).astype(np.uint8)
    assert average(films, standardise=True).picture == pytest.approx(
        average(darker, standardise=True).picture, abs=0.03
    )
    assert average(films, standardise=True).picture.mean() == pytest.approx(0, abs=1e-5)


def test_eigen_images_are_the_principal_components() -> None:
    films = stack(40)
    found = eigen_images(films)
    expected = PCA().fit(films.reshape(40, -1).astype(np.float64))
    assert found.shares == pytest.approx(expected.explained_variance_ratio_[: found.shares.size], abs=1e-3)
    together = np.cumsum(expected.explained_variance_ratio_)
    assert found.needed == int(np.flatnonzero(together >= 0.7)[0]) + 1
    assert found.mean == pytest.approx(films.mean(axis=0), abs=1e-2)
    assert found.images.shape[1:] == (64, 64)
    assert np.linalg.norm(found.images[0]) == pytest.approx(1, abs=1e-3)
    along = abs(float(found.images[0].ravel() @ expected.components_[0]))
    assert along == pytest.approx(1, abs=1e-2)


def test_batches_come_near_to_the_whole() -> None:
    """600 films in two batches: what the first one forgot costs little."""
    films = stack(600)
    found = eigen_images(films)
    expected = np.cumsum(PCA(64).fit(films.reshape(600, -1).astype(np.float64)).explained_variance_ratio_)
    assert found.needed is not None
    assert abs(found.needed - (int(np.flatnonzero(expected >= 0.7)[0]) + 1)) <= 1


def test_too_few_components_are_said() -> None:
    found = eigen_images(stack(40), components=2)
    assert found.needed is None
    assert found.shares.size == 2


def test_two_films_have_one_component_and_one_has_none() -> None:
    assert eigen_images(stack(2)).needed == 1
    with pytest.raises(ValueError, match="at least two"):
        eigen_images(stack(1))
    with pytest.raises(ValueError, match="equal"):
        eigen_images(np.repeat(stack(1), 3, axis=0))


# --- augmentation -----------------------------------------------------------------------------------


def test_the_preview_takes_the_networks_input_only() -> None:
    with pytest.raises(ValueError, match="224"):
        preview(np.zeros((100, 100), dtype=np.uint8))


@pytest.mark.slow
def test_the_preview_draws_in_another_process(tmp_path: Path) -> None:
    loaded = "tensorflow" in sys.modules
    pixels = film(3, width=224, height=224)
    made = preview(pixels, draws=3, seed=4)
    assert set(made) == set(RECIPES)
    for pictures in made.values():
        assert pictures.shape == (3, 112, 112)
        assert pictures.dtype == np.uint8
        assert (pictures[0] != pictures[1]).any()
    again = preview(pixels, draws=3, seed=4)
    assert all((again[name] == made[name]).all() for name in made)
    assert ("tensorflow" in sys.modules) == loaded
