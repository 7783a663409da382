"""Sensitivity and specificity where only some films were verified, and flagged ones more often than others.

Where a verdict is given depends on the decision (flagged films are looked at first), the verified films alone flatter
the sensitivity and run down the specificity. If nothing but the decision has a say in it, the predictive values among
verified films are right, and weighed with all decisions they give the rates of all films: Begg & Greenes (1983),
Biometrics 39:207-215. The intervals are symmetric on the logit scale, by the delta method: the three shares that
enter (flagged films, predictive values) are independent binomials; where a count is zero, half a film is added to the
counts of its decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.intervals import Interval, on_logit_scale


@dataclass(frozen=True)
class Rate:
    """A rate in [0, 1] with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class VerifiedFilms:
    """Films by decision and verdict (tn, fp, fn, tp), and all films by decision, verified or not."""

    tn: int
    fp: int
    fn: int
    tp: int
    flagged: int
    passed: int


def corrected_rates(films: VerifiedFilms) -> tuple[Rate, Rate] | None:
    """Sensitivity and specificity of all films; None where a decision has no film or none that was verified.

    Worked by hand: of 100 flagged films 50 were verified, 40 of them ill; of 100 others 10 were, 1 of them ill. Of all
    films that is 80 and 10 ill, so the sensitivity is 80 / 90; among the verified alone it looks like 40 / 41.

    >>> sensitivity, specificity = corrected_rates(VerifiedFilms(tn=9, fp=10, fn=1, tp=40, flagged=100, passed=100))
    >>> round(sensitivity.value, 4), round(specificity.value, 4)
    (0.8889, 0.8182)
    """
    if not (films.tp + films.fp and films.tn + films.fn):
        return None
    total = films.flagged + films.passed
    share = films.flagged / total
    if not 0 < share < 1:
        return None
    counted = [(films.tp, films.fp), (films.fn, films.tn)]
    ill = [one / (one + other) for one, other in counted]
    smooth = [
        (one + 0.5, other + 0.5) if not one or not other else (float(one), float(other))
        for one, other in counted
    ]
    # Log odds of a rate are those of the flagged share plus a difference of two logs, so variances add up.
    flagged_share = 1 / (total * share * (1 - share))
    rates = []
    for column in (0, 1):  # ill, then well
        parts = [share * _of(ill[0], column), (1 - share) * _of(ill[1], column)]
        if not sum(parts):
            return None
        value = parts[column] / sum(parts)
        shares = [pair[column] / sum(pair) for pair in smooth]
        variance = flagged_share + sum(
            (1 - each) / (each * sum(pair)) for each, pair in zip(shares, smooth, strict=True)
        )
        centre = math.log(share / (1 - share)) + math.log(shares[0]) - math.log(shares[1])
        at = 1 / (1 + math.exp(-centre if column == 0 else centre))
        # `on_logit_scale` takes the variance of the rate itself.
        interval = on_logit_scale(at, variance * (at * (1 - at)) ** 2)
        rates.append(Rate(value, Interval(min(interval.low, value), max(interval.high, value))))
    return rates[0], rates[1]


def _of(ill: float, column: int) -> float:
    return ill if column == 0 else 1 - ill
