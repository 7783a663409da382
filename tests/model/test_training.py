from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import architectures, training
from model.batches import changed_batches, doubled, load_films, targets
from model.recipes import default_config
from model.registry import read_version
from model.training import Progress, TrainingError, train

WIDTH = 0.05  # a few filters
SIZE = architectures.Size(blocks=((1, 4), (1, 4), (1, 6), (1, 6), (1, 8)), head_units=8)
CONFIG = default_config(
    "vgg16_scratch",
    stages=((32, 1), (48, 2)),
    starting_weights="none",
    batch_size=8,
    learning_rate=5e-3,
    augmentation="gentle",
    mixed_precision=False,
    average=0.8,
    validation_fraction=0.25,
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films that a network can tell apart: pneumonia has a bright patch on one side."""
    root = tmp_path_factory.mktemp("films")
    random = np.random.default_rng(0)
    names = {"NORMAL": "IM-{:04d}-0001.png", "PNEUMONIA": "person{}_virus_1.png"}
    for split, first, count in (("train", 1, 24), ("test", 100, 6)):
        for class_name, name in names.items():
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for number in range(first, first + count):
                pixels = random.integers(60, 100, (224, 224))
                if class_name == "PNEUMONIA":
                    pixels[60:160, 20:100] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name.format(number))
    return root


@pytest.fixture(scope="module")
def version(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Progress]]:
    seen: list[Progress] = []
    out = tmp_path_factory.mktemp("out") / "tiny"
    train(films, out, config=CONFIG, width=WIDTH, progress=seen.append)
    return out, seen


def test_a_run_ends_in_a_whole_version(version: tuple[Path, list[Progress]], films: Path) -> None:
    folder, _ = version
    read = read_version(folder)
    assert read.card.training["stages"] == [[32, 1], [48, 2]]
    assert read.card.started_from == "random weights"
    assert read.card.data["counts"]["test"] == {"NORMAL": 6, "PNEUMONIA": 6}
    assert len(read.card.data["fingerprint"]) == 64
    assert read.card.data["width_auc"] is None  # all films are of one width
    assert {point.name for point in read.card.operating_points} == {
        "default",
        "balanced",
        "screening",
        "rule-in",
    }
    history = read.history()
    assert history["side"].tolist() == [32, 48, 48]
    assert {"loss", "auc", "val_loss", "val_auc", "val_precision", "val_recall"} <= set(history.columns)
    validation = read.predictions("validation")
    assert len(validation.files) == 12
    assert not (folder.parent / "tiny.run").exists()


def test_stored_predictions_are_those_of_the_saved_network(
    version: tuple[Path, list[Progress]], films: Path
) -> None:
    import keras

    from model.films import prepare, read_xray

    read = read_version(version[0])
    network = keras.models.load_model(read.model_file, compile=False)
    for split in ("validation", "test"):
        stored = read.predictions(split)
        pixels = np.stack([prepare(read_xray((films / name).read_bytes()).pixels) for name in stored.files])
        raw = network(pixels.astype(np.float32)).numpy()[:, 0]
        np.testing.assert_allclose(stored.probabilities, read.card.calibration.apply(raw), atol=1e-5)


def test_unchanged_views_give_what_the_network_gives(films: Path) -> None:
    import keras

    from model.augmentation import RECIPES
    from model.dataset import read_dataset
    from tests.model.test_augmentation import OFF

    keras.utils.set_random_seed(5)
    network = architectures.build(SIZE)
    loaded = load_films(read_dataset(films).split("test"), side=224)
    RECIPES["off"] = OFF
    try:
        config = CONFIG.model_copy(update={"calibration_recipe": "off", "calibration_views": 2})
        raw, reference = training.raw_probabilities_of_views(network, loaded, config)
    finally:
        del RECIPES["off"]
    np.testing.assert_allclose(raw, np.tile(training.raw_probabilities(network, loaded.pixels), 2), atol=1e-4)
    assert reference.tolist() == [*loaded.labels, *loaded.labels]


def test_the_run_learns_what_there_is_to_learn(version: tuple[Path, list[Progress]]) -> None:
    stored = read_version(version[0]).predictions("test")
    assert stored.probabilities[stored.labels == 1].min() > stored.probabilities[stored.labels == 0].max()


def test_progress_counts_every_batch(version: tuple[Path, list[Progress]]) -> None:
    _, seen = version
    phases = list(dict.fromkeys(now.phase for now in seen))
    assert phases == ["reading films", "training", "calibrating", "testing", "writing"]
    for phase in phases[:-1]:
        told = [now for now in seen if now.phase == phase]
        assert [now.step for now in told] == list(range(1, told[0].steps + 1))
        assert told[-1].seconds_left == 0


KILLED = """
import os, sys
from pathlib import Path
from tests.model.test_training import CONFIG, WIDTH
from model.training import train

def stop(now):
    if now.epoch == 3:
        os._exit(9)

train(Path(sys.argv[1]), Path(sys.argv[2]), config=CONFIG, width=WIDTH, progress=stop)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_epoch(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    project = Path(training.__file__).parent.parent
    killed = subprocess.run([sys.executable, "-c", KILLED, films, out], cwd=project, check=False)
    assert killed.returncode == 9
    assert not out.exists()
    with pytest.raises(TrainingError, match="go on with --resume"):
        train(films, out, config=CONFIG, width=WIDTH)
    seen: list[Progress] = []
    version = train(films, out, resume=True, width=WIDTH, progress=seen.append)
    assert {now.epoch for now in seen if now.phase == "training"} == {3}
    assert version.history()["epoch"].tolist() == [1, 2, 3]
    assert version.card.training["learning_rate"] == CONFIG.learning_rate
    with pytest.raises(TrainingError, match="exists already"):
        train(films, out, config=CONFIG, width=WIDTH)


@pytest.mark.slow
def test_a_series_held_out_whole_judges_thresholds_it_did_not_choose(films: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(films / "train", tmp_path / "data")
    for number in range(1, 9):
        source = data / "NORMAL" / f"IM-{number:04d}-0001.png"
        source.rename(source.with_name(f"NORMAL2-{source.name}"))
    config = CONFIG.model_copy(update={"validation_series": "NORMAL2-IM", "stages": ((32, 1),)})
    version = train(data, tmp_path / "out", config=config, width=WIDTH)
    counts = version.card.data["counts"]
    assert counts["held-out"] == {"NORMAL": 8, "PNEUMONIA": 0}
    assert counts["validation"]["NORMAL"] > 0
    assert version.card.calibration.fitted_on.startswith(
        f"{sum(counts['validation'].values())} validation films"
    )
    assert version.card.metrics["held-out"]["balanced"]["n"] == 8


def test_a_run_that_never_was_cannot_be_resumed(films: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no run to resume"):
        train(films, tmp_path / "never", resume=True)


def test_an_unreadable_film_is_named_before_training(films: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(films, tmp_path / "films")
    (tmp_path / "films/train/NORMAL/IM-0003-0001.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match="IM-0003-0001.png cannot be used"):
        train(tmp_path / "films", tmp_path / "out", config=CONFIG, width=WIDTH)


def test_batch_statistics_are_plain_means_over_batches(films: Path) -> None:
    """Afterwards the network in inference mode sees what it normalises: mean 0, variance 1 behind the first layer."""
    import keras

    from model.dataset import read_dataset

    keras.utils.set_random_seed(4)
    network = architectures.build_for_training(SIZE)
    loaded = load_films(read_dataset(films).split("train"), side=224)
    training.settle_batch_statistics(network, loaded, CONFIG, batches=12)
    layer = network.get_layer("block1_conv1_normalisation")
    assert layer.momentum == 0.99
    first = keras.Model(network.input, layer.input)
    changed = changed_batches(doubled(loaded, 48), targets(loaded, one_hot=False), 48, CONFIG)
    values = np.concatenate([first(images).numpy() for images, _ in changed(0)])
    values = (values - np.asarray(layer.moving_mean)) / np.sqrt(
        np.asarray(layer.moving_variance) + layer.epsilon
    )
    np.testing.assert_allclose(values.mean((0, 1, 2)), 0, atol=0.15)
    np.testing.assert_allclose(values.std((0, 1, 2)), 1, atol=0.15)


def test_missing_weights_file_is_named(films: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"starting_weights": str(tmp_path / "none.npz")})
    with pytest.raises(TrainingError, match="no weights file"):
        train(films, tmp_path / "out", config=config, width=WIDTH)
