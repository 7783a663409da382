"""Decisions, numbers and sentences; the counts were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from model.calibration import OperatingPoint
from model.registry import Predictions
from utils.decisions import decide, format_probability, of_hundred, point_at, rates_in_words


def predictions(labels: list[int], probabilities: list[float]) -> Predictions:
    names = tuple(str(number) for number in range(len(labels)))
    return Predictions(names, names, np.array(labels, dtype=int), names, np.array(probabilities, dtype=float))


def test_a_probability_at_the_threshold_is_flagged() -> None:
    assert decide(0.37, threshold=0.37) == "PNEUMONIA"
    assert decide(np.nextafter(0.37, 0), threshold=0.37) == "NORMAL"


@pytest.mark.parametrize(
    ("probability", "threshold", "text"),
    [
        (0.87312, None, "0.873"),
        (0.99996, 0.5, ">0.999"),
        (0.0002, 0.5, "<0.001"),
        (0.49996, 0.5, "0.49996"),
        (0.5, 0.5, "0.500"),
        (1.0, 1.0, ">0.999"),
    ],
)
def test_format_probability(probability: float, threshold: float | None, text: str) -> None:
    assert format_probability(probability, threshold=threshold) == text


@given(some.integers(0, 10**7), some.integers(0, 1000))
def test_the_printed_number_lies_on_the_side_of_the_threshold_where_the_decision_is(
    probability: int, threshold: int
) -> None:
    text = format_probability(probability / 10**7, threshold=threshold / 1000)
    if text[0] not in "<>":
        assert (float(text) >= threshold / 1000) == (probability / 10**7 >= threshold / 1000)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.974, "97 of 100"),
        (1.0, "100 of 100"),
        (0.998, "more than 99 of 100"),
        (0.001, "fewer than 1 of 100"),
        (0, "0 of 100"),
    ],
)
def test_of_hundred(share: float, text: str) -> None:
    assert of_hundred(share) == text


def test_the_sentence_follows_the_threshold() -> None:
    stored = predictions([1, 1, 1, 1, 0, 0, 0, 0], [0.9, 0.8, 0.6, 0.2, 0.7, 0.4, 0.3, 0.1])
    assert rates_in_words(stored, threshold=0.5) == (
        "At this threshold 75 of 100 pneumonias and 25 of 100 healthy children are flagged, measured on the test set."
    )
    assert "100 of 100 pneumonias and 75 of 100 healthy" in rates_in_words(stored, threshold=0.2)


def test_a_class_that_the_test_set_lacks_is_named() -> None:
    sentence = rates_in_words(predictions([1, 1], [0.9, 0.1]), threshold=0.5)
    assert "50 of 100 pneumonias are flagged" in sentence
    assert sentence.endswith("It holds no healthy children.")
    assert "empty" in rates_in_words(predictions([], []), threshold=0.5)


def test_point_at_knows_only_exact_thresholds() -> None:
    points = (OperatingPoint(name="balanced", threshold=0.4273816, rule="Youden"),)
    assert point_at(points, 0.4273816) is points[0]
    assert point_at(points, 0.427) is None
