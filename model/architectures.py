"""Every network that can be trained: the table, and what other modules do with its rows.

Each row's settings are what the seed of that name did. Its networks take pixels 0 to 255 and scale them inside, as
their bases were published with: a seed's EfficientNet called every film normal (37.5 % right, the share of NORMAL)
most likely because its films were divided by 255 before, while Keras' EfficientNet divides by 255 itself: everything
reached it as black. Here scaling is part of a network and a test compares what reaches the first convolution of
each base with Keras' own preprocessing.

Light: Keras and TensorFlow are imported by the functions that build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from model import networks, starting_weights
from model.layer_graph import last_convolution
from model.networks import INPUT
from model.starting_weights import WeightsError, start_from
from model.vgg16 import (
    INPUT_SIZE,
    REDUCTION,
    VGG16_BLOCKS,
    Size,
    build,
    build_for_training,
    fold,
    round_to_bfloat16,
    scale_logit,
)

if TYPE_CHECKING:
    import keras

    from model.recipes import TrainingConfig

__all__ = [
    "ARCHITECTURES",
    "INPUT",
    "INPUT_SIZE",
    "REDUCTION",
    "Architecture",
    "Size",
    "WeightsError",
    "build",
    "build_for_training",
    "build_training",
    "fold",
    "frozen_end",
    "last_convolution",
    "load_starting_weights",
    "parts",
    "release",
    "round_to_bfloat16",
    "scale_logit",
    "start_from",
    "weights_available",
]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network of the table."""

    name: str
    title: str
    seed: str
    """What the seed did, in words."""
    remark: str = ""
    """A caution, shown where the network is chosen."""
    input_side: int = 224
    scaling: str
    """What the pixels are brought to before the base: ``0 to 1``, ``-1 to 1``, ``caffe``, ``torch``, ``0 to 255`` (the
    base scales them itself) or ``standardised``."""
    base: str | None = None
    """Class of keras.applications; None: a network of its own, trained from scratch."""
    ends: tuple[str, ...] = ()
    """Where the frozen part ends: the layer's name with no block of the base trained, with the top one, and so on."""
    weights_file: str | None = None
    """Keras' file of ImageNet weights without the top."""
    convolutions: tuple[tuple[int, int], ...] = ()
    """(convolutions, filters) of each block of a network of its own."""
    normalised: bool = False
    """Batch normalisation behind each of these convolutions."""
    dense: int = 1
    """Hidden layers between a flattened map and the output."""
    flattened: bool = False
    """A head that flattens the base's map, instead of taking its means."""
    softmax: bool = False
    """Trains with two outputs on one-hot labels; released as the one logistic unit that is the same function."""
    parameters: int
    """Of the network in training with its default settings; of vgg16_scratch as released."""
    trainable: int
    """Of these, with the default blocks frozen."""
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Values of `model.recipes.TrainingConfig` that make the seed's configuration."""

    @property
    def blocks(self) -> int:
        """How many top blocks of the base can be trained; 0: there is no frozen base."""
        return max(len(self.ends) - 1, 0)


_VGG16: dict[str, Any] = {
    "base": "VGG16",
    "scaling": "caffe",
    "ends": ("block5_pool", "block4_pool", "block3_pool", "block2_pool", "block1_pool", INPUT),
    "weights_file": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
}
_FINETUNED: dict[str, Any] = {
    "epochs": 20, "optimizer": "adam", "learning_rate": 1e-4, "constant_epochs": 10, "decay": 0.905,
    "class_weights": True, "augmentation": "finetuned", "head_units": 1024, "dropout": 0.3,
    "patience": 5, "watch": "val_accuracy", "keep": "val_loss",
}  # fmt: skip
_ALTERNATIVE = "Named as an alternative; the head and the settings are those of the fine-tuned VGG16."
_FIGURES_NOT_TOLD = "The seed's text does not tell"

