"""VGG16 as the released model was made: built for training with normalisations, saved without them.

VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D) with the head of the fine-tuned seed:
global average pooling, Dense 1024 relu, Dropout 0.3, batch normalisation, Dense 1 sigmoid; 15,245,121 parameters.

Two forms of it exist. The *training* form has a batch normalisation behind every convolution, without which 13
convolutions do not train from here in minutes. The *released* form has none: `fold` moves each normalisation into the
weights of its convolution (same outputs), which leaves VGG16's own layout and 13 layers less to run.

The released network takes 224 x 224 x 3 pixels, 0 to 255, and prepares them itself, in standard Keras layers:
2 x 2 means (its convolutions see 112 x 112) and standardisation to mean 0 and variance 1 over each image, so
that brightness and contrast of the exposure, which differ between machines, cannot be a cue.
"""

from __future__ import annotations

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


def size_of(trained: keras.Model) -> Size:
    """The size of a network in training form."""
    filters: dict[int, list[int]] = {}
    for layer in trained.layers:
        if layer.name.startswith("block") and "_conv" in layer.name and hasattr(layer, "kernel"):
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
