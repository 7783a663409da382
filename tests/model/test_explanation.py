"""The head's gradient is TensorFlow's for every network of the table; maps lie over what they were made of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model import architectures, explanation
from model.architectures import ARCHITECTURES
from model.calibration import logit, sigmoid
from model.conversion import convert
from model.explanation import (
    COLOURS,
    LEAST_SCALE,
    Head,
    NoClosedFormError,
    OcclusionCancelledError,
    grad_cam,
    occlusion,
    overlay_image,
    scale_of,
    upsample,
    with_scale,
)
from model.inference import Description, Predictor, _KerasNetwork, _OpenVinoNetwork
from model.layer_graph import feature_layer
from model.registry import Version
from tests.model.test_inference import version_of
from tests.model.test_networks import LARGE, NAMES, built, films

SIDE = 32


def tape(network: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature maps, logits and their gradient as TensorFlow works it out, of a network whose map is not nested."""
    import keras
    import tensorflow as tf

    (layer,) = feature_layer(network)
    last = network.layers[-1]
    before = last.input
    with_map = keras.Model(network.inputs, [layer.output, before])
    with tf.GradientTape() as recorded:
        pixels = tf.constant(images, tf.float32)
        recorded.watch(pixels)
        maps, values = with_map(pixels, training=False)
        if hasattr(last, "kernel"):
            values = values @ last.kernel + (last.bias if last.use_bias else 0)
        total = tf.reduce_sum(values)
    return maps.numpy(), values.numpy()[:, 0], recorded.gradient(total, maps).numpy()


def on_openvino(version: Version, folder: Path) -> Predictor:
    """The predictor of a version in float32, converted in this process."""
    folder.mkdir()
    convert(version.model_file, folder)
    engine = _OpenVinoNetwork(folder, input_size=version.card.input_size, precision="f32")
    return Predictor(version, engine, Description("openvino", "f32", "test"))


def on_keras(version: Version) -> Predictor:
    engine = _KerasNetwork(version.model_file, input_size=version.card.input_size)
    return Predictor(version, engine, Description("keras", "f32", "test"))


def close(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * max(float(np.abs(expected).max()), 1e-6))


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_the_table_is_read_and_explained_as_by_keras(name: str, tmp_path: Path) -> None:
    released = architectures.release(built(name), ARCHITECTURES[name])
    version = version_of(released, tmp_path / "version")
    pixels = films(released.input_shape[1]).astype(np.uint8)
    maps, logits, gradients = tape(released, pixels)
    assert np.abs(gradients).max() > 0, "a network that looks nowhere would prove nothing"

    head = Head.from_file(version.model_file)
    np.testing.assert_allclose(head.logit(maps), logits, atol=1e-4 * (1 + np.abs(logits).max()))
    close(head.gradient(maps), gradients)

    expected = np.maximum(np.einsum("nhwc,nc->nhw", maps, gradients.mean((1, 2))), 0)
    # Tracing hundreds of layers takes plain Keras longest, and the small ones show the same.
    engines = [on_openvino(version, tmp_path / "graphs")] + [on_keras(version)] * (name not in LARGE)
    for predictor in engines:
        evidence = predictor.read(pixels)
        assert evidence.heat is not None
        assert evidence.heat.dtype == evidence.pooled.dtype == np.float32
        close(evidence.heat, expected, share=1e-3)
        close(evidence.pooled, maps.mean((1, 2)), share=1e-3)
        assert np.array_equal(evidence.probabilities, predictor.predict(pixels))
        answer = predictor.predict_with_features(pixels)
        np.testing.assert_allclose(
            answer.probabilities, version.card.calibration.apply(sigmoid(logits)), atol=1e-4
        )
        close(answer.features, maps)


def _image() -> Any:
    import keras

    return keras.Input((SIDE, SIDE, 3), name="image")


def _map(image: Any) -> Any:
    from keras import layers

    values = layers.Rescaling(1 / 127.5, offset=-1)(image)
    values = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(values)
    return layers.Conv2D(8, 3, activation="tanh", name="looked_at")(values)  # (15, 15) to (13, 13)


