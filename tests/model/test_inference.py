"""The fast engine gives plain Keras' numbers, survives a damaged cache and leaves TensorFlow out."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.calibration import OperatingPoint, identity, logit, sigmoid
from model.inference import (
    BF16_LOGIT_TOLERANCE,
    BF16_NOTE,
    BF16_SAMPLE_TOLERANCE,
    MANIFEST,
    InferenceError,
    Predictor,
    converted,
)
from model.registry import MODEL_FILE, Card, Version, list_versions, write_version

openvino = pytest.importorskip("openvino")

PROJECT = Path(__file__).parents[2]
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")
F32_LOGIT_TOLERANCE = 2e-4
"""OpenVINO float32 against plain Keras: the order of sums differs (measured on full-size networks: 6e-5)."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Five grey pictures as the network sees films: uint8 (5, 224, 224, 3), channels equal."""
    random = np.random.default_rng(5)
    small = random.uniform(0, 255, (5, 14, 14))
    grey = np.clip(np.kron(small, np.ones((16, 16))) + random.normal(0, 12, (5, 224, 224)), 0, 255).astype(
        np.uint8
    )
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.fixture(scope="module")
def reference(tiny_network: Any, images: np.ndarray) -> np.ndarray:
    """Plain Keras float32, uncalibrated."""
    return np.asarray(tiny_network(images.astype(np.float32), training=False))[:, 0].astype(np.float64)


def version_of(network: Any, folder: Path, *, thresholds: tuple[float, ...] = (0.5,)) -> Version:
    file = folder.parent / f"{folder.name}.h5"
    network.save(file)
    points = tuple(
        OperatingPoint(name=f"point{i}", threshold=t, rule="set by a test") for i, t in enumerate(thresholds)
    )
    card = Card(
        name=folder.name,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        architecture="test",
        seed_configuration="none",
        input_size=network.input_shape[1:3],
        pixel_scaling="inside",
        started_from="random weights",
        sha256="0" * 64,
        parameters=network.count_params(),
        trainable_parameters=network.count_params(),
        calibration=identity(),
        operating_points=points,
    )
    return write_version(folder, model_file=file, card=card, history=None, predictions={})


@pytest.mark.parametrize("options", [{"precision": "f32"}, {"engine": "keras"}], ids=["openvino", "keras"])
def test_float32_equals_plain_keras(
    tiny_version: Version, cache: Path, images: np.ndarray, reference: np.ndarray, options: Any
) -> None:
    predictor = Predictor.load(tiny_version, cache=cache, **options)
    expected = tiny_version.card.calibration.apply(reference)
    probabilities = predictor.predict(images)
    assert probabilities.dtype == np.float64 and probabilities.shape == (5,)
    np.testing.assert_allclose(logit(probabilities), logit(expected), atol=F32_LOGIT_TOLERANCE)
    assert predictor.description.precision == "f32"


@needs_bf16
def test_bfloat16_is_chosen_and_stays_within_its_tolerance(
    tiny_version: Version, cache: Path, images: np.ndarray, reference: np.ndarray
) -> None:
    predictor = Predictor.load(tiny_version, cache=cache)
    assert (predictor.description.engine, predictor.description.precision) == ("openvino", "bf16")
    raw = [predictor._network.run(image[None], features=False)[0] for image in images]
    difference = tiny_version.card.calibration.slope * np.abs(raw - logit(reference))
    assert difference.max() < BF16_LOGIT_TOLERANCE


@needs_bf16
def test_a_network_too_steep_for_bfloat16_runs_in_float32(
    tiny_network: Any, tmp_path: Path, images: np.ndarray
) -> None:
    import keras

    steep = keras.models.clone_model(tiny_network)
    *weights, kernel, bias = tiny_network.get_weights()
    steep.set_weights([*weights, 1000 * kernel, 1000 * bias])
    version = version_of(steep, tmp_path / "steep")
    for _ in range(2):  # measured, then remembered
        predictor = Predictor.load(version, cache=tmp_path / "cache")
        assert predictor.description.precision == "f32"
        assert "bfloat16 moves the logit" in predictor.description.words
    exact = Predictor.load(version, cache=tmp_path / "cache", precision="f32")
    assert np.array_equal(predictor.predict(images), exact.predict(images))
    (note,) = (tmp_path / "cache").glob(f"*/{BF16_NOTE}")
    assert json.loads(note.read_text()) > BF16_SAMPLE_TOLERANCE


