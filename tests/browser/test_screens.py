"""The main job in a real browser: drop films, read the answer, move the threshold, look at the figures."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.conftest import Server, serve
from tests.made_films import film, film_12_bits
from tests.model import dicom_films as made

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]


def picture(seed: int, *, size: tuple[int, int] = (320, 280)) -> bytes:
    """A PNG that looks like a chest film; `size` is (width, height)."""
    return film(seed, size=size)


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: list[FilePayload] = [
        {"name": name, "mimeType": "image/png", "buffer": data} for name, data in files
    ]
    page.locator("input[type=file]").set_input_files(payloads)


def decision(page: Page) -> Locator:
    return page.locator(".pneu-decision strong")


def probability(page: Page) -> float:
    return float(re.sub("[<>]", "", page.locator(".pneu-number").inner_text()))


def settle(page: Page) -> None:
    """Wait until the script has run to its end and what an earlier run left has gone."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
    expect(page.locator("[data-stale=true]")).to_have_count(0)


def move_slider(page: Page, *, key: str) -> None:
    """Press Home or End on the threshold's handle, on a page that has come to rest: a key in mid-run may go astray."""
    settle(page)
    page.get_by_role("slider", name="Threshold").press(key)


def drop_one(page: Page) -> None:
    expect(page.get_by_text("No film yet").first).to_be_visible()
    drop(page, ("film.png", picture(1)))
    expect(page.get_by_alt_text("The opened chest X-ray")).to_be_visible()
    expect(decision(page)).to_have_text(re.compile("NORMAL|PNEUMONIA"))


def test_an_answer_and_a_decision_that_follows_the_slider(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    drop_one(page)
    before = probability(page)
    assert 0 <= before <= 1
    move_slider(page, key="Home")
    expect(decision(page)).to_have_text("PNEUMONIA")
    expect(page.locator(".pneu-decision .pneu-triangle")).to_be_visible()
    expect(page.get_by_text("100 of 100 pneumonias and 100 of 100 healthy children")).to_be_visible()
    move_slider(page, key="End")
    expect(decision(page)).to_have_text("NORMAL")
    expect(page.locator(".pneu-decision .pneu-ring")).to_be_visible()
    assert probability(page) == pytest.approx(before, abs=0.001)  # near the threshold it has more digits
    assert server.complaints() == []


def test_the_threshold_is_in_the_link_and_kept_across_pages(server: Server, open_page: Open) -> None:
    page = open_page(f"{server.address}/?threshold=0.37")
    expect(page.get_by_text("threshold 0.370")).to_be_visible()
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("heading", name="Metrics")).to_be_visible()
    expect(page.get_by_test_id("stSliderThumbValue")).to_have_text("0.370")
    expect(page).to_have_url(re.compile(r"/metrics\?.*threshold=0\.37"))
    page.get_by_role("link", name="Diagnose").click()
    expect(
        page.get_by_text("No film yet").first
    ).to_be_visible()  # Metrics names its threshold in the same words
    settle(page)
    expect(page.get_by_text("threshold 0.370")).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_text(re.compile("^screening")).click()
    expect(page.get_by_text("threshold 0.370")).not_to_be_visible()
    expect(page.get_by_text(re.compile("sensitivity of at least"))).to_be_visible()
    link = page.url
    shown = page.get_by_text(re.compile(r"^threshold \d")).inner_text()
    other = open_page(link)
    expect(other.get_by_text(shown, exact=True)).to_be_visible()


def test_the_list_of_films_is_kept_across_pages(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    drop_one(page)
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("heading", name="Metrics")).to_be_visible()
    page.get_by_role("link", name="Diagnose").click()
    expect(page.get_by_alt_text("The opened chest X-ray")).to_be_visible()


