"""Where a network looked: the gradient of its head in closed form, Grad-CAM from it, and occlusion as a finer map.

What stands behind the map of the last convolution (the *head*) is small and made of few kinds of layers. Its gradient
is worked out here with numpy from the weights in ``model.h5``, layer by layer and from the back, so that heat costs no
second pass, no TensorFlow, and hardly any time. Selvaraju et al. 2017, Grad-CAM (arXiv:1610.02391); Zeiler and Fergus
2014 for occlusion (arXiv:1311.2901).

Heat tells what speaks *for pneumonia*, in calibrated log-odds, whatever the decision is. A heat of zero everywhere says
that no place of the map speaks for pneumonia: it is an answer, not a failure. It does not mean that a film is healthy,
and it says nothing of what speaks against pneumonia. Of 80 validation films of each class it was zero everywhere on 57
without and none with pneumonia (vgg16-2026-11h).

HiRes-CAM (Draelos and Carin 2020, arXiv:2011.08891) from the same gradient was no better for vgg16-2026-11b: with the 8
strongest of 49 places hidden, the logit of 150 validation films with pneumonia fell by 0.85 with Grad-CAM's places,
0.81 with HiRes-CAM's and 0.54 with random ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.calibration import logit
from model.layer_graph import KEPT, bottlenecks, sources
from model.network_file import CONTAINERS

if TYPE_CHECKING:
    from model.inference import Predictor

Array = NDArray[np.float32]
Backwards = Callable[[Array], tuple[Array, ...]]
"""From the gradient of a layer's output to that of each of its inputs."""
Layer = Callable[[Sequence[Array]], tuple[Array, Backwards]]
"""From a layer's inputs, each (n, ...), to its output and the way back."""

LOGIT_TOLERANCE = 0.02
"""A head is taken for the network's own where its logit is this near to the engine's, plus this share of it. Plain
Keras gives probabilities, whose logits are this coarse at 12; a layer too many or too few changes far more."""

PATCH_SHARE = 7
STRIDE_SHARE = 14
"""Of an image's side: what occlusion hides at a time, and how far the next place lies, where nothing else is asked."""
OCCLUSION_BATCH = 8
"""Hidden places that are read together, and between which progress is told and a cancellation heard."""
LEAST_SCALE = 0.1
"""Log-odds at the top of the scale where no place has more: a film of which little speaks for pneumonia must not look
like one of which much does. On 160 validation films of vgg16-2026-11h (49 places) the strongest place had more than
this on 70 of 80 films with pneumonia and on 4 of 80 without, where it was 0.17 at most."""
FADE = 0.25
"""Share of the scale below which the colours fade into the film."""


class NoClosedFormError(Exception):
    """The head of this network holds a layer whose gradient is not written here; one sentence."""


class OcclusionCancelledError(Exception):
    """The map was not finished, as was asked for."""


# --- from a network file to its head ---


@dataclass(frozen=True)
class _Node:
    """One layer of a network in which nested networks are laid open: ``inputs`` are places in the list of nodes."""

    kind: str
    settings: Mapping[str, Any]
    group: str
    """The layer of the outermost network that holds it: where the file keeps its weights."""
    inputs: tuple[int, ...]


def _nodes(configuration: Mapping[str, Any]) -> list[_Node]:
    nodes: list[_Node] = []

    def lay_open(network: Mapping[str, Any], given: tuple[int, ...], group: str) -> int:
        settings = network["config"]
        places: dict[str, int] = {}
        entries = settings["layers"]
        linked = any("inbound_nodes" in entry for entry in entries)
        previous = given
        for entry in entries:
            own, kind = entry["config"], entry["class_name"]
            calls = entry.get("inbound_nodes", ())
            if len(calls) > 1:
                raise NoClosedFormError("The network uses a layer more than once.")
            inputs = tuple(places[name] for name in sources(calls)) if linked else previous
            if kind == "InputLayer" and given:
                place = given[0]
            elif kind in CONTAINERS:
                place = lay_open(entry, inputs, group or own["name"])
            else:
                nodes.append(_Node(kind, own, group or own["name"], inputs))
                place = len(nodes) - 1
            places[own["name"]] = place
            previous = (place,)
        if not linked:
            return previous[0]
        end = settings["output_layers"]
        return places[end[0] if isinstance(end[0], str) else end[0][0]]

    last = lay_open(configuration, (), "")
    return nodes[: last + 1]


