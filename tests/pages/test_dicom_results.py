"""Results as DICOM on the screen: the film's own file makes two downloads, another one none, and nothing is kept."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from model.calibration import Calibration
from model.films import Window, read_xray
from model.registry import RELEASED, Version, scan_versions
from tests.model import dicom_films as made
from utils.audit_trail import Wanted, search
from utils.readings import Reading, content_key

STUDY: dict[str, Any] = {
    "StudyInstanceUID": "1.2.3.9",
    "SeriesInstanceUID": "1.2.3.9.1",
    "PatientName": "Secret^Name",
    "PatientID": "SECRET-1",
}
DATA = made.film(made.grey(12, 60, 80), **STUDY)
HEAT = np.array([[0, 1], [2, 0.5]], np.float32)


@pytest.fixture(scope="module")
def version() -> Version:
    return scan_versions(RELEASED)[0][0]


def reading_of(read_with: Version, data: bytes = DATA, **changes: Any) -> Reading:
    reading = Reading(
        key=content_key(data),
        version=read_with.name,
        probability=0.87312,
        source=read_xray(data).source,
        heat=HEAT,
    )
    return replace(reading, **changes)


def page(reading: object, version: object, threshold: float) -> None:
    """A page of its own; Streamlit runs its text, which knows nothing of this file."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    from pages.diagnose_parts.dicom_results import panel

    panel(reading, version, threshold)  # type: ignore[arg-type]
    st.button("Anything else")
    storage = get_script_run_ctx().uploaded_file_mgr.file_storage  # type: ignore[union-attr]
    st.text(f"files held: {sum(map(len, storage.values()))}")


