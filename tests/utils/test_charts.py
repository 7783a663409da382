from __future__ import annotations

import json

import numpy as np
import pytest

from model.evaluation import Confusion, operating_rates, proportion, roc
from utils.charts import (
    config,
    confusion_figure,
    interval_in_words,
    percent,
    roc_figure,
    share_in_words,
)


def films() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 1], [60, 90])
    return labels, 1 / (1 + np.exp(-generator.normal(3.0 * labels - 1.5, 1.2)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.923, "92.3 %"),
        (1.0, "100.0 %"),
        (0.0, "0.0 %"),
        (0.99951, ">99.9 %"),
        (0.0004, "<0.1 %"),
        (0.9994, "99.9 %"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_shares_and_intervals_in_words() -> None:
    assert share_in_words(proportion(15, 148)) == "10.1 % (15 of 148; 95 % interval 6.2 % to 16.0 %)"
    assert share_in_words(proportion(0, 0)) == "–"
    assert interval_in_words(None, None) == "–"
    assert interval_in_words(0.5, None) == "0.500"


def test_confusion_figure_shows_counts_and_row_percentages() -> None:
    figure = confusion_figure(Confusion(tn=216, fp=18, fn=30, tp=360))
    texts = {(note.y, note.x): note.text for note in figure.layout.annotations}
    assert "216" in texts["NORMAL", "NORMAL"]
    assert "92.3 %" in texts["NORMAL", "NORMAL"]
    assert "true negatives" in texts["NORMAL", "NORMAL"]
    assert "18" in texts["NORMAL", "PNEUMONIA"]
    assert "7.7 %" in texts["NORMAL", "PNEUMONIA"]
    assert "30" in texts["PNEUMONIA", "NORMAL"]
    assert "false negatives" in texts["PNEUMONIA", "NORMAL"]
    assert "360" in texts["PNEUMONIA", "PNEUMONIA"]
    assert figure.layout.xaxis.title.text == "Decision"
    assert figure.layout.yaxis.title.text == "Reference label"
    assert figure.layout.yaxis.autorange == "reversed"  # NORMAL on top, as in the table's rows
    heatmap = figure.data[0]
    assert (np.sign(np.array(heatmap.z)) == [[1, -1], [-1, 1]]).all()
    assert "18 false positives" in heatmap.customdata[0][1]
    assert "234 films" in heatmap.customdata[0][1]


def test_confusion_figure_of_one_class_and_of_none_wrong() -> None:
    figure = confusion_figure(Confusion(tn=0, fp=0, fn=0, tp=5))
    texts = {(note.y, note.x): note.text for note in figure.layout.annotations}
    assert "no films" in texts["NORMAL", "NORMAL"]
    assert "100.0 %" in texts["PNEUMONIA", "PNEUMONIA"]
    assert figure.data[0].z[1][0] < 0  # an empty wrong cell keeps the colour of wrong ones


def test_roc_figure_has_band_chance_curve_and_points() -> None:
    labels, probabilities = films()
    curve = roc(labels, probabilities)
    current = operating_rates(labels, probabilities, 0.31)
    figure = roc_figure(
        curve,
        current=current,
        operating_points={"balanced": operating_rates(labels, probabilities, 0.45)},
    )
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) >= {"95 % band", "chance", "current 0.310", "balanced 0.450"}
    point = traces["current 0.310"]
    assert current.sensitivity.value is not None
    assert current.specificity.value is not None
    assert point.x[0] == 1 - current.specificity.value
    assert point.y[0] == current.sensitivity.value
    assert f"{current.sensitivity.count} of {current.sensitivity.total}" in point.hovertemplate
    # The point lies on the curve.
    on_curve = np.interp(point.x[0] + 1e-12, curve.false_positive_rate, curve.sensitivity)
    assert point.y[0] <= on_curve + 1e-9
    auc = next(trace for trace in figure.data if str(trace.name).startswith("AUC"))
    assert interval_in_words(curve.auc, curve.auc_interval) in auc.name
    np.testing.assert_array_equal(auc.y, curve.sensitivity)
    assert "nothing flagged" in auc.text[0]
    low, high = traces["95 % band"], figure.data[0]
    assert low.fill == "tonexty"
    assert (np.array(high.y) >= np.array(low.y)).all()


def test_roc_figure_without_points() -> None:
    figure = roc_figure(roc(*films()))
    assert len(figure.data) == 4


def test_figures_have_no_ground_of_their_own_and_can_be_sent() -> None:
    for figure in (confusion_figure(Confusion(1, 2, 3, 4)), roc_figure(roc(*films()))):
        assert figure.layout.paper_bgcolor == "rgba(0, 0, 0, 0)"
        assert figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
        assert figure.layout.font.color is None
        assert "NaN" not in figure.to_json()
        json.loads(figure.to_json())


def test_downloads_are_named() -> None:
    assert config("roc")["toImageButtonOptions"] == {"format": "svg", "filename": "roc"}
