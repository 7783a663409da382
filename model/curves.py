"""What the Metrics screen draws, as frozen arrays: curves, histograms, tables by threshold, groups, comparisons.

Pure functions with the conventions of :mod:`model.evaluation`: ``labels`` ``(n,)`` of 0 and 1, ``probabilities``
``(n,)`` in ``[0, 1]``, a film is called pneumonia where ``probability >= threshold``, all intervals are 95 %. Curves
of more than about a thousand points are thinned; figures are always of all films. All raise :class:`ValueError` as
:func:`model.evaluation.checked` does.

Sources
-------
* Net benefit: Vickers & Elkin (2006), Med Decis Making 26:565-574.
* Predictive values at a given prevalence: Mercaldo, Lau & Zhou (2007), Stat Med 26:2170-2183, logit intervals; where
  sensitivity or specificity is 0 or 1 their adjusted logit intervals (1.96^2 / 2 added to the counts of both).
* Comparing two areas: DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845, paired; by patients Obuchowski
  (1997), Biometrics 53:567-578.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from model.evaluation import (
    CALIBRATION_BINS,
    auc,
    auc_influence,
    calibration_bins,
    checked,
    scored,
    thinned,
)
from model.intervals import (
    FloatArray,
    IntArray,
    Interval,
    Proportion,
    Z,
    clustered_variance,
    proportion,
    wilson,
)

TABLE_THRESHOLDS: FloatArray = np.arange(1, 20) / 20
"""0.05 to 0.95 in steps of 0.05."""
DECISION_THRESHOLDS: FloatArray = np.arange(1, 100) / 100
SMALL_GROUP = 30
NOT_STATED = "not stated"
MOST_FILMS = 10_000_000


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The precision-recall curve; all arrays ``(k,)``, recall ascending from 0 to 1.

    ``thresholds`` descend from infinity. Precision without a flagged film has no value; the first point takes that of
    the second. Between two points the precision is that of the later one (a step: vertical, then horizontal), and
    the area under those steps is ``average_precision``. ``prevalence`` is the share of pneumonia in the set: the
    precision of a coin.
    """

    thresholds: FloatArray
    recall: FloatArray
    precision: FloatArray
    average_precision: float
    prevalence: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """The reliability diagram. ``edges`` ``(bins + 1,)``; ``counts`` int64 ``(bins,)``, films a bin;
    ``mean_probability``, ``share`` (of pneumonia), ``low`` and ``high`` (Wilson) ``(bins,)``, NaN where a bin is
    empty."""

    edges: FloatArray
    counts: IntArray
    mean_probability: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Distribution:
    """Films by probability: ``edges`` ``(bins + 1,)``, ``normal`` and ``pneumonia`` int64 ``(bins,)``; a bin holds
    its lower edge, the last one its upper edge too."""

    edges: FloatArray
    normal: IntArray
    pneumonia: IntArray


@dataclass(frozen=True, eq=False)
class Sweep:
    """Counts (int64) and figures (float64) at each threshold, all ``(k,)``; NaN where a figure has no value.

    ``<rate>_low`` and ``_high`` are Wilson's. ``youden`` is sensitivity + specificity - 1.
    """

    thresholds: FloatArray
    tn: IntArray
    fp: IntArray
    fn: IntArray
    tp: IntArray
    sensitivity: FloatArray
    sensitivity_low: FloatArray
    sensitivity_high: FloatArray
    specificity: FloatArray
    specificity_low: FloatArray
    specificity_high: FloatArray
    precision: FloatArray
    npv: FloatArray
    accuracy: FloatArray
    f1_pneumonia: FloatArray
    youden: FloatArray


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit, in true positives a film, at each threshold probability ``(k,)``: of following the network and of
    treating every film as pneumonia. Treating none has net benefit 0. Holds at the set's own prevalence."""

    thresholds: FloatArray
    model: FloatArray
    treat_all: FloatArray


@dataclass(frozen=True)
class PredictiveValues:
    """What a flag and its absence mean at a prevalence; None where the set lacks a class or nobody would be called
    so."""

    prevalence: float
    ppv: float | None
    ppv_interval: Interval | None
    npv: float | None
    npv_interval: Interval | None


