"""Intervals of figures of four counts: formulas by hand, what zeros do, coverage, several films of one patient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation import FIGURE_NAMES, Confusion, evaluate
from model.intervals import (
    Films,
    Interval,
    Patients,
    clustered_variance,
    intervals_of_counts,
    on_log_scale,
    on_logit_scale,
    wilson,
)

Z = 1.959963984540054
OF_COUNTS = FIGURE_NAMES[2:13]


def intervals(tn: int, fp: int, fn: int, tp: int) -> Mapping[str, Interval | None]:
    return intervals_of_counts(Films(np.array([tn, fp, fn, tp], dtype=np.float64)))


def both(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def test_intervals_of_the_seeds_matrix_by_their_formulas() -> None:
    found = intervals(216, 18, 30, 360)

    low, high = wilson(360, 408)  # F* = 360 / (360 + 18 + 30)
    assert both(found["f1_pneumonia"]) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    low, high = wilson(216, 264)
    assert both(found["f1_normal"]) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))

    # Simel's standard errors of the logarithms: of 12 and of 1 / 12
    error = math.sqrt(1 / 360 - 1 / 390 + 1 / 18 - 1 / 234)
    assert both(found["lr_positive"]) == pytest.approx((12 * math.exp(-Z * error), 12 * math.exp(Z * error)))
    error = math.sqrt(1 / 30 - 1 / 390 + 1 / 216 - 1 / 234)
    assert both(found["lr_negative"]) == pytest.approx((math.exp(-Z * error) / 12, math.exp(Z * error) / 12))

    share = 12 / 13  # sensitivity and specificity alike
    (l1, l2), (u1, u2) = wilson([360, 216], [390, 234])
    below, above = math.hypot(share - l1, share - l2) / 2, math.hypot(u1 - share, u2 - share) / 2
    assert both(found["balanced_accuracy"]) == pytest.approx((share - below, share + above))


def phi_variance(tn: int, fp: int, fn: int, tp: int) -> float:
    """Variance of the fourfold phi = MCC, Bishop, Fienberg & Holland (1975), Discrete Multivariate Analysis,
    equation 11.3-21, from the margins: an independent way to what the delta method must give."""
    n = tn + fp + fn + tp
    phi = Confusion(tn, fp, fn, tp).mcc
    assert phi is not None
    row, column = (tp + fn) / n, (tp + fp) / n
    a = (row - (1 - row)) / math.sqrt(row * (1 - row))
    b = (column - (1 - column)) / math.sqrt(column * (1 - column))
    return (1 - phi**2 + (phi + phi**3 / 2) * a * b - 0.75 * phi**2 * (a**2 + b**2)) / n


@pytest.mark.parametrize("counts", [(216, 18, 30, 360), (5, 3, 2, 9), (90, 10, 1, 2), (2, 9, 5, 3)])
def test_matthews_interval_is_the_delta_method_on_fishers_scale(counts: tuple[int, int, int, int]) -> None:
    value = Confusion(*counts).mcc
    assert value is not None
    half = Z * math.sqrt(phi_variance(*counts)) / (1 - value**2)
    expected = math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    assert both(intervals(*counts)["mcc"]) == pytest.approx(expected, abs=1e-12)


def test_what_zeros_do() -> None:
    perfect = intervals(20, 0, 0, 30)
    assert perfect["lr_positive"] is None  # infinite: the figure has no value either
    assert both(perfect["lr_negative"])[0] == 0
    assert 0.05 < both(perfect["lr_negative"])[1] < 0.5
    assert both(perfect["mcc"])[1] == 1
    assert 0.7 < both(perfect["mcc"])[0] < 0.95
    assert both(perfect["balanced_accuracy"])[1] == 1
    assert both(perfect["balanced_accuracy"])[0] < 0.95

    everything = intervals(0, 20, 0, 30)  # every film called pneumonia: says nothing, and its ratio is 1
    low, high = both(everything["lr_positive"])
    assert low < 1 < high
    assert everything["lr_negative"] is None
    assert everything["mcc"] is None

    one_class = intervals(7, 3, 0, 0)
    for name in ("sensitivity", "balanced_accuracy", "mcc", "lr_positive", "lr_negative"):
        assert one_class[name] is None
    assert intervals(0, 0, 0, 0) == dict.fromkeys(OF_COUNTS)


counts_of_films = st.tuples(*[st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 10**6))] * 4)


@settings(deadline=None)
@given(counts_of_films)
def test_every_interval_holds_its_figure_and_stays_in_range(counts: tuple[int, int, int, int]) -> None:
    confusion, found = Confusion(*counts), intervals(*counts)
    assert set(found) == set(OF_COUNTS)
    for name, interval in found.items():
        value = getattr(confusion, name)
        value = getattr(value, "value", value)
        assert (interval is None) == (value is None), name
        if interval is not None:
            least, most = (-1 if name == "mcc" else 0), (math.inf if name.startswith("lr") else 1)
            near = 1e-9 * max(1.0, abs(value))
            assert least <= interval.low <= value + near, name
            assert value - near <= interval.high <= most, name


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.integers(100, 700)] * 4))
def test_patients_of_one_film_are_films(counts: tuple[int, int, int, int]) -> None:
    cells = np.repeat(np.eye(4, dtype=np.int64), counts, axis=1)
    films, patients = intervals(*counts), intervals_of_counts(Patients(cells))
    for name, interval in films.items():
        other = patients[name]
        assert interval is not None
        # n - 1 in the place of n, and no more
        width = interval.high - interval.low
        assert both(other) == pytest.approx((interval.low, interval.high), abs=0.02 * width + 1e-9), name


def test_every_film_of_a_patient_copied_changes_nothing() -> None:
    generator = np.random.default_rng(2)
    cells = np.eye(4, dtype=np.int64)[:, generator.integers(0, 4, 200)]
    once, thrice = intervals_of_counts(Patients(cells)), intervals_of_counts(Patients(3 * cells))
    for name, interval in once.items():
        assert both(thrice[name]) == pytest.approx(both(interval), abs=1e-12), name


def test_shares_of_patients_by_the_direct_formula() -> None:
    generator = np.random.default_rng(4)
    cells = generator.integers(0, 3, (4, 50))
    found = intervals_of_counts(Patients(cells))
    for name, hits, among in (
        ("sensitivity", [3], [2, 3]),
        ("npv", [0], [0, 2]),
        ("accuracy", [0, 3], [0, 1, 2, 3]),
    ):
        right, films = cells[hits].sum(axis=0), cells[among].sum(axis=0)
        share = right.sum() / films.sum()
        units = np.count_nonzero(films)
        variance = units / (units - 1) * np.sum((right - share * films) ** 2) / films.sum() ** 2
        effective = min(share * (1 - share) / variance, films.sum())
        low, high = wilson(share * effective, effective)
        assert both(found[name]) == pytest.approx((float(low), float(high)), abs=1e-12)


def test_one_patient_tells_nothing() -> None:
    found = intervals_of_counts(Patients(np.array([[3], [1], [1], [4]])))
    assert found["lr_positive"] is None
    low, high = both(found["sensitivity"])
    assert high - low > 0.7
    low, high = both(found["mcc"])
    assert high - low > 1.9


def test_scales() -> None:
    assert both(on_logit_scale(0.5, 0.0)) == (0.5, 0.5)
    low, high = both(on_logit_scale(0.9, 0.01))
    assert 0 < low < 0.9 < high < 1
    assert both(on_log_scale(2.0, 0.04)) == pytest.approx((2 * math.exp(-Z * 0.1), 2 * math.exp(Z * 0.1)))
    assert both(on_log_scale(0.5, 4.0, most=1.0))[1] == 1.0
    assert on_log_scale(0.0, 0.1) is None
    assert on_log_scale(0.5, 0.0) is None
    assert on_log_scale(0.5, math.inf) is None
    assert math.isfinite(both(on_log_scale(1e-300, 1.0))[1])


def test_clustered_variance_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(size=50)
    influence = (values - values.mean()) / 50
    assert clustered_variance(influence, None) == pytest.approx(values.var(ddof=1) / 50)
    pairs = np.arange(50) // 2
    means = values.reshape(25, 2).mean(axis=1)
    assert clustered_variance(influence, pairs) == pytest.approx(means.var(ddof=1) / 25)
    assert clustered_variance(np.zeros(1), None) == math.inf
    assert clustered_variance(np.zeros(4), np.zeros(4, dtype=np.int64)) == math.inf


# ---------------------------------------------------------------- coverage


def draw(
    generator: np.random.Generator, n: int, *, films_each: int = 1, certainty: float = 1.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two normal scores three standard deviations apart; probabilities are right where ``certainty`` is 1, too sure
    of themselves above. Films of one patient share 60 % of their spread."""
    patients = n // films_each
    truth = np.repeat((generator.random(patients) < 0.625).astype(int), films_each)
    own = generator.normal(size=n)
    shared = np.repeat(generator.normal(size=patients), films_each)
    noise = own if films_each == 1 else math.sqrt(0.6) * shared + math.sqrt(0.4) * own
    logit = 3.0 * (3.0 * (truth - 0.5) + noise) + math.log(0.625 / 0.375)
    names = [str(i) for i in np.repeat(np.arange(patients), films_each)]
    return truth, 1 / (1 + np.exp(-certainty * logit)), names