_ROWS = (
    Architecture(
        name="vgg16_finetuned",
        title="VGG16, fine-tuned head",
        seed="VGG16 frozen, global average pooling, Dense 1024, dropout 0.3, batch normalisation, Dense 1; Adam 1e-4 "
        "constant at first, then falling; zoom 20 %, shifts 15 %, shear 15 %; balanced class weights; early stopping "
        "on validation accuracy (5), checkpoint on the best validation loss.",
        remark=f"{_FIGURES_NOT_TOLD} how long the learning rate stays and how fast it falls; ten epochs and a factor "
        "of 0.905 an epoch are taken.",
        **_VGG16,
        parameters=15_245_121,
        trainable=528_385,
        settings=_FINETUNED,
    ),
    Architecture(
        name="vgg16_base",
        title="VGG16, one unit",
        seed="VGG16 frozen, global average pooling, Dense 1; Adam 1e-3, 10 epochs, no augmentation, label smoothing. "
        "AUC 0.749, sensitivity 0.985, specificity 0.513.",
        remark=f"{_FIGURES_NOT_TOLD} how much the labels were smoothed; 0.1 is taken.",
        **_VGG16,
        parameters=14_715_201,
        trainable=513,
        settings={
            "epochs": 10, "optimizer": "adam", "learning_rate": 1e-3, "label_smoothing": 0.1, "head_units": 0,
            "dropout": 0.0, "watch": "val_loss", "keep": "val_loss",
        },
    ),
    Architecture(
        name="vgg16_unfrozen",
        title="VGG16, top blocks trained",
        seed="What the seed wished for: the top convolution blocks trained with the head, after the head has settled.",
        **_VGG16,
        parameters=15_245_121,
        trainable=7_607_809,
        settings={**_FINETUNED, "unfrozen_blocks": 1, "settle_epochs": 5},
    ),
    Architecture(
        name="vgg16_scratch",
        title="VGG16 from scratch",
        seed="The recipe of the released model: all of VGG16 trained on small, heavily changed films, then larger "
        "ones, with batch normalisation that is folded into the convolutions on saving.",
        scaling="standardised",
        weights_file=_VGG16["weights_file"],
        parameters=15_245_121,
        trainable=15_243_073,
        settings={
            "starting_weights": "imagenet", "optimizer": "adamw", "learning_rate": 7e-4, "weight_decay": 0.02,
            "label_smoothing": 0.05, "class_weights": True, "augmentation": "films", "head_units": 1024,
            "dropout": 0.3, "keep": "val_auc", "transplanted": 1.0,
        },
    ),
    Architecture(
        name="custom_cnn",
        title="Small network of six convolutions",
        seed="Two 3 x 3 convolutions of 32, two of 64, two of 128, each pair pooled; flattened, Dense 128, Dense 1; "
        "SGD 0.001 with momentum 0.9, 10 epochs; zoom and vertical flip.",
        remark="The seed's augmentation turns films upside down, as no X-ray comes; choose another one for real use.",
        scaling="0 to 1",
        convolutions=((2, 32), (2, 64), (2, 128)),
        parameters=13_132_321,
        trainable=13_132_321,
        settings={
            "starting_weights": "none", "epochs": 10, "optimizer": "sgd", "learning_rate": 1e-3, "momentum": 0.9,
            "augmentation": "custom_cnn", "head_units": 128, "dropout": 0.0,
        },
    ),
    Architecture(
        name="nasnetmobile",
        title="NASNetMobile",
        seed="NASNetMobile frozen (7 x 7 x 1056), dropout, flattened, Dense 128, Dense 1.",
        remark=f"{_FIGURES_NOT_TOLD} the dropout (0.5 is taken), the optimiser, nor the epochs. Its cells are wired "
        "across each other, so that the base is trained whole or not at all.",
        scaling="-1 to 1",
        base="NASNetMobile",
        ends=("activation_187", INPUT),
        weights_file="NASNet-mobile-no-top.h5",
        flattened=True,
        parameters=10_893_205,
        trainable=6_623_489,
        settings={
            "epochs": 10, "optimizer": "adam", "learning_rate": 1e-3, "head_units": 128, "dropout": 0.5,
        },
    ),
    Architecture(
        name="alexnet_like",
        title="Like AlexNet",
        seed="180 x 180; convolutions of 32, 64, 128, 256, each with batch normalisation, pooling and dropout 0.2; "
        "flattened, Dense 64 twice, softmax of two; rotation 10, zoom 15 %, shifts 20 %, shear 15 %, mirrored; "
        "balanced weights; early stopping on the validation precision-recall area (10), best weights kept.",
        remark=f"{_FIGURES_NOT_TOLD} the optimiser nor the epochs; Adam 1e-3 and up to 50 are taken.",
        input_side=180,
        scaling="0 to 1",
        convolutions=((1, 32), (1, 64), (1, 128), (1, 256)),
        normalised=True,
        dense=2,
        softmax=True,
        parameters=2_377_154,
        trainable=2_376_194,
        settings={
            "starting_weights": "none", "input_side": 180, "epochs": 50, "optimizer": "adam", "learning_rate": 1e-3,
            "class_weights": True, "augmentation": "alexnet", "head_units": 64, "dropout": 0.2, "patience": 10,
            "watch": "val_pr_auc", "keep": "val_pr_auc",
        },
    ),
    Architecture(
        name="mnist_like",
        title="Like a network for digits",
        seed="180 x 180; convolutions of 32, 64, 128, each with batch normalisation, pooling and dropout 0.15; "
        "flattened, Dense 64, softmax of two.",
        remark=f"{_FIGURES_NOT_TOLD} the optimiser, the epochs nor any augmentation; Adam 1e-3 and 20 are taken.",
        input_side=180,
        scaling="0 to 1",
        convolutions=((1, 32), (1, 64), (1, 128)),
        normalised=True,
        softmax=True,
        parameters=4_059_266,
        trainable=4_058_818,
        settings={
            "starting_weights": "none", "input_side": 180, "epochs": 20, "optimizer": "adam", "learning_rate": 1e-3,
            "class_weights": True, "head_units": 64, "dropout": 0.15, "patience": 10,
        },
    ),
    Architecture(
        name="efficientnet",
        title="EfficientNetB0",
        seed="EfficientNet frozen with a classifier on top; 37.5 % right, everything called normal.",
        remark="The seed most likely divided its films by 255 before a network that does so itself, so that "
        "everything looked black to it; here pixels from 0 to 255 go in. The head is that of the fine-tuned VGG16.",
        scaling="0 to 255",
        base="EfficientNetB0",
        ends=(
            "top_activation", "block6d_add", "block5c_add", "block4c_add", "block3b_add", "block2b_add",
            "block1a_project_bn", INPUT,
        ),
        weights_file="efficientnetb0_notop.h5",
        parameters=5_366_429,
        trainable=1_314_817,
        settings=_FINETUNED,
    ),
    Architecture(
        name="resnet50",
        title="ResNet50",
        seed=_ALTERNATIVE,
        scaling="caffe",
        base="ResNet50",
        ends=(
            "conv5_block3_out", "conv4_block6_out", "conv3_block4_out", "conv2_block3_out", "pool1_pool", INPUT,
        ),
        weights_file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        parameters=25_691_009,
        trainable=2_101_249,
        settings=_FINETUNED,
    ),
    Architecture(
        name="mobilenet",
        title="MobileNetV2",
        seed=_ALTERNATIVE,
        scaling="-1 to 1",
        base="MobileNetV2",
        ends=("out_relu", "block_12_add", "block_5_add", "block_2_add", INPUT),
        weights_file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        parameters=3_574_849,
        trainable=1_314_817,
        settings=_FINETUNED,
    ),
    Architecture(
        name="densenet121",
        title="DenseNet121",
        seed=_ALTERNATIVE,
        scaling="torch",
        base="DenseNet121",
        ends=("relu", "pool4_pool", "pool3_pool", "pool2_pool", "pool1", INPUT),
        weights_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        parameters=8_092_225,
        trainable=1_052_673,
        settings=_FINETUNED,
    ),
    Architecture(
        name="inception_v3",
        title="InceptionV3",
        seed=_ALTERNATIVE,
        remark="Published at 299 x 299; it sees 224 x 224 here, as all the others.",
        scaling="-1 to 1",
        base="InceptionV3",
        ends=(*(f"mixed{number}" for number in range(10, -1, -1)), INPUT),
        weights_file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        parameters=23_906_081,
        trainable=2_101_249,
        settings=_FINETUNED,
    ),
    Architecture(
        name="cnn_augmented",
        title="Small network, strongly changed films",
        seed="A small network on films turned by up to 30 degrees, zoomed by 20 %, shifted by 10 % and mirrored, "
        "followed by validation AUC.",
        remark=f"{_FIGURES_NOT_TOLD} the layers: convolutions of 32, 64 and 128 at 180 x 180, Dense 128 and dropout "
        "0.25 are taken.",
        input_side=180,
        scaling="0 to 1",
        convolutions=((1, 32), (1, 64), (1, 128)),
        parameters=8_023_361,
        trainable=8_023_361,
        settings={
            "starting_weights": "none", "input_side": 180, "epochs": 20, "optimizer": "adam", "learning_rate": 1e-3,
            "augmentation": "augmented", "head_units": 128, "dropout": 0.25, "patience": 10, "watch": "val_auc",
            "keep": "val_auc",
        },
    ),
)  # fmt: skip

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({row.name: row for row in _ROWS})
"""All networks by name, the default first."""


