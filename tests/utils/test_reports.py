from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from model.evaluation import Evaluation, evaluate
from model.figures import figures
from utils.charts import confusion_figure, distribution_figure
from utils.reports import html_report, table_csv

NASTY = "</script><img src=x onerror=alert(1)> & \"quoted\" 'too' <!--"


class Reader(HTMLParser):
    """The texts, the scripts and the elements of a page, as a browser's parser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = "cell"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "td", "th"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.texts.append(data)
        if self._inside == "cell":
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def result(*, patients: bool = True) -> Evaluation:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1], [40, 60])
    probabilities = 1 / (1 + np.exp(-generator.normal(3.0 * labels - 1.5, 1.2)))
    names = [f"p{index // 2}" for index in range(100)] if patients else None
    return evaluate(labels, probabilities, threshold=0.5, patients=names)


def report(text: str = "plain", *, patients: bool = True) -> str:
    found = result(patients=patients)
    chart = confusion_figure(found.confusion)
    chart.update_xaxes(title_text=text)
    return html_report(
        title=f"Title {text}",
        facts=[(f"Fact {text}", f"value {text}")],
        figures=figures(found),
        charts=[(f"Chart {text}", chart), ("Second", confusion_figure(found.confusion))],
        tables=[
            (f"Table {text}", [{f"Column {text}": text, "Number": 0.12345}, {"Number": None, "More": 7_000}]),
            ("Empty", []),
        ],
        footer=f"Footer {text}",
    ).decode()


def test_report_shows_every_text_as_it_is_and_none_as_markup() -> None:
    read = Reader(report(NASTY))
    texts = "".join(read.texts)
    for place in ("Title", "Fact", "value", "Chart", "Table", "Footer"):
        assert f"{place} {NASTY}" in texts, place
    assert [f"Column {NASTY}", "Number", "More"] in read.rows
    assert not read.all("img")
    assert not [attributes for _, attributes in read.elements if "onerror" in attributes]
    assert len(read.scripts) == 3
    drawn = json.loads(read.scripts[0])
    assert drawn[0]["layout"]["xaxis"]["title"]["text"] == NASTY


def test_report_is_whole_by_itself_and_holds_plotly_once() -> None:
    page = report()
    read = Reader(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not [attributes for attributes in read.all("script") if "src" in attributes]
    assert read.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert not re.search(r"@import|url\(", page[: page.index("</style>")])
    assert sum("plotly.js v" in script[:200] for script in read.scripts) == 1
    assert [attributes["id"] for attributes in read.all("div") if "id" in attributes] == [
        "chart-0",
        "chart-1",
    ]
    assert len(json.loads(read.scripts[0])) == 2


def test_policy_lets_only_the_two_scripts_run_and_nothing_load() -> None:
    read = Reader(report())
    policy = next(
        attributes["content"] or ""
        for attributes in read.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in read.scripts[1:]
    ]
    assert rules["script-src"] == digests


def test_report_has_every_figure_with_interval_definition_and_counts() -> None:
    found = result()
    rows = {row[0]: row for row in Reader(report()).rows}
    for figure in figures(found):
        row = rows[figure.name]
        assert len(row) == 5
        assert figure.definition in row[4]
        assert figure.formula in row[4]
        assert figure.worked in row[4]
    assert found.sensitivity.interval is not None
    assert rows["Sensitivity (recall)"][1] == f"{found.sensitivity.value:.1%}".replace("%", " %")
    low, high = found.sensitivity.interval.low, found.sensitivity.interval.high
    assert rows["Sensitivity (recall)"][2] == f"{low:.1%} to {high:.1%}".replace("%", " %")
    assert rows["AUC"][1] == f"{found.auc:.3f}"
    assert rows["AUC"][3]
    assert "95 % interval by patient" in rows["Figure"]


def test_report_without_patients_has_no_column_for_them() -> None:
    rows = Reader(report(patients=False)).rows
    assert {len(row) for row in rows if row[0] in ("Figure", "AUC", "NPV")} == {4}


def test_report_says_why_a_figure_has_no_value() -> None:
    found = evaluate([1, 1], [0.2, 0.8], threshold=0.5)
    page = html_report(title="t", facts=[], figures=figures(found), charts=[], tables=[], footer="").decode()
    read = Reader(page)
    row = next(row for row in read.rows if row[0] == "Specificity")
    assert row[1] == "–"
    assert found.unavailable["specificity"] in row[3]
    assert read.scripts == []
    assert "script-src 'none'" in page


def test_tables_of_a_report_have_all_columns_and_say_where_they_are_empty() -> None:
    read = Reader(report())
    assert ["Column plain", "Number", "More"] in read.rows
    assert ["plain", "0.123", "–"] in read.rows
    assert ["–", "–", "7,000"] in read.rows
    assert "Nothing to list." in read.texts


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (np.float32("nan"), "–"),
        (-0.25, "−0.250"),
        (np.float64(0.5), "0.500"),
        (np.int64(1200), "1,200"),
        (True, "yes"),
    ],
)
def test_cells_of_a_report(value: object, shown: str) -> None:
    page = html_report(
        title="t", facts=[], figures=[], charts=[], tables=[("T", [{"a": value}])], footer=""
    ).decode()
    assert Reader(page).rows[-1] == [shown]


def test_arrays_of_a_chart_arrive_whole() -> None:
    from model.curves import distribution

    chart = distribution_figure(distribution([0, 1, 1], [0.1, 0.9, 0.9]), threshold=0.5)
    page = html_report(title="t", facts=[], figures=[], charts=[("c", chart)], tables=[], footer="").decode()
    assert json.loads(Reader(page).scripts[0])[0]["data"] == json.loads(chart.to_json())["data"]


def test_csv_has_all_columns_full_numbers_and_no_formulas() -> None:
    rows: list[dict[str, object]] = [
        {"file": "=HYPERLINK(1)", "probability": 0.123456789012345, "count": 3},
        {"file": 'a,"b"\n', "probability": None, "note": "ä – −1"},
        {"file": "-1", "probability": -0.5, "count": math.nan},
    ]
    data = table_csv(rows)
    assert list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""))) == [
        ["file", "probability", "count", "note"],
        ["'=HYPERLINK(1)", "0.123456789012345", "3", ""],
        ['a,"b"\n', "", "", "ä – −1"],
        ["'-1", "-0.5", "", ""],
    ]
    assert table_csv([]) == b""


def test_names_of_columns_are_harmless_too() -> None:
    assert table_csv([{"@name": 1}]) == b"'@name\n1\n"
