"""Pictures that look like chest films to everything in the house, made from the synthetic samples: no patient's."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.samples import sample_files


def film_pixels(seed: int, *, size: tuple[int, int] = (120, 100)) -> NDArray[np.uint8]:
    """A film uint8 (height, width); `size` is (width, height). Each seed is another film, and has a little noise."""
    files = sample_files()
    with Image.open(files[seed % len(files)]) as sample:
        film = np.asarray(sample.convert("L").resize(size, Image.Resampling.BILINEAR), np.float64)
    noise = np.random.default_rng(seed).normal(0, 2, film.shape)
    return (film + noise).clip(0, 255).astype(np.uint8)


def film_12_bits(seed: int, *, size: tuple[int, int] = (300, 240)) -> NDArray[np.uint16]:
    """The same with 12 bits, for DICOM."""
    return film_pixels(seed, size=size).astype(np.uint16) * 16


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as a PNG file."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="PNG")
    return target.getvalue()


def film(seed: int, *, size: tuple[int, int] = (120, 100)) -> bytes:
    """A film as a PNG file; `size` is (width, height)."""
    return png(film_pixels(seed, size=size))


def no_film(seed: int, *, side: int = 120) -> bytes:
    """A PNG file of noise: a picture that can be read, and that is no film."""
    return png(np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8))
