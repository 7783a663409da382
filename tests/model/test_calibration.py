from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit
from scipy.special import logit as scipy_logit
from sklearn.linear_model import LogisticRegression

from model.calibration import (
    Calibration,
    OperatingPoint,
    Rule,
    choose_threshold,
    fit_platt,
    identity,
    logit,
    operating_points,
    sigmoid,
)
from model.evaluation import expected_calibration_error, operating_rates


def thresholds(points: tuple[OperatingPoint, ...]) -> dict[str, float]:
    return {point.name: point.threshold for point in points}


def logit_middle(a: float, b: float) -> float:
    return float(expit((scipy_logit(a) + scipy_logit(b)) / 2))


# ---------------------------------------------------------------- Calibration


def test_identity_changes_nothing() -> None:
    raw = np.array([0.0, 1e-12, 0.1, 0.5, 1.0])
    np.testing.assert_array_equal(identity().apply(raw), raw)
    assert identity().prevalence is None


def test_apply_by_hand() -> None:
    calibration = Calibration(method="m", slope=2.0, intercept=-1.0, fitted_on="films")
    # logit(0.5) = 0 and logit(0.8) = ln 4
    expected = [1 / (1 + math.e), 1 / (1 + math.exp(1 - 2 * math.log(4)))]
    assert calibration.apply(np.array([0.5, 0.8], dtype=np.float32)) == pytest.approx(expected, rel=1e-7)
    ends = calibration.apply([0.0, 1e-7, 1 - 1e-7, 1.0])
    assert ends[0] == ends[1] > 0
    assert ends[2] == ends[3] < 1
    assert ends.dtype == np.float64
    assert calibration.apply(np.zeros((2, 3))).shape == (2, 3)


@given(st.floats(-700, 700))
def test_sigmoid_equals_scipy(value: float) -> None:
    assert float(sigmoid(value)) == pytest.approx(float(expit(value)), rel=1e-12)


@pytest.mark.parametrize(
    "field",
    [{"slope": 0.0}, {"slope": -1.0}, {"slope": math.nan}, {"intercept": math.inf}, {"prevalence": 1.0}],
)
def test_a_damaged_calibration_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(
            {"method": "m", "slope": 1.0, "intercept": 0.0, "fitted_on": "films"} | field
        )


def test_it_survives_a_card() -> None:
    calibration = Calibration(method="m", slope=1 / 3, intercept=-0.1, prevalence=0.5, fitted_on="films")
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


# ---------------------------------------------------------------- fit_platt


def overconfident(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Films of which the true log odds are 0.5 * logit(raw) - 0.4."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 4, n)
    labels = (generator.random(n) < expit(0.5 * x - 0.4)).astype(int)
    return expit(x), labels


def test_the_fit_is_logistic_regression_towards_smoothed_targets() -> None:
    raw, labels = overconfident(1)
    weights = np.random.default_rng(2).uniform(0.5, 2, labels.size)
    fitted = fit_platt(raw, labels, weights=weights, fitted_on="films")

    effective = {k: weights[labels == k].sum() ** 2 / (weights[labels == k] ** 2).sum() for k in (0, 1)}
    target = np.where(labels == 1, (effective[1] + 1) / (effective[1] + 2), 1 / (effective[0] + 2))
    # scikit-learn takes hard labels only: every film enters twice, as pneumonia and as normal, with the
    # target as weight.
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.tile(scipy_logit(raw), 2)[:, None],
        np.repeat([1, 0], labels.size),
        sample_weight=np.r_[weights * target, weights * (1 - target)],
    )
    assert fitted.slope == pytest.approx(expected.coef_[0, 0], rel=1e-4)
    assert fitted.intercept == pytest.approx(expected.intercept_[0], abs=1e-4)
    assert fitted.prevalence == pytest.approx(weights[labels == 1].sum() / weights.sum())


def test_the_fit_finds_the_true_line_and_lowers_the_calibration_error() -> None:
    raw, labels = overconfident(3, n=20_000)
    fitted = fit_platt(raw, labels, fitted_on="films")
    assert fitted.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.intercept == pytest.approx(-0.4, abs=0.05)
    other_raw, other_labels = overconfident(4, n=20_000)
    before = expected_calibration_error(other_labels, other_raw)
    after = expected_calibration_error(other_labels, fitted.apply(other_raw))
    assert after < 0.02 < before


