"""Rates corrected for who was verified, worked out by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from model.verification import VerifiedFilms, corrected_rates


def test_rates_are_weighed_with_all_decisions() -> None:
    # 50 of 100 flagged films verified, 40 of them ill: 80. 10 of 100 others, 1 of them ill: 10.
    found = corrected_rates(VerifiedFilms(tn=9, fp=10, fn=1, tp=40, flagged=100, passed=100))
    assert found is not None
    assert [each.value for each in found] == pytest.approx([80 / 90, 90 / 110])
    assert all(each.interval.low < each.value < each.interval.high for each in found)


def test_without_a_selection_nothing_is_corrected() -> None:
    found = corrected_rates(VerifiedFilms(tn=30, fp=10, fn=5, tp=55, flagged=65, passed=35))
    assert found is not None
    assert [each.value for each in found] == pytest.approx([55 / 60, 30 / 40])


def test_what_cannot_be_said_is_none_and_a_zero_count_has_an_interval() -> None:
    assert corrected_rates(VerifiedFilms(tn=0, fp=1, fn=0, tp=4, flagged=10, passed=10)) is None
    assert corrected_rates(VerifiedFilms(tn=3, fp=1, fn=0, tp=0, flagged=4, passed=3)) is None
    found = corrected_rates(VerifiedFilms(tn=20, fp=10, fn=0, tp=40, flagged=100, passed=100))
    assert found is not None
    assert found[0].value == found[0].interval.high == 1.0 and 0.5 < found[0].interval.low < 1


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Sensitivity 0.9, specificity 0.8, a fifth ill; flagged films verified in 8 of 10 cases, others in 3 of 10."""
    random = np.random.default_rng(3)
    held = np.zeros(2)
    for _ in range(400):
        ill = random.random(500) < 0.2
        flagged = random.random(500) < np.where(ill, 0.9, 0.2)
        seen = random.random(500) < np.where(flagged, 0.8, 0.3)
        tn, fp, fn, tp = (
            int((seen & (ill == truly) & (flagged == decided)).sum())
            for truly in (False, True)
            for decided in (False, True)
        )
        found = corrected_rates(VerifiedFilms(tn, fp, fn, tp, int(flagged.sum()), int((~flagged).sum())))
        assert found is not None
        held += [
            each.interval.low <= truth <= each.interval.high
            for each, truth in zip(found, (0.9, 0.8), strict=True)
        ]
    assert np.all((held / 400 >= 0.92) & (held / 400 <= 0.985))
