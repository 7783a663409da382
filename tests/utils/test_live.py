"""Readings beside verdicts, counted in the database, worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from model.verification import corrected_rates
from tests.cases import BEGAN, NETWORK, add_cases, pseudonym
from utils import live
from utils.live import Performance, Tally, Wanted
from utils.permissions import LOCAL, Forbidden, Person, Role

N, P = "NORMAL", "PNEUMONIA"


def test_readings_count_with_the_verdict_that_came_after_them(department_database: str) -> None:
    assert not live.any_case()
    add_cases(
        {"verdict": P, "probability": 0.9},  # 1
        {"verdict": P, "probability": 0.5},  # 2: at the threshold is flagged
        {"verdict": P, "probability": 0.3},  # 3: missed
        {"verdict": N, "probability": 0.2},  # 4
        {"verdict": N, "probability": 0.6},  # 5: flagged
        {"verdict": N, "probability": 0.6, "threshold": 0.7},  # 6: not flagged by who read it
        {"verdict": "CANNOT TELL", "probability": 0.8},  # 7
        {"probability": 0.8},  # 8: nobody has looked at it
        {"verdict": N, "probability": None, "refusal": "no film"},  # 9
        # 10: read again by another version, before the verdict, and once more after it
        {
            "verdict": P,
            "probability": 0.1,
            "verdict_at": BEGAN + timedelta(days=40),
            "readings": [("second", 0.7, 25), ("third", 0.99, 60)],
        },
    )
    assert live.any_case()
    assert live.versions() == ("second", "first")

    january = date(2026, 1, 1)
    assert live.tallies(Wanted()) == (
        Tally("first", january, tn=2, fp=1, fn=1, tp=2),
        Tally("second", date(2026, 2, 1), tn=0, fp=0, fn=0, tp=1),
    )
    assert live.tallies(Wanted(), each_version=True)[0] == Tally("first", january, tn=2, fp=1, fn=2, tp=2)
    assert live.tallies(Wanted(version="first")) == (Tally("first", january, tn=2, fp=1, fn=2, tp=2),)
    assert live.tallies(Wanted(threshold=0.2)) == (
        Tally("first", january, tn=0, fp=3, fn=0, tp=3),
        Tally("second", date(2026, 2, 1), tn=0, fp=0, fn=0, tp=1),
    )
    assert [each.version for each in live.tallies(Wanted(since=BEGAN + timedelta(days=20)))] == ["second"]

    counted = live.performance(live.tallies(Wanted()))
    assert counted == Performance(tn=2, fp=1, fn=1, tp=3)
    assert (counted.agreement.value, counted.sensitivity.value) == (5 / 7, 3 / 4)
    assert counted.specificity.interval is not None and counted.specificity.interval.low < 2 / 3
    by_month = live.grouped(live.tallies(Wanted()), live.month_of)
    assert list(by_month) == [january, date(2026, 2, 1)]
    assert by_month[january].sensitivity.count == 2

    covered = live.coverage(Wanted())
    assert (covered.flagged.count, covered.flagged.total) == (4, 6)
    assert (covered.passed.count, covered.passed.total, covered.cannot_tell) == (3, 3, 1)
    corrected = corrected_rates(live.with_coverage(counted, covered))
    assert corrected is not None
    # 6 flagged cases of which 3 in 4 are ill, 3 others of which 1 in 3 is: 4.5 and 1 of 5.5 ill ones
    assert corrected[0].value == pytest.approx(4.5 / 5.5)


def test_disagreements_lead_to_their_cases(department_database: str) -> None:
    add_cases(
        {"verdict": P, "probability": 0.3},
        {"verdict": P, "probability": 0.8},
        {"verdict": N, "probability": 0.6},
        {"verdict": N, "probability": 0.1},
    )
    found, total = live.disagreements(Wanted(), who=LOCAL)
    assert [each.pseudonym for each in found] == [pseudonym(3), pseudonym(1)]
    assert (found[0].decision, found[0].verdict, found[0].verdict_by) == (P, N, "clara")
    assert total == 2
    assert live.disagreements(Wanted(), who=LOCAL, offset=1, limit=1)[0] == found[1:]
    assert live.disagreements(Wanted(threshold=0.2), who=LOCAL)[1] == 1
    for role in (Role.TECHNICIAN, Role.ADMIN):
        with pytest.raises(Forbidden):
            live.disagreements(Wanted(), who=Person("t", "T", frozenset({role})))


def test_recent_films_are_one_a_patient_and_of_one_network(department_database: str) -> None:
    add_cases(
        {"probability": 0.1, "features": [1, 2], "patient": "a"},
        {"probability": 0.2, "features": [3, 4]},
        {"probability": 0.3, "features": [5, 6], "patient": "a"},
        {"probability": 0.4, "features": [7, 8], "network": "b" * 64},
        {"probability": 0.5, "features": [9, 0], "version": "first-site"},
        {"probability": None, "features": [9, 9], "refusal": "no film"},
        {"probability": 0.7},
    )
    found = live.recent(network=NETWORK, version="first", since=None)
    assert found.probabilities.tolist() == [0.7, 0.3, 0.2]
    assert found.pooled.tolist() == [[9, 0], [5, 6], [3, 4]]
    assert found.oldest == BEGAN + timedelta(days=2)
    later = live.recent(network=NETWORK, version="first", since=BEGAN + timedelta(days=6))
    assert (later.probabilities.tolist(), later.pooled.shape) == ([0.7], (0, 0))
    assert np.issubdtype(found.pooled.dtype, np.float16)
