"""Probabilities that mean what they say, and the thresholds that a card offers by name.

Both are fitted on validation films only. A calibration never changes the order of films.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from model.evaluation import checked

FloatArray = NDArray[np.float64]
Rule = Literal["sensitivity", "specificity", "youden", "cost"]

CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 before the logit is taken, which is what float32 can tell from
1."""
SCREENING_SENSITIVITY = 0.98
RULE_IN_SPECIFICITY = 0.98
SMALLEST_SLOPE = 0.01
"""A slope of 0 or less would tie or turn round the order of films."""
NEAR = 1e-12
"""Rates this close are equal: sums of weights are not exact."""


class Calibration(BaseModel):
    """``sigmoid(slope * logit(raw) + intercept)``.

    ``prevalence`` is the share of pneumonia among the films it was fitted on, after weighting: the prevalence
    at which the probabilities are right; None where nothing was fitted. ``fitted_on`` says in words on which
    films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    slope: float = Field(gt=0)
    intercept: float
    prevalence: float | None = Field(default=None, gt=0, lt=1)
    fitted_on: str

    def apply(self, raw: ArrayLike) -> FloatArray:
        """Calibrated probabilities, float64 in ``[0, 1]``, of the shape of ``raw``, the network's output in
        ``[0, 1]``.

        Slope 1 and intercept 0 leave the values as they are.
        """
        values = np.asarray(raw, dtype=np.float64)
        if self.slope == 1 and self.intercept == 0:
            return values.copy()
        return sigmoid(self.slope * logit(values) + self.intercept)


class OperatingPoint(BaseModel):
    """A named threshold: a film is called pneumonia where its calibrated probability is at least
    ``threshold``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    threshold: float = Field(ge=0, le=1)
    rule: str


def logit(probability: ArrayLike) -> FloatArray:
    """``log(p / (1 - p))`` with p clipped to ``[1e-7, 1 - 1e-7]``."""
    p = np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def sigmoid(value: ArrayLike) -> FloatArray:
    """``1 / (1 + exp(-value))`` without overflow and without loss near 0."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(value, dtype=np.float64))))


def identity() -> Calibration:
    """The calibration that leaves the network's output as it is."""
    return Calibration(method="none", slope=1.0, intercept=0.0, prevalence=None, fitted_on="nothing")


