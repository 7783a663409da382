"""Builds the networks of the table in `model.architectures`, parts them where they are frozen, and releases them.

Every network is flat: pixels 0 to 255, scaling, base, head, all of them plain Keras layers in one graph. Bases come
from keras.applications under names that do not hang on what else a process has built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model import vgg16

if TYPE_CHECKING:
    import keras

    from model.architectures import Architecture
    from model.recipes import TrainingConfig

INPUT = "image"
"""Name of every network's input, and of its frozen end where nothing is frozen."""

IMAGENET_MEANS = np.array([0.485, 0.456, 0.406])
IMAGENET_DEVIATIONS = np.array([0.229, 0.224, 0.225])
"""Of ImageNet's pixels from 0 to 1; red, green, blue."""
CAFFE_MEANS = np.array([103.939, 116.779, 123.68])
"""Of ImageNet's pixels from 0 to 255; blue, green, red."""

# Layers without weights that always give the same for the same input: what lies behind a frozen part is fixed with it.
_FIXED = frozenset({"Activation", "Flatten", "GlobalAveragePooling2D", "MaxPooling2D", "ReLU", "Rescaling"})


def build(
    architecture: Architecture,
    config: TrainingConfig,
    *,
    width: float,
    front: Sequence[tuple[str, dict[str, Any]]],
) -> keras.Model:
    """See `model.architectures.build_training`; ``front``: layers to scale with instead of the architecture's own."""
    import keras

    images = keras.Input((config.input_side, config.input_side, 3), name=INPUT)
    values = images
    for kind, configuration in front:
        values = getattr(keras.layers, kind).from_config(configuration)(values)
    if not front:
        values = _scale(values, architecture.scaling)
    units = _narrow(config.head_units, width)
    if architecture.base is None:
        return keras.Model(
            images, _small_network(values, architecture, config, width), name=architecture.name
        )
    if architecture.base == "VGG16":
        blocks = tuple((count, _narrow(filters, width)) for count, filters in vgg16.VGG16_BLOCKS)
        features = vgg16.convolutions(values, blocks)
    else:
        base = getattr(keras.applications, architecture.base)(
            weights=None, include_top=False, input_tensor=values
        )
        base = keras.models.clone_model(base, clone_function=_Clone(base.layers, width))
        images, features = base.inputs[0], base.outputs[0]
    if not architecture.flattened:
        return keras.Model(images, vgg16.head(features, units, config.dropout), name=architecture.name)
    values = keras.layers.Dropout(config.dropout, name="head_dropout", dtype="float32")(features)
    values = keras.layers.Flatten(name="flatten", dtype="float32")(values)
    return keras.Model(images, _probability(_dense(values, units, 1), architecture), name=architecture.name)


def _narrow(number: int, width: float) -> int:
    return number if not number else max(2, round(number * width))


def _scale(images: Any, scaling: str) -> Any:
    """The pixels as the base was published with; float32 whatever the policy, as bf16 cannot tell 256 greys apart.

    ``caffe`` takes means off blue, green and red. An X-ray has three equal channels, so that turning their order round
    changes nothing and no layer is spent on it: only the order of the means matters.
    """
    from keras import layers

    options = {"name": "scaling", "dtype": "float32"}
    match scaling:
        case "0 to 255":
            return images
        case "0 to 1":
            return layers.Rescaling(1 / 255, **options)(images)
        case "-1 to 1":
            return layers.Rescaling(1 / 127.5, offset=-1.0, **options)(images)
        case "caffe":
            return layers.Rescaling(1.0, offset=(-CAFFE_MEANS).tolist(), **options)(images)
        case "torch":
            scale, offset = 1 / (255 * IMAGENET_DEVIATIONS), -IMAGENET_MEANS / IMAGENET_DEVIATIONS
            return layers.Rescaling(scale.tolist(), offset=offset.tolist(), **options)(images)
        case "standardised":
            reduced = layers.AveragePooling2D(vgg16.REDUCTION, name="reduce", dtype="float32")(images)
            return vgg16.standardise()(reduced)
    raise ValueError(f"There is no scaling {scaling!r}.")


class _Clone:
    """Makes each layer of a base anew: narrower, with a name of its own, with a fixed normalisation and without chance.

    Keras numbers layers without a name over the whole process; here they are numbered within the base. Keras'
    EfficientNet normalises by a layer with weights, which hold the published figures only when Keras loads its
    ImageNet weights; here they are constants. (Keras divides once more by the root of the deviations, as the
    network was trained: TensorFlow's issue 49930.) Its dropouts are for training the base; a frozen one gives the same
    for the same film each time, whether its features are kept or computed again.
    """

    def __init__(self, layers: Iterable[Any], width: float) -> None:
        self._names = own_names(layers)
        self._width = width

    def __call__(self, layer: Any) -> Any:
        import keras

        configuration = layer.get_config()
        configuration["name"] = self._names[layer.name]
        if type(layer).__name__ == "Normalization":
            deviations = IMAGENET_DEVIATIONS * np.sqrt(IMAGENET_DEVIATIONS)
            return keras.layers.Rescaling(
                (1 / deviations).tolist(),
                offset=(-IMAGENET_MEANS / deviations).tolist(),
                name=configuration["name"],
                dtype="float32",
            )
        if type(layer).__name__ == "Rescaling":
            configuration["dtype"] = "float32"
        if "rate" in configuration:
            configuration["rate"] = 0.0
        if "filters" in configuration:
            configuration["filters"] = _narrow(configuration["filters"], self._width)
        if "target_shape" in configuration:  # squeeze and excitation: (1, 1, filters)
            *sides, filters = configuration["target_shape"]
            configuration["target_shape"] = (*sides, _narrow(filters, self._width))
        return type(layer).from_config(configuration)


