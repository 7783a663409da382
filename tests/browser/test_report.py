"""The report in a real browser: opened from disk with no network, wide and narrow, dark and light, and printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas
import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from model.curves import (
    TABLE_THRESHOLDS,
    decision_curve,
    distribution,
    precision_recall,
    reliability,
    subgroups,
    sweep,
)
from model.evaluation import roc, scored
from model.figures import figures
from utils import charts
from utils.reports import html_report

pytestmark = pytest.mark.browser
NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of every chart, on films drawn at random."""
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 1], [234, 390])
    probabilities = 1 / (1 + np.exp(-generator.normal(4.6 * labels - 2.2, 1.6)))
    films = scored(labels, probabilities, patients=[f"p{index // 2}" for index in range(624)])
    result, curve = films.at(0.62), roc(labels, probabilities)
    groups = np.where(labels == 0, "normal", np.where(np.arange(624) % 3, "bacteria", "virus")).tolist()
    history = pandas.DataFrame({"epoch": [1, 2, 3], "loss": [0.6, 0.4, 0.3], "val_loss": [0.5, 0.4, 0.35]})
    drawn = [
        (f"Confusion matrix {NASTY}", charts.confusion_figure(result.confusion)),
        ("ROC", charts.roc_figure(curve, size_floor=0.79)),
        ("Versions", charts.comparison_roc_figure({NASTY: curve, "another version with a long name": curve})),
        (
            "Precision and recall",
            charts.precision_recall_figure(precision_recall(labels, probabilities), current=result),
        ),
        ("Calibration", charts.reliability_figure(reliability(labels, probabilities))),
        (
            "Distribution",
            charts.distribution_figure(distribution(labels, probabilities), threshold=0.62),
        ),
        ("Sweep", charts.sweep_figure(sweep(labels, probabilities), threshold=0.62)),
        ("Decision", charts.decision_figure(decision_curve(labels, probabilities), threshold=0.62)),
        (
            "Predictive values",
            charts.predictive_figure(result.sensitivity, result.specificity, prevalence=0.2, base_rate=0.625),
        ),
        ("Subgroups", charts.subgroup_figure(subgroups(labels, probabilities, groups, threshold=0.62))),
        ("Loss", charts.history_figure(history, "loss")),
    ]
    rows = [
        dict.fromkeys(("Threshold", "Sensitivity", "Specificity", "Precision", "NPV"), f"{threshold:.2f}")
        | {"Accuracy": 0.5, "F1": 0.5, "Missed": 12, "False alarms": 18}
        for threshold in TABLE_THRESHOLDS
    ]
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_bytes(
        html_report(
            title=f"Report {NASTY}",
            facts=[("Network (SHA-256)", "ab" * 32)],
            figures=figures(result),
            charts=drawn,
            tables=[("Thresholds", rows)],
            footer="The last line.",
        )
    )
    return file


class Opened:
    """A page, what it asked for and what it complained of."""

    def __init__(self, context: BrowserContext, file: Path) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        context.set_default_timeout(90_000)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self.refuse)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        expect(self.page.locator(".plot .main-svg .bglayer").last).to_be_attached(timeout=90_000)
        expect(self.page.locator(".plot.js-plotly-plot")).to_have_count(11, timeout=90_000)

    def refuse(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
def test_report_opens_offline_and_fits(
    chromium: Browser, report: Path, width: int, theme: Literal["dark", "light"]
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
    try:
        opened = Opened(context, report)
        page = opened.page
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Report {NASTY}")
        expect(page.get_by_text("The last line.")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Every chart stands inside the page, and its plot is no sliver beside its legend.
        for plot in page.locator(".plot").all():
            box = plot.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            inner = plot.evaluate("element => element._fullLayout._size.w")
            assert inner > 0.6 * box["width"], plot.get_attribute("id")
        ink = page.locator(".xtick text").first.evaluate("element => getComputedStyle(element).fill")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        expected = ("rgb(230, 233, 238)", "rgb(9, 11, 14)")
        if theme == "light":
            expected = ("rgb(26, 31, 39)", "rgb(255, 255, 255)")
        assert (ink, ground) == expected
        # The drawn matrix has the counts of the table of figures.
        drawn = page.locator("#chart-0 .annotation-text").all_text_contents()
        worked = page.get_by_role("row").filter(has_text="Sensitivity (recall)").inner_text()
        hits, total = (int(text) for text in re.findall(r": (\d+) / \((\d+) ", worked)[0])
        assert hits == total
        assert any(text.startswith(str(hits)) for text in drawn)
        assert page.locator("img").count() == 0
        assert opened.complaints == []
        assert opened.asked == [report.as_uri()]
    finally:
        context.close()


def test_report_prints_dark_on_white(chromium: Browser, report: Path) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    try:
        page = Opened(context, report).page
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        ink = page.locator(".xtick text").first.evaluate("element => getComputedStyle(element).fill")
        assert ink == "rgb(26, 31, 39)"
        # A4 less its margins is 688 pixels wide.
        widest = max(
            plot.evaluate("element => element._fullLayout.width") for plot in page.locator(".plot").all()
        )
        assert widest <= 688
        pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
        assert 5 <= pages <= 15
    finally:
        context.close()
