"""The Metrics screen in a real browser: the threshold moves everything, a cell lists its films, a report opens."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from model.evaluation import evaluate
from model.registry import read_version
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]
SECTIONS = (
    "Overview",
    "Curves",
    "In practice",
    "Operating points",
    "How sure",
    "Subgroups",
    "Mistakes",
    "Shortcuts",
    "Training",
    "Versions",
)


def settle(page: Page) -> None:
    """Wait until the script has run to its end and what an earlier run left has gone."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def turn_to(page: Page, section: str) -> None:
    page.get_by_role("radio", name=section, exact=True).click()
    settle(page)


def tile(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stMetric").filter(has=page.get_by_text(name, exact=True))


def matrix(page: Page) -> Locator:
    # While a run replaces a figure there are two of it for a moment.
    return page.locator(".st-key-confusion .js-plotly-plot").first


def fits(page: Page) -> bool:
    return bool(
        page.evaluate(
            "(() => { const main = document.querySelector('[data-testid=stMain]');"
            " return document.documentElement.scrollWidth <= window.innerWidth"
            " && main.scrollWidth <= main.clientWidth; })()"
        )
    )


def counts(version_folder: str, threshold: float) -> dict[str, int]:
    films = read_version(Path(version_folder), verify=False).predictions("test")
    found = evaluate(films.labels, films.probabilities, threshold=threshold).confusion
    return {"tn": found.tn, "fp": found.fp, "fn": found.fn, "tp": found.tp}


def test_matrix_point_tiles_and_table_follow_the_threshold(
    server: Server, open_page: Open, version_folder: str
) -> None:
    page = open_page(f"{server.address}/metrics?threshold=0.4")
    for key, threshold in (("", 0.4), ("Home", 0.0)):
        if key:
            page.get_by_role("slider", name="Threshold").press(key)
        found = counts(version_folder, threshold)
        expect(matrix(page)).to_contain_text(str(found["fp"]))
        expect(matrix(page)).to_contain_text(str(found["tp"]))
        expect(page.locator(".st-key-roc .js-plotly-plot").first).to_contain_text(f"current {threshold:.3f}")
        sensitivity = found["tp"] / (found["tp"] + found["fn"])
        expect(tile(page, "Sensitivity (recall)")).to_contain_text(f"{sensitivity:.1%}".replace("%", " %"))
    turn_to(page, "Operating points")
    table = page.get_by_test_id("stTable").last
    expect(table.get_by_role("row").nth(1)).to_contain_text("▶ 0.000")
    assert server.complaints() == []


def test_a_click_on_a_cell_lists_its_films(server: Server, open_page: Open, version_folder: str) -> None:
    page = open_page(f"{server.address}/metrics?threshold=0.4")
    expect(matrix(page).locator(".main-svg").first).to_be_visible()
    settle(page)
    # Away from the middle of a cell: the whole cell can be clicked.
    for (x, y), cell in {(0.95, 0.05): "fp", (0.55, 0.95): "tp"}.items():
        matrix(page).scroll_into_view_if_needed()
        box = matrix(page).locator(".nsewdrag").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * x - 5, box["y"] + box["height"] * y)
        page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        names = {"fp": "false positives", "tp": "true positives"}
        button = page.get_by_role("button", name=f"List of {names[cell]} as CSV")
        expect(button).to_be_visible()
        with page.expect_download() as download:
            button.click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
        assert len(rows) == counts(version_folder, 0.4)[cell]
        settle(page)
    assert server.complaints() == []


def test_the_films_of_a_cell_are_reached_by_keyboard(server: Server, open_page: Open) -> None:
    page = open_page(f"{server.address}/metrics?threshold=0.4")
    button = page.get_by_role("radio", name=re.compile("true negatives"))
    button.focus()
    button.press("Space")
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    assert server.complaints() == []


def test_a_report_is_downloaded_and_opens_by_itself(
    server: Server, open_page: Open, tmp_path: Path, version_folder: str
) -> None:
    page = open_page(f"{server.address}/metrics?threshold=0.4")
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    file = tmp_path / "report.html"
    download.value.save_as(file)
    report = open_page("about:blank")
    asked: list[str] = []
    report.on("request", lambda request: asked.append(request.url))
    report.goto(file.as_uri())
    expect(report.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(report.get_by_text("0.400").first).to_be_visible()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    with page.expect_download() as download:
        page.get_by_role("button", name="Figures (JSON)").click()
    told = json.loads(Path(download.value.path()).read_text())
    assert told["confusion"] == counts(version_folder, 0.4)
    assert server.complaints() == []


@pytest.mark.parametrize("width", [1440, 390])
def test_no_section_overflows(server: Server, open_page: Open, width: int) -> None:
    page = open_page(f"{server.address}/metrics", width=width)
    expect(page.get_by_role("heading", level=1, name="Metrics")).to_be_visible()
    settle(page)
    for section in SECTIONS:
        turn_to(page, section)
        expect(page.get_by_text("A professional gives the verdict")).to_be_visible()
        assert fits(page), section
    assert server.complaints() == []


def test_the_choices_are_kept_across_pages(server: Server, open_page: Open) -> None:
    page = open_page(f"{server.address}/metrics")
    turn_to(page, "Subgroups")
    page.get_by_role("link", name="Diagnose").click()
    expect(page.get_by_role("heading", level=1, name="Diagnose")).to_be_visible()
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("radio", name="Subgroups")).to_be_checked()
    assert server.complaints() == []
