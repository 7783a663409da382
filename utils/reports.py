"""What leaves the screens as files: a report that opens anywhere, and tables as CSV."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Integral, Real
from typing import TYPE_CHECKING

from model.figures import Figure
from model.intervals import Interval
from model.reading_table import harmless
from utils.charts import percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

Row = Mapping[str, object]

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f1f4f8; --ink: #1a1f27; --quiet: #56606d;
  --line: #ccd3dc; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #090b0e; --raised: #12161c; --ink: #e6e9ee; --quiet: #a3acb8; --line: #2d3440; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 92rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0; }
dt, .quiet, footer { color: var(--quiet); }
dd { margin: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.figures { width: 100%; }
.figures th { overflow-wrap: normal; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--quiet); font-weight: 400; font-size: .9em; }
.wide td, .wide th { overflow-wrap: normal; white-space: nowrap; }
.wide td.long { min-width: 14rem; white-space: normal; }
.number { white-space: nowrap; }
.figures small { display: block; color: var(--quiet); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 0 2.5rem; }
.charts section { max-width: 44rem; min-width: 0; break-inside: avoid; }
.plot { width: 100%; }
.plot .xtick text, .plot .ytick text, .plot .xtitle, .plot .ytitle, .plot .y2title, .plot .legendtext,
.plot .legendtitletext, .plot .bartext { fill: var(--ink) !important; }
.plot .gridlayer path { stroke: var(--line) !important; }
.plot .modebar-group { background: none !important; }
.plot .modebar-btn .icon path { fill: var(--quiet) !important; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media (max-width: 40rem) {
  body { padding: 1rem; }
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .5rem; }
  .figures thead { display: none; }
  .figures tr, .figures th, .figures td { display: block; border: 0; padding: 0; }
  .figures th, .figures td:nth-child(2) { display: inline-block; margin-right: .5rem; }
  .figures tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .figures td[data-name]:not(:empty)::before { content: attr(data-name) " "; color: var(--quiet); }
}
@media print {
  body { padding: 0; max-width: none; font-size: 9.5pt; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .charts { display: block; }
  .wide { overflow: visible; }
  .wide table { font-size: 8pt; }
  .wide td, .wide th { padding-right: .5rem; white-space: normal; }
  .wide td.long { min-width: 0; }
  .modebar-container { display: none; }
}
@page { margin: 14mm; }
"""

# In place of Plotly's standard template, which has a ground and a grid of its own; the style above colours both.
_AXIS = {"automargin": True, "title": {"standoff": 12}}
_TEMPLATE = {"layout": {"font": {"family": "system-ui, sans-serif"}, "xaxis": _AXIS, "yaxis": _AXIS}}

