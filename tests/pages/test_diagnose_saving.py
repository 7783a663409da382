"""Diagnose saves what it reads as the department chose, driven without a browser; the network is the tiny one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from model.domain import Judgement
from model.films import XRay, read_xray
from model.inference import Evidence, Predictor
from model.registry import Version
from pages.diagnose_parts import saving
from tests import made_films
from tests.model import dicom_films as made
from utils import audit_trail, cases, database, evidence, film_store, session
from utils.choices import change_choices
from utils.permissions import LOCAL

APP = Path(__file__).resolve().parents[2] / "app.py"
NAME = "Mueller_Anna_2019.png"
ONE, TWO = made_films.film(1), made_films.film(2)
Open = Callable[[], AppTest]


@pytest.fixture
def home(
    version: Version,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """An installation of this test's own; the network is converted once for all tests of the session."""
    folder = tmp_path / "home"
    (folder / "cache").symlink_to(_made(tmp_path_factory.getbasetemp() / "diagnose-home" / "cache"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    session.predictor(version).result(timeout=300)
    yield folder
    database.close()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened() -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not app.exception
    return app


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    blocks = (*app.html, *app.markdown, *app.caption, *app.error, *app.warning)
    return " ".join(str(block.value) for block in blocks).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def events() -> list[tuple[str, str]]:
    return [(line.event, line.subject) for line in reversed(audit_trail.search().lines)]


def test_nothing_is_saved_until_the_department_chooses(home: Path) -> None:
    app = drop(opened(), (NAME, ONE))
    assert "Nothing is saved: readings and films are gone when you close this page." in words(app)
    assert "Case" not in words(app) and not app.text_input
    assert cases.stored().cases == 0 and not (home / "films").exists()
    (line,) = audit_trail.search().lines
    assert (line.event, line.subject, line.after["films"], line.after["saved"]) == ("reading", "", 1, False)

    change_choices(who=LOCAL, saving="records")
    app.run()
    assert "without its film. File names are not saved." in words(app)
    assert cases.stored().cases == 0, "what was read before stays unsaved"
    drop(app, (NAME, ONE))
    assert cases.stored().cases == 1, "until it is dropped again"
    samples = press(opened(), "Try the sample films")
    assert cases.stored().cases == 1, "synthetic films are no cases"
    assert "Case **" not in words(samples)


def test_films_become_cases(home: Path) -> None:
    change_choices(who=LOCAL, saving="films", retention_days=90)
    app = opened()
    assert "is saved as a case under a pseudonym, with its film, encrypted, for 90 days." in words(app)
    app.text_input(key="diagnose-patient-0").set_value("Anna Müller").run()
    assert app.file_uploader[0].disabled and "no name, no blanks" in words(app)
    app.text_input(key="diagnose-patient-0").set_value("P-17").run()
    drop(app, (NAME, ONE), ("two.png", TWO), ("copy.png", ONE), ("no film.png", b"nothing"))
    table = app.dataframe[0].value
    assert len(set(table["case"])) == 2 and cases.stored().cases == cases.stored().films == 2
    first = table["case"][0]
    assert f"Case **{first}** · patient P-17 · film kept" in words(app)
    assert app.text_input(key="diagnose-patient-1").value == "", "the next batch is another patient's"
    case = cases.open_case(first, who=LOCAL)
    assert case.probability == table["probability"][0] and case.patient == "P-17"
    kept = cases.film(first, who=LOCAL)
    assert kept is not None
    np.testing.assert_array_equal(kept, read_xray(ONE).pixels)

    other = drop(opened(), ("again.png", ONE))
    assert f"Case **{first}** · read before, first on" in words(other)
    assert cases.stored().cases == 2 and len(cases.open_case(first, who=LOCAL).readings) == 1

    listed = app.session_state["diagnose-worklist"]
    listed.keep([replace(listed.reading(case.image), heat=np.eye(7, dtype=np.float32))])
    app.button(key="map-toggle").click().run()
    app.button(key="map-keep").click().run()
    assert not app.exception and "heat map kept" in words(app)
    assert cases.open_case(first, who=LOCAL).heat is not None
    assert [event for event, _ in events()] == [
        "setting",
        "setting",
        "reading",
        "reading",
        "reading",
        "heat map kept",
    ]
    everything = json.dumps([(line.subject, line.before, line.after) for line in audit_trail.search().lines])
    stored = b"".join(file.read_bytes() for file in home.glob("pneumoscope.db*"))
    for personal in ("Mueller", "Anna", ".png"):
        assert personal not in everything and personal.encode() not in stored


def test_what_somebody_had_read_otherwise_is_recorded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_choices(who=LOCAL, saving="films")
    app = drop(
        opened(), ("film.dcm", made.film(made_films.film_12_bits(3), WindowCenter="2048", WindowWidth="3000"))
    )
    (case,) = {one.pseudonym for one in app.session_state[saving.STATE].saved.values()}
    before = cases.film(case, who=LOCAL)
    assert before is not None
    next(one for one in app.slider if one.label == "Centre").set_value(1000.0).run()
    assert len(cases.open_case(case, who=LOCAL).readings) == 1, "a window for the eye is no reading"
    app.toggle[0].set_value(True).run()
    assert not app.exception
    view = cases.open_case(case, who=LOCAL)
    assert len(view.readings) == 2 and any("by hand" in step for step in view.done)
    after = cases.film(case, who=LOCAL)
    assert after is not None and not np.array_equal(before, after), (
        "the film that is kept is the one that was read"
    )

    def refuse(xray: XRay, pooled: object) -> Judgement:
        return Judgement(accepted=False, reason="This is no chest.", distance=9.0)

    monkeypatch.setattr(evidence, "judge", lambda version: refuse)
    app = drop(opened(), ("strange.png", TWO))
    (strange,) = {one.pseudonym for one in app.session_state[saving.STATE].saved.values()}
    assert cases.open_case(strange, who=LOCAL).record == "Not judged: This is no chest."
    press(app, "Read it nevertheless")
    assert "read nevertheless" in cases.open_case(strange, who=LOCAL).record
    assert ("overruled", strange) in events()
    assert f"Case **{strange}** · film kept" in words(app), "it is not 'read before': this page brought it in"


def test_a_database_that_cannot_be_used_loses_no_reading(home: Path) -> None:
    change_choices(who=LOCAL, saving="films")
    app = opened()
    file = home / database.FILE
    file.rename(home / "elsewhere")
    drop(app, (NAME, ONE), ("two.png", TWO))
    assert "The database cannot be read at the moment: what you read waits on this page" in words(app)
    assert "2 films are read and not saved yet. Keep this page open" in app.error[0].value
    assert "file is gone" in app.error[0].value
    assert "pneumonias and" in words(app), "the reading is on the screen"
    assert app.dataframe[0].value["probability"].notna().all()
    app.sidebar.slider[0].set_value(0.0).run()
    press(app, "Try saving again")
    assert "2 films are read and not saved yet" in app.error[0].value
    (home / "elsewhere").rename(file)
    press(app, "Try saving again")
    assert not app.error and cases.stored().cases == cases.stored().films == 2
    assert "read before" not in words(app)


def test_a_film_that_cannot_be_kept_waits_and_its_record_does_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_choices(who=LOCAL, saving="films")
    key = film_store.make_key()
    right = os.environ[film_store.VARIABLE]
    monkeypatch.setenv(film_store.VARIABLE, key)
    app = drop(opened(), ("one.png", ONE))
    assert "1 film is saved without the picture." in words(app)
    assert "is not the key of the films that are kept" in words(app)
    assert (cases.stored().cases, cases.stored().films) == (1, 0)
    monkeypatch.setenv(film_store.VARIABLE, right)
    press(app, "Try saving again")
    assert not app.error and cases.stored().films == 1


def test_a_run_that_is_cut_short_saves_each_film_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_choices(who=LOCAL, saving="records")
    read = Predictor.read
    calls: list[int] = []

    def cut_short(self: Predictor, images: NDArray[np.uint8]) -> Evidence:
        calls.append(len(images))
        if len(calls) == 2:
            from streamlit.runtime.scriptrunner import RerunData, RerunException

            raise RerunException(RerunData())
        return read(self, images)

    monkeypatch.setattr(Predictor, "read", cut_short)
    app = drop(opened(), ("one.png", ONE), ("two.png", TWO))
    assert cases.stored().cases == 1
    drop(app, ("one.png", ONE), ("two.png", TWO))  # they lie in the uploader still
    assert [event for event, _ in events()] == ["setting", "reading", "reading"]
    assert cases.stored().cases == 2
