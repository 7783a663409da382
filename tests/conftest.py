"""Fixtures for all tests: a small but complete version, and the real films where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from model.calibration import fit_platt, operating_points
from model.registry import Card, Predictions, Version, write_version
from tests.postgresql import MissingError, Server
from tests.signing_in import home, quick_hashes, sign_in_as
from utils import database

__all__ = ["home", "quick_hashes", "sign_in_as"]  # fixtures that live elsewhere

# TensorFlow's start-up messages would drown what a failing test has to say.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TINY_NAME = "tiny-2026-01"


def section_of(app: Any, name: str) -> Any:
    """The control of an `AppTest` page that chooses the section called ``name``."""
    number = app.session_state[f"{name}-round"]
    return app.button_group(key=f"{name}-{number}" if number else name)


def build_tiny_network(*, seed: int = 7, filters: int = 4) -> Any:
    """A VGG16 in miniature: the real layer names and shapes contract, ``filters`` filters a layer, random weights."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    image = keras.Input((224, 224, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaling")(image)
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
            )(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dense(8, activation="relu", name="dense")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    x = layers.BatchNormalization(name="normalization")(x)
    return keras.Model(image, layers.Dense(1, activation="sigmoid", name="probability")(x), name="tiny_vgg16")


def synthetic_predictions(split: str, *, count: int = 120, seed: int = 3) -> Predictions:
    """Plausible uncalibrated scores: two overlapping bells on the logit scale, three pneumonias to two normals."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 5 >= 2).astype(np.int64)
    logits = random.normal(np.where(labels == 1, 2.0, -2.0), 1.3)
    subgroups = tuple(
        "" if not label else ("bacteria" if number % 3 else "virus") for number, label in enumerate(labels)
    )
    names = tuple(
        f"{split}/PNEUMONIA/person{number}_{kind}_{number}.jpeg"
        if label
        else f"{split}/NORMAL/IM-{number:04d}-0001.jpeg"
        for number, (label, kind) in enumerate(zip(labels, subgroups, strict=True))
    )
    return Predictions(
        files=names,
        patients=tuple(f"{'person' if label else 'IM'}-{number}" for number, label in enumerate(labels)),
        labels=labels,
        subgroups=subgroups,
        probabilities=1 / (1 + np.exp(-logits)),
    )


def write_tiny_version(folder: Path, network: Any, *, name: str = TINY_NAME) -> Version:
    """Save ``network`` as a full version folder with card, history and both predictions."""
    model_file = folder.parent / f"{folder.name}.h5"
    folder.parent.mkdir(parents=True, exist_ok=True)
    network.save(model_file)
    raw = {"validation": synthetic_predictions("validation"), "test": synthetic_predictions("test", seed=4)}
    fitted = raw["validation"]
    calibration = fit_platt(fitted.probabilities, fitted.labels, fitted_on="validation")
    predictions = {
        split: Predictions(
            films.files, films.patients, films.labels, films.subgroups, calibration.apply(films.probabilities)
        )
        for split, films in raw.items()
    }
    card = Card(
        name=name,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        architecture="vgg16",
        seed_configuration="fine-tuned VGG16, in miniature",
        pixel_scaling="inside the network (raw 0..255 in)",
        started_from="random weights",
        training={"epochs": 2, "seed": 7},
        data={"fingerprint": "none", "counts": {"train": {"NORMAL": 2, "PNEUMONIA": 3}}},
        split={"method": "block", "seed": 7, "fraction": 0.15},
        packages={"keras": "3"},
        sha256="0" * 64,
        parameters=network.count_params(),
        trainable_parameters=network.count_params() - 16,
        calibration=calibration,
        operating_points=operating_points(
            predictions["validation"].labels, predictions["validation"].probabilities
        ),
        metrics={},
        notes=("A random network for tests; its stored scores are synthetic.",),
    )
    history = pandas.DataFrame(
        {"epoch": [1, 2], "loss": [0.6, 0.4], "val_loss": [0.62, 0.47], "val_auc": [0.9, 0.95]}
    )
    version = write_version(
        folder, model_file=model_file, card=card, history=history, predictions=predictions
    )
    model_file.unlink()
    return version


@pytest.fixture(scope="session")
def tiny_network() -> Any:
    """The Keras model inside ``tiny_version``; importing Keras takes seconds, so once a session."""
    return build_tiny_network()


@pytest.fixture(scope="session")
def tiny_version(tmp_path_factory: pytest.TempPathFactory, tiny_network: Any) -> Version:
    """A complete version of a tiny network; its folder's parent is a root for ``list_versions``."""
    return write_tiny_version(tmp_path_factory.mktemp("versions") / TINY_NAME, tiny_network)


def _folder_from_environment(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"needs real films: set {variable} to their folder")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"needs real films: {variable} names {folder}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real chest_xray folder (train/, test/); skips where PNEUMOSCOPE_DATA is unset."""
    return _folder_from_environment("PNEUMOSCOPE_DATA")


@pytest.fixture(scope="session")
def full_size_folder() -> Path:
    """Full-size originals of some films; skips where PNEUMOSCOPE_DATA_FULL_SIZE is unset."""
    return _folder_from_environment("PNEUMOSCOPE_DATA_FULL_SIZE")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server, started by the first test of a worker that asks for it; skips where there is none."""
    try:
        server = Server()
    except MissingError as error:
        pytest.skip(str(error))
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def department_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An empty home with an empty database: the test runs once on SQLite and once on PostgreSQL; gives which."""
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", server.new_database())
    yield request.param
    database.close()
