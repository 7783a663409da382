from __future__ import annotations

import numpy as np
import pytest

from model.evaluation import Interval
from model.exploration import Cue, EigenImages, average
from utils.data_charts import (
    DRAWN_POINTS,
    counts_figure,
    cues_figure,
    difference_figure,
    distribution_figure,
    intensity_figure,
    picture_figure,
    profile_figure,
    sizes_figure,
    variance_figure,
)


def cue(name: str, area: float | None, higher: str = "NORMAL") -> Cue:
    interval = None if area is None else Interval(area - 0.05, area + 0.02)
    return Cue("width", name, area, interval, higher, "", "", "")


def test_counts_are_shown_as_they_are() -> None:
    figure = counts_figure(
        {"train": {"NORMAL": 1341, "PNEUMONIA": 3875}, "test": {"NORMAL": 234, "PNEUMONIA": 0}}
    )
    normal, pneumonia = figure.data
    assert (normal.name, pneumonia.name) == ("NORMAL", "PNEUMONIA")
    assert list(normal.x) == [1341, 234]
    assert list(pneumonia.x) == [3875, 0]
    assert list(normal.text) == ["1,341", "234"]
    assert normal.marker.pattern.shape != pneumonia.marker.pattern.shape


def test_sizes_of_many_films_are_thinned_evenly() -> None:
    labels = np.array([0, 1] * 5000)
    width = np.arange(10_000)
    figure = sizes_figure(width, width + 1, labels)
    assert sum(len(trace.x) for trace in figure.data) <= DRAWN_POINTS
    assert list(figure.data[0].x[:3]) == [0, 6, 12]
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol


def test_sizes_of_one_class() -> None:
    figure = sizes_figure(np.array([200, 300]), np.array([100, 150]), np.array([1, 1]))
    assert [trace.name for trace in figure.data] == ["PNEUMONIA"]


def test_a_distribution_is_of_shares_of_each_class() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], [30, 300])
    figure = distribution_figure(random.normal(labels, 1.0), labels, title="Brightness")
    assert [sum(trace.y) for trace in figure.data] == pytest.approx([1, 1])
    assert figure.data[0].line.dash != figure.data[1].line.dash
    assert "Brightness" in figure.data[0].text[0]
    equal = distribution_figure(np.full(5, 7.0), np.zeros(5, dtype=np.int64), title="Brightness")
    assert sum(equal.data[0].y) == pytest.approx(1)
    assert not distribution_figure(np.zeros(0), np.zeros(0, dtype=np.int64), title="Brightness").data


def test_cues_stand_in_their_order_with_their_intervals() -> None:
    figure = cues_figure([cue("Width", 0.9), cue("Height", None), cue("Border", 0.6, "PNEUMONIA")])
    assert list(figure.layout.yaxis.categoryarray) == ["Border", "Width"]  # drawn from the bottom up
    normal, pneumonia = figure.data
    assert list(normal.x) == [0.9]
    assert normal.error_x.array[0] == pytest.approx(0.02)
    assert normal.error_x.arrayminus[0] == pytest.approx(0.05)
    assert pneumonia.name == "higher in PNEUMONIA"
    assert "0.850 to 0.920" in normal.text[0]
    assert figure.layout.shapes[0].x0 == 0.5
    assert not cues_figure([cue("Height", None)]).data


def test_an_interval_below_chance_is_not_cut_off() -> None:
    figure = cues_figure([cue("Width", 0.45)])
    assert figure.layout.xaxis.range[0] < 0.4


def test_pictures_keep_their_shape_and_top() -> None:
    picture = np.arange(64 * 64, dtype=np.float64).reshape(64, 64)
    figure = picture_figure(picture, low=0, high=5000, unit="grey levels")
    assert figure.data[0].z[0][1] == 1
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 5000)
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.yaxis.scaleanchor == "x"


def test_a_difference_has_its_zero_in_the_middle() -> None:
    figure = difference_figure(np.array([[-3.0, 1.0], [0.0, 2.0]]), unit="grey levels")
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-3, 3)
    none = difference_figure(np.zeros((2, 2)), unit="grey levels")
    assert none.data[0].zmin < 0 < none.data[0].zmax


def test_grey_levels_are_not_pressed_flat_by_black() -> None:
    histogram = np.full(256, 0.002)
    histogram[0] = 0.5
    figure = intensity_figure({0: histogram, 1: histogram})
    assert figure.layout.yaxis.range[1] == pytest.approx(0.0025)
    assert [trace.name for trace in figure.data] == ["NORMAL", "PNEUMONIA"]
    assert len(intensity_figure({1: np.zeros(256)}).data) == 1


@pytest.mark.parametrize("across", [True, False])
def test_profiles_have_a_line_and_a_band_each(across: bool) -> None:
    films = np.random.default_rng(2).integers(0, 255, (5, 64, 64)).astype(np.uint8)
    found = average(films)
    figure = profile_figure({0: found, 1: found}, across=across, unit="grey levels")
    band, line = figure.data[:2]
    assert len(figure.data) == 4
    assert line.name == "NORMAL"
    assert list(line.y) == pytest.approx(list((found.columns if across else found.rows)[0]))
    assert len(band.x) == 128
    assert ("left" in figure.layout.xaxis.title.text) == across


def test_variance_marks_where_the_share_is_reached() -> None:
    def analysis(needed: int | None) -> EigenImages:
        return EigenImages(9, np.zeros((2, 2)), np.zeros((3, 2, 2)), np.array([0.5, 0.25, 0.05]), 0.7, needed)

    figure = variance_figure({0: analysis(2), 1: analysis(None)})
    assert list(figure.data[0].y) == pytest.approx([0.5, 0.75, 0.8])
    assert (list(figure.data[1].x), list(figure.data[1].y)) == ([2], [0.75])
    assert len(figure.data) == 3  # no mark where the share is not reached
    assert figure.layout.shapes[0].y0 == 0.7
