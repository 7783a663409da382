"""Saving in a real browser: the admin chooses, films become cases, the same film is known again, a case is deleted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, serve
from tests.browser.test_screens import drop, picture, settle
from utils import film_store

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]


@pytest.fixture
def own_server(
    server: Server, version_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server with a database of its own, and a key for films."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").symlink_to(server.log.parent / "home" / "cache")
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    with serve(tmp_path, version_folder) as running:
        yield running


def records(page: Page) -> None:
    page.get_by_role("link", name="Administration").click()
    page.get_by_test_id("stMain").get_by_role("radio", name="Records", exact=True).click()
    expect(page.get_by_role("heading", name="What is saved")).to_be_visible()
    settle(page)


def test_from_the_choice_to_the_deletion(own_server: Server, open_page: Open, tmp_path: Path) -> None:
    page = open_page(own_server.address)
    expect(page.get_by_text("Nothing is saved: readings and films are gone")).to_be_visible()
    settle(page)
    records(page)
    page.get_by_text("Records with films", exact=True).click()
    page.get_by_role("button", name="Save these choices").click()
    expect(page.get_by_text("The choices hold from now on.")).to_be_visible()

    page.get_by_role("link", name="Diagnose").click()
    expect(page.get_by_text("with its film, encrypted")).to_be_visible()
    settle(page)
    place = page.get_by_text("The X-ray you drop above is shown here.").locator("xpath=..").bounding_box()
    patient = page.get_by_role("textbox", name="Patient's pseudonym")
    patient.fill("P-17")
    patient.press("Enter")
    settle(page)
    drop(page, ("Mueller_Anna.png", picture(1)))
    film = page.get_by_alt_text("The opened chest X-ray")
    expect(film).to_be_visible()
    line = page.get_by_text(re.compile(r"Case \w{4}-\w{4} · patient P-17 · film kept"))
    expect(line).to_be_visible()
    settle(page)
    name = re.search(r"\w{4}-\w{4}", line.inner_text())
    box = film.bounding_box()
    assert name is not None and place is not None and box is not None
    assert abs(box["y"] - place["y"]) <= 2, "the film is where its place was"

    other = open_page(own_server.address, width=390)
    expect(other.get_by_text("with its film, encrypted")).to_be_visible()
    settle(other)
    drop(other, ("copy.png", picture(1)))
    expect(other.get_by_text(re.compile(f"Case {name[0]} · read before, first on"))).to_be_visible()
    assert other.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    records(page)
    expect(page.get_by_role("row", name=re.compile("Films, encrypted 1,"))).to_be_visible()
    page.get_by_role("textbox", name="Pseudonym").fill(name[0])
    page.get_by_role("button", name="Delete this case").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text(f"Case {name[0]} and its film deleted.")).to_be_visible()
    assert [file.name for file in (tmp_path / "home" / "films").glob("??/*")] == []
    assert own_server.complaints() == []
    kept = b"".join(file.read_bytes() for file in (tmp_path / "home").glob("pneumoscope.db*"))
    assert b"Mueller" not in kept + own_server.log.read_bytes()