def test_a_corrupt_file_among_good_ones(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    good = picture(1)
    drop(
        page,
        ("one.png", good),
        ("broken.png", good[: len(good) // 2]),
        ("letter.jpg", b"Dear colleague"),
        ("=two.png", picture(2)),
        ("copy.png", good),
    )
    expect(page.get_by_text("2 files could not be read")).to_be_visible()
    expect(page.get_by_role("alert").get_by_text("broken.png")).to_be_visible()
    expect(page.get_by_role("alert").get_by_text("letter.jpg")).to_be_visible()
    expect(page.get_by_text(re.compile("of 2 films flagged"))).to_be_visible()
    expect(page.get_by_text("also as copy.png")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [row["file"] for row in rows] == ["one.png", "broken.png", "letter.jpg", "'=two.png"]
    assert [bool(row["probability"]) for row in rows] == [True, False, False, True]
    assert not any("one.png" in line or "letter" in line for line in server.log.read_text().splitlines())
    with contextlib.closing(sqlite3.connect(server.log.parent / "home" / "pneumoscope.db")) as records:
        taken = records.execute("SELECT after FROM audit_lines WHERE event = 'export'").fetchall()
    assert json.loads(taken[-1][0])["films"] == 4
    page.get_by_role("button", name="Clear the list").click()
    expect(page.get_by_text("No film yet").first).to_be_visible()
    assert server.complaints() == []


def test_a_selected_row_opens_its_film_and_stays_open(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    drop(page, ("one.png", picture(1)), ("two.png", picture(2)), ("three.png", picture(3)))
    name = page.locator(".pneu-name")
    expect(name).to_have_text("one.png")
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    # The table is drawn on a canvas: its rows are reached by place. Header 35, rows 44 pixels high.
    table.click(position={"x": 17, "y": 35 + 44 * 2 + 22})
    expect(name).to_have_text("three.png")
    move_slider(page, key="End")
    expect(decision(page)).to_have_text("NORMAL")
    expect(name).to_have_text("three.png")


def test_the_samples_are_one_click_away(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    page.get_by_role("button", name="Try the sample films").click()
    expect(page.get_by_text(re.compile("of 6 films flagged"))).to_be_visible()
    expect(page.get_by_text("SYNTHETIC, NOT A PATIENT")).to_be_visible()
    assert server.complaints() == []


def test_metrics_shows_both_figures(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    page.get_by_role("link", name="Metrics").click()
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    for number in range(2):
        expect(page.locator(".js-plotly-plot .main-svg").nth(number)).to_be_visible()
    assert server.complaints() == []


@pytest.mark.parametrize("path", ["/metrics", "/metrics?threshold=0.37"])
def test_a_cold_server_asked_straight_for_metrics(
    tmp_path: Path, version_folder: str, open_page: Open, path: str
) -> None:
    with serve(tmp_path, version_folder) as cold:
        page = open_page(cold.address + path)
        expect(page.get_by_role("heading", name="Metrics")).to_be_visible()
        expect(page).to_have_url(re.compile("/metrics"))
        menu = page.get_by_test_id("stSidebarNavLink")
        expect(menu).to_have_count(9)
        expect(menu.first).to_contain_text("Diagnose")
        if "threshold" in path:
            expect(page.get_by_test_id("stSliderThumbValue")).to_have_text("0.370")
        page.get_by_role("link", name="Diagnose").click()
        expect(page.get_by_role("heading", name="Diagnose")).to_be_visible()
        page.close()
        assert cold.complaints() == []


def test_without_a_version_the_screens_say_what_to_do(tmp_path: Path, open_page: Open) -> None:
    with serve(tmp_path, "no-such-version") as bare:
        page = open_page(bare.address)
        expect(page.get_by_text("no-such-version")).to_be_visible()
        expect(page.locator("input[type=file]")).to_be_disabled()
        page.get_by_role("link", name="Metrics").click()
        expect(page.get_by_text("no-such-version")).to_be_visible()
        page.close()
        assert bare.complaints() == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("size", [(200, 400), (700, 200)])
def test_a_film_of_any_shape_is_seen_whole(
    server: Server, open_page: Open, width: int, size: tuple[int, int]
) -> None:
    page = open_page(server.address, width=width)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    drop(page, ("film.png", picture(4, size=size)))
    film = page.get_by_alt_text("The opened chest X-ray")
    expect(film).to_be_visible()
    settle(page)
    frame, image = page.locator(".st-key-viewer").bounding_box(), film.bounding_box()
    assert frame is not None
    assert image is not None
    assert image["y"] >= frame["y"] - 1
    assert image["y"] + image["height"] <= frame["y"] + frame["height"] + 1
    assert image["x"] + image["width"] <= frame["x"] + frame["width"] + 1
    assert film.evaluate("image => getComputedStyle(image).objectFit") == "contain"


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_overflows_and_nothing_jumps(server: Server, open_page: Open, width: int) -> None:
    page = open_page(server.address, width=width)
    viewer = page.locator(".st-key-viewer")
    expect(page.get_by_text("Ready.")).to_be_visible()
    expect(page.get_by_test_id("stFileUploaderDropzone")).to_be_visible()
    settle(page)
    empty = viewer.bounding_box()
    drop_one(page)
    expect(page.get_by_text("Ready. 1 file")).to_be_visible()
    settle(page)
    full = viewer.bounding_box()
    assert empty is not None
    assert full is not None
    assert abs(empty["y"] - full["y"]) <= 2
    assert abs(empty["height"] - full["height"]) <= 2
    for name in ("Diagnose", "Metrics"):
        page.goto(server.address + ("/" if name == "Diagnose" else "/metrics"))
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(
            "(() => { const main = document.querySelector('[data-testid=stMain]');"
            " return main.scrollWidth <= main.clientWidth; })()"
        )


def test_a_dicom_film_and_its_window(server: Server, open_page: Open) -> None:
    page = open_page(server.address)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    samples = film_12_bits(3, size=(320, 280))
    drop(
        page,
        ("IM000001", made.film(samples, WindowCenter="2048", WindowWidth="3000", PatientName="DOE^JANE")),
    )
    shown = page.get_by_alt_text("The opened chest X-ray")
    expect(shown).to_be_visible()
    expect(decision(page)).to_have_text(re.compile("NORMAL|PNEUMONIA"))
    expect(page.get_by_text("modality DX, view PA, age 4 years")).to_be_visible()
    expect(page.get_by_text("JANE")).to_have_count(0)
    settle(page)
    before, picture_before = probability(page), str(shown.get_attribute("src"))
    page.get_by_text("Window: brightness and contrast").click()
    page.get_by_role("slider", name="Centre").press("Home")
    for _ in range(3):
        page.get_by_role("slider", name="Width").press("PageUp")
    expect(page.get_by_text("For the eye only")).to_be_visible()
    expect(shown).not_to_have_attribute("src", picture_before)
    assert probability(page) == before
    page.get_by_text("Use this window for the reading").click()
    expect(page.get_by_text("Read through a window set by hand")).to_be_visible()
    assert server.complaints() == []
