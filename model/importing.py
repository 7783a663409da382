"""A network from elsewhere becomes a version: looked into, rebuilt as our own contract wants it, calibrated, measured.

The file is a stranger's. It is inspected with h5py alone before Keras builds anything (`inspect_network`); what is
built has only plain layers. Whatever the file was, what is saved is one flat network: pixels 0 to 255 in, the scaling
inside as a layer, one sigmoid out.

Which scaling the network was trained with is not written in a file. It is stated, or found by trying each on
validation films, and what each gave is kept in the card. Test films choose nothing: they are measured once, last.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration, OperatingPoint, fit_platt, identity, operating_points
from model.dataset import CLASSES, Dataset, Film, fingerprint, hold_out, labels, read_dataset
from model.evaluation import evaluate
from model.films import ImageError, prepare, read_xray
from model.network_file import CONTAINERS, NetworkFileError, check_network_file, input_shape
from model.registry import (
    Card,
    Predictions,
    Version,
    VersionError,
    record_import,
    scan_versions,
    write_version,
)
from model.smoke import sample_images

if TYPE_CHECKING:
    import keras

SCALINGS: Mapping[str, str] = {
    "0 to 1": "pixels divided by 255",
    "0 to 255": "pixels as they are, or a scaling that the file holds itself",
    "-1 to 1": "pixels divided by 127.5, less 1",
    "caffe": "pixels less ImageNet's means, as keras.applications.vgg16.preprocess_input does",
}
"""Pixel scalings that are known, by their names in a card."""
AUTO = "auto"
SIDES = (32, 1024)
MAXIMUM_PARAMETERS = 200_000_000
LARGEST_NUMBER = 65_536
"""Largest width of a layer. Keras takes room for it before any weight is read."""
TRIAL_FILMS = 60
"""Validation films of each class that the scalings are tried on: enough to tell them apart, and minutes less."""
MEMORY = 8 * 2**30
BATCH = 16

Progress = Callable[[str, int, int], None]
"""What is being done, in words, how much of it is done, and of how much; 0 of 0 where that is not known."""


class ImportingError(Exception):
    """The file cannot become a version; one sentence that says what to do."""


@dataclass(frozen=True)
class Inspection:
    """What a network file says of itself, read without building anything.

    Attributes:
        input_shape: height, width and channels; height and width None where the network takes any.
        columns: of the output, 1 or 2.
        nested: whether a network lies inside the network.
        keras: the release that saved it; empty where it does not say.
        words: all of it in one line.
    """

    input_shape: tuple[int | None, int | None, int]
    columns: int
    nested: bool
    keras: str

    @property
    def words(self) -> str:
        height, width, channels = self.input_shape
        size = "any size" if height is None else f"{width} × {height}"
        output = "one sigmoid" if self.columns == 1 else "a two-way softmax"
        nested = ", a network inside a network" if self.nested else ""
        saved = f", saved by Keras {self.keras}" if self.keras else ""
        return f"Takes {size} pixels with {channels} channel{'s'[: channels > 1]}, gives {output}{nested}{saved}."


@dataclass(frozen=True)
class Trial:
    """What one scaling gave on films whose diagnosis is known.

    Attributes:
        auc: area under the ROC curve; None where the films are of one class.
        brier: mean squared distance of the output from the label, 0 to 1.
        normal, pneumonia: mean output of the films of each class.
    """

    scaling: str
    auc: float | None
    brier: float
    normal: float
    pneumonia: float

    def as_json(self) -> dict[str, Any]:
        return {
            "scaling": self.scaling,
            "auc": self.auc,
            "brier": self.brier,
            "mean_of_normal": self.normal,
            "mean_of_pneumonia": self.pneumonia,
        }


@dataclass(frozen=True)
class Imported:
    """The version made, and what was tried and done on the way, as sentences."""

    version: Version
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


# --- the file, before anything is built ---


def inspect_network(path: Path) -> Inspection:
    """Look into a network file with h5py alone.

    Raises:
        ImportingError: it is not whole, not safe, or no network that tells two classes of square images apart.
    """
    try:
        configuration = check_network_file(path)
    except NetworkFileError as error:
        raise ImportingError(str(error)) from None
    layers = list(_layers(configuration))
    if not layers:
        raise ImportingError(f"{path.name} describes a network without layers; save it again.")
    for _, settings in layers:
        _check_numbers(settings, path.name)
    return Inspection(
        input_shape=_image_shape(configuration, path.name),
        columns=_columns(configuration, path.name),
        nested=any(kind in CONTAINERS for kind, _ in layers),
        keras=_release(path),
    )


def _layers(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Class and settings of every layer at any depth, in the order of the file."""
    settings = configuration.get("config")
    entries = settings.get("layers") if isinstance(settings, dict) else settings
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("config"), dict | list):
            own = entry["config"]
            yield str(entry.get("class_name")), own if isinstance(own, dict) else {}
            if entry.get("class_name") in CONTAINERS:
                yield from _layers(entry)


