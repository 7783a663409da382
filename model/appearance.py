"""How a chest film looks from afar: its plain borders, how unlike the usual film it is, and which way up it lies.

A film is cut to what its borders hold, reduced to a few pixels a side and standardised. ``usual_films.json`` holds what
the training films of the released version show so: at 8 x 8 and at 16 x 16 pixels their mean and the directions in
which they differ most (8 and 32), and at 8 x 8 a direction that tells upright from upside down. A picture is the more
unlike a film the less of it these can draw. The coarse look asks for the usual film; the finer one, learnt from films
that were also moved, turned a little and mirrored, lets these pass and tells pictures that are alike from afar only.

`python -m model domain DATA_DIR --learn` made the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

USUAL_FILMS = Path(__file__).parent / "usual_films.json"
COARSE, FINE = 8, 16
"""Pixels a side of the two looks."""
DIRECTIONS = {COARSE: 8, FINE: 32}
LEAST_KEPT = 0.85
"""Of the side: how much of a film is left of it, at least, where it is moved for the finer look."""
LARGEST_TURN = 7.0
"""Degrees by which it is turned then."""

INVERTED_CORRELATION = -0.3
TURNED_GAIN = 0.1
TURNED_CORRELATION = 0.4
"""Below it a picture does not look like a turned chest film either."""
UPSIDE_DOWN_SCORE = -0.2
CORRECTED_UNLIKENESS = 0.45
"""A picture that is more unlike a film than this once corrected is no film to be corrected."""

_OVERVIEW = 256  # pixels: nothing here looks at anything finer
_BORDER_SIDE = 64  # pixels a side that borders are looked for on
_DEEPEST = 28  # of these that a border may take from each side
_SAME_LEVEL = 10  # grey levels by which a border may vary
_SAME_SHARE = 0.95  # of a row or a column of a border; the rest may be a marker


@dataclass(frozen=True)
class Box:
    """The part of a picture inside its plain borders: rows ``top`` to ``bottom``, columns ``left`` to ``right``."""

    top: int
    bottom: int
    left: int
    right: int

    def share(self, shape: tuple[int, int]) -> float:
        """Its share of the area of a picture of ``shape``, 0 to 1."""
        return (self.bottom - self.top) * (self.right - self.left) / (shape[0] * shape[1])


@dataclass(frozen=True)
class _Look:
    """What films show at one side: float64 (side * side,) and orthonormal rows (n, side * side), in standard
    deviations of the film."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]


@dataclass(frozen=True)
class _UsualFilms:
    looks: dict[int, _Look]
    upright: NDArray[
        np.float64
    ]  # (64,): its product with a coarse look is about 1 upright and about -1 upside down