def fit_platt(
    raw: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    prevalence: float | None = None,
    fitted_on: str,
) -> Calibration:
    """Logistic regression of the label on the logit of the network's output, towards Platt's smoothed
    targets.

    A film of pneumonia is fitted to ``(m + 1) / (m + 2)`` and a normal one to ``1 / (n + 2)`` instead of 1
    and 0, with m and n the numbers of films of the class (Kish's effective numbers where films are weighted).
    So classes that validation films separate perfectly give a finite slope. Platt (1999), Advances in Large
    Margin Classifiers; Lin, Lin & Weng (2007), Machine Learning 68:267-276. There is no other penalty; the
    slope is held at 0.01 or more, so that even a network that learnt nothing keeps its order.

    :param raw: ``(n,)`` network outputs in ``[0, 1]``.
    :param weights: ``(n,)`` positive sample weights; all equal where None.
    :param prevalence: weigh the classes so that pneumonia has this share (0.5: both classes count the same);
        None leaves the share that the (weighted) films have.
    :raises ValueError: as :func:`model.evaluation.checked`; for weights that are not positive numbers; where
        a class has no film.
    """
    from scipy.optimize import minimize

    truth, scores = checked(labels, raw)
    weight = _weights(weights, truth.size)
    positive = truth == 1
    if positive.all() or not positive.any():
        raise ValueError("Calibration needs validation films of both classes.")
    target = np.where(
        positive,
        (_effective(weight[positive]) + 1) / (_effective(weight[positive]) + 2),
        1 / (_effective(weight[~positive]) + 2),
    )
    if prevalence is not None:
        if not 0 < prevalence < 1:
            raise ValueError("The prevalence must lie between 0 and 1.")
        weight = np.where(
            positive,
            weight * prevalence / weight[positive].sum(),
            weight * (1 - prevalence) / weight[~positive].sum(),
        )
    weight = weight / weight.sum()
    share = float(weight[positive].sum())

    x = logit(scores)
    # Fitted to the standardised logit: the optimiser's steps then do not depend on how sure the network is
    # of itself.
    centre, spread = float(np.average(x, weights=weight)), float(x.std())
    scale = spread if spread > 1e-9 else 1.0  # equal scores: their spread is nothing but rounding
    standard = (x - centre) / scale

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        z = parameters[0] * standard + parameters[1]
        value = np.sum(weight * (np.logaddexp(0.0, z) - target * z))
        residual = weight * (sigmoid(z) - target)
        return float(value), np.array([np.sum(residual * standard), np.sum(residual)])

    fit = minimize(
        loss,
        x0=np.array([scale, centre]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(SMALLEST_SLOPE * scale, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    slope = float(fit.x[0]) / scale
    return Calibration(
        method="Platt scaling of the logit, smoothed targets",
        slope=slope,
        intercept=float(fit.x[1]) - slope * centre,
        prevalence=share,
        fitted_on=fitted_on,
    )


def operating_points(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    smooth: bool = False,
    films: str = "validation films",
) -> tuple[OperatingPoint, ...]:
    """The four named thresholds, from calibrated probabilities of validation films.

    * ``default``: 0.5.
    * ``balanced``: highest sensitivity + specificity (Youden 1950).
    * ``screening``: highest specificity with sensitivity >= 0.98, never less sensitive than ``balanced``.
    * ``rule-in``: highest sensitivity with specificity >= 0.98, never less specific than ``balanced``.

    Every threshold between two neighbouring scores decides the validation films alike; the one taken is
    midway on the logit scale, so that it is as far from the last film of one side as from the first of the
    other, with as few decimals as stay in the middle half of the gap. Where several stretches are equally
    good, the widest (then the more sensitive) is taken. Scores that do not tell the classes apart at all give
    ``balanced`` 0.5.

    :param weights: ``(n,)`` positive sample weights for the two rates.
    :param smooth: find ``balanced`` on Gaussian-kernel estimates of the two score distributions (logit scale,
        Silverman's bandwidth) instead of the films' own steps. The empirical maximum is noisy where few films
        lie near the threshold; the kernel estimate has the smaller error there (Fluss, Faraggi & Reiser 2005,
        Biom J 47:458-472).
    :param films: what the scores are of, for the rule's words.
    :raises ValueError: as :func:`model.evaluation.checked`; for weights that are not positive numbers; where
        a class has no film.
    """
    truth, scores = checked(labels, probabilities)
    weight = _weights(weights, truth.size)
    positive = truth == 1
    if positive.all() or not positive.any():
        raise ValueError("Operating points need validation films of both classes.")

    distinct, sensitivity, specificity = _rates(positive, scores, weight)
    youden = sensitivity + specificity - 1

    if youden.max() <= NEAR:
        balanced = 0.5
        balanced_rule = "0.5, because the scores of validation films do not tell the classes apart"
    elif smooth:
        balanced = _smooth_youden(logit(scores), positive, weight)
        balanced_rule = f"highest sensitivity + specificity on {films} (Youden, smoothed distributions)"
    else:
        balanced = _middle(distinct, youden >= youden.max() - NEAR)
        balanced_rule = f"highest sensitivity + specificity on {films} (Youden)"

    screening = _middle(distinct, _best(sensitivity, SCREENING_SENSITIVITY, specificity))
    screening = min(screening, balanced)
    rule_in = max(_middle(distinct, _best(specificity, RULE_IN_SPECIFICITY, sensitivity)), balanced)
    return (
        OperatingPoint(name="default", threshold=0.5, rule="a probability of one half or more"),
        OperatingPoint(name="balanced", threshold=balanced, rule=balanced_rule),
        OperatingPoint(
            name="screening",
            threshold=screening,
            rule=f"sensitivity of at least 98 % on {films}, with the best specificity that leaves",
        ),
        OperatingPoint(
            name="rule-in",
            threshold=rule_in,
            rule=f"specificity of at least 98 % on {films}, with the best sensitivity that leaves",
        ),
    )


def choose_threshold(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    rule: Rule,
    target: float | None = None,
    cost_ratio: float | None = None,
    prevalence: float | None = None,
) -> OperatingPoint:
    """A threshold by rule, from the films at hand; between two films it lies as in :func:`operating_points`.

    * ``sensitivity``: highest specificity with sensitivity >= ``target``.
    * ``specificity``: highest sensitivity with specificity >= ``target``.
    * ``youden``: highest sensitivity + specificity.
    * ``cost``: lowest expected cost where a missed pneumonia costs ``cost_ratio`` false alarms and pneumonia has
      ``prevalence`` (None: the share among these films).

    The rates it promises are those of these very films, and a little flattered: other films will give others.

    :raises ValueError: in one sentence, as :func:`model.evaluation.checked`; where a class has no film, what the rule
        needs is missing or out of range, or no threshold in ``[0, 1]`` does what is asked (a specificity above the
        share of normal films below a probability of 1; Youden where the probabilities tell nothing).
    """
    truth, scores = checked(labels, probabilities)
    positive = truth == 1
    if positive.all() or not positive.any():
        raise ValueError("Choosing a threshold needs films of both classes.")
    distinct, sensitivity, specificity = _rates(positive, scores, np.ones(truth.size))
    if distinct[-1] == 1:  # no threshold lies above a film at 1
        sensitivity, specificity = sensitivity[:-1], specificity[:-1]

    if rule in ("sensitivity", "specificity"):
        if target is None or not 0 < target <= 1:
            raise ValueError(f"The {rule} to reach must be above 0 and at most 1.")
        kept, gained = (sensitivity, specificity) if rule == "sensitivity" else (specificity, sensitivity)
        other = "specificity" if rule == "sensitivity" else "sensitivity"
        if kept.max() < target - NEAR:
            raise ValueError(
                f"No threshold reaches a {rule} of {_percent(target)}: {_percent(1 - float(kept.max()))} of the "
                "normal films have a probability of 1."
            )
        good = _best(kept, target, gained)
        name = f"{rule} {_percent(target)}"
        words = f"{rule} of at least {_percent(target)} on these films, with the best {other} that leaves"
    elif rule == "youden":
        total = sensitivity + specificity
        if total.max() <= 1 + NEAR:
            raise ValueError(
                "The probabilities do not tell the classes apart, so no threshold is better than another."
            )
        good = total >= total.max() - NEAR
        name, words = "Youden", "highest sensitivity + specificity on these films (Youden)"
    elif rule == "cost":
        if cost_ratio is None or not 0 < cost_ratio < float("inf"):
            raise ValueError("The cost of a missed pneumonia, in false alarms, must be a number above 0.")
        share = float(positive.mean()) if prevalence is None else prevalence
        if not 0 < share < 1:
            raise ValueError("The prevalence must lie between 0 and 1.")
        cost = cost_ratio * share * (1 - sensitivity) + (1 - share) * (1 - specificity)
        good = cost <= cost.min() + NEAR * max(cost_ratio, 1.0)
        name = f"cost ratio {cost_ratio:g}"
        words = (
            f"lowest cost on these films where one missed pneumonia costs {cost_ratio:g} false alarms and "
            f"{_percent(share)} of films show pneumonia"
        )
    else:
        raise ValueError(f"There is no rule {rule!r}; it is sensitivity, specificity, youden or cost.")

    good = np.pad(good, (0, distinct.size + 1 - good.size))
    return OperatingPoint(name=name, threshold=_middle(distinct, good), rule=words)


def _percent(share: float) -> str:
    return f"{round(100 * share, 2):g} %"


def _rates(
    positive: NDArray[np.bool_], scores: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct scores ``(k,)``, and sensitivity and specificity ``(k + 1,)`` at each of them as threshold, then above
    them all."""
    distinct, cells = np.unique(scores, return_inverse=True)

    def at_least(chosen: NDArray[np.bool_]) -> FloatArray:
        mass = np.bincount(cells[chosen], weights=weight[chosen], minlength=distinct.size)
        return np.append(np.cumsum(mass[::-1])[::-1], 0.0) / mass.sum()

    return distinct, at_least(positive), 1 - at_least(~positive)


def _best(floor: FloatArray, least: float, gain: FloatArray) -> NDArray[np.bool_]:
    """Where ``floor`` is at least ``least``, ``gain`` highest, and then ``floor`` highest."""
    allowed = floor >= least - NEAR
    highest = allowed & (gain >= gain[allowed].max() - NEAR)
    return highest & (floor >= floor[highest].max() - NEAR)


def _weights(weights: ArrayLike | None, size: int) -> FloatArray:
    if weights is None:
        return np.ones(size)
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != (size,):
        raise ValueError(f"There are {size} films but {weight.size} weights.")
    if not (np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError("Weights must be positive numbers.")
    return weight


def _effective(weight: FloatArray) -> float:
    """Kish's effective number of films: their number where all weights are equal."""
    return float(weight.sum() ** 2 / np.sum(weight**2))


def _middle(distinct: FloatArray, good: NDArray[np.bool_]) -> float:
    """The middle, on the logit scale, of the widest run of equally good thresholds.

    ``good[i]`` speaks of the thresholds in ``(distinct[i - 1], distinct[i]]``; ``good[0]`` of those at or
    below every score, ``good[-1]`` of those above every score.
    """
    runs = np.split(np.flatnonzero(good), np.flatnonzero(np.diff(np.flatnonzero(good)) > 1) + 1)
    best, best_width = 0.5, -1.0
    for run in runs:
        first, last = int(run[0]), int(run[-1])
        open_below, open_above = first == 0, last == distinct.size
        low = distinct[first] if open_below else distinct[first - 1]
        high = distinct[-1] if open_above else distinct[last]
        a, b = float(logit(low)), float(logit(high))
        if open_below:
            # Everything flagged, or (with a wider run) up to `high`: there is no film below to keep clear of.
            a -= 1.0
            low = -1.0
        if open_above:
            b += 1.0
            high = 1.0
        if b - a <= best_width:
            continue
        middle = min(_rounded(a, b), float(high))
        # Neighbours closer than rounding, or both beyond the clip: the upper score itself decides alike.
        best, best_width = (middle if middle > low else float(high)), b - a
    return best


def _rounded(a: float, b: float) -> float:
    """The probability midway between two logits, with as few decimals (three at least) as the middle half
    allows.

    A threshold that people read, type and put into a link has no more digits than mean something.
    """
    middle = float(sigmoid((a + b) / 2))
    for digits in range(3, 16):
        short = round(middle, digits)
        if abs(float(logit(short)) - (a + b) / 2) <= (b - a) / 4:
            return short
    return middle


def _smooth_youden(x: FloatArray, positive: NDArray[np.bool_], weight: FloatArray) -> float:
    from scipy.special import ndtr

    def distribution(chosen: NDArray[np.bool_], grid: FloatArray) -> FloatArray:
        values, share = x[chosen], weight[chosen] / weight[chosen].sum()
        spread = float(np.sqrt(np.average((values - np.average(values, weights=share)) ** 2, weights=share)))
        quartiles = np.quantile(values, (0.25, 0.75), weights=share, method="inverted_cdf")
        iqr = float(quartiles[1] - quartiles[0]) / 1.34
        bandwidth = 0.9 * (min(spread, iqr) or spread or 1e-3) * _effective(weight[chosen]) ** -0.2
        return np.asarray(ndtr((grid[:, None] - values[None, :]) / bandwidth) @ share)

    grid = np.linspace(x.min(), x.max(), 2001)
    youden = distribution(~positive, grid) - distribution(positive, grid)
    plateau = grid[youden >= youden.max() - 1e-9]
    return round(float(sigmoid((plateau[0] + plateau[-1]) / 2)), 3)
