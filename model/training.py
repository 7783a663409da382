"""One training run, from a folder of films to a version folder; read it from top to bottom.

1. All films are read into memory, those of ``train`` parted into training and validation by patient numbers. From
   here on the data folder may vanish.
2. The network of `model.architectures` starts from a weights file, ImageNet weights or random ones, and trains as its
   recipe says (`model.recipes`, `model.fitting`); what a frozen base gives is computed once (`model.features`).
3. The epoch to keep is released: plain Keras layers in float32, one probability out. vgg16_scratch gets batch
   statistics for its averaged weights first, its normalisations are folded into the convolutions and its weights
   rounded to bf16 precision. From here on everything is measured on the very network that is saved.
4. Validation films give the calibration, which is folded into the last layer, and the operating points. The test
   split, where there is one, is measured last and once; nothing is chosen by it. The same pass over all films gives
   the features by which films are found alike (`model.neighbours`).

A run lives in a folder of its own, ``<out>.run`` unless named, until its version folder stands: ``config.json``,
``checkpoint.npz`` (replaced after each epoch), ``history.csv`` and ``tensorboard/``. After a kill it goes on from there
with ``--resume``.
"""

from __future__ import annotations

import itertools
import logging
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model import architectures, vgg16
from model.architectures import ARCHITECTURES
from model.augmentation import RECIPES, augment
from model.batches import Films, changed_batches, doubled, load_films, targets, three_channels
from model.calibration import Calibration, OperatingPoint, fit_platt, operating_points
from model.datacheck import width_auc
from model.dataset import fingerprint, hold_out, read_dataset
from model.evaluation import evaluate
from model.fitting import CHECKPOINT, HISTORY, TENSORBOARD, Fitted, fit
from model.inference import keras_features
from model.neighbours import INDEX_FILE, PARTS, PooledFilms, reduced, write_features, write_index
from model.progress import Phase as Phase
from model.progress import Progress as Progress
from model.progress import Stop as Stop
from model.progress import TrainingError as TrainingError
from model.progress import TrainingStopped as TrainingStopped
from model.progress import Watch, in_one_sentence
from model.recipes import TrainingConfig, default_config
from model.registry import CLASSES, FEATURES_FILE, Card, Predictions, Version, write_version
from model.smoke import sample_images

if TYPE_CHECKING:
    import keras

CONFIG = "config.json"
FILMS = "films.txt"
PASS = 32
"""Films that a network reads at once where it does not train."""


@dataclass(frozen=True)
class Source:
    """All films of a run, read; ``test`` is None where the data set has no test split."""

    root: Path
    training: Films
    validation: Films
    test: Films | None
    fingerprint: str
    width_auc: float | None
    """The AUC that image width alone gives on the test films as they came; None where they are all of one width."""