@needs_bf16
def test_at_an_operating_point_float32_decides(
    tiny_network: Any, tmp_path: Path, images: np.ndarray, reference: np.ndarray
) -> None:
    # Thresholds on the very scores: whichever way bfloat16 errs, each film is one that needs float32.
    version = version_of(tiny_network, tmp_path / "edge", thresholds=tuple(reference))
    fast = Predictor.load(version, cache=tmp_path / "cache", precision="bf16")
    exact = Predictor.load(version, cache=tmp_path / "cache", precision="f32")
    assert np.array_equal(fast.predict(images), exact.predict(images))
    fast_prediction, exact_prediction = (
        fast.predict_with_features(images),
        exact.predict_with_features(images),
    )
    assert np.array_equal(fast_prediction.features, exact_prediction.features)
    read, exactly = fast.read(images), exact.read(images)
    assert np.array_equal(read.probabilities, exactly.probabilities)
    assert read.heat is not None and exactly.heat is not None
    assert np.array_equal(read.heat, exactly.heat) and np.array_equal(read.pooled, exactly.pooled)


def test_features_are_the_last_convolutions_map(
    tiny_version: Version, tiny_network: Any, cache: Path, images: np.ndarray
) -> None:
    import keras

    layer = keras.Model(tiny_network.input, tiny_network.get_layer("block5_conv3").output)
    expected = np.asarray(layer(images.astype(np.float32)))
    for options in ({"precision": "f32"}, {"engine": "keras"}):
        predictor = Predictor.load(tiny_version, cache=cache, **options)  # type: ignore[arg-type]
        prediction = predictor.predict_with_features(images)
        assert prediction.features.dtype == np.float32
        np.testing.assert_allclose(prediction.features, expected, atol=1e-4 * np.abs(expected).max())
        assert np.array_equal(prediction.probabilities, predictor.predict(images))


def test_a_film_does_not_depend_on_its_company(
    tiny_version: Version, cache: Path, images: np.ndarray
) -> None:
    predictor = Predictor.load(tiny_version, cache=cache)
    many = np.concatenate([images, 255 - images, images[:, ::-1], images[:, :, ::-1]])  # two eights and four
    together = predictor.predict(many)
    assert np.array_equal(together, np.concatenate([predictor.predict(many[i : i + 1]) for i in range(20)]))
    assert len(set(together)) == 20
    assert predictor.predict(images[:0]).shape == (0,)
    assert predictor.predict_with_features(images[:0]).features.shape == (0, 14, 14, 4)


def test_threads_share_one_predictor(tiny_version: Version, cache: Path, images: np.ndarray) -> None:
    predictor = Predictor.load(tiny_version, cache=cache)
    alone = predictor.predict_with_features(images)
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda i: (i, predictor.predict_with_features(images[i : i + 1])), list(range(5)) * 20)
        )
    for index, result in results:
        assert result.probabilities[0] == alone.probabilities[index]
        assert np.array_equal(result.features[0], alone.features[index])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 112, 112, 3), np.uint8),
    ],
)
def test_other_images_are_refused(tiny_version: Version, cache: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        Predictor.load(tiny_version, cache=cache).predict(wrong)


def test_a_warm_cache_needs_no_tensorflow(tiny_version: Version, cache: Path) -> None:
    converted(tiny_version, cache)
    program = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from model.registry import read_version\n"
        "from model.inference import Predictor\n"
        "predictor = Predictor.load(read_version(Path(sys.argv[1])), cache=Path(sys.argv[2]))\n"
        "predictor.predict_with_features(numpy.zeros((2, 224, 224, 3), numpy.uint8))\n"
        "assert predictor.read(numpy.zeros((2, 224, 224, 3), numpy.uint8)).heat is not None\n"
        "assert predictor.description.engine == 'openvino'\n"
        "print(sorted({'tensorflow', 'keras', 'streamlit', 'pandas'} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tiny_version.folder), str(cache)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_converting_leaves_tensorflow_out_of_this_process_and_plain_keras_stands_in(
    tiny_version: Version, tmp_path: Path
) -> None:
    program = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from model.registry import read_version\n"
        "from model.inference import Predictor\n"
        "version, cache = read_version(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "image = numpy.full((1, 224, 224, 3), 99, numpy.uint8)\n"
        "fast = Predictor.load(version, cache=cache, precision='f32').predict(image)\n"
        "assert 'tensorflow' not in sys.modules\n"
        "sys.modules['openvino'] = None  # as if it were not installed\n"
        "plain = Predictor.load(version, cache=cache)\n"
        "print(plain.description.engine, abs(plain.predict(image) - fast).max() < 1e-4)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tiny_version.folder), str(tmp_path / "cache")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "keras True"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "body.bin"),
        lambda folder: (folder / "head.xml").unlink(),
        lambda folder: (folder / MANIFEST).write_text("[]"),
    ],
    ids=["flipped byte", "missing file", "manifest"],
)
def test_a_damaged_cache_is_made_anew(
    tiny_version: Version, cache: Path, tmp_path: Path, images: np.ndarray, damage: Any
) -> None:
    expected = Predictor.load(tiny_version, cache=cache).predict(images)
    damaged = Path(shutil.copytree(cache, tmp_path / "damaged"))
    damage(converted(tiny_version, damaged))
    assert np.array_equal(Predictor.load(tiny_version, cache=damaged).predict(images), expected)
    assert len(list(damaged.iterdir())) == 1, "nothing unfinished or damaged is left behind"


