"""Where the lungs lie on a frontal chest film: a mask, without a download and without a network.

An atlas of this projection is fitted to each film. Three linear regressions of its looks (local contrast and grey
levels) find a box around both lungs and correct it, looking closer each time; a fourth gives the outline within the
box, as a mixture of the atlas's shapes. Because the shapes are of whole lungs, an opacity does not cut a hole. The
atlas (`ATLAS_FILE`) was made by :mod:`model.lung_atlas` from training films whose lungs plain thresholds find. Where
the outcome is not plausible the atlas's mean shape stands in at its usual place, and :class:`Lungs` says so.

There are no true masks to measure it by. What can be measured is in :func:`stability` and in the audit of a version.
The mask is of the lung fields as they are seen: lung behind the heart and behind the diaphragm is not in it.

The box is corrected in steps as in cascaded pose regression (Dollar, Welinder & Perona 2010, CVPR 1078-1085), the
outline is a point distribution in the sense of Cootes et al. (1995), Comput Vis Image Underst 61:38-59, of masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]

ATLAS_FILE = Path(__file__).parent / "lungs.npz"
SIDE = 112
"""Films are looked at in SIDE x SIDE pixels."""
LOOKS = 48
"""Side of what the regressions of the box see."""
CLOSE_LOOKS = 56
"""Side of what the regression of the outline sees."""
OUTLINE = 48
"""Side of the outlines, within the box and `OUTLINE_MARGIN` around it."""
MARGIN = 0.25
"""Of width and height of the box: what is looked at around it."""
OUTLINE_MARGIN = 0.15
FLAT = 2.0
"""A film whose grey levels have a smaller standard deviation shows nothing."""
EDGE = 0.02
LARGEST_STEP = 0.5
"""Of its size, a box moves and grows by no more than this at once."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """What :mod:`model.lung_atlas` fitted; all float32.

    Boxes are (left, top, right, bottom) in pixels of a film of `SIDE`. ``box`` (4,): the usual one. ``place`` (f, 4)
    and ``steps`` (s, f, 4), with f = 2 * LOOKS^2 + 1: from looks to a correction of the box. ``outline`` (g, k), with
    g = 2 * CLOSE_LOOKS^2 + 1: from looks to weights of ``shapes`` (k, OUTLINE^2), which are added to ``mean``
    (OUTLINE^2,).
    """

    box: FloatArray
    place: FloatArray
    steps: FloatArray
    outline: FloatArray
    shapes: FloatArray
    mean: FloatArray

    def save(self, path: Path) -> None:
        """Write it, float16 with one scale an array."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, array in vars(self).items():
            scale = np.float32(np.abs(array).max())
            arrays |= {name: (array / scale).astype(np.float16), f"{name}_scale": np.array(scale)}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: Path) -> Atlas:
        """Read what :meth:`save` wrote. OSError or ValueError where that cannot be done."""
        with np.load(path, allow_pickle=False) as stored:
            names = cls.__dataclass_fields__
            return cls(**{name: stored[name].astype(np.float32) * stored[f"{name}_scale"] for name in names})


@dataclass(frozen=True, eq=False)
class Lungs:
    """The lungs of one film.

    Attributes:
        mask: bool (height, width) of the film.
        found: "film": fitted to it; "atlas": nothing plausible was found, so this is the atlas's mean shape at its
            usual place.
    """

    mask: Mask
    found: Literal["film", "atlas"]

    @cached_property
    def with_edge(self) -> Mask:
        """The mask grown by `EDGE` of the side: with the edges of the lungs, which tell much of what is inside."""
        return grown(self.mask, EDGE)


@lru_cache(maxsize=1)
def standard_atlas() -> Atlas:
    """The atlas that comes with the project."""
    return Atlas.read(ATLAS_FILE)


