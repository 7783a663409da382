"""From prepared images to calibrated probabilities, fast and the same as plain Keras.

OpenVINO runs a graph converted once from ``model.h5`` and cached by the file's hash; from then on neither
TensorFlow nor Keras is imported. Convolutions run in bfloat16 where the processor has it, pooling and dense
layers always in float32. A single image runs alone; of many, eight run together, which is a little quicker and gives
bit for bit the same numbers: a film's probability does not depend on its company. Memory stays flat.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model.calibration import logit, sigmoid
from model.conversion import BODY, FILES, HEAD, UNSUPPORTED_STATUS
from model.explanation import Head, NoClosedFormError, grad_cam
from model.films import prepare, read_xray
from model.layer_graph import feature_layer
from model.network_file import NetworkFileError, check_network_file
from model.registry import Version, sha256_of
from model.samples import sample_files

Precision = Literal["bf16", "f32"]
Engine = Literal["openvino", "keras"]

CACHE_FORMAT = 1
ENGINE_BATCH = 8
"""Images that run together where there are that many; larger batches are no quicker on few cores."""
MANIFEST = "manifest.json"
BF16_NOTE = "bf16.json"
"""Beside a converted network: what bfloat16 changes on the synthetic films, measured when it is first loaded."""
BF16_LOGIT_TOLERANCE = 0.15
"""A bfloat16 result whose calibrated logit is this near to an operating point's is computed again in float32.

Above the largest difference from float32 on the 789 validation films of vgg16-2026-11h, 0.087 (root mean square
0.013). In calibrated logits, because the error grows with a network's scale and the calibration takes that out.
"""

BF16_SAMPLE_TOLERANCE = 0.1
"""A network whose raw logits differ by more than this on the synthetic films runs in float32 alone: others differ more
than those few, and the tolerance above must hold for all. Depthwise convolutions and random bases do."""

logger = logging.getLogger(__name__)


class InferenceError(Exception):
    """The network cannot be run; one sentence that says what to do."""


class _UnsupportedError(Exception):
    """OpenVINO is missing or cannot run this network; plain Keras can. The words say why."""


@dataclass(frozen=True)
class Prediction:
    """``probabilities`` float64 (n,), calibrated; ``features`` float32 (n, h, w, c), the last convolution's map."""

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """What one pass tells of n films: how likely pneumonia is, and where the network looked.

    Attributes:
        probabilities: float64 (n,), calibrated, the same as :meth:`Predictor.predict` gives.
        heat: float32 (n, h, w) >= 0: what each place of the last feature map adds to the logit of ``probabilities``,
            Grad-CAM's positive part. It speaks for pneumonia, also where the decision is NORMAL; zero everywhere where
            no place does. None where the network's head has no closed form (`model.explanation`).
        pooled: float32 (n, c), the mean of the last feature map over height and width.
    """

    probabilities: NDArray[np.float64]
    heat: NDArray[np.float32] | None
    pooled: NDArray[np.float32]


@dataclass(frozen=True)
class Description:
    """What runs the network: for the page's footer, the benchmark and logs."""

    engine: Engine
    precision: Precision
    words: str


class _Network(Protocol):
    def run(self, image: NDArray[np.uint8], *, features: bool) -> tuple[float, NDArray[np.float32] | None]:
        """Raw logit, and the feature map (h, w, c) where asked for, of one image (1, h, w, 3). Thread-safe."""

    def logits(self, images: NDArray[np.uint8]) -> list[float]:
        """Raw logits of images (n, h, w, 3): the same numbers as one by one. Thread-safe."""

    def passes(self, images: NDArray[np.uint8]) -> Iterator[tuple[list[float], NDArray[np.float32]]]:
        """The same logits, pass by pass and in order, with the pass's feature maps (k, h, w, c). Thread-safe."""


