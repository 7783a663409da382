from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from model.registry import Version
from utils import data_sets

PROJECT = Path(__file__).resolve().parents[2]
SECTIONS = (
    "Counts",
    "Sizes and cues",
    "Films",
    "Averages",
    "Eigen-images",
    "Quality",
)  # those without TensorFlow


def save(path: Path, seed: int, *, width: int = 96) -> None:
    coarse = np.random.default_rng(seed).integers(40, 220, (7, 7)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, 80), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifteen films of each class to train with, two to test with; normal films are wider."""
    for split, numbers in (("train", range(1, 16)), ("test", range(16, 18))):
        for number in numbers:
            save(tmp_path / f"films/{split}/NORMAL/IM-{number:04}-0001.png", number, width=120)
            save(tmp_path / f"films/{split}/PNEUMONIA/person{number}_virus_{number}.png", 100 + number)
    return tmp_path / "films"


@pytest.fixture(autouse=True)
def installation(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", str(tiny_version.folder))
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)
    monkeypatch.delenv("PNEUMOSCOPE_DATA_FULL_SIZE", raising=False)


def read(folder: Path) -> None:
    """Wait for the pass over the folder: the page shares it."""
    films = data_sets.list_films(folder)
    data_sets.pass_over(films, "test").result.exception(timeout=120)


def opened(*, section: str | None = None) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120).run()
    app.switch_page("pages/data.py").run()
    return app if section is None else choose(app, section)


def choose(app: AppTest, section: str) -> AppTest:
    return app.button_group[0].set_value(section).run()


def words(app: AppTest) -> str:
    blocks = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.success]
    return " ".join(block.value for block in blocks)


def charts(app: AppTest) -> dict[str, dict[str, object]]:
    return {
        chart.proto.id.split("data-", 1)[-1]: json.loads(chart.proto.spec)
        for chart in app.get("plotly_chart")
    }


def test_without_a_set_it_says_how_to_name_one() -> None:
    app = opened()
    assert not app.exception
    assert "PNEUMOSCOPE_DATA" in app.info[0].value
    assert "NORMAL and PNEUMONIA" in app.info[0].value
    assert app.text_input[0].label.startswith("Folder")


def test_a_folder_can_be_typed_and_is_kept(folder: Path) -> None:
    app = opened()
    app.text_input[0].set_value(f" {folder} ").run()
    assert not app.exception
    assert "34 files" in words(app)
    app.switch_page("pages/metrics.py").run()
    app.switch_page("pages/data.py").run()
    assert "34 files" in words(app)


def test_a_set_that_was_deleted_is_chosen_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    app = opened()
    assert "34 files" in words(app)
    monkeypatch.delenv("PNEUMOSCOPE_DATA")
    app.run()
    assert not app.exception
    assert app.selectbox(key="data-set").value == "Another folder"
    assert app.text_input[0].label.startswith("Folder")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/no/such/folder", "There is no folder"),
        ("films", "whole path"),
        ("~nobody-of-that-name/films", "home directory"),
        ("/proc", "neither class folders"),
    ],
)
def test_a_wrong_folder_is_said_in_one_sentence(typed: str, told: str) -> None:
    app = opened()
    app.text_input[0].set_value(typed).run()
    assert not app.exception
    assert told in app.error[0].value


def test_counts_need_no_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    app = opened()
    assert not app.exception
    rows = app.table[0].value
    assert rows.iloc[:, 0].tolist() == ["train", "test", "all"]
    assert rows["NORMAL"].tolist() == ["15", "2", "17"]
    assert rows["Patients"].tolist() == ["30", "4", "34"]
    assert "none, both classes have as many" in words(app)
    assert "counts" in charts(app)


def test_cues_name_what_gives_the_class_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section="Sizes and cues")
    assert not app.exception
    rows = app.table[0].value
    verdicts = dict(zip(rows.iloc[:, 0], rows["In words"], strict=True))
    assert (
        verdicts["**Width**: Pixels a row, as stored."] == "All but gives the class away: higher in NORMAL."
    )
    assert "tells nothing" in verdicts["**Height**: Rows of pixels, as stored."]
    assert rows["AUC alone (95 % interval)"].iloc[0].startswith("1.000")
    assert {"cues", "sizes", "aspect", "brightness", "contrast"} <= set(charts(app))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_a_sound_set(folder: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section=section)
    assert not app.exception
    assert not app.error
    assert "professional gives the verdict" in words(app)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_a_damaged_set_of_one_class(
    folder: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    shutil.rmtree(folder / "train" / "PNEUMONIA")
    shutil.rmtree(folder / "test" / "PNEUMONIA")
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section=section)
    assert not app.exception
    assert not app.error
    told = words(app)
    if section == "Sizes and cues":
        assert set(app.table[0].value["In words"]) == {"There are only films of NORMAL."}
    elif section != "Quality":
        assert "PNEUMONIA" in told
    if section == "Counts":
        assert len(app.warning) == 3
        assert "has no film of PNEUMONIA" in app.warning[0].value


def test_eigen_images_state_how_many_are_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section="Eigen-images")
    assert not app.exception
    headings = [block.value for block in app.markdown if block.value.startswith("####")]
    assert any("NORMAL" in each and "70 % of the variance" in each for each in headings)
    assert "of more than 2,000 films of a class that many are drawn at random" in words(app)


def test_quality_lists_what_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(b"")
    shutil.copy(folder / "train/NORMAL/IM-0002-0001.png", folder / "train/PNEUMONIA/person90_virus_1.png")
    save(folder / "test/PNEUMONIA/person1_virus_99.png", 500)
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section="Quality")
    assert not app.exception
    told = words(app)
    for heading in (
        "Files that cannot be read: 1",
        "Labels that disagree among copies: 1",
        "Patients in more than one split: 1",
        "Byte-identical files: 1",
        "Near-identical films: none",
        "Odd sizes: 35",
    ):
        assert heading in told
    assert app.dataframe[0].value["file"].tolist() == ["train/NORMAL/IM-0001-0001.png"]
    assert len(app.get("download_button")) == 5


def test_films_turn_page_by_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    app = opened(section="Films")
    assert "1 to 12 of 15" in words(app)
    first = {button.label for button in app.button}
    next(button for button in app.button if button.label == "Next").click().run()
    assert not app.exception
    assert "13 to 15 of 15" in words(app)
    assert {button.label for button in app.button} != first
    assert next(button for button in app.button if button.label == "Next").disabled


def test_a_film_opens_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    app = opened(section="Films")
    button = next(button for button in app.button if button.label.startswith("person"))
    button.click().run()
    assert not app.exception
    told = words(app)
    assert f"**{button.label}.png**" in told
    assert "Reference label **PNEUMONIA** (virus)" in told


def test_a_folder_that_vanishes_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened()
    app.text_input[0].set_value(str(folder)).run()
    shutil.rmtree(folder)
    choose(app, "Films")
    assert not app.exception
    assert "There is no folder" in app.error[0].value


def test_a_set_without_one_readable_film_is_said_and_can_be_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    read(folder)
    app = opened(section="Quality")
    assert not app.exception
    assert "None of the 34 files" in app.error[0].value
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        save(path, number)
    next(button for button in app.button if button.label == "Try again").click().run()
    read(folder)
    app.run()
    assert not app.exception
    assert not app.error


def test_names_of_films_are_never_logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(b"broken")
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    with caplog.at_level(logging.DEBUG):
        read(folder)
        for section in ("Films", "Quality"):
            opened(section=section)
    assert not [record for record in caplog.records if "IM-0" in record.getMessage()]


# --- the pass that sessions share -------------------------------------------------------------------


def test_two_sessions_share_one_pass_and_the_last_to_leave_stops_it(folder: Path) -> None:
    films = data_sets.list_films(folder)
    first = data_sets.pass_over(films, "one")
    assert data_sets.pass_over(films, "two") is first
    first.leave("one")
    assert not first.stopped
    first.result.exception(timeout=120)
    first.leave("two")
    assert not first.stopped  # what is done stays
    assert data_sets.pass_over(films, "three") is first


def test_a_stopped_pass_is_not_joined_again(folder: Path) -> None:
    for number in range(20, 400):
        shutil.copy(
            folder / "train/NORMAL/IM-0001-0001.png", folder / f"train/NORMAL/IM-{number:04}-0001.png"
        )
    films = data_sets.list_films(folder)
    first = data_sets.pass_over(films, "one")
    first.leave("one")
    assert first.stopped
    second = data_sets.pass_over(films, "one")
    assert second is not first
    assert second.result.exception(timeout=300) is None


def test_changed_files_are_read_anew(folder: Path) -> None:
    before = data_sets.list_films(folder)
    save(folder / "train/NORMAL/IM-0900-0001.png", 900)
    after = data_sets.list_films(folder)
    assert after.stamp != before.stamp
    assert data_sets.pass_over(after, "one") is not data_sets.pass_over(before, "one")
