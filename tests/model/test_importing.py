"""Networks from elsewhere: every sound form becomes the same function in our contract; nothing else gets in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from model.importing import (
    AUTO,
    SCALINGS,
    ImportingError,
    Trial,
    choose,
    import_network,
    inspect_network,
    load_network,
    rebuild,
)
from model.inference import Predictor
from model.network_file import LAYERS, check_network_file
from model.registry import VersionError, activate, history, is_evaluated, read_version
from model.smoke import smoke_test

SIDE = 32


def convolutions(values: Any, *, filters: int = 3) -> Any:
    from keras import layers

    for block in (1, 2):
        values = layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"block{block}_conv1",
        )(values)
        values = layers.MaxPooling2D(2, name=f"block{block}_pool")(values)
    return values


def flat_sigmoid(channels: int = 3, side: int | None = SIDE) -> Any:
    import keras
    from keras import layers

    image = keras.Input((side, side, channels))
    values = layers.GlobalAveragePooling2D()(convolutions(image))
    values = layers.BatchNormalization()(layers.Dense(4, activation="tanh")(values))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.3)(values)))


def nested_softmax() -> Any:
    """As transfer learning is taught: a base inside a Sequential."""
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    base = keras.Model(image, convolutions(image), name="vgg16")
    return keras.Sequential(
        [base, layers.Flatten(), layers.Dense(4, activation="tanh"), layers.Dense(2, activation="softmax")]
    )


def doubly_nested() -> Any:
    """A base in a functional network, with a path around a layer, in a Sequential; a layer with the name of ours."""
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    base = keras.Model(image, convolutions(image), name="base")
    outer = keras.Input((SIDE, SIDE, 3))
    middle = base(layers.Rescaling(1 / 255)(outer))
    branch = layers.Conv2D(3, 1, activation="relu", name="image")(middle)
    body = keras.Model(outer, layers.Add()([middle, branch]), name="body")
    return keras.Sequential(
        [body, layers.GlobalAveragePooling2D(), layers.Dense(1), layers.Activation("sigmoid")]
    )


def separate_softmax() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    values = layers.GlobalMaxPooling2D()(convolutions(image))
    return keras.Model(image, layers.Softmax()(layers.Dense(2, use_bias=False)(values)))


BUILDERS: dict[str, Callable[[], Any]] = {
    "flat, sigmoid": flat_sigmoid,
    "nested, softmax": nested_softmax,
    "nested twice": doubly_nested,
    "softmax as a layer": separate_softmax,
    "one grey channel": lambda: flat_sigmoid(channels=1),
    "any size": lambda: flat_sigmoid(side=None),
}


def saved(network: Any, path: Path) -> Path:
    network.save(path)
    return path


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    keras.utils.set_random_seed(1)
    return saved(flat_sigmoid(), tmp_path_factory.mktemp("sound") / "network.h5")


@pytest.fixture
def copy(sound_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "network.h5"
    path.write_bytes(sound_file.read_bytes())
    return path


def images(count: int = 5) -> Any:
    grey = np.random.default_rng(0).normal(0, 30, (count, SIDE, SIDE, 1))
    grey += np.linspace(20, 230, count)[:, None, None, None]
    return np.repeat(grey.clip(0, 255).round(), 3, axis=3).astype(np.float32)


def first_convolution(network: Any) -> Any:
    for each in network.layers:
        if hasattr(each, "layers") and (found := first_convolution(each)) is not None:
            return found
        if "Conv" in type(each).__name__:
            return each
    return None


def scaled(values: Any, scaling: str) -> Any:
    """Written out once more, without layers."""
    return {
        "0 to 1": values / 255,
        "0 to 255": values,
        "-1 to 1": values / 127.5 - 1,
        "caffe": values - np.array([103.939, 116.779, 123.68]),
    }[scaling].astype(np.float32)


def pneumonia(network: Any, values: Any) -> Any:
    if network.inputs[0].shape[-1] == 1:
        values = values[..., :1]
    return np.asarray(network(values, training=False))[:, -1]


# --- what comes in comes out as the same function ---


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_function_stays_whatever_the_form(kind: str, scaling: str, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(2)
    network = BUILDERS[kind]()
    if scaling in ("0 to 255", "caffe"):  # or its answers would all lie at an end
        first = first_convolution(network)
        first.set_weights([weight / 255 for weight in first.get_weights()])
    path = saved(network, tmp_path / "network.h5")
    inspection = inspect_network(path)
    original = load_network(path)
    assert inspection.columns == original.outputs[0].shape[-1] or kind == "nested twice"
    ours = rebuild(original, scaling=scaling, side=SIDE)
    wanted = pneumonia(original, scaled(images(), scaling))
    assert np.ptp(wanted) > 1e-4
    np.testing.assert_allclose(np.asarray(ours(images()))[:, 0], wanted, atol=2e-5)
    assert ours.input_shape == (None, SIDE, SIDE, 3) and ours.output_shape == (None, 1)
    assert {type(layer).__name__ for layer in ours.layers} <= LAYERS  # flat, and nothing but plain layers
    ours.save(tmp_path / "ours.h5")
    assert inspect_network(tmp_path / "ours.h5").columns == 1


def test_turned_round_it_gives_the_other_class(sound_file: Path) -> None:
    network = load_network(sound_file)
    one, other = (
        np.asarray(rebuild(network, scaling="0 to 1", swapped=swapped)(images())) for swapped in (False, True)
    )
    np.testing.assert_allclose(one + other, 1, atol=1e-6)


# --- files of older Keras, written by hand ---


def layer(kind: str, name: str, source: str | None = None, **settings: Any) -> dict[str, Any]:
    entry = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **settings}}
    return entry | {"name": name, "inbound_nodes": [] if source is None else [[[source, 0, 0, {}]]]}


def dense(name: str, units: int, activation: str, source: str | None = None) -> dict[str, Any]:
    return layer(
        "Dense",
        name,
        source,
        units=units,
        activation=activation,
        use_bias=True,
        kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
        bias_initializer={"class_name": "Zeros", "config": {}},
        kernel_regularizer=None,
    )


def convolution(name: str, source: str | None) -> dict[str, Any]:
    return layer(
        "Conv2D",
        name,
        source,
        filters=3,
        kernel_size=[3, 3],
        strides=[1, 1],
        padding="same",
        data_format="channels_last",
        dilation_rate=[1, 1],
        groups=1,
        activation="relu",
        use_bias=True,
        kernel_initializer={"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_in"}},
    )


def functional(name: str, layers: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = layers[0]["name"], layers[-1]["name"]
    return {
        "class_name": "Functional",
        "config": {
            "name": name,
            "layers": layers,
            "input_layers": [[first, 0, 0]],
            "output_layers": [[last, 0, 0]],
        },
    }


def input_layer(name: str) -> dict[str, Any]:
    return layer("InputLayer", name, batch_input_shape=[None, SIDE, SIDE, 3], sparse=False, ragged=False)


def normalization(name: str, source: str) -> dict[str, Any]:
    return layer("BatchNormalization", name, source, axis=[3], momentum=0.99, epsilon=0.001)


def write_keras2(path: Path, configuration: dict[str, Any], weights: dict[str, dict[str, Any]]) -> Path:
    """As Keras 2.4 wrote it: names of weights end in ":0", a group for each outermost layer."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(configuration).encode()
        group = file.create_group("model_weights")
        group.attrs["keras_version"] = b"2.4.0"
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            own = group.create_group(name)
            own.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, values in arrays.items():
                own.create_dataset(key, data=values)
    return path


