"""One training run, from a folder of films to a version folder; read it from top to bottom.

The recipe (`TrainingConfig` is all of its choices):

1. The films of ``train`` are parted into training and validation by patient numbers.
2. VGG16 with batch normalisation starts from a weights file, ImageNet weights or random ones, and trains on small,
   heavily changed films, then on larger ones: AdamW with warm-up and cosine decay, class weights, label smoothing,
   a moving average of the weights, bf16 arithmetic where the processor has it.
3. The averaged weights get batch statistics of their own, the normalisations are folded into the convolutions,
   the weights rounded to bf16 precision: from here on everything is measured on the very network that is saved.
4. Validation films give the calibration, which is folded into the last layer, and the operating points. The test
   split, where there is one, is measured last and once; nothing is chosen by it.

A run lives in ``<out>.run`` until its version folder stands: ``config.json``, ``checkpoint.keras`` (weights, optimiser
and moving average, replaced after each epoch) and ``history.csv``. After a kill, ``--resume`` goes on from there.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from model import architectures
from model.augmentation import RECIPES, augment
from model.calibration import fit_platt, operating_points
from model.datacheck import width_auc
from model.dataset import (
    DatasetError,
    Film,
    fingerprint,
    hold_out,
    labels,
    read_dataset,
)
from model.evaluation import evaluate
from model.films import ImageError, prepare, read_xray
from model.recipes import ConfigError, TrainingConfig, default_config, read_config
from model.registry import CLASSES, Card, Predictions, Version, VersionError, write_version

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class TrainingError(Exception):
    """The run cannot start or go on; one sentence that says what to do."""


class TrainingStopped(TrainingError):  # noqa: N818
    """The run was stopped on request and leaves no version."""


Phase = Literal["reading films", "features", "training", "calibrating", "testing", "writing"]
Stop = Literal["", "discard", "keep"]
"""What is asked of a run: to go on, to end without a version, to end with the best epoch so far."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. ``step`` and ``steps`` count the batches of the phase, in ``training`` those of all epochs.

    ``seconds_left`` is of the phase; ``loss`` is not a number outside ``training``.
    """

    phase: Phase
    epoch: int
    epochs: int
    step: int
    steps: int
    seconds_left: float
    loss: float


@dataclass(frozen=True)
class Films:
    """Films in memory: grey uint8 ``(n, 224, 224)`` from the one `prepare`, labels int64 ``(n,)``."""

    films: tuple[Film, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> Films:
        films = tuple(film for film, wanted in zip(self.films, chosen, strict=True) if wanted)
        return Films(films, self.pixels[chosen], self.labels[chosen])


def load_films(films: Sequence[Film]) -> Films:
    """Read films as the app reads an upload. Unreadable files are an error: `python -m model data` names them all."""

    def read(film: Film) -> NDArray[np.uint8]:
        try:
            return prepare(read_xray(film.path.read_bytes()).pixels, size=architectures.INPUT_SIZE)[:, :, 0]
        except (ImageError, OSError) as error:
            raise TrainingError(f"{film.path.name} cannot be used for training: {error}") from None

    with ThreadPoolExecutor() as pool:
        pixels = np.stack(list(pool.map(read, films)))
    return Films(tuple(films), pixels, labels(films))


def has_bfloat16() -> bool:
    """Whether this processor multiplies bf16 faster than float32 (AVX-512 BF16 or AMX; always so on Apple silicon)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def train(
    data: Path,
    out: Path,
    *,
    config: TrainingConfig | None = None,
    run: Path | None = None,
    resume: bool = False,
    who: str = "",
    size: architectures.Size = architectures.Size(),
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], Stop] = lambda: "",
) -> Version:
    """Train on ``data`` and write the version folder ``out``; returns the version.

    Raises `TrainingError`, `model.dataset.DatasetError` or `model.registry.VersionError`.
    """
    import keras

    run = run or out.with_name(f"{out.name}.run")
    config = _open_run(run, out, config or default_config(), resume=resume)
    dataset = read_dataset(data)
    source = dataset.split("train") or dataset.split("all")
    training_films, validation_films = hold_out(
        source,
        method=config.validation,
        fraction=config.validation_fraction,
        seed=config.validation_seed,
        series=config.validation_series,
    )
    training, validation = load_films(training_films), load_films(validation_films)

    keras.utils.set_random_seed(config.seed)
    mixed = has_bfloat16() if config.mixed_precision is None else config.mixed_precision
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        network, started_from = _start(run, config, size, steps=_steps(training, config))
        _fit(network, run, config, training, validation, progress, stop)
        if config.average:
            network.optimizer.finalize_variable_values(network.trainable_variables)
        settle_batch_statistics(network, training, config)
    finally:
        keras.config.set_dtype_policy(policy)

    released = architectures.fold(network, size)
    architectures.round_to_bfloat16(released)
    version = _write(
        out, run, config, released, dataset.root, source, training, validation, started_from, mixed
    )
    shutil.rmtree(run)
    return version


