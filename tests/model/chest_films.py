"""Made films with the coarse look of a chest: what `model.domain` and `model.quality` take for an ordinary film."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.appearance import FINE, USUAL_FILMS


def chest_film(
    seed: int = 1, *, height: int = 256, width: int = 300, texture: float = 0
) -> NDArray[np.uint8]:
    """The mean of many films enlarged, with fine grain; ``texture``: grey levels by which coarse tiles differ."""
    random = np.random.default_rng(seed)
    usual = json.loads(USUAL_FILMS.read_text(encoding="utf-8"))
    mean = np.array(usual[str(FINE)]["mean"]).reshape(FINE, FINE)
    levels = np.clip(mean * 62 + 125, 0, 255).astype(np.uint8)
    film = np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    tiles = random.uniform(0, 255, (10, 12)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(tiles).resize((width, height), Image.Resampling.NEAREST), dtype=float)
    film += texture * (coarse / 255 - 0.5) + random.normal(0, 3, (height, width))
    return np.clip(film, 2, 253).astype(np.uint8)


def chequered_film(strength: float) -> NDArray[np.uint8]:
    """A film with a pattern, ``strength`` grey levels strong, that is gone where 2 x 2 of 16 x 16 pixels are one."""
    pattern = np.indices((FINE, FINE)).sum(axis=0) % 2 - 0.5
    tile = np.ones((256 // FINE, 256 // FINE))
    film = chest_film(height=256, width=256) + strength * np.kron(pattern, tile)
    return np.clip(film, 0, 255).astype(np.uint8)
