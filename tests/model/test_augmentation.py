from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from model.augmentation import RECIPES, Recipe, augment

OFF = Recipe(
    **{field.name: {"flip": False, "resample": 1.0}.get(field.name, 0.0) for field in fields(Recipe)}  # type: ignore[arg-type]
)


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


def test_flip_mirrors_left_and_right() -> None:
    import tensorflow as tf

    tf.random.set_seed(3)
    plain = augment(films(1), side=32, recipe=OFF).numpy()[0]
    for changed in augment(films(16), side=32, recipe=replace(OFF, flip=True)).numpy():
        near = [np.abs(changed - other).max() < 0.1 for other in (plain, plain[:, ::-1])]
        assert sum(near) == 1