def _check_numbers(settings: Mapping[str, Any], name: str) -> None:
    for key, value in settings.items():
        for number in value if isinstance(value, list) else [value]:
            if type(number) is int and abs(number) > LARGEST_NUMBER and key not in ("seed",):
                raise ImportingError(
                    f"{name} was refused because a layer of it has {key} {number:,}; no network of films has."
                )


def _image_shape(configuration: dict[str, Any], name: str) -> tuple[int | None, int | None, int]:
    shape = input_shape(configuration)
    if shape is None or len(shape) != 4:
        raise ImportingError(
            f"{name} does not say that it takes images (its input is {_shown(shape)}); a network of shape "
            "(n, side, side, 3) is needed."
        )
    _, height, width, channels = shape
    if channels not in (1, 3):
        raise ImportingError(
            f"{name} takes input of shape {_shown(shape)}; images with 3 channels last, or with 1, are needed."
        )
    if height != width:
        raise ImportingError(f"{name} takes images of {_shown(shape)}; only square ones are read.")
    if height is not None and not SIDES[0] <= height <= SIDES[1]:
        raise ImportingError(
            f"{name} takes images of {height} pixels a side; between {SIDES[0]} and {SIDES[1]} are read."
        )
    return height, width, channels


def _shown(shape: Sequence[int | None] | None) -> str:
    return (
        "not stated"
        if shape is None
        else f"({', '.join('n' if side is None else str(side) for side in shape)})"
    )


def _columns(configuration: dict[str, Any], name: str) -> int:
    settings: Any = configuration["config"]
    entries: list[Any] = settings["layers"] if isinstance(settings, dict) else settings
    outputs = settings.get("output_layers") if isinstance(settings, dict) else None
    names = _output_names(outputs)
    if len(names) > 1:
        raise ImportingError(f"{name} has {len(names)} outputs; a network with one is needed.")
    last = next(
        (entry for entry in reversed(entries) if not names or _name_of(entry) == names[0]), entries[-1]
    )
    if last["class_name"] in CONTAINERS:
        return _columns(last, name)
    activation = _activation(last)
    index = entries.index(last)
    # An activation may stand behind the layer with the columns, as a layer of its own.
    while last["class_name"] in ("Activation", "Softmax", "Dropout") and index:
        index -= 1
        last = entries[index]
    columns = last["config"].get("units") if last["class_name"] == "Dense" else None
    if columns not in (1, 2):
        what = f"{columns} columns" if columns else f"a layer {last['class_name']}"
        raise ImportingError(
            f"{name} ends in {what}; a Dense layer with one column (sigmoid) or two (softmax) is needed."
        )
    wanted = "sigmoid" if columns == 1 else "softmax"
    if activation != wanted:
        raise ImportingError(
            f"{name} ends in {columns} column{'s'[: columns > 1]} with activation {activation or 'none'}, and "
            f"{wanted} is needed to make a probability of it."
        )
    return int(columns)


def _output_names(outputs: Any) -> list[str]:
    """The layers that ``output_layers`` names: [["probability", 0, 0]], since Keras 3 also ["probability", 0, 0]."""
    if not isinstance(outputs, list) or not outputs:
        return []
    if isinstance(outputs[0], str):
        return [outputs[0]]
    return [str(each[0]) for each in outputs if isinstance(each, list) and each]


