"""How a training film is changed each time it is seen, so that the network learns lungs and not the machine.

Every change here is one that separates two departments' films of one child: how the child lay (zoom, shift, shear,
rotation, aspect ratio), the exposure (gamma, contrast, uneven light), the borders and the collimation, sharpness
and noise of the detector, resampling and JPEG compression on the way into the archive. Random erasing (Zhong et al.
2017, arXiv:1708.04896) keeps any single patch from being enough. X-rays do not come upside down; mirrored they may.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Recipe:
    """Strength of each change; every drawn value is uniform between minus and plus the figure unless said otherwise."""

    zoom: float = 0.2
    """Relative change of scale, drawn for width and height together."""
    aspect: float = 0.12
    """Further relative change of the ratio of width to height."""
    shift: float = 0.12
    """Of the side."""
    shear: float = 0.15
    rotation: float = 10.0
    """Degrees."""
    flip: bool = True
    """Left and right exchanged in half of the films."""
    upside_down: bool = False
    """Top and bottom exchanged in half of the films. X-rays do not come upside down, but a seed did it."""
    gamma: float = 0.5
    """Exponent exp(+-gamma)."""
    contrast: float = 0.5
    brightness: float = 0.25
    """Of the full range; what leaves the range is clipped, as on an over- or underexposed film."""
    light: float = 0.3
    """Uneven light: a smooth random field that multiplies the film."""
    sharpness: float = 1.0
    """1: between fully blurred (Gaussian, sigma 1 pixel) and sharpened by half as much."""
    noise: float = 0.04
    """Largest standard deviation of the detector's noise, of the full range."""
    resample: float = 0.5
    """Smallest scale to which a film is reduced and enlarged again."""
    compression: float = 0.3
    """Share of films recompressed as JPEG, quality 25 to 95."""
    borders: float = 0.3
    """Share of films with black or white bars at the edges, up to 15 % of the side each."""
    erasing: float = 0.5
    """Share of films with one rectangle of 4 to 25 % of the area replaced by a flat grey."""


NOTHING = Recipe(
    zoom=0.0, aspect=0.0, shift=0.0, shear=0.0, rotation=0.0, flip=False, gamma=0.0, contrast=0.0, brightness=0.0,
    light=0.0, sharpness=0.0, noise=0.0, resample=1.0, compression=0.0, borders=0.0, erasing=0.0,
)  # fmt: skip
"""Changes nothing."""

RECIPES: dict[str, Recipe] = {
    "films": Recipe(),
    "gentle": Recipe(
        aspect=0.0, gamma=0.2, contrast=0.2, brightness=0.1, light=0.0, sharpness=0.0, noise=0.0, resample=1.0,
        compression=0.0, borders=0.0, erasing=0.0, flip=False,
    ),
    "departments": Recipe(
        zoom=0.1, aspect=0.08, shift=0.06, shear=0.05, rotation=5.0, flip=False, gamma=0.3, contrast=0.3,
        brightness=0.15, light=0.15, sharpness=0.7, noise=0.02, resample=0.6, compression=0.3, borders=0.3, erasing=0.0,
    ),
    "positions": Recipe(
        gamma=0.3, contrast=0.3, brightness=0.15, light=0.15, sharpness=0.7, noise=0.02, resample=0.6,
    ),
    "collimated": Recipe(zoom=0.35, aspect=0.2, shift=0.18, borders=0.9, erasing=0.7),
    "finetuned": replace(NOTHING, zoom=0.2, shift=0.15, shear=0.15),
    "custom_cnn": replace(NOTHING, zoom=0.2, upside_down=True),
    "alexnet": replace(NOTHING, rotation=10.0, zoom=0.15, shift=0.2, shear=0.15, flip=True),
    "augmented": replace(NOTHING, rotation=30.0, zoom=0.2, shift=0.1, flip=True),
}  # fmt: skip
"""Named recipes: ``films`` is what a network learns on from the start; ``gentle`` changes position and exposure a
little; ``departments`` changes a validation film into what another department might have made of it, and nothing that
none would. ``positions`` places, mirrors and erases as ``films`` does and exposes and blurs as ``departments``, for
going on with a network that has learnt on ``films``. ``collimated`` is ``films`` with nearly every film framed anew, by
bars, crop and place, against what ``python -m model audit`` finds; no network was trained with it yet. The others are
those of the seeds: ``finetuned`` (VGG16), ``custom_cnn``, ``alexnet``, ``augmented``."""


