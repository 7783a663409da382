"""95 % intervals of everything that four counts or a mean give, for independent films and for films of patients.

``counts`` is always float64 ``(4,)`` in the order tn, fp, fn, tp; so are influences, the first-order change of a
figure with one more film in that cell. The variance of a figure is the sum over films of the squared influence;
where several films are of one patient, of the squared sums within patients (the linearised cluster bootstrap).

Sources
-------
* Shares: Wilson (1927), J Am Stat Assoc 22:209-212; clusters by effective numbers, Rao & Scott (1992), Biometrics
  48:577-585.
* F1: the Wilson interval of F* = TP / (TP + FP + FN) (Hand, Christen & Kirielle 2021, Machine Learning
  110:451-456) carried through F1 = 2 F* / (1 + F*): Lam, Gopal & Qian (2023), arXiv:2309.14621, "Wilson indirect".
* Likelihood ratios: Simel, Samsa & Matchar (1991), J Clin Epidemiol 44:763-770, on the log scale; where a count is
  zero, half a film is added to every count (Haldane 1956, Ann Hum Genet 20:309-311), for the interval alone.
* Balanced accuracy: the Wilson intervals of its two shares combined by squares, Newcombe (1998), Stat Med
  17:873-890, method 10 (MOVER: Zou & Donner 2008, Stat Med 27:1693-1702).
* Matthews' coefficient: delta method on Fisher's z of the four multinomial counts, Itaya, Tamura, Hayashi &
  Yamamoto (2024), Stat Med, doi 10.1002/sim.10303; half a film more in every count where one is zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

TN, FP, FN, TP = range(4)
SHARES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "accuracy": ((TN, TP), (TN, FP, FN, TP)),
    "sensitivity": ((TP,), (FN, TP)),
    "specificity": ((TN,), (TN, FP)),
    "precision": ((TP,), (FP, TP)),
    "npv": ((TN,), (TN, FN)),
}
"""Each share as (cells counted, cells counted among)."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, ``low <= high``."""

    low: float
    high: float


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``total`` films; ``value`` and ``interval`` (Wilson) are None where there is no film to
    count."""

    value: float | None
    count: int
    total: int
    interval: Interval | None


def wilson(counts: ArrayLike, totals: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % interval of ``counts / totals``, element by element; ``totals`` > 0 and need not be whole
    numbers.

    The closed formula, because ``scipy.stats.binomtest(...).proportion_ci(method="wilson")``, against which
    it is tested, takes one proportion at a time, whole numbers only, and a second and a half to import.
    """
    k, n = np.asarray(counts, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    share = k / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and n the formula is exactly 0 and 1; rounding must not leave 1e-17 or 0.9999999.
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0.0))
    high = np.where(k == n, 1.0, np.minimum(centre + half, 1.0))
    return low, high


def proportion(count: int, total: int) -> Proportion:
    """``count`` of ``total`` with its Wilson interval; value and interval None where ``total`` is 0."""
    if total == 0:
        return Proportion(None, count, total, None)
    low, high = wilson(count, total)
    return Proportion(count / total, count, total, Interval(float(low), float(high)))


# ---------------------------------------------------------------- figures of four counts


def balanced_accuracy(counts: FloatArray) -> float | None:
    """Mean of sensitivity and specificity; None where a class has no film."""
    tn, fp, fn, tp = counts.tolist()
    return (tp / (tp + fn) + tn / (tn + fp)) / 2 if tp + fn and tn + fp else None


def matthews(counts: FloatArray) -> float | None:
    """Matthews' correlation of label and decision, in ``[-1, 1]``; None where a class or a decision has no film."""
    # whole numbers are multiplied as such: a perfect decision then has exactly 1
    tn, fp, fn, tp = (int(count) if count.is_integer() else count for count in counts.tolist())
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(margins) if margins else None


def likelihood_ratio(counts: FloatArray, *, flagged: bool) -> float | None:
    """How many times likelier the decision is on a film of pneumonia than on a normal one.

    ``flagged``: the decision is pneumonia (LR+ = sensitivity / (1 - specificity)), otherwise normal (LR- = (1 -
    sensitivity) / specificity). None where a class has no film or no normal film gets the decision.
    """
    ill, well = counts[[FN, TP]], counts[[TN, FP]]
    if not ill.sum() or not well.sum() or not well[int(flagged)]:
        return None
    return float(ill[int(flagged)] / ill.sum() / (well[int(flagged)] / well.sum()))