def overview(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A large film reduced by a whole number to 256 to 511 pixels on its shorter side; a small one as it is."""
    factor = min(pixels.shape) // _OVERVIEW
    return pixels if factor < 2 else np.asarray(Image.fromarray(pixels).reduce(factor))


def content_box(pixels: NDArray[np.uint8]) -> Box:
    """Where a picture's plain borders end: strips along its sides of one grey level, whichever that is.

    Args:
        pixels: uint8 (height, width), at least 32 a side.
    """
    height, width = pixels.shape
    coarse = np.asarray(
        Image.fromarray(pixels).resize((_BORDER_SIDE, _BORDER_SIDE), Image.Resampling.BOX)
    ).astype(np.int64)
    top, bottom, left, right = (_border(lines) for lines in (coarse, coarse[::-1], coarse.T, coarse.T[::-1]))
    return Box(
        round(top * height / _BORDER_SIDE),
        height - round(bottom * height / _BORDER_SIDE),
        round(left * width / _BORDER_SIDE),
        width - round(right * width / _BORDER_SIDE),
    )


def _border(lines: NDArray[np.int64]) -> int:
    """How many of the first lines are of one level, all of the same."""
    lines = lines[:_DEEPEST]
    levels = np.median(lines, axis=1)
    plain = (np.abs(lines - levels[:, None]) <= _SAME_LEVEL).mean(axis=1) >= _SAME_SHARE
    plain &= np.abs(levels - levels[0]) <= _SAME_LEVEL
    return int(np.argmin(plain)) if not plain.all() else len(lines)


def from_afar(pixels: NDArray[np.uint8], side: int = COARSE) -> NDArray[np.float64]:
    """What is inside the borders as float64 (side, side), standardised; zeros where that is of one level."""
    box = content_box(pixels)
    small = np.asarray(
        Image.fromarray(pixels).resize(
            (side, side), Image.Resampling.BOX, box=(box.left, box.top, box.right, box.bottom)
        ),
        dtype=np.float64,
    )
    spread = small.std()
    if spread < 1:  # a fine pattern on an even ground
        return np.zeros((side, side))
    standardised: NDArray[np.float64] = (small - small.mean()) / spread
    return standardised


def unlikeness(look: NDArray[np.float64]) -> float:
    """How much of a picture the usual films cannot draw: 0 (all of it can be drawn) to about 4; films about 0.1.

    Args:
        look: as :func:`from_afar` returns it, of side `COARSE` or `FINE`.
    """
    usual = _usual_films().looks[len(look)]
    if not look.any():
        return 1.0  # nothing is on it, so nothing of a chest
    rest = look.ravel() - usual.mean
    rest = rest - (usual.directions @ rest) @ usual.directions
    return float((rest**2).mean())


def correction(pixels: NDArray[np.uint8]) -> str:
    """What would make an upright, ordinary film of this one: "invert", "turn-90", "turn-180", "turn-270" (clockwise).

    Empty where it is upright, or does not look like a chest film either way.
    """
    small = from_afar(pixels)
    usual = _usual_films()
    mean = usual.looks[COARSE].mean.reshape(COARSE, COARSE)
    mean = mean / mean.std()
    # rot90 turns the film counter-clockwise; its best fit with the upright mean says how it has to be turned.
    upright, quarter, half, three_quarters = (
        float((np.rot90(small, turns) * mean).mean()) for turns in range(4)
    )
    best = max(quarter, half, three_quarters)
    # A film on its side correlates a little negatively too: the better of the two explanations is taken.
    if upright < INVERTED_CORRELATION and -upright > best:
        offer, corrected = "invert", -small
    elif max(quarter, three_quarters) >= max(TURNED_CORRELATION, upright + TURNED_GAIN, half):
        turns = 1 if quarter > three_quarters else 3
        offer, corrected = f"turn-{360 - 90 * turns}", np.rot90(small, turns)
    elif half >= TURNED_CORRELATION and float(small.ravel() @ usual.upright) < UPSIDE_DOWN_SCORE:
        offer, corrected = "turn-180", np.rot90(small, 2)
    else:
        return ""
    return offer if unlikeness(corrected) <= CORRECTED_UNLIKENESS else ""


@cache
def _usual_films() -> _UsualFilms:
    stored = json.loads(USUAL_FILMS.read_text(encoding="utf-8"))
    looks = {
        side: _Look(*(np.array(stored[str(side)][name], dtype=np.float64) for name in ("mean", "directions")))
        for side in DIRECTIONS
    }
    return _UsualFilms(looks, np.array(stored["upright"], dtype=np.float64))


def learn_usual_films(films: Iterable[NDArray[np.uint8]]) -> dict[str, Any]:
    """What ``usual_films.json`` holds, from upright training films, each uint8 (height, width), at least 32 a side.

    ``upright`` is a ridge regression of +1 for the films and -1 for the same films upside down, both also mirrored: a
    mirrored film is not upside down.
    """
    random = np.random.default_rng(0)
    coarse, fine = [], []
    for film in films:
        coarse.append(from_afar(film, COARSE))
        fine += [from_afar(film, FINE), from_afar(_moved(film, random), FINE)]
    fine += [look[:, ::-1] for look in fine]
    rows = np.stack([look.ravel() for look in coarse])
    mirrored = np.stack([look[:, ::-1].ravel() for look in coarse])
    both = np.concatenate([rows, mirrored, rows[:, ::-1], mirrored[:, ::-1]])
    signs = np.repeat([1.0, -1.0], 2 * len(rows))
    penalty = 0.1 * len(both) * np.eye(rows.shape[1])
    upright = np.linalg.solve(both.T @ both + penalty, both.T @ signs)
    return {
        "films": len(rows),
        str(COARSE): _learn_look(rows, DIRECTIONS[COARSE]),
        str(FINE): _learn_look(np.stack([look.ravel() for look in fine]), DIRECTIONS[FINE]),
        "upright": upright.round(4).tolist(),
    }


def _learn_look(rows: NDArray[np.float64], count: int) -> dict[str, Any]:
    mean = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows - mean, full_matrices=False)
    return {"mean": mean.round(3).tolist(), "directions": directions[:count].round(3).tolist()}


def _moved(film: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """The film as it might have been framed otherwise: a part of it, turned a little."""
    height, width = film.shape
    kept = random.uniform(LEAST_KEPT, 1)
    top, left = random.uniform(0, 1 - kept, 2)
    part = film[
        int(top * height) : int((top + kept) * height), int(left * width) : int((left + kept) * width)
    ]
    degrees = random.uniform(-LARGEST_TURN, LARGEST_TURN)
    return np.asarray(Image.fromarray(part).rotate(degrees, Image.Resampling.BILINEAR))
