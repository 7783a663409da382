"""Training in a real browser: a ZIP, its check, two epochs, the curves; then a longer run, watched and ended."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model.inference import Predictor
from model.jobs import NICE_VARIABLE
from model.registry import list_versions, read_version
from tests.browser.conftest import serve
from tests.browser.test_own_films import fill
from tests.browser.test_screens import settle
from tests.model.test_jobs import make_films, runner_lives, until

pytestmark = pytest.mark.browser
expect.set_options(timeout=90_000)
Open = Callable[..., Page]


def zipped(folder: Path) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"ward/{file.relative_to(folder)}")
        archive.writestr("__MACOSX/ward/._junk.png", b"junk")
    return target.getvalue()


def pick(page: Page, label: str, option: str) -> None:
    """Choose by typing, because the page may still scroll under the list that a click opens."""
    choice = page.get_by_role("combobox", name=re.compile(label))
    choice.fill("")
    choice.press_sequentially(option)
    page.get_by_role("option", name=option).click()
    settle(page)


DRAWN = "(document.querySelector('.js-plotly-plot')?.calcdata?.[0]?.length ?? 0)"
"""How many epochs the first curve, the loss, shows: a long one has no points, and while it is drawn anew it is away."""


def fits(page: Page) -> bool:
    fitting: bool = page.evaluate(
        "(() => { const main = document.querySelector('[data-testid=stMain]');"
        " return main.scrollWidth <= main.clientWidth; })()"
    )
    return fitting


def test_from_a_zip_to_a_version(
    tmp_path: Path, version_folder: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PNEUMOSCOPE_DATA", "PNEUMOSCOPE_DATA_FULL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(NICE_VARIABLE, "0")
    home = tmp_path / "server" / "home"
    Predictor.load(read_version(Path(version_folder)), cache=home / "cache")
    films = zipped(make_films(tmp_path / "films"))
    with serve(tmp_path / "server", version_folder) as server:
        page = open_page(f"{server.address}/training")
        expect(page.get_by_role("heading", name="Training", level=1)).to_be_visible()
        settle(page)
        pick(page, "Set of films", "Upload a ZIP")
        page.locator("input[type=file]").set_input_files(
            {"name": "ward.zip", "mimeType": "application/zip", "buffer": films}
        )
        expect(page.get_by_role("button", name="Unpack and keep")).to_be_enabled()
        fill(page, "Name of the set", "ward-3")
        fill(page, "Your name", "Dr A")
        page.get_by_role("button", name="Unpack and keep").click()
        expect(page.get_by_text("Fit for training and for measuring")).to_be_visible()
        expect(page.get_by_text("32 files in")).to_be_visible()
        expect(page.get_by_alt_text("Chest X-ray, PNEUMONIA")).to_have_count(8)
        settle(page)

        pick(page, "Network", "Small network of six convolutions")
        expect(page.get_by_text(re.compile("upside down"))).to_be_visible()
        fill(page, "Epochs, at most", "2")
        fill(page, "Side of the films, pixels", "32")
        fill(page, "Batch size", "8")
        fill(page, "Name of the new version", "short")
        assert fits(page)
        page.get_by_role("button", name="Start the run").click()
        expect(page.get_by_role("heading", name="short")).to_be_visible()
        expect(page.get_by_text("The version short is made.")).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(6)
        settle(page)
        assert page.evaluate(DRAWN) == 2
        assert [version.name for version in list_versions(home / "versions")] == ["short"]

        page.get_by_role("button", name="Run again with changes").click()
        expect(page.get_by_text("1. Films")).to_be_visible()
        settle(page)
        fill(page, "Epochs, at most", "1000")
        fill(page, "Name of the new version", "long")
        page.get_by_role("button", name="Start the run").click()
        expect(page.get_by_role("heading", name="long")).to_be_visible()
        expect(page.get_by_text(re.compile("Training, epoch .* of 1000, step .* left"))).to_be_visible()
        expect(page.locator(".js-plotly-plot")).to_have_count(6)
        page.wait_for_function(f"shown => {DRAWN} > shown", arg=page.evaluate(DRAWN))
        other = open_page(
            f"{server.address}/training", width=390, height=844
        )  # somebody else, on a telephone
        expect(other.get_by_role("heading", name="long")).to_be_visible()
        expect(other.get_by_text(re.compile("Training, epoch"))).to_be_visible()
        assert fits(other)
        page.reload()
        expect(page.get_by_text(re.compile("Training, epoch"))).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Keep the best epoch so far").click()
        expect(
            page.get_by_text("The version long is made. Cancelled; the best epoch was kept.")
        ).to_be_visible()
        expect(other.get_by_text("The version long is made.")).to_be_visible()
        settle(page)
        page.get_by_role("button", name="Compare with the model in use").click()
        expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
        settle(page)
        page.close()  # before the server goes, which an open page would complain of
        other.close()
        assert server.complaints() == []
    assert {version.name for version in list_versions(home / "versions")} == {"short", "long"}
    until(lambda: not runner_lives(home))
