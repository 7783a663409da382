"""Which layer gives a network's feature map: the last convolution, or what its branches are brought together in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# What may stand behind the last convolution and still belongs to its feature map. All keep the shape.
KEPT = frozenset({"Activation", "BatchNormalization", "ELU", "LeakyReLU", "PReLU", "ReLU"})


def bottlenecks(followers: Sequence[Sequence[int]]) -> list[bool]:
    """For each step of a computation: whether every path from the first to the last step goes through it.

    ``followers`` holds for each step the later steps that use its result; steps come in an order of computation, and
    each lies on some path. Then a step is a bottleneck where no result of an earlier step is used by a later one.
    """
    reached, found = 0, []
    for step, later in enumerate(followers):
        found.append(reached <= step)
        reached = max([reached, *later])
    return found


def network_bottlenecks(network: Any) -> list[bool]:
    """`bottlenecks` of a Keras network's layers, in the order of ``network.layers``."""
    place = {layer.name: index for index, layer in enumerate(network.layers)}
    followers: list[list[int]] = [[] for _ in place]
    configuration = network.get_config()["layers"]
    if not any("inbound_nodes" in layer for layer in configuration):  # Sequential: one behind the other
        return [True] * len(place)
    for layer in configuration:
        for source in sources(layer["inbound_nodes"]):
            followers[place[source]].append(place[layer["name"]])
    return bottlenecks(followers)


def sources(node: Any) -> Iterator[str]:
    """Names of the layers whose results a layer takes, from its entry in a configuration."""
    if isinstance(node, dict):
        if "keras_history" in node:
            yield node["keras_history"][0]
        else:
            for value in node.values():
                yield from sources(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from sources(value)


def feature_layer(network: Any) -> list[Any]:
    """The layer with the feature map of the last convolution: ``[layer]``, or ``[nested network, ..., layer]``.

    Where other paths go round the last convolution (a sum or concatenation of branches), it is the first layer
    behind it that all paths go through and that still gives a map, with the normalisation and activation that follow.
    Where there is none, the last convolution itself.

    Raises:
        ValueError: the network has no convolution.
    """
    layers = network.layers
    last = max((index for index, layer in enumerate(layers) if _convolves(layer)), default=None)
    if last is None:
        raise ValueError("The network has no convolution; choose another version.")
    if hasattr(layers[last], "layers"):
        return [layers[last], *feature_layer(layers[last])]
    through = network_bottlenecks(network)
    index = next((index for index in range(last, len(layers)) if through[index]), last)
    if _rank(layers[index]) != 4:
        return [layers[last]]
    while index + 1 < len(layers) and through[index + 1] and type(layers[index + 1]).__name__ in KEPT:
        index += 1
    return [layers[index]]


def _convolves(layer: Any) -> bool:
    if hasattr(layer, "layers"):
        return any(_convolves(inner) for inner in layer.layers)
    return "Conv" in type(layer).__name__


def _rank(layer: Any) -> int:
    return len(layer.output.shape)


def last_convolution(network: Any) -> str:
    """The name of the layer whose output is the feature map ``(h, w, c)`` that explanations look at."""
    return "/".join(layer.name for layer in feature_layer(network))
