"""Models in a real browser: compare two versions, put one in use, see Diagnose name it, roll back; on a phone too."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from model.inference import Predictor
from model.registry import CARD_FILE, MODEL_FILE, Version, history, list_versions, read_version, sha256_of
from tests.browser.conftest import serve
from tests.browser.test_screens import settle

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]


@pytest.fixture
def home(tiny_version: Version, tmp_path: Path) -> Path:
    """An installation with two versions of the site, "good" and "poor"; the released one is in use."""
    home = tmp_path / "server" / "home"
    for month, name in ((3, "good"), (4, "poor")):
        folder = Path(shutil.copytree(tiny_version.folder, home / "versions" / name))
        with h5py.File(folder / MODEL_FILE, "r+") as file:
            file.attrs["copy"] = name
        card = json.loads((folder / CARD_FILE).read_text())
        card |= {"name": name, "created": f"2026-0{month}-01T00:00:00Z", "trained_by": "Dr W"}
        card["sha256"] = sha256_of(folder / MODEL_FILE)
        (folder / CARD_FILE).write_text(json.dumps(card))
        Predictor.load(read_version(folder), cache=home / "cache")
    test = home / "versions" / "poor" / "predictions" / "test.csv"
    table = pandas.read_csv(test, keep_default_na=False)
    noise = np.random.default_rng(1).uniform(0, 1, len(table))
    table.assign(probability=0.2 * table["probability"] + 0.8 * noise).to_csv(test, index=False)
    return home


def section(page: Page, name: str) -> None:
    page.get_by_test_id("stMain").get_by_role("radio", name=name, exact=True).click()
    settle(page)


def choose(page: Page, label: str, name: str) -> None:
    """Type a name and take it; a run that comes late may clear what was typed, so as a user would, again."""
    field = page.get_by_role("combobox", name=re.compile(label))
    for _ in range(5):
        field.fill("")
        field.press_sequentially(name)
        try:
            page.get_by_role("option", name=re.compile(f"^{name}")).click(timeout=10_000)
        except PlaywrightTimeout:
            settle(page)
        else:
            page.keyboard.press("Escape")
            settle(page)
            return
    pytest.fail(f"{name!r} is not among the choices of {label!r}")


def confirm(page: Page, opener: str, question: str) -> None:
    """Open the question and say yes; a run that comes late may close what was opened, so as a user would, again."""
    for _ in range(5):
        page.get_by_role("button", name=re.compile(opener)).click()
        try:
            page.get_by_role("button", name=question).click(timeout=10_000)
        except PlaywrightTimeout:
            settle(page)
        else:
            return
    pytest.fail(f"“{question}” could not be clicked")


def name_who(page: Page, name: str, *, last: bool = False) -> None:
    fields = page.get_by_label("Your name", exact=True)
    field = fields.last if last else fields.first
    field.fill(name)
    field.press("Enter")
    settle(page)


def test_compare_promote_and_roll_back(home: Path, open_page: Open) -> None:
    with serve(home.parent, "") as server:
        diagnose = open_page(f"{server.address}/")
        side = diagnose.get_by_test_id("stSidebar")
        expect(side.get_by_text(re.compile("^Version "))).to_be_visible()
        expect(side.get_by_text("Version good")).to_have_count(0)

        page = open_page(f"{server.address}/models")
        expect(page.get_by_role("heading", name="Models")).to_be_visible()
        section(page, "Put in use")
        choose(page, "Version", "poor")
        name_who(page, "Dr A")
        confirm(page, r"Put in use …", "Yes, put it in use")
        expect(page.get_by_text("In use is now poor, for everyone.")).to_be_visible()
        settle(page)

        section(page, "Compare")
        # The newest other one is offered first, which has read other films.
        page.get_by_role("button", name=f"Remove {list_versions()[0].name}").click()
        settle(page)
        choose(page, "Versions to compare", "good")
        expect(page.get_by_text("good is better than poor at telling pneumonia from normal")).to_be_visible()
        expect(page.locator(".js-plotly-plot .scatterlayer .trace")).to_have_count(3)  # two curves and chance
        expect(page.get_by_role("heading", name="Which films good and poor get right")).to_be_visible()
        section(page, "Put in use")
        # What the section before showed has gone, its own field of versions too.
        expect(page.get_by_role("combobox", name=re.compile("Versions to compare"))).to_have_count(0)
        choose(page, "Version", "good")
        name_who(page, "Dr A")
        confirm(page, r"Put in use …", "Yes, put it in use")
        expect(page.get_by_text("In use is now good, for everyone.")).to_be_visible()

        # The other screen lies open and is not touched.
        expect(side.get_by_text("Version good")).to_be_visible()
        diagnose.get_by_role("button", name="Try the sample films").click()
        expect(diagnose.get_by_text(re.compile("of 6 films flagged"))).to_be_visible()

        settle(page)
        section(page, "Put in use")
        name_who(page, "Dr B", last=True)
        confirm(page, r"Roll back …", "Yes, roll back")
        expect(page.get_by_text("In use is now poor, for everyone.")).to_be_visible()
        expect(side.get_by_text("Version poor")).to_be_visible()
        section(page, "Log")
        changes = history(home / "versions")
        assert [(each.action, each.before, each.to, each.who) for each in changes][:2] == [
            ("rollback", "good", "poor", "Dr B"),
            ("promote", "poor", "good", "Dr A"),
        ]
        page.close()
        diagnose.close()
        assert server.complaints() == []


def test_a_network_is_uploaded(home: Path, tmp_path: Path, open_page: Open) -> None:
    pointer = tmp_path / "model.h5"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with serve(home.parent, "good") as server:
        page = open_page(f"{server.address}/models")
        expect(page.get_by_text("PNEUMOSCOPE_VERSION names good")).to_be_visible()
        section(page, "Import")
        page.locator("input[type=file]").set_input_files(str(pointer))
        expect(page.get_by_role("button", name="Import", exact=True)).to_be_enabled()
        name_who(page, "Dr A")
        page.get_by_role("button", name="Import", exact=True).click()
        expect(page.get_by_text("is only a Git LFS pointer")).to_be_visible()
        page.close()
        assert server.complaints() == []


def test_nothing_is_wider_than_a_phone(home: Path, open_page: Open) -> None:
    with serve(home.parent, "") as server:
        page = open_page(f"{server.address}/models", width=390, height=844)
        expect(page.get_by_role("heading", name="Models")).to_be_visible()
        settle(page)
        for name in ("Compare", "Put in use", "Import", "Log", "Card"):
            section(page, name)
            width = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
            assert width <= 390, name
        page.close()