class Downloads:
    """What the buttons of the last run gave out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, bytes] = {}
        button = streamlit.download_button

        def watched(label: str, **options: Any) -> bool:
            self.files[options["file_name"]] = options["data"]()  # as when the button is pressed
            return button(label, **options)

        monkeypatch.setattr(streamlit, "download_button", watched)

    def read(self, name: str) -> Any:
        return pydicom.dcmread(io.BytesIO(self.files[name]))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Downloads:
    return Downloads(monkeypatch)


def opened(reading: Reading, version: Version, threshold: float = 0.2633) -> AppTest:
    app = AppTest.from_function(page, args=(reading, version, threshold), default_timeout=60).run()
    assert not app.exception
    return app


def drop(app: AppTest, data: bytes) -> AppTest:
    app.file_uploader[0].set_value(("film.dcm", data, "application/dicom")).run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    blocks = (*app.markdown, *app.caption, *app.error, *app.info)
    return " ".join(block.value for block in blocks)


def test_the_films_own_file_makes_two_downloads(version: Version, downloads: Downloads) -> None:
    app = opened(reading_of(version), version, version.card.operating_point("balanced").threshold)
    assert not downloads.files
    assert "no patient's name, number or date" in said(app)
    drop(app, DATA)
    assert len(app.get("download_button")) == 2
    assert set(downloads.files) == {"pneumoscope-heat-map.dcm", "pneumoscope-report.dcm"}
    lines = search(Wanted(event="export")).lines
    assert {line.subject for line in lines} == {"DICOM result, Heat map", "DICOM result, Report"}
    capture, report = (downloads.read(f"pneumoscope-{name}.dcm") for name in ("heat-map", "report"))
    for result in (capture, report):
        assert (result.StudyInstanceUID, str(result.PatientName)) == ("1.2.3.9", "Secret^Name")
        assert result.SoftwareVersions == version.name
    assert version.card.sha256 in capture.DerivationDescription
    texts = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
    assert any(text.startswith("balanced: ") for text in texts)
    film = read_xray(DATA).pixels
    assert capture.pixel_array.shape[1] >= film.shape[1]
    assert (capture.pixel_array[:400] != capture.pixel_array[:400, :, :1]).any(), "the heat is in colour"


def items(report: Any) -> list[Any]:
    return list(report.ContentSequence[-1].ContentSequence[0].ContentSequence)


def test_nothing_is_kept(version: Version, downloads: Downloads, caplog: pytest.LogCaptureFixture) -> None:
    app = opened(reading_of(version), version)
    with caplog.at_level(logging.DEBUG):
        drop(app, DATA)
    assert app.text[0].value == "files held: 0", "already in the run that made the results"
    assert "Secret" not in caplog.text + said(app)
    downloads.files.clear()
    app.button[0].click().run()
    assert not app.get("download_button") and not downloads.files
    app.button[0].click().run()  # AppTest uploads once more what the last run's uploader held
    assert app.text[0].value == "files held: 0"
    assert app.file_uploader[0].value is None
    kept = app.session_state._state.filtered_state
    assert set(kept) <= {"dicom-results-round", app.file_uploader[0].key}, "no bytes and no file"


def test_another_file_is_refused_and_not_kept(version: Version, downloads: Downloads) -> None:
    app = opened(reading_of(version), version)
    drop(app, made.film(made.grey(12, 60, 80), **STUDY | {"PatientID": "SECRET-2"}))
    assert "This is another file" in app.error[0].value
    assert not downloads.files and app.text[0].value == "files held: 0"
    drop(app, DATA)
    assert not app.error and len(downloads.files) == 2


def test_a_film_of_no_study_gets_a_sentence(version: Version, downloads: Downloads) -> None:
    data = made.film(made.grey(12, 60, 80), PatientName="Secret^Name")
    app = drop(opened(reading_of(version, data), version), data)
    assert "which study it belongs to" in app.error[0].value
    assert "Secret" not in said(app) and not downloads.files


def test_a_film_that_another_version_read_is_read_again_first(version: Version) -> None:
    app = opened(reading_of(version, version="older-2020-01"), version)
    assert "older-2020-01" in app.info[0].value and not app.file_uploader


@pytest.mark.parametrize("changes", [{"source": None}, {"probability": None}])
def test_without_a_reading_there_is_nothing_to_drop(version: Version, changes: dict[str, Any]) -> None:
    app = opened(reading_of(version, **changes), version)
    assert not app.file_uploader and "DICOM films that have been read" in said(app)


def test_frame_window_and_record_are_those_of_the_reading(version: Version) -> None:
    from pages.diagnose_parts.dicom_results import make, result_of

    data = made.film(np.stack([made.grey(12), made.grey(12)[::-1]]), count=2, **STUDY)
    window = Window(1500, 800)
    source = read_xray(data, frame=2, window=window).source
    reading = reading_of(
        version, data, source=source, refusal="Not a film.", overruled=True, offers=("turn-180",)
    )
    result = result_of(reading, version, 0.9)
    assert (result.frame, result.window, result.corrections) == (2, window, ("turn-180",))
    assert (result.decision, result.meaning, result.calibration) == ("NORMAL", "", "")
    assert result.remarks[0] == reading.record and "Not a film." in reading.record
    report = pydicom.dcmread(io.BytesIO(make(data, replace(reading, offers=()), version, 0.9).report))
    texts = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
    assert any("Not a film." in text for text in texts)


def test_what_cannot_be_told_is_said(version: Version) -> None:
    from pages.diagnose_parts.dicom_results import result_of
    from utils import evidence

    rule = evidence.rule(version)
    assert rule is not None
    between = (rule.normal_below + min(rule.pneumonia_from, 1)) / 2
    for probability, count in ((between, 1), (0.0, 0), (1.0, 0)):
        result = result_of(reading_of(version, probability=probability), version, 0.5)
        assert (
            len([text for text in result.remarks if "CANNOT TELL at an error rate of 5 %" in text]) == count
        )


def test_the_sites_own_calibration_is_named(version: Version) -> None:
    from datetime import UTC, datetime

    from pages.diagnose_parts.dicom_results import result_of
    from utils import department

    own = Calibration(
        method="Platt", slope=1.1, intercept=0.2, prevalence=0.5, fitted_on="120 films of this site"
    )
    policy = department.Policy(
        version=version.name,
        sha256=version.card.sha256,
        threshold=0.4,
        calibration=own,
        who="Head",
        when=datetime.now(UTC),
        reason="",
    )
    adapted = department.adapted(version, policy)
    result = result_of(reading_of(adapted), adapted, 0.4)
    assert result.calibration == "120 films of this site"
    assert result.meaning.startswith("department: ")


def test_only_a_dicom_film_has_a_result(version: Version) -> None:
    from pages.diagnose_parts.dicom_results import result_of

    with pytest.raises(ValueError, match="only a DICOM film"):
        result_of(reading_of(version, probability=None), version, 0.5)
