from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from model.recipes import default_config
from tests.model.test_jobs import as_if
from utils import charts, training_runs
from utils.training_runs import EstimateError, estimate, time_in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (130, "2 min 10 s"), (1234, "20 min"), (5000, "1 h 23 min")],
)
def test_times_are_told_as_people_do(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


def test_progress_is_one_line(tmp_path: Path) -> None:
    progress = {
        "phase": "training",
        "epoch": 2,
        "epochs": 5,
        "step": 30,
        "steps": 100,
        "seconds_left": 70,
        "loss": 0.5,
    }
    job = as_if(tmp_path, "running", progress=progress)
    assert training_runs.progress_in_words(job) == (
        "Training, epoch 2 of 5, step 30 of 100, 1 min 10 s left, loss 0.5000"
    )
    assert training_runs.share_done(job) == 0.3


@pytest.mark.parametrize(
    ("network", "more", "told"),
    [
        ("vgg16_scratch", {}, {"lungs"}),
        ("vgg16_scratch", {"transplanted": 0.0}, set()),
        ("vgg16_finetuned", {}, {"features"}),
        ("vgg16_unfrozen", {}, {"features"}),
        ("custom_cnn", {"transplanted": 0.5}, {"lungs"}),
    ],
)
def test_a_run_names_the_phases_that_it_goes_through(
    tmp_path: Path, network: str, more: dict[str, Any], told: set[str]
) -> None:
    job = as_if(tmp_path, "running")
    config = default_config(network, **more).model_dump(mode="json")
    job = replace(job, order=job.order.model_copy(update={"config": config}))
    phases = training_runs.phases(job)
    assert set(phases) & {"lungs", "features"} == told
    assert phases[0] == "reading films" and phases[-4:] == ("training", "calibrating", "testing", "writing")


def test_a_run_that_told_nothing_yet_is_starting(tmp_path: Path) -> None:
    job = as_if(tmp_path, "running")
    assert training_runs.progress_in_words(job) == "Starting TensorFlow"
    assert training_runs.share_done(job) == 0
    assert training_runs.as_row(job)["Epochs"] == "–"


def test_the_axes_of_live_curves_stand_still() -> None:
    rows = {"epoch": [1, 2, 3], "auc": [0.5, 0.7, 0.8], "val_auc": [0.6, 0.8, 1.0]}
    early = charts.live_history_figure(pandas.DataFrame(rows).head(1), "auc", epochs=20)
    late = charts.live_history_figure(pandas.DataFrame(rows), "auc", epochs=20)
    for axis in ("xaxis", "yaxis"):
        assert early.layout[axis].range == late.layout[axis].range
    low, high = late.layout.xaxis.range
    assert low < 1 and high > 20
    low, high = late.layout.yaxis.range
    assert low < 0 and high > 1  # a point at 1 is seen whole


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    config = default_config("custom_cnn", input_side=32)
    with pytest.raises(EstimateError, match="^There is no folder"):
        estimate(missing, config, weights="none").result.result(timeout=300)
