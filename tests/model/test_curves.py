"""What the Metrics screen draws: by hand, against scikit-learn, against formulas written out anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from model import curves, evaluation
from model.evaluation import Interval, evaluate, proportion
from model.intervals import wilson

Z = 1.959963984540054


def seed_films() -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 0, 1, 1], [216, 18, 30, 360])
    return labels, np.repeat([0.1, 0.8, 0.3, 0.9], [216, 18, 30, 360])


def many(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    return labels, 1 / (1 + np.exp(-generator.normal(2.0 * labels - 1, 1)))


films = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.one_of(
            st.lists(st.floats(0, 1), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=n, max_size=n),
            st.just([0.5] * n),
        ),
    )
)

# ---------------------------------------------------------------- precision-recall


def test_precision_recall_by_hand() -> None:
    curve = curves.precision_recall([1, 1, 0, 0, 1], [0.9, 0.7, 0.7, 0.2, 0.2])
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 0.9, 0.7, 0.2])
    np.testing.assert_allclose(curve.recall, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.precision, [1, 1, 2 / 3, 3 / 5])
    assert curve.average_precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert curve.prevalence == 0.6


@settings(deadline=None, max_examples=40)
@given(films)
def test_precision_recall_is_that_of_the_decisions(case: tuple[list[int], list[float]]) -> None:
    labels, scores = case
    if len(set(labels)) < 2:
        with pytest.raises(ValueError, match="both classes"):
            curves.precision_recall(labels, scores)
        return
    curve = curves.precision_recall(labels, scores)
    assert (curve.recall[0], curve.recall[-1]) == (0, 1)
    assert curve.precision[0] == curve.precision[1]
    for threshold, recall, precision in zip(
        curve.thresholds[1:], curve.recall[1:], curve.precision[1:], strict=True
    ):
        counts = evaluation.confusion(labels, scores, float(threshold))
        assert recall == counts.sensitivity.value
        assert precision == pytest.approx(counts.precision.value, abs=1e-15)
    steps = float(np.sum(np.diff(curve.recall) * curve.precision[1:]))
    assert curve.average_precision == pytest.approx(steps, abs=1e-12)
    found = evaluate(labels, scores, threshold=0.5).average_precision
    assert curve.average_precision == pytest.approx(found, abs=1e-12)


def test_curves_of_many_films_are_thinned_and_lose_nothing_that_is_seen() -> None:
    labels, scores = many(50_000)
    curve = curves.precision_recall(labels, scores)
    assert 300 < curve.recall.size <= 1000
    steps = float(np.sum(np.diff(curve.recall) * curve.precision[1:]))
    assert steps == pytest.approx(curve.average_precision, abs=1e-3)
    few = evaluation.thinned(np.arange(1000.0), np.arange(1000.0))
    np.testing.assert_array_equal(few, np.arange(1000))
    kept = evaluation.thinned(np.arange(5000.0), np.zeros(5000))
    assert (kept[0], kept[-1]) == (0, 4999)
    assert kept.size <= 1000
    assert np.diff(kept).max() <= 12


# ---------------------------------------------------------------- reliability, distribution


def test_reliability_by_hand() -> None:
    found = curves.reliability([0, 1, 1, 0, 1], [0.05, 0.1, 0.14, 0.3, 1.0])
    np.testing.assert_allclose(found.edges, np.arange(11) / 10)
    np.testing.assert_array_equal(found.counts, [1, 2, 0, 1, 0, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(found.mean_probability[[0, 1, 3, 9]], [0.05, 0.12, 0.3, 1.0])
    np.testing.assert_allclose(found.share[[0, 1, 3, 9]], [0, 1, 0, 1])
    low, high = wilson([0, 2, 0, 1], [1, 2, 1, 1])
    np.testing.assert_allclose(found.low[[0, 1, 3, 9]], low)
    np.testing.assert_allclose(found.high[[0, 1, 3, 9]], high)
    for array in (found.mean_probability, found.share, found.low, found.high):
        assert np.isnan(array[[2, 4, 5, 6, 7, 8]]).all()


@given(films, st.integers(1, 20))
def test_the_diagram_holds_the_calibration_error(case: tuple[list[int], list[float]], bins: int) -> None:
    found = curves.reliability(*case, bins=bins)
    filled = found.counts > 0
    gaps = np.abs(found.mean_probability - found.share)[filled] @ found.counts[filled]
    expected = evaluation.expected_calibration_error(*case, bins=bins)
    assert gaps / len(case[0]) == pytest.approx(expected, abs=1e-12)


@given(films, st.integers(1, 60))
def test_distribution_counts_every_film_once(case: tuple[list[int], list[float]], bins: int) -> None:
    labels, scores = np.array(case[0]), np.array(case[1])
    found = curves.distribution(labels, scores, bins=bins)
    for counts, label in ((found.normal, 0), (found.pneumonia, 1)):
        expected = np.histogram(scores[labels == label], bins=found.edges)[0]
        np.testing.assert_array_equal(counts, expected)
    assert found.normal.sum() + found.pneumonia.sum() == labels.size


# ---------------------------------------------------------------- thresholds


def test_table_thresholds_are_those_a_person_writes() -> None:
    assert curves.TABLE_THRESHOLDS.tolist() == [float(f"{k / 100:.2f}") for k in range(5, 100, 5)]


@settings(deadline=None, max_examples=50)
@given(films)
def test_sweep_is_the_evaluation_at_every_threshold(case: tuple[list[int], list[float]]) -> None:
    thresholds = [0.0, 0.25, math.nextafter(0.25, 1), 0.5, 1.0, 1.5]
    table = curves.sweep(*case, thresholds)
    np.testing.assert_array_equal(table.thresholds, thresholds)
    for row, threshold in enumerate(thresholds):
        counts = evaluation.confusion(*case, threshold)
        assert [int(getattr(table, name)[row]) for name in ("tn", "fp", "fn", "tp")] == counts.counts.tolist()
        for name in ("sensitivity", "specificity", "precision", "npv", "accuracy", "f1_pneumonia"):
            expected = getattr(counts, name)
            value = getattr(expected, "value", expected)
            shown = getattr(table, name)[row]
            assert math.isnan(shown) if value is None else shown == value
        for name in ("sensitivity", "specificity"):
            interval = getattr(counts, name).interval
            if interval is not None:
                assert getattr(table, f"{name}_low")[row] == interval.low
                assert getattr(table, f"{name}_high")[row] == interval.high
    np.testing.assert_array_equal(table.youden, table.sensitivity + table.specificity - 1)


@pytest.mark.parametrize("thresholds", [[0.1, math.nan], 0.5, [[0.5]]])
def test_what_is_no_list_of_thresholds_is_refused(thresholds: object) -> None:
    with pytest.raises(ValueError, match="list of numbers"):
        curves.sweep([0, 1], [0.1, 0.2], thresholds)  # type: ignore[arg-type]


# ---------------------------------------------------------------- decision curve


def test_net_benefit_by_hand() -> None:
    # at 0.2 the 0.3 films are flagged too: TP 390, FP 18 of 624, odds 1 / 4; at 0.5: TP 360, FP 18, odds 1
    found = curves.decision_curve(*seed_films(), [0.0, 0.2, 0.5])
    np.testing.assert_allclose(found.model, [390 / 624, (390 - 18 / 4) / 624, (360 - 18) / 624])
    np.testing.assert_allclose(found.treat_all, [390 / 624, (390 - 234 / 4) / 624, (390 - 234) / 624])


def test_decision_curve_defaults_and_limits() -> None:
    found = curves.decision_curve(*seed_films())
    assert (found.thresholds[0], found.thresholds[-1], found.thresholds.size) == (0.01, 0.99, 99)
    one_class = curves.decision_curve([1, 1], [0.2, 0.9], [0.5])
    assert (one_class.model[0], one_class.treat_all[0]) == (0.5, 1.0)
    for refused in ([1.0], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="below 1"):
            curves.decision_curve([0, 1], [0.1, 0.2], refused)


# ---------------------------------------------------------------- predictive values


def test_predictive_values_are_bayes() -> None:
    found = curves.predictive_values(proportion(90, 100), proportion(160, 200), 0.1)
    assert found.ppv == pytest.approx(0.09 / (0.09 + 0.18))
    assert found.npv == pytest.approx(0.72 / (0.72 + 0.01))
    # Mercaldo's standard errors of the logits, written out
    for value, interval, variance in (
        (found.ppv, found.ppv_interval, 0.1 / 0.9 / 100 + 0.8 / 0.2 / 200),
        (found.npv, found.npv_interval, 0.9 / 0.1 / 100 + 0.2 / 0.8 / 200),
    ):
        assert value is not None
        assert interval is not None
        logit = math.log(value / (1 - value))
        ends = [1 / (1 + math.exp(-(logit + sign * Z * math.sqrt(variance)))) for sign in (-1, 1)]
        assert (interval.low, interval.high) == pytest.approx(ends, abs=1e-14)


def test_predictive_values_at_the_sets_own_prevalence_are_precision_and_npv() -> None:
    result = evaluate(*seed_films(), threshold=0.5)
    found = curves.predictive_values(result.sensitivity, result.specificity, 390 / 624)
    assert found.ppv == pytest.approx(result.precision.value, abs=1e-15)
    assert found.npv == pytest.approx(result.npv.value, abs=1e-15)


def test_predictive_values_at_the_limits() -> None:
    perfect = curves.predictive_values(proportion(50, 50), proportion(40, 40), 0.2)
    assert (perfect.ppv, perfect.npv) == (1.0, 1.0)
    for interval in (perfect.ppv_interval, perfect.npv_interval):
        assert interval is not None
        assert interval.high == 1.0
        assert 0.5 < interval.low < 0.99
    nobody = curves.predictive_values(proportion(9, 10), proportion(8, 10), 0.0)
    assert (nobody.ppv, nobody.npv) == (0.0, 1.0)
    assert nobody.ppv_interval == Interval(0.0, 0.0)
    never_flagged = curves.predictive_values(proportion(0, 10), proportion(10, 10), 0.3)
    assert (never_flagged.ppv, never_flagged.ppv_interval) == (None, None)
    assert never_flagged.npv == pytest.approx(0.7)
    one_class = curves.predictive_values(proportion(0, 0), proportion(10, 10), 0.3)
    assert (one_class.ppv, one_class.npv) == (None, None)
    for prevalence in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            curves.predictive_values(proportion(9, 10), proportion(8, 10), prevalence)


@pytest.mark.slow
def test_predictive_intervals_cover() -> None:
    generator = np.random.default_rng(21)
    true_ppv, true_npv = 0.18 / (0.18 + 0.08), 0.72 / (0.72 + 0.02)
    covered = np.zeros(2)
    for _ in range(2000):
        sensitivity = proportion(int(generator.binomial(100, 0.9)), 100)
        specificity = proportion(int(generator.binomial(80, 0.9)), 80)
        found = curves.predictive_values(sensitivity, specificity, 0.2)
        for index, (interval, true) in enumerate(
            ((found.ppv_interval, true_ppv), (found.npv_interval, true_npv))
        ):
            assert interval is not None
            covered[index] += interval.low <= true <= interval.high
    assert ((covered >= 0.93 * 2000) & (covered <= 0.98 * 2000)).all()


# ---------------------------------------------------------------- subgroups


def test_subgroups_of_one_class_are_compared_with_all_films_of_the_other() -> None:
    labels, scores = many(400)
    groups = [
        "normal" if label == 0 else ("Virus" if i % 3 else "bacteria") for i, label in enumerate(labels)
    ]
    found = curves.subgroups(labels, scores, groups, threshold=0.5)
    assert [group.name for group in found] == ["bacteria", "normal", "Virus"]
    for group in found:
        mine = np.array(groups) == group.name
        assert (group.normal, group.pneumonia) == (np.sum(mine & (labels == 0)), np.sum(mine & (labels == 1)))
        rest = mine | (labels == (1 if group.name == "normal" else 0))
        assert group.auc == pytest.approx(reference.roc_auc_score(labels[rest], scores[rest]))
        assert "against all" in group.note
    bacteria, normal, _ = found
    assert bacteria.specificity.value is None
    chosen = np.array(groups) == "bacteria"
    assert bacteria.sensitivity == evaluation.operating_rates(labels[chosen], scores[chosen], 0.5).sensitivity
    assert "normal films" in bacteria.note
    assert "films of pneumonia" in normal.note


def test_small_and_unnamed_groups_say_so() -> None:
    labels, scores = many(100)
    groups = ["ward"] * 70 + ["clinic"] * 28 + ["", float("nan")]
    clinic, ward, unnamed = curves.subgroups(labels, scores, groups, threshold=0.5)  # type: ignore[arg-type]
    assert (clinic.name, ward.name, unnamed.name) == ("clinic", "ward", "not stated")
    assert clinic.note == "Only 28 films: the intervals are too wide for a verdict."
    assert ward.note == ""
    assert ward.auc == pytest.approx(reference.roc_auc_score(labels[:70], scores[:70]))
    assert "Only 2 films" in unnamed.note
    assert unnamed.normal + unnamed.pneumonia == 2


def test_subgroups_of_a_set_of_one_class_have_no_area() -> None:
    (only,) = curves.subgroups([1, 1, 1], [0.2, 0.6, 0.9], ["a"] * 3, threshold=0.6)
    assert only.auc is None
    assert only.auc_interval is None
    assert only.sensitivity == proportion(2, 3)
    assert "one class only" in only.note
    with pytest.raises(ValueError, match="2 films but 1 group"):
        curves.subgroups([0, 1], [0.1, 0.9], ["a"], threshold=0.5)


# ---------------------------------------------------------------- comparing two areas


def paired_by_definition(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and variance straight from DeLong, DeLong & Clarke-Pearson (1988): every pair compared, the 2 x 2
    covariance matrices S10 and S01, the contrast (1, -1)."""

    def kernel(scores: np.ndarray) -> np.ndarray:
        positives, negatives = scores[labels == 1][:, None], scores[labels == 0][None, :]
        return np.where(positives > negatives, 1.0, np.where(positives == negatives, 0.5, 0.0))

    psi = [kernel(first), kernel(second)]
    areas = [float(each.mean()) for each in psi]
    s10 = np.cov([each.mean(axis=1) for each in psi])
    s01 = np.cov([each.mean(axis=0) for each in psi])
    matrix = s10 / psi[0].shape[0] + s01 / psi[0].shape[1]
    return areas[0] - areas[1], float(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])


