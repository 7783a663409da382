"""``python -m model certainty``: its figures are those of the functions, and what is missing is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import __main__ as command_line
from model.conformal import EXPOSURES, fit
from model.neighbours import PARTS, PooledFilms, reduced, write_features
from model.registry import FEATURES_FILE, Version, read_version


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    return read_version(folder)


def test_its_figures_are_those_of_the_functions(
    version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = version.predictions("validation")
    labels = np.tile(stored.labels, 2)
    features = np.random.default_rng(0).normal(size=(len(labels), 6)) + 4 * labels[:, None]
    films = PooledFilms(
        files=(*(f"train/{number}.png" for number in range(120)), *stored.files),
        labels=labels,
        subgroups=("",) * 240,
        parts=PARTS[:1] * 120 + PARTS[1:2] * 120,
        pooled=features.astype(np.float32),
    )
    write_features(version.folder / FEATURES_FILE, reduced(films), sha256=version.card.sha256)
    out = tmp_path / "figures.json"
    assert command_line.main(["certainty", "--version", version.name, "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    rule = fit(stored.labels, stored.probabilities, error_rate=0.05)
    shown = next(each for each in found["rules"] if each["error_rate"] == 0.05)
    assert shown["normal_below"] == rule.normal_below
    assert shown["pneumonia_from"] == rule.pneumonia_from
    assert sum(shown["test"]["NORMAL"]["verdicts"].values()) == 48
    assert found["alike"]["films"] == 120
    assert found["alike"]["validation"]["auc"] > 0.99
    assert "test" not in found["alike"]
    said = capsys.readouterr().out
    assert "error rate 5 %" in said
    assert "nearest 10 alone, 120 validation films" in said


def test_views_are_counted_on_films_that_are_at_hand(
    version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = version.predictions("validation")
    for name in stored.files[:3]:
        (tmp_path / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(1).integers(0, 255, (60, 60), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "films" / name)
    out = tmp_path / "figures.json"
    words = ["certainty", "--version", version.name, "--films", "120", "--json", str(out)]
    assert command_line.main([*words, "--views", str(tmp_path / "films")]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))["views"]
    assert found["films"] == 3
    assert found["views"] == 5 + len(EXPOSURES)
    assert found["wrong_and_crossing"] <= found["wrong"] <= 3
    assert found["views_ms"] > 0
    assert command_line.main([*words, "--views", str(tmp_path / "nowhere")]) == 1
    assert "none of the films" in capsys.readouterr().err


def test_a_version_without_validation_films_says_so(
    version: Version, capsys: pytest.CaptureFixture[str]
) -> None:
    (version.folder / "predictions" / "validation.csv").unlink()
    assert command_line.main(["certainty", "--version", version.name]) == 1
    assert "no stored validation predictions" in capsys.readouterr().err
