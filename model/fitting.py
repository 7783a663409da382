"""The loop: a network and films in, a trained network out, with history, checkpoints, early stopping and resume.

A run is one or more *stages*. In each, one Keras model trains on its own batches:

- a network without a frozen part: itself, on changed films;
- a frozen base: the head alone, on cached features of the base (`model.features`);
- top blocks unfrozen: the head alone until it has settled, then blocks and head on features cached where the frozen
  part ends;
- vgg16_scratch: the network on small films, then on larger ones.

All stages share their layers with the whole network. The last stage's model holds all that ever trains, so its
variables are the state of the run: ``checkpoint.npz`` holds them, the optimiser's and the best epoch's, and is
replaced after each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model import batches
from model.architectures import ARCHITECTURES, INPUT, frozen_end, parts
from model.batches import Films, steps_an_epoch, targets
from model.features import Features, Job, features
from model.progress import KeepBest, TrainingError, TrainingStopped, Watch
from model.recipes import UNCHANGED, TrainingConfig, Watched
from model.transplant import lung_masks

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

CHECKPOINT = "checkpoint.npz"
HISTORY = "history.csv"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs in which ``network`` trains."""

    network: keras.Model
    first: int
    until: int
    """First epoch of the stage and first one after it, counted from 0."""
    batches: Callable[[int], tf.data.Dataset]
    """The training batches of an epoch, counted from 0."""
    validation: tf.data.Dataset
    side: int
    rate: float = 1.0
    """Factor on the learning rate."""


@dataclass(frozen=True)
class Fitted:
    """How a run's training ended. ``kept`` is the epoch, counted from 1, whose weights the network now has;
    ``taken_up`` are the seconds of the epochs that lay in the run's folder before."""

    epochs: int
    kept: int
    stopped: bool
    taken_up: float


def fit(
    network: keras.Model,
    config: TrainingConfig,
    training: Films,
    validation: Films,
    *,
    run: Path,
    cache: Path,
    watch: Watch,
) -> Fitted:
    """Train ``network`` as ``config`` says, from the last epoch in ``run`` on, and give it the weights to keep.

    Raises TrainingError, TrainingStopped, OSError.
    """
    whole = trained_part(network, config)
    state = State(run, whole, config)
    taken_up = sum(row["seconds"] for row in state.rows)
    stopped = False
    watch.fitting = True
    try:
        stages = plan(
            network, whole, config, training, validation, done=state.epoch, cache=cache, watch=watch
        )
        weights = _class_weights(training) if config.class_weights else None
        pace = _Pace(stages, steps_an_epoch(len(training.labels), config))
        for index, stage in enumerate(stages):
            if state.epoch < stage.until and not state.out_of_patience(stages[-1]):
                _fit_stage(stage, index, state, config, weights, pace, watch)
    except KeepBest:
        if not state.rows:
            raise TrainingStopped(
                "The run was stopped before its first epoch ended: there is nothing to keep."
            ) from None
        stopped = True
    finally:
        watch.fitting = False
    if config.staged and config.average:
        if stopped or not network.compiled:  # back to the last epoch that ended
            state = State(run, whole, config)
            compile_network(network, config, steps_an_epoch(len(training.labels), config))
            state.restore_optimizer(network)
        network.optimizer.finalize_variable_values(network.trainable_variables)
    return Fitted(epochs=len(state.rows), kept=state.restore_best(), stopped=stopped, taken_up=taken_up)


# ---------------------------------------------------------------------------------------------------- the stages


def trained_part(network: keras.Model, config: TrainingConfig) -> keras.Model:
    """Freeze what ``config`` does not train; returns the part of the network that holds all that ever trains."""
    if config.staged:
        return network
    end = frozen_end(network, ARCHITECTURES[config.architecture], config.unfrozen_blocks)
    return parts(network, end)[1]


