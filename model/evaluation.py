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
* Average precision: its influence values (the infinitesimal jackknife: Jaeckel 1972; Efron 1982, SIAM monograph
  38, chapter 6) on the logit scale, which Boyd, Eng & Page (2013), ECML PKDD, LNCS 8190:451-466, recommend; where
  every film of pneumonia comes first, Wilson's interval of as many hits as there are films of pneumonia.
* Brier score and log loss: means over films, on the log scale.
* Calibration error: a parametric bootstrap test turned into an interval (Davison & Hinkley 1997, section 5.4), the
  bins' gaps drawn from their normal limit.
* All that four counts give: `model.intervals`, which names its own sources.
* Several films of one patient: the same influence values summed within patients (for the AUC this is
  Obuchowski (1997), Biometrics 53:567-578; for proportions Rao & Scott (1992), Biometrics 48:577-585).
* Band of the ROC curve: Zhou & Qin (2005), Stat Med 24:465-477, method BTII.
* Calibration error: Naeini, Cooper & Hauskrecht (2015), AAAI, with ten bins of equal width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.intervals import CONFIDENCE as CONFIDENCE
from model.intervals import (
    Films,
    FloatArray,
    IntArray,
    Patients,
    balanced_accuracy,
    clustered_variance,
    intervals_of_counts,
    likelihood_ratio,
    matthews,
    on_log_scale,
    on_logit_scale,
)
from model.intervals import Interval as Interval
from model.intervals import Proportion as Proportion
from model.intervals import Z as _Z
from model.intervals import proportion as proportion
from model.intervals import wilson as wilson