# ---------------------------------------------------------------------------------------------------- the run folder


def _open_run(run: Path, out: Path, config: TrainingConfig, *, resume: bool) -> TrainingConfig:
    stored = run / "config.json"
    if out.exists():
        raise TrainingError(f"{out} exists already: choose another folder with --out.")
    if resume:
        if not stored.is_file():
            raise TrainingError(f"There is no run to resume in {run}: start it without --resume.")
        return TrainingConfig.model_validate_json(stored.read_text())
    if stored.is_file():
        raise TrainingError(f"An unfinished run lies in {run}: go on with --resume, or remove that folder.")
    run.mkdir(parents=True, exist_ok=True)
    stored.write_text(config.model_dump_json(indent=2) + "\n")
    return config


def _obey(wanted: Stop) -> None:
    if wanted:
        raise TrainingStopped("The run was stopped.")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it: a kill leaves the old one whole."""
    beside = path.with_name(f"unfinished-{path.name}")
    write(beside)
    beside.replace(path)


def _steps(training: Films, config: TrainingConfig) -> int:
    """Batches an epoch."""
    return max(len(training.labels) // config.batch_size, 1)


def _start(
    run: Path, config: TrainingConfig, size: architectures.Size, *, steps: int
) -> tuple[keras.Model, str]:
    import keras

    origin = run / "started_from.txt"
    if (run / "checkpoint.keras").is_file():
        return keras.models.load_model(run / "checkpoint.keras"), origin.read_text()
    network = architectures.build_for_training(size)
    started_from = _load_starting_weights(network, config.starting_weights)
    origin.write_text(started_from)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=int(config.warmup * config.total_epochs * steps),
        decay_steps=max(int((1 - config.warmup) * config.total_epochs * steps), 1),
        alpha=0.01,
    )
    network.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            weight_decay=config.weight_decay,
            use_ema=config.average > 0,
            ema_momentum=config.average or 0.99,
        ),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing),
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
            keras.metrics.AUC(name="auc", num_thresholds=500),
        ],
    )
    return network, started_from


def _load_starting_weights(network: keras.Model, wanted: str) -> str:
    """Fill the convolutions as the config says; returns what the network started from, in words for the card."""
    import keras

    total = sum(layer.name.startswith("block") and hasattr(layer, "kernel") for layer in network.layers)
    if wanted == "none":
        return "random weights"
    if wanted == "imagenet":
        try:
            # Keras' own cache under ~/.keras, or its download.
            path = keras.applications.vgg16.WEIGHTS_PATH_NO_TOP
            file = Path(keras.utils.get_file(Path(path).name, path, cache_subdir="models"))
        except Exception as error:  # urllib, ssl and OSError alike: there is no download here
            print(f"ImageNet weights cannot be had ({error}): starting from random weights.", file=sys.stderr)
            return "random weights (ImageNet weights could not be had)"
        copied = architectures.start_from(network, file)
        return f"VGG16 ImageNet weights as published by Keras ({copied} of {total} convolutions)"
    file = Path(wanted).expanduser()
    if not file.is_file():
        raise TrainingError(f"There is no weights file {file}: give an .h5 or .npz, 'imagenet' or 'none'.")
    try:
        copied = architectures.start_from(network, file)
    except (ValueError, OSError) as error:
        raise TrainingError(f"The weights file {file.name} cannot be used: {error}") from None
    return f"{file.name} ({copied} of {total} convolutions), the rest random"


# ---------------------------------------------------------------------------------------------------- films to batches


def _source_pixels(films: Films, side: int) -> NDArray[np.uint8]:
    """Films at twice the side, ``(n, 2 * side, 2 * side, 1)``: what `augment` samples from."""
    import tensorflow as tf

    pixels = films.pixels[..., None]
    if 2 * side == pixels.shape[1]:
        return pixels
    parts = [
        tf.image.resize(pixels[start : start + 256], (2 * side, 2 * side), method="area").numpy()
        for start in range(0, len(pixels), 256)
    ]
    return np.rint(np.concatenate(parts)).astype(np.uint8)


def _three_channels(films: tf.Tensor, *rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
    import tensorflow as tf

    return tf.repeat(films, 3, axis=-1), *rest


def training_batches(films: Films, side: int, config: TrainingConfig) -> tf.data.Dataset:
    """Shuffled, changed batches: float32 ``(batch, side, side, 3)`` 0 to 255 and labels ``(batch, 1)``; one epoch."""
    import tensorflow as tf

    recipe = RECIPES[config.augmentation]
    batches = tf.data.Dataset.from_tensor_slices((_source_pixels(films, side), films.labels[:, None]))
    batches = batches.shuffle(len(films.labels), reshuffle_each_iteration=True)
    batches = batches.batch(config.batch_size, drop_remainder=len(films.labels) >= config.batch_size)
    batches = batches.map(
        lambda pixels, label: _three_channels(augment(pixels, side=side, recipe=recipe), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return batches.prefetch(2)


def plain_batches(films: Films, side: int, config: TrainingConfig) -> tf.data.Dataset:
    """Unchanged films at ``side``, as the released network's first layer reduces them."""
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((_source_pixels(films, side), films.labels[:, None]))
    return batches.batch(2 * config.batch_size).map(
        lambda pixels, label: _three_channels(
            tf.nn.avg_pool2d(tf.cast(pixels, tf.float32), 2, 2, "VALID"), label
        )
    )


