"""Looks into a Keras ``.h5`` file before anything in it is built.

A saved network is data, but Keras builds whatever the file names: a Lambda layer carries its author's
code, and for ``.h5`` files ``safe_mode`` was silently ignored before Keras 3.11.3 (CVE-2025-9905). So the
file's ``model_config`` is read with h5py alone, and every class in it must stand on a list of plain Keras
classes. Nothing of TensorFlow or Keras is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LFS_POINTER = b"version https://git-lfs"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

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
    for part in _named_parts(configuration):
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
        NetworkFileError: missing, a Git LFS pointer, truncated, not HDF5, without configuration, or unsafe.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
    except OSError:
        raise NetworkFileError(f"{path.name} cannot be read in {path.parent}; put the file back.") from None
    if head.startswith(LFS_POINTER):
        raise NetworkFileError(
            f"{path.name} is only a Git LFS pointer, not the network itself; run 'git lfs pull' to fetch it."
        )
    if not head.startswith(HDF5_SIGNATURE):
        raise NetworkFileError(f"{path.name} is not an HDF5 file; a network saved by Keras as .h5 is needed.")

    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError:
        raise NetworkFileError(f"{path.name} is truncated or damaged; copy it again.") from None
    if text is None:
        raise NetworkFileError(
            f"{path.name} holds weights without the network's layers; save the whole network with model.save()."
        )
    try:
        configuration = json.loads(text)
    except ValueError:
        raise NetworkFileError(
            f"{path.name} has a damaged description of its layers; save it again."
        ) from None
    check_configuration(configuration, name=path.name)
    assert isinstance(configuration, dict)
    return configuration