@pytest.mark.parametrize("decimals", [1, 3])
def test_comparing_areas_equals_delongs_definition(decimals: int) -> None:
    generator = np.random.default_rng(5)
    labels = np.repeat([0, 1], [37, 58])
    base = generator.normal(labels, 1)
    first, second = (
        np.round(1 / (1 + np.exp(-base - generator.normal(0, spread, 95))), decimals) for spread in (0.3, 1.0)
    )
    difference, variance = paired_by_definition(labels, first, second)
    found = curves.compare_auc(labels, first, second)
    assert found.first == pytest.approx(reference.roc_auc_score(labels, first))
    assert found.second == pytest.approx(reference.roc_auc_score(labels, second))
    assert found.difference == pytest.approx(difference, abs=1e-14)
    assert found.interval is not None
    half = Z * math.sqrt(variance)
    assert (found.interval.low, found.interval.high) == pytest.approx((difference - half, difference + half))
    assert found.p_value == pytest.approx(math.erfc(abs(difference) / math.sqrt(2 * variance)))
    turned = curves.compare_auc(labels, second, first)
    assert (turned.difference, turned.p_value) == pytest.approx((-found.difference, found.p_value))


# DeLong's own example: 43 patients with ovarian cancer (albumin, total protein, K-G score, outcome), as the SAS/STAT
# user's guide lists them in "Comparing Receiver Operating Characteristic Curves", with the figures that it prints.
OVARIAN_CANCER = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