def _name_of(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"].get("name"))


def _activation(entry: Mapping[str, Any]) -> str:
    if entry["class_name"] == "Softmax":
        return "softmax"
    activation = entry["config"].get("activation")
    if isinstance(activation, dict):
        activation = activation.get("config", {})
        activation = activation.get("name") if isinstance(activation, dict) else activation
    return activation if isinstance(activation, str) else ""


def _release(path: Path) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        release = file.attrs.get("keras_version", "")
    if isinstance(release, bytes):
        release = release.decode(errors="replace")
    return release[:20] if isinstance(release, str) else ""


# --- from the file to a network as we keep it ---


@contextmanager
def limited_memory(most: int = MEMORY) -> Iterator[None]:
    """What is built in the block may take so much memory more; beyond it fails, instead of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        resource.setrlimit(resource.RLIMIT_DATA, (pages * os.sysconf("SC_PAGE_SIZE") + most, hard))
    except (OSError, ValueError, IndexError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def load_network(path: Path) -> keras.Model:
    """Build the network of an inspected file with Keras.

    Raises:
        ImportingError: this Keras cannot build it, or it is too large.
    """
    import keras

    try:
        with _as_keras3_reads(path) as readable, limited_memory():
            network = keras.models.load_model(readable, compile=False)
    except Exception as error:
        # Keras raises whatever it comes upon; the file was found sound before.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200].rstrip(".") if lines else type(error).__name__
        raise ImportingError(
            f"{path.name} cannot be built by Keras {keras.__version__} ({reason}); save it again with a newer Keras."
        ) from None
    if network.count_params() > MAXIMUM_PARAMETERS:
        raise ImportingError(
            f"{path.name} has {network.count_params():,} parameters, and at most {MAXIMUM_PARAMETERS:,} are read."
        )
    return network


@contextmanager
def _as_keras3_reads(path: Path) -> Iterator[Path]:
    """The file, or a copy whose configuration is put into the form that Keras 3 understands."""
    import h5py

    configuration = check_network_file(path)
    before = json.dumps(configuration)
    _modernise(configuration)
    if json.dumps(configuration) == before:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pneumoscope-import-") as folder:
        copy = Path(shutil.copyfile(path, Path(folder) / path.name))
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(configuration)
        yield copy


def _modernise(configuration: dict[str, Any]) -> None:
    """Change what Keras 3 reads wrongly in a configuration of Keras 2, at any depth.

    The ends of a network stood in a list even where there is one, which makes a list of its output. A network inside a
    network counted its own making as its first call, and Keras 3 does not when it looks for where its output goes.
    """
    settings = configuration.get("config")
    if not isinstance(settings, dict):
        return
    for key in ("input_layers", "output_layers"):
        ends = settings.get(key)
        if isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list):
            settings[key] = ends[0]
    entries = settings.get("layers", [])
    inside = {_name_of(entry) for entry in entries if entry.get("class_name") in CONTAINERS}
    calls = [call for entry in entries for call in _calls(entry) if call[0] in inside]
    first = {name: min(call[1] for call in calls if call[0] == name) for name in {call[0] for call in calls}}
    for call in calls:
        call[1] -= first[call[0]]
    for entry in entries:
        if entry.get("class_name") in CONTAINERS:
            _modernise(entry)


def _calls(entry: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Where a layer takes its input from, as Keras 2 wrote it: [name, number of the call, of the output]."""
    for node in entry.get("inbound_nodes") or ():
        for call in node if isinstance(node, list) else ():
            if (
                isinstance(call, list)
                and len(call) >= 3
                and isinstance(call[0], str)
                and type(call[1]) is int
            ):
                yield call


def rebuild(
    network: keras.Model, *, scaling: str, side: int | None = None, swapped: bool = False
) -> keras.Model:
    """The same function in our contract: flat, float32, pixels 0 to 255 in, one sigmoid out.

    A two-way softmax becomes a sigmoid of the difference of its two columns, which is the same probability. One grey
    channel is taken from the first of three.

    Args:
        scaling: one of `SCALINGS`, put in front as a layer.
        side: of the images, for a network that takes any size.
        swapped: the network's probability is that of NORMAL.

    Raises:
        ImportingError: its layers are put together in a way that cannot be taken apart.
    """
    import keras

    side = network.inputs[0].shape[1] or side
    image = keras.Input((side, side, 3), name="image")
    values = image
    if network.inputs[0].shape[-1] == 1:
        first = keras.layers.Conv2D(1, 1, use_bias=False, trainable=False, name="grey")
        values = first(values)
        first.set_weights([np.array([1, 0, 0], np.float32).reshape(1, 1, 3, 1)])
    if scaling != "0 to 255":
        values = _scaling_layer(scaling, channels=values.shape[-1])(values)
    builder = _Flat(names={"image", "grey", "scaling"})
    try:
        flat = keras.Model(image, builder.through(network, values))
        return _with_one_sigmoid(flat, swapped=swapped)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise ImportingError(
            f"The network cannot be rebuilt with plain layers ({reason}); save it as a Sequential or functional model."
        ) from None


def _scaling_layer(scaling: str, *, channels: int) -> Any:
    from keras import layers

    options = {"name": "scaling", "dtype": "float32"}
    match scaling:
        case "0 to 1":
            return layers.Rescaling(1 / 255, **options)
        case "-1 to 1":
            return layers.Rescaling(1 / 127.5, offset=-1.0, **options)
        case "caffe":
            # Blue, green, red; a film's three channels are equal, so that their order need not be turned round.
            means = [103.939, 116.779, 123.68]
            return layers.Rescaling(1.0, offset=[-mean for mean in means][:channels], **options)
    raise ValueError(f"There is no scaling {scaling!r}.")


class _Flat:
    """Applies the layers of a network, at any depth, as fresh layers with the same weights and names of their own."""

    def __init__(self, *, names: set[str]) -> None:
        self._names = names
        self._made: dict[int, Any] = {}
        self._weights: list[tuple[Any, Any]] = []

    def through(self, network: Any, values: Any) -> Any:
        import keras

        if isinstance(network, keras.Sequential):
            for layer in network.layers:
                values = self._apply(layer, values)
            return values
        # Keras' own way to run a functional network with other operations.
        return network._run_through_graph([values], operation_fn=lambda layer: partial(self._apply, layer))

    def _apply(self, layer: Any, values: Any, **_: Any) -> Any:
        if hasattr(layer, "layers"):
            found = self.through(layer, values)
            return found[0] if isinstance(found, list | tuple) and len(found) == 1 else found
        fresh = self._made.get(id(layer))
        if fresh is None:
            fresh = type(layer).from_config(
                layer.get_config() | {"name": self._free(layer.name), "dtype": "float32"}
            )
            self._made[id(layer)] = fresh
        result = fresh(values)
        fresh.set_weights(layer.get_weights())
        return result

    def _free(self, name: str) -> str:
        free, number = name.replace("/", "_"), 1
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free


def _with_one_sigmoid(network: Any, *, swapped: bool) -> Any:
    import keras

    layers = list(network.layers)
    while type(layers[-1]).__name__ in ("Activation", "Softmax", "Dropout"):
        layers.pop()
    dense = layers[-1]
    kernel, *bias = dense.get_weights()
    if dense.units == 2:  # softmax of two is the sigmoid of their difference
        kernel = kernel[:, 1:] - kernel[:, :1]
        bias = [each[1:] - each[:1] for each in bias]
    sign = -1 if swapped else 1
    last = keras.layers.Dense(
        1, activation="sigmoid", use_bias=bool(bias), name="probability", dtype="float32"
    )
    output = last(dense.input)
    last.set_weights([sign * kernel, *(sign * each for each in bias)])
    return keras.Model(network.inputs[0], output, name="imported")


# --- films ---


@dataclass(frozen=True)
class _Films:
    films: tuple[Film, ...]
    images: NDArray[np.uint8]
    """Grey, (n, side, side): a third of the memory."""

    @property
    def labels(self) -> NDArray[np.int64]:
        return labels(self.films)


def _read_films(films: Sequence[Film], side: int, *, what: str, progress: Progress) -> _Films:
    read: list[Film] = []
    images: list[NDArray[np.uint8]] = []
    for number, film in enumerate(films):
        if number % BATCH == 0:
            progress(f"Reading {what}", number, len(films))
        with suppress(ImageError, OSError):  # `python -m model data` names them
            images.append(prepare(read_xray(film.path.read_bytes()).pixels, size=(side, side))[:, :, 0])
            read.append(film)
    progress(f"Reading {what}", len(films), len(films))
    if {film.label for film in read} != {0, 1}:
        raise ImportingError(f"The {what} hold no readable film of both classes; name another folder.")
    return _Films(tuple(read), np.stack(images))


def _run(network: Any, images: NDArray[np.uint8], *, what: str, progress: Progress) -> NDArray[np.float64]:
    """The network's output, float64 (n,), for grey images (n, side, side) or (n, side, side, 3)."""
    import tensorflow

    forward = tensorflow.function(lambda batch: network(batch, training=False), reduce_retracing=True)
    parts = []
    for start in range(0, len(images), BATCH):
        progress(what, start, len(images))
        batch = images[start : start + BATCH].astype(np.float32)
        if batch.ndim == 3:
            batch = np.repeat(batch[..., np.newaxis], 3, axis=3)
        parts.append(forward(batch).numpy()[:, 0])
    progress(what, len(images), len(images))
    values = np.concatenate(parts).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImportingError(
            "The network gives numbers that are not finite; it is damaged or was never trained."
        )
    return values


def _spread(films: Sequence[Film], count: int) -> tuple[Film, ...]:
    """So many films of each class, evenly over their order."""
    chosen: list[Film] = []
    for label in (0, 1):
        mine = [film for film in films if film.label == label]
        picked = np.unique(np.linspace(0, len(mine) - 1, min(count, len(mine))).round().astype(int))
        chosen += [mine[index] for index in picked]
    return tuple(chosen)


def _try(
    network: Any,
    scaling: str,
    side: int,
    images: NDArray[np.uint8],
    truth: NDArray[np.int64],
    progress: Progress,
) -> Trial:
    from sklearn.metrics import roc_auc_score

    values = _run(
        rebuild(network, scaling=scaling, side=side),
        images,
        what=f"Trying pixels {scaling}",
        progress=progress,
    )
    auc = float(roc_auc_score(truth, values)) if 0 < truth.sum() < len(truth) else None
    brier = float(((values - truth) ** 2).mean())
    return Trial(scaling, auc, brier, float(values[truth == 0].mean()), float(values[truth == 1].mean()))


def choose(trials: Sequence[Trial]) -> tuple[Trial, bool]:
    """The scaling that tells the classes apart best, and whether the network means NORMAL by its probability.

    That is so where it puts the films into the wrong order far more clearly than any scaling puts them into the right
    one. Where areas are equal to three decimals, the outputs nearer to the labels decide. Where these are equal too,
    the scaling does not matter and none is added: so it is with a network that standardises each image itself.
    """

    def worth(trial: Trial) -> tuple[float, float, bool]:
        auc = 0.5 if trial.auc is None else trial.auc
        return round(auc, 3), -round(trial.brier, 3), trial.scaling == "0 to 255"

    best = max(trials, key=worth)
    worst = min(trials, key=lambda trial: worth(trial)[0])
    against = 1 - worth(worst)[0]
    if against >= 0.7 and against > worth(best)[0] + 0.1:
        return worst, True
    return best, False


# --- all together ---


def import_network(
    file: Path,
    site: Path,
    *,
    name: str,
    data: Path | None = None,
    scaling: str = AUTO,
    who: str = "",
    reason: str = "",
    roots: Sequence[Path] = (),
    side: int = 224,
    progress: Progress = lambda words, done, total: None,
) -> Imported:
    """Make a version of a network file.

    Args:
        file: a Keras ``.h5`` with layers and weights.
        site: the folder of the site's versions.
        name: of the version to be.
        data: a folder of labelled films: validation films held out of ``train`` (of all, where there are no splits)
            calibrate it and give its operating points, the test split measures it. Without one it is imported as not
            evaluated and cannot go into use.
        scaling: a name of `SCALINGS`, or "auto": each is tried.
        who: who imports it; kept.
        reason: why; kept.
        roots: the folders of all versions, in which the name must be free.
        side: of the images in pixels, for a network that takes any size.

    Raises:
        ImportingError, VersionError, DatasetError: one sentence.
    """
    if scaling not in (AUTO, *SCALINGS):
        raise ImportingError(f"There is no scaling {scaling!r}; choose auto or one of {', '.join(SCALINGS)}.")
    check_name(name, *roots, site)
    progress("Looking into the file", 0, 0)
    inspection = inspect_network(file)
    dataset = None if data is None else read_dataset(data)
    validation_films: tuple[Film, ...] = ()
    if dataset is not None:
        source = dataset.split("train") or dataset.split("all")
        if not source:
            raise ImportingError(
                f"{data} has no training films to hold validation films out of; name a folder with train or with "
                f"{CLASSES[0]} and {CLASSES[1]} alone."
            )
        _, validation_films = hold_out(source, method="edges")
    progress("Building the network", 0, 0)
    network = load_network(file)
    side = inspection.input_shape[0] or side

    notes = [inspection.words]
    validation = None
    if dataset is not None:
        validation = _read_films(validation_films, side, what="validation films", progress=progress)
    chosen, swapped, trials = _settle_scaling(network, scaling, side, validation, notes, progress)
    final = rebuild(network, scaling=chosen, side=side, swapped=swapped)

    with tempfile.TemporaryDirectory(prefix="pneumoscope-import-") as temporary:
        saved = Path(temporary) / "model.h5"
        final.save(saved, include_optimizer=False)
        measured = _measure(final, dataset, validation, side, progress)
        progress("Writing the version", 0, 0)
        sample_names, images = sample_images(side)
        outputs = _run(final, images, what="Reading the sample films", progress=progress)
        samples = measured.calibration.apply(outputs)
        if dataset is None:
            notes.append("Not evaluated: it was imported without labelled films and cannot go into use.")
        else:
            notes.append(
                "What it was trained on is not known: its figures flatter it where it has seen these films before."
            )
        if measured.metrics and "test" not in measured.predictions:
            notes.append("The folder has no test split: all its figures are of the validation films.")
        card = Card(
            name=name,
            created=datetime.now(UTC),
            architecture=_architecture(final),
            seed_configuration="imported",
            input_size=(side, side),
            pixel_scaling=f"inside the network: {chosen} ({SCALINGS[chosen]})",
            started_from=f"the file {file.name}"
            + (f" of Keras {inspection.keras}" if inspection.keras else ""),
            training={
                "imported": {
                    "file": file.name,
                    "scaling": chosen,
                    "found": scaling == AUTO,
                    "trials": [trial.as_json() for trial in trials],
                    "swapped": swapped,
                }
            },
            data=measured.data,
            split={"method": "edges", "fraction": 0.15, "seed": 0} if dataset is not None else {},
            packages={
                each: metadata.version(each) for each in ("keras", "tensorflow", "numpy", "pillow", "h5py")
            }
            | {"python": platform.python_version()},
            sha256="0" * 64,
            parameters=final.count_params(),
            trainable_parameters=sum(int(np.prod(weight.shape)) for weight in final.trainable_weights),
            calibration=measured.calibration,
            operating_points=measured.points,
            metrics=measured.metrics,
            notes=tuple(notes),
            trained_by="not known (imported)",
            samples=dict(zip(sample_names, map(float, samples), strict=True)),
        )
        version = write_version(
            site / name, model_file=saved, card=card, history=None, predictions=measured.predictions
        )
    try:
        record_import(version, site, who=who, reason=reason)
    except VersionError:
        shutil.rmtree(version.folder, ignore_errors=True)
        raise
    return Imported(version, trials, tuple(notes))


def check_name(name: str, *roots: Path) -> None:
    """
    Raises:
        ImportingError: no version may have this name, or one has it.
    """
    import re

    from model.registry import NAME_PATTERN

    if not re.match(NAME_PATTERN, name):
        raise ImportingError(
            "A version's name has letters, digits, points, dashes and underscores, up to 100, and starts with a "
            "letter or a digit."
        )
    taken = {version.name for version in scan_versions(*roots)[0]}
    if name in taken or any((root / name).exists() for root in roots):
        raise ImportingError(f"There is a version {name} already; choose another name.")


def _settle_scaling(
    network: Any,
    scaling: str,
    side: int,
    validation: _Films | None,
    notes: list[str],
    progress: Progress,
) -> tuple[str, bool, tuple[Trial, ...]]:
    if validation is None:
        names, images = sample_images(side)
        truth = np.array(["pneumonia" in name for name in names], dtype=np.int64)
        films = f"{len(names)} synthetic films: a weak ground, look at the answers before you trust them"
    else:
        picked = {film.path for film in _spread(validation.films, TRIAL_FILMS)}
        chosen = np.array([film.path in picked for film in validation.films])
        images, truth = validation.images[chosen], validation.labels[chosen]
        films = f"{int(chosen.sum())} validation films"
    wanted = list(SCALINGS) if scaling == AUTO else [scaling]
    trials = tuple(_try(network, each, side, images, truth, progress) for each in wanted)
    best, swapped = choose(trials)
    if all(abs(trial.pneumonia - trial.normal) < 1e-6 for trial in trials):
        raise ImportingError(
            "The network gives every film the same answer, whatever the pixels are scaled to; it cannot be used."
        )
    shown = "; ".join(
        f"{trial.scaling}: " + ("AUC not known" if trial.auc is None else f"AUC {trial.auc:.3f}")
        for trial in trials
    )
    how = "found by trying" if scaling == AUTO else "as stated"
    notes.append(f"Pixel scaling {best.scaling}, {how}. On {films}: {shown}.")
    if swapped:
        notes.append("It gave the probability of NORMAL: its last layer was turned round.")
    return best.scaling, swapped, trials


@dataclass(frozen=True)
class _Measured:
    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    predictions: dict[str, Predictions]
    metrics: dict[str, Any]
    data: dict[str, Any]


def _measure(
    network: Any, dataset: Dataset | None, validation: _Films | None, side: int, progress: Progress
) -> _Measured:
    if dataset is None or validation is None:
        point = OperatingPoint(name="default", threshold=0.5, rule="a probability of one half or more")
        return _Measured(identity(), (point,), {}, {}, {})
    raw = _run(
        network, validation.images, what="Reading validation films with the network", progress=progress
    )
    calibration = fit_platt(
        raw,
        validation.labels,
        prevalence=0.5,
        fitted_on=f"{len(raw)} validation films (edges)",
    )
    points = operating_points(validation.labels, calibration.apply(raw))
    parts = {"validation": (validation, raw)}
    if test_films := dataset.split("test"):
        test = _read_films(test_films, side, what="test films", progress=progress)
        output = _run(network, test.images, what="Reading test films with the network", progress=progress)
        parts["test"] = (test, output)
    predictions = {
        split: Predictions(
            files=tuple(film.path.relative_to(dataset.root).as_posix() for film in films.films),
            patients=tuple(film.patient for film in films.films),
            labels=films.labels,
            subgroups=tuple(film.subgroup for film in films.films),
            probabilities=calibration.apply(output),
        )
        for split, (films, output) in parts.items()
    }
    metrics = {
        split: {
            point.name: evaluate(stored.labels, stored.probabilities, threshold=point.threshold).as_json()
            for point in points
        }
        for split, stored in predictions.items()
    }
    data = {
        "fingerprint": fingerprint(
            [film for films, _ in parts.values() for film in films.films], dataset.root
        ),
        "counts": {
            split: {name: int((films.labels == label).sum()) for label, name in enumerate(CLASSES)}
            for split, (films, _) in parts.items()
        },
    }
    return _Measured(calibration, points, predictions, metrics, data)


def _architecture(network: Any) -> str:
    names = {layer.name for layer in network.layers}
    blocks = enumerate((2, 2, 3, 3, 3), start=1)
    vgg16 = {f"block{block}_conv{number}" for block, count in blocks for number in range(1, count + 1)}
    kind = "VGG16" if vgg16 <= names and "block3_conv4" not in names else "Network"
    convolutions = sum("Conv" in type(layer).__name__ for layer in network.layers)
    dense = [str(layer.units) for layer in network.layers if type(layer).__name__ == "Dense"][:-1]
    head = f", Dense {' and '.join(dense)}" if dense else ""
    return f"{kind} of {convolutions} convolutions{head}, sigmoid (imported)"