def test_two_films_by_hand() -> None:
    # m = n = 1: targets 2/3 and 1/3 at logits +-ln 4 (raw 0.8 and 0.2) are met exactly: slope = ln 2 / ln 4
    # = 1/2.
    fitted = fit_platt([0.2, 0.8], [0, 1], fitted_on="films")
    assert fitted.slope == pytest.approx(0.5, abs=1e-6)
    assert fitted.intercept == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("prevalence", [0.1, 0.5, 0.9])
def test_reweighting_to_a_prevalence_moves_the_mean_there(prevalence: float) -> None:
    raw, labels = overconfident(5, n=4000)
    fitted = fit_platt(raw, labels, prevalence=prevalence, fitted_on="films")
    assert fitted.prevalence == pytest.approx(prevalence)
    calibrated = fitted.apply(raw)
    mean = prevalence * calibrated[labels == 1].mean() + (1 - prevalence) * calibrated[labels == 0].mean()
    assert mean == pytest.approx(prevalence, abs=2e-3)  # smoothing of the targets moves it a little


@pytest.mark.parametrize("gap", [0.001, 0.2, 0.4999999])
def test_separated_classes_give_a_finite_slope(gap: float) -> None:
    raw = np.r_[np.linspace(0, 0.5 - gap, 40), np.linspace(0.5 + gap, 1, 60)]
    labels = np.repeat([0, 1], [40, 60])
    fitted = fit_platt(raw, labels, fitted_on="films")
    assert 0 < fitted.slope < 100
    calibrated = fitted.apply(raw)
    assert np.isfinite(calibrated).all()
    assert calibrated[labels == 1].min() > calibrated[labels == 0].max()
    points = thresholds(operating_points(labels, calibrated))
    for name in ("balanced", "screening", "rule-in"):
        assert calibrated[labels == 0].max() < points[name] <= calibrated[labels == 1].min()


def test_a_network_that_learnt_the_wrong_way_round_keeps_its_order() -> None:
    fitted = fit_platt([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], fitted_on="films")
    assert fitted.slope == pytest.approx(0.01)