def train(
    data: Path,
    out: Path,
    *,
    config: TrainingConfig | None = None,
    run: Path | None = None,
    cache: Path | None = None,
    resume: bool = False,
    who: str = "",
    width: float = 1.0,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], Stop] = lambda: "",
) -> Version:
    """Train on ``data`` and write the version folder ``out``; returns the version.

    Args:
        config: what to train and how, `default_config` where left out; a resumed run goes on with its own.
        run: folder of the run, ``<out>.run`` where left out. One that is named stays, without its checkpoint.
        cache: folder that keeps the features of frozen bases for further runs; the run's own where left out.
        who: who trains, for the card.
        width: factor on the network's filters, for tests.
        progress: told of each step.
        stop: asked at each step: ``discard`` raises TrainingStopped, ``keep`` ends with the best epoch so far.

    Raises:
        TrainingError, TrainingStopped, model.dataset.DatasetError, model.registry.VersionError: in one sentence.
    """
    named, run = run is not None, run or out.with_name(f"{out.name}.run")
    watch, began = Watch(progress, stop), monotonic()
    with _no_litter(run, named=named), in_one_sentence():
        config = _open_run(run, out, config or default_config(), resume=resume)
        watch.epochs = config.total_epochs
        _weights_are_there(config)
        source = read_films(data, config, watch)
        _same_films_as_before(run, source)
        with arithmetic(config) as words:
            network, started_from = start(config, width=width)
            if config.staged and vgg16.is_unfolded(network):
                vgg16.renormalise(network, _changed_films(source.training, config, batches=20))
            fitted = fit(
                network, config, source.training, source.validation,
                run=run, cache=cache or run / "features", watch=watch,
            )  # fmt: skip
            if config.staged:
                settle_batch_statistics(network, source.training, config)
        released = architectures.release(network, ARCHITECTURES[config.architecture])
        if config.staged:
            architectures.round_to_bfloat16(released)
        # What is folded away on release is no part of what is told of the version.
        trained = (released if config.staged else network).trainable_weights
        parts, calibration, points = _calibrate(released, config, source, watch)
        version = _write(
            out, run, config, released, source, parts, calibration, points, fitted, watch,
            facts={
                "trained_by": who,
                "started_from": started_from,
                "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in trained),
                "arithmetic": words,
                "seconds": round(fitted.taken_up + monotonic() - began),
            },
        )  # fmt: skip
    _tidy(run, version, named=named)
    return version


# ---------------------------------------------------------------------------------------------------- the run folder


def _open_run(run: Path, out: Path, config: TrainingConfig, *, resume: bool) -> TrainingConfig:
    stored = run / CONFIG
    if out.exists():
        raise TrainingError(f"{out} exists already: choose another folder with --out.")
    if resume:
        if not stored.is_file():
            raise TrainingError(f"There is no run to resume in {run}: start it without --resume.")
        return TrainingConfig.model_validate_json(stored.read_text(encoding="utf-8"))
    if (run / CHECKPOINT).is_file():
        raise TrainingError(f"An unfinished run lies in {run}: go on with --resume, or remove that folder.")
    run.mkdir(parents=True, exist_ok=True)
    (run / FILMS).unlink(missing_ok=True)
    stored.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return config


@contextmanager
def _no_litter(run: Path, *, named: bool) -> Iterator[None]:
    """A run that ends before its first epoch has nothing to go on from: its folder goes, unless it was named."""
    try:
        yield
    except BaseException:
        if not named and not (run / CHECKPOINT).is_file():
            shutil.rmtree(run, ignore_errors=True)
        raise


def _same_films_as_before(run: Path, source: Source) -> None:
    """A run that is taken up must go on with the films it began with."""
    stored = run / FILMS
    if not stored.is_file():
        stored.write_text(source.fingerprint, encoding="utf-8")
    elif stored.read_text(encoding="utf-8") != source.fingerprint:
        raise TrainingError(
            f"The films in {source.root} are not those that this run began with: start a new run with them."
        )


