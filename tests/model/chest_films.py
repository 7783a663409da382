"""Made films with the coarse look of a chest: what `model.domain` and `model.quality` take for an ordinary film."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.appearance import SIDE, USUAL_FILMS


def chest_film(
    seed: int = 1, *, height: int = 256, width: int = 300, texture: float = 0
) -> NDArray[np.uint8]:
    """The mean of many films enlarged, with fine grain; ``texture``: grey levels by which coarse tiles differ."""
    random = np.random.default_rng(seed)
    mean = np.array(json.loads(USUAL_FILMS.read_text(encoding="utf-8"))["mean"]).reshape(SIDE, SIDE)
    levels = np.clip(mean * 62 + 125, 0, 255).astype(np.uint8)
    film = np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    tiles = random.uniform(0, 255, (10, 12)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(tiles).resize((width, height), Image.Resampling.NEAREST), dtype=float)
    film += texture * (coarse / 255 - 0.5) + random.normal(0, 3, (height, width))
    return np.clip(film, 2, 253).astype(np.uint8)