def plan(
    network: keras.Model,
    whole: keras.Model,
    config: TrainingConfig,
    training: Films,
    validation: Films,
    *,
    done: int,
    cache: Path,
    watch: Watch,
) -> list[Stage]:
    """The stages of a run, in their order; features that they train on are computed here.

    ``whole`` is `trained_part` of ``network`` and trains last. With ``done`` epochs behind it a run needs no stage
    that lies in them.
    """
    import keras

    if config.staged:
        return _growing(network, config, training, validation, watch)
    architecture = ARCHITECTURES[config.architecture]
    target, reference = (targets(films, one_hot=architecture.softmax) for films in (training, validation))
    side, blocks = config.input_side, config.unfrozen_blocks
    head_end = frozen_end(network, architecture, 0)
    end = frozen_end(network, architecture, blocks)  # last: it settles which layers train
    settle = min(config.settle_epochs, config.epochs - 1) if blocks else 0
    recipe = None if config.augmentation == UNCHANGED else config.augmentation
    films = [Job(training.pixels, recipe, config.seed, view) for view in range(config.kept_views)]
    films.append(Job(validation.pixels))
    compute = partial(features, cache=cache, watch=watch)

    def on_features(part: keras.Model, first: int, until: int, views: list[Features]) -> Stage:
        """A stage that trains what stands above the features; ``views`` has the validation films last."""
        return Stage(
            part,
            first,
            until,
            batches.feature_batches(views[:-1], target, config),
            batches.plain_feature_batches(views[-1], reference, config),
            side,
        )

    stages = []
    if end == INPUT:
        if done < settle:
            frozen, head = parts(network, head_end)
            stages.append(on_features(head, 0, settle, compute(frozen, films)))
        lungs = _lungs(training, config, watch)
        changed = batches.changed_batches(training.pixels, target, side, config, lungs=lungs)
        plain = batches.plain_batches(validation.pixels, reference, side, config)
        last = Stage(whole, settle, config.epochs, changed, plain, side)
    else:
        views = compute(parts(network, end)[0], films)
        if done < settle:
            head = parts(network, head_end)[1]
            middle = keras.Model(network.get_layer(end).output, network.get_layer(head_end).output)
            stages.append(on_features(head, 0, settle, compute(middle, [Job(view) for view in views])))
        last = on_features(whole, settle, config.epochs, views)
    return [*stages, replace(last, rate=config.unfrozen_rate) if blocks else last]


def _lungs(training: Films, config: TrainingConfig, watch: Watch) -> NDArray[np.uint8] | None:
    """Where the lungs lie, for a run that exchanges them."""
    if not config.transplanted:
        return None
    return lung_masks(training.pixels, watch.counter("lungs", len(training.pixels)))


def _growing(
    network: keras.Model, config: TrainingConfig, training: Films, validation: Films, watch: Watch
) -> list[Stage]:
    """The stages of vgg16_scratch; its films are reduced outside the network, from twice the side."""
    stages: list[Stage] = []
    lungs = _lungs(training, config, watch)
    target, reference = (targets(films, one_hot=False) for films in (training, validation))
    for side, epochs in config.stages:
        changed = batches.changed_batches(
            batches.doubled(training.pixels, side),
            target,
            side,
            config,
            lungs=None if lungs is None else batches.doubled(lungs, side),
        )
        plain = batches.plain_batches(batches.doubled(validation.pixels, side), reference, side, config)
        first = stages[-1].until if stages else 0
        stages.append(Stage(network, first, first + epochs, changed, plain, side))
    return stages


# ---------------------------------------------------------------------------------------------------- the epochs


