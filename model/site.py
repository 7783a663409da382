"""What a site's own labelled films say: are they harder than the test set, and what would suit this site.

Everything that is fitted here is judged on films it was not fitted on: cross-validated, all films of a patient on one
side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import Calibration, OperatingPoint, choose_threshold, fit_platt
from model.dataset import CLASSES
from model.evaluation import Evaluation, Interval, Proportion, checked, proportion

MINIMUM_FILMS = 50
"""Films of each class below which nothing is fitted to a site: at 50, a share of 90 % is known to about 8 points."""
FOLDS = 5
BINS = 10

FloatArray = NDArray[np.float64]
Rule = Literal["sensitivity", "specificity", "youden"]


@dataclass(frozen=True)
class Beside:
    """One figure of the site beside the same of the test set.

    ``difference`` is site less test, 95 %; None where either lacks an interval.
    """

    name: str
    site: float | None
    site_interval: Interval | None
    test: float | None
    test_interval: Interval | None
    difference: Interval | None

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval of the difference shows that the site's is lower or higher, else 0."""
        if self.difference is None:
            return 0
        return -1 if self.difference.high < 0 else int(self.difference.low > 0)


@dataclass(frozen=True)
class Comparison:
    """``rows``: AUC, sensitivity, specificity. ``words``: what they mean, in one or two sentences."""

    rows: tuple[Beside, ...]
    words: str


def compare(site: Evaluation, test: Evaluation) -> Comparison:
    """The site's films beside the test set, both measured at the same threshold.

    Intervals that allow for several films of a patient are taken where there are any. The two sets hold different
    films, so the difference's interval comes from the two intervals by squaring and adding (MOVER: Newcombe 1998,
    Stat Med 17:873-890; Zou & Donner 2008, Stat Med 27:1693-1702).
    """
    rows = (
        _beside("AUC", site.auc, test.auc, _auc(site), _auc(test)),
        _beside(
            "Sensitivity",
            site.sensitivity.value,
            test.sensitivity.value,
            _rate(site, "sensitivity"),
            _rate(test, "sensitivity"),
        ),
        _beside(
            "Specificity",
            site.specificity.value,
            test.specificity.value,
            _rate(site, "specificity"),
            _rate(test, "specificity"),
        ),
    )
    return Comparison(rows=rows, words=_words(*rows))


def _auc(result: Evaluation) -> Interval | None:
    by_patient = None if result.by_patient is None else result.by_patient.auc
    return by_patient or result.auc_interval


def _rate(result: Evaluation, name: Literal["sensitivity", "specificity"]) -> Interval | None:
    by_patient: Interval | None = None if result.by_patient is None else getattr(result.by_patient, name)
    share: Proportion = getattr(result, name)
    return by_patient or share.interval


def _beside(
    name: str, site: float | None, test: float | None, of_site: Interval | None, of_test: Interval | None
) -> Beside:
    difference = None
    if site is not None and test is not None and of_site is not None and of_test is not None:
        gap = site - test
        difference = Interval(
            max(-1.0, gap - sqrt((site - of_site.low) ** 2 + (of_test.high - test) ** 2)),
            min(1.0, gap + sqrt((of_site.high - site) ** 2 + (test - of_test.low) ** 2)),
        )
    return Beside(name, site, of_site, test, of_test, difference)


def _words(auc: Beside, sensitivity: Beside, specificity: Beside) -> str:
    if auc.difference is None:
        return "Whether these films are harder than the test set cannot be said: an AUC needs films of both classes."
    low, high = auc.difference.low, auc.difference.high
    if auc.sign < 0:
        first = (
            "The films of this site seem harder for the network than the test set: its AUC is "
            f"{-high:.3f} to {-low:.3f} lower."
        )
    elif auc.sign > 0:
        first = (
            "The films of this site seem easier for the network than the test set: its AUC is "
            f"{low:.3f} to {high:.3f} higher."
        )
    else:
        first = (
            "It is not shown that the films of this site are harder or easier than the test set: the AUC lies between "
            f"{-low:.3f} lower and {high:.3f} higher."
        )
    if auc.sign >= 0 and (sensitivity.sign < 0 or specificity.sign < 0):
        lower = " and ".join(row.name.lower() for row in (sensitivity, specificity) if row.sign < 0)
        return (
            f"{first} But at this threshold the {lower} is lower here, although the classes are told apart as well: a "
            "threshold or a calibration for this site can mend that."
        )
    return first


@dataclass(frozen=True)
class Errors:
    """How far probabilities are from what happens, with the classes weighted to a prevalence; 0 is best.

    ``ece``: mean gap in ten bins of equal width. ``brier``: mean squared difference from the label.
    """

    ece: float
    brier: float


@dataclass(frozen=True)
class Recalibration:
    """A calibration for a site, and what it is worth.

    Attributes:
        calibration: to be put on top of the probabilities it was fitted to, all films taken.
        before: errors of the probabilities in use.
        after: errors on films that the calibration of their fold was not fitted to.
        prevalence: the share of pneumonia at which the probabilities are right, and the errors measured.
    """

    calibration: Calibration
    before: Errors
    after: Errors
    prevalence: float