# ---------------------------------------------------------------------------------------------------- the loop


def _fit(
    network: keras.Model,
    run: Path,
    config: TrainingConfig,
    training: Films,
    validation: Films,
    progress: Callable[[Progress], None],
    stop: Callable[[], Stop],
) -> None:
    import keras
    import pandas

    steps = _steps(training, config)
    done = int(network.optimizer.iterations.numpy()) // steps
    history_file = run / "history.csv"
    rows: list[dict[str, Any]] = []
    if history_file.is_file():
        rows = [
            {str(key): value for key, value in row.items()}
            for row in pandas.read_csv(history_file).to_dict("records")
        ]
        rows = rows[:done]
    weights = None
    if config.class_weights:
        counts = np.bincount(training.labels, minlength=2)
        weights = {label: len(training.labels) / (2 * int(count)) for label, count in enumerate(counts)}

    class Follow(keras.callbacks.Callback):
        """Tells the progress, and keeps checkpoint and history after each epoch."""

        began = monotonic()
        units = 0.0  # work done in this process, in pixels of side squared

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.units += side**2
            left = (end - 1 - self.epoch) * steps * side**2 + (steps - 1 - batch) * side**2
            later = sum(s**2 * n for s, n in config.stages[stage_index(end) :]) * steps
            seconds = (monotonic() - self.began) * (left + later) / self.units
            step = self.epoch * steps + batch + 1
            loss = float((logs or {}).get("loss", float("nan")))
            whole = config.total_epochs
            progress(Progress("training", self.epoch + 1, whole, step, whole * steps, seconds, loss))
            _obey(stop())

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.epoch = epoch

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            values = {key: round(float(value), 6) for key, value in (logs or {}).items()}
            rows.append(
                {"epoch": epoch + 1, "side": side, "seconds": round(monotonic() - self.began, 1), **values}
            )
            _replace(run / "checkpoint.keras", lambda path: self.model.save(path.with_suffix(".keras")))
            _replace(history_file, lambda path: pandas.DataFrame(rows).to_csv(path, index=False))
            best = max(range(len(rows)), key=lambda index: rows[index]["val_auc"])
            if config.patience and len(rows) - 1 - best >= config.patience:
                self.model.stop_training = True

    def stage_index(first_epoch: int) -> int:
        ends = np.cumsum([epochs for _, epochs in config.stages])
        return int(np.searchsorted(ends, first_epoch, side="right"))

    callbacks: list[keras.callbacks.Callback] = [Follow()]
    if config.average:
        callbacks.append(keras.callbacks.SwapEMAWeights())
    while done < config.total_epochs:
        side, end = config.stage_of(done)
        network.fit(
            training_batches(training, side, config),
            initial_epoch=done,
            epochs=end,
            validation_data=plain_batches(validation, side, config),
            class_weight=weights,
            callbacks=callbacks,
            verbose=0,
        )
        if network.stop_training:
            break
        done = end


