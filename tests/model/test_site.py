"""A site's films beside the test set, and what is fitted to them."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import sigmoid
from model.evaluation import evaluate, expected_calibration_error
from model.site import MINIMUM_FILMS, _folds, compare, errors, recalibrate, threshold_for_site, too_few


def films(
    count: int, *, separation: float, shift: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, probabilities and patients (two films each) with logits `separation` apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % 2
    logits = random.normal(np.where(labels == 1, separation / 2, -separation / 2), 1.0) + shift
    return labels, sigmoid(logits), [f"patient {index // 2}" for index in range(count)]


def test_the_difference_of_two_shares_as_newcombe_published_it() -> None:
    """Newcombe 1998, table II, contrast (a), method 10: 56/70 less 48/80 gives 0.0524 to 0.3339."""
    site = evaluate(np.ones(70, dtype=int), np.r_[np.ones(56), np.zeros(14)], threshold=0.5)
    test = evaluate(np.ones(80, dtype=int), np.r_[np.ones(48), np.zeros(32)], threshold=0.5)
    found = compare(site, test)
    sensitivity = found.rows[1]
    assert sensitivity.difference is not None
    assert sensitivity.difference.low == pytest.approx(0.0524, abs=5e-5)
    assert sensitivity.difference.high == pytest.approx(0.3339, abs=5e-5)
    assert sensitivity.sign == 1
    assert "cannot be said" in found.words  # one class only: no AUC


def test_harder_easier_and_not_shown() -> None:
    good, bad = films(600, separation=4), films(600, separation=1, seed=1)
    one, other = evaluate(*good[:2], threshold=0.5), evaluate(*bad[:2], threshold=0.5)
    assert "seem harder" in compare(other, one).words
    assert "seem easier" in compare(one, other).words
    again = films(600, separation=4, seed=2)
    assert "not shown" in compare(evaluate(*again[:2], threshold=0.5), one).words


def test_a_shift_alone_is_no_harder_but_wants_a_threshold() -> None:
    straight, shifted = films(600, separation=4), films(600, separation=4, shift=-2.0)
    words = compare(evaluate(*shifted[:2], threshold=0.5), evaluate(*straight[:2], threshold=0.5)).words
    assert "sensitivity is lower here" in words
    assert "seem harder" not in words


def test_errors_at_the_films_own_share_are_the_plain_ones() -> None:
    labels, probabilities, _ = films(300, separation=2, shift=0.7)
    found = errors(labels, probabilities, prevalence=float(labels.mean()))
    assert found.ece == pytest.approx(expected_calibration_error(labels, probabilities))
    assert found.brier == pytest.approx(np.mean((labels - probabilities) ** 2))


def test_recalibration_mends_a_shift_on_films_it_has_not_seen() -> None:
    labels, probabilities, patients = films(400, separation=2, shift=2.0)
    found = recalibrate(
        labels, probabilities, patients=patients, in_use=probabilities, prevalence=None, fitted_on="films"
    )
    assert found.after.brier < found.before.brier
    assert found.after.ece < found.before.ece
    mended = found.calibration.apply(probabilities)
    assert mended.mean() == pytest.approx(labels.mean(), abs=0.01)
    assert np.array_equal(np.argsort(mended), np.argsort(probabilities))


def test_a_prevalence_moves_the_probabilities() -> None:
    labels, probabilities, patients = films(400, separation=2)

    def mean_at(prevalence: float) -> float:
        found = recalibrate(
            labels,
            probabilities,
            patients=patients,
            in_use=probabilities,
            prevalence=prevalence,
            fitted_on="films",
        )
        assert found.calibration.prevalence == pytest.approx(prevalence)
        return float(found.calibration.apply(probabilities).mean())

    assert mean_at(0.1) < mean_at(0.5) < mean_at(0.9)


def test_the_threshold_meets_its_target_and_is_judged_on_other_films() -> None:
    labels, probabilities, patients = films(400, separation=2)
    found = threshold_for_site(labels, probabilities, patients=patients, rule="sensitivity", target=0.9)
    seen = evaluate(labels, probabilities, threshold=found.point.threshold).sensitivity.value
    assert seen is not None and seen >= 0.9
    assert found.sensitivity.total == labels.sum()
    assert found.sensitivity.value == pytest.approx(0.9, abs=0.06)


def test_films_of_a_patient_never_part() -> None:
    labels, _, patients = films(400, separation=0)
    keys = np.array(patients)
    held_ever = np.zeros(400, dtype=int)
    for others, held in _folds(labels, patients):
        assert not set(keys[others]) & set(keys[held])
        assert set(labels[others]) == {0, 1}
        held_ever += held
    assert (held_ever == 1).all()


@pytest.mark.parametrize(("normal", "pneumonia"), [(MINIMUM_FILMS - 1, 200), (200, 10), (0, 100)])
def test_too_few_films_are_refused_with_a_sentence(normal: int, pneumonia: int) -> None:
    labels = np.r_[np.zeros(normal, dtype=int), np.ones(pneumonia, dtype=int)]
    scores = np.linspace(0.01, 0.99, labels.size)
    patients = [str(number) for number in range(labels.size)]
    assert f"{normal} NORMAL and {pneumonia} PNEUMONIA" in too_few(labels)
    with pytest.raises(ValueError, match="At least 50 films of each class"):
        recalibrate(labels, scores, patients=patients, in_use=scores, prevalence=None, fitted_on="films")
    with pytest.raises(ValueError, match="At least 50 films of each class"):
        threshold_for_site(labels, scores, patients=patients, rule="youden")


def test_too_few_patients_are_refused() -> None:
    labels, scores, _ = films(200, separation=2)
    with pytest.raises(ValueError, match="5 patients"):
        recalibrate(
            labels,
            scores,
            patients=[f"{label}" for label in labels],
            in_use=scores,
            prevalence=None,
            fitted_on="films",
        )
