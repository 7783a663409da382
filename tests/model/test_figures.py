"""Every figure with its name, meaning, formula and this threshold's counts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from model.evaluation import FIGURE_NAMES, evaluate
from model.figures import Figure, figures


def seed_figures(*, threshold: float = 0.5, patients: bool = False) -> dict[str, Figure]:
    labels = np.repeat([0, 0, 1, 1], [216, 18, 30, 360])
    probabilities = np.repeat([0.1, 0.8, 0.3, 0.9], [216, 18, 30, 360])
    names = [str(i // 2) for i in range(624)] if patients else None
    return {
        figure.key: figure
        for figure in figures(evaluate(labels, probabilities, threshold=threshold, patients=names))
    }


def test_all_figures_are_there_in_order_and_said_in_words() -> None:
    found = seed_figures()
    assert tuple(found) == FIGURE_NAMES
    assert len({figure.name for figure in found.values()}) == len(found)
    for figure in found.values():
        assert figure.value is not None
        assert figure.interval is not None
        assert figure.interval.low <= figure.value <= figure.interval.high
        assert figure.unavailable == ""
        assert figure.by_patient is None
        assert figure.definition.endswith(".")
        assert figure.definition.count(". ") == 0  # one sentence
        assert figure.formula
        if figure.kind == "share":
            assert 0 <= figure.value <= 1


@pytest.mark.parametrize(
    ("key", "worked"),
    [
        ("sensitivity", "360 / (360 + 30) = 0.923"),
        ("specificity", "216 / (216 + 18) = 0.923"),
        ("precision", "360 / (360 + 18) = 0.952"),
        ("npv", "216 / (216 + 30) = 0.878"),
        ("accuracy", "(360 + 216) / (360 + 216 + 18 + 30) = 0.923"),
        ("f1_pneumonia", "2 x 360 / (2 x 360 + 18 + 30) = 0.938"),
        ("f1_normal", "2 x 216 / (2 x 216 + 18 + 30) = 0.900"),
        ("lr_positive", "(360 / (360 + 30)) / (18 / (18 + 216)) = 12.000"),
        ("lr_negative", "(30 / (360 + 30)) / (216 / (18 + 216)) = 0.083"),
        ("brier", ""),
        ("auc", ""),
    ],
)
def test_formulas_are_filled_in_with_the_counts(key: str, worked: str) -> None:
    assert seed_figures()[key].worked == worked


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.85])
def test_what_is_filled_in_gives_the_value(threshold: float) -> None:
    for figure in seed_figures(threshold=threshold).values():
        if not figure.worked:
            continue
        sum_, _, shown = figure.worked.rpartition(" = ")
        assert figure.value is not None
        assert shown == f"{figure.value:.3f}"
        python = sum_.replace(" x ", " * ").replace(") (", ") * (").replace("√", "np.sqrt")
        assert re.fullmatch(r"[\d\s+\-*/().npsqrt]+", python)
        # nothing but digits and signs, as just asserted
        assert eval(python, {"np": np}) == pytest.approx(figure.value, abs=1e-12), figure.key


def test_patients_give_a_second_interval() -> None:
    for figure in seed_figures(patients=True).values():
        assert figure.by_patient is not None, figure.key


def test_what_has_no_value_says_why() -> None:
    found = {figure.key: figure for figure in figures(evaluate([1, 1], [0.2, 0.3], threshold=0.5))}
    for key in ("auc", "specificity", "balanced_accuracy", "mcc", "lr_positive", "lr_negative"):
        assert found[key].value is None
        assert found[key].interval is None
        assert found[key].worked == ""
        assert found[key].unavailable == "the set holds no film of normal lungs"
    assert found["precision"].unavailable == "no film is called pneumonia at this threshold"
    assert found["sensitivity"].unavailable == ""
    assert found["sensitivity"].worked == "0 / (0 + 2) = 0.000"
    perfect = {figure.key: figure for figure in figures(evaluate([0, 1], [0.2, 0.7], threshold=0.5))}
    assert "no normal film is called pneumonia" in perfect["lr_positive"].unavailable