class Units(Protocol):
    """What is drawn independently: films, or patients with all their films."""

    counts: FloatArray

    def variance(self, influence: FloatArray) -> float:
        """Variance of a figure whose influences, one a cell, are given; infinite where nothing can be said."""

    def share(self, hits: tuple[int, ...], among: tuple[int, ...]) -> Interval | None:
        """Interval of a share of films, None where there is no film to count."""

    def thinned(self) -> FloatArray:
        """The counts as if each class had one film a unit: for figures whose own variance collapses."""


class Films:
    """Every film independent of every other."""

    def __init__(self, counts: FloatArray) -> None:
        self.counts = counts

    def variance(self, influence: FloatArray) -> float:
        return float(self.counts @ influence**2)

    def share(self, hits: tuple[int, ...], among: tuple[int, ...]) -> Interval | None:
        return proportion(int(self.counts[list(hits)].sum()), int(self.counts[list(among)].sum())).interval

    def thinned(self) -> FloatArray:
        return self.counts


class Patients:
    """Films of one patient alike to an unknown degree. ``cells``: int ``(4, patients)``, each one's films by cell.

    Every variance is a quadratic form in the influences, so the patients are gone through once, not once a figure.
    """

    def __init__(self, cells: IntArray) -> None:
        films = cells.astype(np.float64)
        self.counts = films.sum(axis=1)
        self.products = films @ films.T
        present = (cells > 0).astype(np.int64)
        # patients by the set of cells in which they have a film, as a number of four bits
        self.patterns = np.bincount(present.T @ (1 << np.arange(4)), minlength=16)

    def units(self, among: tuple[int, ...]) -> int:
        """Patients with a film in any of these cells."""
        wanted = sum(1 << cell for cell in among)
        return int(self.patterns[(np.arange(16) & wanted) > 0].sum())

    def variance(self, influence: FloatArray) -> float:
        number = int(self.patterns.sum())
        squares = max(float(influence @ self.products @ influence), 0.0)
        return number / (number - 1) * squares if number > 1 else float("inf")

    def share(self, hits: tuple[int, ...], among: tuple[int, ...]) -> Interval | None:
        total = float(self.counts[list(among)].sum())
        if not total:
            return None
        value = float(self.counts[list(hits)].sum()) / total
        units = self.units(among)
        influence = np.zeros(4)
        influence[list(among)] -= value / total
        influence[list(hits)] += 1 / total
        squares = float(influence @ self.products @ influence)
        # As many independent films as would vary like these patients do. All right or all wrong says
        # nothing of how alike a patient's films are, so each patient then counts once; one patient is one film.
        effective = float(units)
        if 0 < value < 1:
            certain = value * (1 - value) * 1e-12  # rounding of a variance that is zero
            effective = value * (1 - value) * (units - 1) / units / max(squares, certain)
        effective = min(max(effective, 1.0), total)
        low, high = wilson(value * effective, effective)
        return Interval(float(low), float(high))

    def thinned(self) -> FloatArray:
        counts = self.counts.copy()
        for pair in ((TN, FP), (FN, TP)):
            films = counts[list(pair)].sum()
            if films:
                counts[list(pair)] *= self.units(pair) / films
        return counts


def intervals_of_counts(units: Units) -> dict[str, Interval | None]:
    """The interval of every figure that four counts give, by name; None where the figure has no value."""
    found = {name: units.share(*cells) for name, cells in SHARES.items()}
    for name, hit in (("f1_pneumonia", TP), ("f1_normal", TN)):
        share = units.share((hit,), (FP, FN, hit))
        found[name] = share and Interval(2 * share.low / (1 + share.low), 2 * share.high / (1 + share.high))
    found["balanced_accuracy"] = _balanced(units.counts, found["sensitivity"], found["specificity"])
    found["mcc"] = _matthews_interval(units)
    found["lr_positive"] = _ratio_interval(units, flagged=True)
    found["lr_negative"] = _ratio_interval(units, flagged=False)
    return found


