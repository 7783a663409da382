"""Metrics, section Shortcuts: the verdict and figures of an audit, the command where there is none, the masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from model.audit import CHANGES, FILLS, LUNGS_OUT, NO_FILL, Audit, Exchange, Masks, Steadiness, View
from model.evaluation import Interval
from model.registry import Version, write_report
from utils.audit_charts import audit_figure

ENTRY = Path(__file__).resolve().parents[2] / "app.py"


def found(*, without_lungs: Sequence[float] = (0.6, 0.62), size: bool = False) -> Audit:
    """An audit in which every change leaves 0.95 but that of the lungs, one figure a fill."""

    def view(key: str, fill: str, auc: float) -> View:
        near = Interval(auc - 0.02, min(1.0, auc + 0.02))
        less = Interval(0.96 - auc - 0.01, 0.96 - auc + 0.01)
        return View(key, fill, auc, near, 0.96 - auc, less, 0.01)  # type: ignore[arg-type]

    views = []
    for change in CHANGES:
        for number, fill in enumerate(FILLS if change.painted else NO_FILL):
            auc = without_lungs[number] if change.key == LUNGS_OUT else 0.95
            views.append(view(change.key, fill, 0.96 if change.key == "full" else auc))
    steady = dict.fromkeys(("shift", "zoom", "exposure", "mirror", "opacity"), Steadiness(0.93, 0.9))
    return Audit(
        version="tiny-2026-01",
        split="test",
        films=30,
        normal=12,
        pneumonia=18,
        views=tuple(views),
        size=view("size", "", 0.87) if size else None,
        size_words="24 different sizes." if size else "All films are 224 × 224 pixels.",
        masks=Masks(29, 1, (0.15, 0.21, 0.3), 0.7, 11, 6, steady),
        engine="OpenVINO",
        left_out=0,
        exchange=Exchange(29, 0.93, Interval(0.9, 0.95), 0.55, Interval(0.48, 0.62)) if size else None,
    )


def opened() -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=120).run()
    app.switch_page("pages/metrics.py").run()
    app.segmented_control(key="section").set_value("Shortcuts").run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.success, app.warning, app.error)
    return " ".join(block.value for kind in kinds for block in kind)


def figures(app: AppTest) -> list[dict[str, object]]:
    return [
        json.loads(chart.proto.spec) for chart in app.get("plotly_chart") if chart.proto.id.endswith("-audit")
    ]


def test_without_an_audit_the_command_stands_there(version: Version) -> None:
    app = opened()
    assert [block.value for block in app.code] == [
        f"python -m model audit DATA_DIR --version {version.name} --write"
    ]
    assert "was not audited yet" in words(app) and not figures(app)
    assert "What counts as lung" in words(app)


def test_the_masks_are_shown_on_synthetic_films(version: Version) -> None:
    app = opened()
    captions = [block.value for block in app.caption]
    assert "Mask: synthetic, normal 1" in captions and "Mask: synthetic, pneumonia 2" in captions
    assert "Lungs painted over in mean grey: synthetic, pneumonia 1" in captions
    pictures = [element.proto.imgs[0] for element in app.image]
    assert len(pictures) == 8
    assert all(picture.url.startswith("data:image/png;base64,") for picture in pictures)


def test_an_audit_that_reaches_the_target(version: Version) -> None:
    write_report(version, "audit", found(size=True).as_json(command="python -m model audit `x`"))
    app = opened()
    assert [block.value for block in app.success if "Reached" in block.value]
    assert not [block for block in app.warning if "eached" in block.value]
    (figure,) = figures(app)
    assert {trace["name"] for trace in figure["data"]} == {  # type: ignore[attr-defined]
        "nothing painted",
        "painted black",
        "painted mean grey",
    }
    (table,) = [each.value for each in app.table if "Full film less this" in each.value.columns]
    assert len(table) == len(found(size=True).all_views)
    row = table[table["Film"].str.startswith("**Lungs painted over, black**")].iloc[0]
    assert row["Full film less this"] == "+0.360 (+0.350 to +0.370)"
    assert row["In words"].startswith("Hardly tells") or row["In words"].startswith(
        "Tells the classes apart a"
    )
    (believed,) = [each.value for each in app.table if "Best" in each.value.columns]
    assert list(believed["AUC (95 % interval)"]) == ["0.930 (0.900 to 0.950)", "0.550 (0.480 to 0.620)"]
    text = words(app)
    assert "29 films, each with the lungs of another one" in text
    assert "30 films of split test (12 NORMAL, 18 PNEUMONIA)" in text
    assert "29 fitted to their film, 1 from the atlas" in text and "mirrored 0.93" in text
    assert "no masks drawn by hand" in text


def test_an_audit_that_misses_it_says_so(version: Version) -> None:
    write_report(version, "audit", found(without_lungs=(0.95, 0.7)).as_json(command="python -m model audit"))
    app = opened()
    (block,) = [block.value for block in app.warning if "Not reached" in block.value]
    assert "0.010 (in black)" in block and "hangs on the paint" in block
    assert not [block for block in app.success if "Reached" in block.value]
    assert "lungs of another one" not in words(app), "reports of before hold no exchange"


@pytest.mark.parametrize("text", ["{", "{}", None])
def test_a_damaged_report_is_one_sentence(version: Version, text: str | None) -> None:
    if text is None:
        write_report(version, "audit", found().as_json(command="c") | {"masks": 3})
    else:
        (version.folder / "audit.json").write_text(text)
    app = opened()
    assert "again" in " ".join(block.value for block in app.info)
    assert not figures(app)


def test_the_figure_has_a_row_a_change_and_both_fills_on_it() -> None:
    audit = found(size=True)
    figure = audit_figure(audit.all_views)
    rows = figure.layout.yaxis.ticktext
    assert len(rows) == len(CHANGES) + 1 and rows[0] == "Full film" and rows[-1] == "Width alone"
    at = {trace.name: dict(zip(trace.y, trace.x, strict=True)) for trace in figure.data}
    place = rows.index("No lungs")
    assert at["painted black"][place - 0.14] == 0.6 and at["painted mean grey"][place + 0.14] == 0.62
    assert sum(len(trace.x) for trace in figure.data) == len(audit.all_views)
    assert {shape.x0 for shape in figure.layout.shapes} == {0.5, 0.96 - 0.15}