CALIBRATION_BINS = 10
BOOTSTRAP_RESAMPLES = 500
CALIBRATION_RESAMPLES = 2000
CURVE_POINTS = 1000
"""A curve of more points is thinned to about this many: nobody sees more, and a browser slows down."""
BAND_CELLS = 500
"""Scores are grouped into at most this many cells a class before resampling: the band of 100,000 films costs
what that of 1,000 costs."""


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

    @property
    def counts(self) -> FloatArray:
        """``(4,)``: tn, fp, fn, tp."""
        return np.array([self.tn, self.fp, self.fn, self.tp], dtype=np.float64)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of sensitivity and specificity; None where a class has no film."""
        return balanced_accuracy(self.counts)

    @property
    def mcc(self) -> float | None:
        """Matthews' correlation of label and decision, in ``[-1, 1]``; None where a class or a decision has no
        film."""
        return matthews(self.counts)

    @property
    def lr_positive(self) -> float | None:
        """Sensitivity / (1 - specificity); None where a class has no film or no normal film is called pneumonia."""
        return likelihood_ratio(self.counts, flagged=True)

    @property
    def lr_negative(self) -> float | None:
        """(1 - sensitivity) / specificity; None where a class has no film or no normal film is called normal."""
        return likelihood_ratio(self.counts, flagged=False)


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
    """The intervals when films of one patient are not taken as independent of each other.

    None where the figure has no value, or where one patient (or one film) says nothing of the spread.
    """

    patients: int
    auc: Interval | None
    average_precision: Interval | None
    accuracy: Interval | None
    balanced_accuracy: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    precision: Interval | None
    npv: Interval | None
    f1_pneumonia: Interval | None
    f1_normal: Interval | None
    mcc: Interval | None
    lr_positive: Interval | None
    lr_negative: Interval | None
    brier: Interval | None
    log_loss: Interval | None
    ece: Interval | None


@dataclass(frozen=True)
class Evaluation:
    """Every figure of one set of films at one threshold. ``unavailable`` says of each None figure why.

    ``<figure>_interval`` takes every film as independent; it is None where the figure is None, and where the
    films say nothing of its spread (the Brier score of a single film, say).
    """

    n: int
    threshold: float
    confusion: Confusion
    auc: float | None
    auc_interval: Interval | None
    average_precision: float | None
    average_precision_interval: Interval | None
    accuracy: Proportion
    balanced_accuracy: float | None
    balanced_accuracy_interval: Interval | None
    sensitivity: Proportion
    specificity: Proportion
    precision: Proportion
    npv: Proportion
    f1_pneumonia: float | None
    f1_pneumonia_interval: Interval | None
    f1_normal: float | None
    f1_normal_interval: Interval | None
    mcc: float | None
    mcc_interval: Interval | None
    lr_positive: float | None
    lr_positive_interval: Interval | None
    lr_negative: float | None
    lr_negative_interval: Interval | None
    brier: float
    brier_interval: Interval | None
    log_loss: float
    log_loss_interval: Interval | None
    ece: float
    ece_interval: Interval | None
    by_patient: PatientIntervals | None
    unavailable: dict[str, str]

    def value(self, name: str) -> float | None:
        """The figure of that name (one of :data:`FIGURE_NAMES`)."""
        found: float | Proportion | None = getattr(self, name)
        return found.value if isinstance(found, Proportion) else found

    def interval(self, name: str) -> Interval | None:
        """The interval of the figure of that name, films taken as independent."""
        found: float | Proportion | None = getattr(self, name)
        if isinstance(found, Proportion):
            return found.interval
        interval: Interval | None = getattr(self, f"{name}_interval")
        return interval

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
        }
        for name in FIGURE_NAMES:
            result[name] = self.value(name)
            result[f"{name}_ci"] = _pair(self.interval(name))
        result |= {
            "confusion": asdict(self.confusion),
            "by_patient": None,
            "unavailable": dict(self.unavailable),
        }
        if self.by_patient is not None:
            result["by_patient"] = {"patients": self.by_patient.patients} | {
                f"{name}_ci": _pair(getattr(self.by_patient, name)) for name in FIGURE_NAMES
            }
        return result


FIGURE_NAMES = (
    "auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1_pneumonia",
    "f1_normal",
    "mcc",
    "lr_positive",
    "lr_negative",
    "brier",
    "log_loss",
    "ece",
)
"""The figures of an :class:`Evaluation`, in the order in which they are shown."""


@dataclass(frozen=True, eq=False)
class ScoredFilms:
    """Labels and probabilities, checked once; :meth:`at` gives every figure at a threshold.

    What does not depend on the threshold is computed when first asked for and kept, so that following a slider
    costs a few milliseconds for 100,000 films.

    ``labels`` int64 ``(n,)``, ``probabilities`` float64 ``(n,)`` and ``patients``, ``(n,)`` names or None, are in
    the order in which they were given.
    """

    labels: IntArray
    probabilities: FloatArray
    patients: NDArray[np.str_] | None = None

    def at(self, threshold: float) -> Evaluation:
        """All figures where a film is called pneumonia at ``probability >= threshold``.

        :raises ValueError: for a threshold that is NaN.
        """
        threshold = float(threshold)
        counts = self.confusion(threshold)
        found = intervals_of_counts(Films(counts.counts))
        fixed, intervals = self._fixed, self._fixed_intervals
        by_patient = None
        if self._clusters is not None:
            _, number = self._clusters
            cells = self._first_cell + number * (self.probabilities >= threshold)
            units = Patients(np.bincount(cells, minlength=4 * number).reshape(4, number))
            by_patient = PatientIntervals(
                patients=number, **intervals_of_counts(units), **self._fixed_patient_intervals
            )
        return Evaluation(
            n=self.labels.size,
            threshold=threshold,
            confusion=counts,
            auc=fixed.auc,
            auc_interval=intervals["auc"],
            average_precision=fixed.average_precision,
            average_precision_interval=intervals["average_precision"],
            accuracy=counts.accuracy,
            balanced_accuracy=counts.balanced_accuracy,
            balanced_accuracy_interval=found["balanced_accuracy"],
            sensitivity=counts.sensitivity,
            specificity=counts.specificity,
            precision=counts.precision,
            npv=counts.npv,
            f1_pneumonia=counts.f1_pneumonia,
            f1_pneumonia_interval=found["f1_pneumonia"],
            f1_normal=counts.f1_normal,
            f1_normal_interval=found["f1_normal"],
            mcc=counts.mcc,
            mcc_interval=found["mcc"],
            lr_positive=counts.lr_positive,
            lr_positive_interval=found["lr_positive"],
            lr_negative=counts.lr_negative,
            lr_negative_interval=found["lr_negative"],
            brier=fixed.brier,
            brier_interval=intervals["brier"],
            log_loss=fixed.log_loss,
            log_loss_interval=intervals["log_loss"],
            ece=fixed.ece,
            ece_interval=intervals["ece"],
            by_patient=by_patient,
            unavailable=_unavailable(counts),
        )

    def confusion(self, threshold: float) -> Confusion:
        """The four counts at ``probability >= threshold``, by two look-ups in the sorted scores."""
        if np.isnan(threshold):
            raise ValueError("The threshold must be a number.")
        normal, pneumonia = self._sorted
        tn = int(np.searchsorted(normal, threshold, side="left"))
        fn = int(np.searchsorted(pneumonia, threshold, side="left"))
        return Confusion(tn, normal.size - tn, fn, pneumonia.size - fn)

    @cached_property
    def _sorted(self) -> tuple[FloatArray, FloatArray]:
        """Scores of normal films and of films of pneumonia, ascending."""
        positive = self.labels == 1
        return np.sort(self.probabilities[~positive]), np.sort(self.probabilities[positive])

    @cached_property
    def _clusters(self) -> tuple[IntArray, int] | None:
        if self.patients is None:
            return None
        names, codes = np.unique(self.patients, return_inverse=True)
        return codes.astype(np.int64), names.size

    @cached_property
    def _first_cell(self) -> IntArray:
        """Where in a ``(4, patients)`` table a film is counted if it is called normal."""
        assert self._clusters is not None
        clusters, number = self._clusters
        return clusters + 2 * number * self.labels

    @cached_property
    def _fixed(self) -> _Fixed:
        return _fixed(self.labels, self.probabilities)

    @cached_property
    def _fixed_intervals(self) -> dict[str, Interval | None]:
        return _fixed_intervals(self.labels, self._fixed, None)

    @cached_property
    def _fixed_patient_intervals(self) -> dict[str, Interval | None]:
        assert self._clusters is not None
        return _fixed_intervals(self.labels, self._fixed, self._clusters[0])


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
    area, influence = auc_influence(truth, scores)
    return area, _auc_interval_of(truth, area, influence, None)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = CALIBRATION_BINS
) -> float:
    """Mean over films of |mean probability - share of pneumonia| in their bin, in ``[0, 1]``.

    ``bins`` bins of equal width over the probability of PNEUMONIA, ``[0, 0.1), [0.1, 0.2), ... [0.9, 1]``.
    Errors as :func:`checked`.
    """
    truth, scores = checked(labels, probabilities)
    gaps = np.bincount(calibration_bins(scores, bins), weights=scores - truth, minlength=bins)
    return float(np.abs(gaps).sum() / truth.size)


def calibration_bins(probabilities: FloatArray, bins: int = CALIBRATION_BINS) -> IntArray:
    """The bin, ``0 .. bins - 1``, of each probability: ``[0, 1 / bins)`` and so on, the last one closed."""
    # k / 10 exactly as a person writes it; linspace gives 0.30000000000000004
    inner_edges = np.arange(1, bins) / bins
    return np.searchsorted(inner_edges, probabilities, side="right").astype(np.int64)


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
    return scored(labels, probabilities, patients=patients).at(threshold)


def scored(
    labels: ArrayLike, probabilities: ArrayLike, *, patients: Sequence[str] | None = None
) -> ScoredFilms:
    """Films to be evaluated at one threshold after another. Errors as :func:`evaluate`."""
    truth, scores = checked(labels, probabilities)
    names = None
    if patients is not None:
        names = np.asarray(patients, dtype=np.str_)
        if names.shape != truth.shape:
            raise ValueError(f"There are {truth.size} films but {names.size} patient names.")
    return ScoredFilms(truth, scores, names)


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
    kept = thinned(false_positive_rate, sensitivity)
    false_positive_rate, sensitivity, thresholds = (
        array[kept] for array in (false_positive_rate, sensitivity, thresholds)
    )
    band_low, band_high = band_low[kept], band_high[kept]
    return Roc(thresholds, false_positive_rate, sensitivity, band_low, band_high, area[0], area[1])


def thinned(x: FloatArray, y: FloatArray, *, points: int = CURVE_POINTS) -> IntArray:
    """Indices of at most about ``points`` points of a curve that are as even along x and along y as its own points
    allow; all of them where there are no more. First and last always stay."""
    if x.size <= points:
        return np.arange(x.size)
    kept = [0, x.size - 1]
    for way in (x, y):
        travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(way)))])
        wanted = np.linspace(0, travelled[-1], points // 2 - 1)
        kept += np.searchsorted(travelled, wanted).tolist()
    return np.unique(np.minimum(kept, x.size - 1)).astype(np.int64)


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
        names = ("auc", "average_precision", "balanced_accuracy", "mcc", "lr_positive", "lr_negative", rate)
        reasons |= dict.fromkeys(names, reason)
    if counts.tp + counts.fp == 0:
        reasons["precision"] = "no film is called pneumonia at this threshold"
    if counts.tn + counts.fn == 0:
        reasons["npv"] = "no film is called normal at this threshold"
    if counts.tp + counts.fp == 0 or counts.tn + counts.fn == 0:
        decision = "pneumonia" if counts.tp + counts.fp == 0 else "normal"
        reasons.setdefault("mcc", f"no film is called {decision} at this threshold")
    for name, normal, decision in (
        ("lr_positive", counts.fp, "pneumonia"),
        ("lr_negative", counts.tn, "normal"),
    ):
        if not normal:
            reasons.setdefault(name, f"no normal film is called {decision}, so the ratio has no finite value")
    if counts.f1_pneumonia is None:
        reasons["f1_pneumonia"] = "no film is, or is called, pneumonia"
    if counts.f1_normal is None:
        reasons["f1_normal"] = "no film is, or is called, normal"
    return reasons


def auc_influence(truth: IntArray, scores: FloatArray) -> tuple[float, FloatArray]:
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


def _auc_interval_of(
    truth: IntArray, area: float, influence: FloatArray, clusters: IntArray | None
) -> Interval:
    """DeLong's interval, by films or by patients; Newcombe's where DeLong's variance says nothing."""
    positive = truth == 1
    if clusters is None:
        positives, negatives = int(positive.sum()), int((~positive).sum())
        if min(positives, negatives) < 2:
            return _newcombe(area, positives, negatives)
        variance = sum(
            count / (count - 1) * float(np.sum(influence[chosen] ** 2))
            for chosen, count in ((positive, positives), (~positive, negatives))
        )
    else:
        positives, negatives = _units(clusters[positive]), _units(clusters[~positive])
        variance = clustered_variance(influence, clusters)
        if not np.isfinite(variance):
            return Interval(0.0, 1.0)
    if variance < 1e-20 or not 0 < area < 1:
        return _newcombe(area, positives, negatives)
    return on_logit_scale(area, variance)