@dataclass(frozen=True)
class SiteThreshold:
    """A threshold for a site, with the rates of films that the threshold of their fold was not chosen on."""

    point: OperatingPoint
    sensitivity: Proportion
    specificity: Proportion


def errors(labels: ArrayLike, probabilities: ArrayLike, *, prevalence: float) -> Errors:
    """`Errors` with PNEUMONIA weighted to the share `prevalence`; at the films' own share all films count the same."""
    truth, scores = checked(labels, probabilities)
    positive = truth == 1
    weight = np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum())
    inner_edges = np.arange(1, BINS) / BINS
    which = np.searchsorted(inner_edges, scores, side="right")
    gaps = np.bincount(which, weights=weight * (scores - truth), minlength=BINS)
    return Errors(ece=float(np.abs(gaps).sum()), brier=float(np.sum(weight * (scores - truth) ** 2)))


def too_few(labels: ArrayLike) -> str:
    """Why nothing can be fitted to these films, one sentence; empty where it can."""
    truth = np.asarray(labels)
    counts = {name: int((truth == label).sum()) for label, name in enumerate(CLASSES)}
    if min(counts.values()) >= MINIMUM_FILMS:
        return ""
    found = " and ".join(f"{count:,} {name}" for name, count in counts.items())
    return (
        f"At least {MINIMUM_FILMS} films of each class are needed to fit anything to this site; this set holds "
        f"{found}."
    )


def recalibrate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    patients: Sequence[str],
    in_use: ArrayLike,
    prevalence: float | None,
    fitted_on: str,
) -> Recalibration:
    """Platt scaling of a version's probabilities for a site.

    Args:
        labels: (n,) 1 = PNEUMONIA.
        probabilities: (n,) of the version, as its own card calibrates them.
        patients: (n,) keys; films of a patient stay together in the cross-validation.
        in_use: (n,) the probabilities that the site uses now, for comparison.
        prevalence: share of pneumonia at which the probabilities shall be right; None: that of these films.
        fitted_on: which films, in words, for the calibration's record.

    Raises:
        ValueError: too few films or patients, or a prevalence outside (0, 1); one sentence.
    """
    truth, scores = checked(labels, probabilities)
    if reason := too_few(truth):
        raise ValueError(reason)
    share = float(truth.mean()) if prevalence is None else prevalence
    if not 0 < share < 1:
        raise ValueError("The share of pneumonia must lie between 0 and 100 %.")

    def fit(chosen: NDArray[np.bool_]) -> Calibration:
        return fit_platt(scores[chosen], truth[chosen], prevalence=share, fitted_on=fitted_on)

    unseen = np.empty_like(scores)
    for others, held in _folds(truth, patients):
        unseen[held] = fit(others).apply(scores[held])
    return Recalibration(
        calibration=fit(np.ones(truth.size, dtype=np.bool_)),
        before=errors(truth, in_use, prevalence=share),
        after=errors(truth, unseen, prevalence=share),
        prevalence=share,
    )


def threshold_for_site(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    patients: Sequence[str],
    rule: Rule,
    target: float | None = None,
) -> SiteThreshold:
    """A threshold chosen on a site's films, judged by cross-validation.

    Args:
        labels: (n,) 1 = PNEUMONIA.
        probabilities: (n,) on the scale on which the threshold shall hold.
        patients: (n,) keys; films of a patient stay together in the cross-validation.
        rule: what it must achieve.
        target: the rate in (0, 1] for ``sensitivity`` and ``specificity``.

    Raises:
        ValueError: too few films or patients, or a rule that cannot be met; one sentence.
    """
    truth, scores = checked(labels, probabilities)
    if reason := too_few(truth):
        raise ValueError(reason)
    choose: Callable[[NDArray[np.bool_]], OperatingPoint] = lambda chosen: choose_threshold(  # noqa: E731
        truth[chosen], scores[chosen], rule=rule, target=target
    )
    flagged = np.empty(truth.size, dtype=np.bool_)
    for others, held in _folds(truth, patients):
        flagged[held] = scores[held] >= choose(others).threshold
    positive = truth == 1
    return SiteThreshold(
        point=choose(np.ones(truth.size, dtype=np.bool_)),
        sensitivity=proportion(int((flagged & positive).sum()), int(positive.sum())),
        specificity=proportion(int((~flagged & ~positive).sum()), int((~positive).sum())),
    )


def _folds(
    truth: NDArray[np.int64], patients: Sequence[str]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Masks of the other films and of the films held out, `FOLDS` times; each patient is held out once."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.asarray(patients, dtype=object).astype(str)
    if min(np.unique(groups[truth == label]).size for label in (0, 1)) < FOLDS:
        raise ValueError(
            f"Films of at least {FOLDS} patients of each class are needed to judge what is fitted."
        )
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
    for _, held in splitter.split(np.zeros((truth.size, 1)), truth, groups):
        mask = np.zeros(truth.size, dtype=np.bool_)
        mask[held] = True
        yield ~mask, mask