class _Graphs:
    """Body and head, compiled for ``batch`` images at a time on all cores."""

    def __init__(
        self, folder: Path, *, batch: int, input_size: tuple[int, int], precision: Precision
    ) -> None:
        import openvino
        from openvino.preprocess import PrePostProcessor

        core = openvino.Core()
        body = core.read_model(folder / BODY)
        # The bytes of the image go in as they are; the conversion to float is the graph's first step.
        steps = PrePostProcessor(body)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        body = steps.build()
        body.reshape([batch, *input_size, 3])
        head = core.read_model(folder / HEAD)
        head.reshape(body.output(0).get_partial_shape())
        hint = {"bf16": openvino.Type.bf16, "f32": openvino.Type.f32}
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        compiled = core.compile_model(body, "CPU", {**options, "INFERENCE_PRECISION_HINT": hint[precision]})
        self._body = compiled.create_infer_request()
        self._head = core.compile_model(
            head, "CPU", {**options, "INFERENCE_PRECISION_HINT": openvino.Type.f32}
        ).create_infer_request()
        self.features = self._body.get_output_tensor(0)
        self._head.set_input_tensor(0, self.features)  # no copy between the two
        self.logits = self._head.get_output_tensor(0)

    def run(self, images: NDArray[np.uint8]) -> None:
        """Fill ``features`` and ``logits``; not thread-safe."""
        self._body.infer({0: images}, share_inputs=True, share_outputs=True)
        self._head.infer(share_outputs=True)


class _OpenVinoNetwork:
    """One image at a time, or a few together where there are many: bit for bit the same numbers."""

    def __init__(self, folder: Path, *, input_size: tuple[int, int], precision: Precision) -> None:
        self._compile = partial(_Graphs, folder, input_size=input_size, precision=precision)
        self._single = self._compile(batch=1)
        self._several: _Graphs | None = None  # compiled when the first batch comes
        # One pass already uses all cores, so a second request at the same time would only cost memory.
        self._lock = threading.Lock()

    def run(self, image: NDArray[np.uint8], *, features: bool) -> tuple[float, NDArray[np.float32] | None]:
        with self._lock:
            self._single.run(image)
            value = float(self._single.logits.data.item())
            return value, np.array(self._single.features.data[0], dtype=np.float32) if features else None

    def logits(self, images: NDArray[np.uint8]) -> list[float]:
        return [value for values, _ in self._passes(images, features=False) for value in values]

    def passes(self, images: NDArray[np.uint8]) -> Iterator[tuple[list[float], NDArray[np.float32]]]:
        for values, maps in self._passes(images, features=True):
            assert maps is not None
            yield values, maps

    def _passes(
        self, images: NDArray[np.uint8], *, features: bool
    ) -> Iterator[tuple[list[float], NDArray[np.float32] | None]]:
        whole = len(images) - len(images) % ENGINE_BATCH
        for start in range(0, whole, ENGINE_BATCH):
            with self._lock:  # let a single film in between
                if self._several is None:
                    self._several = self._compile(batch=ENGINE_BATCH)
                self._several.run(images[start : start + ENGINE_BATCH])
                values: list[float] = self._several.logits.data[:, 0].tolist()
                maps = np.array(self._several.features.data, dtype=np.float32) if features else None
            yield values, maps
        for index in range(whole, len(images)):
            value, alone = self.run(images[index : index + 1], features=features)
            yield [value], None if alone is None else alone[np.newaxis]


class _KerasNetwork:
    """Plain Keras, where OpenVINO is missing. Never ``model.predict``: slow for one image, and its memory grows."""

    def __init__(self, model_file: Path, *, input_size: tuple[int, int]) -> None:
        try:
            check_network_file(model_file)
        except NetworkFileError as error:
            raise InferenceError(str(error)) from None
        try:
            import keras
            import tensorflow
        except ImportError:
            raise InferenceError("Neither OpenVINO nor TensorFlow is installed; run 'make setup'.") from None

        network = keras.models.load_model(model_file, compile=False)
        with_features = keras.Model(network.inputs, [network.outputs[0], keras_features(keras, network)])

        @tensorflow.function(input_signature=[tensorflow.TensorSpec((1, *input_size, 3), tensorflow.uint8)])
        def run(image: Any) -> Any:
            return with_features(tensorflow.cast(image, tensorflow.float32), training=False)

        self._run = run

    def run(self, image: NDArray[np.uint8], *, features: bool) -> tuple[float, NDArray[np.float32] | None]:
        probability, feature_map = self._run(image)
        return float(logit(probability.numpy()[0, 0])), feature_map.numpy()[0] if features else None

    def logits(self, images: NDArray[np.uint8]) -> list[float]:
        return [self.run(images[index : index + 1], features=False)[0] for index in range(len(images))]

    def passes(self, images: NDArray[np.uint8]) -> Iterator[tuple[list[float], NDArray[np.float32]]]:
        for index in range(len(images)):
            value, alone = self.run(images[index : index + 1], features=True)
            assert alone is not None
            yield [value], alone[np.newaxis]