def _units(clusters: IntArray) -> int:
    return int(np.count_nonzero(np.bincount(clusters)))


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


@dataclass(frozen=True)
class _Fixed:
    """The figures that no threshold changes, and each film's influence ``(n,)`` on them."""

    auc: float | None
    average_precision: float | None
    brier: float
    log_loss: float
    ece: float
    influence: dict[str, FloatArray]
    promised: dict[str, float]
    """Variance of the Brier score and of the log loss if the probabilities are right (Spiegelhalter 1986)."""
    bins: IntArray
    gaps: FloatArray
    """Sum of probability minus label in each calibration bin, divided by n: ``(bins,)``."""
    residuals: FloatArray


def _fixed(truth: IntArray, scores: FloatArray) -> _Fixed:
    n = truth.size
    influence: dict[str, FloatArray] = {}
    area = average_precision = None
    if truth.min() != truth.max():
        area, influence["auc"] = auc_influence(truth, scores)
        average_precision, influence["average_precision"] = _average_precision_influence(truth, scores)
    residuals = scores - truth
    # what scikit-learn's log_loss clips to: a film that is certain and wrong costs 36, not infinity
    smallest = np.finfo(np.float64).eps
    likelihood = np.clip(np.where(truth == 1, scores, 1 - scores), smallest, 1 - smallest)
    p = np.clip(scores, smallest, 1 - smallest)
    promised = {
        "brier": float(np.sum(p * (1 - p) * (1 - 2 * p) ** 2)) / n**2,
        "log_loss": float(np.sum(p * (1 - p) * (np.log(p) - np.log1p(-p)) ** 2)) / n**2,
    }
    means = {}
    for name, loss in (("brier", residuals**2), ("log_loss", -np.log(likelihood))):
        means[name] = float(loss.mean())
        influence[name] = (loss - means[name]) / n
    bins = calibration_bins(scores)
    gaps = np.bincount(bins, weights=residuals, minlength=CALIBRATION_BINS) / n
    return _Fixed(
        auc=area,
        average_precision=average_precision,
        brier=means["brier"],
        log_loss=means["log_loss"],
        ece=float(np.abs(gaps).sum()),
        influence=influence,
        promised=promised,
        bins=bins,
        gaps=gaps,
        residuals=residuals,
    )


