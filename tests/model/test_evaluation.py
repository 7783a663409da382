from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from model import evaluation
from model.evaluation import Confusion, Interval, evaluate, proportion, roc


def seed_films() -> tuple[np.ndarray, np.ndarray]:
    """Films that give the seed's confusion matrix at 0.5."""
    labels = np.repeat([0, 0, 1, 1], [216, 18, 30, 360])
    probabilities = np.repeat([0.1, 0.8, 0.3, 0.9], [216, 18, 30, 360])
    return labels, probabilities


def test_the_seeds_confusion_matrix_gives_its_published_figures() -> None:
    result = evaluate(*seed_films(), threshold=0.5)

    assert result.confusion == Confusion(tn=216, fp=18, fn=30, tp=360)
    assert result.n == 624
    assert round(result.sensitivity.value or 0, 3) == 0.923
    assert round(result.specificity.value or 0, 3) == 0.923
    assert round(result.precision.value or 0, 3) == 0.952
    assert result.f1_normal == pytest.approx(0.9, abs=1e-15)
    assert result.f1_pneumonia == 0.9375  # 720 / 768, published as 0.94
    assert result.npv.value == 216 / 246
    assert result.accuracy.value == 576 / 624
    # 216 films at 0.1 / 18 at 0.8 / 30 at 0.3 / 360 at 0.9, by hand:
    assert result.brier == pytest.approx((216 * 0.01 + 18 * 0.64 + 30 * 0.49 + 360 * 0.01) / 624, abs=1e-15)
    assert result.ece == pytest.approx((216 * 0.1 + 18 * 0.8 + 30 * 0.7 + 360 * 0.1) / 624, abs=1e-15)
    assert result.balanced_accuracy == pytest.approx(12 / 13, abs=1e-15)
    assert result.lr_positive == pytest.approx(12, abs=1e-12)  # (12 / 13) / (1 / 13)
    assert result.lr_negative == pytest.approx(1 / 12, abs=1e-15)
    mcc = (360 * 216 - 18 * 30) / math.sqrt(378 * 390 * 234 * 246)
    assert result.mcc == pytest.approx(mcc, abs=1e-15)
    log_loss = -(576 * math.log(0.9) + 18 * math.log(0.2) + 30 * math.log(0.3)) / 624
    assert result.log_loss == pytest.approx(log_loss, abs=1e-15)
    # from the top: 360 of 378 at 0.9 and 0.8 are ill, 360 of 360 at 0.9, 390 of 408 down to 0.3
    assert result.average_precision == pytest.approx((360 * 1 + 30 * 390 / 408) / 390, abs=1e-15)
    # pairs: 0.3 beats 0.1; 0.3 loses to 0.8; 0.9 beats both
    assert result.auc == (30 * 216 + 360 * 234) / (390 * 234)


@pytest.mark.parametrize(
    ("counts", "accuracy", "balanced", "mcc", "lr_positive", "lr_negative", "f1"),
    [
        (Confusion(tn=8, fp=2, fn=1, tp=9), 0.85, 0.85, 70 / math.sqrt(9900), 4.5, 0.125, 18 / 21),
        (Confusion(tn=10, fp=0, fn=0, tp=10), 1, 1, 1, None, 0, 1),
        (Confusion(tn=0, fp=10, fn=10, tp=0), 0, 0, -1, 0, None, 0),
        (Confusion(tn=5, fp=5, fn=5, tp=5), 0.5, 0.5, 0, 1, 1, 0.5),
        (Confusion(tn=0, fp=3, fn=0, tp=7), 0.7, 0.5, None, 1, None, 14 / 17),
        (Confusion(tn=3, fp=0, fn=7, tp=0), 0.3, 0.5, None, None, 1, 0),
        (Confusion(tn=0, fp=0, fn=2, tp=6), 0.75, None, None, None, None, 12 / 14),
        (Confusion(tn=6, fp=2, fn=0, tp=0), 0.75, None, None, None, None, 0),
        (Confusion(tn=4, fp=0, fn=0, tp=0), 1, None, None, None, None, None),
        (Confusion(tn=0, fp=0, fn=0, tp=0), None, None, None, None, None, None),
    ],
)
def test_figures_of_four_counts_by_hand(
    counts: Confusion,
    accuracy: float | None,
    balanced: float | None,
    mcc: float | None,
    lr_positive: float | None,
    lr_negative: float | None,
    f1: float | None,
) -> None:
    found = [counts.accuracy.value, counts.balanced_accuracy, counts.mcc]
    found += [counts.lr_positive, counts.lr_negative, counts.f1_pneumonia]
    for ours, expected in zip(found, (accuracy, balanced, mcc, lr_positive, lr_negative, f1), strict=True):
        assert ours == (None if expected is None else pytest.approx(expected, abs=1e-15))