def _fit_stage(
    stage: Stage,
    index: int,
    state: State,
    config: TrainingConfig,
    weights: dict[int, float] | None,
    pace: _Pace,
    watch: Watch,
) -> None:
    import keras

    network = stage.network
    if not (config.staged and network.compiled):  # growing films go on with the optimiser they have
        compile_network(network, config, pace.steps)
        state.restore_optimizer(network)
    callbacks: list[keras.callbacks.Callback] = [_tell_each_step(index, state, pace, watch)]
    if config.staged and config.average:
        callbacks.append(keras.callbacks.SwapEMAWeights())
    keras.utils.set_random_seed(config.seed + state.epoch)
    while state.epoch < stage.until:
        epoch = state.epoch
        began = monotonic()
        if not config.staged:
            network.optimizer.learning_rate = config.learning_rate_of(epoch) * stage.rate
        watch.epoch = epoch + 1
        result = network.fit(
            stage.batches(epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=stage.validation,
            class_weight=weights,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        values = {key: float(value[-1]) for key, value in result.history.items()}
        if not np.isfinite(values["loss"]):
            raise TrainingError(
                f"The loss was no longer a number in epoch {epoch + 1}: start again with a smaller learning_rate."
            )
        state.add(values, side=stage.side, seconds=monotonic() - began, network=network)
        if (stage.until == config.total_epochs or config.staged) and state.out_of_patience(stage):
            return


def _class_weights(training: Films) -> dict[int, float]:
    counts = np.bincount(training.labels, minlength=2)
    return {label: len(training.labels) / (2 * int(count)) for label, count in enumerate(counts)}


def compile_network(network: keras.Model, config: TrainingConfig, steps: int) -> None:
    """Optimiser, loss and metrics; ``steps``: batches an epoch."""
    import keras

    two = network.output_shape[-1] == 2
    loss = keras.losses.CategoricalCrossentropy if two else keras.losses.BinaryCrossentropy
    network.compile(
        optimizer=_optimizer(config, steps),
        loss=loss(label_smoothing=config.label_smoothing),
        metrics=_metrics(),
        jit_compile=False,  # compiled for a CPU, convolutions in bf16 are slower by half
    )


def _optimizer(config: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    from keras import optimizers

    if config.staged:
        whole = config.total_epochs * steps
        schedule = optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            warmup_target=config.learning_rate,
            warmup_steps=int(config.warmup * whole),
            decay_steps=max(int((1 - config.warmup) * whole), 1),
            alpha=0.01,
        )
        return optimizers.AdamW(
            schedule,
            weight_decay=config.weight_decay,
            use_ema=config.average > 0,
            ema_momentum=config.average or 0.99,
        )
    match config.optimizer:
        case "adam":
            return optimizers.Adam(config.learning_rate)
        case "adamw":
            return optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
        case "sgd":
            return optimizers.SGD(config.learning_rate, momentum=config.momentum)


def _metrics() -> list[keras.metrics.Metric]:
    """Accuracy, precision, recall and both areas for PNEUMONIA, from one output or from two."""
    from keras import metrics

    def of_pneumonia(kind: Any) -> Any:
        class OfPneumonia(kind):
            def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
                return super().update_state(y_true[:, -1:], y_pred[:, -1:], sample_weight)

        return OfPneumonia

    return [
        of_pneumonia(metrics.BinaryAccuracy)(name="accuracy"),
        of_pneumonia(metrics.Precision)(name="precision"),
        of_pneumonia(metrics.Recall)(name="recall"),
        of_pneumonia(metrics.AUC)(name="auc", num_thresholds=500),
        of_pneumonia(metrics.AUC)(name="pr_auc", curve="PR", num_thresholds=500),
    ]


class _Pace:
    """How long a run has still to go, from what its steps took and how its stages compare."""

    def __init__(self, stages: Sequence[Stage], steps: int) -> None:
        self.steps = steps
        self._stages = stages
        self._costs = [float(stage.side**2) for stage in stages]
        if stages[0].network is not stages[-1].network:
            self._costs = [_seconds_a_batch(stage) for stage in stages]
        self._began: float | None = None
        self._done = 0.0

    def after(self, index: int, epoch: int, step: int) -> float:
        """Seconds left after a step (from 1) of an epoch (from 0) in stage ``index``."""
        if self._began is None:  # the first step, in which TensorFlow builds its graph, tells nothing
            self._began = monotonic()
            return float("nan")
        self._done += self._costs[index]
        left = ((self._stages[index].until - epoch) * self.steps - step) * self._costs[index]
        for later, cost in list(zip(self._stages, self._costs, strict=True))[index + 1 :]:
            left += (later.until - later.first) * self.steps * cost
        return (monotonic() - self._began) / self._done * left


def _seconds_a_batch(stage: Stage) -> float:
    images, _ = next(iter(stage.validation))
    stage.network(images, training=False)
    began = monotonic()
    stage.network(images, training=False)
    return monotonic() - began


def _tell_each_step(index: int, state: State, pace: _Pace, watch: Watch) -> keras.callbacks.Callback:
    import keras

    class Tell(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            done = state.epoch * pace.steps + batch + 1
            left = pace.after(index, state.epoch, batch + 1)
            loss = float((logs or {}).get("loss", float("nan")))
            watch.tell("training", done, watch.epochs * pace.steps, seconds_left=left, loss=loss)

        def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            watch.ask()

    return Tell()


# ---------------------------------------------------------------------------------------------------- the state


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it: a kill leaves the old one whole."""
    beside = path.with_name(f"unfinished-{path.name}")
    write(beside)
    beside.replace(path)


class State:
    """What a run has reached: finished epochs, their figures, the weights of the last and of the best."""

    def __init__(self, run: Path, whole: keras.Model, config: TrainingConfig) -> None:
        """Takes up what lies in ``run``, if anything does; ``whole`` gets the last epoch's weights."""
        self._run = run
        self._whole = whole
        self._config = config
        self.rows: list[dict[str, Any]] = []
        self._best: list[NDArray[Any]] | None = None
        self._optimizer: list[NDArray[Any]] | None = None
        if (run / CHECKPOINT).is_file():
            self._take_up()

    @property
    def epoch(self) -> int:
        """Finished epochs; also the next one's number, counted from 0."""
        return len(self.rows)

    def _take_up(self) -> None:
        import pandas

        with np.load(self._run / CHECKPOINT, allow_pickle=False) as stored:
            values = {key: stored[key] for key in stored.files}
        table = pandas.read_csv(self._run / HISTORY).head(int(values["epoch"]))
        self.rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
        for index, variable in enumerate(self._whole.variables):
            variable.assign(values[f"last/{index}"])
        self._optimizer = _numbered(values, "optimizer")
        self._best = _numbered(values, "best") or None

    def restore_optimizer(self, network: keras.Model) -> None:
        """Give the optimiser its state of the last epoch, where it is that of the same stage."""
        network.optimizer.build(network.trainable_variables)
        stored, self._optimizer = self._optimizer, None
        variables = network.optimizer.variables
        if stored and [tuple(v.shape) for v in variables] == [v.shape for v in stored]:
            for variable, value in zip(variables, stored, strict=True):
                variable.assign(value)

    def add(self, values: dict[str, float], *, side: int, seconds: float, network: keras.Model) -> None:
        """Keep an epoch's figures and weights; history first, so that a kill in between repeats the epoch."""
        import pandas

        for prefix in ("", "val_"):
            precision, recall = values[f"{prefix}precision"], values[f"{prefix}recall"]
            both = precision + recall
            values[f"{prefix}f1"] = 2 * precision * recall / both if both else 0.0
        names = ("loss", "accuracy", "precision", "recall", "auc", "f1", "pr_auc")
        ordered = {name: values[name] for prefix in ("", "val_") for name in (f"{prefix}{n}" for n in names)}
        row = {"epoch": self.epoch + 1, "side": side, "seconds": round(seconds, 1)}
        self.rows.append(row | {name: round(value, 6) for name, value in ordered.items()})
        replace_file(self._run / HISTORY, lambda path: pandas.DataFrame(self.rows).to_csv(path, index=False))
        self._to_tensorboard(ordered)
        last = [np.asarray(variable) for variable in self._whole.variables]
        if not self._config.staged and self.best_epoch == self.epoch:
            self._best = last
        stored = {"epoch": np.array(self.epoch)}
        stored |= {f"last/{index}": value for index, value in enumerate(last)}
        stored |= {f"best/{index}": value for index, value in enumerate(self._best or [])}
        stored |= {f"optimizer/{i}": np.asarray(v) for i, v in enumerate(network.optimizer.variables)}

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **stored)

        replace_file(self._run / CHECKPOINT, write)

    def _to_tensorboard(self, values: dict[str, float]) -> None:
        """The same figures for TensorBoard, under the names that Keras' own callback gives them."""
        import tensorflow as tf

        # tf.summary.scalar needs the tensorboard package, which is needed for looking only, not for writing.
        scalar = tf.compat.v1.SummaryMetadata()
        scalar.plugin_data.plugin_name = "scalars"
        for part, prefix in (("train", ""), ("validation", "val_")):
            writer = tf.summary.create_file_writer(str(self._run / TENSORBOARD / part))
            with writer.as_default(step=self.epoch - 1):
                for name, value in values.items():
                    if name.startswith("val_") == (part == "validation"):
                        tag = f"epoch_{name.removeprefix(prefix)}"
                        tf.summary.write(tag, tf.constant(value), metadata=scalar)
            writer.close()

    @property
    def best_epoch(self) -> int:
        """The epoch to keep, counted from 1; vgg16_scratch keeps its last, whose weights are averages."""
        if self._config.staged:
            return self.epoch
        return _best(self.rows, self._config.keep) + 1

    def out_of_patience(self, last: Stage) -> bool:
        """Whether the figure watched has not got better for too long; ``last``: the stage in which that counts."""
        first = 0 if self._config.staged else last.first
        if not self._config.patience or self.epoch <= first:
            return False
        best = first + _best(self.rows[first:], self._config.watch)
        return self.epoch - 1 - best >= self._config.patience

    def restore_best(self) -> int:
        """Give the network the weights to keep; returns their epoch, counted from 1."""
        if self._best is not None:
            for variable, value in zip(self._whole.variables, self._best, strict=True):
                variable.assign(value)
        return self.best_epoch


def _best(rows: Sequence[dict[str, Any]], by: Watched) -> int:
    """Index of the first best row."""
    values = np.array([row[by] for row in rows], dtype=np.float64)
    return int(np.nanargmin(values) if by == "val_loss" else np.nanargmax(values))


def _numbered(values: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    count = sum(key.startswith(f"{name}/") for key in values)
    return [values[f"{name}/{index}"] for index in range(count)]