def random_weights() -> dict[str, Any]:
    random = np.random.default_rng(4)
    return {
        "kernel": random.normal(0, 0.4, (3, 3, 3, 3)).astype(np.float32),
        "bias": random.normal(0, 0.1, 3).astype(np.float32),
        "gamma": np.array([1, 2, 0.5], np.float32),
        "beta": np.array([0.1, 0, -0.1], np.float32),
        "moving_mean": np.array([0.2, 0.1, 0], np.float32),
        "moving_variance": np.array([1, 2, 3], np.float32),
        "head": random.normal(0, 1, (3, 2)).astype(np.float32),
        "head_bias": np.array([0.3, -0.2], np.float32),
    }


def by_hand(values: Any, w: dict[str, Any]) -> Any:
    """The network of the files below with numpy alone: the probability of the second class."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    maps = np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, w["kernel"]) + w["bias"], 0)
    maps = (maps - w["moving_mean"]) / np.sqrt(w["moving_variance"] + 0.001) * w["gamma"] + w["beta"]
    outputs = maps.mean(axis=(1, 2)) @ w["head"] + w["head_bias"]
    return 1 / (1 + np.exp(outputs[:, 0] - outputs[:, 1]))


NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")


def keras2_flat(path: Path, *, kind: str = "Functional") -> Path:
    w = random_weights()
    layers = [
        input_layer("input_1"),
        convolution("block1_conv1", "input_1"),
        normalization("bn", "block1_conv1"),
        layer("GlobalAveragePooling2D", "gap", "bn", data_format="channels_last"),
        dense("dense", 2, "softmax", "gap"),
    ]
    return write_keras2(
        path,
        functional("model", layers) | {"class_name": kind},
        {
            "input_1": {},
            "block1_conv1": {
                "block1_conv1/kernel:0": w["kernel"],
                "block1_conv1/bias:0": w["bias"],
            },
            "bn": {f"bn/{key}:0": w[key] for key in NORMALIZATION},
            "gap": {},
            "dense": {"dense/kernel:0": w["head"], "dense/bias:0": w["head_bias"]},
        },
    )


def keras2_nested(path: Path) -> Path:
    w = random_weights()
    base = functional(
        "vgg16",
        [
            input_layer("input_1"),
            convolution("block1_conv1", "input_1"),
            normalization("bn", "block1_conv1"),
        ],
    )
    sequential = {
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [
                base,
                {"class_name": "GlobalAveragePooling2D", "config": {"name": "gap", "dtype": "float32"}},
                {
                    key: value
                    for key, value in dense("dense", 2, "softmax").items()
                    if key in ("class_name", "config")
                },
            ],
        },
    }
    return write_keras2(
        path,
        sequential,
        {
            "vgg16": {
                "block1_conv1/kernel:0": w["kernel"],
                "block1_conv1/bias:0": w["bias"],
                **{f"bn/{key}:0": w[key] for key in NORMALIZATION},
            },
            "gap": {},
            "dense": {"dense/kernel:0": w["head"], "dense/bias:0": w["head_bias"]},
        },
    )


def keras2_nested_functional(path: Path) -> Path:
    """A base called in a functional network: its output is that of its second call."""
    w = random_weights()
    layers = [
        input_layer("input_1"),
        convolution("block1_conv1", "input_1"),
        normalization("bn", "block1_conv1"),
    ]
    called = {"name": "vgg16", "inbound_nodes": [[["input_2", 0, 0, {"training": False}]]]}
    pooled = layer("GlobalAveragePooling2D", "gap", "vgg16", data_format="channels_last")
    pooled["inbound_nodes"] = [[["vgg16", 1, 0, {}]]]
    outer = [
        input_layer("input_2"),
        functional("vgg16", layers) | called,
        pooled,
        dense("dense", 2, "softmax", "gap"),
    ]
    return write_keras2(
        path,
        functional("model", outer),
        {
            "input_2": {},
            "vgg16": {
                "block1_conv1/kernel:0": w["kernel"],
                "block1_conv1/bias:0": w["bias"],
                **{f"bn/{key}:0": w[key] for key in NORMALIZATION},
            },
            "gap": {},
            "dense": {"dense/kernel:0": w["head"], "dense/bias:0": w["head_bias"]},
        },
    )


@pytest.mark.parametrize(
    "write",
    [keras2_flat, keras2_nested_functional, lambda path: keras2_flat(path, kind="Model"), keras2_nested],
    ids=["flat", "nested, called", "Model", "nested"],
)
def test_files_of_keras_2(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "old.h5")
    inspection = inspect_network(path)
    assert (inspection.columns, inspection.keras, inspection.input_shape) == (2, "2.4.0", (SIDE, SIDE, 3))
    ours = rebuild(load_network(path), scaling="0 to 1")
    wanted = by_hand(images() / 255, random_weights())
    np.testing.assert_allclose(np.asarray(ours(images()))[:, 0], wanted, atol=1e-5)


# --- what is refused, and why ---


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with h5py.File(path, "r+") as file:
        configuration = json.loads(file.attrs["model_config"])
        change(configuration)
        file.attrs["model_config"] = json.dumps(configuration)


def entry(configuration: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in reversed(configuration["config"]["layers"]) if each["class_name"] == kind
    )
    return found


def settings(kind: str, **changes: Any) -> Callable[[Path], None]:
    return lambda path: edit(path, lambda configuration: entry(configuration, kind)["config"].update(changes))


def in_file(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def external_storage(path: Path) -> None:
    (path.parent / "secret.bin").write_bytes(b"\0" * 400)
    with h5py.File(path, "r+") as file:
        file.create_dataset("taken", (100,), "f4", external=[(str(path.parent / "secret.bin"), 0, 400)])


def virtual(path: Path) -> None:
    layout = h5py.VirtualLayout((100,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (100,))
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset("taken", layout)


def deep(path: Path) -> None:
    with h5py.File(path, "r+", libver="latest") as file:
        file.attrs["model_config"] = (
            '{"class_name": "Functional", "config": ' + "[" * 20_000 + "]" * 20_000 + "}"
        )


def lambda_layer(path: Path) -> None:
    edit(path, lambda configuration: entry(configuration, "Dropout").update(class_name="Lambda"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (Path.unlink, "cannot be read"),
    "a pipe": (pipe, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "not an HDF5 file"),
    "a ZIP": (lambda path: path.write_bytes(b"PK\x03\x04" * 100), "not an HDF5 file"),
    "a pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        "Git LFS pointer",
    ),
    "cut short": (lambda path: os.truncate(path, path.stat().st_size // 2), "truncated or damaged"),
    "noise": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + np.random.default_rng(0).bytes(5000)),
        "truncated or damaged",
    ),
    "weights alone": (in_file(lambda file: file.attrs.pop("model_config")), "weights without"),
    "no JSON": (in_file(lambda file: file.attrs.modify("model_config", b"{")), "damaged description"),
    "numbers for a configuration": (
        in_file(lambda file: file.attrs.create("model_config", np.zeros(3))),
        "damaged description",
    ),
    "a deep configuration": (deep, "damaged description"),
    "a soft link": (
        in_file(lambda file: file.__setitem__("link", h5py.SoftLink("/model_weights"))),
        "link to elsewhere",
    ),
    "an external link": (
        in_file(lambda file: file["model_weights"].__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))),
        "link to elsewhere",
    ),
    "an array in another file": (external_storage, "lies in another file"),
    "a virtual array": (virtual, "lies in another file"),
    "an array that is not there": (
        in_file(lambda file: file.create_dataset("huge", (10**9,), "f4")),
        "claims 4,000,000,000 bytes",
    ),
    "a bomb": (
        in_file(lambda file: file.create_dataset("bomb", data=np.zeros(10**7), compression="gzip")),
        "claims 80,000,000 bytes",
    ),
    "Python objects": (
        in_file(lambda file: file.create_dataset("text", data=["x"], dtype=h5py.string_dtype())),
        "holds no numbers",
    ),
    "a Lambda": (lambda_layer, "'Lambda'"),
    "a layer of its author": (
        settings("Dense", kernel_initializer={"class_name": "Mine", "module": "mine", "config": {}}),
        "'Mine'",
    ),
    "a wide layer": (settings("Dense", units=10**9), "units 1,000,000,000"),
    "three classes": (settings("Dense", units=3), "ends in 3 columns"),
    "no activation": (settings("Dense", activation="linear"), "activation linear, and sigmoid is needed"),
    "two sigmoids": (settings("Dense", units=2), "activation sigmoid, and softmax is needed"),
    "no head": (
        lambda path: edit(
            path,
            lambda configuration: configuration["config"].update(
                layers=configuration["config"]["layers"][:5], output_layers=[["block2_pool", 0, 0]]
            ),
        ),
        "ends in a layer MaxPooling2D",
    ),
    "two outputs": (
        lambda path: edit(
            path,
            lambda configuration: configuration["config"].update(
                output_layers=[["dense", 0, 0], ["dense_1", 0, 0]]
            ),
        ),
        "has 2 outputs",
    ),
    "channels first": (settings("InputLayer", batch_shape=[None, 3, SIDE, SIDE]), "3 channels last"),
    "no square": (settings("InputLayer", batch_shape=[None, 32, 64, 3]), "only square ones"),
    "tiny images": (settings("InputLayer", batch_shape=[None, 8, 8, 3]), "between 32 and 1024"),
    "huge images": (settings("InputLayer", batch_shape=[None, 50_000, 50_000, 3]), "between 32 and 1024"),
    "no images": (settings("InputLayer", batch_shape=[None, 20]), "does not say that it takes images"),
    "no layers": (
        lambda path: edit(path, lambda configuration: configuration["config"].update(layers=[])),
        "without layers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_one_sentence(copy: Path, name: str) -> None:
    damage, expected = REFUSED[name]
    damage(copy)
    with pytest.raises(ImportingError, match=expected) as caught:
        inspect_network(copy)
    assert "\n" not in str(caught.value)


def test_a_circle_in_a_file_ends(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file["model_weights/round"] = file["model_weights"]
    assert check_network_file(copy)["class_name"] == "Functional"


def test_what_keras_cannot_build_is_one_sentence(copy: Path) -> None:
    settings("Conv2D", filters=7)(copy)  # other weights than the file has
    with pytest.raises(ImportingError, match="cannot be built by Keras") as caught:
        load_network(copy)
    assert "\n" not in str(caught.value)


def test_a_network_that_wants_too_much_memory_does_not_get_it(copy: Path) -> None:
    """Each number is within its limit; together they are 17 GB."""
    configuration = check_network_file(copy)
    layers = configuration["config"]["layers"]
    first, last = layers[-3], layers[-1]
    assert first["class_name"] == "BatchNormalization" and last["class_name"] == "Dense"
    wide = next(each for each in layers if each["class_name"] == "Dense")
    wide["config"]["units"] = 65_536
    again = json.loads(json.dumps(wide).replace('"dense', '"again'))
    again["inbound_nodes"] = json.loads(
        json.dumps(wide["inbound_nodes"]).replace("global_average_pooling2d", wide["config"]["name"])
    )
    with h5py.File(copy, "r+") as file:
        configuration["config"]["layers"].insert(layers.index(wide) + 1, again)
        file.attrs["model_config"] = json.dumps(configuration)
    with pytest.raises(ImportingError, match="cannot be built"):
        load_network(copy)


# --- scaling, calibration, measuring ---

NORMAL, PNEUMONIA = 60, 120


def brightness_network(path: Path, *, swapped: bool = False) -> Path:
    """Tells grey 60 from grey 120 where pixels come as 0 to 1, and nothing right where they come otherwise."""
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    maps = layers.Conv2D(2, 1, activation="relu", name="conv")
    head = layers.Dense(1, activation="sigmoid", name="head")
    network = keras.Model(image, head(layers.GlobalAveragePooling2D()(maps(image))))
    maps.set_weights(
        [np.array([[1, 1], [0, 0], [0, 0]], np.float32).reshape(1, 1, 3, 2), np.array([0, -0.6], np.float32)]
    )
    sign = -1 if swapped else 1
    head.set_weights([sign * np.array([[12], [-30]], np.float32), sign * np.array([-4], np.float32)])
    return saved(network, path)


def film(path: Path, brightness: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(brightness, 4, (40, 40)).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    random = np.random.default_rng(5)
    for split, count in (("train", 60), ("test", 20)):
        for number in range(count):
            film(root / split / "NORMAL" / f"IM-{number:04d}-0001.png", NORMAL + random.normal(0, 12), number)
            film(
                root / split / "PNEUMONIA" / f"person{number}_virus_{number}.png",
                PNEUMONIA + random.normal(0, 12),
                number,
            )
    return root


def take(file: Path, site: Path, data: Path | None, **options: Any) -> Any:
    return import_network(file, site, name="theirs", data=data, who="Dr A", roots=[site], **options)


def test_the_scaling_is_found_and_the_version_is_whole(data: Path, tmp_path: Path) -> None:
    file = brightness_network(tmp_path / "theirs.h5")
    said: list[str] = []
    imported = take(
        file, tmp_path / "site", data, scaling=AUTO, progress=lambda words, done, total: said.append(words)
    )
    found = {trial.scaling: trial.auc for trial in imported.trials}
    assert set(found) == set(SCALINGS)
    assert found["0 to 1"] > 0.99 and max(value for key, value in found.items() if key != "0 to 1") < 0.9
    version = imported.version
    card = version.card
    assert card.pixel_scaling.startswith("inside the network: 0 to 1")
    assert card.input_size == (SIDE, SIDE) and card.name == "theirs"
    assert [point.name for point in card.operating_points] == ["default", "balanced", "screening", "rule-in"]
    assert card.metrics["test"]["balanced"]["auc"] > 0.99
    assert len(version.predictions("test").files) == 40
    validation = version.predictions("validation")
    assert all(name.startswith("train/") for name in validation.files)
    assert f"On {len(validation.files)} validation films: 0 to 1: AUC" in " ".join(card.notes)
    assert card.training["imported"]["trials"][0]["scaling"] == "0 to 1"
    assert any("test films" in words for words in said)
    assert [(change.action, change.to, change.who) for change in history(tmp_path / "site")] == [
        ("import", "theirs", "Dr A")
    ]
    smoke_test(version, cache=tmp_path / "cache")
    # what the app reads with gives what was stored
    from model.films import prepare, read_xray

    predictor = Predictor.load(version, cache=tmp_path / "cache", precision="f32")
    stored = version.predictions("test")
    pixels = [
        prepare(read_xray((data / name).read_bytes()).pixels, size=(SIDE, SIDE)) for name in stored.files
    ]
    np.testing.assert_allclose(predictor.predict(np.stack(pixels)), stored.probabilities, atol=1e-4)


def test_a_stated_scaling_is_kept_and_shown(data: Path, tmp_path: Path) -> None:
    imported = take(brightness_network(tmp_path / "a.h5"), tmp_path / "site", data, scaling="caffe")
    assert [trial.scaling for trial in imported.trials] == ["caffe"]
    assert "as stated" in " ".join(imported.notes)
    assert imported.version.card.pixel_scaling.startswith("inside the network: caffe")


def test_a_network_of_the_other_class_is_turned_round(data: Path, tmp_path: Path) -> None:
    imported = take(
        brightness_network(tmp_path / "a.h5", swapped=True), tmp_path / "site", data, scaling="0 to 1"
    )
    assert imported.version.card.metrics["test"]["balanced"]["auc"] > 0.99
    assert "turned round" in " ".join(imported.version.card.notes)


def test_test_films_choose_nothing(data: Path, tmp_path: Path) -> None:
    """With other test films all but their own figures stays as it was."""
    import shutil

    other = Path(shutil.copytree(data, tmp_path / "other"))
    for number, path in enumerate(sorted((other / "test").rglob("*.png"))):
        film(path, 100, number)
    file = brightness_network(tmp_path / "theirs.h5")
    one = take(file, tmp_path / "one", data).version.card
    two = take(file, tmp_path / "two", other).version.card
    assert one.metrics["test"] != two.metrics["test"]
    for field in ("calibration", "operating_points", "pixel_scaling", "training", "samples"):
        assert getattr(one, field) == getattr(two, field)
    assert one.metrics["validation"] == two.metrics["validation"]


def test_without_films_it_is_not_evaluated_and_cannot_go_into_use(
    sound_file: Path, tiny_version: Any, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    imported = take(sound_file, site, None)
    assert len(imported.trials) == len(SCALINGS)
    assert "synthetic films" in " ".join(imported.notes) and "Not evaluated" in " ".join(imported.notes)
    assert not is_evaluated(imported.version)
    with pytest.raises(VersionError, match="not evaluated"):
        activate("theirs", tiny_version.folder.parent, site, who="Dr A", check=lambda version: None)
    assert read_version(site / "theirs").card.samples == imported.version.card.samples


def test_class_folders_alone_calibrate_and_are_no_test(data: Path, tmp_path: Path) -> None:
    card = take(brightness_network(tmp_path / "a.h5"), tmp_path / "site", data / "train").version.card
    assert set(card.metrics) == {"validation"} and "no test split" in " ".join(card.notes)


def test_what_leaves_nothing_behind(sound_file: Path, data: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for options, expected in (
        ({"name": "../evil"}, "A version's name"),
        ({"scaling": "0 to 7"}, "no scaling"),
        ({"data": data / "test" / "NORMAL"}, "neither class folders"),
    ):
        arguments: dict[str, Any] = {"name": "theirs", "data": data, "roots": [site]} | options
        with pytest.raises((ImportingError, ValueError), match=expected):
            import_network(sound_file, site, **arguments)
    assert not site.exists()
    take(sound_file, site, None)
    with pytest.raises(ImportingError, match="a version theirs already"):
        take(sound_file, site, None)


def test_a_dead_network_is_refused(tmp_path: Path) -> None:
    network = flat_sigmoid()
    network.layers[-1].set_weights([np.zeros((4, 1)), np.zeros(1)])
    with pytest.raises(ImportingError, match="gives every film the same answer"):
        take(saved(network, tmp_path / "dead.h5"), tmp_path / "site", None)


def trial(scaling: str, auc: float | None, brier: float = 0.2) -> Trial:
    return Trial(scaling, auc, brier, 0.4, 0.6)


def test_the_choice_among_trials() -> None:
    assert choose([trial("a", 0.8), trial("b", 0.9)])[0].scaling == "b"
    assert choose([trial("a", 1.0), trial("b", 1.0, 0.1)])[0].scaling == "b"
    assert choose([trial("a", 0.9), trial("b", 0.9)])[0].scaling == "a"
    assert choose([trial("a", 0.90001), trial("0 to 255", 0.9, 0.20001)])[0].scaling == "0 to 255"
    assert choose([trial("a", 0.55), trial("b", 0.05)]) == (trial("b", 0.05), True)
    assert choose([trial("a", 0.9), trial("b", 0.05)]) == (trial("a", 0.9), False)
    assert choose([trial("a", 0.45)]) == (trial("a", 0.45), False)
