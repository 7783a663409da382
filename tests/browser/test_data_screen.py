"""The Data screen in a real browser: name a folder, look through its sections, open a film, download a list."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]
SECTIONS = ("Counts", "Sizes and cues", "Films", "Averages", "Eigen-images", "Quality")


def save(path: Path, seed: int, *, width: int = 96, height: int = 80) -> None:
    coarse = np.random.default_rng(seed).integers(40, 220, (7, 7)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifteen films of each class, the normal ones wider, and one file that is none."""
    for number in range(1, 16):
        save(tmp_path / f"NORMAL/IM-{number:04}-0001.png", number, width=120)
        save(tmp_path / f"PNEUMONIA/person{number}_virus_{number}.png", 100 + number)
    (tmp_path / "NORMAL/IM-0001-0001.png").write_bytes(b"Dear colleague")
    return tmp_path


def opened(page: Page, folder: Path) -> None:
    """Type the folder, on whichever of the sets the screen begins with."""
    expect(page.get_by_role("heading", name="Data", level=1)).to_be_visible()
    field = page.get_by_role("textbox", name="Folder, as the server sees it")
    expect(page.get_by_text("Set of films")).to_be_visible()
    if not field.is_visible():
        page.get_by_test_id("stSelectbox").locator("input").click()
        page.get_by_role("option", name="Another folder").click()
    field.fill(str(folder))
    field.press("Enter")
    expect(page.get_by_text(re.compile(r"\d files in "))).to_be_visible()


def choose(page: Page, section: str) -> None:
    page.get_by_test_id("stMain").get_by_text(section, exact=True).first.click()


def settle(page: Page) -> None:
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def test_from_a_folder_to_a_downloaded_list(server: Server, open_page: Open, folder: Path) -> None:
    page = open_page(f"{server.address}/data")
    opened(page, folder)
    expect(page.get_by_text("none, both classes have as many")).to_be_visible()
    choose(page, "Sizes and cues")
    expect(page.get_by_text("All but gives the class away: higher in NORMAL.").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    choose(page, "Films")
    expect(page.get_by_text("1 to 12 of 15").first).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("13 to 15 of 15").first).to_be_visible()
    choose(page, "Quality")
    expect(page.get_by_text("Files that cannot be read: 1")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").first.click()
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))
    assert row["file"] == "NORMAL/IM-0001-0001.png"
    assert row["reason"]
    assert not any("IM-0" in line or "person" in line for line in server.log.read_text().splitlines())
    assert server.complaints() == []


def test_a_film_opens_large(server: Server, open_page: Open, folder: Path) -> None:
    page = open_page(f"{server.address}/data")
    opened(page, folder)
    choose(page, "Films")
    page.get_by_role("button", name=re.compile("^person")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_alt_text("Chest X-ray, PNEUMONIA")).to_be_visible()
    expect(dialog.get_by_text("96 × 80 pixels")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_reading_can_be_stopped_and_begun_again(server: Server, open_page: Open, tmp_path: Path) -> None:
    for name in ("NORMAL/IM-{:04}-0001.png", "PNEUMONIA/person{}_virus_1.png"):
        first = tmp_path / name.format(1)
        save(first, 5, width=1600, height=1200)
        for number in range(2, 60):
            shutil.copy(first, tmp_path / name.format(number))
    page = open_page(f"{server.address}/data")
    opened(page, tmp_path)
    choose(page, "Quality")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Reading was stopped")).to_be_visible()
    page.get_by_role("button", name="Read the films").click()
    expect(page.get_by_text("Byte-identical files: 1")).to_be_visible(timeout=300_000)
    assert server.complaints() == []


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_overflows(server: Server, open_page: Open, folder: Path, width: int) -> None:
    page = open_page(f"{server.address}/data", width=width)
    opened(page, folder)
    for section in SECTIONS:
        choose(page, section)
        settle(page)
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        settle(page)
        assert page.evaluate(
            "(() => { const main = document.querySelector('[data-testid=stMain]');"
            " return main.scrollWidth <= main.clientWidth; })()"
        ), section
