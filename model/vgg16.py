"""VGG16 as the released model was made: built for training with normalisations, saved without them.

VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D) with the head of the fine-tuned seed:
global average pooling, Dense 1024 relu, Dropout 0.3, batch normalisation, Dense 1 sigmoid; 15,245,121 parameters.

Two forms of it exist. The *training* form has a batch normalisation behind every convolution, without which 13
convolutions do not train from here in minutes. The *released* form has none: `fold` moves each normalisation into the
weights of its convolution (same outputs), which leaves VGG16's own layout and 13 layers less to run. `unfold` goes
back, so that training can go on from a released network.

The released network takes 224 x 224 x 3 pixels, 0 to 255, and prepares them itself, in standard Keras layers:
2 x 2 means (its convolutions see 112 x 112) and standardisation to mean 0 and variance 1 over each image, so
that brightness and contrast of the exposure, which differ between machines, cannot be a cue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

INPUT_SIZE = (224, 224)
"""Height and width in pixels of what a released network takes."""

REDUCTION = 2
"""Side of the squares whose means the convolutions see: 224 pixels become 112."""

VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""(convolutions, filters) of each block; a 2 x 2 maximum pooling ends a block."""

RELEASED_LAYERS = [
    "image",
    "reduce",
    "standardise",
    *(
        f"block{block}_{name}"
        for block, (count, _) in enumerate(VGG16_BLOCKS, start=1)
        for name in (*(f"conv{index}" for index in range(1, count + 1)), "pool")
    ),
    "pool",
    "head_dense",
    "head_dropout",
    "head_normalisation",
    "probability",
]
"""Names of the layers of the released form, in their order."""

HEAD_UNITS = 1024
DROPOUT = 0.3


@dataclass(frozen=True)
class Size:
    """How large a VGG16 to build. The default is the real one; tests take a few filters."""

    blocks: tuple[tuple[int, int], ...] = VGG16_BLOCKS
    head_units: int = HEAD_UNITS


def standardise() -> Any:
    """The layer that brings each image to mean 0 and variance 1."""
    import keras

    # One group, without scale and offset: (x - mean) / sqrt(variance) over height, width and channels of each image.
    # (LayerNormalization over three axes is the same, but comes back from an .h5 with its last axis alone.)
    # Float32 whatever the policy: bf16 holds 8 bits, fewer than a pixel needs.
    return keras.layers.GroupNormalization(
        groups=1, center=False, scale=False, epsilon=1e-3, name="standardise", dtype="float32"
    )


def head(features: Any, units: int = HEAD_UNITS, dropout: float = DROPOUT) -> Any:
    """The head of the fine-tuned seed, float32 whatever the policy: ``(n, 1)``, the probability of PNEUMONIA.

    Without ``units``: the global means and one logistic unit, the head of the seed's base model.
    """
    from keras import layers

    values = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(features)
    if units:
        values = layers.Dense(units, activation="relu", name="head_dense", dtype="float32")(values)
        values = layers.Dropout(dropout, name="head_dropout", dtype="float32")(values)
        values = layers.BatchNormalization(name="head_normalisation", dtype="float32")(values)
    return layers.Dense(1, activation="sigmoid", name="probability", dtype="float32")(values)


def build_for_training(size: Size = Size(), *, dropout: float = DROPOUT) -> keras.Model:
    """VGG16 with batch normalisation after every convolution.

    Input ``(n, side, side, 3)`` of any side that is a multiple of 16, pixels 0 to 255 already reduced (see
    `REDUCTION`); output ``(n, 1)`` float32, the probability of PNEUMONIA.
    """
    import keras
    from keras import layers

    from model.normalisation import NormalisedReLU

    images = keras.Input((None, None, 3), name="image")
    values = standardise()(images)
    for block, (count, filters) in enumerate(size.blocks, start=1):
        for index in range(1, count + 1):
            name = f"block{block}_conv{index}"
            # The normalisation that follows brings the offset, so the convolution needs no bias.
            values = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(values)
            values = NormalisedReLU(name=f"{name}_normalisation")(values)
        values = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(values)
    return keras.Model(images, head(values, size.head_units, dropout), name="vgg16_training")


def build(size: Size = Size(), *, input_size: tuple[int, int] = INPUT_SIZE) -> keras.Model:
    """The released form: VGG16's own layers and names, pixels 0 to 255 in, probability of PNEUMONIA out.

    Input ``(n, height, width, 3)`` float32 0 to 255; output ``(n, 1)`` float32 in [0, 1].
    """
    import keras
    from keras import layers

    images = keras.Input((*input_size, 3), name="image")
    values = layers.AveragePooling2D(REDUCTION, name="reduce")(images)
    values = convolutions(standardise()(values), size.blocks)
    return keras.Model(images, head(values, size.head_units), name="vgg16")


def convolutions(values: Any, blocks: tuple[tuple[int, int], ...] = VGG16_BLOCKS) -> Any:
    """VGG16's blocks behind ``values``, with the names that Keras gives them."""
    from keras import layers

    for block, (count, filters) in enumerate(blocks, start=1):
        for index in range(1, count + 1):
            name = f"block{block}_conv{index}"
            values = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(values)
        # "same": at 7 x 7 the last row and column, the bases of the lungs among them, would be dropped otherwise.
        # Where the sides are even, as behind 224 pixels, it is what Keras' VGG16 does.
        values = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(values)
    return values