def settle_batch_statistics(
    network: keras.Model, training: Films, config: TrainingConfig, *, batches: int = 40
) -> None:
    """Estimate every batch normalisation's mean and variance anew, as plain means over batches of changed films.

    Needed because averaged weights never ran with the statistics that were kept during training (Izmailov et al. 2018,
    arXiv:1803.05407, section 3.2). Dropout is off, as it is when the network serves.
    """
    import keras

    normalisations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    dropouts = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    rates = [layer.rate for layer in dropouts]
    side = config.stages[-1][0]
    try:
        for layer in dropouts:
            layer.rate = 0.0
        for index, (images, _) in enumerate(training_batches(training, side, config).repeat().take(batches)):
            for layer in normalisations:
                layer.momentum = index / (index + 1)  # the mean of all batches so far
            network(images, training=True)
    finally:
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate


# ---------------------------------------------------------------------------------------------------- the version


def raw_probabilities(network: keras.Model, films: Films, *, batch: int = 32) -> NDArray[np.float64]:
    """The network's output for films in memory, float64 ``(n,)``, in plain Keras float32."""
    import tensorflow as tf

    forward = tf.function(lambda images: network(images, training=False), reduce_retracing=True)
    parts = [
        forward(
            tf.repeat(tf.cast(films.pixels[start : start + batch, ..., None], tf.float32), 3, axis=-1)
        ).numpy()
        for start in range(0, len(films.pixels), batch)
    ]
    return np.concatenate(parts)[:, 0].astype(np.float64)


