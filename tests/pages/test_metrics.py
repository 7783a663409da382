from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from model.evaluation import evaluate
from model.registry import Version, read_version

PAGE = Path(__file__).resolve().parents[2] / "pages" / "metrics.py"


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A version of this test's own, in use."""
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    return read_version(folder)


def opened(*, threshold: float | None = None) -> AppTest:
    """The Metrics screen, come to by way of the entry; the slider moved where a threshold is given."""
    app = AppTest.from_file(str(PAGE.parents[1] / "app.py"), default_timeout=60).run()
    app.switch_page("pages/metrics.py").run()
    return app if threshold is None else app.sidebar.slider[0].set_value(threshold).run()


def figure(app: AppTest, name: str) -> dict[str, object]:
    charts = {chart.proto.id.rsplit("-", 1)[-1]: chart for chart in app.get("plotly_chart")}
    return json.loads(charts[name].proto.spec)


def shown(app: AppTest) -> dict[str, str]:
    return {tile.label: tile.value for tile in app.metric}


def test_it_shows_the_figures_of_the_stored_test_predictions(version: Version) -> None:
    app = opened(threshold=0.5)
    assert not app.exception
    films = version.predictions("test")
    expected = evaluate(films.labels, films.probabilities, threshold=0.5)
    tiles = shown(app)
    assert tiles["AUC"] == f"{expected.auc:.3f}"
    assert tiles["Sensitivity"] == f"{expected.sensitivity.value:.1%}".replace("%", " %")
    assert tiles["Specificity"] == f"{expected.specificity.value:.1%}".replace("%", " %")
    words = " ".join(block.value for block in app.markdown)
    assert "120 test films" in words
    assert version.name in words
    assert "02 January 2026" in words
    notes = " ".join(block.value for block in app.caption)
    assert "professional gives the verdict" in notes
    assert "test split" in notes


def test_the_matrix_and_the_point_follow_the_threshold(version: Version) -> None:
    films = version.predictions("test")
    for threshold in (0.2, 0.8):
        app = opened(threshold=threshold)
        assert not app.exception
        expected = evaluate(films.labels, films.probabilities, threshold=threshold).confusion
        texts = json.dumps(figure(app, "confusion"))
        for count, name in (
            (expected.tn, "true negatives"),
            (expected.fp, "false positives"),
            (expected.fn, "false negatives"),
            (expected.tp, "true positives"),
        ):
            assert f"<b>{count} {name}</b>" in texts
        traces = {trace["name"]: trace for trace in figure(app, "roc")["data"] if "name" in trace}  # type: ignore[attr-defined]
        assert f"current {threshold:.3f}" in traces
        assert {name.split()[0] for name in traces} >= {
            "default",
            "balanced",
            "screening",
            "rule-in",
            "chance",
        }


def test_a_version_without_test_predictions_says_what_to_do(version: Version) -> None:
    (version.folder / "predictions" / "test.csv").unlink()
    app = opened()
    assert not app.exception
    assert len(app.info) == 1
    assert "no stored test predictions" in app.info[0].value
    assert "evaluate" in app.info[0].value
    assert not app.metric


def test_without_any_version_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "no-such-version")
    app = opened()
    assert not app.exception
    assert "no-such-version" in app.error[0].value
    assert not app.metric


def test_films_of_one_class_show_what_can_be_shown(version: Version) -> None:
    file = version.folder / "predictions" / "test.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *(row for row in rows if "PNEUMONIA" in row)]) + "\n")
    app = opened()
    assert not app.exception
    tiles = shown(app)
    assert tiles["AUC"] == "–"
    assert tiles["Specificity"] == "–"
    assert tiles["Sensitivity"] != "–"
    assert any("no film of normal lungs" in block.value for block in app.info)


def test_the_page_alone_on_a_cold_server_fails_for_nobody(version: Version) -> None:
    app = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not app.exception