def find_lungs(pixels: Grey, *, atlas: Atlas | None = None) -> Lungs:
    """The lungs of a frontal chest film, uint8 (height, width), in any size; about 40 ms.

    Raises:
        ValueError: another shape or dtype, or a side of fewer than 16 pixels.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or min(pixels.shape) < 16:
        raise ValueError(f"expected a grey film, uint8, at least 16 x 16, got {pixels.dtype} {pixels.shape}")
    atlas = atlas or standard_atlas()
    height, width = pixels.shape
    film = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    seen = looks(np.asarray(film, dtype=np.float32))
    box = corrected(atlas.box, features(seen) @ atlas.place)
    for step in atlas.steps:
        box = corrected(box, features(seen, box) @ step)
    weights = features(seen, box, margin=OUTLINE_MARGIN, side=CLOSE_LOOKS) @ atlas.outline
    mask = tidy(_placed(weights @ atlas.shapes + atlas.mean, box, height, width))
    if plausible(mask) and pixels.std() >= FLAT:
        return Lungs(mask, "film")
    return Lungs(tidy(_placed(atlas.mean, atlas.box, height, width)), "atlas")


def looks(film: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What the regressions see of a film, float32 (SIDE, SIDE): local contrast, and grey levels standardised."""
    from scipy import ndimage

    mean = ndimage.gaussian_filter(film, 9)
    spread = np.sqrt(ndimage.gaussian_filter((film - mean) ** 2, 9)) + 6  # flat parts stay flat
    near = ndimage.gaussian_filter((film - mean) / spread, 1.2)
    far = ndimage.gaussian_filter((film - film.mean()) / (film.std() + 1e-3), 1.2)
    return near, far


def features(
    seen: tuple[FloatArray, FloatArray],
    box: NDArray[np.floating] | None = None,
    *,
    margin: float = MARGIN,
    side: int = LOOKS,
) -> FloatArray:
    """What is seen within a box and a margin around it (None: the film), float32 (2 * side^2 + 1,), the last 1."""
    if box is None:
        box, margin = np.array([0, 0, SIDE, SIDE], np.float32), 0.0
    parts = [cut(each, box, margin=margin, side=side).ravel() for each in seen]
    return np.concatenate([*parts, np.ones(1, np.float32)])


def cut(picture: FloatArray, box: NDArray[np.floating], *, margin: float, side: int) -> FloatArray:
    """A box of a picture and a margin around it as float32 (side, side); outside the film its edge is drawn out."""
    from scipy import ndimage

    left, top, right, bottom = with_margin(box, margin)
    steps = (np.arange(side) + 0.5) / side
    columns, rows = left + steps * (right - left) - 0.5, top + steps * (bottom - top) - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(picture, grid, order=1, mode="nearest"), dtype=np.float32)


def with_margin(box: NDArray[np.floating], margin: float) -> tuple[float, float, float, float]:
    """A box with a margin, in shares of its width and height, around it."""
    left, top, right, bottom = box.tolist()
    across, down = margin * (right - left), margin * (bottom - top)
    return left - across, top - down, right + across, bottom + down


def correction(box: NDArray[np.floating], seen_from: NDArray[np.floating]) -> NDArray[np.float64]:
    """What takes one box to another: shift in shares of its size, and logarithms of the growth, float64 (4,)."""
    (x, y, width, height), (at_x, at_y, wide, high) = _centre(box), _centre(seen_from)
    return np.array([(x - at_x) / wide, (y - at_y) / high, np.log(width / wide), np.log(height / high)])


def corrected(box: NDArray[np.floating], change: NDArray[np.floating]) -> NDArray[np.float64]:
    """The box that :func:`correction` names, float64 (4,)."""
    x, y, width, height = _centre(box)
    shift_x, shift_y, wider, higher = np.clip(change, -LARGEST_STEP, LARGEST_STEP).tolist()
    x, y = x + shift_x * width, y + shift_y * height
    width, height = width * np.exp(wider), height * np.exp(higher)
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _centre(box: NDArray[np.floating]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _placed(outline: NDArray[np.floating], box: NDArray[np.floating], height: int, width: int) -> Mask:
    """An outline (OUTLINE^2,) back in its box on a film of this size."""
    from scipy import ndimage

    left, top, right, bottom = with_margin(box, OUTLINE_MARGIN)
    columns = ((np.arange(width) + 0.5) / width * SIDE - left) / (right - left) * OUTLINE - 0.5
    rows = ((np.arange(height) + 0.5) / height * SIDE - top) / (bottom - top) * OUTLINE - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    square = outline.reshape(OUTLINE, OUTLINE)
    return np.asarray(ndimage.map_coordinates(square, grid, order=1, mode="constant") > 0.5)


def tidy(mask: Mask) -> Mask:
    """The two largest pieces of a mask, without holes."""
    from scipy import ndimage

    pieces, number = ndimage.label(mask)
    if number > 2:
        sizes = np.bincount(pieces.ravel())[1:]
        mask = np.isin(pieces, np.argsort(sizes)[-2:] + 1)
    return np.asarray(ndimage.binary_fill_holes(mask))


def plausible(mask: Mask) -> bool:
    """Two lungs side by side: 10 to 55 % of the film, the smaller at least 35 % of the larger, about equally high."""
    from scipy import ndimage

    pieces, number = ndimage.label(mask)
    if number != 2 or not 0.10 <= mask.mean() <= 0.55:
        return False
    sizes = np.bincount(pieces.ravel())[1:]
    (y1, x1), (y2, x2) = ndimage.center_of_mass(mask, pieces, [1, 2])
    beside = abs(x1 - x2) / mask.shape[1] >= 0.2 and abs(y1 - y2) / mask.shape[0] <= 0.15
    return bool(beside and sizes.min() / sizes.max() >= 0.35)


def grown(mask: Mask, share: float) -> Mask:
    """A mask grown by a share of the film's side, at least 0, evenly in all directions."""
    from scipy import ndimage

    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask) <= share * float(np.mean(mask.shape)))


