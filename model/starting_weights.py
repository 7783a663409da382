"""Where a network's weights come from before training: ImageNet, a file, a version of our own, or chance.

What can be had is said before a run (`available`, which reads no more than the head of a file), and nothing is ever
downloaded unasked: this runs in hospitals.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model import vgg16
from model.network_file import HDF5_SIGNATURE, LFS_POINTER, NetworkFileError, check_network_file
from model.networks import own_names

if TYPE_CHECKING:
    import keras

    from model.architectures import Architecture

IMAGENET = "imagenet"
NONE = "none"

_FRONTS = frozenset({"AveragePooling2D", "GroupNormalization", "Rescaling"})
"""What our own networks have in front of their convolutions."""


class WeightsError(ValueError):
    """Starting weights that cannot be had or do not fit; one sentence that says what to do."""


def keras_cache() -> Path:
    """The folder in which Keras keeps the weights that it downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models"


def available(architecture: Architecture, wanted: str) -> tuple[bool, str]:
    """See `model.architectures.weights_available`."""
    if wanted == NONE:
        if architecture.base is None:
            return True, "Random weights: the whole network is trained from scratch."
        return True, (
            "Random weights: the frozen base knows nothing, so unfreeze all its blocks to train from scratch."
        )
    try:
        file = weights_file(architecture, wanted)
    except WeightsError as error:
        return False, str(error)
    if wanted == IMAGENET:
        return True, f"ImageNet weights as published by Keras ({file.name})."
    if _goes_on(architecture, wanted):
        return True, f"Training goes on from {_called(file)}, head included where its size is the same."
    return True, f"The layers of {_called(file)} that fit by name and shape; the others start at random."


def weights_file(architecture: Architecture, wanted: str) -> Path:
    """The file behind ``imagenet`` or a path, looked at but not read.

    Raises:
        WeightsError: there is none, or it is no weights file.
    """
    if wanted == IMAGENET:
        if architecture.weights_file is None:
            raise WeightsError(
                f"There are no ImageNet weights for {architecture.title}; choose 'none' or a weights file."
            )
        file = keras_cache() / architecture.weights_file
        if not file.is_file():
            raise WeightsError(
                f"The ImageNet weights of {architecture.base or 'VGG16'} cannot be had here without a download; "
                f"put Keras' file {file.name} into {file.parent}, choose a weights file, or train from scratch "
                "with 'none'."
            )
    else:
        file = Path(wanted).expanduser()
        if not file.is_file():
            raise WeightsError(f"There is no weights file {file}; give an .h5 or .npz, 'imagenet' or 'none'.")
    try:
        with file.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
    except OSError:
        raise WeightsError(f"The weights file {file.name} cannot be read; check its permissions.") from None
    if head.startswith(LFS_POINTER):
        raise WeightsError(f"{file.name} is only a Git LFS pointer; run 'git lfs pull' to fetch the weights.")
    if not (head.startswith(HDF5_SIGNATURE) or zipfile.is_zipfile(file)):
        raise WeightsError(
            f"{file.name} is no weights file; give an .h5 as saved by Keras or an .npz of kernels."
        )
    return file


def load(network: keras.Model, architecture: Architecture, wanted: str) -> str:
    """See `model.architectures.load_starting_weights`."""
    if wanted == NONE:
        return "random weights"
    file = weights_file(architecture, wanted)
    if _goes_on(architecture, wanted):
        released = _released(file)
        if vgg16.size_of(released) == vgg16.size_of(network):
            vgg16.unfold(released, network)
            return f"{_called(file)}, the whole network"
    layers = _starting_layers(network, architecture)
    total = len(layers)
    if architecture.base and _load_published(layers, architecture, file, network.input_shape[1]):
        copied = total
    else:
        copied = start_from(network, file, layers=layers)
    parts = f"{copied} of {total} layers{' of the base' if architecture.ends else ''}"
    if wanted == IMAGENET:
        return f"ImageNet weights of {architecture.base or 'VGG16'} as published by Keras ({parts})"
    return f"{_called(file)} ({parts}), the rest random"


def _goes_on(architecture: Architecture, wanted: str) -> bool:
    """Whether a file holds a released network of the form that vgg16_scratch trains: then all of it is taken, head
    included."""
    names = [layer["config"].get("name") for layer in _layers(wanted)]
    return architecture.name == "vgg16_scratch" and names == vgg16.RELEASED_LAYERS


def _released(file: Path) -> keras.Model:
    import keras

    try:
        return keras.models.load_model(file, compile=False)
    except (OSError, ValueError):
        raise WeightsError(f"The weights file {file.name} is damaged; copy it again.") from None


def _called(file: Path) -> str:
    """A weights file in words: every version's is called ``model.h5``, so those go by the version."""
    return f"version {file.parent.name}" if (file.parent / "card.json").is_file() else file.name


