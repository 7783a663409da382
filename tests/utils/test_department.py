"""The department's log, and a version as the department uses it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from model.calibration import Calibration
from model.registry import Version
from utils.department import (
    POINT,
    DepartmentError,
    Policy,
    adapted,
    adopt,
    base_of,
    current_policy,
    log,
    log_file,
    moved,
    policy_of,
    recalibrated,
    withdraw,
)

SITE = Calibration(
    method="Platt", slope=1.7, intercept=-0.9, prevalence=0.3, fitted_on="120 films of the set Ward"
)


def policy(
    version: Version, *, threshold: float = 0.62, calibration: Calibration | None = None, who: str = "Dr A"
) -> Policy:
    return Policy(
        version=version.name,
        sha256=version.card.sha256,
        threshold=threshold,
        calibration=calibration,
        who=who,
        when=datetime(2026, 11, 21, 12, tzinfo=UTC),
        reason="fewer missed pneumonias",
    )


def test_nothing_is_in_force_before_anything_was_adopted(tiny_version: Version, tmp_path: Path) -> None:
    assert current_policy(tmp_path, tiny_version.card) is None
    assert log(tmp_path) == ()
    assert adapted(tiny_version, None) is tiny_version


def test_what_is_adopted_is_in_force_until_it_is_withdrawn(tiny_version: Version, tmp_path: Path) -> None:
    first, second = policy(tiny_version), policy(tiny_version, threshold=0.4, who="Dr B")
    adopt(tmp_path, first)
    adopt(tmp_path, second)
    assert current_policy(tmp_path, tiny_version.card) == second
    withdraw(tmp_path, tiny_version.card, who="Dr C")
    withdraw(tmp_path, tiny_version.card, who="Dr C")  # there is nothing left to withdraw
    assert current_policy(tmp_path, tiny_version.card) is None
    assert [(entry.who, entry.what.split()[0]) for entry in log(tmp_path)] == [
        ("Dr C", "Withdrew"),
        ("Dr B", "Adopted"),
        ("Dr A", "Adopted"),
    ]
    assert "0.400" in log(tmp_path)[1].what and "fewer missed" in log(tmp_path)[1].what


def test_a_policy_holds_for_its_own_network_only(tiny_version: Version, tmp_path: Path) -> None:
    other = policy(tiny_version).model_copy(update={"sha256": "1" * 64})
    adopt(tmp_path, other)
    assert current_policy(tmp_path, tiny_version.card) is None
    assert adapted(tiny_version, other) is tiny_version


def test_nobody_can_adopt_or_withdraw_without_a_name(tiny_version: Version, tmp_path: Path) -> None:
    with pytest.raises(DepartmentError, match="Say who"):
        adopt(tmp_path, policy(tiny_version, who="  "))
    with pytest.raises(DepartmentError, match="Say who"):
        withdraw(tmp_path, tiny_version.card, who="")
    assert not log_file(tmp_path).exists()


def test_a_log_that_cannot_be_written_says_so(tiny_version: Version, tmp_path: Path) -> None:
    (tmp_path / "department").write_text("in the way")
    with pytest.raises(DepartmentError, match="cannot be written"):
        adopt(tmp_path, policy(tiny_version))


def test_two_who_adopt_at_once_both_stand_in_the_log(tiny_version: Version, tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(5):
            adopt(tmp_path, policy(tiny_version, threshold=number / 10, who=f"Dr {number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = log(tmp_path)
    assert sorted(entry.who for entry in entries) == sorted(
        f"Dr {number}" for number in range(8) for _ in range(5)
    )
    now = current_policy(tmp_path, tiny_version.card)
    assert now is not None and now.who == entries[0].who


def test_a_line_cut_short_by_a_crash_spoils_no_other(tiny_version: Version, tmp_path: Path) -> None:
    adopt(tmp_path, policy(tiny_version))
    whole = log_file(tmp_path).read_bytes()
    log_file(tmp_path).write_bytes(whole + whole[: len(whole) // 2])
    assert current_policy(tmp_path, tiny_version.card) == policy(tiny_version)
    adopt(tmp_path, policy(tiny_version, who="Dr B"))
    assert [entry.who for entry in log(tmp_path)] == ["Dr B", "Dr A"]


def test_a_threshold_alone_changes_no_probability(tiny_version: Version) -> None:
    version = adapted(tiny_version, policy(tiny_version))
    assert version.name == tiny_version.name
    assert version.card.calibration == tiny_version.card.calibration
    assert version.card.operating_points[:-1] == tiny_version.card.operating_points
    own = version.card.operating_points[-1]
    assert (own.name, own.threshold) == (POINT, 0.62)
    assert "Dr A on 21 November 2026" in own.rule
    assert np.array_equal(
        version.predictions("test").probabilities, tiny_version.predictions("test").probabilities
    )
    assert base_of(version) is tiny_version
    assert policy_of(version) == policy(tiny_version) and policy_of(tiny_version) is None


def test_a_sites_calibration_moves_probabilities_and_points_together(tiny_version: Version) -> None:
    version = adapted(tiny_version, policy(tiny_version, calibration=SITE))
    assert version.name != tiny_version.name
    before, after = tiny_version.predictions("test"), version.predictions("test")
    assert after.files == before.files
    assert np.array_equal(np.argsort(after.probabilities), np.argsort(before.probabilities))
    assert not np.allclose(after.probabilities, before.probabilities)
    for point in tiny_version.card.operating_points:
        there = version.card.operating_point(point.name)
        assert np.array_equal(after.probabilities >= there.threshold, before.probabilities >= point.threshold)
    # the card's calibration does to the network's output what is done to stored probabilities
    raw = np.linspace(0.01, 0.99, 99)
    np.testing.assert_allclose(
        version.card.calibration.apply(raw),
        recalibrated(tiny_version.card.calibration.apply(raw), SITE),
        rtol=1e-12,
    )


def test_adapting_twice_does_not_calibrate_twice(tiny_version: Version) -> None:
    once = adapted(tiny_version, policy(tiny_version, calibration=SITE))
    assert adapted(once, policy(tiny_version, calibration=SITE)) == once
    assert adapted(once, None) is tiny_version


def test_every_new_calibration_gives_a_new_name(tiny_version: Version) -> None:
    first = policy(tiny_version, calibration=SITE)
    later = first.model_copy(update={"when": first.when + timedelta(seconds=1)})
    assert adapted(tiny_version, first).name != adapted(tiny_version, later).name


def test_certain_probabilities_survive() -> None:
    assert recalibrated([0.0, 1.0], SITE).tolist() == [0.0, 1.0]
    near = np.array([1 - 1e-9, 1 - 1e-10])
    assert np.diff(recalibrated(near, SITE))[0] > 0


@pytest.mark.parametrize("threshold", [0.001, 0.37, 0.5, 0.999])
def test_a_threshold_goes_there_and_back(threshold: float) -> None:
    there = moved(threshold, before=None, after=SITE)
    assert there != pytest.approx(threshold)
    assert moved(there, before=SITE, after=None) == pytest.approx(threshold)
    assert moved(threshold, before=SITE, after=SITE) == pytest.approx(threshold)