def _tidy(run: Path, version: Version, *, named: bool) -> None:
    """The version stands: its TensorBoard files go with it, the rest of the run is needed no more."""
    with suppress(OSError):
        shutil.copytree(run / TENSORBOARD, version.folder / TENSORBOARD)
    if named:
        (run / CHECKPOINT).unlink(missing_ok=True)
        (run / "model.h5").unlink(missing_ok=True)
        shutil.rmtree(run / "features", ignore_errors=True)
    else:
        shutil.rmtree(run, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------- films and network


def read_films(data: Path, config: TrainingConfig, watch: Watch) -> Source:
    """Read every film of the data set; raises TrainingError or DatasetError."""
    from PIL import Image

    dataset = read_dataset(data)
    films = dataset.split("train") or dataset.split("all")
    training, validation = hold_out(
        films,
        method=config.validation,
        fraction=config.validation_fraction,
        seed=config.validation_seed,
        series=config.validation_series,
    )
    test = dataset.split("test")
    told = watch.counter("reading films", len(training) + len(validation) + len(test))
    side = architectures.INPUT_SIZE[0] if config.staged else config.input_side
    read = [load_films(part, side=side, told=told) for part in (training, validation, test)]
    widths = []
    for film in test:
        with Image.open(film.path) as image:  # the header alone is read
            widths.append(image.width)
    return Source(
        root=dataset.root,
        training=read[0],
        validation=read[1],
        test=read[2] if test else None,
        fingerprint=fingerprint([*training, *validation, *test], dataset.root),
        width_auc=width_auc([film.label for film in test], widths),
    )


def has_bfloat16() -> bool:
    """Whether this processor multiplies bf16 faster than float32 (AVX-512 BF16 or AMX; always so on Apple silicon)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def arithmetic(config: TrainingConfig) -> Iterator[str]:
    """Keras' number type for a run, put back afterwards; gives it in words."""
    import keras

    mixed = has_bfloat16() if config.mixed_precision is None else config.mixed_precision
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield "mixed bfloat16" if mixed else "float32"
    finally:
        keras.config.set_dtype_policy(policy)


def _weights_are_there(config: TrainingConfig) -> None:
    there, words = architectures.weights_available(
        ARCHITECTURES[config.architecture], config.starting_weights
    )
    if not there:
        raise TrainingError(words)


def start(config: TrainingConfig, *, width: float = 1.0) -> tuple[keras.Model, str]:
    """The network with its starting weights, and what these are in words; raises TrainingError."""
    import keras

    architecture = ARCHITECTURES[config.architecture]
    keras.utils.set_random_seed(config.seed)
    try:
        network = architectures.build_training(config, width=width)
        return network, architectures.load_starting_weights(network, architecture, config.starting_weights)
    except architectures.WeightsError as error:
        raise TrainingError(str(error)) from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{architecture.title} cannot be built at input_side {config.input_side}: {reason}"
        ) from None


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
    try:
        for layer in dropouts:
            layer.rate = 0.0
        for index, images in enumerate(_changed_films(training, config, batches=batches)):
            for layer in normalisations:
                layer.momentum = index / (index + 1)  # the mean of all batches so far
            network(images, training=True)
    finally:
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate


def _changed_films(training: Films, config: TrainingConfig, *, batches: int) -> Iterator[Any]:
    """Changed training films at the side of the last stage, drawn as no epoch of the run draws them."""
    side = config.stages[-1][0]
    changed = changed_batches(doubled(training.pixels, side), targets(training, one_hot=False), side, config)
    epochs = (changed(config.total_epochs + number) for number in itertools.count())
    return itertools.islice((images for epoch in epochs for images, _ in epoch), batches)


# ---------------------------------------------------------------------------------------------------- the version


def raw_probabilities(
    network: keras.Model, pixels: NDArray[np.uint8], told: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """The network's output for grey films ``(n, side, side)``, float64 ``(n,)``, in plain Keras float32."""
    import tensorflow as tf

    forward = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec(network.input_shape, tf.float32)],
    )
    parts = []
    for start in range(0, len(pixels), PASS):
        parts.append(forward(three_channels(pixels[start : start + PASS, ..., None])).numpy())
        told()
    return np.concatenate(parts)[:, 0].astype(np.float64)