def build_training(config: TrainingConfig, *, width: float = 1.0) -> keras.Model:
    """The network of ``config.architecture`` in the form that trains, with random weights and nothing frozen.

    Input ``(n, side, side, 3)``, pixels 0 to 255 at ``config.input_side``; output ``(n, 1)``, the probability of
    PNEUMONIA, or ``(n, 2)`` for NORMAL and PNEUMONIA where the row says ``softmax``. For ``vgg16_scratch`` the input
    is of any side and already reduced (`build_for_training`). A ``vgg16_...`` that is to start from a version of our
    own gets the scaling of that version. ``width`` multiplies filters and units, for tests.
    """
    architecture = ARCHITECTURES[config.architecture]
    if architecture.name == "vgg16_scratch":
        narrow = Size(
            blocks=tuple((count, max(2, round(filters * width))) for count, filters in VGG16_BLOCKS),
            head_units=max(2, round(config.head_units * width)),
        )
        return build_for_training(narrow, dropout=config.dropout)
    front = starting_weights.front_of(config.starting_weights) if architecture.base == "VGG16" else []
    return networks.build(architecture, config, width=width, front=front)


def frozen_end(network: keras.Model, architecture: Architecture, unfrozen_blocks: int) -> str:
    """Freeze all of the base but its top blocks, and say where the frozen part ends.

    Returns:
        The name of the layer up to which the result for a film never changes, for `parts`: the last frozen layer, or
        what stands behind it and has neither weights nor chance in it. `INPUT` where nothing is frozen. Frozen batch
        normalisations use their stored statistics.

    Raises:
        ValueError: more blocks than there are.
    """
    return networks.frozen_end(network, architecture, unfrozen_blocks)