def test_matthews_correlation_loses_nothing_with_many_films() -> None:
    assert Confusion(tn=10**6, fp=0, fn=0, tp=7 * 10**5).mcc == 1
    assert Confusion(tn=0, fp=10**6, fn=7 * 10**5, tp=0).mcc == -1


@pytest.mark.parametrize(
    ("labels", "probabilities", "brier", "log_loss"),
    [
        ([1], [1.0], 0.0, 0.0),
        ([1], [0.0], 1.0, -math.log(2**-52)),  # certain and wrong: as much as float64 can tell, not infinity
        ([0], [1.0], 1.0, -math.log(2**-52)),
        ([0, 1], [0.5, 0.5], 0.25, math.log(2)),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.158125, -math.log(0.9 * 0.6 * 0.35 * 0.8) / 4),
    ],
)
def test_brier_score_and_log_loss_by_hand(
    labels: list[int], probabilities: list[float], brier: float, log_loss: float
) -> None:
    result = evaluate(labels, probabilities, threshold=0.5)
    assert result.brier == pytest.approx(brier, abs=1e-15)
    assert result.log_loss == pytest.approx(log_loss, abs=1e-14)


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.5 * 1 + 0.5 * 2 / 3),
        ([0, 1, 1], [0.5, 0.5, 0.5], 2 / 3),
        ([0, 0, 1], [0.9, 0.8, 0.1], 1 / 3),
        ([0, 1, 1], [0.1, 0.8, 0.9], 1.0),
        # 0.9 | 0.7 with a tie of both classes | 0.2: 1/3 x 1 + 1/3 x 2/3 + 1/3 x 3/5
        ([1, 1, 0, 0, 1], [0.9, 0.7, 0.7, 0.2, 0.2], (1 + 2 / 3 + 3 / 5) / 3),
    ],
)
def test_average_precision_by_hand(labels: list[int], probabilities: list[float], expected: float) -> None:
    result = evaluate(labels, probabilities, threshold=0.5)
    assert result.average_precision == pytest.approx(expected, abs=1e-15)
    assert result.average_precision_interval is not None
    assert (
        0 <= result.average_precision_interval.low <= expected <= result.average_precision_interval.high <= 1
    )