def pooled_features(
    network: keras.Model, pixels: NDArray[np.uint8], told: Callable[[], None] = lambda: None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """`raw_probabilities`, and the means of the last feature map over height and width, float32 ``(n, c)``."""
    import keras
    import tensorflow as tf

    both = keras.Model(network.inputs, [network.outputs[0], keras_features(keras, network)])

    @tf.function(input_signature=[tf.TensorSpec(network.input_shape, tf.float32)])
    def forward(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raw, features = both(images, training=False)
        return raw, tf.reduce_mean(tf.cast(features, tf.float32), (1, 2))

    parts = []
    for start in range(0, len(pixels), PASS):
        raw, pooled = forward(three_channels(pixels[start : start + PASS, ..., None]))
        parts.append((raw.numpy()[:, 0].astype(np.float64), pooled.numpy()))
        told()
    return np.concatenate([raw for raw, _ in parts]), np.concatenate([pooled for _, pooled in parts])


def raw_probabilities_of_views(
    network: keras.Model, films: Films, config: TrainingConfig, told: Callable[[], None] = lambda: None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The network's outputs for changed views of every film, float64 ``(views * n,)``, and their labels."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(config.validation_seed)
    recipe = RECIPES[config.calibration_recipe]
    # Where the first layer takes 2 x 2 means, `augment` gives films that it need not reduce any more: go on behind it.
    reduces = any(layer.name == "reduce" for layer in network.layers)
    behind = architectures.parts(network, "reduce")[1] if reduces else network
    side = behind.input_shape[1]

    @tf.function(input_signature=[tf.TensorSpec((None, *films.pixels.shape[1:], 1), tf.uint8)])
    def forward(pixels: tf.Tensor) -> tf.Tensor:
        return behind(three_channels(augment(pixels, side=side, recipe=recipe)), training=False)

    parts = []
    for _ in range(config.calibration_views):
        for start in range(0, len(films.pixels), PASS):
            parts.append(forward(films.pixels[start : start + PASS, ..., None]).numpy())
            told()
    raw = np.concatenate(parts)[:, 0].astype(np.float64)
    return raw, np.tile(films.labels, config.calibration_views)


def _calibrate(
    network: keras.Model, config: TrainingConfig, source: Source, watch: Watch
) -> tuple[dict[str, Films], Calibration, tuple[OperatingPoint, ...]]:
    """Fold the calibration into the network; returns the films by split, what was folded, and the thresholds."""
    films = {"training": source.training, "validation": source.validation}
    if config.validation_series:
        # A series held out whole judges the thresholds too, so it takes no part in choosing them.
        judged = np.array([film.series == config.validation_series for film in source.validation.films])
        films |= {"validation": source.validation.only(~judged), "held-out": source.validation.only(judged)}
    if source.test is not None:
        films["test"] = source.test
    fitted = films["validation"]
    passes = -(-len(fitted.labels) // PASS)
    told = watch.counter("calibrating", passes * max(config.calibration_views, 1))
    fitted_on = f"{len(fitted.labels)} validation films ({config.validation})"
    if config.calibration_views:
        raw, reference = raw_probabilities_of_views(network, fitted, config, told)
        fitted_on += (
            f", {config.calibration_views} views of each, changed by the recipe {config.calibration_recipe!r}"
        )
    else:
        raw, reference = raw_probabilities(network, fitted.pixels, told), fitted.labels
    calibration = fit_platt(raw, reference, prevalence=config.prevalence, fitted_on=fitted_on)
    points = operating_points(
        reference,
        calibration.apply(raw),
        films=f"{'changed views of ' if config.calibration_views else ''}validation films",
    )
    # In the network's last layer the calibration travels with the .h5, whoever opens it.
    architectures.scale_logit(network, calibration.slope, calibration.intercept)
    folded = {
        "method": f"{calibration.method} (slope {calibration.slope:.4f}, intercept {calibration.intercept:.4f}), "
        "folded into the last layer",
        "slope": 1.0,
        "intercept": 0.0,
    }
    return films, calibration.model_copy(update=folded), points


def _write(
    out: Path,
    run: Path,
    config: TrainingConfig,
    network: keras.Model,
    source: Source,
    films: dict[str, Films],
    calibration: Calibration,
    points: tuple[OperatingPoint, ...],
    fitted: Fitted,
    watch: Watch,
    *,
    facts: dict[str, Any],
) -> Version:
    """Measure the network on all films it did not learn from, and write it with its card."""
    import pandas

    measured = {split: part for split, part in films.items() if split != "training"}
    told = watch.counter("testing", sum(-(-len(part.labels) // PASS) for part in films.values()))
    read = {split: pooled_features(network, part.pixels, told) for split, part in films.items()}
    predictions = {split: _predictions(source.root, part, read[split][0]) for split, part in measured.items()}
    metrics = {
        split: {
            point.name: evaluate(stored.labels, stored.probabilities, threshold=point.threshold).as_json()
            for point in points
        }
        for split, stored in predictions.items()
    }
    watch.tell("writing", 0, 1, seconds_left=float("nan"))
    architecture = ARCHITECTURES[config.architecture]
    names, samples = sample_images(network.input_shape[1:3])
    card = Card(
        name=out.name,
        created=datetime.now(UTC),
        architecture=architecture.title,
        seed_configuration=config.architecture,
        input_size=network.input_shape[1:3],
        pixel_scaling=_scaling(network, architecture.scaling),
        started_from=facts["started_from"],
        trained_by=facts["trained_by"],
        training={
            **config.model_dump(mode="json"),
            "starting_weights": Path(config.starting_weights).name,
            "arithmetic": facts["arithmetic"],
            "epochs_run": fitted.epochs,
            "kept_epoch": fitted.kept,
            # Of all epochs, and of what else the process did that ended the run: reading and features, calibration.
            "seconds": facts["seconds"],
        },
        data={
            "fingerprint": source.fingerprint,
            "counts": {
                split: {name: int((part.labels == label).sum()) for label, name in enumerate(CLASSES)}
                for split, part in films.items()
            },
            "patients": {split: len({film.patient for film in part.films}) for split, part in films.items()},
            "width_auc": source.width_auc,
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
        trainable_parameters=facts["trainable_parameters"],
        calibration=calibration,
        operating_points=points,
        metrics=metrics,
        samples=dict(zip(names, raw_probabilities(network, samples[..., 0]).tolist(), strict=True)),
        notes=_notes(config, fitted, source),
    )
    saved = run / "model.h5"
    save_network(network, saved)
    version = write_version(
        out, model_file=saved, card=card, history=pandas.read_csv(run / HISTORY), predictions=predictions
    )
    _write_features(version, source.root, films, {split: pooled for split, (_, pooled) in read.items()})
    return version


def _write_features(
    version: Version, root: Path, films: dict[str, Films], pooled: dict[str, NDArray[np.float32]]
) -> None:
    """What the network sees of its own films, for `model.neighbours`; the version stands without it too."""
    parts = [part for part in PARTS if part in films]
    reference = reduced(
        PooledFilms(
            files=tuple(
                film.path.relative_to(root).as_posix() for part in parts for film in films[part].films
            ),
            labels=np.concatenate([films[part].labels for part in parts]),
            subgroups=tuple(film.subgroup for part in parts for film in films[part].films),
            parts=tuple(part for part in parts for _ in films[part].films),
            pooled=np.concatenate([pooled[part] for part in parts]),
        )
    )
    try:
        write_features(version.folder / FEATURES_FILE, reference, sha256=version.card.sha256)
        write_index(version.folder / INDEX_FILE, reference)
    except OSError as error:
        logging.getLogger(__name__).warning(
            "the features of %s could not be written: %s", version.name, error
        )


def _scaling(network: keras.Model, scaling: str) -> str:
    if any(layer.name == "reduce" for layer in network.layers):
        return "inside the network: 0 to 255, 2 x 2 means, mean 0 and variance 1 over each image"
    known = {
        "caffe": "0 to 255, ImageNet's mean of each channel taken off",
        "torch": "0 to 1, ImageNet's mean of each channel taken off and divided by its deviation",
        "0 to 255": "0 to 255 as they come",
    }
    return f"inside the network: {known.get(scaling, f'0 to 255 made {scaling}')}"


def _notes(config: TrainingConfig, fitted: Fitted, source: Source) -> tuple[str, ...]:
    notes = []
    if fitted.stopped:
        notes.append(
            f"Stopped on request after {fitted.epochs} of {config.total_epochs} epochs; the weights are those of epoch "
            f"{fitted.kept}."
        )
    if source.test is None:
        notes.append("The data set has no test split: every figure comes from films that helped to choose.")
    return tuple(notes)


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

    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras warns that .h5 is an old format: it is meant
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
