"""From reference labels and probabilities to every number the product states, with intervals.

Pure functions of two arrays. Everywhere ``labels`` is ``(n,)`` of 0 (NORMAL) and 1 (PNEUMONIA),
``probabilities`` is ``(n,)`` in ``[0, 1]``, and a film is called pneumonia exactly where ``probability >=
threshold``.

What a set of films cannot tell (a sensitivity without a film of pneumonia, say) is ``None``, never an error;
what is not a label or a probability is refused with a :class:`ValueError` of one sentence. All intervals are
95 %.

Sources
-------
* Proportions: Wilson (1927), J Am Stat Assoc 22:209-212; recommended by Brown, Cai & DasGupta (2001), Stat
  Sci 16:101-133.
* AUC: DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845, by the midranks of Sun & Xu (2014), IEEE
  Signal Process Lett 21:1389-1393, on the logit scale; where DeLong's variance is zero (classes apart, all
  scores equal, or a single film of a class), Newcombe (2006), Stat Med 25:559-573, method 5.
* Several films of one patient: the same influence values summed within patients (for the AUC this is
  Obuchowski (1997), Biometrics 53:567-578; for proportions Rao & Scott (1992), Biometrics 48:577-585).
* Band of the ROC curve: Zhou & Qin (2005), Stat Med 24:465-477, method BTII.
* Calibration error: Naeini, Cooper & Hauskrecht (2015), AAAI, with ten bins of equal width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
CALIBRATION_BINS = 10
BOOTSTRAP_RESAMPLES = 500
BAND_CELLS = 500
"""Scores are grouped into at most this many cells a class before resampling: the band of 100,000 films costs
what that of 1,000 costs."""

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


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


@dataclass(frozen=True)
class Confusion:
    """Films by reference label and decision: true and false negatives and positives, PNEUMONIA being
    positive."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def total(self) -> int:
        return self.tn + self.fp + self.fn + self.tp

    @property
    def accuracy(self) -> Proportion:
        return proportion(self.tn + self.tp, self.total)

    @property
    def sensitivity(self) -> Proportion:
        """Of the films of pneumonia, those called pneumonia."""
        return proportion(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Proportion:
        """Of the normal films, those called normal."""
        return proportion(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Proportion:
        """Positive predictive value: of the films called pneumonia, those with pneumonia."""
        return proportion(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> Proportion:
        """Negative predictive value: of the films called normal, those that are normal."""
        return proportion(self.tn, self.tn + self.fn)

    @property
    def f1_pneumonia(self) -> float | None:
        """Harmonic mean of precision and sensitivity; None where no film is or is called pneumonia."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else None

    @property
    def f1_normal(self) -> float | None:
        """The same figure with NORMAL as the class looked for."""
        total = 2 * self.tn + self.fp + self.fn
        return 2 * self.tn / total if total else None


@dataclass(frozen=True)
class OperatingRates:
    """What one threshold costs and gains on a set of films."""

    threshold: float
    sensitivity: Proportion
    specificity: Proportion


@dataclass(frozen=True)
class Roc:
    """The ROC curve, from (0, 0) to (1, 1), both arrays non-decreasing.

    ``thresholds`` (descending, the first one infinite), ``false_positive_rate`` and ``sensitivity`` are
    ``(k,)``; so are ``band_low`` and ``band_high``, the pointwise 95 % interval of the sensitivity at that
    false-positive rate (a function of the false-positive rate alone, so equal along a vertical step).
    """

    thresholds: FloatArray
    false_positive_rate: FloatArray
    sensitivity: FloatArray
    band_low: FloatArray
    band_high: FloatArray
    auc: float
    auc_interval: Interval


@dataclass(frozen=True)
class PatientIntervals:
    """The intervals when films of one patient are not taken as independent of each other."""

    patients: int
    auc: Interval | None
    accuracy: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True)
class Evaluation:
    """Every figure of one set of films at one threshold. ``unavailable`` says of each None figure why."""

    n: int
    threshold: float
    confusion: Confusion
    auc: float | None
    auc_interval: Interval | None
    average_precision: float | None
    accuracy: Proportion
    sensitivity: Proportion
    specificity: Proportion
    precision: Proportion
    npv: Proportion
    f1_pneumonia: float | None
    f1_normal: float | None
    brier: float
    ece: float
    by_patient: PatientIntervals | None
    unavailable: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The figures as plain numbers, lists and None: what ``python -m model evaluate --json`` writes.

        ``<figure>_ci`` is ``[low, high]`` at 95 %, from films taken as independent; ``by_patient``, where
        patients are known, holds the intervals that allow for several films of one patient.
        """
        result: dict[str, Any] = {
            "n": self.n,
            "n_normal": self.confusion.tn + self.confusion.fp,
            "n_pneumonia": self.confusion.fn + self.confusion.tp,
            "threshold": self.threshold,
            "auc": self.auc,
            "auc_ci": _pair(self.auc_interval),
            "average_precision": self.average_precision,
        }
        for name in ("accuracy", "sensitivity", "specificity", "precision", "npv"):
            figure: Proportion = getattr(self, name)
            result[name] = figure.value
            result[f"{name}_ci"] = _pair(figure.interval)
        result |= {
            "f1_pneumonia": self.f1_pneumonia,
            "f1_normal": self.f1_normal,
            "brier": self.brier,
            "ece": self.ece,
            "confusion": asdict(self.confusion),
            "by_patient": None,
            "unavailable": dict(self.unavailable),
        }
        if self.by_patient is not None:
            result["by_patient"] = {
                "patients": self.by_patient.patients,
                "auc_ci": _pair(self.by_patient.auc),
                "accuracy_ci": _pair(self.by_patient.accuracy),
                "sensitivity_ci": _pair(self.by_patient.sensitivity),
                "specificity_ci": _pair(self.by_patient.specificity),
            }
        return result


def checked(
    labels: ArrayLike, probabilities: ArrayLike, *, empty: bool = False
) -> tuple[IntArray, FloatArray]:
    """The two arrays as int64 and float64 ``(n,)``; n >= 1 unless ``empty`` allows a set without films.

    :raises ValueError: in one sentence, where there is no film, the lengths differ, a label is not 0 or 1, or
        a probability is missing (NaN) or outside ``[0, 1]``.
    """
    truth, scores = np.asarray(labels), np.asarray(probabilities)
    if truth.ndim != 1 or scores.ndim != 1:
        raise ValueError("Labels and probabilities must be one-dimensional, one value a film.")
    if truth.size != scores.size:
        raise ValueError(f"There are {truth.size} labels but {scores.size} probabilities.")
    if truth.size == 0:
        if empty:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        raise ValueError("There is no film to evaluate.")
    scores = scores.astype(np.float64)
    missing = int(np.isnan(scores).sum())
    if missing:
        raise ValueError(
            f"{missing} of {scores.size} probabilities are missing (NaN); leave those films out."
        )
    if scores.min() < 0 or scores.max() > 1:
        found = f"{scores.min():g} and {scores.max():g}"
        raise ValueError(f"Probabilities must lie between 0 and 1, not between {found}.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("Labels must be 0 (NORMAL) or 1 (PNEUMONIA).")
    return truth.astype(np.int64), scores


def wilson(counts: ArrayLike, totals: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % interval of ``counts / totals``, element by element; ``totals`` > 0 and need not be whole
    numbers.

    The closed formula, because ``scipy.stats.binomtest(...).proportion_ci(method="wilson")``, against which
    it is tested, takes one proportion at a time, whole numbers only, and a second and a half to import.
    """
    k, n = np.asarray(counts, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    share = k / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
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


def confusion(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> Confusion:
    """The four counts at ``probability >= threshold``; all 0 for a set without films.

    :raises ValueError: as :func:`checked`, and for a threshold that is NaN.
    """
    truth, scores = checked(labels, probabilities, empty=True)
    return _confusion(truth, scores, threshold)


def operating_rates(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> OperatingRates:
    """Sensitivity and specificity at one threshold: cheap, needs numpy only. Errors as :func:`confusion`."""
    counts = confusion(labels, probabilities, threshold)
    return OperatingRates(float(threshold), counts.sensitivity, counts.specificity)


def auc(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, Interval] | None:
    """Area under the ROC curve (ties count half) with DeLong's 95 % interval; None where a class has no film.

    The interval is symmetric on the logit scale, so it stays inside (0, 1) and covers better near 1 (Pepe
    2003, section 5.2). Errors as :func:`checked`.
    """
    truth, scores = checked(labels, probabilities)
    if truth.min() == truth.max():
        return None
    area, influence = _auc_influence(truth, scores)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if min(positives, negatives) < 2:
        return area, _newcombe(area, positives, negatives)
    variance = sum(
        count / (count - 1) * float(np.sum(influence[truth == label] ** 2))
        for label, count in ((1, positives), (0, negatives))
    )
    return area, _auc_interval(area, variance, positives, negatives)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = CALIBRATION_BINS
) -> float:
    """Mean over films of |mean probability - share of pneumonia| in their bin, in ``[0, 1]``.

    ``bins`` bins of equal width over the probability of PNEUMONIA, ``[0, 0.1), [0.1, 0.2), ... [0.9, 1]``.
    Errors as :func:`checked`.
    """
    truth, scores = checked(labels, probabilities)
    # k / 10 exactly as a person writes it; linspace gives 0.30000000000000004
    inner_edges = np.arange(1, bins) / bins
    which = np.searchsorted(inner_edges, scores, side="right")
    gaps = np.bincount(which, weights=scores - truth, minlength=bins)
    return float(np.abs(gaps).sum() / truth.size)


def bootstrap_interval(
    figure: Callable[[IntArray, FloatArray], float | None],
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """95 % percentile interval of a figure that has no formula for one (Efron & Tibshirani 1993, chapter 13).

    Films are drawn with replacement; draws for which the figure is None (one class only) are left out. None
    where that is all of them. The same seed gives the same interval. Too slow to follow a slider.

    :param figure: takes labels int ``(n,)`` and probabilities float64 ``(n,)``.
    """
    truth, scores = checked(labels, probabilities)
    random = np.random.default_rng(seed)
    drawn = (random.integers(0, truth.size, truth.size) for _ in range(resamples))
    values = [value for chosen in drawn if (value := figure(truth[chosen], scores[chosen])) is not None]
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def evaluate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    threshold: float,
    patients: Sequence[str] | None = None,
) -> Evaluation:
    """All figures of a set of films at one threshold.

    ``patients``: ``(n,)`` names, where known; gives ``by_patient``, the intervals that allow for several
    films of one patient. The plain intervals take every film as independent and are then too narrow.

    :raises ValueError: as :func:`confusion`, and where there is not one patient name a film.
    """
    truth, scores = checked(labels, probabilities)
    counts = _confusion(truth, scores, threshold)
    area = auc(truth, scores)
    average_precision = None
    if area is not None:
        # two seconds, and the Diagnose page does not need it
        from sklearn.metrics import average_precision_score

        average_precision = float(average_precision_score(truth, scores))
    return Evaluation(
        n=truth.size,
        threshold=float(threshold),
        confusion=counts,
        auc=None if area is None else area[0],
        auc_interval=None if area is None else area[1],
        average_precision=average_precision,
        accuracy=counts.accuracy,
        sensitivity=counts.sensitivity,
        specificity=counts.specificity,
        precision=counts.precision,
        npv=counts.npv,
        f1_pneumonia=counts.f1_pneumonia,
        f1_normal=counts.f1_normal,
        brier=float(np.mean((scores - truth) ** 2)),
        ece=expected_calibration_error(truth, scores),
        by_patient=None
        if patients is None
        else _patient_intervals(truth, scores, float(threshold), patients),
        unavailable=_unavailable(counts),
    )


def roc(labels: ArrayLike, probabilities: ArrayLike, *, seed: int = 0) -> Roc:
    """The ROC curve with a pointwise 95 % band and the AUC with DeLong's interval.

    The band is the interval of the sensitivity at a fixed false-positive rate by Zhou & Qin's BTII: positives
    and negatives are resampled separately (500 times, seeded), the sensitivity of each resample gets the
    Agresti-Coull correction, and the interval is their mean plus and minus 1.96 standard deviations. It
    covers both sources of noise (which normals set the threshold, which pneumonias pass it) and does not
    collapse where the sensitivity is 1. It is widened to contain the curve where it would not. At a
    false-positive rate near 0 few films say anything: read it there with caution.

    :raises ValueError: as :func:`checked`, and where a class has no film.
    """
    from sklearn.metrics import roc_curve

    truth, scores = checked(labels, probabilities)
    area = auc(truth, scores)
    if area is None:
        raise ValueError("A ROC curve needs films of both classes.")
    false_positive_rate, sensitivity, thresholds = roc_curve(truth, scores)
    band_low, band_high = _band(truth, scores, false_positive_rate, sensitivity, seed)
    return Roc(thresholds, false_positive_rate, sensitivity, band_low, band_high, area[0], area[1])


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _confusion(truth: IntArray, scores: FloatArray, threshold: float) -> Confusion:
    if np.isnan(threshold):
        raise ValueError("The threshold must be a number.")
    flagged = scores >= threshold
    tn, fp, fn, tp = np.bincount(2 * truth + flagged, minlength=4).tolist()
    return Confusion(tn, fp, fn, tp)


def _unavailable(counts: Confusion) -> dict[str, str]:
    reasons: dict[str, str] = {}
    no_pneumonia = counts.tp + counts.fn == 0
    no_normal = counts.tn + counts.fp == 0
    if no_pneumonia or no_normal:
        reason = f"the set holds no film of {'pneumonia' if no_pneumonia else 'normal lungs'}"
        rate = "sensitivity" if no_pneumonia else "specificity"
        reasons |= dict.fromkeys(("auc", "average_precision", rate), reason)
    if counts.tp + counts.fp == 0:
        reasons["precision"] = "no film is called pneumonia at this threshold"
    if counts.tn + counts.fn == 0:
        reasons["npv"] = "no film is called normal at this threshold"
    if counts.f1_pneumonia is None:
        reasons["f1_pneumonia"] = "no film is, or is called, pneumonia"
    if counts.f1_normal is None:
        reasons["f1_normal"] = "no film is, or is called, normal"
    return reasons


def _auc_influence(truth: IntArray, scores: FloatArray) -> tuple[float, FloatArray]:
    """AUC and each film's influence ``(n,)`` on it: (placement - AUC) / films of its class (DeLong's V10 and
    V01)."""
    from scipy.stats import rankdata

    positive = truth == 1
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores)  # midranks
    placements = np.empty(scores.size)
    placements[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    placements[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    # From the whole rank sum, not the mean of placements: exact in half units, so 1 is 1.
    area = float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))
    return area, (placements - area) / np.where(positive, m, n)


def _auc_interval(area: float, variance: float, positives: int, negatives: int) -> Interval:
    if variance < 1e-20 or not 0 < area < 1:
        return _newcombe(area, positives, negatives)
    centre = np.log(area / (1 - area))
    half = _Z * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    return Interval(float(low), float(high))


def _newcombe(area: float, positives: int, negatives: int) -> Interval:
    """Newcombe's method 5: the areas whose own (exponential-model) standard error puts them within 1.96 of
    ``area``."""
    from scipy.optimize import brentq

    average = (positives + negatives) / 2 - 1

    def excess(candidate: float) -> float:
        spread = 1 + average * (1 - candidate) / (2 - candidate) + average * candidate / (1 + candidate)
        variance = candidate * (1 - candidate) * spread / (positives * negatives)
        return float((area - candidate) ** 2 - _Z**2 * variance)

    def bound(outer: float) -> float:
        if area == outer:
            return outer
        # At the outer end the variance is 0 and the excess positive; at the estimate, or just inside it,
        # negative.
        inner = area if 0 < area < 1 else abs(area - 1e-12)
        return float(brentq(excess, outer, inner, xtol=1e-12))

    return Interval(bound(0.0), bound(1.0))


def _cluster_variance(influence: FloatArray, clusters: IntArray) -> float:
    sums = np.bincount(clusters, weights=influence)
    present = np.unique(clusters).size
    return float(present / (present - 1) * np.sum(sums**2)) if present > 1 else float("inf")


def _patient_intervals(
    truth: IntArray, scores: FloatArray, threshold: float, patients: Sequence[str]
) -> PatientIntervals:
    names = np.asarray(patients)
    if names.shape != truth.shape:
        raise ValueError(f"There are {truth.size} films but {names.size} patient names.")
    clusters = np.unique(names, return_inverse=True)[1].astype(np.int64)
    right = ((scores >= threshold) == truth).astype(np.float64)

    def clustered(among: NDArray[np.bool_]) -> Interval | None:
        hits, films = right[among], int(among.sum())
        if films == 0:
            return None
        share = float(hits.mean())
        units = np.unique(clusters[among]).size
        variance = _cluster_variance((hits - share) / films, clusters[among])
        # As many independent films as would vary like these patients do. All right or all wrong says
        # nothing of how alike a patient's films are, so each patient then counts once.
        effective = share * (1 - share) / variance if 0 < share < 1 else float(units)
        effective = min(max(effective, 1.0), float(films))
        low, high = wilson(share * effective, effective)
        return Interval(float(low), float(high))

    area_interval = None
    if truth.min() != truth.max():
        area, influence = _auc_influence(truth, scores)
        variance = _cluster_variance(influence, clusters)
        area_interval = (
            Interval(0.0, 1.0)
            if not np.isfinite(variance)
            else _auc_interval(
                area,
                variance,
                np.unique(clusters[truth == 1]).size,
                np.unique(clusters[truth == 0]).size,
            )
        )
    return PatientIntervals(
        patients=int(clusters.max()) + 1,
        auc=area_interval,
        accuracy=clustered(np.ones(truth.size, dtype=bool)),
        sensitivity=clustered(truth == 1),
        specificity=clustered(truth == 0),
    )


def _band(
    truth: IntArray, scores: FloatArray, false_positive_rate: FloatArray, sensitivity: FloatArray, seed: int
) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(seed)
    order, cells = np.unique(-scores, return_inverse=True)
    if order.size > BAND_CELLS:
        # Cells of about equal numbers of films, in order of score, never cutting through a tie.
        first_rank = np.cumsum(np.bincount(cells)) - np.bincount(cells)
        cells = np.unique(first_rank * BAND_CELLS // scores.size, return_inverse=True)[1][cells]
    size = int(cells.max()) + 1

    def resampled(label: int) -> tuple[FloatArray, int]:
        mine = cells[truth == label]
        counts = np.bincount(mine, minlength=size)
        drawn = np.zeros((BOOTSTRAP_RESAMPLES, size + 1))
        used = np.flatnonzero(counts)
        drawn[:, used + 1] = generator.multinomial(
            mine.size, counts[used] / mine.size, size=BOOTSTRAP_RESAMPLES
        )
        return np.cumsum(drawn, axis=1), mine.size

    false_positives, negatives = resampled(0)
    true_positives, positives = resampled(1)
    grid = np.unique(false_positive_rate)
    if grid.size > BAND_CELLS:
        grid = np.linspace(0, 1, BAND_CELLS + 1)
    # np.interp takes the top of a vertical step, which is the sensitivity reached at that false-positive
    # rate; half a film of slack keeps k / n from missing its own step by rounding.
    at = np.minimum(grid * negatives + 1e-9, negatives)
    reached = np.stack([np.interp(at, x, y) for x, y in zip(false_positives, true_positives, strict=True)])
    corrected = (reached + _Z**2 / 2) / (positives + _Z**2)
    centre, spread = corrected.mean(axis=0), corrected.std(axis=0, ddof=1)
    low = np.interp(false_positive_rate, grid, np.maximum(centre - _Z * spread, 0))
    high = np.interp(false_positive_rate, grid, np.minimum(centre + _Z * spread, 1))
    top = np.maximum.reduceat(sensitivity, np.unique(false_positive_rate, return_index=True)[1])
    curve = np.interp(false_positive_rate, np.unique(false_positive_rate), top)
    # Sensitivity cannot fall as more normals are flagged.
    low = np.minimum(np.maximum.accumulate(low), curve)
    high = np.maximum(np.maximum.accumulate(high), curve)
    return low, high
