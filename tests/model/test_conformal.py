"""Verdicts that keep an error rate: exact over many draws, by hand on a few films; risk and coverage; views."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from model.calibration import sigmoid
from model.conformal import (
    EXPOSURES,
    VERDICTS,
    changed,
    coverage,
    fit,
    meeting_rate,
    risk_coverage,
    views,
)
from model.registry import Card, Version

# Nineteen films a class: with 5 % exactly one of each is given up.
TENTHS = np.arange(1, 20) / 100
APART = (np.repeat([0, 1], 19), np.concatenate([TENTHS, 1 - TENTHS]))


def drawn(
    random: np.random.Generator, normal: int, pneumonia: int, *, apart: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities, two bells on the logit scale."""
    labels = np.repeat([0, 1], [normal, pneumonia])
    return labels, sigmoid(random.normal(np.where(labels == 1, apart, -apart), 2.0))


def test_a_rule_by_hand_where_the_classes_lie_apart() -> None:
    rule = fit(*APART, error_rate=0.05)
    assert not rule.either
    assert (rule.normal, rule.pneumonia) == (19, 19)
    # The strangest normal film is 0.19 and is given up: so nothing above it has NORMAL in its set, but it itself has.
    assert rule.verdict(0.19) == "NORMAL"
    assert rule.verdict(np.nextafter(0.19, 1)) == "CANNOT TELL"
    assert rule.verdict(np.nextafter(0.81, 0)) == "CANNOT TELL"
    assert rule.verdict(0.81) == "PNEUMONIA"
    assert rule.verdict(0.0) == "NORMAL"
    assert rule.verdict(1.0) == "PNEUMONIA"


def test_a_rule_by_hand_where_the_classes_overlap() -> None:
    labels = np.repeat([0, 1], 19)
    probabilities = np.concatenate([np.linspace(0.1, 0.7, 19), np.linspace(0.3, 0.9, 19)])
    rule = fit(labels, probabilities, error_rate=0.05)
    assert rule.either
    assert rule.verdict(0.29) == "NORMAL"
    assert rule.verdict(0.3) == "CANNOT TELL"
    assert rule.verdict(0.7) == "CANNOT TELL"
    assert rule.verdict(0.71) == "PNEUMONIA"
    wider = fit(labels, probabilities, error_rate=0.15)
    assert rule.normal_below < wider.normal_below < wider.pneumonia_from < rule.pneumonia_from


def test_too_few_films_of_a_class_allow_no_verdict_of_the_other() -> None:
    labels, probabilities = np.array([0] * 40 + [1] * 10), np.linspace(0, 1, 50)
    rule = fit(labels, probabilities, error_rate=0.05)
    # 10 films of pneumonia cannot say what is rarer than 1 in 11: no film is called normal.
    assert not (rule.verdicts(np.linspace(0, 1, 101)) == VERDICTS.index("NORMAL")).any()
    assert rule.verdict(1.0) == "PNEUMONIA"
    rule = fit(1 - labels, 1 - probabilities, error_rate=0.05)
    assert math.isinf(rule.pneumonia_from)
    assert rule.verdict(1.0) == "CANNOT TELL"
    assert rule.verdict(0.0) == "NORMAL"


@pytest.mark.parametrize(("rate", "normal", "pneumonia"), [(0.05, 19, 39), (0.1, 30, 55), (0.2, 12, 200)])
def test_the_error_rate_is_kept_exactly_over_draws(rate: float, normal: int, pneumonia: int) -> None:
    """The chance of not being covered is floor(e (n + 1)) / (n + 1) in each class, however well the network does."""
    rounds = 1000
    for apart in (0.3, 1.5):
        random = np.random.default_rng(5)
        missed = np.zeros((rounds, 2))
        for number in range(rounds):
            rule = fit(*drawn(random, normal, pneumonia, apart=apart), error_rate=rate)
            # What a rule misses of endlessly many films follows from the two bells.
            between = np.clip([rule.normal_below, rule.pneumonia_from], 1e-300, None)
            low, high = (
                -math.inf if x <= 1e-300 else math.inf if x >= 1 else math.log(x / (1 - x)) for x in between
            )
            of_normal, of_pneumonia = (high, low) if rule.either else (low, high)
            missed[number] = norm.sf(of_normal, -apart, 2.0), norm.cdf(of_pneumonia, apart, 2.0)
        for label, films in enumerate((normal, pneumonia)):
            exact = math.floor(rate * (films + 1) + 1e-9) / (films + 1)
            error = missed[:, label].std() / math.sqrt(rounds)
            assert abs(missed[:, label].mean() - exact) < 4 * error
            assert exact <= rate + 1e-9


