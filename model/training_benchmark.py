"""How much faster a frozen base trains on cached features than by plain Keras ``fit``, in one run on this machine.

Both ways do the same work: the same films, split, epochs, head, batches, augmentation and validation after each epoch.
*Plain* is what a script does: the whole network, its base frozen, in float32, Keras' default. It is measured over a
few steps and validation batches and scaled to all, unless it is short enough to be run whole. *Ours* is run whole:
features of the base, then the head, with checkpoints and history. Reading the films counts for neither.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from model.architectures import ARCHITECTURES
from model.batches import changed_batches, plain_batches, steps_an_epoch, targets
from model.cost import few_films
from model.dataset import hold_out, read_dataset
from model.fitting import compile_network, fit, trained_part
from model.progress import TrainingError, Watch, in_one_sentence
from model.recipes import TrainingConfig
from model.training import arithmetic, start

MEASURED = 4
"""Steps, and validation batches, of the plain way that are timed, after a first one that builds the graph."""
WHOLE = 20
"""The plain way is run whole where it takes no more steps than this."""


@dataclass(frozen=True)
class TrainingBenchmark:
    """Times in seconds for all epochs. ``plain_bf16`` is the plain way in our own number type."""

    architecture: str
    training_films: int
    validation_films: int
    views: int
    epochs: int
    plain: float
    plain_bf16: float | None
    plain_was: str
    ours: float
    ours_features: float
    ours_arithmetic: str

    @property
    def ratio(self) -> float:
        return self.plain / self.ours

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}

    def as_text(self) -> str:
        lines = [
            f"{self.architecture}, {self.training_films} training and {self.validation_films} validation films, "
            f"{self.epochs} epochs",
            f"  plain Keras fit, float32: {self.plain:.0f} s ({self.plain_was})",
        ]
        if self.plain_bf16 is not None:
            lines.append(f"  plain Keras fit, bfloat16: {self.plain_bf16:.0f} s ({self.plain_was})")
        lines += [
            f"  ours, {self.ours_arithmetic}: {self.ours:.0f} s (run whole); {self.ours_features:.0f} s of it for "
            f"features of {self.views} view{'s' if self.views > 1 else ''} of each film",
            f"  plain float32 / ours: {self.ratio:.1f}",
        ]
        return "\n".join(lines)


def measure_training(
    data: Path, config: TrainingConfig, *, films: int | None = None, width: float = 1.0
) -> TrainingBenchmark:
    """Time both ways of training the head of a frozen base; patience is left aside, so that all epochs are run.

    Args:
        films: take no more training films than this, and validation films in proportion.
        width: as in `model.training.train`.

    Raises:
        TrainingError, model.dataset.DatasetError: as a run would.
    """
    if ARCHITECTURES[config.architecture].base is None or config.unfrozen_blocks:
        raise TrainingError(f"{config.architecture} has no base that stays frozen: choose one that has.")
    config = config.model_copy(update={"patience": 0})
    dataset = read_dataset(data)
    training, validation = hold_out(
        dataset.split("train") or dataset.split("all"),
        method=config.validation,
        fraction=config.validation_fraction,
        seed=config.validation_seed,
    )
    count = min(films or len(training), len(training))
    held = max(round(len(validation) * count / len(training)), 2)
    with in_one_sentence(), tempfile.TemporaryDirectory() as folder:
        seen = few_films(training, config.input_side, count)
        unseen = few_films(validation, config.input_side, held)
        target, reference = (
            targets(part, one_hot=ARCHITECTURES[config.architecture].softmax) for part in (seen, unseen)
        )

        def plain(mixed: bool) -> tuple[float, str]:
            with arithmetic(config.model_copy(update={"mixed_precision": mixed})):
                network, _ = start(config, width=width)
                trained_part(network, config)  # freezes the base
                batches = changed_batches(seen.pixels, target, config.input_side, config)
                after = plain_batches(unseen.pixels, reference, config.input_side, config)
                return _plain_seconds(network, batches, after, config, count, held)

        seconds, was = plain(mixed=False)
        with arithmetic(config) as words:
            ours, features = 0.0, 0.0
            network, _ = start(config, width=width)
            run = Path(folder)
            watch = _Clock()
            watch.epochs = config.epochs
            began = monotonic()
            fit(network, config, seen, unseen, run=run, cache=run / "features", watch=watch)
            ours, features = monotonic() - began, watch.features_end - began
        mixed = plain(mixed=True)[0] if words != "float32" else None
    return TrainingBenchmark(
        architecture=config.architecture,
        training_films=count,
        validation_films=held,
        views=config.kept_views,
        epochs=config.epochs,
        plain=seconds,
        plain_bf16=mixed,
        plain_was=was,
        ours=ours,
        ours_features=features,
        ours_arithmetic=words,
    )


class _Clock(Watch):
    """Notes when the features were there."""

    features_end = 0.0

    def tell(self, phase: Any, step: int, steps: int, **rest: Any) -> None:
        if phase == "features":
            self.features_end = monotonic()


def _plain_seconds(
    network: Any, batches: Any, validation: Any, config: TrainingConfig, films: int, held: int
) -> tuple[float, str]:
    import keras

    steps = steps_an_epoch(films, config)
    compile_network(network, config, steps)
    if steps * config.epochs <= WHOLE:
        began = monotonic()
        for epoch in range(config.epochs):
            network.fit(batches(epoch), validation_data=validation, shuffle=False, verbose=0)
        return monotonic() - began, "run whole"
    times: dict[str, list[float]] = {"train": [], "test": []}

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            times["train"].append(monotonic())

        def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            times["test"].append(monotonic())

    network.fit(
        batches(0).take(MEASURED + 1),
        validation_data=validation.take(MEASURED + 1),
        callbacks=[Note()],
        shuffle=False,
        verbose=0,
    )
    step, test = ((stamps[-1] - stamps[0]) / max(len(stamps) - 1, 1) for stamps in times.values())
    tests = held / (2 * config.batch_size)
    return (
        config.epochs * (steps * step + tests * test),
        f"{len(times['train']) - 1} steps and {len(times['test']) - 1} validation batches measured, scaled to all",
    )
