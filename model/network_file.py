"""Looks into a Keras ``.h5`` file before anything in it is built.

A saved network is data, but Keras builds whatever the file names: a Lambda layer carries its author's
code, and for ``.h5`` files ``safe_mode`` was silently ignored before Keras 3.11.3 (CVE-2025-9905). So the
file's ``model_config`` is read with h5py alone, and every class in it must stand on a list of plain Keras
classes. Nothing of TensorFlow or Keras is imported here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LFS_POINTER = b"version https://git-lfs"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAXIMUM_BYTES = 2 * 2**30
"""Of a file, and of the numbers that it says it holds: VGG16 with its large head, three times over."""
MAXIMUM_RATIO = 200
"""Unpacked to packed bytes of one array. Trained weights hardly shrink to a half."""
MAXIMUM_OBJECTS = 20_000
_FILTERS = {1, 2, 3, 32000}  # gzip, shuffle, Fletcher's checksum, LZF: what h5py itself can undo

CONTAINERS = frozenset({"Functional", "Sequential", "Model"})

LAYERS = frozenset(
    """InputLayer Activation ReLU LeakyReLU PReLU ELU Softmax
    Conv2D SeparableConv2D DepthwiseConv2D Convolution2D
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D
    ZeroPadding2D Cropping2D UpSampling2D
    BatchNormalization LayerNormalization GroupNormalization Normalization Rescaling Resizing
    Dense Dropout SpatialDropout2D GaussianNoise GaussianDropout Flatten Reshape Permute
    Add Subtract Multiply Average Maximum Concatenate""".split()
)

# What a plain layer's configuration may hold: precision policies, starting values, penalties, tensors.
PARTS = frozenset(
    """DTypePolicy Policy __keras_tensor__ __tuple__
    Zeros Ones Constant GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal Identity
    L1 L2 L1L2 MaxNorm NonNeg UnitNorm MinMaxNorm""".split()
)

ALLOWED = CONTAINERS | LAYERS | PARTS


class NetworkFileError(Exception):
    """A network file that cannot or must not be opened; one sentence for the user."""


def _named_parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict in ``node``, at any depth, that asks Keras to build or import something."""
    if isinstance(node, dict):
        if "class_name" in node or "registered_name" in node or "module" in node:
            yield node
        for value in node.values():
            yield from _named_parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named_parts(value)


def check_configuration(configuration: Any, *, name: str = "model.h5") -> None:
    """Refuse a ``model_config`` that names anything but plain Keras classes.

    Raises:
        NetworkFileError: a Lambda, custom or unknown class, or no configuration of a network at all.
    """
    if not isinstance(configuration, dict) or configuration.get("class_name") not in CONTAINERS:
        raise NetworkFileError(f"{name} does not describe a Keras network; save it again with model.save().")
    try:
        parts = list(_named_parts(configuration))
    except RecursionError:
        raise NetworkFileError(f"{name} has a damaged description of its layers; save it again.") from None
    for part in parts:
        class_name = part.get("class_name")
        module = part.get("module")
        registered = part.get("registered_name")
        plain = (
            isinstance(class_name, str)
            and class_name in ALLOWED
            and (module is None or (isinstance(module, str) and module.split(".")[0] == "keras"))
            and registered in (None, class_name)
        )
        if not plain:
            raise NetworkFileError(
                f"{name} was refused because it holds the layer or object {registered or class_name!r}, which could "
                "run code of its author; only networks of plain Keras layers are opened."
            )


def input_shape(configuration: dict[str, Any]) -> tuple[int | None, ...] | None:
    """The shape of one batch that a network of this ``model_config`` takes, as (None, 224, 224, 3); None: not said.

    It stands at the first layer that says one: ``batch_shape`` since Keras 3, ``batch_input_shape`` before. A nested
    network is looked into.
    """
    settings = configuration.get("config")
    layers = (
        settings.get("layers") if isinstance(settings, dict) else settings
    )  # a list in Keras 1 and early 2
    for layer in layers if isinstance(layers, list) else ():
        own = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(own, dict):
            continue
        shape = own.get("batch_shape") or own.get("batch_input_shape")
        if isinstance(shape, list) and all(side is None or type(side) is int for side in shape):
            return tuple(shape)
        if layer.get("class_name") in CONTAINERS and (found := input_shape(layer)) is not None:
            return found
    return None