def test_influence_on_average_precision_is_its_derivative() -> None:
    generator = np.random.default_rng(12)
    labels = generator.integers(0, 2, 40)
    scores = np.round(generator.random(40), 1)
    value, influence = evaluation._average_precision_influence(labels, scores)
    step = 1e-6
    for film in range(40):
        weights = np.ones(40)
        weights[film] += step
        moved = reference.average_precision_score(labels, scores, sample_weight=weights)
        assert (moved - value) / step == pytest.approx(influence[film], abs=1e-5)
    assert influence.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, Confusion(0, 2, 0, 3)),
        (0.2, Confusion(0, 2, 0, 3)),
        (math.nextafter(0.2, 1), Confusion(1, 1, 0, 3)),
        (0.5, Confusion(1, 1, 0, 3)),
        (math.nextafter(0.5, 1), Confusion(2, 0, 2, 1)),
        (1.0, Confusion(2, 0, 2, 1)),
        (math.inf, Confusion(2, 0, 3, 0)),
    ],
)
def test_a_film_is_called_pneumonia_at_the_threshold_and_above(threshold: float, expected: Confusion) -> None:
    labels, probabilities = [0, 0, 1, 1, 1], [0.2, 0.5, 0.5, 0.5, 1.0]
    assert evaluation.confusion(labels, probabilities, threshold) == expected
    rates = evaluation.operating_rates(labels, probabilities, threshold)
    assert (rates.sensitivity, rates.specificity) == (expected.sensitivity, expected.specificity)
    assert rates.threshold == threshold


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe (1998), Stat Med 17:857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_examples(count: int, total: int, low: float, high: float) -> None:
    result = proportion(count, total)
    assert result.value == count / total
    assert result.interval is not None
    assert (round(result.interval.low, 4), round(result.interval.high, 4)) == (low, high)