def _weights(file: Any, node: _Node) -> dict[str, Array]:
    """The weights of a layer by their names (kernel, bias, gamma, ...)."""
    group = file["model_weights"][node.group]
    found: dict[str, Array] = {}
    for name in group.attrs.get("weight_names", ()):
        name = name.decode() if isinstance(name, bytes) else name
        *path, own = name.split("/")
        if path and path[-1] == node.settings["name"]:
            found[own.removesuffix(":0")] = np.asarray(group[name], np.float32)
    return found


@dataclass(frozen=True)
class _Step:
    layer: Layer
    inputs: tuple[int, ...]
    """Places in the list of results, in which the feature map is the first."""
    keeps_shape: bool


@dataclass(frozen=True)
class Head:
    """The layers behind the feature map, from it to the logit. Immutable; may be shared by threads."""

    steps: tuple[_Step, ...]
    starts: tuple[int, ...] = (0,)
    """How many of the first steps may belong to the feature map already: where an engine cuts is its own affair."""

    @classmethod
    def from_file(cls, path: Path) -> Head:
        """The head of the network in a Keras ``.h5`` as `model.registry` keeps them. Reads the head's weights alone.

        Raises:
            NoClosedFormError: a layer, or a way of putting layers together, that is not covered here.
            OSError: the file cannot be read.
        """
        import h5py

        with h5py.File(path, "r") as file:
            nodes = _nodes(json.loads(file.attrs["model_config"]))
            last = max((place for place, node in enumerate(nodes) if "Conv" in node.kind), default=None)
            if last is None:
                raise NoClosedFormError("The network has no convolution.")
            followers: list[list[int]] = [[] for _ in nodes]
            for place, node in enumerate(nodes):
                for source in node.inputs:
                    followers[source].append(place)
            through = bottlenecks(followers)
            cut = next(place for place in range(last, len(nodes)) if through[place])
            steps = [
                _Step(
                    _layer(node.kind, node.settings, _weights(file, node), last=place == len(nodes) - 1),
                    tuple(source - cut for source in node.inputs),
                    node.kind in _KEEPING,
                )
                for place, node in enumerate(nodes[cut + 1 :], start=cut + 1)
            ]
        # As model.layer_graph counts: normalisation and activation behind the convolution belong to its map.
        kept, most = 0, 0
        while most < len(steps) and through[cut + most + 1] and steps[most].keeps_shape:
            most += 1
        while kept < most and nodes[cut + kept + 1].kind in KEPT:
            kept += 1
        return cls(tuple(steps), (kept, *(start for start in range(most + 1) if start != kept)))

    def logit(self, features: Array) -> NDArray[np.float64]:
        """The network's logit before calibration, (n,), of feature maps (n, h, w, c)."""
        result = self._forward(features)[0][-1]
        if result.shape != (len(features), 1):
            raise ValueError(f"the head gives {result.shape[1:]}, no logit; its map is another one")
        return result[:, 0].astype(np.float64)

    def gradient(self, features: Array) -> Array:
        """The gradient of each film's logit with respect to its feature map: (n, h, w, c) for maps (n, h, w, c)."""
        results, ways_back = self._forward(features)
        start = self.starts[0]
        gradients: list[Array | None] = [None] * len(results)
        gradients[-1] = np.ones_like(results[-1])
        for number in range(len(self.steps), start, -1):
            gradient = gradients[number]
            if gradient is None:  # a result that nothing uses
                continue
            step = self.steps[number - 1]
            for source, part in zip(step.inputs, ways_back[number - start - 1](gradient), strict=True):
                before = gradients[source]
                gradients[source] = part if before is None else before + part
        found = gradients[start]
        return np.zeros_like(features) if found is None else found

    def matching(self, features: Array, logits: NDArray[np.float64]) -> Head | None:
        """This head, begun where an engine ended that gave these maps (n, h, w, c) and logits (n,); None: nowhere."""
        for start in self.starts:
            head = replace(self, starts=(start,))
            try:
                found = head.logit(features)
            except (ValueError, IndexError):  # shapes that do not fit together
                continue
            limit = 15  # plain Keras' probabilities tell no more apart
            expected, found = np.clip(logits, -limit, limit), np.clip(found, -limit, limit)
            if (np.abs(found - expected) <= LOGIT_TOLERANCE * (1 + np.abs(expected))).all():
                return head
        return None

    def _forward(self, features: Array) -> tuple[list[Array], list[Backwards]]:
        start = self.starts[0]
        results: list[Array] = [features] * (start + 1)
        ways_back: list[Backwards] = []
        for step in self.steps[start:]:
            result, way_back = step.layer([results[source] for source in step.inputs])
            results.append(result)
            ways_back.append(way_back)
        return results, ways_back


