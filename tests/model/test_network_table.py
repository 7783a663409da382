"""The commands behind figures of docs/training.md: the table of networks, and reading beside a training."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import network_table, serving_benchmark
from model.registry import Version


def test_the_table_says_what_cards_and_histories_say(
    tiny_version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {
        "test": {"balanced": {"auc": 0.9, "auc_ci": [0.8, 0.95], "sensitivity": 0.75, "specificity": 0.5}}
    }
    for name, network in (("one", "custom_cnn"), ("two", "vgg16_finetuned")):
        folder = tmp_path / name
        shutil.copytree(tiny_version.folder, folder)
        card = tiny_version.card.model_copy(
            update={
                "name": name,
                "seed_configuration": network,
                "parameters": 12345,
                "metrics": metrics,
                "data": {"counts": {"training": {"NORMAL": 1000, "PNEUMONIA": 3000}}},
            }
        )
        (folder / "card.json").write_text(card.model_dump_json())
        (folder / "history.csv").write_text("epoch,seconds,loss\n1,60,0.5\n2,120,0.4\n3,30,0.3\n")
    assert network_table.main([str(tmp_path), "--rounds", "1"]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(network_table.COLUMNS)
    assert "`vgg16_finetuned`" in first  # in the order of the networks, not of the folders
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[:2] == ["`custom_cnn`", "12,345"]
    assert cells[4:10] == ["4,000", "3", "3.5", "0.900 (0.800 to 0.950)", "0.750", "0.500"]
    assert float(cells[10]) > 0


@pytest.mark.slow
def test_films_are_read_beside_a_real_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for label, name in (("NORMAL", "IM-{:04d}-0001.png"), ("PNEUMONIA", "person{}_virus_1.png")):
        (tmp_path / label).mkdir()
        for number in range(1, 61):
            pixels = random.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / name.format(number))
    assert serving_benchmark.main([str(tmp_path), "--architecture", "custom_cnn", "--readings", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [re.split(r"\s{2,}", line)[0] for line in lines] == [
        "alone",
        "beside a training (custom_cnn)",
        "alone again",
    ]
