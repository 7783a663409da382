"""Two clinicians in one case at once, each in a browser of their own, and a technician who looks on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import update

from model.films import read_xray
from model.registry import read_version
from tests import made_films
from tests.browser.conftest import Server, serve
from tests.browser.test_screens import settle
from tests.cases import add_cases, pseudonym
from utils import accounts, cases, database, film_store, sign_ins
from utils.decisions import NORMAL, PNEUMONIA
from utils.permissions import LOCAL, Role
from utils.tables import Account

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]
PEOPLE = {
    "clara": ("Dr Clara", Role.CLINICIAN),
    "carl": ("Dr Carl", Role.CLINICIAN),
    "tina": ("Tina", Role.TECHNICIAN),
}


@pytest.fixture
def department(
    server: Server, version_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server that asks for a sign-in, with three cases; their films are kept."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(server.log.parent / "home" / "cache")  # the network is converted already
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    version = read_version(Path(version_folder))
    pixels = read_xray(made_films.film(3, size=(320, 280))).pixels
    read = {"version": version.name, "network": version.card.sha256, "pixels": pixels}
    add_cases(
        {"probability": 0.9, **read},
        {"probability": 0.8, **read},
        {"probability": 0.7, "by": "tom", "verdict": NORMAL},
    )
    with serve(tmp_path, version_folder) as running:
        yield running
    database.close()


def signed_in(department: Server, open_page: Open, name: str) -> Page:
    title, role = PEOPLE[name]
    password = accounts.add_account(name, title, [role], who=LOCAL, now=datetime.now(UTC))
    with database.transaction() as session:
        session.execute(update(Account).values(must_change=False))
    cookie = sign_ins.sign_in(name, password, address="127.0.0.1", now=datetime.now(UTC))
    page = open_page(f"{department.address}/sign-in")
    page.context.add_cookies([{"name": sign_ins.COOKIE, "value": cookie, "url": department.address}])
    return page


def button(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("button", name=name)


def test_two_clinicians_in_one_case(department: Server, open_page: Open) -> None:
    clara, carl, tina = (signed_in(department, open_page, name) for name in PEOPLE)
    clara.goto(f"{department.address}/worklist")
    expect(button(clara, "Open the first")).to_be_visible()
    settle(clara)
    clara.keyboard.press("o")
    expect(clara).to_have_url(re.compile(f"case={pseudonym(1)}"))
    expect(clara.get_by_text("Nobody else has this case open.")).to_be_visible()
    carl.goto(clara.url)
    expect(carl.get_by_text("Dr Clara has this case open too.")).to_be_visible()
    expect(clara.get_by_text("Dr Carl has this case open too.")).to_be_visible()
    film = clara.get_by_alt_text("The opened chest X-ray")
    settle(clara)
    alone = str(film.get_attribute("src"))
    clara.keyboard.press("m")
    expect(clara.get_by_text("log-odds for pneumonia")).to_be_visible()
    expect(film).not_to_have_attribute("src", alone)
    settle(clara)
    button(clara, "Keep this map with the case").click()
    expect(button(clara, "Keep this map with the case")).to_have_count(0)
    settle(clara)
    assert cases.open_case(pseudonym(1), who=LOCAL).heat is not None
    expect(clara.get_by_text("Changed while you had this case open.")).to_have_count(0)

    # Clara types, every shortcut among the letters; Carl is quicker, and goes on to the next case by keys alone.
    note = clara.get_by_label("Note")
    note.press_sequentially("normal just outside, levels of top v")
    settle(carl)
    carl.keyboard.press("p")
    expect(carl.get_by_text("Not saved yet.")).to_be_visible()
    settle(carl)
    carl.keyboard.press("s")
    expect(carl).to_have_url(re.compile(f"case={pseudonym(2)}"))
    assert cases.open_case(pseudonym(1), who=LOCAL).verdict == PNEUMONIA

    changed = clara.get_by_text("Changed while you had this case open.")
    expect(changed).to_be_visible()
    expect(clara.get_by_text("Nobody else has this case open.")).to_be_visible()
    expect(note).to_have_value("normal just outside, levels of top v")
    settle(clara)
    note.press("Tab")
    expect(clara.get_by_text("Yours is below, and not saved.")).to_be_visible()
    settle(clara)
    button(clara, "NORMAL").click()
    expect(clara.locator("[data-testid=stBaseButton-primary]").filter(has_text="NORMAL")).to_be_visible()
    settle(clara)
    button(clara, "Save Shortcut V").click()
    expect(clara.get_by_text("What you typed is still here.")).to_be_visible()
    settle(clara)
    view = cases.open_case(pseudonym(1), who=LOCAL)
    assert (view.verdict, view.note, len(view.changes)) == (PNEUMONIA, "", 1), "nothing unseen is overwritten"
    button(clara, "Go on with mine").click()
    expect(changed).to_have_count(0)
    settle(clara)
    button(clara, "Save Shortcut V").click()
    expect(clara.get_by_text("Unchanged.")).to_be_visible()
    view = cases.open_case(pseudonym(1), who=LOCAL)
    assert (view.verdict, view.note) == (NORMAL, "normal just outside, levels of top v")
    assert [change.by for change in view.changes] == ["carl", "clara"]

    tina.goto(f"{department.address}/worklist?case={pseudonym(1)}")
    expect(tina.get_by_text("Verdicts are given by clinicians.")).to_be_visible()
    expect(tina.get_by_text("normal just outside").first).to_be_visible()
    expect(button(tina, "Save")).to_have_count(0)
    tina.goto(f"{department.address}/worklist?case={pseudonym(3)}")
    expect(tina.get_by_text("To see all cases takes the role of clinician")).to_be_visible()
    expect(tina.get_by_text("Probability of pneumonia")).to_have_count(0)
    assert department.complaints() == []
