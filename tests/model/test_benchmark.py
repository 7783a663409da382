"""The benchmark runs through and reports what it promises; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.benchmark import BATCH, BATCHES, LABELS, Benchmark, Target, film_bytes, measure
from model.inference import InferenceError
from model.registry import Version

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(2):
        grey = np.random.default_rng(number).uniform(0, 255, (10, 12))
        Image.fromarray(np.kron(grey, np.ones((30, 30))).astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.mark.slow
def test_it_measures_everything(tiny_version: Version, tmp_path: Path, films: Path) -> None:
    out = tmp_path / "benchmark.json"
    arguments = ["benchmark", "--version", str(tiny_version.folder), "--films", str(films)]
    assert main([*arguments, "--rounds", "2", "--memory", "20", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    singles = result["single_seconds"]
    assert set(LABELS) - {"openvino_bf16"} <= set(singles)
    assert all(value > 0 for value in (*singles.values(), *result["batch_rates"].values()))
    assert len(result["batch_rates"]) == 5
    assert result["agreement"]["decisions_equal"] is True
    assert result["memory"]["predictions"] == 20 and result["memory"]["peak"] > 0
    assert result["cold_start"]["process_seconds"] > result["cold_start"]["load_seconds"] > 0
    assert len(result["targets"]) == 4
    assert "with heat" in result["targets"][-1]["words"] and result["targets"][-1]["value"] > 0


def test_films_are_spread_over_the_whole_folder_and_repeated_where_there_are_few(
    tmp_path: Path, films: Path
) -> None:
    count = BATCH * BATCHES
    for number in range(count + 80):
        grey = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{number:04}.png")
    taken = film_bytes(tmp_path)
    assert len(set(taken)) == len(taken) == count
    paths = sorted(tmp_path.iterdir())
    assert taken[0] == paths[0].read_bytes() and taken[-1] == paths[-2].read_bytes()
    assert len(film_bytes(films)) == count and len(set(film_bytes(films))) == 2


def test_no_film_is_an_error(tiny_version: Version, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="no readable film"):
        measure(tiny_version, cache=tmp_path, films=tmp_path)


def test_the_table_says_what_was_missed() -> None:
    result = Benchmark(
        machine={"processor": "abacus", "cores": 2},
        version="v",
        engine="e",
        rounds=1,
        single_seconds=dict.fromkeys(LABELS, 0.02),
        batch_rates={"bare engine, one by one": 50.0, "ours, prepared films": 40.0},
        conversion_seconds=1.0,
        cold_start={"process_seconds": 1.0, "load_seconds": 0.5},
        memory={"predictions": 5, "growth": 0, "peak": 2**20},
        agreement={"films": 1, "largest_difference": 0.0, "decisions_equal": True, "read_again": 0},
        targets=(Target("batch", 0.8, 0.9, False),),
    )
    text = result.as_text()
    assert "MISSED   batch: 0.80 (goal 0.90)" in text
    assert "20.0" in text and "films/s" in text