def _starting_layers(network: keras.Model, architecture: Architecture) -> list[Any]:
    """The layers with weights that a start is about: those of the base, where there is one; a head starts anew."""
    names = [layer.name for layer in network.layers]
    if architecture.name == "vgg16_scratch":
        return [
            layer for layer in network.layers if layer.name.startswith("block") and hasattr(layer, "kernel")
        ]
    end = names.index(architecture.ends[0]) if architecture.ends else len(names)
    return [layer for layer in network.layers[: end + 1] if layer.weights]


def _load_published(layers: Sequence[Any], architecture: Architecture, file: Path, side: int) -> bool:
    """Fill ``layers`` from weights of the base as Keras publishes them; False where the file holds others."""
    import keras

    if file.suffix == ".npz":
        return False
    base = getattr(keras.applications, str(architecture.base))(
        weights=None, include_top=False, input_shape=(side, side, 3)
    )
    drawn = _kernels(base)
    try:
        with warnings.catch_warnings(action="ignore"):  # hundreds of lines where a file is of another network
            base.load_weights(file)
    except Exception:  # ValueError, KeyError, AttributeError, ...: Keras has many names for a misfit
        return False
    if any(np.array_equal(before, after) for before, after in zip(drawn, _kernels(base), strict=True)):
        return False  # Keras passes over what it does not find
    names = own_names(base.layers)
    published = {names[layer.name]: layer.get_weights() for layer in base.layers if layer.weights}
    for layer in layers:
        weights = published.get(layer.name)
        if weights is None or [w.shape for w in weights] != [w.shape for w in layer.get_weights()]:
            return False
    for layer in layers:
        layer.set_weights(published[layer.name])
    return True


def _kernels(network: Any) -> list[NDArray[Any]]:
    return [weights for layer in network.layers for weights in layer.get_weights() if weights.ndim == 4]


def start_from(network: keras.Model, file: Path, *, layers: Iterable[Any] | None = None) -> int:
    """Copy the weights that fit by layer name, kind and shape; returns how many layers got their kernel.

    Args:
        file: an ``.npz`` with keys such as ``block1_conv1/kernel``, or an ``.h5`` of Keras, whole network or weights.
        layers: of ``network``; all convolutions named ``block...`` where left out.

    Raises:
        WeightsError: none fits, or the file cannot be read.
    """
    try:
        stored = _npz_weights(file) if file.suffix == ".npz" else _h5_weights(file)
    except (OSError, ValueError, zipfile.BadZipFile):
        raise WeightsError(f"The weights file {file.name} is damaged; copy it again.") from None
    if layers is None:
        layers = [layer for layer in network.layers if layer.name.startswith("block")]
    copied = 0
    for layer in layers:
        fitting = [
            (variable, stored[layer.name, kind])
            for variable in layer.weights
            if stored.get((layer.name, kind := variable.path.split("/")[-1]), _NOTHING).shape
            == tuple(variable.shape)
        ]
        for variable, values in fitting:
            variable.assign(values)
        kinds = {variable.path.split("/")[-1] for variable, _ in fitting}
        # A normalisation has no kernel: all or nothing.
        copied += any("kernel" in kind for kind in kinds) or 0 < len(fitting) == len(layer.weights)
    if not copied:
        raise WeightsError(
            f"No convolution in {file.name} fits this network; choose the weights of the same architecture."
        )
    return copied


_NOTHING = np.empty((0, 0, 0, 0, 0))

Weights = dict[tuple[str, str], NDArray[Any]]
"""By layer and kind: kernel, bias, gamma, beta, moving_mean, moving_variance."""


def _npz_weights(file: Path) -> Weights:
    with np.load(file, allow_pickle=False) as stored:
        found = {tuple(key.split("/")[-2:]): stored[key] for key in stored.files if "/" in key}
    return {(layer, kind): values for (layer, kind), values in found.items()}


def _h5_weights(file: Path) -> Weights:
    import h5py

    weights: Weights = {}

    def collect(path: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or "/" not in path:
            return
        layer, name = path.split("/")[-2:]
        kind = name.split(":")[0]
        if "_W" in kind or "_b" in kind.removeprefix("block"):  # Keras 1: block1_conv1_W_1:0
            kind = "kernel" if "_W" in kind else "bias"
        weights[layer, kind] = np.asarray(item)

    with h5py.File(file, "r") as stored:
        stored.visititems(collect)
    return weights


def front_of(wanted: str) -> list[tuple[str, dict[str, Any]]]:
    """Class and configuration of the layers that a network of our own has in front of its convolutions; else nothing.

    A base trained behind a scaling means something only behind the same scaling.
    """
    front = []
    for layer in _layers(wanted):
        if layer["class_name"] == "InputLayer":
            continue
        if layer["class_name"] not in _FRONTS:
            break
        front.append((layer["class_name"], layer["config"]))
    return front


def _layers(wanted: str) -> list[dict[str, Any]]:
    """The layers of the network that a file of plain layers holds, as Keras describes them; else nothing."""
    file = Path(wanted).expanduser()
    if wanted in (IMAGENET, NONE) or file.suffix != ".h5" or not file.is_file():
        return []
    try:
        layers: list[dict[str, Any]] = check_network_file(file)["config"]["layers"]
    except NetworkFileError:  # weights alone, or layers that only the next look refuses in words
        return []
    return layers
