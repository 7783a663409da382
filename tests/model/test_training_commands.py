from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.progress import TrainingError
from model.training_commands import free_name, newest_run


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    first = free_name(tmp_path, "custom_cnn")
    assert first.name.startswith("custom_cnn-2")
    first.mkdir()
    second = free_name(tmp_path, "custom_cnn")
    assert second.name == f"{first.name}-2"
    run = tmp_path / f"{second.name}.run"
    run.mkdir()
    (run / "checkpoint.npz").touch()
    assert free_name(tmp_path, "custom_cnn").name == f"{first.name}-3"


def test_resume_takes_the_newest_run_that_finished_an_epoch(tmp_path: Path) -> None:
    for name, time in (("mobilenet-1", 10), ("mobilenet-2", 30), ("custom_cnn-1", 20)):
        (tmp_path / f"{name}.run").mkdir()
        file = tmp_path / f"{name}.run" / "checkpoint.npz"
        file.touch()
        os.utime(file, (time, time))
    (tmp_path / "resnet50-1.run").mkdir()
    assert newest_run(tmp_path, None) == tmp_path / "mobilenet-2"
    assert newest_run(tmp_path, "custom_cnn") == tmp_path / "custom_cnn-1"
    with pytest.raises(TrainingError, match="no unfinished run"):
        newest_run(tmp_path, "resnet50")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for class_name, name in (("NORMAL", "IM-{:04d}-0001.png"), ("PNEUMONIA", "person{}_virus_1.png")):
        folder = tmp_path / "films" / class_name
        folder.mkdir(parents=True)
        for number in range(12):
            Image.fromarray(random.integers(0, 256, (32, 32), dtype=np.uint8)).save(
                folder / name.format(number)
            )
    return tmp_path / "films"


def test_cost_is_one_line_of_json(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["input_side=32", "head_units=4", "batch_size=4", "epochs=2"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["cost", str(films), "--architecture", "custom_cnn", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "parameters",
        "trainable_parameters",
        "seconds_per_epoch",
        "features_seconds",
        "final_seconds",
        "seconds",
        "measured_steps",
    }
    assert found["features_seconds"] == 0
    assert found["parameters"] == found["trainable_parameters"] > 280_000
    assert found["seconds"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--architecture", "nope"], "must be one of vgg16_finetuned"),
        (
            ["--architecture", "custom_cnn", "--set", "starting_weights=missing.h5"],
            "no weights file missing.h5",
        ),
        (["--architecture", "custom_cnn", "--set", "unfrozen_blocks=1"], "has 0 blocks"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    words: list[str], message: str, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["train", str(films), "--out", str(out), *words]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m model")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not out.exists()
    assert not out.with_name("out.run").exists()
