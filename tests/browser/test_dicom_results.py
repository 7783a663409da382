"""Results as DICOM in a real browser: the film's own file dropped again, two downloads, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.made_films import film_12_bits
from tests.model import dicom_films as made

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)

STUDY: dict[str, Any] = {
    "StudyInstanceUID": "1.2.3.9",
    "SeriesInstanceUID": "1.2.3.9.1",
    "PatientName": "Secret^Name",
}


def file(data: bytes, name: str = "film.dcm") -> Any:
    return {"name": name, "mimeType": "application/dicom", "buffer": data}


def test_results_are_downloaded_and_not_kept(
    server: Server, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    samples = film_12_bits(3, size=(320, 280))
    data, another = (
        made.film(samples, **STUDY | {"PatientID": number}) for number in ("SECRET-1", "SECRET-2")
    )
    page = open_page(server.address)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    page.locator("input[type=file]").set_input_files([file(data)])
    results = page.get_by_role("radio", name="Results as DICOM")
    results.click()
    expect(page.get_by_text("The same DICOM file once more")).to_be_visible()
    uploader = page.locator("input[type=file]").nth(1)
    uploader.set_input_files([file(another)])
    expect(page.get_by_text("This is another file")).to_be_visible()
    uploader.set_input_files([file(data)])
    for label, name in (("Heat map", "pneumoscope-heat-map.dcm"), ("Report", "pneumoscope-report.dcm")):
        button = page.get_by_role("button", name=label, exact=True)
        expect(button).to_be_visible()
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        result = pydicom.dcmread(tmp_path / name)
        assert (result.StudyInstanceUID, str(result.PatientName)) == ("1.2.3.9", "Secret^Name")
    assert "Secret" not in page.content() and "SECRET" not in page.content()
    page.get_by_role("radio", name="Films that are alike").click()
    expect(page.get_by_text("The same DICOM file once more")).to_have_count(0)
    results.click()
    expect(page.get_by_text("The same DICOM file once more")).to_be_visible()
    expect(page.get_by_role("button", name="Report", exact=True)).to_have_count(0)
    assert "Secret" not in server.log.read_text() and not server.complaints()
