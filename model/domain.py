"""Is a picture a frontal chest film that the network can judge?

Two things are asked. Does it look like one, from afar: grey, upright, light and dark where a chest has them, no sheet
of paper? And does the network see in it what it saw in the films it was trained on: the Mahalanobis distance of the
picture's pooled features from those of the training films, in the coordinates that `model.neighbours` keeps.

The limits of the first are constants, chosen on the training films of the released version and on the ``choose`` half
of `tests/strange_pictures.py`. The limit of the second is the version's own: `DISTANCE_FACTOR` times the distance that
one validation film in a hundred exceeds, from the version's ``features.npz``. A version without that file is asked
the first alone. `python -m model domain` measures both; the figures stand in the model card.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from model.appearance import COARSE, FINE, content_box, correction, from_afar, overview, unlikeness
from model.films import XRay, prepare

if TYPE_CHECKING:
    from model.neighbours import Reference

COLOUR_SHARE = 0.25
BLANK_SPREAD = 12.0
"""Grey levels between the 5th and the 95th percentile; training films have 69 and more."""
UNLIKENESS = {COARSE: 0.42, FINE: 0.13}
"""See `model.appearance.unlikeness`; one training film in a thousand has more than 0.39 and 0.15"""
EVEN_SHADE = 0.4
"""Share of one grey level inside the borders, black and white left out; training films have at most 0.12."""
STEEPNESS = 0.5
"""Mean step from pixel to pixel in standard deviations; training films have at most 0.2, noise more than 1."""
DISTANCE_FACTOR = 1.9
"""The middle of a gap: of the validation films of vgg16-2026-11h, as they are or changed by `model.domain_commands`,
the farthest has 1.65; of the pictures for choosing that the facts let pass, one, a drawn slice or limb, has 1.49, the
next 2.15 (``python -m model domain DATA_DIR --pictures DIR --split validation``)."""
FEWEST_VALIDATION_FILMS = 50

_OTHERWISE = "choose the X-ray itself"
_CORRECTIONS = {
    "invert": "The film looks inverted, dark bones on white air: invert it before it is judged.",
    "turn-90": "The film looks turned on its side: turn it upright before it is judged.",
    "turn-270": "The film looks turned on its side: turn it upright before it is judged.",
    "turn-180": "The film looks upside down: turn it upright before it is judged.",
}


@dataclass(frozen=True)
class Judgement:
    """Whether the network can judge a picture.

    Attributes:
        accepted: whether it may have a probability.
        reason: why not, one sentence; empty where it may.
        distance: how far it lies from the training films, in standard deviations; NaN without a reference.
        rule: which rule refused it: "blank", "colour", "turned", "even", "steep", "unlike" or "far"; empty where none.
    """

    accepted: bool
    reason: str
    distance: float
    rule: str = ""


def judge(xray: XRay, pooled: NDArray[np.float32], reference: Reference | None) -> Judgement:
    """Judge one picture; about 5 ms for a film of four million pixels.

    Args:
        xray: as :func:`model.films.read_xray` returns it.
        pooled: float (c,), as `model.inference.Evidence.pooled` has it for one film.
        reference: of the version that read it; None: the simple facts are asked alone.

    Raises:
        ValueError: ``pooled`` has another number of channels than the reference.
    """
    distance, limit = float("nan"), float("inf")
    if reference is not None:
        space = _space(reference)
        distance = float(space.distance(reference.place(np.asarray(pooled)[None]))[0])
        limit = space.limit
    rule, reason = _simple_facts(xray)
    if not rule and reference is not None and not distance <= limit:  # also where it is no number
        rule = "far"
        reason = (
            "The network was trained on nothing like this picture: check that it is a frontal chest X-ray."
        )
    return Judgement(accepted=not rule, reason=reason, distance=distance, rule=rule)


def distance_limit(reference: Reference) -> float:
    """The distance beyond which a version's pictures are refused."""
    return _space(reference).limit


def distances(reference: Reference, pooled: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mahalanobis distances of films from the training films, float64 (n,), of pooled features float (n, c)."""
    return _space(reference).distance(reference.place(pooled))


def _simple_facts(xray: XRay) -> tuple[str, str]:
    """The first rule that refuses the picture and its sentence; two empty texts where none does."""
    if xray.source.colour_share > COLOUR_SHARE:
        return "colour", f"This is a colour picture, and X-rays are grey: {_OTHERWISE}."
    pixels = overview(xray.pixels)
    box = content_box(pixels)
    inside = prepare(pixels[box.top : box.bottom, box.left : box.right])[:, :, 0]
    low, high = np.percentile(inside, [5, 95])
    if high - low < BLANK_SPREAD:
        return "blank", f"The picture is almost blank: {_OTHERWISE}."
    turn = correction(pixels)
    if turn:
        return "turned", _CORRECTIONS[turn]
    shares = np.bincount(inside.ravel(), minlength=256)[1:255] / inside.size
    if shares.max() > EVEN_SHADE:
        return "even", f"Much of this picture is one even shade, as in a drawing or a document: {_OTHERWISE}."
    values = inside.astype(np.float64)
    steps = np.hypot(np.diff(values, axis=0)[:, :-1], np.diff(values, axis=1)[:-1])
    if steps.mean() > STEEPNESS * values.std():
        return "steep", f"This picture is all edges or grain, as no X-ray is: {_OTHERWISE}."
    if any(unlikeness(from_afar(pixels, side)) > limit for side, limit in UNLIKENESS.items()):
        return (
            "unlike",
            "This does not look like a frontal chest X-ray: light and dark do not lie where a chest has them.",
        )
    return "", ""


class _Space:
    """Where the training films of a version lie."""

    def __init__(self, reference: Reference) -> None:
        training = reference.places("training").astype(np.float64)
        self._mean = training.mean(axis=0)
        covariance = np.cov(training, rowvar=False)
        # A ridge for directions in which few films do not differ at all.
        ridge = 1e-4 * float(np.trace(covariance)) / len(covariance) + 1e-12
        self._precision = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
        judged = reference.places("validation")
        if len(judged) < FEWEST_VALIDATION_FILMS:
            judged = reference.places("training")
        self.limit = DISTANCE_FACTOR * float(np.quantile(self.distance(judged), 0.99))

    def distance(self, places: NDArray[np.float32]) -> NDArray[np.float64]:
        offsets = places.astype(np.float64) - self._mean
        squares = np.einsum("nd,de,ne->n", offsets, self._precision, offsets, optimize=True)
        return np.sqrt(np.maximum(squares, 0))


_spaces: WeakKeyDictionary[Reference, _Space] = WeakKeyDictionary()
_lock = threading.Lock()


def _space(reference: Reference) -> _Space:
    """The space of a reference, worked out once (milliseconds)."""
    with _lock:
        if reference not in _spaces:
            _spaces[reference] = _Space(reference)
        return _spaces[reference]