def test_what_chance_allows_is_what_draws_show() -> None:
    random, films = np.random.default_rng(11), 60
    outside = []
    for _ in range(400):
        rule = fit(*drawn(random, 40, 80), error_rate=0.1)
        held = coverage(rule, *drawn(random, films, films))
        for part in (held.normal, held.pneumonia):
            assert part.by_chance is not None
            assert part.covered.value is not None
            outside.append(not part.by_chance.low <= 1 - part.covered.value <= part.by_chance.high)
    # A range of whole films holds a little more than 95 %.
    assert 0.01 < np.mean(outside) < 0.06


def test_films_unlike_those_it_was_fitted_on_are_found_out() -> None:
    random = np.random.default_rng(2)
    labels, probabilities = drawn(random, 200, 600)
    rule = fit(labels, probabilities)
    alike = coverage(rule, *drawn(random, 200, 400))
    assert not alike.normal.misses
    assert not alike.pneumonia.misses
    elsewhere = coverage(rule, *drawn(random, 200, 400, apart=0.5))
    assert elsewhere.normal.misses
    assert elsewhere.pneumonia.misses


def test_coverage_counts_every_film_once() -> None:
    labels, probabilities = drawn(np.random.default_rng(3), 50, 70)
    rule = fit(labels, probabilities, error_rate=0.05)
    held = coverage(rule, labels, probabilities)
    assert sum(held.normal.verdicts) == 50
    assert sum(held.pneumonia.verdicts) == 70
    assert held.normal.wrong.count == held.normal.verdicts[1]
    assert held.pneumonia.wrong.count == held.pneumonia.verdicts[0]
    assert held.open.count == held.normal.verdicts[2] + held.pneumonia.verdicts[2]
    assert held.wrong.count == held.normal.wrong.count + held.pneumonia.wrong.count
    assert held.normal.wrong.count + held.normal.covered.count <= 50
    # What it was fitted on it covers by construction, less the films given up that no other is tied with.
    assert held.normal.covered.count >= 50 - math.floor(0.05 * 51)
    json.dumps(held.as_json(), allow_nan=False)


def test_a_set_of_one_class_or_none_is_counted_too() -> None:
    rule = fit(*APART)
    only = coverage(rule, [1, 1], [0.9, 0.5])
    assert only.normal.wrong.value is None
    assert only.normal.by_chance is None
    assert not only.normal.misses
    assert only.pneumonia.verdicts == (0, 1, 1)
    assert coverage(rule, [], []).open.value is None


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5))
@settings(max_examples=60, deadline=None)
def test_verdicts_are_in_order_and_sets_agree_with_them(seed: int, rate: float) -> None:
    random = np.random.default_rng(seed)
    labels, probabilities = drawn(random, int(random.integers(1, 40)), int(random.integers(1, 40)))
    probabilities = np.round(probabilities, int(random.integers(1, 4)))  # ties
    rule = fit(labels, probabilities, error_rate=rate)
    assert rule.normal_below <= rule.pneumonia_from
    values = np.sort(np.concatenate([probabilities, random.uniform(size=50), [0, 1]]))
    steps = np.array([0, 2, 1])[rule.verdicts(values)]  # NORMAL, CANNOT TELL, PNEUMONIA
    assert (np.diff(steps) >= 0).all()
    given_ = rule.verdicts(values)
    in_set = np.stack([rule.holds(np.full(values.size, label), values) for label in (0, 1)])
    for label in (0, 1):
        assert (in_set[label] & ~in_set[1 - label] == (given_ == label)).all()