def parts(network: keras.Model, end: str) -> tuple[keras.Model, keras.Model]:
    """``network`` as two that share its layers: from the input to ``end``, and from there to the output."""
    return networks.parts(network, end)


def release(network: keras.Model, architecture: Architecture) -> keras.Model:
    """A trained network as it is saved: plain Keras layers, float32, output ``(n, 1)``, the same function.

    Two outputs with softmax become one logistic unit with the difference of their weights: with logits a and b,
    exp(b) / (exp(a) + exp(b)) = 1 / (1 + exp(a - b)).
    """
    return networks.release(network, architecture)


def weights_available(architecture: Architecture, wanted: str) -> tuple[bool, str]:
    """Whether starting weights can be had here, and in words what they are or what to do instead.

    ``wanted``: ``imagenet`` (from Keras' cache; nothing is downloaded), ``none``, or the path of a weights file.
    """
    return starting_weights.available(architecture, wanted)


def load_starting_weights(network: keras.Model, architecture: Architecture, wanted: str) -> str:
    """Fill a network as `build_training` made it; ``wanted`` as in `weights_available`.

    With a base, only the base is filled: the head starts anew. A vgg16_scratch that is given a released network of its
    own form takes all of it, as `model.vgg16.unfold` does. Returns what the network started from, for the card.

    Raises:
        WeightsError: the weights cannot be had or nothing in them fits.
    """
    return starting_weights.load(network, architecture, wanted)