@pytest.mark.parametrize(
    ("column", "area", "difference", "low", "high", "p_value"),
    [
        (0, 0.7366, 0.0108, -0.1761, 0.1976, 0.9102),  # albumin against the K-G score
        (1, 0.6478, -0.0780, -0.2830, 0.1271, 0.4561),  # total protein against the K-G score
    ],
)
def test_comparing_areas_equals_delongs_published_example(
    column: int, area: float, difference: float, low: float, high: float, p_value: float
) -> None:
    patients = np.array(OVARIAN_CANCER.split(), dtype=np.float64).reshape(-1, 4)
    labels = (patients[:, 3] == 0).astype(np.int64)
    # Little albumin or protein, but a high score, speaks for the event; brought into [0, 1].
    test, score = 1 - patients[:, column] / 10, patients[:, 2] / 10
    found = curves.compare_auc(labels, test, score)
    assert (found.first, found.second) == pytest.approx((area, 0.7258), abs=5e-5)
    assert found.difference == pytest.approx(difference, abs=6e-5)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=5e-5)
    assert found.p_value == pytest.approx(p_value, abs=5e-5)


def test_comparing_areas_by_patients() -> None:
    labels, first = many(120, seed=3)
    second = np.clip(first + np.random.default_rng(4).normal(0, 0.2, 120), 0, 1)
    single = curves.compare_auc(labels, first, second, patients=[str(i) for i in range(120)])
    plain = curves.compare_auc(labels, first, second)
    copied = curves.compare_auc(
        np.tile(labels, 3), np.tile(first, 3), np.tile(second, 3), patients=[str(i) for i in range(120)] * 3
    )
    assert copied.p_value == pytest.approx(single.p_value, rel=1e-9)
    assert single.p_value == pytest.approx(plain.p_value, rel=0.1)
    alone = curves.compare_auc(labels, first, second, patients=["a"] * 120)
    assert (alone.interval, alone.p_value) == (None, None)


