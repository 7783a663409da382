from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from model.augmentation import NOTHING, RECIPES, augment

OFF = NOTHING


def films(count: int = 4, side: int = 64) -> np.ndarray:
    """Smooth fields with a bright square off the centre, uint8 ``(n, side, side, 1)``."""
    ramp = np.linspace(40, 200, side)
    field = (ramp[:, None] + ramp[None, :]) / 2
    field[8:16, 8:16] = 255
    return np.repeat(field.astype(np.uint8)[None, :, :, None], count, axis=0)


def test_recipe_with_nothing_on_is_the_mean_of_two_by_two_pixels() -> None:
    expected = films().reshape(4, 32, 2, 32, 2, 1).mean((2, 4))
    np.testing.assert_allclose(augment(films(), side=32, recipe=OFF).numpy(), expected, atol=0.05)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_finite_pixels_in_range_and_differs_from_film_to_film(name: str) -> None:
    import tensorflow as tf

    tf.random.set_seed(1)
    changed = augment(films(8), side=32, recipe=RECIPES[name]).numpy()
    assert changed.shape == (8, 32, 32, 1)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert all(np.abs(changed[0] - other).max() > 1 for other in changed[1:])


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("zoom", 0.2), ("aspect", 0.2), ("shift", 0.1), ("shear", 0.2), ("rotation", 10.0), ("flip", True),
        ("upside_down", True),
        ("gamma", 0.5), ("contrast", 0.5), ("brightness", 0.2), ("light", 0.3), ("sharpness", 1.0), ("noise", 0.1),
        ("resample", 0.4), ("compression", 1.0), ("borders", 1.0), ("erasing", 1.0),
    ],
)  # fmt: skip
def test_each_change_alone_does_something(name: str, strength: float) -> None:
    import tensorflow as tf

    tf.random.set_seed(2)
    plain = augment(films(16), side=32, recipe=OFF).numpy()
    only: dict[str, Any] = {name: strength}
    changed = augment(films(16), side=32, recipe=replace(OFF, **only)).numpy()
    assert np.abs(changed - plain).max() > 1


def test_the_same_seed_gives_the_same_films() -> None:
    """In a graph, where films are compressed several at a time: many batches, because a race shows now and then."""
    import keras
    import tensorflow as tf

    many = tf.constant(np.random.default_rng(0).integers(0, 256, (32, 32, 32, 1), np.uint8))

    def batches() -> np.ndarray:
        keras.utils.set_random_seed(1)
        changed = tf.data.Dataset.range(40).map(lambda _: augment(many, side=16, recipe=RECIPES["films"]))
        return np.stack([batch.numpy() for batch in changed])

    first = batches()
    for _ in range(3):
        np.testing.assert_array_equal(batches(), first)


@pytest.mark.parametrize("change", ["flip", "upside_down"])
def test_flips_mirror_and_do_nothing_else(change: str) -> None:
    import tensorflow as tf

    tf.random.set_seed(3)
    plain = augment(films(1), side=32, recipe=OFF).numpy()[0]
    mirrored = plain[:, ::-1] if change == "flip" else plain[::-1]
    only: dict[str, Any] = {change: True}
    near = [
        [np.abs(changed - other).max() < 0.1 for other in (plain, mirrored)]
        for changed in augment(films(16), side=32, recipe=replace(OFF, **only)).numpy()
    ]
    assert all(sum(both) == 1 for both in near)
    assert {both[0] for both in near} == {True, False}  # some are mirrored, some not


def test_films_without_more_pixels_are_changed_pixel_by_pixel() -> None:
    np.testing.assert_allclose(augment(films(), side=64, recipe=OFF).numpy(), films(), atol=0.05)


def test_films_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="give 40 or 80"):
        augment(films(), side=40, recipe=OFF)


def test_geometry_does_not_hang_on_the_pixels_that_are_to_be_had() -> None:
    """The same draws from films of 64 and of 32 pixels show the same, up to the sharpness of the film."""
    import tensorflow as tf

    recipe = replace(OFF, zoom=0.2, shift=0.1, shear=0.1, rotation=10.0)
    double = films(8)
    single = np.rint(double.reshape(8, 32, 2, 32, 2, 1).mean((2, 4))).astype(np.uint8)
    drawn = []
    for source in (double, single):
        tf.random.set_seed(5)
        drawn.append(augment(source, side=32, recipe=recipe).numpy())
    inside = np.abs(drawn[0] - drawn[1])[:, 4:-4, 4:-4]
    assert np.median(inside) < 1
    assert np.abs(drawn[0] - augment(double, side=32, recipe=OFF).numpy()).mean() > 5


def test_collimated_frames_more_films_anew_than_films_does() -> None:
    import tensorflow as tf

    even = np.full((200, 32, 32, 1), 100, np.uint8)

    def framed(name: str) -> float:
        tf.random.set_seed(4)
        recipe = replace(OFF, borders=RECIPES[name].borders)
        changed = augment(even, side=32, recipe=recipe).numpy()
        edges = np.concatenate([changed[:, 0], changed[:, -1], changed[:, :, 0], changed[:, :, -1]], axis=1)
        return float((np.abs(edges - 100).max(axis=(1, 2)) > 50).mean())

    assert framed("collimated") > 0.75
    assert framed("films") < 0.45


def test_positions_places_as_films_does_and_exposes_as_departments_does() -> None:
    of_films = ("zoom", "aspect", "shift", "shear", "rotation", "flip", "borders", "erasing")
    positions = asdict(RECIPES["positions"])
    for name, value in positions.items():
        assert value == getattr(RECIPES["films" if name in of_films else "departments"], name), name
    assert positions["erasing"] > 0 and positions["gamma"] < RECIPES["films"].gamma


def test_recipes_of_the_seeds_are_what_the_seeds_say() -> None:
    finetuned = RECIPES["finetuned"]
    assert (finetuned.zoom, finetuned.shift, finetuned.shear, finetuned.flip) == (0.2, 0.15, 0.15, False)
    alexnet = RECIPES["alexnet"]
    assert (alexnet.rotation, alexnet.zoom, alexnet.shift, alexnet.shear) == (10, 0.15, 0.2, 0.15)
    assert alexnet.flip and not alexnet.upside_down
    augmented = RECIPES["augmented"]
    assert (augmented.rotation, augmented.zoom, augmented.shift, augmented.flip) == (30, 0.2, 0.1, True)
    assert (RECIPES["custom_cnn"].zoom, RECIPES["custom_cnn"].upside_down) == (0.2, True)
    for name in ("finetuned", "alexnet", "augmented", "custom_cnn"):  # position alone, no exposure
        assert (
            replace(RECIPES[name], zoom=0, shift=0, shear=0, rotation=0, flip=False, upside_down=False) == OFF
        )
