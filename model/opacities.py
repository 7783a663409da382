"""Synthetic opacities for a test with a known answer: soft-edged, textured, hiding vessels, as consolidations do.

They are drawn, not taken from anybody's film, and no professional has called them pneumonia. Contrast is the share of
the way from the lung's brightness there to that of the soft tissue between the lungs, which a dense consolidation
reaches: 1.0. Brightness is added, and the fine detail beneath fades, because filled lung shows no vessels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lungs = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Two masks bool (h, w): the lung on the left of the image, and the one on its right."""
CONTRASTS = (0.25, 0.5, 1.0)
FOCAL, LOBAR = (0.06, 0.13), (0.15, 0.25)
"""Half the size of an opacity, as a share of the film's height: up to a quarter of a film across, or half a lung and
more of it, cut off at the lung's edge."""
LEAST_STEP = 10.0
"""Grey levels between lung and soft tissue are at least taken as this, where a film hardly tells them apart."""
LEAST_INSIDE = 0.6
"""Share of an opacity that lies within the lung, where such a place is found; what lies outside is cut off, as the
pleura would."""
VEIL = 0.6
"""Share of the fine detail that an opacity of contrast 1 takes away."""
DETAIL = 0.02
"""What counts as fine: smaller than about this share of the film's height."""


@dataclass(frozen=True)
class Opacity:
    """One opacity at its place.

    Attributes:
        shape: float32 (h, w), 0 to 1: where it lies, with its soft edge.
        texture: float32 (h, w), about 1: what the shape is multiplied with.
        lung: 0, the lung on the left of the image, or 1.
    """

    shape: NDArray[np.float32]
    texture: NDArray[np.float32]
    lung: int

    @property
    def region(self) -> NDArray[np.bool_]:
        """Where it adds at least half of what it adds at most, bool (h, w)."""
        return np.asarray(self.shape >= 0.5 * self.shape.max())


def draw_opacity(
    lungs: Lungs, lung: int, random: np.random.Generator, *, radii: tuple[float, float] = FOCAL
) -> Opacity:
    """An opacity of random place, size, shape and texture within one of two lung masks, bool (h, w) each.

    ``radii``: least and largest, as shares of the film's height.

    Raises:
        ValueError: that mask is empty.
    """
    from scipy.ndimage import gaussian_filter

    mask = lungs[lung]
    height, width = mask.shape
    places = np.argwhere(mask)
    if not len(places):
        raise ValueError("There is no lung in the mask.")
    rows, columns = np.mgrid[:height, :width]
    edge = gaussian_filter(mask.astype(np.float32), 0.01 * height)

    def noise(scale: float) -> NDArray[np.float32]:
        field = gaussian_filter(random.standard_normal(mask.shape), scale * height)
        return np.asarray(field / field.std(), dtype=np.float32)

    best: tuple[float, NDArray[np.float32]] | None = None
    for _ in range(20):
        row, column = places[random.integers(len(places))]
        radius = random.uniform(*radii) * height
        stretch, turn = random.uniform(0.75, 1.33), random.uniform(0, np.pi)
        along = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
        across = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
        distance = np.hypot(along * stretch, across / stretch) / radius
        # The outline wanders by a fifth of the radius and fades over about half of it.
        shape = 1 / (1 + np.exp((distance - 1 + 0.2 * noise(0.03)) / 0.18))
        inside = float((shape * edge).sum() / shape.sum())
        if best is None or inside > best[0]:
            best = inside, np.asarray(shape * edge, dtype=np.float32)
        if inside >= LEAST_INSIDE:
            break
    assert best is not None
    shape = best[1]
    texture = np.clip(1 + 0.12 * noise(0.012), 0.3, None)
    return Opacity(shape, texture.astype(np.float32), lung)


def moved_outside(opacity: Opacity, lungs: Lungs, random: np.random.Generator) -> Opacity | None:
    """The same opacity wholly within the film and outside both lungs, at random; None where no place was found."""
    both = lungs[0] | lungs[1]
    shown = opacity.shape > 0.02
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    height, width = both.shape
    for _ in range(200):
        down = int(random.integers(-rows[0], height - rows[-1]))
        right = int(random.integers(-columns[0], width - columns[-1]))
        if not (np.roll(shown, (down, right), (0, 1)) & both).any():
            return Opacity(
                np.where(
                    np.roll(shown, (down, right), (0, 1)), np.roll(opacity.shape, (down, right), (0, 1)), 0
                ),
                np.roll(opacity.texture, (down, right), (0, 1)),
                opacity.lung,
            )
    return None


def brightness_step(film: NDArray[np.uint8], opacity: Opacity, lungs: Lungs) -> float:
    """Grey levels from the lung under an opacity to the soft tissue between the lungs, of a film uint8 (h, w)."""
    both = lungs[0] | lungs[1]
    rows = np.flatnonzero(both.any(axis=1))
    columns = [np.flatnonzero(lung.any(axis=0)).mean() for lung in lungs]
    middle, half = round(float(np.mean(columns))), max(round(0.04 * film.shape[1]), 1)
    between = film[rows[0] : rows[-1] + 1, middle - half : middle + half + 1]
    return max(float(np.median(between) - np.median(film[opacity.region])), LEAST_STEP)


def paste(film: NDArray[np.uint8], opacity: Opacity, *, contrast: float, step: float) -> NDArray[np.uint8]:
    """The film uint8 (h, w) with the opacity: `contrast` times `step` grey levels more in its middle, 255 at most.

    Contrast 0 leaves the film as it is.
    """
    from scipy.ndimage import gaussian_filter

    before = film.astype(np.float32)
    detail = before - gaussian_filter(before, DETAIL * film.shape[0], mode="nearest")
    after = before + contrast * opacity.shape * (step * opacity.texture - VEIL * detail)
    return np.asarray(np.clip(np.rint(after), 0, 255), dtype=np.uint8)
