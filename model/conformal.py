"""How sure is it: verdicts that keep an error rate, what they hold on other films, and how risk falls with films left
open.

**Verdicts.** Split-conformal prediction sets by class (Vovk, Gammerman & Shafer 2005, *Algorithmic Learning in a
Random World*, section 4.5, "Mondrian"; Vovk 2012, ACML 25:475-490). A class stays in a film's set unless the film is
stranger to it than all but a share of its validation films: with n validation films of the class and an error rate e,
the k = floor(e (n + 1)) strangest are given up. For a new film of that class, exchangeable with those n, the chance
that its own class is not in its set is k / (n + 1), at most e, whatever the network and however few the films are
(less where probabilities are tied). One class in the set is a verdict. Both, or neither, is CANNOT TELL. So at most a
share e of each class is given the verdict of the other.

The promise holds for films like the validation films. Films of another hospital are not, and neither is a test split
that was taken otherwise: `coverage` says what a rule holds there, beside what chance alone would allow.

**Risk and coverage.** Films ordered by how far their probability lies from the threshold: of the films read, the more
are left open, the fewer of the rest are decided wrongly (El-Yaniv & Wiener 2010, JMLR 11:1605-1641). The area under
that curve is the mean risk over all shares of films read (Geifman, Uziel & El-Yaniv 2019, ICLR).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import logit
from model.dataset import CLASSES
from model.evaluation import checked, thinned
from model.intervals import Interval, Proportion, proportion

if TYPE_CHECKING:
    from model.registry import Card

Verdict = Literal["NORMAL", "PNEUMONIA", "CANNOT TELL"]
VERDICTS: tuple[Verdict, ...] = ("NORMAL", "PNEUMONIA", "CANNOT TELL")
ERROR_RATE = 0.05
"""Until a department chooses another."""
SHIFT = 0.02
"""Of the side: how far a view is moved."""
EXPOSURES = (0.8, 0.9, 1.1, 1.25)
"""Exponents of grey values between 0 and 1; above 1 is darker. What brightness and contrast alone change, a network
that standardises each image does not see."""

_ROUNDING = 1e-9

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """From a probability to a verdict.

    Attributes:
        normal_below: NORMAL is what lies below; 0 where too few films of pneumonia allow any.
        pneumonia_from: PNEUMONIA is what lies at or above; infinite where too few normal films allow any.
        error_rate: of each class, at most this share gets the verdict of the other.
        normal: validation films NORMAL that it was fitted on.
        pneumonia: the same of PNEUMONIA.
        either: what lies between is like films of both classes; else like few films of either.
    """

    normal_below: float
    pneumonia_from: float
    error_rate: float
    normal: int
    pneumonia: int
    either: bool

    def verdict(self, probability: float) -> Verdict:
        """The verdict on one film; raises ValueError for what is no probability."""
        return VERDICTS[int(self.verdicts([probability])[0])]

    def verdicts(self, probabilities: ArrayLike) -> NDArray[np.int64]:
        """Positions in `VERDICTS`, int64 (n,); raises ValueError for what is no probability."""
        values = np.asarray(probabilities, dtype=np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("Probabilities lie between 0 and 1.")
        open_ = VERDICTS.index("CANNOT TELL")
        return np.where(values < self.normal_below, 0, np.where(values >= self.pneumonia_from, 1, open_))

    def holds(self, labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Whether each film's own class is in its set, bool (n,); errors as :func:`fit`."""
        truth, values = checked(labels, probabilities, empty=True)
        if self.either:
            return np.where(truth == 1, values >= self.normal_below, values < self.pneumonia_from)
        return np.where(truth == 1, values >= self.pneumonia_from, values < self.normal_below)


def fit(labels: ArrayLike, probabilities: ArrayLike, *, error_rate: float = ERROR_RATE) -> Rule:
    """The rule of an error rate, from validation films: labels (n,), 1 PNEUMONIA; calibrated probabilities (n,).

    A class of fewer than ``1 / error_rate - 1`` films stays in every set: the other verdict is then never given.

    Raises:
        ValueError: as `model.evaluation.checked`, for a class without films, or for an error rate outside (0, 1).
    """
    truth, values = checked(labels, probabilities)
    normal, pneumonia = np.sort(values[truth == 0]), np.sort(values[truth == 1])
    if not normal.size or not pneumonia.size:
        raise ValueError("A rule needs validation films of both classes.")
    if not 0 < error_rate < 1:
        raise ValueError("The error rate lies between 0 and 1.")
    given_up = [_given_up(error_rate, films.size) for films in (normal, pneumonia)]
    # NORMAL is in the set at or below the first, PNEUMONIA at or above the second.
    highest = float(normal[-given_up[0]]) if given_up[0] else math.inf
    lowest = float(pneumonia[given_up[1] - 1]) if given_up[1] else 0.0
    either = lowest <= highest
    above = float(np.nextafter(highest, math.inf))
    return Rule(
        normal_below=lowest if either else above,
        pneumonia_from=above if either else lowest,
        error_rate=float(error_rate),
        normal=int(normal.size),
        pneumonia=int(pneumonia.size),
        either=either,
    )


