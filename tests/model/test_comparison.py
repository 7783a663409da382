"""Versions on the same films: which films count, who gets which right, and what may be said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest

from model.comparison import ComparisonError, compare, matched
from model.curves import compare_auc
from model.registry import Predictions, Version, read_version


def films(names: str, labels: list[int]) -> Predictions:
    count = len(labels)
    return Predictions(tuple(names), ("",) * count, np.array(labels), ("",) * count, np.linspace(0, 1, count))


def test_films_are_the_same_by_name_and_label() -> None:
    one, two, three = (
        films("abcdd", [0, 1, 1, 0, 0]),
        films("cbax", [1, 0, 0, 1]),
        films("xacb", [0, 0, 1, 1]),
    )
    first, second, third = matched(one, [two, three])  # b has another label in the second, d stands twice
    assert [one.files[index] for index in first] == ["a", "c"]
    assert [two.files[index] for index in second] == ["a", "c"]
    assert [three.files[index] for index in third] == ["a", "c"]


def changed(version: Version, folder: Path, change: object) -> Version:
    """The version with other predictions of the test films, under the folder's name."""
    shutil.copytree(version.folder, folder)
    file = folder / "predictions" / "test.csv"
    table = pandas.read_csv(file, keep_default_na=False)
    change(table).to_csv(file, index=False)  # type: ignore[operator]
    card = folder / "card.json"
    card.write_text(card.read_text().replace(version.name, folder.name))
    return read_version(folder)


def noisy(table: pandas.DataFrame) -> pandas.DataFrame:
    random = np.random.default_rng(1).uniform(0, 1, len(table))
    return table.assign(probability=0.2 * table["probability"] + 0.8 * random).iloc[::-1]


def slightly(table: pandas.DataFrame) -> pandas.DataFrame:
    random = np.random.default_rng(2).normal(0, 0.01, len(table))
    return table.assign(probability=(table["probability"] + random).clip(0, 1))


def test_worse_better_and_not_told_apart(tiny_version: Version, tmp_path: Path) -> None:
    worse = changed(tiny_version, tmp_path / "worse", noisy)
    alike = changed(tiny_version, tmp_path / "alike", slightly)
    thresholds = {tiny_version.name: 0.5, "worse": 0.4, "alike": 0.5}
    found = compare([tiny_version, worse, alike], thresholds=thresholds)
    assert len(found.files) == 120 and [side.left_out for side in found.sides] == [0, 0, 0]
    pair = found.pair(1)
    assert pair.verdict == "worse" and "worse is worse than tiny-2026-01" in pair.in_words
    assert found.pair(0, 1).verdict == "better"
    assert found.pair(2).verdict == "not told apart" and "cannot be told apart" in found.pair(2).in_words
    stored = tiny_version.predictions("test")
    again = worse.predictions("test")
    place = {name: index for index, name in enumerate(again.files)}
    other = again.probabilities[[place[name] for name in stored.files]]
    alone = compare_auc(stored.labels, other, stored.probabilities, patients=stored.patients)
    assert pair.difference == alone
    right = (other >= 0.4) == (stored.labels == 1)
    before = (stored.probabilities >= 0.5) == (stored.labels == 1)
    assert pair.counts == {
        "both": int((right & before).sum()),
        "only_new": int((right & ~before).sum()),
        "only_old": int((~right & before).sum()),
        "neither": int((~right & ~before).sum()),
    }
    listed = found.differing(pair)
    assert len(listed) == pair.counts["only_new"] + pair.counts["only_old"]
    assert {row["file"] for row in listed if row["right"] == "worse"} == {
        name for name, mine, theirs in zip(stored.files, right, before, strict=True) if mine and not theirs
    }


def test_mcnemar_by_hand(tiny_version: Version, tmp_path: Path) -> None:
    """Five films turned round, all for the worse: 2 / 2^5."""

    def turned(table: pandas.DataFrame) -> pandas.DataFrame:
        right = (table["probability"] >= 0.5) == (table["label"] == "PNEUMONIA")
        first = table.index[right][:5]
        return table.assign(
            probability=table["probability"].where(~table.index.isin(first), 1 - table["probability"])
        )

    other = changed(tiny_version, tmp_path / "turned", turned)
    pair = compare([tiny_version, other], thresholds={tiny_version.name: 0.5, "turned": 0.5}).pair(1)
    assert pair.counts["only_old"] == 5 and pair.counts["only_new"] == 0
    assert pair.p_of_decisions == pytest.approx(2 / 2**5)


def test_only_shared_films_count(tiny_version: Version, tmp_path: Path) -> None:
    fewer = changed(tiny_version, tmp_path / "fewer", lambda table: table.iloc[:50])
    found = compare([tiny_version, fewer], thresholds={tiny_version.name: 0.5, "fewer": 0.5})
    assert len(found.files) == 50 and [side.left_out for side in found.sides] == [70, 0]
    assert found.pair(1).difference.difference == 0
    assert "the same order" in found.pair(1).in_words and found.differing(found.pair(1)) == []
    assert found.pair(1).p_of_decisions == 1


def test_what_cannot_be_compared(tiny_version: Version, tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="two versions or more"):
        compare([tiny_version], thresholds={tiny_version.name: 0.5})
    other = changed(tiny_version, tmp_path / "other", lambda table: table.assign(file="x" + table["file"]))
    with pytest.raises(ComparisonError, match="no test films of both classes in common"):
        compare([tiny_version, other], thresholds={tiny_version.name: 0.5, "other": 0.5})
