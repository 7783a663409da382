"""Reports on the Worklist screen: made when asked for, in the language that the session remembers."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.cases import add_cases, pseudonym
from utils import audit_trail
from utils.decisions import NORMAL

APP = Path(__file__).resolve().parents[2] / "app.py"


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def downloads(app: AppTest) -> list[str]:
    return [str(button.proto.label) for button in app.get("download_button")]


def test_a_report_of_a_case_and_of_the_list(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "none")
    add_cases(
        {"probability": 0.9}, {"probability": 0.2, "verdict": NORMAL, "note": "Frei."}, {"probability": 0.6}
    )
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.query_params["case"] = pseudonym(2)
    ran(app.switch_page("pages/worklist.py"))
    assert app.button_group(key="report-language").value == "en"
    assert not downloads(app)
    app.button_group(key="report-language").set_value("de")
    app.button(key="report-make").click()
    ran(app)
    assert [label for label in downloads(app) if label.startswith("Download, ")]

    del app.query_params["case"]
    ran(app)
    assert app.button_group(key="report-language").value == "de"
    assert not [label for label in downloads(app) if label.startswith("Download, ")]
    assert app.button(key="report-make-all").label == "Make the reports of 2 cases"
    app.button(key="report-make-all").click()
    ran(app)
    assert [label for label in downloads(app) if label.startswith("Download, ")]
    after = [line.after for line in audit_trail.search().lines if line.event == "report"]
    assert [(line["language"], line.get("cases")) for line in after] == [("de", 2), ("de", None)]
