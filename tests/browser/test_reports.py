"""A report in a real browser: made in German on the open case, downloaded, read; then that of the list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from playwright.sync_api import Page, expect

from model.registry import list_versions
from tests.browser.conftest import serve
from tests.cases import add_cases, pseudonym
from tests.model.chest_films import chest_film
from utils import database, film_store
from utils.decisions import PNEUMONIA

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)

NOTE = "Verschattung rechts, geheim"


def downloaded(page: Page, folder: Path) -> tuple[str, list[str]]:
    """The name of the report that lies ready, and the text of its pages."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download,").click()
    name = download.value.suggested_filename
    download.value.save_as(folder / name)
    document = pdfium.PdfDocument(folder / name)
    try:
        return name, [" ".join(each.get_textpage().get_text_range().split()) for each in document]
    finally:
        document.close()


def test_reports_are_made_and_taken_away(
    open_page: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "server" / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    released = [version.card.sha256 for version in list_versions()]
    network = {"network": released[0]} if released else {}
    add_cases(
        {"probability": 0.9, "verdict": PNEUMONIA, "note": NOTE, "pixels": chest_film(), **network},
        {"probability": 0.2, **network},
    )
    database.close()
    with serve(tmp_path / "server", "none") as server:  # a report needs no network
        page = open_page(f"{server.address}/worklist?case={pseudonym(1)}")
        page.get_by_role("button", name="Report", exact=True).click()
        page.get_by_text("Deutsch", exact=True).click()
        page.get_by_role("button", name="Make the report", exact=True).click()
        name, pages = downloaded(page, tmp_path)
        assert name == f"pneumoscope-{pseudonym(1)}.pdf"
        assert len(pages) == 1
        for told in (f"Fall {pseudonym(1)}", NOTE, "0,900", "Den Befund erstellt eine Fachperson."):
            assert told in pages[0]
        assert not released or "von 100 gesunden Kindern markiert" in pages[0]

        page.keyboard.press("Escape")
        page.get_by_role("button", name="All cases").click()
        page.get_by_role("button", name="Reports as PDF", exact=True).click()
        page.get_by_role("button", name="Make the reports of 1 case", exact=True).click()
        name, pages = downloaded(page, tmp_path)
        assert name == "pneumoscope-cases.pdf"
        assert "1 Fall" in pages[0] and "Befund: noch keiner" in pages[0], "the language is remembered"
        assert f"Fall {pseudonym(2)}" in pages[1]
        page.close()  # it would complain that the server goes
        assert NOTE not in server.log.read_text() and not server.complaints()