def test_equal_scores_give_the_share_of_pneumonia() -> None:
    fitted = fit_platt([0.7] * 100, [0] * 30 + [1] * 70, fitted_on="films")
    assert fitted.apply([0.7])[0] == pytest.approx((70 * 71 / 72 + 30 / 32) / 100, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "labels", "options", "message"),
    [
        ([0.1, 0.2], [0, 0], {}, "both classes"),
        ([0.1, 0.2], [1, 1], {"prevalence": 0.5}, "both classes"),
        ([0.1, math.nan], [0, 1], {}, "missing"),
        ([0.1, 0.2], [0, 1], {"weights": [1.0]}, "1 weights"),
        ([0.1, 0.2], [0, 1], {"weights": [1.0, 0.0]}, "positive"),
        ([0.1, 0.2], [0, 1], {"prevalence": 1.0}, "prevalence"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    raw: list[float], labels: list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_platt(raw, labels, fitted_on="films", **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- operating points


def test_operating_points_by_hand() -> None:
    # Scores from below: N .1, N .2, P .3, N .4, N .5, P .6, P .7, N .75, P .8  (4 P, 5 N)
    # J at thresholds in (.5, .6]: 3/4 + 4/5 - 1 = 0.55; in (.2, .3]: 1 + 2/5 - 1 = 0.4; in (.75, .8]: 1/4 +
    # 1 - 1.
    labels = [0, 0, 1, 0, 0, 1, 1, 0, 1]
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8]
    points = operating_points(labels, scores)
    assert [point.name for point in points] == ["default", "balanced", "screening", "rule-in"]
    assert points[1].rule == "highest sensitivity + specificity on validation films (Youden)"
    found = thresholds(points)
    assert found["default"] == 0.5
    assert found["balanced"] == round(logit_middle(0.5, 0.6), 3) == 0.551
    assert found["screening"] == round(logit_middle(0.2, 0.3), 3) == 0.247  # all P, two of five N
    assert found["rule-in"] == round(logit_middle(0.75, 0.8), 3) == 0.776  # all N, one of four P


def test_narrow_gaps_get_the_decimals_they_need() -> None:
    found = thresholds(operating_points([0, 1], [0.50001, 0.50003]))
    assert found["balanced"] == 0.50002
    found = thresholds(operating_points([0, 1], [0.5, float(np.nextafter(0.5, 1))]))
    assert found["balanced"] == np.nextafter(0.5, 1)


def test_an_empty_stretch_between_the_classes_is_halved_on_the_logit_scale() -> None:
    found = thresholds(operating_points([0, 0, 1, 1], [0.001, 0.01, 0.9, 0.99]))
    assert round(logit_middle(0.01, 0.9), 3) == 0.232
    assert [found[name] for name in ("balanced", "screening", "rule-in")] == [0.232] * 3


def test_of_several_equally_good_stretches_the_widest_is_taken() -> None:
    # N .1, P .2, N .3, P .9: J = 1/2 in (.1, .2] and in (.3, .9]
    found = thresholds(operating_points([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9]))
    assert found["balanced"] == round(logit_middle(0.3, 0.9), 3)


def test_weights_move_the_balance() -> None:
    labels, scores = [0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9]
    # the pneumonia at .2 now weighs nine times the other: missing it costs 0.9
    found = thresholds(operating_points(labels, scores, weights=[1, 9, 1, 1]))
    assert found["balanced"] == round(logit_middle(0.1, 0.2), 3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_scores_that_tell_nothing_give_one_half(value: float) -> None:
    points = operating_points([0, 0, 1, 1], [value] * 4)
    found = thresholds(points)
    assert found["balanced"] == 0.5
    assert "do not tell" in points[1].rule
    assert found["screening"] <= value or found["screening"] <= 0.5
    assert found["rule-in"] > value or value == 1.0


@settings(deadline=None)
@given(
    st.integers(2, 80).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < len(x)),
            st.one_of(
                st.lists(st.floats(0, 1), min_size=n, max_size=n),
                st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=n, max_size=n),
            ),
        )
    ),
    st.booleans(),
)
def test_the_points_keep_what_their_rules_say(case: tuple[list[int], list[float]], smooth: bool) -> None:
    labels, scores = np.array(case[0]), np.array(case[1])
    # A calibrated probability is never 1; above 1 no threshold could say "none".
    scores = np.minimum(scores, 1 - 1e-6)
    points = operating_points(labels, scores, smooth=smooth)
    found = thresholds(points)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["screening"] <= found["balanced"] <= found["rule-in"]

    rates = {name: operating_rates(labels, scores, value) for name, value in found.items()}
    assert (rates["screening"].sensitivity.value or 0) >= 0.98
    assert (rates["rule-in"].specificity.value or 0) >= 0.98

    def youden(threshold: float) -> float:
        at = operating_rates(labels, scores, threshold)
        return (at.sensitivity.value or 0) + (at.specificity.value or 0) - 1

    best = max(youden(value) for value in np.unique(scores))
    if best > 1e-9 and not smooth:
        assert youden(found["balanced"]) == pytest.approx(best, abs=1e-9)


def test_the_smoothed_balance_is_less_noisy_and_no_worse() -> None:
    # Binormal on the logit scale, mirror images: the best threshold is 0.5.
    generator = np.random.default_rng(12)
    labels = np.repeat([0, 1], [100, 200])
    plain, smooth = [], []
    for _ in range(60):
        scores = sigmoid(generator.normal(np.where(labels == 1, 2.0, -2.0), 1.2))
        plain.append(logit(thresholds(operating_points(labels, scores))["balanced"]))
        smooth.append(logit(thresholds(operating_points(labels, scores, smooth=True))["balanced"]))
    assert np.std(smooth) < np.std(plain)
    assert np.sqrt(np.mean(np.square(smooth))) < np.sqrt(np.mean(np.square(plain)))
    assert abs(np.mean(smooth)) < 0.2


def test_operating_points_need_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        operating_points([1, 1], [0.2, 0.4])


# ---------------------------------------------------------------- a threshold by rule


