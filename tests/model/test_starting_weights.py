from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import architectures
from model.architectures import ARCHITECTURES, WeightsError, weights_available
from model.recipes import default_config
from model.registry import Version

WIDTH = 1 / 16


def network_of(name: str, *, side: int = 32, start: str = "none", units: int = 64) -> Any:
    config = default_config(name, input_side=side, starting_weights=start, head_units=units)
    return architectures.build_training(config, width=WIDTH)


def equal(one: Any, other: Any) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(first, second) for first, second in pairs)


def test_what_cannot_be_had_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    row = ARCHITECTURES["vgg16_finetuned"]
    there, words = architectures.weights_available(row, "imagenet")
    assert not there
    assert "cannot be had here without a download" in words and str(row.weights_file) in words
    with pytest.raises(WeightsError, match="without a download"):
        architectures.load_starting_weights(network_of("vgg16_finetuned"), row, "imagenet")
    assert architectures.weights_available(row, "none")[0]
    there, words = architectures.weights_available(ARCHITECTURES["custom_cnn"], "imagenet")
    assert not there
    assert "no ImageNet weights" in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no weights file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"something else", "is no weights file"),
    ],
    ids=["missing", "pointer", "text"],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "weights.h5"
    if content is not None:
        file.write_bytes(content)
    there, said = architectures.weights_available(ARCHITECTURES["mobilenet"], str(file))
    assert not there
    assert words in said


def test_damaged_file_has_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert architectures.weights_available(ARCHITECTURES["custom_cnn"], str(file))[0]  # only its head is read
    with pytest.raises(WeightsError, match="damaged"):
        architectures.load_starting_weights(network_of("custom_cnn"), ARCHITECTURES["custom_cnn"], str(file))


@pytest.mark.parametrize("name", ["vgg16_finetuned", "custom_cnn", "alexnet_like"])
def test_a_network_starts_from_one_of_its_kind(name: str, tmp_path: Path) -> None:
    row = ARCHITECTURES[name]
    source, network = network_of(name), network_of(name)
    architectures.release(source, row).save(tmp_path / "model.h5")
    words = architectures.load_starting_weights(network, row, str(tmp_path / "model.h5"))
    for layer in source.layers:
        if layer.name.startswith("block"):
            assert equal(network.get_layer(layer.name), layer), layer.name
    if row.ends:
        assert "13 of 13 layers of the base" in words
        assert not equal(network.get_layer("head_dense"), source.get_layer("head_dense"))  # it starts anew


def test_training_from_scratch_goes_on_from_a_released_network(tmp_path: Path) -> None:
    row = ARCHITECTURES["vgg16_scratch"]
    source, network = network_of("vgg16_scratch"), network_of("vgg16_scratch")
    release = architectures.release(source, row)
    release.save(tmp_path / "model.h5")
    there, said = architectures.weights_available(row, str(tmp_path / "model.h5"))
    assert there
    assert said == "Training goes on from model.h5, head included where its size is the same."
    words = architectures.load_starting_weights(network, row, str(tmp_path / "model.h5"))
    assert words == "model.h5, the whole network"
    films = np.random.default_rng(8).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(network(films).numpy(), source(films).numpy(), atol=1e-6)

    # One of another width has nothing that fits, one of another kind gives what fits.
    wider = network_of("vgg16_scratch", units=128)
    words = architectures.load_starting_weights(wider, row, str(tmp_path / "model.h5"))
    assert words == "model.h5 (13 of 13 layers), the rest random"


def test_kernels_of_an_npz_fit_by_name_and_shape(tmp_path: Path) -> None:
    network = network_of("vgg16_base", units=0)
    kernel, bias = (np.full_like(weights, 0.5) for weights in network.get_layer("block1_conv1").get_weights())
    other = network.get_layer("block2_conv1").get_weights()
    stored: dict[str, Any] = {
        "block1_conv1/kernel": kernel, "block1_conv1/bias": bias, "block2_conv1/kernel": np.zeros((3, 3, 1, 1)),
    }  # fmt: skip
    np.savez(tmp_path / "some.npz", **stored)
    words = architectures.load_starting_weights(
        network, ARCHITECTURES["vgg16_base"], str(tmp_path / "some.npz")
    )
    assert words == "some.npz (1 of 13 layers of the base), the rest random"
    assert (network.get_layer("block1_conv1").get_weights()[1] == 0.5).all()
    np.testing.assert_array_equal(network.get_layer("block2_conv1").get_weights()[0], other[0])


def test_frozen_base_of_a_released_version_comes_with_its_scaling(tmp_path: Path) -> None:
    """A vgg16_... that starts from a version of the scratch recipe computes that version's feature maps."""
    import keras

    keras.utils.set_random_seed(5)
    size = architectures.Size(blocks=((2, 4), (2, 8), (3, 16), (3, 32), (3, 32)), head_units=8)
    released = architectures.build(size, input_size=(64, 64))
    file = tmp_path / "model.h5"
    released.save(file)
    network = network_of("vgg16_finetuned", side=64, start=str(file))
    assert [layer.name for layer in network.layers[:3]] == ["image", "reduce", "standardise"]
    architectures.load_starting_weights(network, ARCHITECTURES["vgg16_finetuned"], str(file))
    films = np.random.default_rng(6).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    frozen, _ = architectures.parts(
        network, architectures.frozen_end(network, ARCHITECTURES["vgg16_finetuned"], 0)
    )
    expected = keras.Model(released.input, released.get_layer("pool").output)(films).numpy()
    assert np.ptp(expected) > 1e-3
    np.testing.assert_array_equal(frozen(films, training=False).numpy(), expected)


def test_without_a_version_the_scaling_is_the_published_one() -> None:
    assert [layer.name for layer in network_of("vgg16_finetuned").layers[:2]] == ["image", "scaling"]


def test_weights_as_keras_publishes_them_fill_a_base(tmp_path: Path) -> None:
    import keras

    published = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    for name in ("base.weights.h5", "base.h5"):
        (published.save_weights if "weights" in name else published.save)(tmp_path / name)
        config = default_config("mobilenet", input_side=32, starting_weights="none", head_units=4)
        network = architectures.build_training(config)
        words = architectures.load_starting_weights(network, ARCHITECTURES["mobilenet"], str(tmp_path / name))
        assert "104 of 104 layers of the base" in words
        for layer in published.layers:
            if layer.weights:
                assert equal(network.get_layer(layer.name), layer), layer.name


@pytest.mark.slow
def test_numbered_layers_find_their_weights_whatever_was_built_before(tmp_path: Path) -> None:
    import keras

    keras.layers.Conv2D(1, 1)  # moves Keras' numbers on
    published = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(80, 80, 3))
    published.save_weights(tmp_path / "base.weights.h5")
    config = default_config("inception_v3", input_side=80, starting_weights="none", head_units=4)
    network = architectures.build_training(config)
    row = ARCHITECTURES["inception_v3"]
    architectures.load_starting_weights(network, row, str(tmp_path / "base.weights.h5"))
    films = np.random.default_rng(7).uniform(0, 255, (1, 80, 80, 3)).astype(np.float32)
    ours = keras.Model(network.input, network.get_layer("mixed10").output)(films).numpy()
    theirs = published(keras.applications.inception_v3.preprocess_input(films.copy())).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_a_version_is_called_by_its_name(tiny_version: Version) -> None:
    possible, words = weights_available(ARCHITECTURES["vgg16_base"], str(tiny_version.model_file))
    assert possible
    assert f"version {tiny_version.name}" in words
