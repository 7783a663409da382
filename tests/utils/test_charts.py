from __future__ import annotations

import json

import numpy as np
import pandas
import plotly.graph_objects as go
import pytest

from model.curves import (
    decision_curve,
    distribution,
    precision_recall,
    reliability,
    subgroups,
    sweep,
)
from model.evaluation import Confusion, evaluate, operating_rates, proportion, roc, scored
from utils.charts import (
    CLASS_COLOURS,
    COMPARED,
    CURRENT,
    CURVE,
    NEUTRAL,
    comparison_roc_figure,
    config,
    confusion_figure,
    decision_figure,
    distribution_figure,
    history_figure,
    interval_in_words,
    percent,
    precision_recall_figure,
    predictive_figure,
    reliability_figure,
    roc_figure,
    share_in_words,
    subgroup_figure,
    sweep_figure,
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
    assert f"{current.sensitivity.count} of {current.sensitivity.total}" in point.text[0]
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


def test_roc_figure_names_the_floor_of_image_size_without_drawing_it() -> None:
    figure = roc_figure(roc(*films()), size_floor=0.7924)
    floor = next(trace for trace in figure.data if "image size" in str(trace.name))
    assert floor.name == "image size alone: AUC 0.792"
    assert list(floor.x) == [None]
    assert not [trace for trace in roc_figure(roc(*films())).data if "size" in str(trace.name)]


def test_comparison_has_a_curve_a_version_told_apart_by_dash() -> None:
    labels, probabilities = films()
    curve = roc(labels, probabilities)
    names = ["first", "a <script> name that is far too long for a phone"]
    figure = comparison_roc_figure(dict.fromkeys(names, curve))
    drawn = [trace for trace in figure.data if "AUC" in str(trace.name)]
    assert drawn[0].name == f"first AUC {curve.auc:.3f}"
    assert "&lt;script&gt;" in drawn[1].name
    assert "…" in drawn[1].name
    assert "far too long for a phone" in drawn[1].text[0]
    assert "<script" not in figure.to_json()
    assert len({trace.line.dash for trace in drawn}) == 2


def test_names_from_outside_are_shown_as_they_are() -> None:
    rates = operating_rates(*films(), 0.5)
    figure = roc_figure(roc(*films()), operating_points={"<b>%{x}": rates})
    point = figure.data[-1]
    assert point.name == "&lt;b&gt;%{x} 0.500"
    assert point.hovertemplate == "%{text}<extra></extra>"
    assert "&lt;b&gt;%{x}, threshold" in point.text[0]


def test_precision_recall_figure_has_steps_guessing_and_the_current_point() -> None:
    labels, probabilities = films()
    curve = precision_recall(labels, probabilities)
    current = evaluate(labels, probabilities, threshold=0.6)
    figure = precision_recall_figure(curve, current=current)
    guessing, line, point = figure.data
    assert list(guessing.y) == [0.6, 0.6]
    assert guessing.name == "guessing 60.0 %"
    assert line.line.shape == "vh"
    assert f"{curve.average_precision:.3f} (" in line.name
    np.testing.assert_array_equal(line.y, curve.precision)
    assert (point.x[0], point.y[0]) == (current.sensitivity.value, current.precision.value)
    assert point.name == "current 0.600"
    # On the curve, exactly: the current point is one of those that the curve goes through.
    at = np.flatnonzero(np.isclose(curve.recall, point.x[0], atol=1e-12))
    assert np.isclose(curve.precision[at], point.y[0], atol=1e-12).any()


def test_precision_recall_figure_without_a_flagged_film_has_no_point() -> None:
    labels, probabilities = films()
    nothing = evaluate(labels, probabilities, threshold=1.0)
    assert nothing.precision.value is None
    assert len(precision_recall_figure(precision_recall(labels, probabilities), current=nothing).data) == 2
    assert len(precision_recall_figure(precision_recall(labels, probabilities)).data) == 2


def test_reliability_figure_leaves_out_empty_bins_and_shows_counts() -> None:
    labels = np.array([0, 1, 1, 0])
    after = reliability(labels, np.array([0.05, 0.95, 0.97, 0.55]))
    figure = reliability_figure(after)
    perfect, line, bars = figure.data
    assert perfect.name == "perfect"
    np.testing.assert_allclose(line.x, [0.05, 0.55, 0.96])
    np.testing.assert_allclose(line.y, [0, 0, 1])
    np.testing.assert_allclose(line.y + line.error_y.array, after.high[after.counts > 0])
    np.testing.assert_allclose(line.y - line.error_y.arrayminus, after.low[after.counts > 0])
    assert list(bars.y) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert bars.hovertext[-1] == "2 films from 90 % to 100 %"
    assert "100.0 % of 2 films" in line.text[-1]
    both = reliability_figure(after, reliability(labels, np.array([0.2, 0.8, 0.8, 0.5])))
    assert [trace.name for trace in both.data if trace.name] == [
        "perfect",
        "before calibration",
        "after calibration",
    ]


def test_distribution_figure_has_pneumonia_up_and_normal_down_on_a_square_root_scale() -> None:
    labels = np.array([0] * 9 + [1] * 4)
    figure = distribution_figure(distribution(labels, np.array([0.0] * 9 + [1.0] * 4)), threshold=0.25)
    pneumonia, normal, threshold = figure.data
    assert (pneumonia.y[-1], normal.y[0]) == (2, -3)
    assert pneumonia.hovertext[-1].startswith("4 films of PNEUMONIA")
    assert normal.hovertext[0].startswith("9 films of NORMAL")
    assert list(threshold.x) == [0.25, 0.25]
    assert threshold.name == "threshold 0.250"
    ticks = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert ticks[-3.0] == ticks[3.0] == "9"


def test_sweep_figure_has_both_rates_with_their_bands() -> None:
    labels, probabilities = films()
    values = sweep(labels, probabilities, np.linspace(0, 1, 101))
    figure = sweep_figure(values, threshold=0.42)
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces) == ["sensitivity", "specificity", "threshold 0.420"]
    np.testing.assert_array_equal(traces["sensitivity"].y, values.sensitivity)
    np.testing.assert_array_equal(figure.data[0].y, values.sensitivity_high)
    np.testing.assert_array_equal(figure.data[1].y, values.sensitivity_low)
    assert "0 of 90 missed" in traces["sensitivity"].text[0]
    assert "60 of 60 flagged" in traces["specificity"].text[0]
    assert traces["sensitivity"].line.dash != traces["specificity"].line.dash


