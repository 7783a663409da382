"""From the first start to a technician who signs in, stays in, and goes: the whole way in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, serve
from tests.browser.test_screens import settle

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
PASSWORD, OTHER = "correct horse battery", "staple of the trade"


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that asks for a sign-in and has no account yet; and no network, which nobody here needs."""
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    with serve(tmp_path, "none-that-is-there") as running:
        yield running


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def choose(page: Page, *, new: str) -> None:
    page.get_by_label("New password").fill(new)
    page.get_by_label("The same once more").fill(new)


def menu(page: Page) -> list[str]:
    return [text.split("\n")[-1] for text in page.get_by_test_id("stSidebarNavLink").all_inner_texts()]


def test_from_the_first_start_to_a_technician_who_goes_home(fresh: Server, open_page: Open) -> None:
    page = open_page(fresh.address)
    expect(page.get_by_role("heading", name="First start")).to_be_visible()
    found = re.search(r"with this code: (\S+)", fresh.log.read_text())
    assert found
    page.get_by_label("Code").fill(found[1])
    page.get_by_label("Your name").fill("Ada <b>Minister</b>")
    choose(page, new=PASSWORD)
    page.get_by_role("button", name="Make the account").click()

    sidebar = page.get_by_test_id("stSidebar")
    expect(sidebar.get_by_text("Signed in as Ada <b>Minister</b> (admin)")).to_be_visible()
    page.get_by_role("link", name="Administration").click()
    expect(page.get_by_role("heading", name="Administration")).to_be_visible()
    settle(page)
    page.get_by_label("Name to sign in with").fill("Tina")
    page.get_by_label("Name to sign in with").press("Tab")
    settle(page)
    page.get_by_label("Roles").first.click()
    page.get_by_role("option", name="technician").click()
    settle(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Make the account").click()
    given = page.get_by_test_id("stCode").inner_text().strip()
    settle(page)
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    sign_in(page, "tina", "not her password")
    expect(page.get_by_role("alert")).to_contain_text("That did not work")
    sign_in(page, "tina", given)
    expect(page.get_by_text("choose one of your own")).to_be_visible()
    page.get_by_label("Password until now").fill(given)
    choose(page, new=OTHER)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", name="Diagnose")).to_be_visible()
    for _ in range(2):
        expect(sidebar.get_by_text("Signed in as tina (technician)")).to_be_visible()
        assert menu(page) == ["Diagnose", "Worklist", "Live performance", "Metrics", "Account"]
        page.reload()
        expect(page.get_by_role("heading", name="Diagnose")).to_be_visible()
    page.goto(f"{fresh.address}/metrics")
    expect(page.get_by_role("heading", name="Metrics")).to_be_visible()

    # Signing out in one window blanks the other, which nobody touches.
    other = page.context.new_page()
    other.goto(f"{fresh.address}/account")
    other.get_by_test_id("stSidebar").get_by_role("link", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Nobody is signed in: sign in first.")).to_be_visible()
    expect(page.get_by_role("heading", name="Metrics")).to_have_count(0)
    assert menu(page) == []
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    cookies = {each["name"]: each for each in page.context.cookies()}
    assert "pneumoscope_sign_in" not in cookies
    assert not [line for line in fresh.complaints() if "none-that-is-there" not in line]
