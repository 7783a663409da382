from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.augmentation import RECIPES
from model.features import Job, features
from model.progress import Progress, Watch
from model.recipes import default_config
from tests.model.test_augmentation import OFF

SIDE = 16
COUNT = 70  # two whole batches and a part


@pytest.fixture(scope="module")
def base() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    images = keras.Input((SIDE, SIDE, 3))
    values = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(values))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)


def counted() -> tuple[Watch, list[Progress]]:
    told: list[Progress] = []
    return Watch(told.append), told


def test_features_are_what_the_base_gives(base: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    watch, told = counted()
    (found,) = features(base, [Job(pixels)], cache=tmp_path, watch=watch)
    images = np.repeat(pixels[..., None].astype(np.float32), 3, axis=-1)
    np.testing.assert_allclose(found, base(images).numpy(), rtol=1e-3, atol=1e-4)
    assert found.dtype == np.float16
    assert [(now.phase, now.step, now.steps) for now in told] == [("features", n, 3) for n in (1, 2, 3)]


def test_they_are_computed_once(base: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    jobs = [Job(pixels, "gentle", seed=2, view=0), Job(pixels, "gentle", seed=2, view=1), Job(pixels)]
    first = [np.array(values) for values in features(base, jobs, cache=tmp_path, watch=Watch())]
    watch, told = counted()
    again = features(base, jobs, cache=tmp_path, watch=watch)
    assert told == []
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.allclose(first[0], first[1], atol=1e-3), "views differ from each other"


def test_a_view_is_the_same_whenever_it_is_made(base: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    job = Job(pixels, "films", seed=3, view=1)
    (one,) = features(base, [job], cache=tmp_path / "one", watch=Watch())
    (two,) = features(base, [Job(pixels), job], cache=tmp_path / "two", watch=Watch())[1:]
    np.testing.assert_array_equal(one, two)


def test_all_that_they_hang_on_makes_new_ones(
    base: Any, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> int:
        return len(list(tmp_path.glob("*.npy")))

    def make(network: Any, job: Job) -> int:
        features(network, [job], cache=tmp_path, watch=Watch())
        return files()

    import keras

    assert make(base, Job(pixels, "gentle")) == 1
    other = pixels.copy()
    other[-1, 0, 0] ^= 1
    assert make(base, Job(other, "gentle")) == 2, "a pixel"
    assert make(base, Job(pixels, "gentle", seed=1)) == 3, "the seed"
    assert make(base, Job(pixels, "gentle", view=1)) == 4, "the view"
    assert make(base, Job(pixels, "films")) == 5, "the recipe"
    monkeypatch.setitem(RECIPES, "gentle", OFF)
    assert make(base, Job(pixels, "gentle")) == 6, "what the recipe does"
    changed = keras.models.clone_model(base)
    changed.set_weights([weight + 0.01 for weight in base.get_weights()])
    assert make(changed, Job(pixels)) == 7, "the weights"


def test_the_middle_of_a_network_runs_on_features(base: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    import keras

    whole = base.layers
    lower = keras.Model(base.input, whole[-2].output)
    upper = keras.Model(whole[-2].output, base.output)
    (below,) = features(lower, [Job(pixels)], cache=tmp_path, watch=Watch())
    assert below.shape == (COUNT, SIDE - 2, SIDE - 2, 4)
    (above,) = features(upper, [Job(below)], cache=tmp_path, watch=Watch())
    (direct,) = features(base, [Job(pixels)], cache=tmp_path, watch=Watch())
    np.testing.assert_allclose(above, direct, atol=2e-3)


def test_the_cache_keeps_within_its_limit_and_never_drops_the_run_at_hand(
    base: Any, pixels: np.ndarray, tmp_path: Path
) -> None:
    jobs = [Job(pixels, "gentle", view=view) for view in range(4)]
    for job in jobs[:3]:
        features(base, [job], cache=tmp_path, watch=Watch())
    size = next(tmp_path.glob("*.npy")).stat().st_size
    for file in tmp_path.glob("*.npy"):
        os.utime(file, (1, 1))
    used = features(base, [jobs[0]], cache=tmp_path, watch=Watch())  # used again: the youngest now
    features(base, [jobs[3]], cache=tmp_path, watch=Watch(), limit=2 * size)
    watch, told = counted()
    features(base, [jobs[0], jobs[3]], cache=tmp_path, watch=watch)
    assert told == []
    assert len(list(tmp_path.glob("*.npy"))) == 2
    features(base, jobs, cache=tmp_path, watch=Watch(), limit=1)
    assert len(list(tmp_path.glob("*.npy"))) == 4
    assert np.isfinite(used[0]).all()


def test_what_was_cut_short_is_not_taken_for_whole(base: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    def cut(now: Progress) -> None:
        if now.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features(base, [Job(pixels)], cache=tmp_path, watch=Watch(cut))
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / ".killed.npy.1"
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    watch, told = counted()
    features(base, [Job(pixels)], cache=tmp_path, watch=watch)
    assert len(told) == 3
    assert not old.exists(), "what a kill left is cleared away"


def test_a_disk_that_is_full_is_an_error_and_leaves_nothing(
    base: Any, pixels: np.ndarray, tmp_path: Path
) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
        with pytest.raises(OSError, match="too large"):
            features(base, [Job(pixels)], cache=tmp_path, watch=Watch())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_views_are_kept_only_where_films_change() -> None:
    assert default_config("vgg16_finetuned", views=3).kept_views == 3
    assert default_config("vgg16_base", views=3).kept_views == 1