# Touch screens scroll with the finger that would otherwise draw a zoom box.
_SCRIPT = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const touch = window.matchMedia("(pointer: coarse)").matches;
charts.forEach(({data, layout}, index) => {
  if (touch) layout.dragmode = false;
  Plotly.newPlot("chart-" + index, data, layout, {
    responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: {format: "svg", filename: "chart-" + (index + 1)},
  });
});
"""


def html_report(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    figures: Sequence[Figure],
    charts: Sequence[tuple[str, go.Figure]],
    tables: Sequence[tuple[str, Sequence[Row]]],
    footer: str,
) -> bytes:
    """One self-contained HTML file (UTF-8, about 5 MB: Plotly is in it, once) that asks nothing of any network.

    It follows the reader's light or dark setting and prints black on white. All texts are shown as they are; the
    file's own policy lets nothing run but its own two scripts, and nothing be loaded.

    Args:
        title: heading and name of the document.
        facts: what was measured, as (name, value).
        figures: with interval, definition and formula each.
        charts: (heading, figure).
        tables: (heading, rows); the columns are the keys of the rows. A table without rows says so.
        footer: last line.
    """
    from plotly.offline import get_plotlyjs

    parts = [f"<h1>{escape(title)}</h1>", _facts(facts)]
    if figures:
        parts += ["<h2>Figures</h2>", _figures(figures)]
    if charts:
        sections = (
            f'<section><h2>{escape(heading)}</h2><div class="plot" id="chart-{index}"></div></section>'
            for index, (heading, _) in enumerate(charts)
        )
        parts += [
            f'<div class="charts">{"".join(sections)}</div>',
            "<noscript><p>The charts need JavaScript; figures and tables do not.</p></noscript>",
        ]
    for heading, rows in tables:
        parts += [f"<h2>{escape(heading)}</h2>", _table(rows)]
    parts.append(f"<footer>{escape(footer)}</footer>")

    scripts = []
    if charts:
        # Within JSON "<" stands in texts only, where \u003c is the same: so no text can end the script element.
        data = json.dumps([_drawn(chart) for _, chart in charts], ensure_ascii=False).replace("<", "\\u003c")
        parts.append(f'<script type="application/json" id="charts">{data}</script>')
        scripts = [get_plotlyjs(), _SCRIPT]
        parts += [f"<script>{script}</script>" for script in scripts]
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "form-action 'none'; base-uri 'none'"
    )
    head = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # A drawn icon of nothing: the browser looks for no other.
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
    )
    return "\n".join([head, *parts, "</body></html>\n"]).encode()


def table_csv(rows: Sequence[Row]) -> bytes:
    """Rows as CSV (UTF-8), the columns in the order in which the rows bring them.

    Numbers are written in full. None and NaN become empty cells; no text can run as a formula.
    """
    names = _columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if names:
        writer.writerow([harmless(name) for name in names])
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue().encode()


def _drawn(chart: go.Figure) -> object:
    drawn = json.loads(chart.to_json())
    return {"data": drawn["data"], "layout": {**drawn["layout"], "template": _TEMPLATE}}


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: object) -> object:
    if _missing(value):
        return ""
    return harmless(value) if isinstance(value, str) else value


def _shown(value: object) -> str:
    """A cell of a table for reading: numbers with three decimals, a dash for what there is not."""
    if _missing(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return _number(float(value)) if isinstance(value, Real) else str(value)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, Real) and math.isnan(value))


def _number(value: float) -> str:
    text = f"{value:.3f}" if math.isfinite(value) else f"{value}".replace("inf", "∞")
    return text.replace("-", "−")


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
        + "</dl>"
    )


def _figures(figures: Sequence[Figure]) -> str:
    by_patient = any(figure.by_patient is not None for figure in figures)
    header = ["Figure", "Value", "95 % interval"] + (["95 % interval by patient"] if by_patient else [])
    header.append("Meaning")
    rows = "".join(_figure(figure, by_patient=by_patient) for figure in figures)
    cells = "".join(f"<th>{name}</th>" for name in header)
    return f'<table class="figures"><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>'


def _figure(figure: Figure, *, by_patient: bool) -> str:
    if figure.value is None:
        value = "–"
    else:
        value = percent(figure.value) if figure.kind == "share" else _number(figure.value)
    cells = [
        f'<th scope="row">{escape(figure.name)}</th>',
        f'<td class="number">{value}</td>',
        f'<td class="number" data-name="95 % interval">{_bounds(figure.interval, figure.kind)}</td>',
    ]
    if by_patient:
        bounds = _bounds(figure.by_patient, figure.kind)
        cells.append(f'<td class="number" data-name="by patient">{bounds}</td>')
    formula = f"{figure.formula}: {figure.worked}" if figure.worked else figure.formula
    why = f"<small>No value: {escape(figure.unavailable)}</small>" if figure.unavailable else ""
    cells.append(f"<td>{escape(figure.definition)}<small>{escape(formula)}</small>{why}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _bounds(interval: Interval | None, kind: str) -> str:
    if interval is None:
        return ""
    if kind == "share":
        return f"{percent(interval.low)} to {percent(interval.high)}"
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _table(rows: Sequence[Row]) -> str:
    names = _columns(rows)
    if not names:
        return '<p class="quiet">Nothing to list.</p>'
    header = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = []
    for row in rows:
        texts = [_shown(row.get(name)) for name in names]
        body.append("<tr>" + "".join(_data_cell(text) for text in texts) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _data_cell(text: str) -> str:
    long = ' class="long"' if len(text) > 24 else ""
    return f"<td{long}>{escape(text)}</td>"
