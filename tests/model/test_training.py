from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from model import architectures, training, vgg16
from model.architectures import ARCHITECTURES
from model.batches import Films, changed_batches, doubled, load_films, reduced, targets, three_channels
from model.dataset import DatasetError, read_dataset
from model.films import prepare, read_xray
from model.fitting import compile_network, fit, trained_part
from model.inference import Predictor
from model.neighbours import Reference
from model.progress import Progress, Stop, TrainingError, TrainingStopped, Watch
from model.recipes import default_config
from model.registry import list_versions, read_version
from model.samples import sample_files
from model.training import train

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


def test_a_run_goes_on_from_where_a_version_stands(
    version: tuple[Path, list[Progress]], films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_version(version[0])
    seen: dict[str, Any] = {}

    def looked_at(network: Any, config: Any, learnt: Films, validation: Films, **options: Any) -> Any:
        """The run's own fit, after a look at what it begins with."""
        images = three_channels(reduced(validation.pixels[..., None]))
        seen["probabilities"] = network(images, training=False).numpy()[:, 0]
        seen["normalises"] = not vgg16.is_unfolded(network)
        return fit(network, config, learnt, validation, **options)

    monkeypatch.setattr(training, "fit", looked_at)
    config = CONFIG.model_copy(
        update={"starting_weights": str(before.model_file), "learning_rate": 1e-4, "stages": ((48, 1),)}
    )
    again = train(films, tmp_path / "again", config=config, width=WIDTH)
    np.testing.assert_allclose(
        seen["probabilities"], before.predictions("validation").probabilities, atol=1e-4
    )
    assert seen["normalises"]
    assert again.card.started_from == "version tiny, the whole network"


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


def test_a_version_comes_with_the_features_of_its_films(
    version: tuple[Path, list[Progress]], films: Path, tmp_path: Path
) -> None:
    read = read_version(version[0])
    reference = Reference.load(read)
    assert reference is not None
    validation = read.predictions("validation")
    assert [reference.files[index] for index in reference.of("validation")] == list(validation.files)
    assert [reference.files[index] for index in reference.of("test")] == list(read.predictions("test").files)
    assert len(reference) == 36
    trained = {reference.files[index] for index in reference.of("training")}
    assert trained.isdisjoint(validation.files)
    assert all((films / name).is_file() for name in trained)
    # As the film is read when it is served: the nearest film is the film itself.
    name = reference.files[int(reference.of("training")[5])]
    predictor = Predictor.load(read, cache=tmp_path, precision="f32")
    image = prepare(read_xray((films / name).read_bytes()).pixels, size=read.card.input_size)
    nearest = reference.nearest(predictor.read(image[None]).pooled[0])
    assert nearest[0].file == name
    assert nearest[0].label == int("PNEUMONIA" in name)
    assert nearest[0].distance < 0.2 * nearest[1].distance


def test_unchanged_views_give_what_the_network_gives(films: Path) -> None:
    import keras

    from model.augmentation import RECIPES
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


def test_a_run_learns_what_there_is_to_learn(films: Path, tmp_path: Path) -> None:
    # The films are kept whole, for what tells these apart does not lie in lungs; and the run is long enough that
    # it does not hang by the seed or by the machine's order of adding.
    config = CONFIG.model_copy(update={"stages": ((32, 6), (48, 10)), "transplanted": 0.0})
    train(films, tmp_path / "longer", config=config, width=WIDTH)
    read = read_version(tmp_path / "longer")
    assert read.history()["auc"].iloc[-1] > 0.75, (
        "calibration alone tells films of so different brightness apart"
    )
    stored = read.predictions("test")
    assert stored.probabilities[stored.labels == 1].min() > stored.probabilities[stored.labels == 0].max()


def test_no_more_parameters_were_trained_than_there_are(version: tuple[Path, list[Progress]]) -> None:
    import keras

    card = read_version(version[0]).card
    fixed = keras.models.load_model(read_version(version[0]).model_file, compile=False).non_trainable_weights
    assert card.trainable_parameters == card.parameters - sum(int(np.prod(each.shape)) for each in fixed)


def test_progress_counts_every_batch(version: tuple[Path, list[Progress]]) -> None:
    _, seen = version
    phases = list(dict.fromkeys(now.phase for now in seen))
    assert phases == ["reading films", "lungs", "training", "calibrating", "testing", "writing"]
    for phase in phases[:-1]:
        told = [now for now in seen if now.phase == phase]
        assert [now.step for now in told] == list(range(1, told[0].steps + 1))
        assert told[-1].seconds_left == 0


# What each way of training needs of the loop: no frozen part; features of a frozen base; blocks unfrozen after a while.
SMALL = {
    "custom_cnn": default_config(
        "custom_cnn",
        input_side=32,
        epochs=4,
        batch_size=8,
        head_units=8,
        learning_rate=0.01,
        augmentation="gentle",
    ),
    "vgg16_finetuned": default_config(
        "vgg16_finetuned", starting_weights="none", input_side=32, epochs=4, batch_size=8, patience=0
    ),
    "vgg16_unfrozen": default_config(
        "vgg16_unfrozen",
        starting_weights="none",
        input_side=32,
        epochs=4,
        batch_size=8,
        settle_epochs=2,
        patience=0,
    ),
}
SMALL = {
    name: config.model_copy(
        update={"validation_fraction": 0.25, "calibration_views": 1, "mixed_precision": False}
    )
    for name, config in SMALL.items()
}

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.model.test_training import CONFIG, SMALL, WIDTH
from model.training import train

def kill(now):
    if now.phase == "training" and now.epoch == 3 and now.step % 4 == 2:
        os.kill(os.getpid(), signal.SIGKILL)

data, out, name = sys.argv[1:]
train(Path(data), Path(out), config=SMALL.get(name, CONFIG), width=WIDTH, progress=kill)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_scratch", "custom_cnn", "vgg16_unfrozen"])
def test_a_killed_run_goes_on_from_its_last_epoch(name: str, films: Path, tmp_path: Path) -> None:
    config = SMALL.get(name, CONFIG)
    out = tmp_path / "killed"
    project = Path(training.__file__).parent.parent
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, films, out, name], cwd=project, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not out.exists()
    assert list_versions(tmp_path) == ()
    with pytest.raises(TrainingError, match="go on with --resume"):
        train(films, out, config=config, width=WIDTH)
    seen: list[Progress] = []
    version = train(films, out, resume=True, width=WIDTH, progress=seen.append)
    epochs = config.total_epochs
    assert {now.epoch for now in seen if now.phase == "training"} == set(range(3, epochs + 1))
    history = version.history()
    assert history["epoch"].tolist() == list(range(1, epochs + 1))
    assert version.card.training["learning_rate"] == config.learning_rate
    assert version.card.training["epochs_run"] == epochs
    assert set(version.card.metrics) == {"validation", "test"}
    assert not out.with_name("killed.run").exists()
    with pytest.raises(TrainingError, match="exists already"):
        train(films, out, config=config, width=WIDTH)


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(films: Path, tmp_path: Path) -> None:
    """On cached features everything repeats: order, views, dropout, the optimiser's state, the learning rate."""
    config = SMALL["vgg16_unfrozen"].model_copy(update={"learning_rate": 0.01, "constant_epochs": 1})
    cache = tmp_path / "cache"
    whole = train(films, tmp_path / "whole", config=config, width=WIDTH, cache=cache)

    def cut(now: Progress) -> None:
        if now.phase == "training" and now.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(films, tmp_path / "cut", config=config, width=WIDTH, cache=cache, progress=cut)
    history = tmp_path / "cut.run/history.csv"
    pandas.read_csv(history).assign(seconds=1000).to_csv(history, index=False)
    seen: list[Progress] = []
    resumed = train(films, tmp_path / "cut", resume=True, width=WIDTH, cache=cache, progress=seen.append)
    assert "features" not in {now.phase for now in seen}, "they were cached"
    pandas.testing.assert_frame_equal(
        resumed.history().drop(columns="seconds"), whole.history().drop(columns="seconds"), atol=2e-4
    )
    assert resumed.card.training["kept_epoch"] == whole.card.training["kept_epoch"]
    assert 3000 < resumed.card.training["seconds"] < 4000, "the three epochs before count, this one as it was"
    np.testing.assert_allclose(
        resumed.predictions("test").probabilities, whole.predictions("test").probabilities, atol=1e-2
    )