@given(st.integers(1, 3000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_interval_equals_scipy(counts: tuple[int, int]) -> None:
    interval = proportion(*counts).interval
    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= interval.low <= counts[0] / counts[1] <= interval.high <= 1


def test_a_proportion_of_nothing_has_no_value() -> None:
    assert proportion(0, 0) == evaluation.Proportion(None, 0, 0, None)


# ---------------------------------------------------------------- AUC


def delong_by_definition(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUC and variance straight from DeLong's definition: every pair compared."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    kernel = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in negatives] for x in positives]
    v10 = [sum(row) / len(negatives) for row in kernel]
    v01 = [sum(row[j] for row in kernel) / len(positives) for j in range(len(negatives))]
    area = sum(v10) / len(v10)
    s10 = sum((v - area) ** 2 for v in v10) / (len(v10) - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (len(v01) - 1)
    return area, s10 / len(v10) + s01 / len(v01)


def logit_interval(area: float, variance: float) -> tuple[float, float]:
    half = 1.959963984540054 * math.sqrt(variance) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return 1 / (1 + math.exp(half - centre)), 1 / (1 + math.exp(-half - centre))


def test_delong_worked_by_hand() -> None:
    # Positives 0.4, 0.8, 0.9 and negatives 0.1, 0.4, 0.5:
    # 0.4 beats 0.1, ties 0.4, loses to 0.5 (placement 1.5 / 3); 0.8 and 0.9 beat all (1 and 1). AUC = 7.5 /
    # 9 = 5 / 6. V10 = 1/2, 1, 1: S10 = (1/9 + 1/36 + 1/36) / 2 = 1/12. V01 = 1, 5/6, 2/3: S01 = (1/36 + 0 +
    # 1/36) / 2 = 1/36.   Variance = 1/36 + 1/108 = 1/27.
    found = evaluation.auc([1, 1, 1, 0, 0, 0], [0.4, 0.8, 0.9, 0.1, 0.4, 0.5])
    assert found is not None
    assert found[0] == pytest.approx(5 / 6, abs=1e-15)
    assert (found[1].low, found[1].high) == pytest.approx(logit_interval(5 / 6, 1 / 27), abs=1e-14)


def test_delong_equals_its_definition_with_many_ties() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        labels = np.r_[np.zeros(17), np.ones(23)].astype(int)
        scores = np.round(np.clip(generator.normal(0.4 + 0.15 * labels, 0.2), 0, 1), 1)
        area, variance = delong_by_definition(labels, scores)
        found = evaluation.auc(labels, scores)
        assert found is not None
        assert found[0] == pytest.approx(area, abs=1e-14)
        assert (found[1].low, found[1].high) == pytest.approx(logit_interval(area, variance), abs=1e-12)


def test_delong_equals_the_published_example() -> None:
    # Hanley & McNeil (1982), Radiology 143:29-36: 58 normal and 51 abnormal CT scans in five ratings, AUC
    # 0.893.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    labels = np.repeat([0, 1], [58, 51])
    scores = np.r_[np.repeat(ratings, normal), np.repeat(ratings, abnormal)]
    found = evaluation.auc(labels, scores)
    assert found is not None
    assert round(found[0], 3) == 0.893
    area, variance = delong_by_definition(labels, scores)
    assert math.sqrt(variance) == pytest.approx(0.032, abs=0.002)  # their own standard error is 0.032
    assert (found[1].low, found[1].high) == pytest.approx(logit_interval(area, variance), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ([0] * 10 + [1] * 10, [0.2] * 10 + [0.7] * 10, 1.0),
        ([0] * 10 + [1] * 10, [0.7] * 10 + [0.2] * 10, 0.0),
        ([0] * 10 + [1] * 10, [0.3] * 20, 0.5),
        ([0, 1], [0.1, 0.2], 1.0),
        ([0, 1, 1, 1], [0.5, 0.3, 0.6, 0.7], 2 / 3),
    ],
)
def test_where_delong_has_no_variance_the_interval_still_says_how_little_is_known(
    labels: list[int], scores: list[float], area: float
) -> None:
    found = evaluation.auc(labels, scores)
    assert found is not None
    value, interval = found
    assert value == pytest.approx(area)
    assert 0 <= interval.low <= value <= interval.high <= 1
    assert interval.high - interval.low > 0.1
    # The bound solves (theta_hat - theta)^2 = z^2 V(theta) with Hanley & McNeil's variance, both sizes
    # averaged.
    m, n = sum(labels), len(labels) - sum(labels)
    for bound in (interval.low, interval.high):
        if bound in (0.0, 1.0):
            continue
        q1, q2, average = bound / (2 - bound), 2 * bound**2 / (1 + bound), (m + n) / 2 - 1
        variance = (bound * (1 - bound) + average * (q1 - bound**2) + average * (q2 - bound**2)) / (m * n)
        assert (value - bound) ** 2 == pytest.approx(1.959963984540054**2 * variance, rel=1e-6)


@pytest.mark.slow
def test_intervals_cover_what_they_promise() -> None:
    generator = np.random.default_rng(11)
    labels = np.repeat([0, 1], [60, 100])
    # Binormal scores: AUC = Phi(2 / sqrt 2), sensitivity at a false-positive rate of 0.1 = Phi(2 - 1.2816)
    true_area, true_sensitivity = 0.92135, 0.76377
    covered = np.zeros(3)
    repeats = 300
    for repeat in range(repeats):
        x = generator.normal(2.0 * labels, 1)
        scores = 1 / (1 + np.exp(-x))
        curve = roc(labels, scores, seed=repeat)
        in_area = curve.auc_interval.low <= true_area <= curve.auc_interval.high
        low = np.interp(0.1, curve.false_positive_rate, curve.band_low)
        high = np.interp(0.1, curve.false_positive_rate, curve.band_high)
        in_band = low <= true_sensitivity <= high
        # at a score of 1 the sensitivity is Phi(1) = 0.84134
        rates = evaluation.operating_rates(labels, scores, 1 / (1 + math.exp(-1.0)))
        assert rates.sensitivity.interval is not None
        in_wilson = rates.sensitivity.interval.low <= 0.84134 <= rates.sensitivity.interval.high
        covered += np.array([in_area, in_band, in_wilson])
    assert (covered >= 0.91 * repeats).all()
    assert (covered <= 0.99 * repeats).all()


# ---------------------------------------------------------------- calibration error, Brier


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([1, 0], [1.0, 0.0], 0.0),
        ([0, 1], [1.0, 0.0], 1.0),
        ([1, 1, 1, 0], [0.75, 0.75, 0.75, 0.75], 0.0),
        # 0.1 and 0.3 open the second and fourth bin; 0.3 = 3 / 10 must not fall into the third by rounding
        ([0, 1, 1, 0], [0.05, 0.1, 0.3, 0.25], (0.05 + 0.9 + 0.7 + 0.25) / 4),
        # two films in one bin: |0.62 + 0.68 - 1| / 2
        ([0, 1], [0.62, 0.68], 0.15),
        ([1], [1.0], 0.0),
    ],
)
def test_calibration_error_by_hand(labels: list[int], probabilities: list[float], expected: float) -> None:
    assert evaluation.expected_calibration_error(labels, probabilities) == pytest.approx(expected, abs=1e-15)


# ---------------------------------------------------------------- agreement with scikit-learn

films = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.one_of(
            st.lists(st.floats(0, 1), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=n, max_size=n),
            st.just([0.5] * n),
        ),
    )
)


