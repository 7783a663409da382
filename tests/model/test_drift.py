"""Drift: no warning by chance or by another share of pneumonia, one where films differ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from model.drift import (
    LEAST_FILMS,
    Drift,
    corrected,
    drift_of_features,
    drift_of_probabilities,
    mixture,
)
from model.neighbours import Reference
from model.registry import RELEASED, read_version

Films = tuple[NDArray[np.float64], NDArray[np.int64]]
DRAWS = 99


def scores(random: np.random.Generator, films: int, share: float, *, apart: float = 2.0) -> Films:
    labels = (random.random(films) < share).astype(np.int64)
    return 1 / (1 + np.exp(-random.normal(np.where(labels == 1, apart, -apart), 1.3))), labels


def features(random: np.random.Generator, films: int, share: float, *, moved: float = 0.0) -> Films:
    labels = (random.random(films) < share).astype(np.int64)
    centre = np.zeros((films, 6))
    centre[:, 0] = 2.0 * labels
    centre[:, 1] = moved
    return random.normal(centre, 1.0), labels


def test_p_values_are_right_whatever_the_share_of_pneumonia() -> None:
    """Of films that do not differ, one in five has a p value up to 0.2; 120 draws give 24 ± 4.4."""
    random = np.random.default_rng(5)
    found: list[Drift | None] = []
    for share in (0.1, 0.3, 0.9):
        for _ in range(40):
            before, labels = scores(random, 300, 0.7)
            today, _ = scores(random, 120, share)
            found.append(drift_of_probabilities(today, before, labels, draws=DRAWS))
    p_values = np.array([each.p_value for each in found if each is not None])
    assert 10 <= (p_values <= 0.2).sum() <= 38
    assert not any(each.warns for each in found if each is not None)


def test_p_values_of_features_are_right_too() -> None:
    random = np.random.default_rng(6)
    found = []
    for share in (0.1, 0.9):
        for _ in range(20):
            training, labels = features(random, 160, 0.6)
            held, held_labels = features(random, 120, 0.6)
            today, _ = features(random, 60, share)
            drift = drift_of_features(today, training, labels, held, held_labels, draws=DRAWS)
            assert drift is not None
            found.append(drift)
    assert 2 <= sum(each.p_value <= 0.2 for each in found) <= 15
    assert not any(each.warns for each in found)


def test_films_that_differ_raise_a_warning() -> None:
    random = np.random.default_rng(7)
    before, labels = scores(random, 400, 0.7)
    unsure, _ = scores(random, 200, 0.3, apart=0.5)
    drift = drift_of_probabilities(unsure, before, labels, draws=999)
    assert drift is not None and drift.warns and drift.p_value == pytest.approx(1 / 1000)
    training, of = features(random, 400, 0.6)
    held, of_held = features(random, 200, 0.6)
    moved, _ = features(random, 100, 0.2, moved=1.5)
    found = drift_of_features(moved, training, of, held, of_held, draws=999)
    assert found is not None and found.warns
    # Little is no reason to warn, however many films show it.
    slightly, _ = features(random, 1000, 0.6, moved=0.12)
    found = drift_of_features(slightly, training, of, held, of_held, draws=DRAWS)
    assert found is not None and not found.large and not found.warns


def test_the_distance_is_that_of_scipy_where_no_share_has_to_be_found() -> None:
    """All films of one class in the mixture: the ordinary two-sample distance."""
    random = np.random.default_rng(8)
    before = np.concatenate([random.uniform(0.0, 0.4, 100), random.uniform(0.6, 1.0, 100)])
    labels = np.repeat([0, 1], 100)
    today = random.uniform(0.7, 1.0, 150)
    drift = drift_of_probabilities(today, before, labels, draws=DRAWS)
    assert drift is not None and drift.share == 1.0
    assert drift.distance == pytest.approx(ks_2samp(today, before[labels == 1]).statistic)


def test_too_few_films_say_nothing_and_p_values_are_corrected() -> None:
    random = np.random.default_rng(9)
    before, labels = scores(random, 300, 0.7)
    assert drift_of_probabilities(before[: LEAST_FILMS - 1], before, labels) is None
    assert drift_of_probabilities(before, before, np.ones(300)) is None
    assert drift_of_features(before[:10, None], before[:, None], labels, before[:, None], labels) is None
    one = Drift("features", films=60, distance=0.2, limit=0.1, p_value=0.03, share=0.5)
    other = Drift("probabilities", films=60, distance=0.2, limit=0.1, p_value=0.02, share=0.5)
    assert [each.p_value for each in corrected([one, None, other])] == [0.04, 0.04]
    assert corrected([None, one]) == (one,)
    assert mixture([0, 0, 1], 0.4).tolist() == [0.3, 0.3, 0.4]


def test_the_version_that_ships_does_not_warn_of_its_validation_films() -> None:
    """Real features and probabilities: films that were not trained on, at several shares of pneumonia, and all."""
    version = read_version(next(RELEASED.glob("*/card.json")).parent, verify=False)
    reference = Reference.load(version)
    assert reference is not None
    training, held = reference.of("training"), reference.of("validation")
    places, labels = reference.places("validation"), reference.labels[held]
    predictions = version.predictions("validation")
    random = np.random.default_rng(10)
    draws = [random.choice(held.size, 150, replace=False, p=mixture(labels, share)) for share in (0.25, 0.5)]
    for chosen in (*draws, np.arange(held.size)):
        drift = drift_of_features(
            places[chosen],
            reference.places("training"),
            reference.labels[training],
            places,
            labels,
            draws=DRAWS,
        )
        assert drift is not None and not drift.large
        rest = np.setdiff1d(np.arange(held.size), chosen)
        if min(np.bincount(labels[rest], minlength=2)) >= LEAST_FILMS:
            of_scores = drift_of_probabilities(
                predictions.probabilities[chosen],
                predictions.probabilities[rest],
                predictions.labels[rest],
                draws=DRAWS,
            )
            assert of_scores is not None and not of_scores.warns
