"""Validate on own films in a real browser: score a folder and a ZIP with a bad file in them, agree on a threshold."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.inference import Predictor
from model.registry import read_version
from model.scoring import Scoring, Unreadable
from tests.browser.conftest import serve
from tests.browser.test_screens import picture, settle
from tests.conftest import synthetic_predictions
from utils.own_films import write_set

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]

FILES = {
    "NORMAL/one.png": picture(1),
    "NORMAL/two.png": picture(2),
    "PNEUMONIA/three.png": picture(3),
    "PNEUMONIA/cut-short.png": picture(4)[:900],
}


def labelled_folder(root: Path) -> Path:
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(f"ward/{name}", data)
    return target.getvalue()


def fill(page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True)
    expect(field).to_have_count(1)  # while a form is drawn anew, there are two of it for a moment
    field.fill(text)
    field.press("Enter")
    settle(page)


def test_a_site_validates_and_agrees_on_a_threshold(
    tmp_path: Path, version_folder: str, open_page: Open
) -> None:
    version = read_version(Path(version_folder))
    home = tmp_path / "server" / "home"
    Predictor.load(version, cache=home / "cache")
    scores = synthetic_predictions("site", count=200, seed=9)
    kept = Scoring(scores, {}, (Unreadable("NORMAL/x.png", "The file is empty."),), "0" * 64)
    write_set(home, "Last year", kept, who="Dr A", source="/films", version=version, films=None)
    with serve(tmp_path / "server", version_folder) as server:
        page = open_page(f"{server.address}/own_films")
        expect(page.get_by_role("heading", name="Validate on your own films")).to_be_visible()

        fill(page, "Folder on the computer that runs Pneumoscope", str(labelled_folder(tmp_path / "films")))
        expect(page.get_by_text("Few films of NORMAL and PNEUMONIA")).to_be_visible()
        fill(page, "Name of the set", "Ward 3")
        fill(page, "Your name", "Dr B")
        page.get_by_role("button", name="Score these films").click()
        expect(page.get_by_text("The set Ward 3 is scored and kept below.")).to_be_visible()
        expect(page.get_by_text("1 file could not be read")).to_be_visible()
        expect(page.get_by_text("PNEUMONIA/cut-short.png")).to_be_visible()
        expect(page.get_by_text("At least 50 films of each class are needed")).to_be_visible()
        settle(page)

        page.get_by_text("ZIP", exact=True).click()
        page.locator("input[type=file]").set_input_files(
            {"name": "ward.zip", "mimeType": "application/zip", "buffer": zipped()}
        )
        expect(page.get_by_role("button", name="Score these films")).to_be_enabled()
        fill(page, "Name of the set", "Ward 3 zipped")
        page.get_by_role("button", name="Score these films").click()
        expect(page.get_by_text("The set Ward 3 zipped is scored and kept below.")).to_be_visible()
        expect(page.get_by_text("from ward.zip")).to_be_visible()
        assert not list(home.rglob("*.png"))
        settle(page)

        choice = page.get_by_role("combobox", name=re.compile("Open a set"))
        choice.fill("")  # typed, because the page may still scroll under the list that a click opens
        choice.press_sequentially("Last")
        page.get_by_role("option", name="Last year").click()
        expect(page.get_by_text("from /films")).to_be_visible()
        settle(page)
        expect(page.get_by_text(re.compile("harder"))).to_be_visible()
        page.get_by_text("Recalibrate the probabilities on these films").click()
        expect(page.get_by_text(re.compile("Recalibrating (helps|does not help)"))).to_be_visible()
        settle(page)
        fill(page, "Who decides", "Dr B")
        button = page.get_by_role("button", name=re.compile("Make .* the department"))
        threshold = button.inner_text().split("Make ")[1].split()[0]
        button.click()
        side = page.get_by_test_id("stSidebar")
        expect(side.get_by_text(f"Department's threshold {threshold}, set by Dr B")).to_be_visible()
        expect(side.get_by_text("Probabilities are calibrated for this site")).to_be_visible()
        settle(page)

        other = open_page(server.address)  # someone else, at Diagnose
        side = other.get_by_test_id("stSidebar")
        expect(side.get_by_text(f"Department's threshold {threshold}, set by Dr B")).to_be_visible()
        expect(other.get_by_test_id("stSliderThumbValue")).to_have_text(threshold)
        expect(other.get_by_text(f"threshold {threshold}", exact=True)).to_be_visible()
        assert 0 < float(threshold) < 1
        page.close()  # before the server goes, which an open page would complain of
        other.close()
        assert server.complaints() == []
