from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import architectures, vgg16

TINY = architectures.Size(blocks=((1, 4), (1, 4), (1, 6), (1, 6), (1, 8)), head_units=8)


@pytest.fixture(scope="module")
def trained() -> Any:
    """A training network whose normalisations are not the identity, as after some training."""
    import keras

    keras.utils.set_random_seed(1)
    network = architectures.build_for_training(TINY)
    random = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return network


def images(count: int = 3, side: int = 224) -> np.ndarray:
    grey = np.random.default_rng(3).integers(0, 256, (count, side, side, 1))
    return np.repeat(grey, 3, axis=-1).astype(np.float32)


@pytest.mark.slow
def test_released_form_is_the_fine_tuned_vgg16_of_the_seed() -> None:
    network = architectures.build()
    assert network.count_params() == 15_245_121
    assert network.input_shape == (None, 224, 224, 3)
    assert network.output_shape == (None, 1)
    convolutions = [layer.name for layer in network.layers if layer.__class__.__name__ == "Conv2D"]
    assert len(convolutions) == 13
    assert [layer.name for layer in network.layers] == vgg16.RELEASED_LAYERS
    assert (convolutions[0], convolutions[-1]) == ("block1_conv1", "block5_conv3")


def test_folded_network_gives_the_same_outputs(trained: Any) -> None:
    folded = architectures.fold(trained, TINY)
    pixels = images()
    reduced = pixels.reshape(3, 112, 2, 112, 2, 3).mean((2, 4))
    expected = trained(reduced, training=False).numpy()
    assert np.ptp(expected) > 1e-4  # a network that answers always the same would prove nothing
    np.testing.assert_allclose(folded(pixels, training=False).numpy(), expected, atol=2e-6)


def test_unfolded_network_is_the_same_function_and_normalises_again(trained: Any) -> None:
    import keras

    folded = architectures.fold(trained, TINY)
    again = architectures.build_for_training(TINY)
    assert not vgg16.is_unfolded(again)
    vgg16.unfold(folded, again)
    pixels = images()
    reduced = pixels.reshape(3, 112, 2, 112, 2, 3).mean((2, 4))
    expected = trained(reduced, training=False).numpy()
    np.testing.assert_allclose(again(reduced, training=False).numpy(), expected, atol=2e-6)
    assert vgg16.is_unfolded(again)

    vgg16.renormalise(again, [reduced[:2], reduced[2:]])
    np.testing.assert_allclose(again(reduced, training=False).numpy(), expected, atol=2e-6)
    assert not vgg16.is_unfolded(again)
    kernel = again.get_layer("block3_conv1").get_weights()[0]
    np.testing.assert_allclose(np.sqrt((kernel**2).mean((0, 1, 2))), np.sqrt(2 / (9 * (4 + 6))), rtol=1e-5)
    # The statistics are those of what the convolution gives, so that a step of training begins at the same function.
    values = keras.Model(again.input, again.get_layer("block3_conv1").output)(reduced, training=False).numpy()
    _, _, mean, _ = again.get_layer("block3_conv1_normalisation").get_weights()
    parts = [values[:2].mean((0, 1, 2)), values[2:].mean((0, 1, 2))]
    np.testing.assert_allclose(mean, np.mean(parts, axis=0), rtol=1e-4, atol=1e-6)


def test_brightness_and_contrast_of_the_exposure_change_nothing(trained: Any) -> None:
    folded = architectures.fold(trained, TINY)
    pixels = images()
    np.testing.assert_allclose(folded(0.4 * pixels + 60).numpy(), folded(pixels).numpy(), atol=1e-5)
    assert np.isfinite(folded(np.zeros((1, 224, 224, 3), np.float32)).numpy()).all()


def test_calibration_in_the_last_layer(trained: Any) -> None:
    from model.calibration import logit

    folded = architectures.fold(trained, TINY)
    before = logit(folded(images()).numpy())
    architectures.scale_logit(folded, 0.5, -1.0)
    np.testing.assert_allclose(logit(folded(images()).numpy()), 0.5 * before - 1, atol=1e-5)