@dataclass(frozen=True)
class Subgroup:
    """One group of films at the threshold. ``auc`` is None where no film of the other class exists at all; ``note``
    says what to keep in mind, in one or two sentences, or is empty."""

    name: str
    normal: int
    pneumonia: int
    sensitivity: Proportion
    specificity: Proportion
    auc: float | None
    auc_interval: Interval | None
    note: str


@dataclass(frozen=True)
class AucDifference:
    """Two networks on the same films. ``difference`` is first - second. ``interval`` and ``p_value`` (two-sided) are
    None where the films say nothing of the spread: one film of a class, one patient, or both areas without any
    variance although they differ."""

    first: float
    second: float
    difference: float
    interval: Interval | None
    p_value: float | None


def precision_recall(labels: ArrayLike, probabilities: ArrayLike) -> PrecisionRecall:
    """The precision-recall curve at every distinct score, thinned where there are more than a thousand.

    :raises ValueError: also where a class has no film.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth, scores = checked(labels, probabilities)
    if truth.min() == truth.max():
        raise ValueError("A precision-recall curve needs films of both classes.")
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    # scikit-learn goes from the lowest threshold up and ends with the convention (1, 0), which is replaced
    recall, thresholds = recall[::-1], np.concatenate([[np.inf], thresholds[::-1]])
    precision = np.concatenate([[precision[-2]], precision[-2::-1]])
    kept = thinned(recall, precision)
    return PrecisionRecall(
        thresholds=thresholds[kept],
        recall=recall[kept],
        precision=precision[kept],
        average_precision=float(average_precision_score(truth, scores)),
        prevalence=float(truth.mean()),
    )


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """Share of pneumonia against mean probability in bins of equal width, the bins of the calibration error."""
    truth, scores = checked(labels, probabilities)
    which = calibration_bins(scores, bins)
    counts = np.bincount(which, minlength=bins)
    filled = counts > 0
    mean, share, low, high = np.full((4, bins), np.nan)
    mean[filled] = np.bincount(which, weights=scores, minlength=bins)[filled] / counts[filled]
    ill = np.bincount(which, weights=truth, minlength=bins)[filled]
    share[filled] = ill / counts[filled]
    low[filled], high[filled] = wilson(ill, counts[filled])
    return Reliability(np.arange(bins + 1) / bins, counts.astype(np.int64), mean, share, low, high)


def distribution(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 50) -> Distribution:
    """How many films of each class have which probability."""
    truth, scores = checked(labels, probabilities)
    which = calibration_bins(scores, bins)
    normal, pneumonia = (np.bincount(which[truth == label], minlength=bins) for label in (0, 1))
    return Distribution(np.arange(bins + 1) / bins, normal.astype(np.int64), pneumonia.astype(np.int64))


def sweep(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike = TABLE_THRESHOLDS) -> Sweep:
    """The figures at each of ``thresholds`` ``(k,)``, in the order given.

    :raises ValueError: also for thresholds that are NaN or not one-dimensional.
    """
    truth, scores = checked(labels, probabilities)
    at = np.asarray(thresholds, dtype=np.float64)
    if at.ndim != 1 or np.isnan(at).any():
        raise ValueError("Thresholds must be a list of numbers.")
    normal, pneumonia = np.sort(scores[truth == 0]), np.sort(scores[truth == 1])
    tn, fn = (np.searchsorted(films, at, side="left").astype(np.int64) for films in (normal, pneumonia))
    fp, tp = normal.size - tn, pneumonia.size - fn
    sensitivity, sensitivity_low, sensitivity_high = _shares(tp, tp + fn)
    specificity, specificity_low, specificity_high = _shares(tn, tn + fp)
    return Sweep(
        thresholds=at,
        tn=tn,
        fp=fp,
        fn=fn,
        tp=tp,
        sensitivity=sensitivity,
        sensitivity_low=sensitivity_low,
        sensitivity_high=sensitivity_high,
        specificity=specificity,
        specificity_low=specificity_low,
        specificity_high=specificity_high,
        precision=_shares(tp, tp + fp)[0],
        npv=_shares(tn, tn + fn)[0],
        accuracy=_shares(tn + tp, tn + fp + fn + tp)[0],
        f1_pneumonia=_shares(2 * tp, 2 * tp + fp + fn)[0],
        youden=sensitivity + specificity - 1,
    )


def decision_curve(
    labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike | None = None
) -> DecisionCurve:
    """Net benefit TP / n - FP / n * t / (1 - t) at threshold probabilities t (default 0.01 to 0.99).

    It needs no film of either class: without one, the part of that class is 0.

    :raises ValueError: also for a threshold that is not at least 0 and below 1.
    """
    at = DECISION_THRESHOLDS if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if at.ndim != 1 or not ((at >= 0) & (at < 1)).all():
        raise ValueError("The thresholds of a decision curve must be at least 0 and below 1.")
    table = sweep(labels, probabilities, at)
    n = np.maximum(table.tn + table.fp + table.fn + table.tp, 1)
    odds = at / (1 - at)
    treat_all = (table.tp + table.fn) / n - (table.tn + table.fp) / n * odds
    return DecisionCurve(at, table.tp / n - table.fp / n * odds, treat_all)


def predictive_values(
    sensitivity: Proportion, specificity: Proportion, prevalence: float
) -> PredictiveValues:
    """PPV and NPV that this sensitivity and specificity give where pneumonia has this prevalence, in ``[0, 1]``.

    The intervals hold the uncertainty of the two rates, not that of the prevalence.

    :raises ValueError: for a prevalence outside ``[0, 1]``.
    """
    if not 0 <= prevalence <= 1:
        raise ValueError("The prevalence must lie between 0 and 1.")
    if sensitivity.value is None or specificity.value is None:
        return PredictiveValues(prevalence, None, None, None, None)
    # the normal films' value is the same formula with the classes exchanged
    ppv, ppv_interval = _predictive(sensitivity, specificity, prevalence)
    npv, npv_interval = _predictive(specificity, sensitivity, 1 - prevalence)
    return PredictiveValues(prevalence, ppv, ppv_interval, npv, npv_interval)


def subgroups(
    labels: ArrayLike, probabilities: ArrayLike, groups: Sequence[str], *, threshold: float
) -> tuple[Subgroup, ...]:
    """Sensitivity, specificity and AUC of each group ``groups`` ``(n,)`` names, in alphabetical order; films without
    a name come last, as "not stated".

    A group of one class (bacterial pneumonia, say) has its AUC against all films of the other class.

    :raises ValueError: also where there is not one name a film.
    """
    truth, scores = checked(labels, probabilities)
    if len(groups) != truth.size:
        raise ValueError(f"There are {truth.size} films but {len(groups)} group names.")
    stated = [str(name).strip() if name == name and name is not None else "" for name in groups]
    names = np.array([name or NOT_STATED for name in stated], dtype=np.str_)
    order = sorted(set(names.tolist()), key=lambda name: (name == NOT_STATED, name.casefold(), name))
    return tuple(_subgroup(truth, scores, names == name, name, threshold) for name in order)


def compare_auc(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, patients: Sequence[str] | None = None
) -> AucDifference:
    """Do two networks rank the same films differently well? ``first`` and ``second`` ``(n,)`` are their
    probabilities.

    With ``patients`` ``(n,)`` the variance allows for several films of one patient.

    :raises ValueError: also where a class has no film.
    """
    one, other = scored(labels, first, patients=patients), scored(labels, second)
    truth = one.labels
    if truth.min() == truth.max():
        raise ValueError("Comparing areas needs films of both classes.")
    (a, influence_a), (b, influence_b) = (auc_influence(truth, films.probabilities) for films in (one, other))
    difference, influence = a - b, influence_a - influence_b
    if one.patients is None:
        sizes = np.bincount(truth)
        if sizes.min() < 2:
            return AucDifference(a, b, difference, None, None)
        variance = float(np.sum((sizes / (sizes - 1))[truth] * influence**2))
    else:
        clusters = np.unique(one.patients, return_inverse=True)[1].astype(np.int64)
        variance = clustered_variance(influence, clusters)
    if not np.isfinite(variance):
        return AucDifference(a, b, difference, None, None)
    if variance < 1e-20:
        if abs(difference) < 1e-12:
            return AucDifference(a, b, 0.0, Interval(0.0, 0.0), 1.0)
        return AucDifference(a, b, difference, None, None)
    error = float(np.sqrt(variance))
    interval = Interval(max(difference - Z * error, -1.0), min(difference + Z * error, 1.0))
    p_value = 2 * NormalDist().cdf(-abs(difference) / error)
    return AucDifference(a, b, difference, interval, p_value)


def films_needed(share: float, half_width: float) -> int:
    """How many films of one class give a Wilson interval no wider than plus and minus ``half_width`` (both in
    shares, 0.02 is two percentage points), where a share like ``share`` of them is read rightly.

    :raises ValueError: for a share outside ``[0, 1]`` or a half-width outside ``(0, 0.5)``, or one so narrow that it
        would take more than ten million films.
    """
    if not 0 <= share <= 1:
        raise ValueError("The expected share must lie between 0 and 1.")
    if not 0 < half_width < 0.5:
        raise ValueError("The half-width must lie between 0 and 0.5.")

    def wide(films: int) -> bool:
        low, high = wilson(share * films, films)
        return bool((high - low) / 2 > half_width)

    if wide(MOST_FILMS):
        raise ValueError("So narrow an interval would take more than ten million films.")
    low, high = 0, MOST_FILMS  # too few, enough: the width falls with every film more
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def _shares(counts: IntArray, totals: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    value, low, high = np.full((3, totals.size), np.nan)
    some = totals > 0
    value[some] = counts[some] / totals[some]
    low[some], high[some] = wilson(counts[some], totals[some])
    return value, low, high


def _predictive(
    right: Proportion, right_of_others: Proportion, prevalence: float
) -> tuple[float | None, Interval | None]:
    assert right.value is not None
    assert right_of_others.value is not None
    hits, misses = right.value * prevalence, (1 - right_of_others.value) * (1 - prevalence)
    if hits + misses == 0:
        return None, None
    value = hits / (hits + misses)
    if prevalence in (0.0, 1.0):
        return value, Interval(value, value)
    a, m, b, n = (
        right.count,
        right.total,
        right_of_others.total - right_of_others.count,
        right_of_others.total,
    )
    shares = (a / m, b / n)
    sizes: tuple[float, float] = (m, n)
    if a in (0, m) or b in (0, n):
        shares = ((a + Z**2 / 2) / (m + Z**2), (b + Z**2 / 2) / (n + Z**2))
        sizes = (m + Z**2, n + Z**2)
    centre = np.log(shares[0] * prevalence) - np.log(shares[1] * (1 - prevalence))
    variance = sum((1 - share) / share / size for share, size in zip(shares, sizes, strict=True))
    low, high = (1 / (1 + np.exp(-(centre + sign * Z * np.sqrt(variance)))) for sign in (-1, 1))
    return value, Interval(float(min(low, value)), float(max(high, value)))


def _subgroup(
    truth: IntArray, scores: FloatArray, mine: np.typing.NDArray[np.bool_], name: str, threshold: float
) -> Subgroup:
    normal, pneumonia = (int(np.sum(mine & (truth == label))) for label in (0, 1))
    flagged = scores >= threshold
    notes = []
    compared = mine
    if not (normal and pneumonia):
        other = 1 if normal else 0
        compared = mine | (truth == other)
        if np.any(truth == other):
            whole = "films of pneumonia" if normal else "normal films"
            notes.append(f"AUC against all {whole} of the set.")
        else:
            notes.append("No AUC: the set holds films of one class only.")
    area = auc(truth[compared], scores[compared])
    if normal + pneumonia < SMALL_GROUP:
        films = "film" if normal + pneumonia == 1 else "films"
        notes.append(f"Only {normal + pneumonia} {films}: the intervals are too wide for a verdict.")
    return Subgroup(
        name=name,
        normal=normal,
        pneumonia=pneumonia,
        sensitivity=proportion(int(np.sum(mine & flagged & (truth == 1))), pneumonia),
        specificity=proportion(int(np.sum(mine & ~flagged & (truth == 0))), normal),
        auc=None if area is None else area[0],
        auc_interval=None if area is None else area[1],
        note=" ".join(notes),
    )