@pytest.mark.parametrize(
    ("rule", "amount", "name", "expected"),
    [
        # normal 0.1 0.2 0.3 0.6, pneumonia 0.4 0.5 0.7 0.8 0.9
        ("sensitivity", {"target": 1.0}, "sensitivity 100 %", (5, 1)),
        ("sensitivity", {"target": 0.6}, "sensitivity 60 %", (3, 0)),
        ("sensitivity", {"target": 0.61}, "sensitivity 61 %", (5, 1)),  # 4 / 5 gains nothing over 5 / 5
        ("specificity", {"target": 1.0}, "specificity 100 %", (3, 0)),
        ("specificity", {"target": 0.75}, "specificity 75 %", (5, 1)),
        ("specificity", {"target": 0.5}, "specificity 50 %", (5, 1)),
        ("youden", {}, "Youden", (5, 1)),
        # cost 1 a false alarm: (5, 1) costs 1; (3, 0) costs 2 ratios
        ("cost", {"cost_ratio": 0.6}, "cost ratio 0.6", (5, 1)),
        ("cost", {"cost_ratio": 0.4}, "cost ratio 0.4", (3, 0)),
        # at a prevalence of 0.1: (5, 1) costs 0.9 x 1/4, (3, 0) costs 0.1 x 2/5 a ratio
        ("cost", {"cost_ratio": 5, "prevalence": 0.1}, "cost ratio 5", (3, 0)),
        ("cost", {"cost_ratio": 6, "prevalence": 0.1}, "cost ratio 6", (5, 1)),
    ],
)
def test_a_threshold_by_rule_by_hand(
    rule: Rule, amount: dict[str, float], name: str, expected: tuple[int, int]
) -> None:
    labels, scores = [0, 0, 0, 0, 1, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.4, 0.5, 0.7, 0.8, 0.9]
    point = choose_threshold(labels, scores, rule=rule, **amount)
    assert point.name == name
    rates = operating_rates(labels, scores, point.threshold)
    assert (rates.sensitivity.count, 4 - rates.specificity.count) == expected
    assert "these films" in point.rule


scored_films = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.one_of(
            st.lists(st.floats(0, 1), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=n, max_size=n),
        ),
    ).filter(lambda case: len(set(case[0])) == 2)
)


@settings(deadline=None)
@given(scored_films, st.floats(0.01, 1), st.floats(0.01, 100), st.floats(0.01, 0.99))
def test_no_other_threshold_does_better(
    case: tuple[list[int], list[float]], target: float, ratio: float, prevalence: float
) -> None:
    labels, scores = case
    candidates = {0.0, 1.0, *scores, *(min(math.nextafter(score, 2), 1.0) for score in scores)}

    def rates(threshold: float) -> tuple[float, float]:
        found = operating_rates(labels, scores, threshold)
        assert found.sensitivity.value is not None
        assert found.specificity.value is not None
        return found.sensitivity.value, found.specificity.value

    every = [rates(threshold) for threshold in candidates]
    sensitivity, specificity = rates(
        choose_threshold(labels, scores, rule="sensitivity", target=target).threshold
    )
    assert sensitivity >= target - 1e-9
    assert specificity == max(high for reached, high in every if reached >= target - 1e-12)

    reachable = [reached for reached in every if reached[1] >= target - 1e-12]
    if reachable:
        point = choose_threshold(labels, scores, rule="specificity", target=target)
        sensitivity, specificity = rates(point.threshold)
        assert specificity >= target - 1e-9
        assert sensitivity == max(high for high, _ in reachable)
    else:
        with pytest.raises(ValueError, match="probability of 1"):
            choose_threshold(labels, scores, rule="specificity", target=target)

    best = max(map(sum, every))
    if best > 1 + 1e-9:
        assert sum(rates(choose_threshold(labels, scores, rule="youden").threshold)) == pytest.approx(best)

    def cost(pair: tuple[float, float]) -> float:
        return ratio * prevalence * (1 - pair[0]) + (1 - prevalence) * (1 - pair[1])

    point = choose_threshold(labels, scores, rule="cost", cost_ratio=ratio, prevalence=prevalence)
    assert cost(rates(point.threshold)) == pytest.approx(min(map(cost, every)), abs=1e-9)


@pytest.mark.parametrize(
    ("rule", "amount", "message"),
    [
        ("sensitivity", {}, "above 0 and at most 1"),
        ("sensitivity", {"target": 95.0}, "above 0 and at most 1"),
        ("specificity", {"target": math.nan}, "above 0 and at most 1"),
        ("cost", {}, "above 0"),
        ("cost", {"cost_ratio": 0.0}, "above 0"),
        ("cost", {"cost_ratio": math.inf}, "above 0"),
        ("cost", {"cost_ratio": 2.0, "prevalence": 1.0}, "prevalence"),
        ("luck", {}, "no rule 'luck'"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_so(rule: Rule, amount: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_threshold([0, 1], [0.2, 0.9], rule=rule, **amount)


def test_films_that_allow_no_choice_say_so() -> None:
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold([1, 1], [0.2, 0.9], rule="youden")
    with pytest.raises(ValueError, match="do not tell the classes apart"):
        choose_threshold([0, 1], [0.5, 0.5], rule="youden")
    with pytest.raises(ValueError, match=r"50 % of the normal films have a probability of 1"):
        choose_threshold([0, 0, 1], [0.5, 1.0, 1.0], rule="specificity", target=0.9)