def _end(values: Any, image: Any) -> Any:
    import keras
    from keras import layers

    return keras.Model(image, layers.Dense(1, activation="sigmoid")(values))


def _two_poolings() -> Any:
    from keras import layers

    image = _image()
    values = _map(image)
    both = [layers.GlobalAveragePooling2D()(values), layers.GlobalMaxPooling2D()(values)]
    return _end(layers.Dense(5, activation="elu")(layers.Concatenate()(both)), image)


def _residual_head() -> Any:
    from keras import layers

    image = _image()
    values = layers.GlobalAveragePooling2D(keepdims=True)(_map(image))
    values = layers.Reshape((8,))(values)
    branch = layers.Dense(8, activation="silu")(values)
    total = layers.Add()([values, branch])
    return _end(layers.Average()([total, layers.Subtract()([values, branch])]), image)


def _everything_else() -> Any:
    from keras import layers

    image = _image()
    values = layers.ZeroPadding2D(((1, 0), (2, 1)))(_map(image))
    values = layers.AveragePooling2D(3, strides=2, padding="same")(values)
    values = layers.MaxPooling2D((2, 3), strides=(2, 1), padding="same")(values)
    values = layers.GroupNormalization(groups=2)(values)
    values = layers.AveragePooling2D((1, 2))(values)
    values = layers.Flatten()(layers.SpatialDropout2D(0.2)(layers.Dense(3, activation="softplus")(values)))
    values = layers.LayerNormalization()(layers.Rescaling(3.0, offset=1.0)(values))
    values = layers.LeakyReLU(negative_slope=0.3)(layers.Dense(12, activation="selu")(values))
    values = layers.PReLU(alpha_initializer="ones")(layers.Dense(9, activation="relu6")(values))
    values = layers.BatchNormalization(scale=False)(layers.ELU(alpha=0.7)(layers.Dense(7)(values)))
    values = layers.Activation("sigmoid")(layers.ReLU(max_value=5, negative_slope=0.1)(values))
    return _end(layers.GaussianNoise(0.1)(values), image)


def _sigmoid_apart() -> Any:
    import keras
    from keras import layers

    image = _image()
    values = layers.Dense(1)(layers.GlobalMaxPooling2D()(_map(image)))
    return keras.Model(image, layers.Activation("sigmoid")(values))


@pytest.mark.parametrize("build", [_two_poolings, _residual_head, _everything_else, _sigmoid_apart])
def test_other_heads_are_explained_by_their_own_gradient(build: Callable[[], Any], tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    network = build()
    random = np.random.default_rng(4)
    network.set_weights([weight + random.uniform(0, 0.2, weight.shape) for weight in network.get_weights()])
    version = version_of(network, tmp_path / "version")
    pixels = films(SIDE).astype(np.uint8)
    maps, logits, gradients = tape(network, pixels)
    head = Head.from_file(version.model_file)
    np.testing.assert_allclose(head.logit(maps), logits, atol=1e-4 * (1 + np.abs(logits).max()))
    close(head.gradient(maps), gradients, share=1e-3)
    # OpenVINO gives up on a group normalisation behind the map; plain Keras runs such a network.
    apart = build is _everything_else
    evidence = (on_keras(version) if apart else on_openvino(version, tmp_path / "graphs")).read(pixels)
    assert evidence.heat is not None
    expected = np.maximum(np.einsum("nhwc,nc->nhw", maps, gradients.mean((1, 2))), 0)
    close(evidence.heat, expected, share=1e-3)


def _nested(*, sequential: bool) -> Any:
    import keras
    from keras import layers

    image = _image()
    values = layers.Conv2D(6, 3, use_bias=False, name="inside")(image)
    values = layers.ReLU()(layers.BatchNormalization()(values))
    base = keras.Model(image, layers.MaxPooling2D(2)(values), name="base")
    behind = [layers.BatchNormalization(), layers.Flatten(), layers.Dense(5, activation="relu")]
    last = layers.Dense(1, activation="sigmoid")
    if sequential:
        front = [keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255)]
        return keras.Sequential([*front, base, *behind, last])
    outside = keras.Input((SIDE, SIDE, 3), name="outside")
    values = base(layers.Rescaling(1 / 255)(outside))
    for layer in behind:
        values = layer(values)
    return keras.Model(outside, last(values))


