"""What a run will cost on this machine, measured from a few steps of it: ``python -m model cost``."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from model import architectures
from model.architectures import ARCHITECTURES
from model.batches import Films, load_films, steps_an_epoch
from model.dataset import Film, hold_out, read_dataset
from model.features import BATCH
from model.fitting import compile_network, plan, trained_part
from model.progress import TrainingError, Watch, in_one_sentence
from model.recipes import TrainingConfig
from model.training import arithmetic, raw_probabilities, start

MEASURED = 3
"""Steps of each kind that are timed, after a first one in which TensorFlow builds its graph."""
VALIDATION_SHARE = 1 / 3
"""Time of a film in validation as a share of its time in training: forwards only, not forwards and backwards."""


@dataclass(frozen=True)
class Cost:
    """Times in seconds: of an epoch (mean over the run), of the features, of all."""

    parameters: int
    trainable_parameters: int
    seconds_per_epoch: float
    features_seconds: float
    """Of a frozen base; 0 where it was computed before, which is not looked into here."""
    final_seconds: float
    """Calibration and measurement of the network that is released."""
    seconds: float
    measured_steps: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_cost(data: Path, config: TrainingConfig, *, width: float = 1.0) -> Cost:
    """Run a few steps of each part of a run on a few films, and scale.

    ``width`` as in `model.training.train`.

    Raises:
        TrainingError, model.dataset.DatasetError: as a run would.
    """
    import keras

    dataset = read_dataset(data)
    films, held = hold_out(
        dataset.split("train") or dataset.split("all"),
        method=config.validation,
        fraction=config.validation_fraction,
        seed=config.validation_seed,
        series=config.validation_series,
    )
    architecture = ARCHITECTURES[config.architecture]
    there, words = architectures.weights_available(architecture, config.starting_weights)
    if not there:
        raise TrainingError(words)
    side = architectures.INPUT_SIZE[0] if config.staged else config.input_side
    steps = steps_an_epoch(len(films), config)
    with in_one_sentence(), tempfile.TemporaryDirectory() as folder, arithmetic(config):
        network, _ = start(config, width=width)
        training = few_films(films, side, (MEASURED + 1) * max(config.batch_size, BATCH))
        validation = few_films(held, side, 2)
        began: dict[str, list[float]] = defaultdict(list)
        watch = Watch(lambda now: began[now.phase].append(monotonic()))
        whole = trained_part(network, config)
        small = config.model_copy(update={"views": 1})
        stages = plan(network, whole, small, training, validation, done=0, cache=Path(folder), watch=watch)
        features = 0.0
        if began["features"]:
            seconds = (began["features"][MEASURED] - began["features"][0]) / (MEASURED * BATCH)
            features = seconds * (len(films) * config.kept_views + len(held))
        epochs = 0.0
        for stage in stages:
            seconds = _step_seconds(stage.network, stage.batches(0), config, steps)
            share = len(held) / (steps * config.batch_size) * VALIDATION_SHARE
            epochs += (stage.until - stage.first) * steps * seconds * (1 + share)
        trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
        parameters = network.count_params()
        keras.config.set_dtype_policy("float32")
        released = architectures.release(network, architecture)
        raw_probabilities(released, training.pixels[:BATCH])
        started = monotonic()
        raw_probabilities(released, training.pixels[:BATCH])
        a_film = (monotonic() - started) / len(training.pixels[:BATCH])
        passes = len(films) + len(held) * (1 + config.calibration_views) + len(dataset.split("test"))
    return Cost(
        parameters=parameters,
        trainable_parameters=trainable,
        seconds_per_epoch=round(epochs / config.total_epochs, 2),
        features_seconds=round(features, 1),
        final_seconds=round(a_film * passes, 1),
        seconds=round(features + epochs + a_film * passes, 1),
        measured_steps=MEASURED,
    )


def few_films(films: tuple[Film, ...], side: int, count: int) -> Films:
    """``count`` films of both classes, one after the other, again from the start where there are not as many."""
    classes = [[film for film in films if film.label == label] for label in (0, 1)]
    few = [
        classes[index % 2][index // 2 % len(classes[index % 2])] for index in range(min(count, len(films)))
    ]
    read = load_films(few, side=side)
    times = np.arange(count) % len(few)
    return Films(tuple(read.films[index] for index in times), read.pixels[times], read.labels[times])


def _step_seconds(network: Any, batches: Any, config: TrainingConfig, steps: int) -> float:
    """Seconds of a training step; the network's weights change, which nobody needs any more."""
    import keras

    if not (config.staged and network.compiled):
        compile_network(network, config, steps)
    times: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            times.append(monotonic())

    network.fit(batches, callbacks=[Clock()], shuffle=False, verbose=0)
    return (times[-1] - times[0]) / (len(times) - 1)
