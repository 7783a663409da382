"""The look of an answer: HTML and CSS made from values. Every text that comes from outside is escaped here."""

from __future__ import annotations

import re
from html import escape

from model.explanation import COLOURS
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA, decide, format_probability

# Okabe and Ito's orange and sky blue, darkened for the light theme to keep a contrast of at least 4.5 to 1.
STYLE = """<style>
.stMainBlockContainer { padding: 3.25rem 2.5rem 2rem; max-width: 96rem; }
.stMainBlockContainer h1 { font-size: 1.5rem; padding: 0 0 .25rem; }
.stApp { --flagged: #e69f00; --clear: #56b4e9; }
@supports (color: light-dark(#000, #fff)) {
  .stApp { --flagged: light-dark(#9a5b00, #e69f00); --clear: light-dark(#005f99, #56b4e9); }
}
.stVerticalBlock.st-key-viewer { background: #000; border-radius: .375rem;
  flex: none !important; height: min(60vh, 42rem) !important; min-height: 19rem; overflow: hidden;
  align-items: center; justify-content: center; }
.st-key-viewer div:has(img), .st-key-viewer div:has(.pneu-empty) { height: 100%; width: 100%; }
.st-key-viewer img { width: 100%; height: 100%; max-height: 100vh; object-fit: contain; border-radius: 0; }
.stVerticalBlock.st-key-status { min-height: 2.75rem; justify-content: center; }
.pneu { font-variant-numeric: tabular-nums; line-height: 1.45; overflow-wrap: anywhere; }
.pneu-empty { color: #9aa3af; height: 100%; display: grid; place-items: center; text-align: center; padding: 1rem; }
.pneu-name { font-weight: 600; min-height: 1.5em; }
.pneu-tag { border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em; font-size: .8rem; margin-left: .5em;
  white-space: nowrap; }
.pneu-label { opacity: .75; font-size: .9rem; margin-top: .75rem; }
.pneu-number { font-size: 3.5rem; line-height: 1.1; font-weight: 600; letter-spacing: -.01em; }
.pneu-bar { position: relative; height: .75rem; border-radius: .375rem; margin: .75rem 0 1.9rem;
  background: color-mix(in srgb, currentColor 16%, transparent); }
.pneu-bar > i { position: absolute; inset: 0 auto 0 0; border-radius: .375rem; background: var(--tone, currentColor); }
.pneu-bar > b { position: absolute; top: -.35rem; bottom: -.35rem; width: 3px; margin-left: -1.5px;
  background: currentColor; box-shadow: 0 0 0 2px color-mix(in srgb, currentColor 0%, var(--ground, transparent)); }
.pneu-bar > span { position: absolute; top: 1.15rem; font-size: .85rem; white-space: nowrap; }
.pneu-decision, .pneu-verdict { display: flex; gap: .75rem; align-items: center; min-height: 3.5rem;
  padding: .5rem .9rem;
  border: 2px solid var(--tone, color-mix(in srgb, currentColor 25%, transparent)); border-radius: .375rem; }
.pneu-triangle { width: 2rem; height: 1.75rem; flex: none; background: var(--tone);
  clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.pneu-ring { width: 1.9rem; height: 1.9rem; flex: none; border: .3rem solid var(--tone); border-radius: 50%; }
.pneu-decision strong, .pneu-verdict strong { font-size: 1.35rem; display: block; line-height: 1.2;
  color: var(--tone, inherit); }
.pneu-decision small, .pneu-verdict small { font-size: .9rem; opacity: .85; }
.pneu p { margin: .75rem 0 0; }
.pneu ul { margin: .25rem 0 0; padding-left: 0; list-style: none; }
.pneu li { padding-left: 1.4em; text-indent: -1.4em; margin-bottom: .25rem; }
.pneu-quiet { opacity: .75; font-size: .9rem; }
.pneu a { color: var(--clear); }
.pneu-panel { min-height: 29rem; }
.pneu-diamond { width: 1.6rem; height: 1.6rem; flex: none; margin: 0 .2rem; transform: rotate(45deg) scale(.8);
  border: .25rem solid var(--tone, currentColor); }
.pneu-square { width: 1.7rem; height: 1.7rem; flex: none; border: .25rem solid currentColor; }
.pneu-scale { margin: .25rem 0 0; }
.pneu-scale > i { display: block; height: .75rem; border-radius: .2rem; position: relative;
  border: 1px solid color-mix(in srgb, currentColor 30%, transparent); }
.pneu-scale > div { display: flex; justify-content: space-between; gap: 1rem; font-size: .85rem; }
.pneu-scale > div > span:last-child { text-align: right; }
.pneu-scale > i > b { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; margin-left: -1px;
  background: currentColor; }
.pneu-bands { position: relative; display: flex; height: 1.6rem; margin: 1rem 0 1.9rem; gap: 2px; }
.pneu-bands > i { font-style: normal; font-size: .8rem; line-height: 1.6rem; text-align: center; overflow: hidden;
  white-space: nowrap; background: color-mix(in srgb, var(--band, currentColor) 28%, transparent); min-width: 0; }
.pneu-bands > b { position: absolute; top: -.3rem; bottom: -.3rem; width: 3px; margin-left: -1.5px;
  background: currentColor; }
.pneu-bands > span { position: absolute; top: 1.9rem; font-size: .85rem; white-space: nowrap; }
.st-key-worklist-answer .pneu-panel { min-height: 0; }
.st-key-worklist-table [data-testid="stElementToolbar"] { display: none; }
.st-key-worklist-header h1 { padding: 0; white-space: nowrap; }
.data-tile { width: 104px; height: 104px; background: #000; border-radius: .375rem; font-size: .8rem; }
.stTable td:first-child { min-width: 8rem; }
.stMetric [data-testid="stMetricLabel"] p { white-space: normal; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 4rem 1rem 2rem; }
  .stVerticalBlock.st-key-viewer { height: 19rem !important; }
  .pneu-number { font-size: 2.75rem; }
  .pneu-panel { min-height: 0; }
}
</style>"""