@pytest.mark.parametrize("sequential", [False, True], ids=["functional", "sequential"])
def test_a_nested_network_is_explained_as_the_flat_one(sequential: bool, tmp_path: Path) -> None:
    """With a network's own layers behind the map inside and outside of the nested one."""
    import keras

    from model.importing import rebuild

    keras.utils.set_random_seed(5)
    network = _nested(sequential=sequential)
    random = np.random.default_rng(6)
    network.set_weights([random.uniform(0, 0.3, weight.shape) for weight in network.get_weights()])
    flat = rebuild(network, scaling="0 to 255")
    pixels = films(SIDE).astype(np.uint8)
    maps, _, gradients = tape(flat, pixels)
    expected = np.maximum(np.einsum("nhwc,nc->nhw", maps, gradients.mean((1, 2))), 0)
    assert expected.max() > 0
    version = version_of(network, tmp_path / "version")
    for predictor in (on_openvino(version, tmp_path / "graphs"), on_keras(version)):
        evidence = predictor.read(pixels)
        assert evidence.heat is not None
        close(evidence.heat, expected, share=1e-3)


def test_the_head_begins_where_the_engine_ended(tmp_path: Path) -> None:
    """OpenVINO counts a rescaling behind the convolution to its map, plain Keras does not."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    image = _image()
    values = layers.Rescaling(-3.0, offset=1.0)(_map(image))
    network = _end(layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(values)), image)
    version = version_of(network, tmp_path / "version")
    pixels = films(SIDE).astype(np.uint8)
    maps, _, gradients = tape(network, pixels)
    for predictor, factor, offset in (
        (on_openvino(version, tmp_path / "graphs"), np.float32(-3), np.float32(1)),
        (on_keras(version), np.float32(1), np.float32(0)),
    ):
        evidence = predictor.read(pixels)
        assert evidence.heat is not None
        close(evidence.pooled, (factor * maps + offset).mean((1, 2)), share=1e-3)
        close(
            evidence.heat,
            grad_cam(factor * maps + offset, (gradients / factor).astype(np.float32)),
            share=1e-3,
        )


@pytest.mark.parametrize("reason", ["around", "activation"])
def test_a_head_without_a_closed_form_has_no_heat_and_all_the_rest(reason: str, tmp_path: Path) -> None:
    from keras import layers

    image = _image()
    values = layers.GlobalAveragePooling2D()(_map(image))
    if reason == "around":  # past the last convolution
        values = layers.Concatenate()([values, layers.GlobalAveragePooling2D()(image)])
    else:
        values = layers.Dense(4, activation="mish")(values)
    version = version_of(_end(values, image), tmp_path / "version")
    predictor = on_keras(version)
    evidence = predictor.read(films(SIDE).astype(np.uint8))
    assert evidence.heat is None
    assert evidence.pooled.shape == (4, 8)
    assert np.array_equal(evidence.probabilities, predictor.predict(films(SIDE).astype(np.uint8)))
    assert predictor.read(np.empty((0, SIDE, SIDE, 3), np.uint8)).heat is None


def test_a_network_without_a_convolution_has_no_head(tmp_path: Path) -> None:
    from keras import layers

    image = _image()
    _end(layers.Flatten()(image), image).save(tmp_path / "model.h5")
    with pytest.raises(NoClosedFormError, match="no convolution"):
        Head.from_file(tmp_path / "model.h5")


# --- Predictor.read, with its engine as it is used ---


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """Twenty, so that some are read eight together and some alone."""
    return films(224, 20).astype(np.uint8)


def test_reading_gives_the_probabilities_of_predict_whatever_the_company(
    tiny_version: Version, cache: Path, pictures: NDArray[np.uint8]
) -> None:
    predictor = Predictor.load(tiny_version, cache=cache)
    together = predictor.read(pictures)
    assert together.heat is not None
    assert together.heat.shape == (20, 14, 14)
    assert together.pooled.shape == (20, 4)
    assert np.array_equal(together.probabilities, predictor.predict(pictures))
    features = predictor.predict_with_features(pictures).features
    np.testing.assert_allclose(together.pooled, features.mean((1, 2)), rtol=1e-5)
    for index in (0, 9, 19):
        alone = predictor.read(pictures[index : index + 1])
        assert alone.heat is not None
        assert alone.probabilities[0] == together.probabilities[index]
        np.testing.assert_allclose(alone.heat[0], together.heat[index], rtol=1e-4, atol=1e-6)
    empty = predictor.read(pictures[:0])
    assert empty.heat is not None
    assert (empty.heat.shape, empty.pooled.shape, empty.probabilities.shape) == ((0, 14, 14), (0, 4), (0,))


def test_heat_is_in_calibrated_log_odds(tiny_version: Version, tmp_path: Path, cache: Path) -> None:
    import dataclasses

    slope = tiny_version.card.calibration.slope
    doubled = tiny_version.card.calibration.model_copy(update={"slope": 2 * slope})
    version = dataclasses.replace(
        tiny_version, card=tiny_version.card.model_copy(update={"calibration": doubled})
    )
    pixels = films(224).astype(np.uint8)
    one = Predictor.load(tiny_version, cache=cache, precision="f32").read(pixels).heat
    two = Predictor.load(version, cache=cache, precision="f32").read(pixels).heat
    assert one is not None and two is not None and one.max() > 0
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_over_a_head_linear_in_the_means_places_add_up_to_the_logit(tmp_path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(9)
    image = _image()
    values = layers.Conv2D(6, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    network = _end(layers.GlobalAveragePooling2D()(values), image)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([np.abs(kernel), bias - 2])
    evidence = on_keras(version_of(network, tmp_path / "version")).read(films(SIDE).astype(np.uint8))
    assert evidence.heat is not None
    expected = logit(evidence.probabilities) - (bias[0] - 2)
    np.testing.assert_allclose(evidence.heat.sum((1, 2)), expected, rtol=1e-3)


def test_threads_share_one_predictor(tiny_version: Version, cache: Path, pictures: NDArray[np.uint8]) -> None:
    expected = Predictor.load(tiny_version, cache=cache).read(pictures[:6])
    predictor = Predictor.load(tiny_version, cache=cache)
    together = threading.Barrier(6)

    def read(index: int) -> Any:
        together.wait()
        return predictor.read(pictures[index : index + 1])

    with ThreadPoolExecutor(6) as pool:
        for index, found in enumerate(pool.map(read, range(6))):
            assert found.probabilities[0] == expected.probabilities[index]
            np.testing.assert_array_equal(found.heat[0], expected.heat[index])  # type: ignore[index]


# --- occlusion ---


def brightness_reader(folder: Path) -> Predictor:
    """Reads nothing but how bright the upper left quarter of a film is."""
    import keras
    from keras import layers

    image = _image()
    values = layers.Conv2D(1, 1, use_bias=False)(layers.Rescaling(1 / 255)(image))
    values = layers.Cropping2D(((0, SIDE // 2), (0, SIDE // 2)))(values)
    values = layers.GlobalAveragePooling2D()(values)
    network = keras.Model(image, layers.Dense(1, activation="sigmoid")(values))
    network.set_weights(
        [np.full((1, 1, 3, 1), 1 / 3, np.float32), np.array([[16]], np.float32), np.array([-4], np.float32)]
    )
    return on_keras(version_of(network, folder))


def test_occlusion_falls_by_what_was_hidden(tmp_path: Path) -> None:
    predictor = brightness_reader(tmp_path / "version")
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image[:8, :8] = 200
    told: list[tuple[int, int]] = []
    found = occlusion(
        predictor, image, patch=8, stride=8, progress=lambda done, total: told.append((done, total))
    )
    assert found.shape == (4, 4)
    assert found.dtype == np.float32
    # The patch is hidden behind the mean grey, 106: of 256 pixels that are read, 64 lose 94 or gain 6 of 255.
    expected = np.zeros((4, 4))
    expected[:2, :2] = -16 * 6 / 255 / 4
    expected[0, 0] = 16 * 94 / 255 / 4
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert told == [(8, 16), (16, 16)]
    assert occlusion(predictor, image).shape == (16, 16), "a fourteenth of the side, in whole pixels"


def test_occlusion_stops_where_it_is_told_to(tmp_path: Path) -> None:
    predictor = brightness_reader(tmp_path / "version")
    done: list[int] = []
    with pytest.raises(OcclusionCancelledError):
        occlusion(
            predictor,
            np.zeros((SIDE, SIDE, 3), np.uint8),
            patch=4,
            stride=4,
            progress=lambda number, _: done.append(number),
            cancelled=lambda: len(done) == 2,
        )
    assert done == [8, 16]


# --- drawing ---


def test_upsampled_heat_lies_over_the_place_it_came_from() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 3
    found = upsample(heat, (80, 40))
    assert found.shape == (80, 40)
    assert found.dtype == np.float32
    assert np.unravel_index(found.argmax(), found.shape)[0] in (29, 30)
    assert np.unravel_index(found.argmax(), found.shape)[1] in (24, 25)
    assert 2.5 < found.max() <= 3
    assert not found[50:].any() and not found[:, :14].any()
    np.testing.assert_allclose(upsample(np.full((3, 5), 0.7, np.float32), (31, 17)), 0.7, rtol=1e-6)


def test_overlay_leaves_the_film_where_there_is_no_heat() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    nothing = np.zeros((7, 7), np.float32)
    assert np.array_equal(overlay_image(pixels, nothing), np.repeat(pixels[..., None], 3, axis=2))
    heat = nothing.copy()
    heat[:, 4:] = 2
    found = overlay_image(pixels, heat, opacity=1.0)
    assert found.shape == (40, 60, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found[:, :20], np.repeat(pixels[:, :20, None], 3, axis=2))
    assert (found[:, 45:] == COLOURS[-1]).all()
    assert np.array_equal(overlay_image(pixels, heat, opacity=0), np.repeat(pixels[..., None], 3, axis=2))
    halfway = overlay_image(pixels, heat, opacity=1.0, scale=4.0)
    assert (halfway[:, 45:] == COLOURS[128]).all()


def test_weak_heat_does_not_look_strong() -> None:
    heat = np.full((3, 3), LEAST_SCALE / 10, np.float32)
    assert scale_of(heat) == LEAST_SCALE
    assert scale_of(heat + 1) == pytest.approx(1 + LEAST_SCALE / 10)
    pixels = np.full((9, 9), 128, np.uint8)
    weak = np.abs(overlay_image(pixels, heat).astype(int) - 128).max()
    strong = np.abs(overlay_image(pixels, 20 * heat).astype(int) - 128).max()
    assert weak < strong / 2


SEEN_BY = {
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear red, green and blue.
    "everybody": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("eye", SEEN_BY)
def test_colours_are_told_apart_by_the_colour_blind(eye: str) -> None:
    assert COLOURS.shape == (256, 3)
    assert COLOURS.dtype == np.uint8
    values = COLOURS / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(SEEN_BY[eye]).T, 0, 1)
    luminance = seen @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(luminance) - 16
    # More is lighter: ten steps of the scale, each by enough to be seen.
    assert (np.diff(lightness[:: len(COLOURS) // 10]) > 3).all()


def test_the_scale_stands_below_the_picture() -> None:
    picture = np.zeros((50, 900, 3), np.uint8)
    found = with_scale(picture, 0.75)
    assert found.shape[0] > 50
    assert found.shape[1:] == (900, 3)
    assert np.array_equal(found[:50], picture)
    strip = found[50:]
    assert (strip == COLOURS[-1]).all(-1).any() and (strip == COLOURS[0]).all(-1).any()
    assert (strip[:, 350:] > 200).all(-1).any(), "words beside the colours"


def test_the_colours_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        explanation.COLOURS[0] = 0