def raw_probabilities_of_views(
    network: keras.Model, films: Films, config: TrainingConfig
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The network's outputs for changed views of every film, float64 ``(views * n,)``, and their labels."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(config.validation_seed)
    recipe = RECIPES[config.calibration_recipe]
    side = architectures.INPUT_SIZE[0] // architectures.REDUCTION

    @tf.function(reduce_retracing=True)
    def forward(pixels: tf.Tensor) -> tf.Tensor:
        # `augment` gives reduced films, as the network's own first layer would: go on behind it.
        values = tf.repeat(augment(pixels, side=side, recipe=recipe), 3, axis=-1)
        for layer in network.layers[network.layers.index(network.get_layer("reduce")) + 1 :]:
            values = layer(values, training=False)
        return values

    parts = [
        forward(films.pixels[start : start + 32, ..., None]).numpy()
        for _ in range(config.calibration_views)
        for start in range(0, len(films.pixels), 32)
    ]
    raw = np.concatenate(parts)[:, 0].astype(np.float64)
    return raw, np.tile(films.labels, config.calibration_views)


def _write(
    out: Path,
    run: Path,
    config: TrainingConfig,
    network: keras.Model,
    root: Path,
    source: Sequence[Film],
    training: Films,
    validation: Films,
    started_from: str,
    mixed: bool,
) -> Version:
    import pandas

    films = {"training": training, "validation": validation}
    if config.validation_series:
        # A series held out whole judges the thresholds too, so it takes no part in choosing them.
        judged = np.array([film.series == config.validation_series for film in validation.films])
        films |= {"validation": validation.only(~judged), "held-out": validation.only(judged)}
    to_fit, reference = raw_probabilities(network, films["validation"]), films["validation"].labels
    fitted_on = f"{len(to_fit)} validation films ({config.validation})"
    if config.calibration_views:
        to_fit, reference = raw_probabilities_of_views(network, films["validation"], config)
        fitted_on += (
            f", {config.calibration_views} views of each, changed by the recipe {config.calibration_recipe!r}"
        )
    calibration = fit_platt(to_fit, reference, prevalence=config.prevalence, fitted_on=fitted_on)
    points = operating_points(
        reference,
        calibration.apply(to_fit),
        films=f"{'changed views of ' if config.calibration_views else ''}validation films",
    )
    # In the network's last layer the calibration travels with the .h5, whoever opens it.
    architectures.scale_logit(network, calibration.slope, calibration.intercept)
    calibration = calibration.model_copy(
        update={
            "method": f"{calibration.method} (slope {calibration.slope:.4f}, intercept {calibration.intercept:.4f}), "
            "folded into the last layer",
            "slope": 1.0,
            "intercept": 0.0,
        }
    )
    test_films = read_dataset(root).split("test")
    if test_films:
        films["test"] = load_films(test_films)
    predictions = {
        split: _predictions(root, part, raw_probabilities(network, part))
        for split, part in films.items()
        if split != "training"
    }
    metrics = {
        split: {
            point.name: evaluate(stored.labels, stored.probabilities, threshold=point.threshold).as_json()
            for point in points
        }
        for split, stored in predictions.items()
    }
    card = Card(
        name=out.name,
        created=datetime.now(UTC),
        architecture="VGG16, Dense 1024, sigmoid",
        seed_configuration=config.architecture,
        pixel_scaling="inside the network: 0 to 255, 2 x 2 means, mean 0 and variance 1 over each image",
        started_from=started_from,
        training={
            **config.model_dump(mode="json"),
            "starting_weights": Path(config.starting_weights).name,
            "arithmetic": "mixed bfloat16" if mixed else "float32",
        },
        data={
            "fingerprint": fingerprint([film for part in films.values() for film in part.films], root),
            "counts": {
                split: {name: int((part.labels == label).sum()) for label, name in enumerate(CLASSES)}
                for split, part in films.items()
            },
            "patients": {split: len({film.patient for film in part.films}) for split, part in films.items()},
            "width_auc": _width_auc(test_films),
        },
        split={
            "method": config.validation,
            "fraction": config.validation_fraction,
            "seed": config.validation_seed,
            "series": config.validation_series,
        },
        packages={name: metadata.version(name) for name in ("keras", "tensorflow", "numpy", "pillow", "h5py")}
        | {"python": platform.python_version()},
        code_revision=_code_revision(),
        sha256="0" * 64,
        parameters=network.count_params(),
        trainable_parameters=sum(int(np.prod(weight.shape)) for weight in network.trainable_weights),
        calibration=calibration,
        operating_points=points,
        metrics=metrics,
    )
    saved = run / "model.h5"
    save_network(network, saved)
    history = run / "history.csv"
    return write_version(
        out, model_file=saved, card=card, history=pandas.read_csv(history), predictions=predictions
    )


def _width_auc(films: Sequence[Film]) -> float | None:
    """The AUC that image width alone gives on the test films as they came; None where they are all of one width."""
    from PIL import Image

    widths = []
    for film in films:
        with Image.open(film.path) as image:  # the header alone is read
            widths.append(image.width)
    return width_auc([film.label for film in films], widths)


def _predictions(root: Path, films: Films, probabilities: NDArray[np.float64]) -> Predictions:
    return Predictions(
        files=tuple(film.path.relative_to(root).as_posix() for film in films.films),
        patients=tuple(film.patient for film in films.films),
        labels=films.labels,
        subgroups=tuple(film.subgroup for film in films.films),
        probabilities=probabilities,
    )


def save_network(network: keras.Model, path: Path) -> None:
    """Save as an ordinary Keras ``.h5``, its data sets stored with HDF5's shuffle and gzip.

    Weights of bf16 precision have two empty bytes in four, which this leaves out: half the size, read by any h5py.
    """
    import h5py

    plain = path.with_name(f"plain-{path.name}")
    network.save(plain, include_optimizer=False)
    with h5py.File(plain, "r") as source, h5py.File(path, "w") as target:
        target.attrs.update(source.attrs)

        def copy(name: str, item: object) -> None:
            if isinstance(item, h5py.Group):
                target.require_group(name).attrs.update(item.attrs)
            elif isinstance(item, h5py.Dataset):
                packing = (
                    {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                    if item.size > 1024
                    else {}
                )
                target.create_dataset(name, data=item[()], **packing).attrs.update(item.attrs)

        source.visititems(copy)
    plain.unlink()


def _code_revision() -> str:
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


# ---------------------------------------------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``python -m model train``."""
    parser.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="folder with train/NORMAL, train/PNEUMONIA, test/…"
    )
    parser.add_argument("--architecture", help="which network (default: vgg16_scratch)")
    parser.add_argument("--config", type=Path, help="JSON file of settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting; values are JSON or plain text",
    )
    parser.add_argument("--out", type=Path, help="version folder to write (default: under PNEUMOSCOPE_HOME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was stopped")


def run(arguments: argparse.Namespace, *, versions: Path) -> int:
    """Run ``python -m model train``; ``versions`` is the folder in which a version without ``--out`` is written."""
    from tqdm import tqdm

    out = arguments.out or versions / datetime.now().strftime("vgg16-%Y-%m-%d")
    try:
        config = read_config(arguments.config, arguments.set, architecture=arguments.architecture)
        with tqdm(total=None, unit="batch", desc="reading films", dynamic_ncols=True) as bar:

            def show(now: Progress) -> None:
                bar.total = now.steps
                bar.set_description(f"epoch {now.epoch}/{now.epochs}", refresh=False)
                bar.set_postfix_str(
                    f"loss {now.loss:.3f}, {now.seconds_left / 60:.0f} min left", refresh=False
                )
                bar.update(now.step - bar.n)

            version = train(arguments.data, out, config=config, resume=arguments.resume, progress=show)
    except (TrainingError, ConfigError, DatasetError, VersionError) as error:
        print(f"python -m model train: {error}", file=sys.stderr)
        return 1
    print(f"{version.name}: written to {version.folder}")
    return 0