def fold(
    trained: keras.Model, size: Size = Size(), *, input_size: tuple[int, int] = INPUT_SIZE
) -> keras.Model:
    """The released form of a trained network, with every convolution's batch normalisation folded into its weights.

    With scale g, offset b, mean m and variance v of the normalisation, kernel' = kernel * g / sqrt(v + epsilon) and
    bias' = b - m * g / sqrt(v + epsilon): the same function, to float tolerance.
    """
    released = build(size, input_size=input_size)
    for layer in released.layers:
        if not layer.weights:
            continue
        source = trained.get_layer(layer.name)
        if layer.name.startswith("block"):
            normalisation = trained.get_layer(f"{layer.name}_normalisation")
            gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in normalisation.get_weights())
            scale = gamma / np.sqrt(variance + normalisation.epsilon)
            kernel = np.asarray(source.get_weights()[0], np.float64) * scale
            layer.set_weights([kernel.astype(np.float32), (beta - mean * scale).astype(np.float32)])
        else:
            layer.set_weights(source.get_weights())
    return released


def unfold(released: keras.Model, trained: keras.Model) -> None:
    """Give a network in training form the weights of a released one, so that both are the same function.

    Each convolution's bias becomes the offset of its normalisation, which normalises nothing yet: mean 0, variance 1.
    Before it trains, `renormalise` has to change that.
    """
    for layer in released.layers:
        if not layer.weights:
            continue
        target = trained.get_layer(layer.name)
        if layer.name.startswith("block"):
            kernel, bias = layer.get_weights()
            normalisation = trained.get_layer(f"{layer.name}_normalisation")
            ones = np.ones_like(bias)
            target.set_weights([kernel])
            normalisation.set_weights([ones * np.sqrt(1 + normalisation.epsilon), bias, 0 * ones, ones])
        else:
            target.set_weights(layer.get_weights())


def is_unfolded(trained: keras.Model) -> bool:
    """Whether the network is as `unfold` leaves it: offsets, and nothing normalised."""
    normalisations = [trained.get_layer(f"{layer.name}_normalisation") for layer in _convolutions(trained)]
    found = [[np.asarray(weight) for weight in layer.get_weights()] for layer in normalisations]
    return any(beta.any() for _, beta, _, _ in found) and all(
        (mean == 0).all() and (variance == 1).all() for _, _, mean, variance in found
    )


def renormalise(trained: keras.Model, batches: Iterable[Any]) -> None:
    """Let the normalisations of an unfolded network normalise again; it stays the same function.

    Means and variances are those of what the convolutions give for ``batches``, float32 ``(n, side, side, 3)`` each.
    Folded kernels are of any size, and behind a normalisation the size of a kernel changes nothing but how far a
    step of the optimiser turns it. So each filter is brought to the size that new ones are drawn with (Glorot and
    Bengio 2010), for which learning rates are meant.
    """
    import keras
    import tensorflow as tf

    layers = _convolutions(trained)
    outputs = keras.Model(trained.input, [layer.output for layer in layers])

    @tf.function(reduce_retracing=True)
    def moments(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        values = outputs(images, training=False)
        return [tf.nn.moments(tf.cast(each, tf.float32), (0, 1, 2)) for each in values]

    seen = [[[part.numpy() for part in pair] for pair in moments(images)] for images in batches]
    for index, layer in enumerate(layers):
        mean, variance = (
            np.mean([batch[index][part] for batch in seen], axis=0, dtype=np.float64) for part in (0, 1)
        )
        kernel = np.asarray(layer.get_weights()[0], np.float64)
        size = np.sqrt((kernel**2).mean(axis=(0, 1, 2)))
        inputs, filters = kernel.shape[2:]
        drawn = np.sqrt(2 / (9 * (inputs + filters)))
        factor = np.where(size > 0, drawn / np.maximum(size, 1e-12), 1.0)
        normalisation = trained.get_layer(f"{layer.name}_normalisation")
        _, offset, _, _ = normalisation.get_weights()
        mean, variance = factor * mean, factor**2 * variance
        gamma = np.sqrt(variance + normalisation.epsilon) / factor
        layer.set_weights([(kernel * factor).astype(np.float32)])
        normalisation.set_weights(
            [each.astype(np.float32) for each in (gamma, offset + mean / factor, mean, variance)]
        )


def _convolutions(network: keras.Model) -> list[Any]:
    return [layer for layer in network.layers if layer.name.startswith("block") and hasattr(layer, "kernel")]


def size_of(trained: keras.Model) -> Size:
    """The size of a network in training form."""
    filters: dict[int, list[int]] = {}
    for layer in _convolutions(trained):
        filters.setdefault(int(layer.name[5]), []).append(layer.filters)
    blocks = tuple((len(found), found[0]) for _, found in sorted(filters.items()))
    return Size(blocks=blocks, head_units=trained.get_layer("head_dense").units)


def scale_logit(network: keras.Model, slope: float, intercept: float) -> None:
    """Make the network give ``sigmoid(slope * logit + intercept)`` instead of ``sigmoid(logit)``, in place."""
    layer = network.layers[-1]
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * slope, bias * slope + intercept])


def round_to_bfloat16(network: keras.Model) -> None:
    """Round every weight to bf16 precision (8 significant bits), in place: the file halves, and bf16 engines read it
    without further loss."""
    import ml_dtypes

    for layer in network.layers:
        layer.set_weights([w.astype(ml_dtypes.bfloat16).astype(np.float32) for w in layer.get_weights()])