def test_the_thresholds_meet_where_it_says() -> None:
    labels, probabilities = drawn(np.random.default_rng(8), 90, 160)
    rate = meeting_rate(labels, probabilities)
    assert not fit(labels, probabilities, error_rate=rate).either
    assert fit(labels, probabilities, error_rate=rate - 1e-6).either
    assert meeting_rate(*APART) == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("labels", "probabilities", "rate", "words"),
    [
        ([1, 1], [0.2, 0.3], 0.05, "both classes"),
        ([0, 1], [0.2, 0.3], 0.0, "error rate"),
        ([0, 1], [0.2, 1.3], 0.05, "between 0 and 1"),
    ],
)
def test_what_gives_no_rule_is_said(
    labels: list[int], probabilities: list[float], rate: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit(labels, probabilities, error_rate=rate)


def test_no_verdict_on_what_is_no_probability() -> None:
    for value in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            fit(*APART).verdict(value)


def test_risk_and_coverage_by_hand() -> None:
    # Surest first: right, right, wrong, right.
    curve = risk_coverage([1, 0, 0, 1], [0.99, 0.02, 0.9, 0.6])
    assert curve.covered.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert curve.best == pytest.approx((1 / 4) / 4)
    assert curve.error == 0.25
    assert curve.at(0.5) == 0


def test_risk_does_not_hang_on_the_order_of_equal_films() -> None:
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.8, 0.8, 0.8, 0.9])
    first = risk_coverage(labels, probabilities)
    turned = risk_coverage(labels[::-1], probabilities[::-1])
    assert first.risk.tolist() == pytest.approx([1, 2 / 3, 5 / 9, 1 / 2])
    assert turned.risk.tolist() == first.risk.tolist()


def test_risk_follows_the_threshold_and_is_flat_where_films_tell_nothing() -> None:
    labels, probabilities = drawn(np.random.default_rng(1), 4000, 4000, apart=1.0)
    middle, high = (risk_coverage(labels, probabilities, threshold=each) for each in (0.5, 0.9))
    assert middle.best < middle.area < middle.error < high.error
    assert len(middle.covered) <= 1100
    nothing = risk_coverage(labels, np.random.default_rng(0).uniform(size=8000))
    assert nothing.area == pytest.approx(0.5, abs=0.03)


class Brightness:
    """A reader whose probability is the mean grey value of the left half."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.read = 0

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.read += len(images)
        return images[:, :, : images.shape[2] // 2].mean(axis=(1, 2, 3)) / 255


def test_views_are_the_film_moved_and_exposed(tiny_version: Version) -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    image[20:30, 48:58] = 200
    shown = changed(image)
    assert shown.shape == (5 + len(EXPOSURES), 50, 100, 3)
    assert shown.dtype == np.uint8
    assert (shown[0] == image).all()
    tops = [np.argwhere(view[:, :, 0]).min(axis=0).tolist() for view in shown]
    assert tops[0] == [20, 48]
    assert sorted(tops[1:5]) == [[19, 48], [20, 46], [20, 50], [21, 48]]
    assert [int(view.max()) for view in shown[5:]] == [
        round((200 / 255) ** exponent * 255) for exponent in EXPOSURES
    ]
    reader = Brightness(tiny_version.card)
    low, high = views(reader, image)
    assert reader.read == len(shown)
    assert low <= float(Brightness(tiny_version.card).predict(image[None])[0]) <= high
    assert low < high
    level = np.full((50, 100, 3), 255, np.uint8)
    assert views(reader, level) == (1.0, 1.0)


def test_a_shift_brings_no_new_edge() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    assert (changed(image)[:5] == 90).all()