def test_sweep_figure_of_one_class_leaves_the_other_rate_out() -> None:
    figure = sweep_figure(sweep([1, 1], [0.2, 0.8], [0.1, 0.5]), threshold=0.5)
    assert [trace.name for trace in figure.data if trace.name] == ["sensitivity", "threshold 0.500"]


def test_decision_figure_shows_the_part_that_can_be_compared() -> None:
    labels, probabilities = films()
    curve = decision_curve(labels, probabilities)
    figure = decision_figure(curve, threshold=0.3)
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"network", "treat all", "treat none", "threshold 0.300"}
    np.testing.assert_array_equal(traces["network"].y, curve.model)
    np.testing.assert_array_equal(traces["treat all"].y, curve.treat_all)
    assert not np.any(traces["treat none"].y)
    low, high = figure.layout.yaxis.range
    assert high > curve.model.max()
    assert curve.treat_all.min() < low < 0


def test_predictive_figure_follows_the_prevalence() -> None:
    sensitivity, specificity = proportion(90, 100), proportion(80, 100)
    figure = predictive_figure(sensitivity, specificity, prevalence=0.2, base_rate=0.6)
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces) == ["PPV", "NPV", "this set 60.0 %", "yours 20.0 %"]
    at = int(np.flatnonzero(np.isclose(traces["PPV"].x, 0.2))[0])
    # By hand: 0.2 * 0.9 / (0.2 * 0.9 + 0.8 * 0.2) and 0.8 * 0.8 / (0.8 * 0.8 + 0.2 * 0.1)
    assert traces["PPV"].y[at] == pytest.approx(0.18 / 0.34)
    assert traces["NPV"].y[at] == pytest.approx(0.64 / 0.66)
    assert "52.9 %" in traces["PPV"].text[at]
    high, low = figure.data[0], figure.data[1]
    assert (np.array(low.y) <= traces["PPV"].y).all()
    assert (np.array(high.y) >= traces["PPV"].y).all()
    assert list(traces["yours 20.0 %"].x) == [0.2, 0.2]


def test_predictive_figure_of_one_class_has_no_curve() -> None:
    figure = predictive_figure(proportion(9, 10), proportion(0, 0), prevalence=0.2, base_rate=1)
    assert [trace.name for trace in figure.data] == ["this set 100.0 %", "yours 20.0 %"]


def test_subgroup_figure_has_a_row_a_group_with_the_intervals() -> None:
    labels, probabilities = films()
    names = ["normal"] * 60 + ["<i>virus"] * 8 + ["bacteria"] * 82
    groups = subgroups(labels, probabilities, names, threshold=0.5)
    figure = subgroup_figure(groups)
    sensitivity, specificity = figure.data
    assert (len(sensitivity.x), len(specificity.x)) == (2, 1)
    first = groups[0].sensitivity
    assert first.value is not None
    assert first.interval is not None
    assert sensitivity.x[0] == first.value
    assert sensitivity.x[0] + sensitivity.error_x.array[0] == pytest.approx(first.interval.high)
    assert sensitivity.x[0] - sensitivity.error_x.arrayminus[0] == pytest.approx(first.interval.low)
    assert list(figure.layout.yaxis.ticktext) == [
        "&lt;i&gt;virus<br>8 films",
        "bacteria<br>82 films",
        "normal<br>60 films",
    ]
    assert "Only 8 films" in sensitivity.text[0]
    low = figure.layout.xaxis.range[0]
    assert low < min(group.sensitivity.interval.low for group in groups[:2] if group.sensitivity.interval)