def test_other_films_are_not_taken_for_those_of_the_run(films: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(films, tmp_path / "data")

    def cut(now: Progress) -> None:
        if now.phase == "training" and now.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "out", config=SMALL["custom_cnn"], width=WIDTH, progress=cut)
    (data / "train/NORMAL/IM-0003-0001.png").unlink()
    with pytest.raises(TrainingError, match="not those that this run began with"):
        train(data, tmp_path / "out", resume=True, width=WIDTH)


def test_cached_features_train_the_same_head_as_the_whole_network(films: Path, tmp_path: Path) -> None:
    """The plain way: the whole network with its base frozen, by Keras' own fit, on the same films in the same order."""
    import keras

    config = default_config(
        "vgg16_base", starting_weights="none", input_side=32, epochs=3, batch_size=8, learning_rate=0.02,
        optimizer="sgd", head_units=6, dropout=0.0, class_weights=True, seed=3,
    )  # fmt: skip
    known = read_dataset(films)
    seen, unseen = (load_films(part, side=32) for part in (known.split("train"), known.split("test")))
    ours, _ = training.start(config, width=0.1)
    plain, _ = training.start(config, width=0.1)
    before = [np.array(weight) for weight in plain.get_weights()]

    fit(ours, config, seen, unseen, run=tmp_path, cache=tmp_path / "features", watch=Watch())

    trained_part(plain, config)
    compile_network(plain, config, steps=6)
    batches = changed_batches(seen.pixels, targets(seen, one_hot=False), 32, config)
    losses = []
    for epoch in range(3):
        plain.optimizer.learning_rate = config.learning_rate_of(epoch)
        result = plain.fit(batches(epoch), class_weight={0: 1.0, 1: 1.0}, verbose=0, shuffle=False)
        losses += result.history["loss"]
    history = pandas.read_csv(tmp_path / "history.csv")
    assert history["loss"].tolist() == pytest.approx(losses, rel=2e-3)
    images = np.repeat(unseen.pixels[..., None].astype(np.float32), 3, axis=-1)
    kept = keras.ops.convert_to_numpy(ours(images))
    assert history["val_loss"].idxmin() == 2, "the last epoch is the best, so that both hold the same"
    np.testing.assert_allclose(kept, keras.ops.convert_to_numpy(plain(images)), atol=2e-3)
    moved = [np.abs(a - b).max() for a, b in zip(before, plain.get_weights(), strict=True)]
    assert moved[-2] > 1e-3, "the head moved"
    assert max(moved[:26]) == 0, "the base did not"