@settings(deadline=None, max_examples=60)
@given(films, st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_agrees_with_scikit_learn(case: tuple[list[int], list[float]], threshold: float) -> None:
    labels, probabilities = np.array(case[0]), np.array(case[1])
    result = evaluate(labels, probabilities, threshold=threshold)
    decision = probabilities >= threshold

    matrix = reference.confusion_matrix(labels, decision, labels=[0, 1]).ravel().tolist()
    assert [result.confusion.tn, result.confusion.fp, result.confusion.fn, result.confusion.tp] == matrix
    brier = reference.brier_score_loss(labels, probabilities, pos_label=1)
    assert result.brier == pytest.approx(brier, abs=1e-14)
    undefined = {"zero_division": np.nan}
    for ours, theirs in (
        (result.accuracy.value, reference.accuracy_score(labels, decision)),
        (result.sensitivity.value, reference.recall_score(labels, decision, **undefined)),
        (result.specificity.value, reference.recall_score(labels, decision, pos_label=0, **undefined)),
        (result.precision.value, reference.precision_score(labels, decision, **undefined)),
        (result.npv.value, reference.precision_score(labels, decision, pos_label=0, **undefined)),
        (result.f1_pneumonia, reference.f1_score(labels, decision, **undefined)),
        (result.f1_normal, reference.f1_score(labels, decision, pos_label=0, **undefined)),
    ):
        assert math.isnan(theirs) if ours is None else ours == pytest.approx(theirs, abs=1e-14)
    log_loss = reference.log_loss(labels, probabilities, labels=[0, 1])
    assert result.log_loss == pytest.approx(log_loss, abs=1e-9)
    if result.mcc is not None:  # where scikit-learn says 0, there is no correlation
        assert result.mcc == pytest.approx(reference.matthews_corrcoef(labels, decision), abs=1e-12)
    else:
        assert reference.matthews_corrcoef(labels, decision) == 0
    if result.balanced_accuracy is not None:
        balanced = reference.balanced_accuracy_score(labels, decision)
        assert result.balanced_accuracy == pytest.approx(balanced, abs=1e-14)
        sensitivity, specificity = result.sensitivity.value, result.specificity.value
        assert sensitivity is not None
        assert specificity is not None
        if result.lr_positive is not None:
            assert result.lr_positive == pytest.approx(sensitivity / (1 - specificity), rel=1e-12)
        if result.lr_negative is not None:
            assert result.lr_negative == pytest.approx((1 - sensitivity) / specificity, abs=1e-12)
    for name in evaluation.FIGURE_NAMES:
        value, interval = result.value(name), result.interval(name)
        assert (value is None) == (name in result.unavailable), name
        if interval is not None:
            assert value is not None
            assert interval.low - 1e-9 <= value <= interval.high + 1e-9, name

    if labels.min() == labels.max():
        assert result.auc is None
        assert result.auc_interval is None
        assert result.average_precision is None
        assert {"auc", "average_precision"} <= result.unavailable.keys()
        return
    assert result.auc == pytest.approx(reference.roc_auc_score(labels, probabilities), abs=1e-12)
    average_precision = reference.average_precision_score(labels, probabilities)
    assert result.average_precision == pytest.approx(average_precision, abs=1e-12)
    assert result.auc_interval is not None
    assert 0 <= result.auc_interval.low <= result.auc_interval.high <= 1
    assert result.auc_interval.low - 1e-9 <= (result.auc or 0) <= result.auc_interval.high + 1e-9

    curve = roc(labels, probabilities)
    expected = reference.roc_curve(labels, probabilities)
    for mine, yours in zip(
        (curve.false_positive_rate, curve.sensitivity, curve.thresholds), expected, strict=True
    ):
        np.testing.assert_array_equal(mine, yours)
    at = curve.false_positive_rate
    top = np.array([curve.sensitivity[at == x].max() for x in at])
    for low, high in (
        (0, curve.band_low),
        (curve.band_low, top),
        (top, curve.band_high),
        (curve.band_high, 1),
    ):
        assert np.all(low <= high)
    assert (np.diff(curve.band_low) >= 0).all()
    assert (np.diff(curve.band_high) >= 0).all()


# ---------------------------------------------------------------- what cannot be computed, what is refused


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        ([0, 0, 0], {"sensitivity", "npv"}),
        ([1, 1, 1], {"specificity", "npv", "f1_normal"}),
        ([1], {"specificity", "npv", "f1_normal"}),
    ],
)
def test_one_class_sets_give_none_and_say_why(labels: list[int], missing: set[str]) -> None:
    result = evaluate(labels, [0.7] * len(labels), threshold=0.5, patients=["a"] * len(labels))
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    missing = missing | {"auc", "average_precision", "balanced_accuracy", "mcc", "lr_positive", "lr_negative"}
    assert {name for name in evaluation.FIGURE_NAMES if told[name] is None} == missing
    assert set(told["unavailable"]) == missing
    assert all(
        reason.startswith("no ") or reason.startswith("the set holds no")
        for reason in told["unavailable"].values()
    )
    with pytest.raises(ValueError, match="both classes"):
        roc(labels, [0.7] * len(labels))