def test_plain_keras_opens_the_saved_network(trained: Any, tmp_path: Path) -> None:
    import keras

    from model.training import save_network

    folded = architectures.fold(trained, TINY)
    architectures.round_to_bfloat16(folded)
    save_network(folded, tmp_path / "model.h5")
    again = keras.models.load_model(tmp_path / "model.h5", compile=False)
    np.testing.assert_array_equal(again(images()).numpy(), folded(images()).numpy())


def test_rounded_weights_have_eight_significant_bits(trained: Any) -> None:
    folded = architectures.fold(trained, TINY)
    before = folded.get_layer("block1_conv1").get_weights()[0]
    architectures.round_to_bfloat16(folded)
    after = folded.get_layer("block1_conv1").get_weights()[0]
    assert not (after.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(after, before, rtol=2**-8)


def test_starting_weights_that_fit_are_taken(trained: Any, tmp_path: Path) -> None:
    network = architectures.build_for_training(TINY)
    kernel = np.full((3, 3, 3, 4), 0.25, np.float32)
    stored: dict[str, Any] = {"block1_conv1/kernel": kernel, "block2_conv1/kernel": np.zeros((3, 3, 1, 1))}
    np.savez(tmp_path / "w.npz", **stored)
    other = network.get_layer("block2_conv1").get_weights()[0]
    assert architectures.start_from(network, tmp_path / "w.npz") == 1
    np.testing.assert_array_equal(network.get_layer("block1_conv1").get_weights()[0], kernel)
    np.testing.assert_array_equal(network.get_layer("block2_conv1").get_weights()[0], other)
    stored = {"dense/kernel": kernel}
    np.savez(tmp_path / "none.npz", **stored)
    with pytest.raises(ValueError, match="No convolution in none"):
        architectures.start_from(network, tmp_path / "none.npz")


@pytest.mark.slow
def test_weights_as_keras_publishes_them_are_taken(tmp_path: Path) -> None:
    import keras

    published = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    published.save_weights(tmp_path / "vgg16.weights.h5")
    published.save(tmp_path / "vgg16.h5")
    network = architectures.build_for_training()
    assert architectures.start_from(network, tmp_path / "vgg16.h5") == 13
    kernel = published.get_layer("block3_conv2").get_weights()[0]
    np.testing.assert_array_equal(network.get_layer("block3_conv2").get_weights()[0], kernel)


@pytest.mark.parametrize("rectified", [True, False])
def test_the_fused_normalisation_is_keras_own(rectified: bool) -> None:
    import keras
    import tensorflow as tf

    from model.normalisation import FusedNormalisation, NormalisedReLU

    random = np.random.default_rng(0)
    images = tf.constant(random.normal(1, 3, (4, 7, 7, 5)), tf.float32)
    fused = NormalisedReLU() if rectified else FusedNormalisation()
    behind = keras.layers.ReLU() if rectified else keras.layers.Activation("linear")
    plain = keras.Sequential([keras.layers.BatchNormalization(), behind])
    scale, offset = random.uniform(0.5, 1.5, 5), random.normal(size=5)
    for layer, values in ((fused, images), (plain, images)):
        layer.build(values.shape)
    for layer in (fused, plain.layers[0]):
        layer.gamma.assign(scale)
        layer.beta.assign(offset)
    for training in (True, False):
        outputs, gradients = [], []
        for layer in (fused, plain):
            with tf.GradientTape() as tape:
                tape.watch(images)
                values = layer(images, training=training)
                loss = tf.reduce_sum(values**3)
            outputs.append(values.numpy())
            gradients.append(tape.gradient(loss, images).numpy())
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-3, atol=3e-3)
        np.testing.assert_allclose(gradients[0], gradients[1], atol=2e-2 * np.abs(gradients[1]).max())
    np.testing.assert_allclose(fused.moving_mean, plain.layers[0].moving_mean, atol=1e-5)
    np.testing.assert_allclose(fused.moving_variance, plain.layers[0].moving_variance, rtol=1e-5)