def _fixed_intervals(truth: IntArray, fixed: _Fixed, clusters: IntArray | None) -> dict[str, Interval | None]:
    found: dict[str, Interval | None] = {"auc": None, "average_precision": None}
    if fixed.auc is not None and fixed.average_precision is not None:
        found["auc"] = _auc_interval_of(truth, fixed.auc, fixed.influence["auc"], clusters)
        found["average_precision"] = _average_precision_interval(
            truth, fixed.average_precision, fixed.influence["average_precision"], clusters
        )
    for name, value, most in (("brier", fixed.brier, 1.0), ("log_loss", fixed.log_loss, float("inf"))):
        variance = max(clustered_variance(fixed.influence[name], clusters), fixed.promised[name])
        found[name] = on_log_scale(value, variance, most=most)
    found["ece"] = _calibration_interval(fixed, clusters)
    return found


def _average_precision_influence(truth: IntArray, scores: FloatArray) -> tuple[float, FloatArray]:
    """Average precision (the step-wise sum that scikit-learn takes) and each film's influence ``(n,)`` on it.

    AP is the mean over films of pneumonia of the precision P / (P + N) at their own score, P and N being the
    numbers of films of each class at or above it. One more film of weight w at score s changes that precision by
    w N / (P + N)^2 (pneumonia) or - w P / (P + N)^2 (normal) for every film of pneumonia at or below s; one of
    pneumonia adds its own precision to the mean besides. Computed here, not by scikit-learn, because the influences
    need every part of it.
    """
    distinct, cells = np.unique(scores, return_inverse=True)
    size = distinct.size
    positives = np.bincount(cells[truth == 1], minlength=size).astype(np.float64)
    negatives = np.bincount(cells[truth == 0], minlength=size).astype(np.float64)
    above_p, above_n = np.cumsum(positives[::-1])[::-1], np.cumsum(negatives[::-1])[::-1]
    flagged = above_p + above_n
    precision = above_p / flagged
    total = above_p[0]
    value = float(positives @ precision / total)
    gain = np.cumsum(positives * above_n / flagged**2) / total
    loss = np.cumsum(positives * above_p / flagged**2) / total
    influence = np.where(truth == 1, (precision[cells] - value) / total + gain[cells], -loss[cells])
    return min(value, 1.0), influence


