"""What the frozen part of a network gives for each film, computed once and kept on disk.

A frozen base gives the same for the same picture in every epoch, so it runs once for each film, or once for each of a
stated number of changed views of it, and what trains on top of it trains on the results. They are kept as
memory-mapped ``.npy`` files, float16, one for each view, named by a hash of all they hang on: the pixels, the frozen
layers with their weights and number type, the augmentation, its seed and the view. (float16 holds 11 bits, bf16
arithmetic gives 8. What lies beyond 65504, which no sound network gives, is clipped.)

The cache keeps itself within `LIMIT` bytes: after each new file those used longest ago go, but never one of the run
at hand.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.augmentation import RECIPES, augment
from model.batches import three_channels
from model.progress import Watch

if TYPE_CHECKING:
    import keras

LIMIT = 8 * 2**30
"""Bytes that the cache may take."""
ABANDONED = 24 * 3600
"""Seconds after which a file that nobody writes to any more is taken for unfinished."""
BATCH = 32
LARGEST = float(np.finfo(np.float16).max)

Features = NDArray[np.float16]


@dataclass(frozen=True)
class Job:
    """One file of features: ``source`` (n, ...) through the frozen part, changed by ``recipe`` where there is one.

    ``source`` holds pixels uint8 ``(n, side, side)`` or, for the middle of a network, features of the part below it.
    ``view`` numbers the changed views of the same films.
    """

    source: NDArray[Any]
    recipe: str | None = None
    seed: int = 0
    view: int = 0


def features(
    frozen: keras.Model, jobs: Sequence[Job], *, cache: Path, watch: Watch, limit: int = LIMIT
) -> list[Features]:
    """Features of each job, float16 ``(n, *frozen.output_shape[1:])``, from the cache or computed into it.

    Raises OSError where they cannot be written; an unfinished file is never taken for a whole one.
    """
    network = network_hash(frozen)
    sources: dict[int, str] = {}
    files = []
    for job in jobs:
        source = sources.setdefault(id(job.source), _array_hash(job.source))
        files.append(cache / f"{_name(network, source, job)}.npy")
    missing = [(file, job) for file, job in zip(files, jobs, strict=True) if not file.is_file()]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        told = watch.counter("features", sum(-(-len(job.source) // BATCH) for _, job in missing))
        forward = _forward(frozen)
        for file, job in missing:
            _write(file, frozen, forward, job, told)
    found = []
    for file in files:
        os.utime(file)
        found.append(np.load(file, mmap_mode="r"))
    _clean(cache, limit, keep=set(files))
    return found


def _forward(frozen: keras.Model) -> Callable[[Any], Any]:
    """The frozen part as one TensorFlow graph, for batches of any length."""
    import tensorflow as tf

    def forward(values: tf.Tensor) -> tf.Tensor:
        found = tf.cast(frozen(values, training=False), tf.float32)
        return tf.cast(tf.clip_by_value(found, -LARGEST, LARGEST), tf.float16)

    return tf.function(forward, input_signature=[tf.TensorSpec(frozen.input_shape, tf.float32)])


def _write(
    file: Path, frozen: keras.Model, forward: Callable[[Any], Any], job: Job, told: Callable[[], None]
) -> None:
    """Batch by batch into a file beside its place, by plain writes: a full disk is then an error, not a crash."""
    shape = (len(job.source), *frozen.output_shape[1:])
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("wb") as stream:
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for values in _compute(forward, frozen.input_shape[1], job):
                stream.write(np.ascontiguousarray(values).tobytes())
                told()
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _compute(forward: Callable[[Any], Any], side: int, job: Job) -> Iterator[Features]:
    """The features of a job batch by batch, ``(batch, ...)``."""
    import keras
    import tensorflow as tf

    if job.source.dtype != np.uint8:
        for start in range(0, len(job.source), BATCH):
            yield forward(tf.cast(job.source[start : start + BATCH], tf.float32)).numpy()
        return
    keras.utils.set_random_seed(job.seed * 1000 + job.view)
    pixels = tf.constant(job.source[..., None])

    def change(start: tf.Tensor) -> tf.Tensor:
        films = pixels[start : start + BATCH]
        if job.recipe is not None:
            films = augment(films, side=side, recipe=RECIPES[job.recipe])
        return three_channels(films)

    # One batch after the other, so that the random changes come in the same order each time; the frozen part, which
    # takes far longer, runs meanwhile.
    for images in tf.data.Dataset.range(0, len(job.source), BATCH).map(change).prefetch(2):
        yield forward(images).numpy()


def network_hash(network: keras.Model) -> str:
    """SHA-256 of a network's layers, number types and weights, whatever its layers are called.

    Keras numbers cut networks and their inputs over the whole process, so that the same one has other names each time.
    """
    layers = json.dumps(network.get_config()["layers"], sort_keys=True, default=str)
    for index, layer in enumerate(network.layers):
        layers = layers.replace(f'"{layer.name}"', f'"#{index}"')
    digest = hashlib.sha256(layers.encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _array_hash(values: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{values.shape} {values.dtype}".encode())
    for start in range(0, len(values), 256):
        digest.update(np.ascontiguousarray(values[start : start + 256]).tobytes())
    return digest.hexdigest()


def _name(network: str, source: str, job: Job) -> str:
    # The recipe's values, not its name: whoever edits a recipe gets new features.
    recipe = [repr(RECIPES[job.recipe]), job.seed, job.view] if job.recipe is not None else []
    return hashlib.sha256(json.dumps([network, source, *recipe]).encode()).hexdigest()[:32]


def _clean(cache: Path, limit: int, *, keep: set[Path]) -> None:
    """Remove the files used longest ago until the others fit into ``limit`` bytes, and what a kill left unfinished."""
    found = []
    for file in cache.glob(".*.npy.*"):
        with suppress(OSError):
            if time() - file.stat().st_mtime > ABANDONED:
                file.unlink()
    for file in cache.glob("*.npy"):
        with suppress(OSError):
            found.append((file.stat().st_mtime, file.stat().st_size, file))
    total = sum(size for _, size, _ in found)
    for _, size, file in sorted(found):
        if total <= limit:
            return
        if file not in keep:
            file.unlink(missing_ok=True)
            total -= size
