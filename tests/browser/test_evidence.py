"""The evidence in a real browser: the map on the film, films alike, how sure, refusals, corrections, DICOM."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests import made_films
from tests.browser.conftest import Server
from tests.browser.test_screens import decision, drop, settle
from tests.model import dicom_films as made

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]
SIZE = (320, 280)
FILM = "The opened chest X-ray"


def opened(server: Server, open_page: Open, *files: tuple[str, bytes], width: int = 1440) -> Page:
    page = open_page(server.address, width=width)
    expect(page.get_by_text("No film yet").first).to_be_visible()
    drop(page, *files)
    expect(page.get_by_alt_text(FILM)).to_be_visible()
    settle(page)
    return page


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=False)


def part(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("radio", name=name)


def source(page: Page) -> str:
    return str(page.get_by_alt_text(FILM).get_attribute("src"))


def box(page: Page) -> tuple[int, int, int]:
    """Where the film lies below the page's heading, however far the page is scrolled, and its size."""
    film = page.get_by_alt_text(FILM).bounding_box()
    heading = page.get_by_role("heading", level=1).bounding_box()
    assert film is not None
    assert heading is not None
    return round(film["y"] - heading["y"]), round(film["width"]), round(film["height"])


def test_the_map_on_the_film(server: Server, open_page: Open) -> None:
    page = opened(server, open_page, ("film.png", made_films.film(3, size=SIZE)))
    alone, place = source(page), box(page)
    page.keyboard.press("m")
    expect(page.get_by_text("log-odds for pneumonia")).to_be_visible()
    expect(page.get_by_alt_text(FILM)).to_have_attribute("alt", re.compile("what speaks for pneumonia"))
    drawn = source(page)
    assert drawn != alone
    page.get_by_role("slider", name="Opacity").press("End")
    expect(page.get_by_alt_text(FILM)).not_to_have_attribute("src", drawn)
    settle(page)
    assert box(page) == place, "the film does not jump"
    part(page, "Contours").click()
    expect(page.get_by_text("lines at")).to_be_visible()
    settle(page)
    with page.expect_download() as download:
        button(page, "Download").first.click()
    assert download.value.suggested_filename == "pneumoscope-map.png"
    with Image.open(Path(download.value.path())) as image:
        assert (image.format, image.width, image.info) == ("PNG", SIZE[0], {})
    button(page, "Show the film alone").click()
    expect(page.get_by_alt_text(FILM)).to_have_attribute("src", alone)
    assert box(page) == place
    assert server.complaints() == []


def test_the_finer_map_is_stopped_and_made(server: Server, open_page: Open) -> None:
    page = opened(server, open_page, ("film.png", made_films.film(3, size=SIZE)))
    button(page, "Show where it looked").click()
    button(page, "Finer map").click()
    button(page, "Stop").click()
    expect(button(page, "Finer map")).to_be_visible()
    button(page, "Finer map").click()
    expect(page.get_by_text("The finer map is being computed")).to_be_visible()
    expect(page.get_by_text("fall where a patch of the film is hidden")).to_be_visible(timeout=300_000)
    expect(page.get_by_text("Finer", exact=True)).to_be_visible()
    assert server.complaints() == []


def test_cannot_tell_films_alike_and_a_few_views(server: Server, open_page: Open) -> None:
    page = opened(server, open_page, ("film.png", made_films.film(1, size=SIZE)))
    expect(page.get_by_text("Sure of NORMAL at an error rate of 5 %.")).to_be_visible()
    expect(page.get_by_text("At most 5 % of the films with pneumonia")).to_be_visible()
    page.get_by_role("slider", name="Error rate").press("Home")
    expect(page.get_by_text("at an error rate of 0.5 %: read this one carefully.")).to_be_visible()
    expect(page.get_by_text("At most 0.5 % of the films with pneumonia")).to_be_visible()
    button(page, "Read a few views").click()
    expect(page.get_by_text("Over 9 views the probability is")).to_be_visible()
    part(page, "Films that are alike").click()
    expect(page.get_by_text("of the 10 training films that are most like this one")).to_be_visible()
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("heading", level=1, name="Metrics")).to_be_visible()
    page.get_by_role("link", name="Diagnose").click()
    expect(page.get_by_text("at an error rate of 0.5 %")).to_be_visible()
    assert server.complaints() == []


def test_a_picture_that_is_no_film_is_refused_and_overruled(server: Server, open_page: Open) -> None:
    page = opened(server, open_page, ("noise.png", made_films.no_film(1, side=300)))
    expect(decision(page)).to_have_text("NOT JUDGED")
    expect(page.locator(".pneu-number")).to_have_text("–")
    expect(page.get_by_text("Show where it looked")).to_have_count(0)
    button(page, "Read it nevertheless").click()
    expect(decision(page)).to_have_text(re.compile("NORMAL|PNEUMONIA"))
    expect(page.get_by_text("Refused at first and read nevertheless, on request")).to_be_visible()
    settle(page)
    with page.expect_download() as download:
        button(page, "Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))
    assert row["message"].startswith("Refused at first and read nevertheless")
    assert row["certainty"] == ""
    assert server.complaints() == []


def test_an_offer_is_taken_and_undone(server: Server, open_page: Open) -> None:
    inverted = made_films.png(255 - made_films.film_pixels(3, size=SIZE))
    page = opened(server, open_page, ("film.png", inverted))
    before = source(page)
    button(page, "Invert").click()
    expect(page.get_by_text("Corrected on request before reading: inverted.")).to_be_visible()
    expect(decision(page)).to_have_text("PNEUMONIA")
    expect(page.get_by_alt_text(FILM)).not_to_have_attribute("src", before)
    button(page, "Undo: inverted").click()
    expect(page.get_by_alt_text(FILM)).to_have_attribute("src", before)
    expect(decision(page)).to_have_text("NOT JUDGED")
    assert server.complaints() == []


def test_a_dicom_film_has_its_evidence_too(server: Server, open_page: Open) -> None:
    data = made.film(
        made_films.film_12_bits(3, size=SIZE), WindowCenter="2048", WindowWidth="4096", PatientName="DOE^JANE"
    )
    page = opened(server, open_page, ("IM000001", data))
    before = source(page)
    button(page, "Show where it looked").click()
    expect(page.get_by_alt_text(FILM)).not_to_have_attribute("src", before)
    part(page, "Results as DICOM").click()
    expect(page.get_by_text("The same DICOM file once more")).to_be_visible()
    expect(page.get_by_text("JANE")).to_have_count(0)
    assert server.complaints() == []


@pytest.mark.parametrize("width", [1440, 390])
def test_no_part_is_wider_than_the_screen(server: Server, open_page: Open, width: int) -> None:
    page = opened(server, open_page, ("film.png", made_films.film(3, size=SIZE)), width=width)
    button(page, "Show where it looked").click()
    expect(page.get_by_text("log-odds for pneumonia")).to_be_visible()
    for name in ("How sure", "Films that are alike"):
        part(page, name).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate(
            "(() => { const main = document.querySelector('[data-testid=stMain]');"
            " return main.scrollWidth <= main.clientWidth; })()"
        )
