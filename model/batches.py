"""Films in memory, and the batches that a network trains on.

The order of an epoch hangs on the seed and the epoch alone, so that a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.augmentation import RECIPES, augment
from model.dataset import Film, labels
from model.films import ImageError, prepare, read_xray
from model.progress import TrainingError
from model.recipes import UNCHANGED, TrainingConfig
from model.transplant import transplant

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Films:
    """Films in memory: grey uint8 ``(n, side, side)`` from the one `prepare`, labels int64 ``(n,)``."""

    films: tuple[Film, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> Films:
        films = tuple(film for film, wanted in zip(self.films, chosen, strict=True) if wanted)
        return Films(films, self.pixels[chosen], self.labels[chosen])


def load_films(films: Sequence[Film], *, side: int, told: Callable[[], None] = lambda: None) -> Films:
    """Read films as the app reads an upload; ``told`` is called after each.

    Raises:
        TrainingError: names the first file that cannot be read; `python -m model data` names them all.
    """

    def read(film: Film) -> NDArray[np.uint8]:
        try:
            return prepare(read_xray(film.path.read_bytes()).pixels, size=(side, side))[:, :, 0]
        except FileNotFoundError:
            raise TrainingError(
                f"{film.path} is gone: the data folder changed while it was read; put it back and start again."
            ) from None
        except (ImageError, OSError) as error:
            raise TrainingError(f"{film.path.name} cannot be used for training: {error}") from None

    pixels = np.empty((len(films), side, side), np.uint8)
    with ThreadPoolExecutor() as pool:
        try:
            for index, film in enumerate(pool.map(read, films)):
                pixels[index] = film
                told()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Films(tuple(films), pixels, labels(films))


def steps_an_epoch(count: int, config: TrainingConfig) -> int:
    """Batches an epoch: whole ones, unless the films do not fill one."""
    return max(count // config.batch_size, 1)


def order(count: int, config: TrainingConfig, epoch: int) -> NDArray[np.int64]:
    """The films of an epoch in the order in which they are seen, int64 ``(steps * batch,)`` or less."""
    shuffled = np.random.default_rng((config.seed, epoch)).permutation(count)
    return shuffled[: steps_an_epoch(count, config) * config.batch_size]


def targets(films: Films, *, one_hot: bool) -> NDArray[np.float32]:
    """Labels as a network's output has them: float32 ``(n, 1)``, or ``(n, 2)`` NORMAL and PNEUMONIA."""
    values = np.stack([1 - films.labels, films.labels], axis=1) if one_hot else films.labels[:, None]
    return values.astype(np.float32)


def three_channels(films: tf.Tensor) -> tf.Tensor:
    """Grey ``(n, h, w, 1)`` of any type as float32 ``(n, h, w, 3)``."""
    import tensorflow as tf

    return tf.repeat(tf.cast(films, tf.float32), 3, axis=-1)


def doubled(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Films, or masks, at twice the side, ``(n, 2 * side, 2 * side)``: what a network whose input is reduced is
    augmented from."""
    import tensorflow as tf

    if 2 * side == pixels.shape[1]:
        return pixels
    parts = [
        tf.image.resize(pixels[start : start + 256, ..., None], (2 * side, 2 * side), method="area").numpy()
        for start in range(0, len(pixels), 256)
    ]
    return np.rint(np.concatenate(parts)[..., 0]).astype(np.uint8)


def changed_batches(
    pixels: NDArray[np.uint8],
    target: NDArray[np.float32],
    side: int,
    config: TrainingConfig,
    *,
    lungs: NDArray[np.uint8] | None = None,
) -> Callable[[int], tf.data.Dataset]:
    """The training batches of each epoch: float32 ``(batch, side, side, 3)`` 0 to 255, and targets.

    ``pixels``: uint8 ``(n, source, source)``, ``source`` as `model.augmentation.augment` takes it; ``lungs``, of the
    same shape: where `model.transplant` finds them, for a run that exchanges lungs.
    """
    import tensorflow as tf

    source, wanted = tf.constant(pixels[..., None]), tf.constant(target)
    masks = None if lungs is None else tf.constant(lungs[..., None])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])  # built once, not for each epoch
    def change(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        films, told = tf.gather(source, index), tf.gather(wanted, index)
        if masks is not None:
            films, told = transplant(films, tf.gather(masks, index), told, share=config.transplanted)
        if config.augmentation == UNCHANGED:
            films = films if pixels.shape[1] == side else reduced(films)
        else:
            films = augment(films, side=side, recipe=RECIPES[config.augmentation])
        return three_channels(films), told

    def batches(epoch: int) -> tf.data.Dataset:
        indices = tf.data.Dataset.from_tensor_slices(order(len(pixels), config, epoch))
        return (
            indices.batch(config.batch_size)
            .map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(2)
        )

    return batches


def reduced(films: tf.Tensor) -> tf.Tensor:
    """2 x 2 means of ``(n, h, w, 1)``, float32, as a released network's first layer takes them."""
    import tensorflow as tf

    return tf.nn.avg_pool2d(tf.cast(films, tf.float32), 2, 2, "VALID")


def plain_batches(
    pixels: NDArray[np.uint8], target: NDArray[np.float32], side: int, config: TrainingConfig
) -> tf.data.Dataset:
    """Unchanged films at ``side``, in their order."""
    import tensorflow as tf

    def bring(films: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return three_channels(films if pixels.shape[1] == side else reduced(films)), wanted

    batches = tf.data.Dataset.from_tensor_slices((pixels[..., None], target)).batch(2 * config.batch_size)
    return batches.map(bring, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def feature_batches(
    views: Sequence[NDArray[np.float16]], target: NDArray[np.float32], config: TrainingConfig
) -> Callable[[int], tf.data.Dataset]:
    """The training batches of each epoch from cached features: each film in one of its views, drawn anew each epoch."""

    def batches(epoch: int) -> tf.data.Dataset:
        chosen = order(len(target), config, epoch)
        view = np.random.default_rng((config.seed, epoch, 1)).integers(len(views), size=len(chosen))

        def generate() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
            for start in range(0, len(chosen), config.batch_size):
                stop = start + config.batch_size
                rows = zip(view[start:stop], chosen[start:stop], strict=True)
                values = np.stack([views[number][index] for number, index in rows])
                yield values.astype(np.float32), target[chosen[start:stop]]

        return _generated(
            generate, -(-len(chosen) // config.batch_size), views[0].shape[1:], target.shape[1:]
        )

    return batches


def plain_feature_batches(
    values: NDArray[np.float16], target: NDArray[np.float32], config: TrainingConfig
) -> tf.data.Dataset:
    """Cached features of unchanged films, in their order."""

    def generate() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for start in range(0, len(target), 2 * config.batch_size):
            stop = start + 2 * config.batch_size
            yield values[start:stop].astype(np.float32), target[start:stop]

    count = -(-len(target) // (2 * config.batch_size))
    return _generated(generate, count, values.shape[1:], target.shape[1:])


def _generated(
    generate: Callable[[], Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]],
    count: int,
    shape: tuple[int, ...],
    target: tuple[int, ...],
) -> tf.data.Dataset:
    import tensorflow as tf

    signature = (tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None, *target), tf.float32))
    made = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return made.apply(tf.data.experimental.assert_cardinality(count)).prefetch(4)