def test_height_of_subgroups_depends_on_their_number_alone() -> None:
    labels, probabilities = films()
    names = [f"group {index % 20}" for index in range(labels.size)]
    heights = {
        subgroup_figure(subgroups(labels, probabilities, names, threshold=threshold)).layout.height
        for threshold in (0.1, 0.5, 0.9)
    }
    assert len(heights) == 1
    assert heights.pop() > 20 * 50


def test_history_figure_works_out_f1_and_marks_larger_images() -> None:
    frame = pandas.DataFrame(
        {
            "epoch": [1, 2, 3],
            "side": [64, 64, 112],
            "loss": [0.9, 0.5, 0.4],
            "val_loss": [0.8, np.nan, 0.5],
            "precision": [0.5, 0.8, 0.0],
            "recall": [1.0, 0.8, 0.0],
        }
    )
    training, validation, larger = history_figure(frame, "loss").data
    assert (training.name, validation.name, larger.name) == ("training", "validation", "images of 112 px")
    assert list(training.y) == [0.9, 0.5, 0.4]
    assert list(larger.x) == [2.5, 2.5]
    assert list(larger.y) == [0.4, 0.9]
    f1 = history_figure(frame.drop(columns="side"), "f1")
    assert [trace.name for trace in f1.data] == ["training"]
    np.testing.assert_allclose(f1.data[0].y, [2 / 3, 0.8, 0])
    assert "0.6667" in f1.data[0].text[0]
    assert len(history_figure(frame[["epoch"]], "auc").data) == 0


def all_figures(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, go.Figure]:
    result = scored(labels, probabilities).at(0.5)
    curve = roc(labels, probabilities)
    names = np.where(labels == 1, "PNEUMONIA", "NORMAL").tolist()
    history = pandas.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "val_loss": [np.nan, 0.5]})
    return {
        "confusion": confusion_figure(result.confusion),
        "roc": roc_figure(curve, size_floor=0.8),
        "comparison": comparison_roc_figure({"one": curve}),
        "precision-recall": precision_recall_figure(precision_recall(labels, probabilities), current=result),
        "reliability": reliability_figure(reliability(labels, probabilities)),
        "distribution": distribution_figure(distribution(labels, probabilities), threshold=0.5),
        "sweep": sweep_figure(sweep(labels, probabilities), threshold=0.5),
        "decision": decision_figure(decision_curve(labels, probabilities), threshold=0.5),
        "predictive": predictive_figure(
            result.sensitivity, result.specificity, prevalence=0.2, base_rate=0.6
        ),
        "subgroup": subgroup_figure(subgroups(labels, probabilities, names, threshold=0.5)),
        "history": history_figure(history, "loss"),
    }


def test_figures_have_no_ground_of_their_own_and_can_be_sent() -> None:
    for name, figure in all_figures(*films()).items():
        assert figure.layout.paper_bgcolor == "rgba(0, 0, 0, 0)", name
        assert figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)", name
        assert figure.layout.font.color is None, name
        assert figure.layout.height, name
        assert "NaN" not in figure.to_json(), name
        json.loads(figure.to_json())


def test_figures_of_many_films_stay_light() -> None:
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 2, 100_000)
    probabilities = 1 / (1 + np.exp(-generator.normal(3.0 * labels - 1.5, 1.5)))
    for name, figure in all_figures(labels, probabilities).items():
        for trace in figure.data:
            assert len(trace.x) <= 1_100, name
        assert len(figure.to_json()) < 300_000, name


@pytest.mark.parametrize("colour", [CURVE, CURRENT, NEUTRAL, *CLASS_COLOURS, *COMPARED])
def test_colours_are_seen_on_both_grounds(colour: str) -> None:
    """Contrast as WCAG 2.2 defines it; 3:1 is what it asks of graphics."""

    def luminance(text: str) -> float:
        values = np.array([int(text[start : start + 2], 16) / 255 for start in (1, 3, 5)])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for ground in ("#090b0e", "#ffffff"):
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3, ground


def test_downloads_are_named() -> None:
    assert config("roc")["toImageButtonOptions"] == {"format": "svg", "filename": "roc", "scale": 1}
    assert config("roc", picture="png")["toImageButtonOptions"]["format"] == "png"
