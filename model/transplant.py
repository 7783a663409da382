"""Films with the lungs of another one, so that what lies around the lungs tells a network nothing.

Markers, collimation, posture and the machine differ between the classes of a data set, and a network that learns from
whole films learns them too. In a transplanted film the lungs come from one film and all else from another, and the
label goes with the lungs: what lies outside them is as often right as the classes are mixed. Pasting one film into
another is CutMix (Yun et al. 2019, arXiv:1905.04899), here along the lungs, and with the label of the lungs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

EDGE = 0.04
"""Of the side: the lungs are taken with so much around them, and fade into the other film over as much again."""
GAIN = 2.0
"""The transplanted part's contrast is changed by this factor at most, to fit its surroundings."""


def lung_masks(pixels: NDArray[np.uint8], told: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
    """1 where the lungs lie, uint8 of the shape of ``pixels`` (n, side, side); 0 in a film where none were found."""
    from model.lungs import find_lungs

    def of(film: NDArray[np.uint8]) -> NDArray[np.bool_]:
        lungs = find_lungs(film)
        return lungs.mask if lungs.found == "film" else np.zeros_like(lungs.mask)

    masks = np.zeros_like(pixels)
    with ThreadPoolExecutor() as pool:
        for index, mask in enumerate(pool.map(of, pixels)):
            masks[index] = mask
            told()
    return masks


def transplant(
    films: tf.Tensor, lungs: tf.Tensor, target: tf.Tensor, *, share: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Give films of a batch the lungs of others of the same batch.

    Args:
        films: (n, side, side, 1), 0 to 255.
        lungs: (n, side, side, 1), 1 where the lungs lie.
        target: (n, ...), what a network is to answer.
        share: of the films that get other lungs, 0 to 1; a film without lungs neither gets nor gives any.

    Returns:
        Films float32 of the same shape, and the targets of their lungs.
    """
    import tensorflow as tf

    count = tf.shape(films)[0]
    donor = tf.random.shuffle(tf.range(count))
    changed, both = exchange(films, lungs, tf.gather(films, donor), tf.gather(lungs, donor))
    chosen = both & (tf.random.uniform((count,)) < share)
    films = tf.where(chosen[:, None, None, None], changed, tf.cast(films, tf.float32))
    keep = tf.reshape(chosen, tf.concat([[count], tf.ones(tf.rank(target) - 1, tf.int32)], 0))
    return films, tf.where(keep, tf.gather(target, donor), target)


def exchange(
    films: tf.Tensor, lungs: tf.Tensor, given: tf.Tensor, given_lungs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Each film with the lungs of the one ``given`` for it.

    Args:
        films, given: (n, side, side, 1), 0 to 255.
        lungs, given_lungs: theirs, of the same shape, 1 where the lungs lie.

    Returns:
        Films float32 of the same shape, 0 to 255; and whether both have lungs, bool (n,): without, the film is of no
        use.
    """
    import tensorflow as tf

    films, lungs, given, given_lungs = (
        tf.cast(each, tf.float32) for each in (films, lungs, given, given_lungs)
    )
    both = _has(lungs) & _has(given_lungs)
    side = int(films.shape[1])
    given, given_lungs = _laid_over(given, given_lungs, lungs)
    # All of both films' lungs: what is left of a lung under another one would tell of the film it came from.
    width = int(EDGE * side) // 2 * 2 + 1
    region = _pooled(tf.nn.max_pool2d, tf.maximum(lungs, given_lungs), width)
    blend = _pooled(tf.nn.max_pool2d, region, width)
    for _ in range(2):
        blend = _pooled(tf.nn.avg_pool2d, blend, width)
    blend = tf.maximum(blend, region)
    changed = blend * _fitted(given, films, 1.0 - blend) + (1.0 - blend) * films
    return tf.clip_by_value(changed, 0.0, 255.0), both


def _pooled(pool: Callable[..., tf.Tensor], maps: tf.Tensor, width: int) -> tf.Tensor:
    """Pooled over squares: along one side and then the other, which is the same and quicker."""
    return pool(pool(maps, (width, 1), 1, "SAME"), (1, width), 1, "SAME")


def _has(lungs: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.reduce_max(lungs, axis=(1, 2, 3)) > 0


def _laid_over(films: tf.Tensor, lungs: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Films and their lungs, moved and stretched so that the box around the lungs is that of the lungs ``wanted``."""
    import tensorflow as tf

    (left, top, width, height), (to_left, to_top, to_width, to_height) = _box(lungs), _box(wanted)
    across, down, none = width / to_width, height / to_height, tf.zeros_like(left)
    # Output pixel -> input pixel.
    transforms = tf.stack(
        [across, none, left - to_left * across, none, down, top - to_top * down, none, none], axis=1
    )
    side = int(films.shape[1])

    def moved(pictures: tf.Tensor, fill: str) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pictures, transforms=transforms, output_shape=[side, side],
            fill_value=0.0, interpolation="BILINEAR", fill_mode=fill,
        )  # fmt: skip

    return moved(films, "NEAREST"), tf.round(moved(lungs, "CONSTANT"))


def _box(lungs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Left, top, width and height of the box around the lungs, in pixels, float32 (n,); the film without any."""
    import tensorflow as tf

    def along(axis: int) -> tuple[tf.Tensor, tf.Tensor]:
        line = tf.reduce_max(lungs[..., 0], axis=axis)
        first, behind = tf.argmax(line, axis=1), tf.argmax(line[:, ::-1], axis=1)
        length = tf.cast(tf.shape(line)[1], tf.float32)
        first = tf.cast(first, tf.float32)
        return first, length - tf.cast(behind, tf.float32) - first

    left, width = along(1)
    top, height = along(2)
    return left, top, width, height


def _fitted(given: tf.Tensor, films: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """``given`` with brightness and contrast such that both are alike where ``weight`` lies, outside the lungs."""
    import tensorflow as tf

    weight /= tf.reduce_sum(weight, axis=(1, 2, 3), keepdims=True) + 1e-6

    def statistics(pictures: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean = tf.reduce_sum(weight * pictures, axis=(1, 2, 3), keepdims=True)
        variance = tf.reduce_sum(weight * (pictures - mean) ** 2, axis=(1, 2, 3), keepdims=True)
        return mean, tf.sqrt(variance + 1.0)

    (mean, spread), (wanted, wanted_spread) = statistics(given), statistics(films)
    return (given - mean) * tf.clip_by_value(wanted_spread / spread, 1 / GAIN, GAIN) + wanted
