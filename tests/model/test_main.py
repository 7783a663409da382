"""The command line: rows, exit statuses, one line an error."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.__main__ import main
from model.inference import Predictor
from model.reading_table import COLUMNS
from model.registry import Version
from tests.conftest import TINY_NAME
from tests.model import dicom_films as made
from tests.model.chest_films import chest_film

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def home(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PNEUMOSCOPE_HOME with the tiny version trained on site and chosen."""
    home = tmp_path / "home"
    (home / "versions").mkdir(parents=True)
    shutil.copytree(tiny_version.folder, home / "versions" / TINY_NAME)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", TINY_NAME)
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")  # no conversion: these tests are about the command line
    return home


def write_film(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(chest_film(seed, height=300, width=360, texture=80)).save(path)


def chest_values() -> NDArray[np.uint16]:
    """A film of 12 bits."""
    return chest_film(height=60, width=80).astype(np.uint16) * 16


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two good films at two depths, a text file named like an image, and one that is no image at all."""
    folder = tmp_path / "films"
    write_film(folder / "one.png", 1)
    write_film(folder / "deeper" / "still" / "two.JPEG", 2)
    (folder / "bad.jpg").write_text("I am not an image")
    (folder / "notes.txt").write_text("left alone")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in range(4):
        write_film(folder / "test" / "NORMAL" / f"IM-{number:04d}-0001.png", number)
        write_film(folder / "test" / "PNEUMONIA" / f"person{number}_virus_1.png", 10 + number)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        assert tuple(reader.fieldnames or ()) == COLUMNS or "patient" in (reader.fieldnames or ())
    return rows


def test_predict_writes_one_row_a_file_and_goes_on_after_a_bad_one(
    home: Path, films: Path, tmp_path: Path, tiny_version: Version, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "films.csv"
    missing = tmp_path / "missing.png"
    assert main(["predict", str(films), str(missing), "--csv", str(out)]) == 1
    rows = {Path(row["file"]).name: row for row in rows_of(out)}
    assert set(rows) == {"one.png", "two.JPEG", "bad.jpg", "missing.png"}
    balanced = tiny_version.card.operating_point("balanced").threshold
    for name in ("one.png", "two.JPEG"):
        row = rows[name]
        assert 0 <= float(row["probability"]) <= 1
        assert float(row["threshold"]) == balanced
        assert row["decision"] == ("PNEUMONIA" if float(row["probability"]) >= balanced else "NORMAL")
        assert row["version"] == TINY_NAME and row["message"] == ""
    for name in ("bad.jpg", "missing.png"):
        assert rows[name]["probability"] == rows[name]["decision"] == ""
        assert rows[name]["message"]
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if "bad.jpg" in line] and [
        line for line in errors if "missing.png" in line
    ]
    assert len([line for line in errors if line.startswith("python -m model:")]) == 2


def test_predict_draws_a_heat_map_a_film_and_goes_on_after_a_bad_one(
    home: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_film(films / "other" / "ONE.png", 3)  # the same name, to some systems
    maps = films / "maps"  # inside the films' folder, where a second run must not take them for films
    for _ in range(2):
        assert main(["predict", str(films), "--heatmaps", str(maps)]) == 1  # bad.jpg
        assert sorted(path.name for path in maps.iterdir()) == [
            "ONE.png-2.png",
            "one.png.png",
            "two.JPEG.png",
        ]
        captured = capsys.readouterr()
        assert len([line for line in captured.out.splitlines() if line.startswith("0.")]) == 3
        assert "bad.jpg" in captured.err
        assert "ONE.png: its heat map is called ONE.png-2.png" in captured.err
    for path in maps.iterdir():
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            assert picture.width == 360 and picture.height > 300, "the film, and the scale below it"
            assert not picture.info, "nothing but pixels"
        data = path.read_bytes()
        assert not [kind for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME") if kind in data]


def test_predict_draws_the_heat_that_the_predictor_gives(
    home: Path, tmp_path: Path, tiny_version: Version
) -> None:
    from model.explanation import overlay_image
    from model.films import prepare, read_xray

    for seed in range(4):
        write_film(tmp_path / "films" / f"{seed}.png", seed)
    assert main(["predict", str(tmp_path / "films"), "--heatmaps", str(tmp_path / "maps")]) == 0
    predictor = Predictor.load(tiny_version, cache=tmp_path / "cache", engine="keras")
    coloured = 0
    for seed in range(4):
        xray = read_xray((tmp_path / "films" / f"{seed}.png").read_bytes())
        heat = predictor.read(prepare(xray.pixels)[None]).heat
        assert heat is not None
        expected = overlay_image(xray.pixels, heat[0])
        coloured += int(np.ptp(expected.astype(int), axis=-1).any())
        with Image.open(tmp_path / "maps" / f"{seed}.png.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture)[: xray.pixels.shape[0]], expected)
    assert coloured, "maps without any colour would prove nothing"


def test_predict_says_so_where_a_network_has_no_heat(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras
    from keras import layers

    from tests.model.test_inference import version_of

    image = keras.Input((32, 32, 3))
    values = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    values = layers.Concatenate()([values, layers.GlobalAveragePooling2D()(image)])
    network = keras.Model(image, layers.Dense(1, activation="sigmoid")(values))
    version = version_of(network, tmp_path / "around", thresholds=(0.5,))
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")
    command = ["predict", str(films / "one.png"), str(films / "deeper"), "--version", str(version.folder)]
    assert main([*command, "--threshold", "0.5", "--heatmaps", str(tmp_path / "maps")]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err.count("has no heat maps") == 1
    assert not (tmp_path / "maps").exists()


def test_predict_reads_dicom_in_a_folder_with_or_without_an_ending(
    home: Path, tmp_path: Path, tiny_version: Version
) -> None:
    folder = tmp_path / "disc"
    folder.mkdir()
    for name in ("film.dcm", "IM000001", "report.dcm"):
        modality = "SR" if name == "report.dcm" else "CR"
        (folder / name).write_bytes(made.film(chest_values(), Modality=modality))
    (folder / "README").write_text("no film")
    out = tmp_path / "disc.csv"
    assert main(["predict", str(folder), "--csv", str(out)]) == 1
    rows = {Path(row["file"]).name: row for row in rows_of(out)}
    assert set(rows) == {"film.dcm", "IM000001", "report.dcm"}
    assert rows["film.dcm"]["probability"] == rows["IM000001"]["probability"] != ""
    assert "is a report" in rows["report.dcm"]["message"]


def test_predict_writes_results_as_dicom_for_dicom_films(
    home: Path, films: Path, tmp_path: Path, tiny_version: Version, capsys: pytest.CaptureFixture[str]
) -> None:
    study: dict[str, Any] = {
        "StudyInstanceUID": "1.2.3.9",
        "SeriesInstanceUID": "1.2.3.9.1",
        "PatientName": "Secret^Name",
    }
    for name, elements in (("film.dcm", study), ("deeper/film.dcm", study), ("homeless.dcm", {})):
        (films / name).write_bytes(made.film(chest_values(), **elements))
    out, rows = tmp_path / "results", tmp_path / "rows.csv"
    assert main(["predict", str(films), "--dicom", str(out), "--csv", str(rows)]) == 1
    assert {path.name for path in out.iterdir()} == {
        f"film{number}-{kind}.dcm" for number in ("", "-2") for kind in ("heat-map", "report")
    }
    found = {Path(row["file"]).name: row for row in rows_of(rows)}
    assert all(found[name]["probability"] for name in ("film.dcm", "homeless.dcm", "one.png")), (
        "all were read"
    )
    report = pydicom.dcmread(out / "film-report.dcm")
    assert (report.StudyInstanceUID, str(report.PatientName)) == ("1.2.3.9", "Secret^Name")
    capture = pydicom.dcmread(out / "film-heat-map.dcm")
    assert tiny_version.card.sha256 in capture.DerivationDescription
    probability = float(found["film.dcm"]["probability"])
    group = report.ContentSequence[-1].ContentSequence[0].ContentSequence
    (certainty,) = (item.MeasuredValueSequence[0] for item in group if item.ValueType == "NUM")
    assert certainty.FloatingPointValue == 100 * probability
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert any("one.png: This is no DICOM film" in line for line in lines)
    assert any("homeless.dcm: The DICOM file does not say which study" in line for line in lines)
    assert "Secret" not in told.out + told.err
    inside = films / "results"
    for _ in range(2):  # what the first run wrote into the folder of films is no film for the second
        assert main(["predict", str(films / "film.dcm"), str(films / "deeper"), "--dicom", str(inside)]) == 1
    assert "Pneumoscope made" not in capsys.readouterr().err


def test_predict_refuses_what_is_no_film_unless_told_to(
    home: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (240, 240), dtype=np.uint8)
    Image.fromarray(noise).save(films / "noise.png")
    turned = np.rot90(chest_film(2, texture=80))
    Image.fromarray(turned).save(films / "turned.png")
    out = tmp_path / "rows.csv"
    names = [str(films / name) for name in ("one.png", "noise.png", "turned.png")]
    maps = ["--heatmaps", str(tmp_path / "maps")]
    assert main(["predict", *names, "--csv", str(out), *maps]) == 1
    told = capsys.readouterr().err
    rows = {Path(row["file"]).name: row for row in rows_of(out)}
    assert rows["one.png"]["probability"] and not rows["one.png"]["message"]
    for name in ("noise.png", "turned.png"):
        assert (rows[name]["probability"], rows[name]["decision"]) == ("", "")
        assert rows[name]["message"].startswith("Not judged: ") and rows[name]["message"].endswith(".")
        assert name in told
    assert "turn it upright" in rows["turned.png"]["message"]
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["one.png.png"]
    assert main(["predict", *names, "--csv", str(out), "--accept-any"]) == 0
    rows = {Path(row["file"]).name: row for row in rows_of(out)}
    assert all(0 <= float(row["probability"]) <= 1 for row in rows.values())
    assert not rows["one.png"]["message"]
    assert "refused (--accept-any)" in rows["noise.png"]["message"]


def test_predict_equals_the_predictor(home: Path, films: Path, tmp_path: Path, tiny_version: Version) -> None:
    from model.films import prepare, read_xray

    out = tmp_path / "one.csv"
    assert main(["predict", str(films / "one.png"), "--csv", str(out)]) == 0
    pixels = prepare(read_xray((films / "one.png").read_bytes()).pixels)
    predictor = Predictor.load(tiny_version, cache=tmp_path, engine="keras")
    assert float(rows_of(out)[0]["probability"]) == predictor.predict(pixels[None])[0]


@pytest.mark.parametrize(("threshold", "decision"), [("0", "PNEUMONIA"), ("1", "NORMAL")])
def test_the_threshold_decides(
    home: Path, films: Path, threshold: str, decision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(films / "one.png"), "--threshold", threshold]) == 0
    output = capsys.readouterr().out
    assert decision in output and "one.png" in output


def test_a_file_named_twice_is_read_once(home: Path, films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (films / "bad.jpg").unlink()
    assert main(["predict", str(films), str(films / "one.png"), "--threshold", "screening"]) == 0
    assert capsys.readouterr().out.count("one.png") == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--threshold", "1.5"], "between 0 and 1"),
        (["--threshold", "lucky"], "no operating point 'lucky'"),
        (["--version", "nobody"], "no version 'nobody'"),
    ],
)
def test_wrong_options_are_one_line(
    home: Path, films: Path, extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(films / "one.png"), *extra]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and message in errors[0]


def test_an_empty_folder_is_an_error(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(tmp_path / "empty")]) == 1
    assert "holds no image" in capsys.readouterr().err


def test_evaluate_writes_figures_and_rows(
    home: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "figures.json", tmp_path / "rows.csv"
    assert main(["evaluate", str(data), "--json", str(out), "--csv", str(table)]) == 0
    figures = json.loads(out.read_text())
    wanted = """n auc auc_ci average_precision accuracy sensitivity sensitivity_ci specificity specificity_ci
        precision npv f1_pneumonia f1_normal brier ece threshold confusion"""
    assert set(wanted.split()) <= set(figures)
    assert figures["n"] == sum(figures["confusion"].values()) == 8
    rows = rows_of(table)
    assert len(rows) == 8 and rows[0]["file"] == "test/NORMAL/IM-0000-0001.png"
    assert {row["label"] for row in rows} == {"NORMAL", "PNEUMONIA"}
    assert "sensitivity" in capsys.readouterr().out


def test_evaluate_names_what_it_cannot_read(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "test" / "NORMAL" / "broken.png").write_bytes(b"")
    assert main(["evaluate", str(data)]) == 1
    captured = capsys.readouterr()
    assert "broken.png" in captured.err and "on 8 films" in captured.out


@pytest.mark.parametrize(
    ("folder", "message"), [("nowhere", "no folder"), ("films", "neither class folders")]
)
def test_evaluate_needs_a_data_set(
    home: Path, films: Path, folder: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(films.parent / folder)]) == 1
    assert message in capsys.readouterr().err


def test_evaluate_names_the_splits_there_are(
    home: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(data), "--split", "val"]) == 1
    assert "it has: test" in capsys.readouterr().err


def test_list_and_card(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert TINY_NAME in capsys.readouterr().out
    assert main(["card", TINY_NAME]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == TINY_NAME
    (home / "versions" / TINY_NAME / "card.json").write_text("{")
    assert main(["list"]) == 1
    captured = capsys.readouterr()
    assert "damaged" in captured.err


def test_a_wrong_setting_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "steam")
    assert main(["list"]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and "PNEUMOSCOPE_ENGINE" in errors[0]


def test_as_a_program(home: Path, films: Path) -> None:
    command = [sys.executable, "-m", "model"]
    bad = subprocess.run([*command, "predict", str(films)], cwd=PROJECT, capture_output=True, text=True)
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr and "bad.jpg" in bad.stderr
    assert bad.stdout.count("\n") == 2
    unknown = subprocess.run([*command, "cure"], cwd=PROJECT, capture_output=True, text=True)
    assert unknown.returncode == 2