def _balanced(
    counts: FloatArray, sensitivity: Interval | None, specificity: Interval | None
) -> Interval | None:
    value = balanced_accuracy(counts)
    if value is None or sensitivity is None or specificity is None:
        return None
    tn, fp, fn, tp = counts.tolist()
    shares = ((tp / (tp + fn), sensitivity), (tn / (tn + fp), specificity))
    below = np.sqrt(sum((share - interval.low) ** 2 for share, interval in shares)) / 2
    above = np.sqrt(sum((interval.high - share) ** 2 for share, interval in shares)) / 2
    return Interval(float(max(value - below, 0.0)), float(min(value + above, 1.0)))


def _smoothed(units: Units) -> Units:
    """The units themselves; where a count is zero, independent films with half a film more in every cell."""
    return units if units.counts.all() else Films(units.thinned() + 0.5)


def _matthews_interval(units: Units) -> Interval | None:
    value = matthews(units.counts)
    if value is None:
        return None
    shown = _smoothed(units)
    centre = matthews(shown.counts)
    assert centre is not None
    tn, fp, fn, tp = shown.counts.tolist()
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    flagged, passed, ill, well = 1 / (tp + fp), 1 / (tn + fn), 1 / (tp + fn), 1 / (tn + fp)
    influence = np.array([tp, -fn, -fp, tn]) / root - centre / 2 * np.array(
        [passed + well, flagged + well, passed + ill, flagged + ill]
    )
    if abs(centre) >= 1:  # rounding only: with no count zero there are errors and right decisions
        return None
    half = Z * np.sqrt(shown.variance(influence)) / (1 - centre**2)
    low, high = np.tanh(np.arctanh(centre) - half), np.tanh(np.arctanh(centre) + half)
    return Interval(float(min(low, value)), float(max(high, value)))


def _ratio_interval(units: Units, *, flagged: bool) -> Interval | None:
    value = likelihood_ratio(units.counts, flagged=flagged)
    if value is None:
        return None
    shown = _smoothed(units)
    centre = likelihood_ratio(shown.counts, flagged=flagged)
    assert centre is not None
    ill, well = shown.counts[[FN, TP]], shown.counts[[TN, FP]]
    # d log(share) of a film in the cell that is counted, and of one in its class that is not
    influence = np.empty(4)
    influence[[FN, TP]] = -1 / ill.sum()
    influence[[TN, FP]] = 1 / well.sum()
    influence[TP if flagged else FN] += 1 / ill[int(flagged)]
    influence[FP if flagged else TN] -= 1 / well[int(flagged)]
    half = Z * np.sqrt(shown.variance(influence))
    if not np.isfinite(half):
        return None
    low, high = centre * np.exp(-half), centre * np.exp(half)
    return Interval(0.0 if value == 0 else float(min(low, value)), float(max(high, value)))


# ---------------------------------------------------------------- figures by their variance


def on_logit_scale(value: float, variance: float) -> Interval:
    """Of a figure strictly between 0 and 1: symmetric on the logit scale, so it stays inside."""
    centre = np.log(value / (1 - value))
    half = Z * np.sqrt(variance) / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    return Interval(float(low), float(high))


def on_log_scale(value: float, variance: float, *, most: float = float("inf")) -> Interval | None:
    """Of a positive figure, at most ``most``: symmetric on the log scale. None where value or variance is 0 or
    infinite: then the films say nothing of the spread."""
    if not value > 0 or not 0 < variance < float("inf"):
        return None
    half = min(Z * float(np.sqrt(variance)) / value, 700.0)
    return Interval(float(value * np.exp(-half)), float(min(value * np.exp(half), most)))


def clustered_variance(influence: FloatArray, clusters: IntArray | None) -> float:
    """Variance of a figure from its films' influences ``(n,)``; ``clusters``: each film's patient, ``0 .. k - 1``,
    None where films are independent. Infinite for one film or one patient."""
    sums = influence if clusters is None else np.bincount(clusters, weights=influence)
    number = sums.size
    return float(number / (number - 1) * (sums @ sums)) if number > 1 else float("inf")