def test_a_swapped_network_is_not_converted(tiny_version: Version, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    data = bytearray(tiny_version.model_file.read_bytes())
    data[-1] ^= 0xFF
    (folder / MODEL_FILE).write_bytes(bytes(data))
    with pytest.raises(InferenceError, match="not the one its card describes"):
        Predictor.load(dataclasses.replace(tiny_version, folder=folder), cache=tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_unwritable_cache_has_one_sentence(tiny_version: Version, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InferenceError, match="cannot be written"):
        Predictor.load(tiny_version, cache=tmp_path / "cache")


def test_a_nested_network_reads_the_same_on_both_engines(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    inner = keras.Model(image, layers.MaxPooling2D(2)(x), name="inner")
    outside = keras.Input((32, 32, 3))
    y = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(outside)))
    version = version_of(keras.Model(outside, layers.Dense(1, activation="sigmoid")(y)), tmp_path / "nested")
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    fast = Predictor.load(version, cache=tmp_path / "cache", precision="f32", engine="openvino")
    plain = Predictor.load(version, cache=tmp_path / "cache", engine="keras")
    one, two = fast.predict_with_features(pixels), plain.predict_with_features(pixels)
    assert one.features.shape == (3, 30, 30, 4)
    np.testing.assert_allclose(one.features, two.features, atol=1e-4)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)


def test_a_layout_that_cannot_be_cut_runs_on_plain_keras(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    around = layers.Concatenate()([x, layers.GlobalAveragePooling2D()(image)])
    version = version_of(
        keras.Model(image, layers.Dense(1, activation="sigmoid")(around)), tmp_path / "around"
    )
    predictor = Predictor.load(version, cache=tmp_path / "cache")
    assert predictor.description.engine == "keras"
    assert "go round" in predictor.description.words
    with pytest.raises(InferenceError, match="go round"):
        Predictor.load(version, cache=tmp_path / "cache", engine="openvino")


def test_memory_stays_flat(tiny_version: Version, cache: Path, images: np.ndarray) -> None:
    predictor = Predictor.load(tiny_version, cache=cache)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to read the memory in use")
    predictor.predict_with_features(np.repeat(images, 10, axis=0))
    predictor.read(np.repeat(images, 10, axis=0))
    before = resident()
    for _ in range(40):
        predictor.predict(images)
        predictor.read(images)
    assert resident() - before < 8 * 2**20


@pytest.mark.data
@pytest.mark.slow
def test_all_test_decisions_equal_plain_keras(data_folder: Path, tmp_path: Path) -> None:
    """The released network on every test film, at every operating point."""
    from model.films import prepare, read_xray

    versions = list_versions()
    if not versions:
        pytest.skip("needs a released version in model/released")
    version = versions[0]
    files = sorted(path for path in (data_folder / "test").glob("*/*") if path.is_file())
    assert len(files) == 624
    films = np.stack([prepare(read_xray(path.read_bytes()).pixels) for path in files])
    fast = Predictor.load(version, cache=tmp_path)
    plain = Predictor.load(version, cache=tmp_path, engine="keras")
    raw = np.array([fast._network.run(film[None], features=False)[0] for film in films])
    exact = np.array([plain._network.run(film[None], features=False)[0] for film in films])
    ours, theirs = fast.predict(films), version.card.calibration.apply(sigmoid(exact))
    for point in version.card.operating_points:
        assert np.array_equal(ours >= point.threshold, theirs >= point.threshold), point.name
    difference = version.card.calibration.slope * np.abs(raw - exact)
    assert difference.max() < BF16_LOGIT_TOLERANCE, "the tolerance no longer covers this network"
