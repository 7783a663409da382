"""The evidence on the Diagnose screen, driven without a browser; the network is the tiny one."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from streamlit.testing.v1 import AppTest

from model.films import prepare, read_xray
from model.inference import Predictor
from model.neighbours import PooledFilms, reduced, write_features
from model.registry import FEATURES_FILE, Version, read_version
from tests import made_films
from tests.model import dicom_films as made
from utils import certainty, session
from utils.readings import Certainty, Reading, Worklist, readings_csv

APP = Path(__file__).resolve().parents[2] / "app.py"
WORKLIST = "diagnose-worklist"
ALIKE, SURE, AS_DICOM = "Films that are alike", "How sure", "Results as DICOM"
Open = Callable[..., AppTest]


@pytest.fixture
def in_use(
    tiny_version: Version, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Version:
    """The tiny version, loaded."""
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path_factory.getbasetemp() / "diagnose-home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", str(tiny_version.folder))
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)
    monkeypatch.delenv("PNEUMOSCOPE_DATA_FULL_SIZE", raising=False)
    session.predictor(tiny_version).result(timeout=300)
    return tiny_version


@pytest.fixture
def opened(in_use: Version) -> Open:
    """The screen with these files dropped; each is a name and its bytes."""

    def open_(*files: tuple[str, bytes]) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=120).run()
        app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
        assert not app.exception
        return app

    return open_


def words(app: AppTest) -> str:
    """All HTML and text on the screen."""
    blocks = (*app.html, *app.markdown, *app.caption, *app.info, *app.error)
    return " ".join(str(block.value) for block in blocks)


def worklist(app: AppTest) -> Worklist:
    found = app.session_state[WORKLIST]
    assert isinstance(found, Worklist)
    return found


def reading(app: AppTest) -> Reading:
    (only,) = worklist(app).readings.values()
    return only


def put(app: AppTest, **changes: object) -> AppTest:
    """The one reading of the list with something else in it, as another network would have found it."""
    worklist(app).keep([replace(reading(app), **changes)])  # type: ignore[arg-type]
    app.run()
    assert not app.exception
    return app


def click(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def choose(app: AppTest, part: str) -> AppTest:
    app.segmented_control(key="diagnose-evidence").set_value(part).run()
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def rows_of(app: AppTest) -> list[dict[str, str]]:
    """The list as it would be downloaded."""
    films = worklist(app)
    version, _ = session.current_version()
    assert version is not None
    rule = Certainty(certainty.rule(version, 0.05), version.name)
    table = readings_csv(films.entries, films.readings, threshold=0.5, certainty=rule)
    return list(csv.DictReader(io.StringIO(table.decode())))


# --- where it looked --------------------------------------------------------------------------------

HEAT = np.zeros((7, 7), np.float32)
HEAT[2, 3] = 0.4


def test_the_map_comes_and_goes_with_one_click(opened: Open) -> None:
    app = put(opened(("film.png", made_films.film(1))), heat=HEAT, probability=0.9)
    before = app.image[0].proto.imgs[0].url
    assert "log-odds" not in words(app)
    click(app, "Show where it looked")
    assert app.image[0].proto.imgs[0].url != before
    assert "How much each place adds to the network's log-odds of pneumonia." in words(app)
    assert "0.40 log-odds for pneumonia" in words(app)
    assert "The decision is NORMAL" not in words(app)
    drawn = app.image[0].proto.imgs[0].url
    app.slider(key="evidence-map-opacity").set_value(20).run()
    assert app.image[0].proto.imgs[0].url not in (drawn, before)
    app.segmented_control(key="evidence-map-style").set_value("Contours").run()
    assert "lines at 0.10, 0.20, 0.30" in words(app)
    click(app, "Show the film alone")
    assert app.image[0].proto.imgs[0].url == before


def test_for_a_normal_decision_the_map_says_what_it_is_not(opened: Open) -> None:
    app = put(opened(("film.png", made_films.film(1))), heat=HEAT, probability=0.01)
    click(app, "Show where it looked")
    assert "The decision is NORMAL: the map still shows what speaks *for* pneumonia" in words(app)


def test_a_heat_of_nothing_and_none_at_all(opened: Open) -> None:
    app = put(opened(("film.png", made_films.film(1))), heat=HEAT * 0, probability=0.01)
    before = app.image[0].proto.imgs[0].url
    click(app, "Show where it looked")
    assert "there is nothing to draw" in words(app)
    assert app.image[0].proto.imgs[0].url == before
    put(app, heat=None)
    assert "ask for the finer map" in words(app)
    assert "Finer map" in labels(app)


def test_the_finer_map_is_kept_for_its_film(opened: Open) -> None:
    app = opened(("film.png", made_films.film(1)))
    put(app, heat=HEAT)
    click(app, "Show where it looked")
    click(app, "Finer map")
    (running,) = app.session_state["evidence-map-finer"].values()
    found = running.result.result(120)
    assert found.shape[0] > 7
    put(app)
    assert "fall where a patch" in words(app) or "nothing to draw" in words(app)
    app.toggle(key="evidence-map-finer-shown").set_value(False).run()
    assert "How much each place adds" in words(app)
    click(app, "Clear the list")
    assert "evidence-map-finer" not in app.session_state


# --- not a film it can judge ------------------------------------------------------------------------


def test_a_picture_that_is_no_film_is_refused_until_somebody_overrules(opened: Open) -> None:
    app = opened(("noise.png", made_films.no_film(1)))
    text = words(app)
    assert "NOT JUDGED" in text
    assert reading(app).refusal in text
    assert reading(app).probability is None
    assert "Show where it looked" not in labels(app)
    assert not [control for control in app.segmented_control if control.key == "diagnose-evidence"]
    (row,) = rows_of(app)
    assert (row["probability"], row["decision"]) == ("", "")
    assert row["message"].startswith("Not judged: ")

    click(app, "Read it nevertheless")
    assert reading(app).probability is not None
    text = words(app)
    assert "NOT JUDGED" not in text
    assert "Refused at first and read nevertheless, on request" in text
    assert "Nothing can be promised for this picture" in text
    (row,) = rows_of(app)
    assert row["probability"] and row["message"].startswith("Refused at first")


def test_a_refused_picture_among_films(opened: Open) -> None:
    app = opened(("noise.png", made_films.no_film(1)), ("film.png", made_films.film(1)))
    table = app.dataframe[0].value
    assert table["decision"].iloc[0] == "□ NOT JUDGED"
    assert "of 1** films flagged as PNEUMONIA. 1 is not judged." in words(app)
    click(app, "Read it nevertheless")
    assert "of 2** films flagged" in words(app)
    assert "read nevertheless" in app.dataframe[0].value["remarks"][0]


# --- corrections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "button", "said"),
    [
        (lambda pixels: 255 - pixels, "Invert", "inverted"),
        (lambda pixels: np.rot90(pixels), "Turn right", "turned by 90° to the right"),
        (lambda pixels: np.rot90(pixels, -1), "Turn left", "turned by 90° to the left"),
        (lambda pixels: np.rot90(pixels, 2), "Turn by 180°", "turned by 180°"),
        (lambda pixels: np.pad(pixels, 60), "Crop", "cropped"),
    ],
)
def test_an_offer_is_taken_said_and_undone(
    opened: Open, spoil: Callable[[np.ndarray], np.ndarray], button: str, said: str
) -> None:
    pixels = made_films.film_pixels(3, size=(300, 260))
    app = opened(("film.png", made_films.png(np.ascontiguousarray(spoil(pixels)))))
    spoiled = reading(app)
    assert button in labels(app)
    click(app, button)
    assert reading(app).offers
    assert reading(app).probability is not None
    text = words(app)
    assert f"Corrected on request before reading: {said}." in text
    assert f"{said} on request" in text, "what was done to the film says it too"
    assert said in rows_of(app)[0]["message"]
    click(app, f"Undo: {said}")
    assert reading(app) == spoiled
    assert "Corrected on request" not in words(app)


def test_a_film_that_is_not_kept_says_so(opened: Open) -> None:
    app = opened(("film.png", made_films.png(255 - made_films.film_pixels(3, size=(300, 260)))))
    put(app, original=None)
    assert "Invert" not in labels(app)
    assert "drop the file again" in words(app)


# --- how sure ---------------------------------------------------------------------------------------


def test_it_may_say_that_it_cannot_tell(opened: Open, in_use: Version) -> None:
    rule = certainty.rule(in_use, 0.05)
    assert rule.normal_below < rule.pneumonia_from
    between = (rule.normal_below + rule.pneumonia_from) / 2
    app = put(opened(("film.png", made_films.film(1))), probability=between)
    text = words(app)
    assert "<strong>CANNOT TELL</strong> at an error rate of 5 %: read this one carefully." in text
    assert "At most **5 % of the films with pneumonia** are called NORMAL" in text
    assert rows_of(app)[0]["certainty"] == "CANNOT TELL"
    put(app, probability=0.0)
    assert "Sure of NORMAL at an error rate of 5 %." in words(app)


def test_what_the_promise_came_to_on_the_test_films_is_said(
    opened: Open, in_use: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(("film.png", made_films.film(1)))
    assert "On the test films " in words(app)
    assert "That is more than promised" not in words(app)
    # Half of the normal test films as the network sees pneumonias: nothing like the validation films.
    folder = tmp_path / "versions" / in_use.name
    shutil.copytree(in_use.folder, folder)
    films = pandas.read_csv(folder / "predictions" / "test.csv")
    films.loc[films.index[films["label"] == "NORMAL"][::2], "probability"] = 0.99
    films.to_csv(folder / "predictions" / "test.csv", index=False)
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", str(folder))
    app = opened(("film.png", made_films.film(1)))
    found = re.search(r"(\d+) of 100 films without were called PNEUMONIA", words(app))
    assert found is not None and int(found[1]) >= 50
    assert "That is more than promised" in words(app)


def test_another_version_in_use_promises_nothing_of_what_it_did_not_read(opened: Open) -> None:
    app = put(opened(("film.png", made_films.film(1))), version="older-2025-01", heat=HEAT)
    text = words(app)
    assert "Read with version older-2025-01" in text
    assert "Sure of" not in text and "at an error rate" not in text
    assert "Drop the file again to see how sure" in text
    click(app, "Read a few views")
    assert "drop the file again" in app.error[0].value
    choose(app, ALIKE)
    assert "Drop the file again to see which training films" in words(app)
    click(app, "Show where it looked")
    click(app, "Finer map")
    assert "drop the file again" in app.error[0].value


def test_the_error_rate_is_the_departments_and_kept_across_pages(opened: Open, in_use: Version) -> None:
    app = opened(("film.png", made_films.film(1)))
    app.slider(key=certainty.ERROR_RATE).set_value(1.0).run()
    assert "At most **1 % of the films with pneumonia**" in words(app)
    limit = f"NORMAL below {certainty.rule(in_use, 0.01).normal_below:.3f}"
    assert limit in words(app)
    choose(app, ALIKE)
    assert "at an error rate of 1 %" in words(app)
    app.switch_page("pages/metrics.py").run()
    app.switch_page("pages/diagnose.py").run()
    assert not app.exception
    assert "at an error rate of 1 %" in words(app)
    choose(app, SURE)
    assert app.slider(key=certainty.ERROR_RATE).value == 1.0


def test_a_few_views_are_read_on_demand(opened: Open) -> None:
    app = opened(("film.png", made_films.film(1)))
    assert "views the probability" not in words(app)
    click(app, "Read a few views")
    assert "Over 9 views the probability is" in words(app)


# --- films that are alike ---------------------------------------------------------------------------


def write_training_films(folder: Path, version: Version, predictor: Predictor, count: int) -> None:
    """A folder of training films, and their features beside the version."""
    files, pooled = [], []
    for number in range(count):
        label = "PNEUMONIA" if number % 6 >= 3 else "NORMAL"
        path = folder / "train" / label / f"film{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_films.film(number))
        files.append(f"train/{label}/{path.name}")
        image = prepare(read_xray(path.read_bytes()).pixels)
        pooled.append(predictor.read(image[None]).pooled[0])
    labels_ = np.array([int("PNEUMONIA" in name) for name in files], np.int64)
    films = PooledFilms(
        files=tuple(files),
        labels=labels_,
        subgroups=tuple("virus" if label else "" for label in labels_),
        parts=tuple("training" for _ in files),
        pooled=np.stack(pooled),
    )
    write_features(version.folder / FEATURES_FILE, reduced(films), sha256=version.card.sha256)


@pytest.fixture
def with_features(in_use: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Version, Path]:
    """A copy of the tiny version that has its training films' features, and the folder of these films."""
    folder = tmp_path / "versions" / in_use.name
    shutil.copytree(in_use.folder, folder)
    version = read_version(folder)
    write_training_films(tmp_path / "data", version, session.predictor(in_use).result(), 24)
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", str(folder))
    return version, tmp_path / "data"