def own_names(layers: Iterable[Any]) -> dict[str, str]:
    """Names that hang on nothing but the layers given, by the names that Keras gave: ``conv2d_95`` -> ``conv2d_1``."""
    names: dict[str, str] = {}
    numbered: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        kind = re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
        number = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if number:
            numbered.setdefault(kind, []).append((int(number[1] or 0), layer.name))
        else:
            names[layer.name] = layer.name
    for kind, found in numbered.items():
        names |= {name: f"{kind}_{index}" for index, (_, name) in enumerate(sorted(found))}
    return names


def _small_network(values: Any, architecture: Architecture, config: TrainingConfig, width: float) -> Any:
    """The seeds' own networks: blocks of 3 x 3 convolutions, each ended by pooling, then flat layers."""
    from keras import layers

    from model.normalisation import FusedNormalisation

    for block, (count, filters) in enumerate(architecture.convolutions, start=1):
        for index in range(1, count + 1):
            name = f"block{block}_conv{index}"
            values = layers.Conv2D(
                _narrow(filters, width), 3, padding="same", activation="relu",
                kernel_initializer="he_uniform", name=name,
            )(values)  # fmt: skip
            if architecture.normalised:
                values = FusedNormalisation(name=f"{name}_normalisation")(values)
        values = layers.MaxPooling2D(2, name=f"block{block}_pool")(values)
        if config.dropout:
            values = layers.Dropout(config.dropout, name=f"block{block}_dropout")(values)
    values = layers.Flatten(name="flatten", dtype="float32")(values)
    values = _dense(values, _narrow(config.head_units, width), architecture.dense)
    return _probability(values, architecture)


def _dense(values: Any, units: int, count: int) -> Any:
    from keras import layers

    for index in range(1, count + 1 if units else 1):
        values = layers.Dense(units, activation="relu", name=f"head_dense{index}", dtype="float32")(values)
    return values


def _probability(values: Any, architecture: Architecture) -> Any:
    from keras import layers

    if architecture.softmax:
        return layers.Dense(2, activation="softmax", name="classes", dtype="float32")(values)
    return layers.Dense(1, activation="sigmoid", name="probability", dtype="float32")(values)


def frozen_end(network: keras.Model, architecture: Architecture, unfrozen_blocks: int) -> str:
    """See `model.architectures.frozen_end`."""
    if not 0 <= unfrozen_blocks <= architecture.blocks:
        raise ValueError(
            f"{architecture.title} has {architecture.blocks} blocks that can be trained, not {unfrozen_blocks}."
        )
    end = architecture.ends[unfrozen_blocks] if architecture.ends else INPUT
    place = [layer.name for layer in network.layers].index(end)
    for index, layer in enumerate(network.layers):
        # The order is one of computation and all paths go through the end: what comes before it feeds nothing else.
        layer.trainable = index > place
    if unfrozen_blocks == 0 and end != INPUT:  # the head, which has no branches
        while type(network.layers[place + 1]).__name__ in _FIXED:
            place += 1
    return network.layers[place].name


def parts(network: keras.Model, end: str) -> tuple[keras.Model, keras.Model]:
    """See `model.architectures.parts`."""
    import keras

    middle = network.get_layer(end).output
    return keras.Model(network.input, middle), keras.Model(middle, network.output)


def release(network: keras.Model, architecture: Architecture) -> keras.Model:
    """See `model.architectures.release`."""
    import keras

    if architecture.name == "vgg16_scratch":
        return vgg16.fold(network, vgg16.size_of(network))

    from model.normalisation import FusedNormalisation

    def in_float32(layer: Any) -> Any:
        kind = keras.layers.BatchNormalization if isinstance(layer, FusedNormalisation) else type(layer)
        return kind.from_config({**layer.get_config(), "dtype": "float32"})

    plain = keras.models.clone_model(network, clone_function=in_float32)
    plain.set_weights(network.get_weights())
    if not architecture.softmax:
        return plain
    kernel, bias = plain.layers[-1].get_weights()
    output = keras.layers.Dense(1, activation="sigmoid", name="probability", dtype="float32")
    plain = keras.Model(plain.input, output(plain.layers[-1].input), name=architecture.name)
    output.set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    return plain