def test_comparing_areas_at_the_limits() -> None:
    labels, first = many(60)
    same = curves.compare_auc(labels, first, first)
    assert (same.difference, same.interval, same.p_value) == (0.0, Interval(0.0, 0.0), 1.0)
    ranks = np.repeat([0, 1], 5)
    opposite = curves.compare_auc(ranks, ranks * 0.5, 1 - ranks * 0.5)
    assert (opposite.difference, opposite.interval, opposite.p_value) == (1.0, None, None)
    one_film = curves.compare_auc([0, 1, 1], [0.1, 0.2, 0.3], [0.5, 0.2, 0.9])
    assert (one_film.difference, one_film.interval) == (0.5, None)
    with pytest.raises(ValueError, match="both classes"):
        curves.compare_auc([1, 1], [0.1, 0.2], [0.3, 0.4])
    with pytest.raises(ValueError, match="2 labels but 1"):
        curves.compare_auc([0, 1], [0.1, 0.2], [0.3])


@pytest.mark.slow
def test_comparing_equal_networks_finds_a_difference_one_time_in_twenty() -> None:
    generator = np.random.default_rng(6)
    labels = np.repeat([0, 1], [60, 90])
    found = 0
    for _ in range(1000):
        base = generator.normal(1.5 * labels, 1)
        first, second = (1 / (1 + np.exp(-base - generator.normal(0, 0.7, 150))) for _ in range(2))
        p_value = curves.compare_auc(labels, first, second).p_value
        assert p_value is not None
        found += p_value < 0.05
    assert 30 <= found <= 72  # 50, give or take three standard errors