def grad_cam(features: Array, gradient: Array) -> Array:
    """What each place of the maps adds to the logit, positive part: float32 (n, h, w) >= 0, of maps and gradients
    (n, h, w, c).

    Every channel counts with the mean of its gradient over the map. The values are shares of the logit: over a head
    that is linear in the means of the map, their sum without the positive part is the logit less its constant.
    """
    count, height, width, channels = features.shape
    weights = gradient.mean((1, 2))
    places = features.reshape(count, height * width, channels)
    return np.maximum(np.einsum("npc,nc->np", places, weights), 0).reshape(count, height, width)


# --- a finer map, at many times the cost ---


def occlusion(
    predictor: Predictor,
    image: NDArray[np.uint8],
    *,
    patch: int | None = None,
    stride: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Array:
    """How much the calibrated logit falls where a part of the film is hidden behind the film's mean grey.

    The image is parted into equal cells; for each, a square around its middle is hidden. So the map lies over the
    image as `upsample` takes it. A place that speaks for pneumonia is above 0, one that speaks against it below; where
    the squares overlap, neighbours share what they hide. Above a calibrated logit of 16 nothing can be told apart.

    Args:
        predictor: reads one film for each cell.
        image: uint8 (h, w, 3), as `model.films.prepare` gives it.
        patch: side of the square in pixels; None: a seventh of the height.
        stride: side of a cell in pixels, rounded so that cells fill the image; None: a fourteenth of the height.
        progress: told (cells done, cells in all) after each batch.
        cancelled: asked before each batch.

    Returns:
        float32 (h', w') with h' = h / stride, rounded: what the logit loses, in calibrated log-odds.

    Raises:
        OcclusionCancelledError: ``cancelled`` said so.
    """
    height, width = image.shape[:2]
    patch = max(1, height // PATCH_SHARE if patch is None else patch)
    stride = max(1, height // STRIDE_SHARE if stride is None else stride)
    rows, columns = max(1, round(height / stride)), max(1, round(width / stride))
    grey = np.rint(image.mean((0, 1))).astype(np.uint8)
    cells = [(row, column) for row in range(rows) for column in range(columns)]

    def hidden(row: int, column: int) -> NDArray[np.uint8]:
        top = round((row + 0.5) * height / rows - patch / 2)
        left = round((column + 0.5) * width / columns - patch / 2)
        result = image.copy()
        result[max(0, top) : max(0, top + patch), max(0, left) : max(0, left + patch)] = grey
        return result

    whole = float(logit(predictor.predict(image[np.newaxis]))[0])
    found = np.empty(len(cells), np.float32)
    for start in range(0, len(cells), OCCLUSION_BATCH):
        if cancelled is not None and cancelled():
            raise OcclusionCancelledError("The finer map was stopped.")
        batch = cells[start : start + OCCLUSION_BATCH]
        films = np.stack([hidden(*cell) for cell in batch])
        found[start : start + len(batch)] = whole - logit(predictor.predict(films))
        if progress is not None:
            progress(start + len(batch), len(cells))
    return found.reshape(rows, columns)


# --- drawn on the film ---

_VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
"""Ten even steps of the table of that name by van der Walt and Smith (CC0), made to be read by the colour-blind: its
lightness rises evenly, and nothing of it is grey as a film is."""


def _table() -> NDArray[np.uint8]:
    steps = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS.split()], np.float64)
    places = np.linspace(0, len(steps) - 1, 256)
    return np.rint(
        np.stack([np.interp(places, np.arange(len(steps)), steps[:, c]) for c in range(3)], axis=1)
    ).astype(np.uint8)


COLOURS: NDArray[np.uint8] = _table()
"""uint8 (256, 3), red, green and blue from the bottom to the top of the scale."""
COLOURS.flags.writeable = False


def scale_of(heat: Array) -> float:
    """Log-odds at the top of a map's scale: its strongest place, but `LEAST_SCALE` at least."""
    return max(float(heat.max(initial=0.0)), LEAST_SCALE)


def upsample(heat: Array, size: tuple[int, int]) -> Array:
    """A map (h, w) as float32 of ``size`` (height, width), bilinear between the middles of its cells.

    The network sees a film stretched to a square, so that a map of any size lies over the whole film.
    """
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    return np.array(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def overlay_image(
    pixels: NDArray[np.uint8], heat: Array, *, opacity: float = 0.5, scale: float | None = None
) -> NDArray[np.uint8]:
    """The film with its heat in colour; where there is none, the film stays as it is.

    Args:
        pixels: uint8 (height, width).
        heat: float32 (h, w) in log-odds; what is below 0 counts as 0.
        opacity: of the colours, in [0, 1]; below a quarter of the scale they fade out.
        scale: log-odds at the top of `COLOURS`, above 0; None: `scale_of` the map.

    Returns:
        uint8 (height, width, 3), red, green, blue.
    """
    shares = upsample(heat, (pixels.shape[0], pixels.shape[1]))
    shares /= np.float32(scale_of(heat) if scale is None else scale)
    np.clip(shares, 0, 1, out=shares)
    weights = (np.float32(opacity) * np.minimum(shares / np.float32(FADE), 1))[..., np.newaxis]
    colours = COLOURS[np.rint(shares * (len(COLOURS) - 1)).astype(np.intp)]
    grey = pixels[..., np.newaxis]
    return np.asarray(np.rint(grey + weights * (colours.astype(np.float32) - grey)), np.uint8)


def with_scale(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """A picture (height, width, 3) with a strip below that shows the colours and the log-odds they stand for."""
    width = picture.shape[1]
    high = min(32, max(12, width // 16))
    strip = Image.new("RGB", (width, high))
    bar = Image.fromarray(COLOURS[np.newaxis]).resize(
        (max(1, width // 3), high // 2), Image.Resampling.NEAREST
    )
    strip.paste(bar, (high // 4, high // 4))
    words = f"0 to {scale:.2f} log-odds for pneumonia"
    font = ImageFont.load_default(size=max(6, min(high // 2, width // 30)))
    ImageDraw.Draw(strip).text(
        (high // 2 + bar.width, high // 2), words, fill="white", font=font, anchor="lm"
    )
    return np.concatenate([picture, np.asarray(strip)])


# --- the layers ---


def _layer(kind: str, settings: Mapping[str, Any], weights: dict[str, Array], *, last: bool) -> Layer:
    if last:
        if settings.get("activation") != "sigmoid" or kind not in ("Dense", "Activation"):
            raise NoClosedFormError("The network does not end in one sigmoid.")
        settings = {**settings, "activation": "linear"}
    make = _LAYERS.get(kind)
    if make is None:
        raise NoClosedFormError(f"The gradient of a layer {kind} is not written here.")
    return make(settings, weights)


def _alone(forward: Callable[[Array], tuple[Array, Callable[[Array], Array]]]) -> Layer:
    """A layer with one input."""

    def layer(inputs: Sequence[Array]) -> tuple[Array, Backwards]:
        result, back = forward(inputs[0])
        return result, lambda gradient: (back(gradient),)

    return layer


def _identity(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    return _alone(lambda values: (values, lambda gradient: gradient))


def _linear(scale: Any, offset: Any) -> Layer:
    scale, offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)
    return _alone(lambda values: (values * scale + offset, lambda gradient: gradient * scale))


def _normalisation_over_films(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    mean, variance = (weights[name].astype(np.float64) for name in ("moving_mean", "moving_variance"))
    scale = weights.get("gamma", 1.0) / np.sqrt(variance + settings["epsilon"])
    line = _linear(scale, weights.get("beta", 0.0) - mean * scale)
    axis = settings["axis"]

    def layer(inputs: Sequence[Array]) -> tuple[Array, Backwards]:
        if (axis[0] if isinstance(axis, list) else axis) % inputs[0].ndim != inputs[0].ndim - 1:
            raise ValueError("a normalisation over another axis than the channels")
        return line(inputs)

    return layer


def _rescaling(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    return _linear(settings["scale"], settings["offset"])


def _normalisation_over_values(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    """Layer normalisation over the last axis; group normalisation over height, width and a group of channels."""
    groups, axis = settings.get("groups"), settings.get("axis", -1)
    scale, offset = weights.get("gamma", np.float32(1)), weights.get("beta", np.float32(0))
    if settings.get("rms_scaling"):
        raise NoClosedFormError("A normalisation without means is not written here.")

    def forward(values: Array) -> tuple[Array, Callable[[Array], Array]]:
        shape = values.shape
        if (axis[0] if isinstance(axis, list) else axis) % values.ndim != values.ndim - 1:
            raise ValueError("a normalisation over another axis than the channels")
        if groups is None:
            parted, axes = values, (values.ndim - 1,)
        else:
            count = shape[-1] if groups == -1 else groups
            parted = values.reshape(*shape[:-1], count, shape[-1] // count)
            axes = (*range(1, values.ndim - 1), values.ndim)
        deviation = np.sqrt(parted.var(axes, keepdims=True) + np.float32(settings["epsilon"]))
        standard = (parted - parted.mean(axes, keepdims=True)) / deviation

        def back(gradient: Array) -> Array:
            inner = (gradient * scale).reshape(parted.shape)
            along = (inner * standard).mean(axes, keepdims=True) * standard
            return np.asarray(
                (inner - inner.mean(axes, keepdims=True) - along) / deviation, np.float32
            ).reshape(shape)

        return standard.reshape(shape) * scale + offset, back

    return _alone(forward)


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * np.tanh(0.5 * values) + 0.5, np.float32)


def _sigmoid_slope(values: Array) -> Array:
    found = _sigmoid(values)
    return found * (1 - found)


def _swish_slope(values: Array) -> Array:
    found = _sigmoid(values)
    return found * (1 + values * (1 - found))


def _rectified(*, most: float | None = None, slope: float = 0.0, threshold: float = 0.0) -> Any:
    """Keras' ReLU with all its settings, and its slope."""

    def function(values: Array) -> Array:
        kept = values if most is None else np.minimum(values, np.float32(most))
        return np.where(values > threshold, kept, np.float32(slope) * (values - np.float32(threshold)))

    def derivative(values: Array) -> Array:
        inside = values > threshold if most is None else (values > threshold) & (values < most)
        return np.where(inside, np.float32(1), np.where(values > threshold, np.float32(0), np.float32(slope)))

    return function, derivative


def _exponential(alpha: float = 1.0, scale: float = 1.0) -> Any:
    """ELU, and SELU with its two constants."""
    return (
        lambda values: (
            np.float32(scale)
            * np.where(values > 0, values, np.float32(alpha) * np.expm1(np.minimum(values, 0)))
        ),
        lambda values: (
            np.float32(scale)
            * np.where(values > 0, np.float32(1), np.float32(alpha) * np.exp(np.minimum(values, 0)))
        ),
    )


_ACTIVATIONS: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "linear": (lambda values: values, np.ones_like),
    "relu": _rectified(),
    "relu6": _rectified(most=6.0),
    "leaky_relu": _rectified(slope=0.2),
    "elu": _exponential(),
    "selu": _exponential(alpha=1.6732632423543772, scale=1.0507009873554805),
    "sigmoid": (_sigmoid, _sigmoid_slope),
    "tanh": (np.tanh, lambda values: 1 - np.tanh(values) ** 2),
    "silu": (lambda values: values * _sigmoid(values), _swish_slope),
    "swish": (lambda values: values * _sigmoid(values), _swish_slope),
    "softplus": (lambda values: np.logaddexp(np.float32(0), values), _sigmoid),
}


def _function(pair: tuple[Callable[[Array], Array], Callable[[Array], Array]]) -> Layer:
    function, derivative = pair
    return _alone(
        lambda values: (function(values), lambda gradient: gradient * derivative(values)),
    )


def _activation(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    name = settings["activation"]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise NoClosedFormError(f"The gradient of the activation {name} is not written here.")
    return _function(_ACTIVATIONS[name])


def _relu(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    return _function(
        _rectified(
            most=settings.get("max_value"),
            slope=settings.get("negative_slope") or 0.0,
            threshold=settings.get("threshold") or 0.0,
        )
    )


def _learned_relu(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    alpha = weights["alpha"]
    return _function(
        (
            lambda values: np.where(values > 0, values, alpha * values),
            lambda values: np.where(values > 0, np.float32(1), alpha),
        )
    )


def _dense(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    kernel, bias = weights["kernel"], weights.get("bias", np.float32(0))
    name = settings["activation"]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise NoClosedFormError(f"The gradient of the activation {name} is not written here.")
    function, derivative = _ACTIVATIONS[name]

    def forward(values: Array) -> tuple[Array, Callable[[Array], Array]]:
        # Not matmul: for so little work, its threads wait for one another on a busy machine, for 20 ms instead of 0.1.
        raw = np.einsum("...i,io->...o", values, kernel) + bias
        return function(raw), lambda gradient: np.einsum("...o,io->...i", gradient * derivative(raw), kernel)

    return _alone(forward)


def _reshaped(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    target = tuple(settings.get("target_shape", (-1,)))
    return _alone(
        lambda values: (
            values.reshape(len(values), *target),
            lambda gradient: gradient.reshape(values.shape),
        )
    )


def _global_mean(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    keep = bool(settings.get("keepdims"))

    def forward(values: Array) -> tuple[Array, Callable[[Array], Array]]:
        count, height, width, channels = values.shape

        def back(gradient: Array) -> Array:
            spread = gradient.reshape(count, 1, 1, channels) / np.float32(height * width)
            return np.broadcast_to(spread, values.shape)

        return values.mean((1, 2), keepdims=keep), back

    return _alone(forward)


def _global_largest(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    keep = bool(settings.get("keepdims"))

    def forward(values: Array) -> tuple[Array, Callable[[Array], Array]]:
        largest = values.max((1, 2), keepdims=True)

        def back(gradient: Array) -> Array:
            # TensorFlow shares a gradient evenly among equals.
            found = values == largest
            each = gradient.reshape(largest.shape) / found.sum((1, 2), keepdims=True)
            return np.asarray(found * each, np.float32)

        return largest if keep else largest[:, 0, 0], back

    return _alone(forward)


def _windows(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Of one axis: number of windows, and what TensorFlow pads before and after."""
    if padding == "valid":
        return (size - window) // stride + 1, 0, 0
    count = -(-size // stride)
    total = max((count - 1) * stride + window - size, 0)
    return count, total // 2, total - total // 2


def _pooling(settings: Mapping[str, Any], *, largest: bool) -> Layer:
    rows, columns = settings["pool_size"]
    down, right = settings["strides"] or settings["pool_size"]
    padding = settings["padding"]
    offsets = [(row, column) for row in range(rows) for column in range(columns)]

    def forward(values: Array) -> tuple[Array, Callable[[Array], Array]]:
        _, height, width, _ = values.shape
        high, above, below = _windows(height, rows, down, padding)
        wide, left, beside = _windows(width, columns, right, padding)
        border = ((0, 0), (above, below), (left, beside), (0, 0))

        def seen(padded: Array, row: int, column: int) -> Array:
            return padded[:, row : row + down * high : down, column : column + right * wide : right][
                :, :high, :wide
            ]

        def spread(parts: Callable[[int], Array]) -> Array:
            padded = np.zeros(
                (len(values), height + above + below, width + left + beside, values.shape[3]), np.float32
            )
            for number, offset in enumerate(offsets):
                seen(padded, *offset)[...] += parts(number)
            return padded[:, above : above + height, left : left + width]

        if largest:
            padded = np.pad(values, border, constant_values=-np.inf) if padding == "same" else values
            result = seen(padded, *offsets[0])
            where = np.zeros(result.shape, np.int16)
            for number, offset in enumerate(offsets[1:], start=1):
                other = seen(padded, *offset)
                where[other > result] = number  # of equals the first, as TensorFlow
                result = np.maximum(result, other)
            return result, lambda gradient: spread(lambda number: gradient * (where == number))
        padded = np.pad(values, border)
        inside = np.pad(np.ones_like(values[:1, :, :, :1]), border)
        result = np.sum([seen(padded, *offset) for offset in offsets], axis=0)
        shares = np.sum([seen(inside, *offset) for offset in offsets], axis=0)
        return result / shares, lambda gradient: spread(lambda number: gradient / shares)

    return _alone(forward)


def _padding(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    (above, below), (left, right) = settings["padding"]
    return _alone(
        lambda values: (
            np.pad(values, ((0, 0), (above, below), (left, right), (0, 0))),
            lambda gradient: gradient[:, above : above + values.shape[1], left : left + values.shape[2]],
        )
    )


def _joined(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
    axis = settings["axis"]

    def layer(inputs: Sequence[Array]) -> tuple[Array, Backwards]:
        ends = np.cumsum([values.shape[axis] for values in inputs])[:-1]
        return np.concatenate(inputs, axis), lambda gradient: tuple(np.split(gradient, ends, axis))

    return layer


def _sum(signs: Callable[[int], Sequence[float]]) -> Callable[..., Layer]:
    def make(settings: Mapping[str, Any], weights: dict[str, Array]) -> Layer:
        def layer(inputs: Sequence[Array]) -> tuple[Array, Backwards]:
            factors = [np.float32(sign) for sign in signs(len(inputs))]
            if len({values.shape for values in inputs}) > 1:
                raise ValueError("a sum of different shapes")
            result: Array = np.multiply(factors[0], inputs[0])
            for factor, values in zip(factors[1:], inputs[1:], strict=True):
                result = np.add(result, factor * values)
            return result, lambda gradient: tuple(factor * gradient for factor in factors)

        return layer

    return make


_LAYERS: Mapping[str, Callable[[Mapping[str, Any], dict[str, Array]], Layer]] = {
    "Dense": _dense,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _relu,
    "PReLU": _learned_relu,
    "ELU": lambda settings, weights: _function(_exponential(alpha=settings.get("alpha", 1.0))),
    "BatchNormalization": _normalisation_over_films,
    "LayerNormalization": _normalisation_over_values,
    "GroupNormalization": _normalisation_over_values,
    "Rescaling": _rescaling,
    **dict.fromkeys(("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"), _identity),
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "GlobalAveragePooling2D": _global_mean,
    "GlobalMaxPooling2D": _global_largest,
    "MaxPooling2D": lambda settings, weights: _pooling(settings, largest=True),
    "AveragePooling2D": lambda settings, weights: _pooling(settings, largest=False),
    "ZeroPadding2D": _padding,
    "Concatenate": _joined,
    "Add": _sum(lambda count: [1.0] * count),
    "Average": _sum(lambda count: [1 / count] * count),
    "Subtract": _sum(lambda count: [1.0, -1.0]),
}

_KEEPING = KEPT | {
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Rescaling",
    "SpatialDropout2D",
}  # of each place and channel for itself