def _given_up(error_rate: float, films: int) -> int:
    """``floor(error_rate * (films + 1))``; 0.05 * 20 must be 1 whatever binary fractions make of it."""
    return math.floor(error_rate * (films + 1) + _ROUNDING)


def meeting_rate(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The smallest error rate at which no validation film could be either class, in (0, 1].

    Below it the two thresholds of :func:`fit` overlap, and the fewer films are left open the larger the rate; above it
    they part, and more and more films are left open that are like few films of either class. Errors as :func:`fit`.
    """
    truth, values = checked(labels, probabilities)
    normal, pneumonia = np.sort(values[truth == 0]), np.sort(values[truth == 1])
    if not normal.size or not pneumonia.size:
        raise ValueError("A rule needs validation films of both classes.")
    rates = np.unique(
        np.concatenate([np.arange(1, films.size + 1) / (films.size + 1) for films in (normal, pneumonia)])
    )
    given_up = [np.floor(rates * (films.size + 1) + _ROUNDING).astype(int) for films in (normal, pneumonia)]
    highest = np.append(math.inf, normal[::-1])[given_up[0]]
    lowest = np.append(0.0, pneumonia)[given_up[1]]
    # At the largest rate each class keeps but one film: the thresholds have met, unless the network is upside down.
    met = np.flatnonzero(lowest > highest)
    return float(rates[met[0]]) if met.size else 1.0


# ---------------------------------------------------------------- what a rule holds


@dataclass(frozen=True)
class ClassCoverage:
    """What a rule does to the films of one class.

    Attributes:
        name: of the class.
        verdicts: films by verdict, in the order of `VERDICTS`.
        right: with the verdict of their class.
        open: CANNOT TELL.
        wrong: with the verdict of the other class; the interval is Wilson's.
        covered: whose set holds their class.
        by_chance: 95 % range of the share that is not covered, were these films like the validation films; it allows
            for few films there and few here. None where the class has no film.
    """

    name: str
    verdicts: tuple[int, int, int]
    right: Proportion
    open: Proportion
    wrong: Proportion
    covered: Proportion
    by_chance: Interval | None

    @property
    def misses(self) -> bool:
        """More films are not covered than chance allows: these films are not like the validation films."""
        value = self.covered.value
        return value is not None and self.by_chance is not None and 1 - value > self.by_chance.high


@dataclass(frozen=True)
class Coverage:
    """What a rule holds on labelled films, by class and for all."""

    normal: ClassCoverage
    pneumonia: ClassCoverage
    open: Proportion
    wrong: Proportion

    def as_json(self) -> dict[str, object]:
        """Counts, shares and intervals; shares None where there is no film."""

        def shown(share: Proportion) -> dict[str, object]:
            interval = share.interval
            return {
                "films": share.count,
                "share": share.value,
                "interval": None if interval is None else [interval.low, interval.high],
            }

        found: dict[str, object] = {
            part.name: {
                "verdicts": dict(zip(VERDICTS, part.verdicts, strict=True)),
                "right": shown(part.right),
                "open": shown(part.open),
                "wrong": shown(part.wrong),
                "covered": shown(part.covered),
                "not_covered_by_chance": None
                if part.by_chance is None
                else [part.by_chance.low, part.by_chance.high],
            }
            for part in (self.normal, self.pneumonia)
        }
        return found | {"all": {"open": shown(self.open), "wrong": shown(self.wrong)}}


def coverage(rule: Rule, labels: ArrayLike, probabilities: ArrayLike) -> Coverage:
    """What ``rule`` holds on films: labels (n,), 1 PNEUMONIA; probabilities (n,). Errors as `fit`; a class may be
    missing."""
    truth, values = checked(labels, probabilities, empty=True)
    given, held = rule.verdicts(values), rule.holds(truth, values)
    parts = []
    for label, (name, fitted) in enumerate(zip(CLASSES, (rule.normal, rule.pneumonia), strict=True)):
        mine = truth == label
        counts = np.bincount(given[mine], minlength=len(VERDICTS)).tolist()
        total = int(mine.sum())
        parts.append(
            ClassCoverage(
                name=name,
                verdicts=(counts[0], counts[1], counts[2]),
                right=proportion(counts[label], total),
                open=proportion(counts[2], total),
                wrong=proportion(counts[1 - label], total),
                covered=proportion(int(held[mine].sum()), total),
                by_chance=_by_chance(_given_up(rule.error_rate, fitted), fitted, total),
            )
        )
    wrong = sum(part.wrong.count for part in parts)
    return Coverage(
        normal=parts[0],
        pneumonia=parts[1],
        open=proportion(int((given == 2).sum()), truth.size),
        wrong=proportion(wrong, truth.size),
    )


def _by_chance(given_up: int, fitted: int, films: int) -> Interval | None:
    """95 % range of the share of ``films`` new films that is not covered: beta-binomial (Vovk 2012, proposition 2a)."""
    if not films:
        return None
    if not given_up:
        return Interval(0.0, 0.0)
    from scipy.stats import betabinom

    low, high = betabinom(films, given_up, fitted + 1 - given_up).ppf([0.025, 0.975])
    return Interval(float(low / films), float(high / films))


# ---------------------------------------------------------------- risk and coverage


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong decisions among the films read, the surest first.

    Attributes:
        covered: share of films read, float64 (m,), rising to 1.
        risk: share of wrong decisions among them, float64 (m,).
        area: mean of the risk over every number of films read (AURC).
        best: the same, were the wrong decisions the last ones read: no order does better.
        error: the risk where all films are read; also the area of an order drawn at random.
    """

    covered: FloatArray
    risk: FloatArray
    area: float
    best: float
    error: float

    def at(self, covered: float) -> float:
        """The risk where this share of films is read, in ``(0, 1]``."""
        return float(np.interp(covered, self.covered, self.risk))


def risk_coverage(labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5) -> RiskCoverage:
    """Films by how far their probability lies from the threshold on the logit scale, the farthest first.

    Films that lie equally far are read together. Errors as `model.evaluation.checked`.
    """
    truth, values = checked(labels, probabilities)
    wrong = ((values >= threshold) != (truth == 1)).astype(np.float64)
    far = np.abs(logit(values) - float(logit(threshold)))
    # Equal ones stand in no order: each counts as their mean.
    _, group = np.unique(-far, return_inverse=True)
    mean = np.bincount(group, weights=wrong) / np.bincount(group)
    films = np.arange(1, truth.size + 1)
    risk = np.cumsum(mean[np.sort(group)]) / films
    errors = int(wrong.sum())
    best = np.maximum(films - (truth.size - errors), 0) / films
    kept = thinned(films / truth.size, risk)
    return RiskCoverage(
        covered=(films / truth.size)[kept],
        risk=risk[kept],
        area=float(risk.mean()),
        best=float(best.mean()),
        error=errors / truth.size,
    )


# ---------------------------------------------------------------- a few views of one film


class Reader(Protocol):
    """What :func:`views` needs of `model.inference.Predictor`."""

    @property
    def card(self) -> Card: ...

    def predict(self, images: NDArray[np.uint8]) -> FloatArray: ...


def changed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The film itself, and moved by `SHIFT` to four sides, and at four `EXPOSURES`: uint8 (9, h, w, 3).

    What a shift leaves empty repeats the border, so that no edge appears that is not on the film.
    """
    height, width = image.shape[:2]
    down, right = max(round(SHIFT * height), 1), max(round(SHIFT * width), 1)
    padded = np.pad(image, ((down, down), (right, right), (0, 0)), mode="edge")
    moved = [
        padded[down + dy : down + dy + height, right + dx : right + dx + width]
        for dy, dx in ((-down, 0), (down, 0), (0, -right), (0, right))
    ]
    levels = np.arange(256) / 255
    exposed = [np.rint(levels**exponent * 255).astype(np.uint8)[image] for exponent in EXPOSURES]
    return np.stack([image, *moved, *exposed])


def views(reader: Reader, image: NDArray[np.uint8]) -> tuple[float, float]:
    """Lowest and highest probability over the views of :func:`changed`, the film itself among them.

    Costs as many readings as there are views; eight run together.

    Args:
        image: uint8 (h, w, 3), as `model.films.prepare` gives it.
    """
    probabilities = reader.predict(changed(image))
    return float(probabilities.min()), float(probabilities.max())