def hull(mask: Mask) -> Mask:
    """The convex hull: both lungs and what lies between them, mostly heart and spine."""
    from PIL import ImageDraw
    from scipy.spatial import ConvexHull, QhullError

    points = np.argwhere(mask)[:, ::-1]
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on a line
        return mask.copy()
    drawn = Image.new("1", (mask.shape[1], mask.shape[0]))
    ImageDraw.Draw(drawn).polygon([(int(x), int(y)) for x, y in corners], fill=1)
    return np.asarray(drawn, dtype=np.bool_) | mask


def dice(one: Mask, other: Mask) -> float:
    """Overlap of two masks, 0 to 1 (Dice 1945); 1 where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def stability(pixels: Grey, *, atlas: Atlas | None = None) -> Mapping[str, float]:
    """How alike the mask of a changed film is to the changed mask of the film, as Dice, for five changes.

    ``shift``: 5 % of the side to the right and down, the edge drawn out; ``zoom``: the middle 90 %, enlarged;
    ``exposure``: gamma 1.5 and half the contrast; ``mirror``: left and right exchanged; ``opacity``: a soft bright
    patch over the lower half of the lung on the left of the picture, which must not cut a hole in it.
    """
    mask = find_lungs(pixels, atlas=atlas).mask

    def compare(film: Grey, expected: Mask) -> float:
        return dice(find_lungs(np.ascontiguousarray(film), atlas=atlas).mask, expected)

    height, width = pixels.shape
    down, across = round(0.05 * height), round(0.05 * width)
    rows, columns = np.arange(height) - down, np.arange(width) - across
    shifted = pixels[np.ix_(np.clip(rows, 0, None), np.clip(columns, 0, None))]
    inside = np.outer(rows >= 0, columns >= 0)
    moved = mask[np.ix_(np.clip(rows, 0, None), np.clip(columns, 0, None))] & inside
    middle = (down, across, height - down, width - across)
    part = np.s_[middle[0] : middle[2], middle[1] : middle[3]]
    larger = np.asarray(Image.fromarray(pixels[part]).resize((width, height), Image.Resampling.BILINEAR))
    larger_mask = np.asarray(
        Image.fromarray(mask[part]).resize((width, height), Image.Resampling.NEAREST), dtype=np.bool_
    )
    exposed = np.rint(64 + 127 * (pixels / 255.0) ** 1.5).astype(np.uint8)
    return {
        "shift": compare(shifted, moved),
        "zoom": compare(larger, larger_mask),
        "exposure": compare(exposed, mask),
        "mirror": compare(pixels[:, ::-1], mask[:, ::-1]),
        "opacity": compare(with_opacity(pixels, mask), mask),
    }


def with_opacity(pixels: Grey, mask: Mask) -> Grey:
    """The film with the lower half of the lung on the left of the picture nearly as bright as its brightest tenth."""
    from scipy import ndimage

    height, width = mask.shape
    lung = mask.copy()
    lung[:, width // 2 :] = False
    rows = np.flatnonzero(lung.any(axis=1))
    if not rows.size:
        return pixels.copy()
    lung[: (rows[0] + rows[-1]) // 2] = False
    weight = 0.8 * ndimage.gaussian_filter(lung.astype(np.float32), 0.02 * (height + width) / 2)
    bright = float(np.percentile(pixels, 85))
    return np.clip(np.rint(pixels * (1 - weight) + weight * bright), 0, 255).astype(np.uint8)