def _average_precision_interval(
    truth: IntArray, value: float, influence: FloatArray, clusters: IntArray | None
) -> Interval:
    positive = truth == 1
    if clusters is None:
        positives, negatives = int(positive.sum()), int((~positive).sum())
    else:
        positives, negatives = _units(clusters[positive]), _units(clusters[~positive])
    variance = clustered_variance(influence, clusters)
    if not np.isfinite(variance):
        return Interval(0.0, 1.0)
    if variance < 1e-20 or value >= 1 or min(positives, negatives) < 2:
        low, high = wilson(value * positives, positives)
        return Interval(float(low), float(high))
    return on_logit_scale(value, variance)


def _calibration_interval(fixed: _Fixed, clusters: IntArray | None) -> Interval | None:
    """Interval of the calibration error, holding the estimate; None for one film or patient.

    A calibration error is biased upwards: chance alone makes gaps. So the percentile bootstrap never reaches 0. The
    interval instead holds those errors at which the one found would not be unlikely: the gaps found are scaled to
    each size of error, what chance adds is drawn from the gaps' normal limit (they are sums over films, or over
    patients), and both tails are 2.5 %. As quick for 100,000 films as for 100.
    """
    size = fixed.gaps.size
    if clusters is None:
        number = fixed.residuals.size
        squares = np.bincount(fixed.bins, weights=fixed.residuals**2, minlength=size)
        covariance = np.diag(squares) / number**2 - np.outer(fixed.gaps, fixed.gaps) / number
    else:
        number = int(clusters.max()) + 1
        flat = np.bincount(clusters * size + fixed.bins, weights=fixed.residuals, minlength=number * size)
        sums = flat.reshape(number, size) / fixed.residuals.size - fixed.gaps / number
        covariance = sums.T @ sums
    if number < 2:
        return None
    scales, axes = np.linalg.eigh(covariance * number / (number - 1))
    normal = np.random.default_rng(0).standard_normal((CALIBRATION_RESAMPLES, size))
    noise = normal * np.sqrt(np.maximum(scales, 0)) @ axes.T
    if fixed.ece < 1e-12:  # no direction to scale
        return Interval(0.0, float(min(np.quantile(np.abs(noise).sum(axis=1), CONFIDENCE), 1.0)))

    def scaled(tail: float) -> float:
        """The multiple of the gaps at which the error found is the ``tail`` quantile of what would be seen."""
        low, high = 0.0, 1.0 / fixed.ece
        for _ in range(30):
            middle = (low + high) / 2
            seen = np.abs(middle * fixed.gaps + noise).sum(axis=1)
            low, high = (middle, high) if np.mean(seen <= fixed.ece) > tail else (low, middle)
        return low

    least, most = (scaled(tail) * fixed.ece for tail in (0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2))
    return Interval(float(min(least, fixed.ece)), float(min(max(most, fixed.ece), 1.0)))


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