def test_thresholds_that_call_nothing_pneumonia_or_nothing_normal() -> None:
    nothing = evaluate([0, 1], [0.2, 0.3], threshold=0.9)
    assert nothing.precision.value is None
    assert "precision" in nothing.unavailable
    everything = evaluate([0, 1], [0.2, 0.3], threshold=0.0)
    assert everything.npv.value is None
    assert "npv" in everything.unavailable
    blank = evaluate([0, 0], [0.2, 0.3], threshold=0.9)
    assert blank.f1_pneumonia is None
    assert "f1_pneumonia" in blank.unavailable


@pytest.mark.parametrize(
    ("labels", "probabilities", "threshold", "message"),
    [
        ([0, 1], [0.2, math.nan], 0.5, "missing"),
        ([0, 1], [0.2, math.inf], 0.5, "between 0 and 1"),
        ([0, 1], [-0.1, 0.4], 0.5, "between 0 and 1"),
        ([0, 2], [0.1, 0.4], 0.5, "Labels must be"),
        ([0, math.nan], [0.1, 0.4], 0.5, "Labels must be"),
        ([0], [0.1, 0.4], 0.5, "1 labels but 2"),
        ([], [], 0.5, "no film"),
        ([[0, 1]], [[0.1, 0.4]], 0.5, "one-dimensional"),
        ([0, 1], [0.1, 0.4], math.nan, "threshold"),
    ],
)
def test_what_is_not_a_label_or_a_probability_is_refused(
    labels: list[float], probabilities: list[float], threshold: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(labels, probabilities, threshold=threshold)
    if labels:
        with pytest.raises(ValueError, match=message):
            evaluation.operating_rates(labels, probabilities, threshold)


def test_a_set_without_films_has_no_rates() -> None:
    rates = evaluation.operating_rates([], [], 0.5)
    assert (rates.sensitivity, rates.specificity) == (proportion(0, 0), proportion(0, 0))


def test_json_has_the_keys_of_the_command_line() -> None:
    told = json.loads(json.dumps(evaluate(*seed_films(), threshold=0.5).as_json(), allow_nan=False))
    assert {
        "n",
        "auc",
        "auc_ci",
        "average_precision",
        "accuracy",
        "sensitivity",
        "sensitivity_ci",
        "specificity",
        "specificity_ci",
        "precision",
        "npv",
        "f1_pneumonia",
        "f1_normal",
        "brier",
        "ece",
        "threshold",
        "confusion",
    } <= set(told)
    assert told["confusion"] == {"tn": 216, "fp": 18, "fn": 30, "tp": 360}
    expected = binomtest(360, 390).proportion_ci(0.95, method="wilson")
    assert told["sensitivity_ci"] == pytest.approx([expected.low, expected.high], abs=1e-12)
    assert told["unavailable"] == {}
    assert told["by_patient"] is None
    for name in evaluation.FIGURE_NAMES:
        low, high = told[f"{name}_ci"]
        assert low <= told[name] <= high, name
    patients = [str(i) for i in range(624)]
    told = json.loads(json.dumps(evaluate(*seed_films(), threshold=0.5, patients=patients).as_json()))
    assert set(told["by_patient"]) == {"patients", *(f"{name}_ci" for name in evaluation.FIGURE_NAMES)}


# ---------------------------------------------------------------- several films of one patient


def test_one_film_a_patient_gives_the_plain_intervals() -> None:
    generator = np.random.default_rng(5)
    labels = np.repeat([0, 1], [80, 120])
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
    result = evaluate(labels, scores, threshold=0.5, patients=[f"p{i}" for i in range(200)])
    assert result.by_patient is not None
    assert result.by_patient.patients == 200
    plain, grouped = result.sensitivity.interval, result.by_patient.sensitivity
    assert plain is not None
    assert grouped is not None
    assert (grouped.low, grouped.high) == pytest.approx((plain.low, plain.high), abs=5e-4)  # n against n - 1
    assert result.auc_interval is not None
    assert result.by_patient.auc is not None
    assert result.by_patient.auc.low == pytest.approx(result.auc_interval.low, abs=5e-4)


def test_every_film_four_times_over_counts_as_one_film() -> None:
    generator = np.random.default_rng(6)
    labels = np.repeat([0, 1], [80, 120])
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
    single = evaluate(labels, scores, threshold=0.5, patients=[str(i) for i in range(200)])
    copied = evaluate(
        np.tile(labels, 4), np.tile(scores, 4), threshold=0.5, patients=[str(i) for i in range(200)] * 4
    )
    assert single.by_patient is not None
    assert copied.by_patient is not None
    for name in evaluation.FIGURE_NAMES:
        once, four_times = getattr(single.by_patient, name), getattr(copied.by_patient, name)
        # the floor under the variances of these two is that of independent films
        near = 0.1 * (once.high - once.low) if name in ("brier", "log_loss") else 1e-6
        assert (four_times.low, four_times.high) == pytest.approx((once.low, once.high), abs=near), name


def test_one_patient_only_tells_nearly_nothing() -> None:
    result = evaluate([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.2], threshold=0.5, patients=["a"] * 4)
    assert result.by_patient is not None
    assert result.by_patient.auc == Interval(0.0, 1.0)
    assert result.by_patient.sensitivity is not None
    assert result.by_patient.sensitivity.high - result.by_patient.sensitivity.low > 0.7


def test_as_many_patients_as_films_are_needed() -> None:
    with pytest.raises(ValueError, match="2 films but 1 patient"):
        evaluate([0, 1], [0.1, 0.9], threshold=0.5, patients=["a"])


# ---------------------------------------------------------------- size and repeatability


def test_the_band_is_repeatable_and_narrows_with_more_films() -> None:
    generator = np.random.default_rng(8)

    def curve_of(n: int) -> evaluation.Roc:
        labels = np.repeat([0, 1], n)
        return roc(labels, 1 / (1 + np.exp(-generator.normal(2.0 * labels, 1))), seed=1)

    small, large = curve_of(50), curve_of(20_000)

    def width(curve: evaluation.Roc) -> float:
        return float(np.interp(0.1, curve.false_positive_rate, curve.band_high - curve.band_low))

    # 20 times fewer percent: root of 400
    assert width(small) / width(large) == pytest.approx(20, rel=0.4)
    labels, scores = seed_films()
    np.testing.assert_array_equal(roc(labels, scores).band_low, roc(labels, scores).band_low)


@pytest.mark.slow
def test_a_million_films() -> None:
    generator = np.random.default_rng(9)
    labels = generator.integers(0, 2, 1_000_000)
    scores = np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    result = evaluate(labels, scores, threshold=0.5)
    assert result.auc == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-10)
    average_precision = reference.average_precision_score(labels, scores)
    assert result.average_precision == pytest.approx(average_precision, abs=1e-9)
    assert result.n == 1_000_000
    for name in evaluation.FIGURE_NAMES:
        interval, value = result.interval(name), result.value(name)
        assert interval is not None
        assert value is not None
        assert 0 < interval.high - interval.low < 0.02 * max(1.0, value), name
    curve = roc(labels, scores)
    assert curve.thresholds.size <= 1000
    assert (curve.false_positive_rate[0], curve.sensitivity[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.sensitivity[-1]) == (1, 1)
    assert curve.auc == result.auc
    # straight lines between the points that are left lose next to nothing
    assert np.trapezoid(curve.sensitivity, curve.false_positive_rate) == pytest.approx(curve.auc, abs=1e-5)


# ---------------------------------------------------------------- one set, many thresholds


def test_scored_films_follow_the_threshold_and_keep_what_it_does_not_change() -> None:
    generator = np.random.default_rng(13)
    labels = generator.integers(0, 2, 300)
    scores = np.round(np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)
    patients = [f"p{i // 3}" for i in range(300)]
    films = evaluation.scored(labels, scores, patients=patients)
    for threshold in (0.0, 0.25, math.nextafter(0.25, 1), 0.5, 1.0, 2.0):
        at = films.at(threshold)
        assert at == evaluate(labels, scores, threshold=threshold, patients=patients)
        assert at.confusion == evaluation.confusion(labels, scores, threshold)
        assert at.confusion == films.confusion(threshold)
    np.testing.assert_array_equal(films.labels, labels)
    with pytest.raises(ValueError, match="threshold"):
        films.at(math.nan)


def test_a_single_film_has_figures_and_no_false_certainty() -> None:
    result = evaluate([1], [0.7], threshold=0.5, patients=["a"])
    assert result.brier == pytest.approx(0.09)
    for name in ("brier", "log_loss", "ece"):
        assert result.interval(name) is None
    assert result.sensitivity.interval is not None
    assert result.sensitivity.interval.low < 0.25


def test_calibration_interval_reaches_nothing_where_the_probabilities_are_right() -> None:
    generator = np.random.default_rng(15)
    scores = generator.random(400)
    labels = (generator.random(400) < scores).astype(int)
    right = evaluate(labels, scores, threshold=0.5)
    assert right.ece > 0.01
    assert right.ece_interval is not None
    assert right.ece_interval.low == pytest.approx(0, abs=1e-6)
    wrong = evaluate(labels, scores**3, threshold=0.5)
    assert wrong.ece_interval is not None
    assert right.ece_interval.high < wrong.ece_interval.low < wrong.ece < wrong.ece_interval.high
    exact = evaluate([1, 1, 1, 0], [0.75] * 4, threshold=0.5)
    assert exact.ece == 0
    assert exact.ece_interval is not None
    assert exact.ece_interval.low == 0
    assert exact.ece_interval.high > 0.2
