from __future__ import annotations

from typing import Any

import pytest

from model.layer_graph import bottlenecks, feature_layer, last_convolution


@pytest.mark.parametrize(
    ("followers", "expected"),
    [
        ([[1], [2], []], [True, True, True]),
        ([[1, 2], [3], [3], []], [True, False, False, True]),  # two branches
        ([[1, 3], [2], [3], [4], []], [True, False, False, True, True]),  # a path round two steps
    ],
    ids=["chain", "branches", "shortcut"],
)
def test_bottlenecks(followers: list[list[int]], expected: list[bool]) -> None:
    assert bottlenecks(followers) == expected


def network_of(kind: str) -> Any:
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    first = layers.Conv2D(4, 3, padding="same", name="first")(image)
    last = layers.Conv2D(4, 3, padding="same", name="last")(first)
    if kind == "chain":
        values = layers.ReLU(name="relu")(layers.BatchNormalization()(last))
    elif kind == "sum":
        values = layers.Activation("relu", name="relu")(layers.Add()([first, last]))
    elif kind == "concatenation":
        values = layers.Concatenate(name="joined")([first, last])
    else:  # round the map
        pooled = [layers.GlobalAveragePooling2D()(values) for values in (first, last)]
        return keras.Model(image, layers.Dense(1, activation="sigmoid")(layers.Concatenate()(pooled)))
    values = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(values))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(values))


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("chain", "relu"), ("sum", "relu"), ("concatenation", "joined"), ("round the map", "last")],
)
def test_feature_map_is_where_the_branches_come_together(kind: str, layer: str) -> None:
    assert last_convolution(network_of(kind)) == layer


def test_feature_map_of_sequential_and_nested_networks() -> None:
    import keras
    from keras import layers

    inner = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, name="inside"), layers.MaxPooling2D(2)], name="inner"
    )
    assert last_convolution(inner) == "inside"
    outside = keras.Input((16, 16, 3))
    values = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(outside)))
    assert last_convolution(keras.Model(outside, layers.Dense(1)(values))) == "inner/inside"


def test_network_without_convolution_is_refused_in_words() -> None:
    import keras

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="no convolution"):
        feature_layer(network)
