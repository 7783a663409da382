"""From the figures to a disagreement and on to its case, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.registry import read_version
from tests.browser.conftest import serve
from tests.cases import add_cases
from utils import database

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_from_the_figures_to_the_case_that_disagrees(
    tmp_path: Path, version_folder: str, open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = read_version(Path(version_folder), verify=False)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    began = datetime.now(UTC) - timedelta(days=70)
    verdicts = ("PNEUMONIA", "NORMAL", "NORMAL")
    add_cases(
        *(
            {
                "created": began + timedelta(days=30 * number),
                "verdict": verdict,
                "probability": probability,
                "version": version.name,
                "network": version.card.sha256,
            }
            for number, (verdict, probability) in enumerate(zip(verdicts, (0.9, 0.1, 0.8), strict=True))
        )
    )
    database.close()
    with serve(tmp_path, version_folder) as server:
        page = open_page(f"{server.address}/live", width=390, height=844)
        page.get_by_text("3 verified cases").wait_for()
        page.get_by_text("Verified cases are a selection").wait_for()
        page.locator(".js-plotly-plot").first.wait_for()
        page.get_by_text("Disagreements", exact=True).click()
        page.get_by_text("whose verdict is not what was decided").wait_for()
        page.get_by_test_id("stDataFrame").click(position={"x": 16, "y": 54})
        page.get_by_role("link", name="Open case CASE-0003").click()
        page.wait_for_url("**/worklist?*case=CASE-0003*")
        page.get_by_text("CASE-0003").first.wait_for()
        page.close()
        assert not server.complaints()