def check_network_file(path: Path) -> dict[str, Any]:
    """Check that ``path`` is a whole Keras ``.h5`` of plain layers, and return its ``model_config``.

    Raises:
        NetworkFileError: missing, a Git LFS pointer, truncated, not HDF5, with links to elsewhere or arrays that it
            does not hold, without configuration, or unsafe.
    """
    name = path.name
    try:
        if not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
    except OSError:
        raise NetworkFileError(f"{name} cannot be read in {path.parent}; put the file back.") from None
    if head.startswith(LFS_POINTER):
        raise NetworkFileError(
            f"{name} is only a Git LFS pointer, not the network itself; run 'git lfs pull' to fetch it."
        )
    if not head.startswith(HDF5_SIGNATURE):
        raise NetworkFileError(f"{name} is not an HDF5 file; a network saved by Keras as .h5 is needed.")
    if size > MAXIMUM_BYTES:
        raise NetworkFileError(
            f"{name} is larger than {MAXIMUM_BYTES // 2**30} GB; save the network without its optimizer."
        )

    import h5py

    try:
        with h5py.File(path, "r") as file:
            _check_contents(file, name)
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError):  # what HDF5 makes of damage
        raise NetworkFileError(f"{name} is truncated or damaged; copy it again.") from None
    if text is None:
        raise NetworkFileError(
            f"{name} holds weights without the network's layers; save the whole network with model.save()."
        )
    try:
        configuration = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise NetworkFileError(f"{name} has a damaged description of its layers; save it again.") from None
    check_configuration(configuration, name=name)
    assert isinstance(configuration, dict)
    return configuration


def _check_contents(file: Any, name: str) -> None:
    """Walk through the whole file and look at its links and at what its arrays say of themselves; none is read."""
    import h5py

    total = 0
    waiting, seen = [file], set()
    while waiting:
        group = waiting.pop()
        for key in group:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise NetworkFileError(
                    f"{name} was refused because {key!r} in it is a link to elsewhere; save the network itself."
                )
            item = group[key]
            place = h5py.h5o.get_info(item.id).addr
            if place in seen:  # two names of one object, or a circle
                continue
            seen.add(place)
            if len(seen) > MAXIMUM_OBJECTS:
                raise NetworkFileError(f"{name} was refused because it holds more parts than any network.")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                total += _check_array(item, name)
    if total > MAXIMUM_BYTES:
        raise NetworkFileError(
            f"{name} was refused because it would unpack to {total / 2**30:.1f} GB of weights, and at most "
            f"{MAXIMUM_BYTES // 2**30} GB are read."
        )


def _check_array(array: Any, name: str) -> int:
    """The bytes of an array, unpacked."""
    what = f"{name} was refused because its array {array.name}"
    if array.is_virtual or array.external:
        raise NetworkFileError(f"{what} lies in another file; save the network itself.")
    if array.dtype.kind not in "fiubS":
        raise NetworkFileError(f"{what} holds no numbers; save the network again.")
    plan = array.id.get_create_plist()
    filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if not filters <= _FILTERS:
        raise NetworkFileError(f"{what} is packed by a method that is not supported; save the network again.")
    size: int = math.prod(array.shape or ()) * array.dtype.itemsize
    stored = array.id.get_storage_size()
    # Packed arrays may be small; a MiB is let through whatever it was packed to.
    most = stored * MAXIMUM_RATIO + 2**20 if filters else stored
    if size > most:
        raise NetworkFileError(
            f"{what} claims {size:,} bytes and the file holds {stored:,} of it; copy the file again."
        )
    return size