_ICONS = {
    PNEUMONIA: '<span class="pneu-triangle" aria-hidden="true"></span>',
    NORMAL: '<span class="pneu-ring" aria-hidden="true"></span>',
    CANNOT_TELL: '<span class="pneu-diamond" aria-hidden="true"></span>',
    NOT_JUDGED: '<span class="pneu-square" aria-hidden="true"></span>',
}
_TONES = {PNEUMONIA: "var(--flagged)", NORMAL: "var(--clear)"}
_REASONS = {
    PNEUMONIA: "flagged: the probability is at or above the threshold",
    NORMAL: "not flagged: the probability is below the threshold",
}


_VERDICTS = {
    PNEUMONIA: "the network is sure of it at this error rate",
    NORMAL: "the network is sure of it at this error rate",
    CANNOT_TELL: "read this one carefully",
}


def plain(text: str) -> str:
    """Text from outside for a place that takes Markdown: shown as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>$~:-])", r"\\\1", " ".join(text.split()))


def empty_viewer(text: str) -> str:
    """The dark frame with a sentence where the X-ray will be."""
    return f'<div class="pneu pneu-empty"><div>{escape(text)}</div></div>'


def label(text: str) -> str:
    """The quiet heading of one part of a panel."""
    return f'<div class="pneu pneu-label" style="margin-top:0">{escape(text)}</div>'


def name_line(name: str, *, synthetic: bool = False) -> str:
    """The name of the opened film; synthetic films are marked."""
    tag = '<span class="pneu-tag">SYNTHETIC, NOT A PATIENT</span>' if synthetic else ""
    return f'<div class="pneu pneu-name">{escape(name)}{tag}</div>'


def answer(
    probability: float | None,
    *,
    threshold: float,
    rates: str,
    certainty: tuple[str, float] | None = None,
    record: str = "",
    quality: tuple[str, ...] = (),
    done: str = "",
    remark: str = "",
) -> str:
    """The answer for one film: number, bar with the threshold marked, decision by word, shape and colour, and words.

    `certainty` is the verdict and the error rate it holds at; `record` says that a refusal was overruled, or that the
    film was corrected.

    Without a probability the same panel stands empty, so that nothing moves when the answer arrives.
    """
    if probability is None:
        number, fill, tone = "–", "", ""
        spoken = f"No film yet. Threshold {threshold:.3f}."
        decision = "<div><strong>–</strong><small>no film yet</small></div>"
    else:
        decided = decide(probability, threshold=threshold)
        number = format_probability(probability, threshold=threshold)
        fill = f'<i style="width:{probability * 100:.2f}%"></i>'
        tone = f' style="--tone:{_TONES[decided]}"'
        spoken = f"Probability {number}, threshold {threshold:.3f}."
        decision = f"{_ICONS[decided]}<div><strong>{decided}</strong><small>{_REASONS[decided]}</small></div>"
        number = escape(number)
    place = f"left:{threshold * 100:.2f}%"
    # The label keeps inside the bar at both ends.
    label = f"{place};transform:translateX(-{threshold * 100:.0f}%)"
    parts = [
        f'<div class="pneu pneu-panel"{tone}>',
        '<div class="pneu-label" style="margin-top:0">Probability of pneumonia</div>',
        f'<div class="pneu-number">{number}</div>',
        f'<div class="pneu-bar" role="img" aria-label="{escape(spoken)}">{fill}<b style="{place}"></b>'
        f'<span style="{label}">threshold {threshold:.3f}</span></div>',
        f'<div class="pneu-decision" role="status">{decision}</div>',
    ]
    if certainty is not None:
        parts.append(f"<p>{_certainty_line(*certainty)}</p>")
    if record:
        parts.append(f"<p><strong>⚠ {escape(record)}</strong></p>")
    if rates:
        parts.append(f"<p>{escape(rates)}</p>")
    if probability is not None:
        parts.append(_quality(quality))
    return "".join([*parts, *_quiet(remark, done), "</div>"])


def refusal(reason: str, *, quality: tuple[str, ...] = (), done: str = "", remark: str = "") -> str:
    """The same panel for a picture that is none to judge: why, and no probability."""
    parts = [
        '<div class="pneu">',
        '<div class="pneu-label" style="margin-top:0">Probability of pneumonia</div>',
        '<div class="pneu-number">–</div>',
        f'<div class="pneu-decision" role="status" style="margin-top:.75rem">{_ICONS[NOT_JUDGED]}'
        f"<div><strong>{NOT_JUDGED}</strong><small>this does not look like a film that the network can judge</small>"
        "</div></div>",
        f"<p>{escape(reason)}</p>",
    ]
    if quality:
        parts.append(_quality(quality))
    return "".join([*parts, *_quiet(remark, done), "</div>"])


def _certainty_line(verdict: str, rate: float) -> str:
    shown = f"{rate * 100:g} %"
    if verdict == CANNOT_TELL:
        return f"◇ <strong>{CANNOT_TELL}</strong> at an error rate of {shown}: read this one carefully."
    return f'<span class="pneu-quiet">Sure of {escape(verdict)} at an error rate of {shown}.</span>'


def _quality(lines: tuple[str, ...]) -> str:
    items = [f"<li>⚠ {escape(line)}</li>" for line in lines] or ["<li>✓ No remarks.</li>"]
    return f'<div class="pneu-label">Quality of the film</div><ul>{"".join(items)}</ul>'


def _quiet(*lines: str) -> list[str]:
    return [f'<p class="pneu-quiet">{escape(line)}</p>' for line in lines if line]


def verdict(found: str, *, probability: float, normal_below: float, pneumonia_from: float) -> str:
    """A verdict by word and shape, and where the probability lies among the three bands.

    A band that nothing can fall in has no width.
    """
    tone = _TONES.get(found, "currentColor")
    first, second = (min(max(value, 0.0), 1.0) for value in (normal_below, pneumonia_from))
    bands = (
        (NORMAL, first, _TONES[NORMAL]),
        (CANNOT_TELL, second - first, "currentColor"),
        (PNEUMONIA, 1 - second, _TONES[PNEUMONIA]),
    )
    drawn = "".join(
        f'<i style="flex:{width:.6f} 1 0;--band:{colour}">{name if width > 0.12 else ""}</i>'
        for name, width, colour in bands
        if width > 0
    )
    place = f"left:{probability * 100:.2f}%"
    number = format_probability(probability)
    spoken = f"Probability {number}. NORMAL below {first:.3f}, PNEUMONIA from {second:.3f}, between them {CANNOT_TELL}."
    return (
        f'<div class="pneu" style="--tone:{tone}"><div class="pneu-verdict">{_ICONS[found]}'
        f"<div><strong>{escape(found)}</strong><small>{_VERDICTS[found]}</small></div></div>"
        f'<div class="pneu-bands" role="img" aria-label="{escape(spoken)}">{drawn}<b style="{place}"></b>'
        f'<span style="{place};transform:translateX(-{probability * 100:.0f}%)">probability {escape(number)}</span>'
        "</div>"
        f'<p class="pneu-quiet" style="margin-top:0">{escape(spoken)}</p></div>'
    )


def heat_scale(top: float, *, colours: bool, levels: tuple[float, ...]) -> str:
    """The scale of a map in words and numbers; `top` in log-odds, `levels` the contour lines as shares of it."""
    steps = ", ".join(
        f"rgb({red},{green},{blue})" for red, green, blue in COLOURS[:: max(1, len(COLOURS) // 16)]
    )
    ground = f"linear-gradient(to right, {steps})"
    marks = ""
    middle = f"{top / 2:.2f}"
    if not colours:
        ground = "none"
        marks = "".join(f'<b style="left:{level * 100:g}%"></b>' for level in levels)
        middle = "lines at " + ", ".join(f"{level * top:.2f}" for level in levels)
    spoken = f"Scale from 0 to {top:.2f} log-odds for pneumonia"
    return (
        f'<div class="pneu pneu-scale" role="img" aria-label="{spoken}"><i style="background:{ground}">{marks}</i>'
        f"<div><span>0: nothing</span><span>{middle}</span><span>{top:.2f} log-odds for pneumonia</span></div></div>"
    )


def bad_files(lines: list[tuple[str, str]], *, count: int | None = None) -> str:
    """Names and sentences of the files that could not be read; `count` where these are only the first of more."""
    items = "".join(
        f"<li>✕ <strong>{escape(name)}</strong>: {escape(message)}</li>" for name, message in lines
    )
    total = len(lines) if count is None else count
    heading = "1 file could not be read" if total == 1 else f"{total} files could not be read"
    more = f'<p class="pneu-quiet">… and {total - len(lines)} more.</p>' if total > len(lines) else ""
    return (
        f'<div class="pneu" role="alert"><div class="pneu-label">{heading}</div><ul>{items}</ul>{more}</div>'
    )
