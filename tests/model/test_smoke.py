"""The smoke test lets a sound version through, and none that reads films otherwise than when it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from model.films import prepare, read_xray
from model.inference import Predictor
from model.registry import (
    CARD_FILE,
    MODEL_FILE,
    RELEASED,
    Version,
    VersionError,
    find_version,
    read_version,
    sha256_of,
)
from model.samples import sample_files
from model.smoke import F32_TOLERANCE, sample_images, sample_probabilities, smoke_test


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def sound(tiny_version: Version, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The tiny version with what it gives on the samples in its card."""
    folder = Path(shutil.copytree(tiny_version.folder, tmp_path_factory.mktemp("sound") / "sound"))
    return changed(folder, samples=sample_probabilities(tiny_version, cache=cache))


def changed(folder: Path, **fields: object) -> Version:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | fields))
    return read_version(folder)


@pytest.fixture
def folder(sound: Version, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound.folder, tmp_path / "copy"))


def test_the_samples_are_read_as_any_film() -> None:
    names, images = sample_images(64)
    assert len(names) == 6 and images.shape == (6, 64, 64, 3) and images.dtype == np.uint8
    first = prepare(read_xray(sample_files()[0].read_bytes()).pixels, size=(64, 64))
    assert np.array_equal(images[0], first)
    assert sample_images((48, 80))[1].shape == (6, 48, 80, 3)


def test_a_sound_version_passes_with_either_engine(sound: Version, cache: Path) -> None:
    assert len(set(sound.card.samples.values())) == 6
    smoke_test(sound, cache=cache)
    smoke_test(sound, cache=cache, engine="keras")


def test_the_released_version_gives_what_its_card_says(cache: Path) -> None:
    released = find_version(None, RELEASED)
    assert set(released.card.samples) == {file.name for file in sample_files()}
    smoke_test(released, cache=cache)


@pytest.mark.parametrize("precision", ["auto", "f32"])
def test_another_probability_than_the_cards_is_refused(folder: Path, cache: Path, precision: str) -> None:
    samples = json.loads((folder / CARD_FILE).read_text())["samples"]
    name = sorted(samples)[3]
    shift = 3 * F32_TOLERANCE
    moved = samples[name] + (shift if samples[name] < 0.5 else -shift)
    version = changed(folder, samples=samples | {name: moved})
    with pytest.raises(VersionError, match=f"smoke test: it gives {name} a probability of"):
        smoke_test(version, cache=cache, precision=precision)  # type: ignore[arg-type]
    smoke_test(changed(folder, samples=samples | {name: samples[name] + F32_TOLERANCE / 4}), cache=cache)


def weights(file: h5py.File, layer: str) -> list[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    file["model_weights"][layer].visititems(
        lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None
    )
    return found


def test_weights_that_are_not_finite_are_refused(folder: Path, cache: Path) -> None:
    """Behind a ReLU they would not even show: it makes a NaN to 0."""
    with h5py.File(folder / MODEL_FILE, "r+") as file:
        weights(file, "block3_conv2")[0][0] = np.nan
    version = changed(folder, sha256=sha256_of(folder / MODEL_FILE), samples={})
    with pytest.raises(VersionError, match="weights of its network are not finite .*block3_conv2"):
        smoke_test(version, cache=cache)


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_numbers_that_are_not_finite_are_refused(folder: Path, cache: Path, engine: str) -> None:
    with h5py.File(folder / MODEL_FILE, "r+") as file:
        for layer in ("block5_conv2", "block5_conv3"):
            for weight in weights(file, layer):
                weight[...] = 1e30
    version = changed(folder, sha256=sha256_of(folder / MODEL_FILE), samples={})
    with pytest.raises(VersionError, match="numbers that are not finite"):
        smoke_test(version, cache=cache, engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_another_input_than_the_cards_is_refused(folder: Path, cache: Path, engine: str) -> None:
    version = changed(folder, input_size=[96, 64])
    with pytest.raises(VersionError, match="failed its smoke test"):
        smoke_test(version, cache=cache, engine=engine)  # type: ignore[arg-type]


def test_a_predictor_outlives_its_version(folder: Path, cache: Path) -> None:
    """What still predicts with the old version when another one goes into use is not disturbed, even by its removal."""
    version = read_version(folder)
    predictor = Predictor.load(version, cache=cache)
    _, images = sample_images()
    before = predictor.predict(images)
    shutil.rmtree(folder)
    assert np.array_equal(predictor.predict(images), before)
