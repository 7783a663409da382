"""Turns a Keras ``.h5`` network into two OpenVINO graphs, in a process of its own.

``body``: image float32 (n, h, w, 3) in, the feature map of the last convolution (n, h', w', c) out; where branches
are summed or concatenated behind it, their common map.
``head``: that feature map in, the logit (n, 1) of the probability out, before the final sigmoid.

Cut there, the body can run in bfloat16 while pooling and dense layers keep float32, and feature maps cost
no second pass. Run as ``python -m model.conversion MODEL.h5 FOLDER`` so that TensorFlow's memory (about
600 MB) and threads go away with the process; nothing else of the serving path imports TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from model.layer_graph import bottlenecks

BODY = "body.xml"
HEAD = "head.xml"
FILES = (BODY, "body.bin", HEAD, "head.bin")
UNSUPPORTED_STATUS = 3
"""Exit status for a network whose layout cannot be cut in two: plain Keras has to run it."""

_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
# What may stand between the last convolution and the pooling and still belongs to its feature map: bias,
# folded normalisation, activation. All keep the shape.
_ELEMENTWISE = frozenset(
    {
        "Add",
        "Subtract",
        "Multiply",
        "Relu",
        "PRelu",
        "Clamp",
        "Elu",
        "Swish",
        "HSwish",
        "Gelu",
        "Sigmoid",
        "Tanh",
    }
)


class ConversionError(Exception):
    """A network whose layout OpenVINO or the cut cannot handle; one sentence."""


def _data_path(graph: Any) -> list[Any]:
    """The operations that depend on the image, in an order of computation; constants do not."""
    reached: set[str] = set()
    path = []
    for node in graph.get_ordered_ops():
        sources = [value.get_node().get_friendly_name() for value in node.input_values()]
        if node.get_type_name() == "Parameter" or reached.intersection(sources):
            reached.add(node.get_friendly_name())
            path.append(node)
    return path


def _feature_node(graph: Any) -> Any:
    """Where the map of the last convolution is whole, with the bias, normalisation and activation that follow.

    That is the last convolution itself, or, where other paths go round it (a sum or a concatenation of branches),
    the first operation behind it that all paths go through: `model.layer_graph.feature_layer` for an OpenVINO graph.
    """
    path = _data_path(graph)
    last = max(
        (index for index, node in enumerate(path) if node.get_type_name() in _CONVOLUTIONS), default=None
    )
    if last is None:
        raise ConversionError("The network has no convolution.")
    place = {node.get_friendly_name(): index for index, node in enumerate(path)}
    through = bottlenecks(
        [
            [
                place[target.get_node().get_friendly_name()]
                for output in node.outputs()
                for target in output.get_target_inputs()
            ]
            for node in path
        ]
    )
    index = next(index for index in range(last, len(path)) if through[index])
    if path[index].output(0).get_partial_shape().rank.get_length() != 4:
        raise ConversionError("The network has paths that go round its last convolution.")
    while through[index + 1] and path[index + 1].get_type_name() in _ELEMENTWISE:
        index += 1
    return path[index]


def _is_channels_first(node: Any) -> bool:
    """Whether a map is ``(n, c, h, w)``, as OpenVINO's convolutions give it, or was already turned round for Keras."""
    while node.get_type_name() not in _CONVOLUTIONS:
        if node.get_type_name() == "Transpose":
            return False
        node = next(
            value.get_node()
            for value in node.input_values()
            if value.get_node().get_type_name() != "Constant"
        )
    return True


def split(graph: Any) -> tuple[Any, Any]:
    """Cut an ``openvino.Model`` of a Keras classifier into (body, head); ``graph`` is used up.

    Raises:
        ConversionError: no single sigmoid output, no convolution, or no map behind it that all paths go through.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as operations

    results = graph.get_results()
    if len(results) != 1 or results[0].input_value(0).get_node().get_type_name() != "Sigmoid":
        raise ConversionError("The network does not end in one sigmoid output.")
    logit = results[0].input_value(0).get_node().input_value(0)
    features = _feature_node(graph).output(0)
    shape = features.get_partial_shape()
    # Both graphs speak Keras' channels last to the outside.
    to_last, from_last = (
        ([0, 2, 3, 1], [0, 3, 1, 2]) if _is_channels_first(features.get_node()) else ([0, 1, 2, 3],) * 2
    )
    followers = list(features.get_target_inputs())
    outside = operations.transpose(features, np.array(to_last, np.int64))
    parameter = operations.parameter(
        openvino.PartialShape([shape[axis] for axis in to_last]), openvino.Type.f32, name="features"
    )
    inside = operations.transpose(parameter, np.array(from_last, np.int64))
    for follower in followers:
        follower.replace_source_output(inside.output(0))

    if not _reaches_only(logit, parameter):
        raise ConversionError("The network has paths that go round its last convolution.")
    body = openvino.Model([outside.output(0)], graph.get_parameters(), "body")
    return body, openvino.Model([logit], [parameter], "head")


def _reaches_only(output: Any, parameter: Any) -> bool:
    """Whether ``parameter`` is the one input of the graph that ``output`` depends on."""
    pending, seen, found = [output.get_node()], set(), set()
    while pending:
        node = pending.pop()
        name = node.get_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() == "Parameter":
            found.add(name)
        pending.extend(value.get_node() for value in node.input_values())
    return found == {parameter.get_name()}


def convert(model_file: Path, folder: Path) -> None:
    """Write body and head of ``model_file`` as OpenVINO IR with float32 weights into ``folder``.

    Raises:
        NetworkFileError: the file must not be opened.
        ConversionError: the layout is not supported.
    """
    from model.network_file import check_network_file

    check_network_file(model_file)  # before Keras builds anything

    import keras
    import openvino

    network = keras.models.load_model(model_file, compile=False)
    if isinstance(
        network, keras.Sequential
    ):  # OpenVINO does not find the input's shape of one with a nested network
        network = keras.Model(network.inputs, network.outputs)
    body, head = split(openvino.convert_model(network))
    for graph, name in ((body, BODY), (head, HEAD)):
        # Half-precision weights on disk would cost the float32 engine its equality with Keras.
        openvino.save_model(graph, folder / name, compress_to_fp16=False)


def main(arguments: list[str]) -> int:
    from model.network_file import NetworkFileError

    model_file, folder = map(Path, arguments)
    try:
        convert(model_file, folder)
    except ConversionError as error:
        sys.stderr.write(f"{error}\n")
        return UNSUPPORTED_STATUS
    except NetworkFileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