# ---------------------------------------------------------------- how many films


@pytest.mark.parametrize(
    ("share", "half_width"), [(0.9, 0.05), (0.5, 0.05), (1.0, 0.02), (0.0, 0.02), (0.97, 0.01)]
)
def test_films_needed_is_the_smallest_number_that_does(share: float, half_width: float) -> None:
    films_needed = curves.films_needed(share, half_width)

    def half(n: int) -> float:
        low, high = wilson(share * n, n)
        return float(high - low) / 2

    assert half(films_needed) <= half_width < half(films_needed - 1)


def test_films_needed_by_hand() -> None:
    # at a share of one half the half-width is z / (2 sqrt(n + z^2)): n = (z / 2h)^2 - z^2 = 384.1 - 3.8
    assert curves.films_needed(0.5, 0.05) == 381
    # at a share of 1 the width is z^2 / (n + z^2): n = z^2 / 2h - z^2 = 96.04 - 3.84
    assert curves.films_needed(1.0, 0.02) == 93
    for share, half_width in ((1.2, 0.05), (math.nan, 0.05), (0.9, 0.0), (0.9, 0.5), (0.5, 1e-6)):
        with pytest.raises(ValueError, match=r"between|ten million"):
            curves.films_needed(share, half_width)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "function",
    [curves.precision_recall, curves.reliability, curves.distribution, curves.sweep, curves.decision_curve],
)
def test_missing_probabilities_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="missing"):
        function([0, 1], [0.1, math.nan])
    with pytest.raises(ValueError, match="no film"):
        function([], [])