def augment(images: tf.Tensor, *, side: int, recipe: Recipe) -> tf.Tensor:
    """Change a batch of films at random and bring it to ``(n, side, side, 1)``.

    ``images``: uint8 or float32 ``(n, source, source, 1)``, 0 to 255, with ``source`` twice ``side``, or equal to it
    where there are no more pixels to be had. Returns float32, 0 to 255. Sampling a double-size film bilinearly at half
    its pitch takes the mean of 2 x 2 pixels where nothing moves, which is what the first layer of a network does that
    reduces its films.

    Raises:
        ValueError: films of another side.
    """
    import tensorflow as tf

    pitch, rest = divmod(int(images.shape[1]), side)
    if rest or pitch not in (1, 2):
        raise ValueError(
            f"Films of side {images.shape[1]} cannot be augmented to {side}: give {side} or {2 * side}."
        )
    films = _move(tf.cast(images, tf.float32), side, pitch, recipe) / 255.0
    films = _expose(films, side, recipe)
    films = _detector(films, side, recipe)
    films = _cover(films, side, recipe)
    films = tf.clip_by_value(films, 0.0, 1.0) * 255.0
    return _compress(films, recipe) if recipe.compression > 0 else films


def _uniform(count: Any, low: float, high: float) -> tf.Tensor:
    import tensorflow as tf

    return tf.random.uniform((count, 1, 1, 1), low, high)


def _move(images: tf.Tensor, side: int, pitch: int, recipe: Recipe) -> tf.Tensor:
    """One affine sampling for all geometric changes: blurring once, not five times."""
    import math

    import tensorflow as tf

    count = tf.shape(images)[0]

    def draw(spread: float) -> tf.Tensor:
        return tf.random.uniform((count,), -spread, spread)

    zoom, aspect = tf.exp(draw(recipe.zoom)), tf.exp(draw(recipe.aspect) / 2)
    scale_x, scale_y = zoom * aspect, zoom / aspect
    if recipe.flip:
        scale_x *= tf.sign(tf.random.uniform((count,)) - 0.5)
    if recipe.upside_down:
        scale_y *= tf.sign(tf.random.uniform((count,)) - 0.5)
    angle, shear = draw(recipe.rotation * math.pi / 180), draw(recipe.shear)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # Output pixel centre (x, y), counted from the film's centre -> input pixel, at `pitch` input pixels a pixel.
    a, b = pitch * scale_x * cosine, pitch * scale_x * (shear * cosine - sine)
    c, d = pitch * scale_y * sine, pitch * scale_y * (shear * sine + cosine)
    centre_out, centre_in = (side - 1) / 2, (pitch * side - 1) / 2
    shift_x, shift_y = draw(recipe.shift) * pitch * side, draw(recipe.shift) * pitch * side
    offset_x = centre_in - a * centre_out - b * centre_out + shift_x
    offset_y = centre_in - c * centre_out - d * centre_out + shift_y
    zeros = tf.zeros((count,))
    transforms = tf.stack([a, b, offset_x, c, d, offset_y, zeros, zeros], axis=1)

    def sample(fill: str) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images, transforms=transforms, output_shape=[side, side],
            fill_value=0.0, interpolation="BILINEAR", fill_mode=fill,
        )  # fmt: skip

    # What lies outside the film: black as behind a collimator, or the edge drawn out as on a close crop.
    return tf.cond(tf.random.uniform(()) < 0.5, lambda: sample("CONSTANT"), lambda: sample("NEAREST"))