@pytest.mark.parametrize("name", ["custom_cnn", "vgg16_unfrozen"])
def test_keep_ends_with_the_best_epoch_so_far(name: str, films: Path, tmp_path: Path) -> None:
    epoch = 0

    def follow(now: Progress) -> None:
        nonlocal epoch
        epoch = max(epoch, now.epoch)

    version = train(
        films, tmp_path / "out", config=SMALL[name], width=WIDTH, who="Dr. A", run=tmp_path / "run",
        progress=follow, stop=lambda: "keep" if epoch == 3 else "",
    )  # fmt: skip
    card = version.card
    assert version.history()["epoch"].tolist() == [1, 2]
    best = int(version.history()["val_loss"].to_numpy().argmin()) + 1
    assert card.training["kept_epoch"] == best
    assert card.notes == (f"Stopped on request after 2 of 4 epochs; the weights are those of epoch {best}.",)
    assert card.trained_by == "Dr. A"
    assert card.architecture == ARCHITECTURES[name].title
    assert len(card.samples) == len(sample_files())
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "config.json",
        "history.csv",
        "tensorboard",
    }
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    assert list((version.folder / "tensorboard" / "validation").iterdir())


@pytest.mark.slow
def test_the_averaged_network_keeps_its_last_whole_epoch(films: Path, tmp_path: Path) -> None:
    epoch = 0

    def follow(now: Progress) -> None:
        nonlocal epoch
        epoch = max(epoch, now.epoch)

    version = train(
        films, tmp_path / "out", config=CONFIG, width=WIDTH,
        progress=follow, stop=lambda: "keep" if epoch == 2 else "",
    )  # fmt: skip
    assert version.history()["epoch"].tolist() == [1]
    assert version.card.training["kept_epoch"] == 1


@pytest.mark.parametrize(
    ("wanted", "message"), [("keep", "nothing to keep"), ("discard", "nothing was kept")]
)
def test_a_run_stopped_early_leaves_no_version(
    wanted: Stop, message: str, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingStopped, match=message):
        train(films, tmp_path / "out", config=SMALL["custom_cnn"], width=WIDTH, stop=lambda: wanted)
    assert list_versions(tmp_path) == ()