def test_a_version_without_features_says_how_to_get_them(opened: Open) -> None:
    app = choose(opened(("film.png", made_films.film(1))), ALIKE)
    assert "came without its training films' features" in words(app)
    assert "python -m model features" in words(app)


def test_the_films_alike_are_named_where_no_picture_is_at_hand(
    with_features: tuple[Version, Path], opened: Open
) -> None:
    app = choose(opened(("film.png", made_films.film(1))), ALIKE)
    assert "of the 10** training films that are most like this one are pneumonia" in words(app)
    assert "Among all 24 training films it is 50 of 100." in words(app)
    table = app.table[0].value
    assert len(table) == 10
    assert table["Distance"].iloc[0] == "0.00", "the very film is among those trained on"
    assert table["Training film"].iloc[0] == "train/NORMAL/film1.png"
    assert set(table["Label"]) <= {"○ NORMAL", "▲ PNEUMONIA, virus"}
    assert "set PNEUMOSCOPE_DATA" in words(app)


def test_the_films_alike_are_shown_where_they_are_at_hand(
    with_features: tuple[Version, Path], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_features[1]
    monkeypatch.setenv("PNEUMOSCOPE_DATA", str(folder))
    app = choose(opened(("film.png", made_films.film(1))), ALIKE)
    pictures = [image.proto.imgs[0].url for image in app.image[1:]]
    assert len(pictures) == 10
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert not app.table
    assert "○ NORMAL" in words(app)
    (folder / "train" / "NORMAL" / "film1.png").unlink()
    app.run()
    assert len(app.image) == 10
    assert "This film is not at hand." in words(app)


def test_damaged_features_leave_one_sentence(with_features: tuple[Version, Path], opened: Open) -> None:
    (with_features[0].folder / FEATURES_FILE).write_bytes(b"PK\x03\x04 no more")
    app = choose(opened(("film.png", made_films.film(1))), ALIKE)
    assert len(app.error) == 1
    assert "features" in app.error[0].value


# --- DICOM ------------------------------------------------------------------------------------------


def test_results_as_dicom_are_there_for_dicom_films_alone(opened: Open) -> None:
    data = made.film(made_films.film_12_bits(3), WindowCenter="2048", WindowWidth="3000")
    app = opened(("IM0001", data), ("film.png", made_films.film(1)))
    choose(app, AS_DICOM)
    assert "The same DICOM file once more" in [one.label for one in app.file_uploader]
    app.session_state["diagnose-opened"] = list(worklist(app).readings)[1]
    app.run()
    assert not app.exception
    control = app.segmented_control(key="diagnose-evidence")
    assert AS_DICOM not in control.options
    assert control.value == SURE


def test_a_window_for_the_eye_shows_the_correction_too(opened: Open) -> None:
    film = 4095 - made_films.film_12_bits(3)
    app = opened(("IM0001", made.film(film, WindowCenter="2048", WindowWidth="4096")))
    click(app, "Invert")
    corrected = reading(app)
    next(one for one in app.slider if one.label == "Centre").set_value(1800.0).run()
    assert not app.exception
    assert "For the eye only" in words(app)
    assert reading(app) == corrected
    app.toggle[0].set_value(True).run()
    assert reading(app).offers == ("invert",)
    assert "window set by hand" in words(app)