def _expose(films: tf.Tensor, side: int, recipe: Recipe) -> tf.Tensor:
    import tensorflow as tf

    count = tf.shape(films)[0]
    films = tf.pow(tf.maximum(films, 1e-4), tf.exp(_uniform(count, -recipe.gamma, recipe.gamma)))
    contrast = tf.exp(_uniform(count, -recipe.contrast, recipe.contrast))
    films = (films - 0.5) * contrast + 0.5 + _uniform(count, -recipe.brightness, recipe.brightness)
    if recipe.light > 0:
        field = tf.random.uniform((count, 3, 3, 1), -recipe.light, recipe.light)
        films *= 1.0 + tf.image.resize(field, (side, side), method="bicubic")
    return tf.clip_by_value(films, 0.0, 1.0)


def _detector(films: tf.Tensor, side: int, recipe: Recipe) -> tf.Tensor:
    import numpy as np
    import tensorflow as tf

    count = tf.shape(films)[0]
    if recipe.sharpness > 0:
        weights = np.exp(-0.5 * np.arange(-2, 3) ** 2)
        kernel = np.outer(weights, weights) / weights.sum() ** 2
        padded = tf.pad(films, [[0, 0], [2, 2], [2, 2], [0, 0]], mode="SYMMETRIC")
        blurred = tf.nn.conv2d(padded, tf.constant(kernel[:, :, None, None], tf.float32), 1, "VALID")
        films += (blurred - films) * _uniform(count, -0.5, 1.0) * recipe.sharpness
    if recipe.resample < 1:
        reduced = tf.cast(tf.random.uniform((), recipe.resample, 1.0) * side, tf.int32)
        again = tf.image.resize(tf.image.resize(films, (reduced, reduced), antialias=True), (side, side))
        films = tf.where(_uniform(count, 0, 1) < 0.4, again, films)
    if recipe.noise > 0:
        films += tf.random.normal(tf.shape(films)) * _uniform(count, 0.0, recipe.noise)
    return films


def _cover(films: tf.Tensor, side: int, recipe: Recipe) -> tf.Tensor:
    import tensorflow as tf

    count = tf.shape(films)[0]
    place = (tf.range(side, dtype=tf.float32) + 0.5) / side
    x, y = place[None, None, :, None], place[None, :, None, None]
    if recipe.borders > 0:
        # A bar's width is drawn around zero, so that on average half of the four edges stay free.
        left, right, top, bottom = (_uniform(count, -0.15, 0.15) for _ in range(4))
        outside = (x < left) | (x > 1 - right) | (y < top) | (y > 1 - bottom)
        grey = tf.cast(_uniform(count, 0, 1) < 0.25, tf.float32)
        films = tf.where(outside & (_uniform(count, 0, 1) < recipe.borders), grey, films)
    if recipe.erasing > 0:
        width, height = _uniform(count, 0.2, 0.5), _uniform(count, 0.2, 0.5)
        centre_x, centre_y = _uniform(count, 0.1, 0.9), _uniform(count, 0.1, 0.9)
        inside = (tf.abs(x - centre_x) < width / 2) & (tf.abs(y - centre_y) < height / 2)
        films = tf.where(inside & (_uniform(count, 0, 1) < recipe.erasing), _uniform(count, 0, 1), films)
    return films


def _compress(films: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    import tensorflow as tf

    # Drawn for all films together: `map_fn` runs several at a time, and which of them draws first is chance.
    count = tf.shape(films)[0]
    chosen = tf.random.uniform((count,)) < recipe.compression
    quality = tf.random.uniform((count,), 25, 96, tf.int32)

    def one(drawn: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        film, chosen, quality = drawn

        def recompressed() -> tf.Tensor:
            return tf.cast(tf.image.adjust_jpeg_quality(tf.cast(film, tf.uint8), quality), tf.float32)

        return tf.cond(chosen, recompressed, lambda: film)

    return tf.map_fn(one, (films, chosen, quality), fn_output_signature=tf.float32)
