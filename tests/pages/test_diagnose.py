"""The Diagnose screen, driven without a browser; the network is the tiny one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.testing.v1 import AppTest, local_script_runner

from model.inference import Evidence, Predictor
from model.registry import Version
from tests.made_films import film as picture
from tests.made_films import film_12_bits
from tests.model import dicom_films as made
from utils import session
from utils.readings import Reading, Worklist, content_key

APP = Path(__file__).resolve().parents[2] / "app.py"
WORKLIST = "diagnose-worklist"


@pytest.fixture
def in_use(
    tiny_version: Version, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Version:
    """The tiny version, loaded: the screen starts ready."""
    # One home for all tests of the session, so that the network is converted and loaded once.
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path_factory.getbasetemp() / "diagnose-home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", str(tiny_version.folder))
    session.predictor(tiny_version).result(timeout=300)
    return tiny_version


@pytest.fixture
def open_screen(in_use: Version) -> Callable[[], AppTest]:
    def open_() -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=120).run()
        assert not app.exception
        return app

    return open_


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """All HTML and text on the screen."""
    html = [block.value for block in app.html]
    return " ".join(
        [*html, *(block.value for block in app.markdown), *(block.value for block in app.caption)]
    )


def worklist(app: AppTest) -> Worklist:
    found = app.session_state[WORKLIST]
    assert isinstance(found, Worklist)
    return found


def test_the_first_screen_works_with_no_instruction(
    open_screen: Callable[[], AppTest], in_use: Version
) -> None:
    app = open_screen()
    assert "No film yet" in words(app)
    assert "A professional gives the verdict" in words(app)
    assert not app.file_uploader[0].disabled
    assert app.sidebar.slider[0].value == in_use.card.operating_point("balanced").threshold


def test_one_film_has_an_answer(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("film.png", picture(1)))
    text = words(app)
    assert "film.png" in text
    assert "pneumonias and" in text
    assert "PNG, 120 × 100 pixels" in text
    assert not app.dataframe
    assert len(app.image) == 1


def test_the_server_lets_go_of_dropped_files(
    open_screen: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    managers: list[MemoryUploadedFileManager] = []

    class Watched(MemoryUploadedFileManager):
        def __init__(self, address: str) -> None:
            super().__init__(address)
            managers.append(self)

    app = open_screen()
    monkeypatch.setattr(local_script_runner, "MemoryUploadedFileManager", Watched)
    drop(app, ("film.png", picture(1)), ("other.png", picture(2)))
    assert len(worklist(app).entries) == 2
    assert len(managers) == 1 and not any(managers[0].file_storage.values()), "no bytes are left in memory"


def test_the_slider_changes_decisions_and_never_runs_the_network(
    open_screen: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    read = Predictor.read

    def watched(self: Predictor, images: NDArray[np.uint8]) -> Evidence:
        seen.append(len(images))
        return read(self, images)

    monkeypatch.setattr(Predictor, "read", watched)
    app = drop(open_screen(), ("one.png", picture(1)), ("two.png", picture(2)))
    assert sum(seen) == 2
    before = {key: reading.probability for key, reading in worklist(app).readings.items()}
    app.sidebar.slider[0].set_value(0.0).run()
    assert list(app.dataframe[0].value["decision"]) == ["▲ PNEUMONIA", "▲ PNEUMONIA"]
    app.sidebar.slider[0].set_value(1.0).run()
    assert list(app.dataframe[0].value["decision"]) == ["○ NORMAL", "○ NORMAL"]
    assert ">NORMAL<" in words(app)
    assert {key: reading.probability for key, reading in worklist(app).readings.items()} == before
    drop(app, ("again.png", picture(1)))
    assert sum(seen) == 2, "the same content is never read twice"


def test_bad_files_have_their_sentences_and_the_rest_goes_on(open_screen: Callable[[], AppTest]) -> None:
    good = picture(1)
    app = drop(
        open_screen(),
        ("empty.png", b""),
        ("one.png", good),
        ("cut.png", good[:200]),
        ("text.jpg", b"hello"),
        ("two.png", picture(2)),
    )
    text = words(app)
    assert "3 files could not be read" in text
    assert list(app.dataframe[0].value["file"]) == ["one.png", "two.png"]
    messages = {entry.name: worklist(app).reading(entry.key).message for entry in worklist(app).entries}
    bad = [messages[name] for name in ("empty.png", "cut.png", "text.jpg")]
    assert all(bad)
    assert len(set(bad)) == 3


def test_duplicates_are_shown_once(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("one.png", picture(1)), ("copy.png", picture(1)))
    assert not app.dataframe
    assert "also as copy.png" in words(app)


def test_names_are_shown_as_text_never_as_markup(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("<b onclick=x>.png", picture(1)), ("<i>.png", b""))
    assert "<b onclick" not in words(app)
    assert "<i>.png" not in words(app)
    assert "&lt;i&gt;.png" in words(app)


def test_uploaded_bytes_are_let_go(open_screen: Callable[[], AppTest]) -> None:
    data = picture(1)
    app = drop(open_screen(), ("one.png", data))
    assert app.file_uploader[0].value == []
    reading = worklist(app).reading(content_key(data))
    assert data not in (reading.picture, reading.thumbnail.encode())


def test_sessions_do_not_see_each_other(open_screen: Callable[[], AppTest]) -> None:
    drop(open_screen(), ("patient.png", picture(1)))
    other = open_screen()
    assert "patient.png" not in words(other)
    assert worklist(other).readings == {}


def test_clear_empties_the_list(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("one.png", picture(1)))
    next(button for button in app.button if button.label == "Clear the list").click().run()
    assert "No film yet" in words(app)
    assert worklist(app).readings == {}


def test_operating_points_move_the_slider(open_screen: Callable[[], AppTest], in_use: Version) -> None:
    app = open_screen()
    app.sidebar.pills[0].set_value("screening").run()
    assert app.sidebar.slider[0].value == in_use.card.operating_point("screening").threshold
    app.sidebar.slider[0].set_value(0.123).run()
    assert not app.sidebar.pills[0].value


def test_the_threshold_comes_from_the_link(in_use: Version) -> None:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["threshold"] = "0.37"
    app.run()
    assert app.sidebar.slider[0].value == pytest.approx(0.37)
    app.switch_page("pages/metrics.py").run()
    assert app.sidebar.slider[0].value == pytest.approx(0.37)


def test_a_missing_version_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "lost")
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not app.exception
    assert "'lost'" in app.error[0].value
    assert app.file_uploader[0].disabled


def test_the_page_works_without_the_entry(in_use: Version) -> None:
    app = AppTest.from_file(str(APP.parent / "pages" / "diagnose.py"), default_timeout=120).run()
    assert not app.exception
    assert "No film yet" in words(app)


def test_the_samples_are_one_click_away_and_marked(open_screen: Callable[[], AppTest]) -> None:
    from model.samples import sample_files

    app = open_screen()
    offered = [button for button in app.button if button.label == "Try the sample films"]
    assert bool(offered) == bool(sample_files())
    if offered:
        offered[0].click().run()
        assert all(entry.synthetic for entry in worklist(app).entries)
        assert any("not how good the network is" in block.value for block in app.caption)
        assert len(worklist(app).entries) == len(sample_files())
        assert "SYNTHETIC" in words(app)


# --- DICOM ------------------------------------------------------------------------------------------


def dicom_film(**elements: Any) -> bytes:
    return made.film(film_12_bits(3), WindowCenter="2048", WindowWidth="3000", **elements)


def opened_reading(app: AppTest) -> Reading:
    (reading,) = worklist(app).readings.values()
    return reading


def test_a_dicom_film_shows_its_facts_and_nothing_personal(open_screen: Callable[[], AppTest]) -> None:
    data = dicom_film(
        PatientName="DOE^JANE", PatientID="4711", InstitutionName="SECRETIVE", PatientAge="040Y"
    )
    app = drop(open_screen(), ("film", data))
    text = words(app)
    assert "modality DX, view PA, age 40 years, sex F" in text
    assert "children of one to five years" in text
    assert not [name for name in ("JANE", "4711", "SECRETIVE") if name in text + repr(worklist(app))]
    assert not app.number_input


def test_the_window_is_for_the_eye_until_the_user_says_otherwise(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("film.dcm", dicom_film()))
    before = opened_reading(app)
    assert app.toggle[0].disabled
    centre, width = (next(one for one in app.slider if one.label == name) for name in ("Centre", "Width"))
    assert (centre.value, width.value) == (2048, 3000)
    centre.set_value(1000.0).run()
    assert opened_reading(app) == before
    assert "For the eye only" in words(app)
    app.toggle[0].set_value(True).run()
    assert not app.exception
    after = opened_reading(app)
    assert after.source is not None and after.source.dicom is not None and after.source.dicom.by_hand
    assert after.probability != before.probability
    assert "window set by hand: centre 1000, width 3000" in words(app)
    app.toggle[0].set_value(False).run()
    assert opened_reading(app) == before
    next(button for button in app.button if button.label == "As in the file").click().run()
    assert "For the eye only" not in words(app)


def test_the_frame_can_be_chosen(open_screen: Callable[[], AppTest]) -> None:
    frames = np.stack([film_12_bits(3), film_12_bits(4)])
    app = drop(
        open_screen(), ("film.dcm", made.film(frames, count=2, WindowCenter="2048", WindowWidth="4096"))
    )
    first = opened_reading(app)
    assert "frame 1 was read" in words(app)
    app.number_input[0].set_value(2).run()
    assert not app.exception
    assert "frame 2 was read" in words(app)
    assert opened_reading(app).picture != first.picture


def test_a_report_is_refused_by_its_content(open_screen: Callable[[], AppTest]) -> None:
    app = drop(open_screen(), ("xray.png", made.film(Modality="SR")))
    assert "The DICOM file is a report, not a plain X-ray" in words(app)