@pytest.mark.slow
@pytest.mark.parametrize(("films_each", "certainty"), [(1, 1.0), (1, 2.0), (4, 2.0)])
def test_every_interval_covers_the_truth_as_often_as_it_says(films_each: int, certainty: float) -> None:
    truth, scores, _ = draw(np.random.default_rng(99), 1_000_000, certainty=certainty)
    whole = evaluate(truth, scores, threshold=0.5)
    generator = np.random.default_rng(7)
    repeats, n = 300, 400 * (2 if films_each > 1 else 1)
    covered = dict.fromkeys(FIGURE_NAMES, 0)
    for _ in range(repeats):
        truth, scores, patients = draw(generator, n, films_each=films_each, certainty=certainty)
        result = evaluate(truth, scores, threshold=0.5, patients=patients if films_each > 1 else None)
        for name in FIGURE_NAMES:
            interval = getattr(result.by_patient, name) if films_each > 1 else result.interval(name)
            value = whole.value(name)
            assert value is not None
            covered[name] += interval is not None and interval.low <= value <= interval.high
    # 95 % of 300 is 285, give or take 11 (three standard errors); 200 patients are few for a normal limit
    least = 0.91 if films_each == 1 else 0.88
    assert {name: count / repeats for name, count in covered.items() if count < least * repeats} == {}