def keras_features(keras: Any, network: Any) -> Any:
    """The feature map of the last convolution as a tensor of ``network``, also where a network is nested in it."""
    try:
        *nested, layer = feature_layer(network)
    except ValueError as error:
        raise InferenceError(str(error)) from None
    features = layer.output
    for inner in reversed(nested):
        # The last call of the nested network is the one from this network; Keras has no public name for it.
        features = keras.Model(inner.inputs, features)(inner._inbound_nodes[-1].input_tensors[0])
    return features


class Predictor:
    """A version's network, ready to read images. May be shared by all threads; takes no state from a call.

    Decisions (``probability >= threshold``) at the card's operating points equal those of plain Keras float32:
    a bfloat16 result within ``BF16_LOGIT_TOLERANCE`` of one of them is computed again in float32.
    """

    def __init__(
        self, version: Version, network: _Network, description: Description, *, exact: Any = None
    ) -> None:
        """Use :meth:`load`. ``exact`` makes the float32 network, called when first needed."""
        self.card = version.card
        self._model_file = version.model_file
        self.description = description
        self._network = network
        self._make_exact = exact
        self._exact: _Network | None = None
        self._exact_lock = threading.Lock()
        self._head: Head | None = None
        self._head_sought = False
        self._head_lock = threading.Lock()
        thresholds = np.array([point.threshold for point in version.card.operating_points], dtype=np.float64)
        self._critical = logit(thresholds)

    @classmethod
    def load(
        cls,
        version: Version,
        *,
        cache: Path,
        precision: Literal["auto", "bf16", "f32"] = "auto",
        engine: Literal["auto", "openvino", "keras"] = "auto",
    ) -> Predictor:
        """Load ``version``; the first time on a machine the network is converted into ``cache`` (seconds).

        Args:
            cache: a folder for converted networks, made where missing; damaged entries are made anew.
            precision: ``auto`` takes bfloat16 where OpenVINO says that the processor has it.
            engine: ``auto`` takes plain Keras where OpenVINO is missing or cannot run the network.

        Raises:
            InferenceError: the network cannot be run.
        """
        size = version.card.input_size
        if engine != "keras":
            try:
                return cls._load_openvino(version, cache=cache, precision=precision)
            except _UnsupportedError as error:
                if engine == "openvino":
                    raise InferenceError(f"{error} Use the Keras engine instead.") from None
                reason = f" ({error})"
        else:
            reason = ""
        if precision == "bf16":
            raise InferenceError("Plain Keras runs in float32 only; choose precision f32 or auto.")
        words = f"plain Keras, float32{reason}"
        return cls(
            version,
            _KerasNetwork(version.model_file, input_size=size),
            Description("keras", "f32", words),
        )

    @classmethod
    def _load_openvino(
        cls, version: Version, *, cache: Path, precision: Literal["auto", "bf16", "f32"]
    ) -> Predictor:
        try:
            import openvino
        except ImportError:
            raise _UnsupportedError("OpenVINO is not installed.") from None
        size = version.card.input_size
        chosen: Precision
        if precision == "auto":
            chosen = (
                "bf16"
                if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
                else "f32"
            )
        else:
            chosen = precision

        def compiled(precision: Precision) -> _OpenVinoNetwork:
            folder = converted(version, cache)
            try:
                return _OpenVinoNetwork(folder, input_size=size, precision=precision)
            except (
                RuntimeError
            ) as error:  # OpenVINO's own errors; a sound cache that it cannot read after all
                logger.warning("the converted network could not be compiled, converting again: %s", error)
                shutil.rmtree(folder, ignore_errors=True)
            try:
                return _OpenVinoNetwork(converted(version, cache), input_size=size, precision=precision)
            except RuntimeError:
                raise _UnsupportedError(
                    f"OpenVINO cannot run the network of version {version.name}."
                ) from None

        number = openvino.__version__.split("-")[0]
        network = compiled(chosen)
        if precision == "auto" and chosen == "bf16":
            note = _converted_folder(version, cache) / BF16_NOTE
            error = _bf16_error(note, network, partial(compiled, "f32"), size)
            if not error <= BF16_SAMPLE_TOLERANCE:  # also where it is no number
                words = f"OpenVINO {number}, float32 (bfloat16 moves the logit by {error:.2f})"
                return cls(version, compiled("f32"), Description("openvino", "f32", words))
        words = f"OpenVINO {number}, {'bfloat16, float32 near an operating point' if chosen == 'bf16' else 'float32'}"
        exact = (lambda: compiled("f32")) if chosen == "bf16" else None
        return cls(version, network, Description("openvino", chosen, words), exact=exact)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated probabilities of PNEUMONIA, float64 (n,), of images uint8 (n, h, w, 3), raw 0..255.

        Raises:
            ValueError: another shape or dtype than the card's input size says.
        """
        images = self._checked(images)
        values = self._network.logits(images)
        close = [index for index, value in enumerate(values) if self._is_close(value)]
        if close:
            for index, value in zip(close, self._exact_network().logits(images[close]), strict=True):
                values[index] = value
        return self._probabilities(values)

    def predict_with_features(self, images: NDArray[np.uint8]) -> Prediction:
        """As :meth:`predict`, with the last convolution's feature maps from the same pass."""
        images = self._checked(images)
        results = [self._run(images[index : index + 1], features=True) for index in range(len(images))]
        maps = [feature_map for _, feature_map in results if feature_map is not None]
        if not maps:
            # The channels are only known from a pass; an empty batch is rare enough to pay for one.
            blank = np.zeros((1, *self.card.input_size, 3), np.uint8)
            empty = self.predict_with_features(blank).features[:0]
            return Prediction(np.empty(0, np.float64), empty)
        return Prediction(self._probabilities([value for value, _ in results]), np.stack(maps))

    def read(self, images: NDArray[np.uint8]) -> Evidence:
        """As :meth:`predict`, with where the network looked and the means of its last feature map, from the same pass.

        Raises:
            ValueError: another shape or dtype than the card's input size says.
        """
        images = self._checked(images)
        if not len(images):
            # Sizes are only known from a pass; an empty batch is rare enough to pay for one.
            blank = self.read(np.zeros((1, *self.card.input_size, 3), np.uint8))
            heat = None if blank.heat is None else blank.heat[:0]
            return Evidence(np.empty(0, np.float64), heat, blank.pooled[:0])
        films = list(self._looked(self._network, images))
        close = [index for index, (value, _, _) in enumerate(films) if self._is_close(value)]
        if close:
            for index, film in zip(close, self._looked(self._exact_network(), images[close]), strict=True):
                films[index] = film
        heats = [heat for _, heat, _ in films if heat is not None]
        return Evidence(
            probabilities=self._probabilities([value for value, _, _ in films]),
            heat=np.stack(heats) if len(heats) == len(films) else None,
            pooled=np.stack([pooled for _, _, pooled in films]),
        )

    def _looked(
        self, network: _Network, images: NDArray[np.uint8]
    ) -> Iterator[tuple[float, NDArray[np.float32] | None, NDArray[np.float32]]]:
        """Film by film: raw logit, heat (h, w) and pooled features (c,)."""
        slope = np.float32(self.card.calibration.slope)
        for values, maps in network.passes(images):
            head = self._head_behind(maps, values)
            heat = None if head is None else slope * grad_cam(maps, head.gradient(maps))
            pooled = maps.mean((1, 2))
            for number, value in enumerate(values):
                yield value, None if heat is None else heat[number], pooled[number]

    def _head_behind(self, maps: NDArray[np.float32], logits: list[float]) -> Head | None:
        """The head that makes these logits of these maps, found at the first call; None where there is none."""
        with self._head_lock:
            if not self._head_sought:
                self._head_sought = True
                try:
                    self._head = Head.from_file(self._model_file).matching(maps, np.array(logits))
                    reason = "its layers give another result than the engine"
                except (NoClosedFormError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
                    reason = str(error)
                if self._head is None:
                    logger.warning("version %s has no heat: %s", self.card.name, reason)
            return self._head

    def _checked(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        expected = (*self.card.input_size, 3)
        if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 images of shape (n, {expected}), got {images.dtype} {images.shape}"
            )
        return np.ascontiguousarray(images)

    def _run(self, image: NDArray[np.uint8], *, features: bool) -> tuple[float, NDArray[np.float32] | None]:
        value, feature_map = self._network.run(image, features=features)
        if self._is_close(value):
            return self._exact_network().run(image, features=features)
        return value, feature_map

    def needs_float32(self, image: NDArray[np.uint8]) -> bool:
        """Whether one image (1, h, w, 3) is so near to an operating point that it is read in float32 as well."""
        return self._is_close(self._network.run(image, features=False)[0])

    def _is_close(self, value: float) -> bool:
        calibrated = self.card.calibration.slope * value + self.card.calibration.intercept
        # A site's own calibration may stretch the logit, and the error with it.
        tolerance = BF16_LOGIT_TOLERANCE * max(1.0, self.card.calibration.slope)
        near = np.abs(calibrated - self._critical) <= tolerance
        return self._make_exact is not None and bool(near.any())

    def _exact_network(self) -> _Network:
        with self._exact_lock:
            if self._exact is None:
                self._exact = self._make_exact()
            return self._exact

    def _probabilities(self, logits: list[float]) -> NDArray[np.float64]:
        return self.card.calibration.apply(sigmoid(np.array(logits, dtype=np.float64)))


def _bf16_error(note: Path, network: _Network, exact: Callable[[], _Network], size: tuple[int, int]) -> float:
    """Largest difference of a raw logit between bfloat16 and float32 on the synthetic films; infinite without any."""
    try:
        return float(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass
    images = [prepare(read_xray(file.read_bytes()).pixels, size=size) for file in sample_files()]
    if not images:
        return float("inf")
    films = np.stack(images)
    error = float(np.abs(np.array(network.logits(films)) - np.array(exact().logits(films))).max())
    with suppress(OSError):  # measured again next time
        note.write_text(json.dumps(error), encoding="utf-8")
    return error


def _converted_folder(version: Version, cache: Path) -> Path:
    import openvino

    return cache / f"{version.card.sha256}-openvino-{openvino.__version__.split('-')[0]}-{CACHE_FORMAT}"


def converted(version: Version, cache: Path) -> Path:
    """The folder with the converted network of ``version`` under ``cache``, converted now where it is not there.

    Its name holds the network's SHA-256 and OpenVINO's version, and a manifest the hashes of the files in
    it, so a changed network, another OpenVINO, or a damaged file all lead to a fresh conversion. Written
    beside and renamed: two processes may convert at once, the first wins.

    Raises:
        InferenceError: the conversion failed or the cache cannot be written.
        _UnsupportedError: the layout of the network is not one that can be cut in two.
    """
    folder = _converted_folder(version, cache)
    if _is_sound(folder):
        return folder
    if not version.model_file.is_file() or sha256_of(version.model_file) != version.card.sha256:
        raise InferenceError(
            f"The network of version {version.name} is missing or not the one its card describes; restore its folder."
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".converting-", dir=cache))
    except OSError:
        raise InferenceError(f"The cache folder {cache} cannot be written; check its permissions.") from None
    try:
        _convert_in_subprocess(version, unfinished)
        manifest = {name: sha256_of(unfinished / name) for name in FILES}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        if folder.exists() and not _is_sound(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            unfinished.rename(folder)
        except OSError:
            if not _is_sound(folder):  # not another process's work either
                raise InferenceError(f"The cache folder {cache} cannot be written; check it.") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _is_sound(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(sha256_of(folder / name) == manifest[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _convert_in_subprocess(version: Version, destination: Path) -> None:
    project = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (project, os.environ.get("PYTHONPATH")))),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "model.conversion",
            str(version.model_file.resolve()),
            str(destination.resolve()),
        ],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if result.returncode == 0:
        return
    last_line = (result.stderr.strip().splitlines() or ["no message"])[-1]
    if result.returncode == UNSUPPORTED_STATUS:
        raise _UnsupportedError(last_line)
    logger.error("conversion failed:\n%s", result.stderr)
    raise InferenceError(f"The network of version {version.name} could not be converted: {last_line}")