def test_the_best_epoch_is_kept_and_patience_ends_the_run(films: Path, tmp_path: Path) -> None:
    config = SMALL["custom_cnn"].model_copy(
        update={"epochs": 30, "patience": 2, "watch": "val_auc", "keep": "val_loss", "learning_rate": 0.02}
    )
    version = train(films, tmp_path / "out", config=config, width=WIDTH)
    history = version.history()
    best = int(history["val_auc"].to_numpy().argmax())
    assert len(history) == best + 3 < 30
    assert version.card.training["kept_epoch"] == int(history["val_loss"].to_numpy().argmin()) + 1
    assert set(history.columns) >= {
        f"{prefix}{name}"
        for prefix in ("", "val_")
        for name in ("loss", "accuracy", "precision", "recall", "auc", "f1")
    }


def test_two_outputs_train_on_one_hot_labels_and_give_one(films: Path, tmp_path: Path) -> None:
    import keras

    config = default_config(
        "mnist_like", input_side=32, epochs=4, batch_size=8, head_units=64, validation_fraction=0.25,
        calibration_views=0, augmentation="gentle", label_smoothing=0.1,
    )  # fmt: skip
    version = train(films, tmp_path / "out", config=config, width=0.2)
    assert version.card.input_size == (32, 32)
    history = version.history()
    assert history["auc"].iloc[-1] > 0.9, "the area is of the column of pneumonia"
    assert history["recall"].iloc[-1] > 0.7
    network = keras.models.load_model(version.model_file, compile=False)
    assert network.output_shape == (None, 1)


def test_a_set_without_test_films_is_noted(films: Path, tmp_path: Path) -> None:
    config = SMALL["custom_cnn"].model_copy(update={"epochs": 1})
    version = train(films / "train", tmp_path / "out", config=config, width=WIDTH)
    assert set(version.card.metrics) == {"validation"}
    assert "no test split" in version.card.notes[0]


def test_the_data_folder_may_vanish_once_it_is_read(films: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(films, tmp_path / "data")

    def remove(now: Progress) -> None:
        if now.phase == "training":
            shutil.rmtree(data, ignore_errors=True)

    version = train(data, tmp_path / "out", config=SMALL["custom_cnn"], width=WIDTH, progress=remove)
    assert set(version.card.metrics) == {"validation", "test"}


def test_a_data_folder_that_vanishes_while_it_is_read_is_named(films: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(films, tmp_path / "data")

    def remove(now: Progress) -> None:
        if now.step == 30:
            shutil.rmtree(data)

    with pytest.raises((TrainingError, DatasetError), match=r"is gone|cannot be read"):
        train(data, tmp_path / "out", config=SMALL["custom_cnn"], width=WIDTH, progress=remove)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "checkpoint.npz"), "disk is full"),
        (
            OSError(errno.EACCES, "Permission denied", "history.csv"),
            "history.csv cannot be .*Permission denied",
        ),
        (MemoryError(), "memory ran out"),
    ],
)
def test_what_goes_wrong_outside_is_one_sentence(
    error: Exception, message: str, films: Path, tmp_path: Path
) -> None:
    def fail(now: Progress) -> None:
        if now.phase == "training":
            raise error

    with pytest.raises(TrainingError, match=message):
        train(films, tmp_path / "out", config=SMALL["custom_cnn"], width=WIDTH, progress=fail)
    assert list_versions(tmp_path) == ()


def test_a_loss_that_is_no_number_says_what_to_do(films: Path, tmp_path: Path) -> None:
    config = SMALL["custom_cnn"].model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match="smaller learning_rate"):
        train(films, tmp_path / "out", config=config, width=WIDTH)


def test_a_series_held_out_whole_judges_thresholds_it_did_not_choose(films: Path, tmp_path: Path) -> None:
    import shutil

    data = shutil.copytree(films / "train", tmp_path / "data")
    for number in range(1, 9):
        source = data / "NORMAL" / f"IM-{number:04d}-0001.png"
        source.rename(source.with_name(f"NORMAL2-{source.name}"))
    config = SMALL["custom_cnn"].model_copy(update={"validation_series": "NORMAL2-IM", "epochs": 1})
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

    keras.utils.set_random_seed(4)
    network = architectures.build_for_training(SIZE)
    loaded = load_films(read_dataset(films).split("train"), side=224)
    training.settle_batch_statistics(network, loaded, CONFIG, batches=12)
    layer = network.get_layer("block1_conv1_normalisation")
    assert layer.momentum == 0.99
    first = keras.Model(network.input, layer.input)
    changed = changed_batches(doubled(loaded.pixels, 48), targets(loaded, one_hot=False), 48, CONFIG)
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
