"""Cases on paper: one page A4 a case, and a summary in front where there are several.

The pages are made for a printer without colours: contour lines for the heat map, a shape beside each decision. What
does not fit is first set smaller, then shortened, and the page says so: a case never takes a second page. A report
tells what the case keeps, and nothing in the file's metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

import numpy as np
from PIL import Image

from model.evaluation import OperatingRates
from model.explanation import scale_of
from model.intervals import Proportion
from utils.cases import CaseView
from utils.decisions import (
    CANNOT_TELL,
    NORMAL,
    NOT_JUDGED,
    PNEUMONIA,
    decide,
    format_probability,
    what_is_flagged,
)
from utils.overlay import LEVELS, drawn, is_nothing
from utils.paper import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Align, Paper, Pixels, line_height, plain
from utils.texts import (
    Language,
    day,
    decimal,
    listed,
    moment,
    percent,
    plural,
    short_moment,
    text,
    translated,
    whole,
)

WORDS = {PNEUMONIA: "pneumonia", NORMAL: "normal", CANNOT_TELL: "cannot tell", NOT_JUDGED: "not judged"}
"""Keys of the texts that say a decision or a verdict."""
CORRECTIONS = {
    "invert": "inverted",
    "turn-90": "turned right",
    "turn-180": "turned over",
    "turn-270": "turned left",
    "crop": "cropped",
}
"""Keys of the texts that say a correction, by the keys of `utils.readings.OFFERS`."""
SEXES = {"F": "female", "M": "male", "O": "other sex"}
FILM_SIDE = 1100
"""Longest side of a film in the file, in pixels: about 300 to the inch in print."""

_REASONS = {PNEUMONIA: "flagged", NORMAL: "not flagged", NOT_JUDGED: "refused"}
_MAP_SIDE, _MAP_LINE = 700, 0.004
"""Shorter side in pixels that a map is drawn at, and half the width of its lines as a share of that: they and their
dark rims then print 0.3 and 0.1 mm wide, whatever the film's size."""
_GAP = 6.0
_LABELS = 36.0
"""Width of the column of labels, mm."""
_ANSWER = 34.0
"""Height of probability, decision and bar, mm."""
_BAR_GREY = 140
_SIZES = ((84.0, 9.0), (72.0, 9.0), (72.0, 8.5), (60.0, 8.0), (52.0, 7.5), (44.0, 7.0), (40.0, 6.5))
"""How high the film may be (mm) and how large the text (points): the first pair with which the page holds all."""
_ROW = 5.4
_LIST: tuple[tuple[str, float, float, Align], ...] = (
    ("column case", LEFT, 26, "L"),
    ("column read", 43, 29, "L"),
    ("column probability", 72, 22, "R"),
    ("decision", 100, 37, "L"),
    ("verdict", 138, 44, "L"),
    ("column page", 182, 12, "R"),
)
"""Columns of the list of cases: heading, left edge and width in mm."""
_COUNTS = (36.0, 27.0, 22.0, 39.0, 29.0, 25.0)
"""Widths of the columns of the table of counts, mm."""
_VERSIONS_IN_FRONT = 4
"""Versions whose rates stand in front; each case's page tells those of its own."""

FilmOf = Callable[[CaseView], "Pixels | None"]
"""Gives a case's film, uint8 (height, width), as the reading saw it; None where it cannot be had."""
Progress = Callable[[int, int], object]
"""Told how many cases are done, and of how many."""


@dataclass(frozen=True)
class Measured:
    """What is known of a version.

    Attributes:
        created: when it was made; None where it is not at hand any more.
        point: name of its operating point at the report's threshold; empty between the points.
        rates: what that threshold costs and gains on its test films; None where that is not known.
    """

    created: datetime | None = None
    point: str = ""
    rates: OperatingRates | None = None


@dataclass(frozen=True)
class Edition:
    """What all pages of a report share.

    Attributes:
        language: of all texts.
        threshold: in [0, 1]; the decisions are those at it.
        maker: who makes the report, as others see the name.
        made: when, with its zone.
        zone: for all times; None: the server's own.
        versions: by the SHA-256 of their networks.
        names: what others see, by `Account.name`; who is not in it is called by that name.
    """

    language: Language
    threshold: float
    maker: str
    made: datetime
    zone: tzinfo | None = None
    versions: Mapping[str, Measured] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def text(self, key: str, **values: object) -> str:
        return text(key, self.language, **values)

    def word(self, decision: str) -> str:
        return self.text(WORDS[decision])

    def name(self, account: str) -> str:
        return self.names.get(account) or account

    def when(self, moment_: datetime) -> str:
        return moment(moment_, self.language, zone=self.zone)

    def number(self, threshold: float) -> str:
        """With three decimals where it has no more, else with four."""
        digits = 3 if round(threshold, 3) == threshold else 4
        return decimal(f"{threshold:.{digits}f}", self.language)

    def probability(self, case: CaseView) -> str:
        if case.probability is None:
            return "–"
        return decimal(format_probability(case.probability, threshold=self.threshold), self.language)

    def decision(self, case: CaseView) -> str:
        """PNEUMONIA, NORMAL or NOT JUDGED."""
        return NOT_JUDGED if case.probability is None else decide(case.probability, threshold=self.threshold)

    def measured(self, case: CaseView) -> Measured:
        return self.versions.get(case.network, Measured())


def case_pdf(case: CaseView, *, film: Pixels | None, edition: Edition) -> bytes:
    """The report of one case, one page.

    Args:
        case: as `utils.cases` gives it.
        film: as the reading saw it, uint8 (height, width); None where it cannot be had.
        edition: language, threshold and all else that is not the case's.
    """
    report = _Report(edition, title=edition.text("report"), pages=1)
    report.case_page(case, film)
    return bytes(report.output())


def cases_pdf(
    cases: Sequence[CaseView],
    *,
    film_of: FilmOf,
    edition: Edition,
    chosen: Sequence[str] = (),
    progress: Progress | None = None,
) -> bytes:
    """The reports of several cases in one file, with a summary in front: what was chosen, counts, and a list.

    Args:
        cases: in the order of the pages, at least one.
        film_of: asked case by case, so that only one film is in memory.
        edition: as for one case.
        chosen: what the cases were chosen by, in the reader's language; empty: all there are.
        progress: told after each case.

    Raises:
        ValueError: there is no case.
    """
    if not cases:
        raise ValueError("a report needs a case")
    report = _Report(edition, title=edition.text("reports"))
    report.summary(cases, chosen)
    for done, case in enumerate(cases, start=1):
        report.case_page(case, film_of(case))
        if progress is not None:
            progress(done, len(cases))
    return bytes(report.output())


# --- what is said


def _rates(rates: OperatingRates | None, edition: Edition) -> list[str]:
    """What a threshold costs and gains: in words, then in figures."""
    if rates is None:
        return [edition.text("rates unknown")]
    figures = [
        edition.text(key, value=_share(proportion, edition))
        for key, proportion in (("sensitivity", rates.sensitivity), ("specificity", rates.specificity))
        if proportion.value is not None
    ]
    sentences = [what_is_flagged(rates, edition.language)]
    if not figures:
        return sentences
    line = edition.text("figures", figures=", ".join(figures))
    return [*sentences, line[0].upper() + line[1:]]


def _share(proportion: Proportion, edition: Edition) -> str:
    assert proportion.value is not None and proportion.interval is not None
    value = percent(proportion.value, edition.language)
    low = decimal(f"{proportion.interval.low * 100:.1f}", edition.language)
    high = percent(proportion.interval.high, edition.language)
    return edition.text("with interval", value=value, low=low, high=high)


def _threshold(point: str, edition: Edition) -> str:
    threshold = edition.number(edition.threshold)
    if point:
        return edition.text("threshold at a point", threshold=threshold, point=point)
    return edition.text("threshold by hand", threshold=threshold)


def _meaning(case: CaseView, edition: Edition) -> list[str]:
    """The threshold, what it means, and the one before where there was another."""
    measured = edition.measured(case)
    sentences = [_threshold(measured.point, edition), *_rates(measured.rates, edition)]
    if case.probability is not None and round(case.threshold, 4) != round(edition.threshold, 4):
        then = edition.word(decide(case.probability, threshold=case.threshold))
        sentences.append(edition.text("then", threshold=edition.number(case.threshold), decision=then))
    return sentences


def _certainty(case: CaseView, edition: Edition) -> list[str]:
    if case.certainty == CANNOT_TELL:
        return [edition.text("unsure")]
    if case.certainty in WORDS:
        return [edition.text("sure", decision=edition.word(case.certainty))]
    return []


def _record(case: CaseView, edition: Edition) -> list[str]:
    """What everybody must know who sees this case; empty for most."""
    sentences = []
    if case.refusal:
        key = "overruled" if case.overruled else "not judged because"
        sentences.append(edition.text(key, reason=translated(case.refusal, edition.language)))
    if case.corrections:
        done = (
            edition.text(CORRECTIONS[offer]) if offer in CORRECTIONS else offer for offer in case.corrections
        )
        sentences.append(edition.text("corrected", corrections=", ".join(done)))
    return sentences


def _about(case: CaseView, edition: Edition) -> str:
    """What is known of the film and the child, in one line; empty where nothing is."""
    parts = [edition.text("view", view=case.view)] if case.view else []
    if case.age is not None:
        parts.append(plural("years", case.age, edition.language))
    if case.sex in SEXES:
        parts.append(edition.text(SEXES[case.sex]))
    line = ", ".join(parts)
    return line[:1].upper() + line[1:]


def _version(case: CaseView, edition: Edition) -> str:
    created = edition.measured(case).created
    if created is None:
        return case.version
    made = day(created.astimezone(edition.zone), edition.language)
    return edition.text("version of", version=case.version, day=made)


def _agreement(cases: Iterable[CaseView], edition: Edition) -> str:
    """In how many cases decision and verdict are the same, of those where both say pneumonia or normal."""
    pairs = [
        (edition.decision(case), case.verdict)
        for case in cases
        if case.verdict in (PNEUMONIA, NORMAL) and case.probability is not None
    ]
    agree = sum(decision == verdict for decision, verdict in pairs)
    return plural("agreement", len(pairs), edition.language, agree=whole(agree, edition.language))


# --- where it stands

Facts = Sequence[tuple[str, Sequence[str]]]
"""Labels, and the lines that stand beside them."""


@dataclass(frozen=True)
class _Pictures:
    """The film and its map, and what stands below them or in their place; `wide` by `high` mm each."""

    film: Pixels | None
    map: Pixels | None
    captions: tuple[tuple[str, ...], ...]
    wide: float
    high: float

    @property
    def height(self) -> float:
        """Of all, mm."""
        if self.film is None:
            return 7 + sum(len(lines) for lines in self.captions) * line_height(8.5)
        return self.high + 1 + max(len(lines) for lines in self.captions) * line_height(8) + 3


class _Report(Paper):
    """The pages of one report."""

    def __init__(self, edition: Edition, *, title: str, pages: int = 0) -> None:
        super().__init__(title=title, language=edition.language, made=edition.made)
        self.edition = edition
        self.heading = title
        self.pages_in_all = pages

    def frame(self) -> float:
        """Head and foot of this page; gives where its content starts."""
        edition = self.edition
        self.put("Pneumoscope", LEFT, TOP, 9, bold=True)
        self.put(self.heading, LEFT, TOP, 9, align="R", width=WIDTH)
        self.rule(TOP + 5)
        self.rule(BOTTOM + 2)
        y = self.put(edition.text("assists"), LEFT, BOTTOM + 3.2, 8.5, bold=True)
        pages = edition.text("page", page=self.page_no(), pages=self.pages_in_all)
        self.put(pages, LEFT, BOTTOM + 3.2, 8.5, align="R", width=WIDTH)
        made = edition.text("made", when=edition.when(edition.made), who=edition.maker)
        self.put(self.one_line(made, WIDTH, 8), LEFT, y, 8)
        return TOP + 8

    def title_line(self, words: str, y: float) -> float:
        self.start_section(words)
        return self.put(self.one_line(words, WIDTH, 17, bold=True), LEFT, y, 17, bold=True)

    def limited(self, sentences: Sequence[str], width: float, size: float, most: int) -> list[str]:
        """The lines of sentences; what goes beyond `most` of them is cut off."""
        lines = self.wrapped([plain(sentence) for sentence in sentences], width, size)
        return lines if len(lines) <= most else [*lines[: most - 1], self.edition.text("cut")]

    def write_facts(self, facts: Facts, y: float, size: float) -> float:
        for label, lines in facts:
            self.rule(y)
            y += 0.8
            self.put(self.one_line(label, _LABELS - 2, size, bold=True), LEFT, y, size, bold=True)
            for line in lines:
                y = self.put(line, LEFT + _LABELS, y, size)
            y += 0.8
        return y

    # one case

    def case_page(self, case: CaseView, film: Pixels | None) -> None:
        edition = self.edition
        self.begin()
        y = self.frame()
        y = self.title_line(edition.text("case", pseudonym=case.pseudonym), y)
        read = edition.text("read", when=edition.when(case.created), who=edition.name(case.by))
        y = self.put(self.one_line(read, WIDTH, 9), LEFT, y, 9)
        if about := _about(case, edition):
            y = self.put(self.one_line(about, WIDTH, 9), LEFT, y, 9)
        y += 2.5

        film = None if film is None else _resized(film, FILM_SIDE)
        map_ = None if film is None else _map(film, case)
        for high, size in _SIZES:
            pictures = self.pictures(case, film, map_, high)
            facts = self.facts(case, size)
            note = self.wrapped([plain(case.note)], WIDTH - 8, size) if case.note else []
            verdict_top = y + pictures.height + _ANSWER + _facts_height(facts, size) + 1.5
            room = int((BOTTOM - verdict_top - _verdict_height(case, 0, size)) / line_height(size))
            if len(note) <= room:
                break
        else:
            note = [*note[: max(0, room - 1)], edition.text("cut")]
        self.write_pictures(pictures, y)
        y += pictures.height
        self.write_answer(case, y)
        self.write_facts(facts, y + _ANSWER, size)
        self.write_verdict(case, note, verdict_top, size)

    def pictures(self, case: CaseView, film: Pixels | None, map_: Pixels | None, high: float) -> _Pictures:
        edition = self.edition
        if film is None:
            words = [edition.text("film unreadable" if case.film else "film missing")]
            words += [] if case.heat is None else [edition.text("heat without film")]
            captions = tuple(tuple(self.wrapped([caption], WIDTH - 8, 8.5)) for caption in words)
            return _Pictures(None, None, captions, 0, 0)
        words = [edition.text("film")]
        if map_ is not None and case.heat is not None:
            levels = listed(
                [percent(level, edition.language, digits=0) for level in LEVELS], edition.language
            )
            scale = decimal(f"{scale_of(case.heat):.2f}", edition.language)
            words.append(edition.text("heat", levels=levels, scale=scale))
        elif case.heat is not None:
            words.append(edition.text("heat empty"))
        box = (WIDTH - _GAP) / 2 if len(words) > 1 else WIDTH
        height, width = film.shape
        factor = min(box / width, high / height)
        captions = tuple(tuple(self.wrapped([caption], box, 8)) for caption in words)
        return _Pictures(film, map_, captions, width * factor, height * factor)

    def write_pictures(self, pictures: _Pictures, y: float) -> None:
        if pictures.film is None:
            self.set_dash_pattern(dash=1.2, gap=1.2)
            self.rect(LEFT, y, WIDTH, pictures.height - 4)
            self.set_dash_pattern()
            y += 1.5
            for line in (line for lines in pictures.captions for line in lines):
                y = self.put(line, LEFT + 4, y, 8.5)
            return
        for number, caption in enumerate(pictures.captions):
            x = LEFT + number * (WIDTH + _GAP) / 2
            shown = pictures.map if number else pictures.film
            below = y
            if shown is not None:
                self.picture(shown, x, y, pictures.wide, pictures.high, words=" ".join(caption))
                below += pictures.high + 1
            for line in caption:
                below = self.put(line, x, below, 8)

    def write_answer(self, case: CaseView, y: float) -> None:
        """Probability, decision, and both on a bar from 0 to 1."""
        edition = self.edition
        decision = edition.decision(case)
        middle = LEFT + 66
        self.put(edition.text("probability"), LEFT, y, 8.5, grey=True)
        self.put(edition.probability(case), LEFT, y + 4.2, 25, bold=True)
        self.put(edition.text("decision"), middle, y, 8.5, grey=True)
        self.shape(decision, middle, y + 5.6, 8)
        self.put(edition.word(decision), middle + 11, y + 4.4, 15, bold=True)
        self.put(edition.text(_REASONS[decision]), middle + 11, y + 11, 8.5)

        y, high = y + 18.5, 4.0
        if case.probability is not None:
            self.set_fill_color(_BAR_GREY)
            self.rect(LEFT, y, WIDTH * case.probability, high, style="F")
            self.set_fill_color(0)
        self.rect(LEFT, y, WIDTH, high)
        x = LEFT + WIDTH * edition.threshold
        self.set_line_width(0.7)
        self.line(x, y - 2.2, x, y + high + 2.2)
        self.set_line_width(0.2)
        self.polygon([(x - 1.6, y - 3.6), (x + 1.6, y - 3.6), (x, y - 0.8)], style="F")
        y += high + 2.6
        label = f"{edition.text('threshold')} {edition.number(edition.threshold)}"
        self.face(8.5)
        width = self.get_string_width(label) + 1
        left = min(max(x - width / 2, LEFT), RIGHT - width)
        self.put(label, left, y, 8.5, width=width, align="C")
        if left > LEFT + 4:
            self.put("0", LEFT, y, 8.5)
        if left + width < RIGHT - 4:
            self.put("1", LEFT, y, 8.5, width=WIDTH, align="R")

    def facts(self, case: CaseView, size: float) -> Facts:
        edition = self.edition
        remarks = [translated(remark, edition.language) for remark in case.quality]
        rows = (
            ("threshold", _meaning(case, edition), 8),
            ("certainty", _certainty(case, edition), 2),
            ("record", _record(case, edition), 6),
            ("quality", remarks or [edition.text("quality fine")], 14),
            ("version", [_version(case, edition)], 2),
        )
        return [
            (edition.text(label), self.limited(sentences, WIDTH - _LABELS, size, most))
            for label, sentences, most in rows
            if sentences
        ]

    def write_verdict(self, case: CaseView, note: Sequence[str], y: float, size: float) -> None:
        edition = self.edition
        self.set_line_width(0.5)
        self.rect(LEFT, y, WIDTH, _verdict_height(case, len(note), size) - 2)
        self.set_line_width(0.2)
        x, y = LEFT + 4, y + 2
        self.put(edition.text("verdict"), x, y, 8.5, grey=True)
        if case.verdict in WORDS:
            self.shape(case.verdict, x, y + 5, 6.5)
            self.put(edition.word(case.verdict), x + 9, y + 4.6, 13, bold=True)
        else:
            self.put(edition.text("no verdict"), x, y + 4.6, 11)
        if case.verdict_by is not None and case.verdict_at is not None:
            who, when = edition.name(case.verdict_by), edition.when(case.verdict_at)
            line = self.one_line(edition.text("verdict by", who=who, when=when), 104, 8.5)
            self.put(line, RIGHT - 108, y + 5.6, 8.5, align="R", width=104)
        elif _to_be_signed(case):
            self.line(RIGHT - 84, y + 12.5, RIGHT - 4, y + 12.5)
            self.put(edition.text("signature"), RIGHT - 84, y + 13, 8)
        y += 12.5
        for line in note:
            y = self.put(line, x, y, size)

    # several cases

    def summary(self, cases: Sequence[CaseView], chosen: Sequence[str]) -> None:
        """The pages in front: what was chosen, counts, and on which page each case stands."""
        edition = self.edition
        self.begin()  # what follows is measured on it
        facts = self.summary_facts(cases, chosen)
        agreement = self.wrapped([_agreement(cases, edition)], WIDTH, 9)
        facts_top = TOP + 8 + line_height(17) + 3
        counts_top = facts_top + _facts_height(facts, 9) + 3
        agreement_top = counts_top + 5 * _ROW + 2
        list_top = agreement_top + len(agreement) * line_height(9) + 3
        first = max(0, int((BOTTOM - list_top) / _ROW) - 1)
        later = int((BOTTOM - TOP - 10) / _ROW) - 1
        parts = [cases[:first], *(cases[at : at + later] for at in range(first, len(cases), later))]
        self.pages_in_all = len(parts) + len(cases)

        y = self.frame()
        self.title_line(plural("cases", len(cases), edition.language), y)
        self.write_facts(facts, facts_top, 9)
        self.write_counts(cases, counts_top)
        for line in agreement:
            agreement_top = self.put(line, LEFT, agreement_top, 9)
        page = len(parts)
        for number, part in enumerate(parts):
            if number:
                self.begin()
                list_top = self.frame() + 2
            self.write_list(part, list_top, first_page=page + 1)
            page += len(part)

    def summary_facts(self, cases: Sequence[CaseView], chosen: Sequence[str]) -> Facts:
        edition = self.edition
        versions = list({case.network: case for case in cases}.values())
        threshold = [_threshold(edition.measured(cases[0]).point, edition), edition.text("thresholds")]
        rows = [
            (edition.text("chosen"), list(chosen) or [edition.text("all cases")], 10),
            (edition.text("threshold"), threshold, 3),
        ]
        for case in versions[:_VERSIONS_IN_FRONT]:
            rows.append((case.version, _rates(edition.measured(case).rates, edition), 4))
        return [(label, self.limited(sentences, WIDTH - _LABELS, 9, most)) for label, sentences, most in rows]

    def write_counts(self, cases: Iterable[CaseView], y: float) -> None:
        """How many cases have which decision and which verdict."""
        edition = self.edition
        counts = Counter((edition.decision(case), case.verdict) for case in cases)
        verdicts = (PNEUMONIA, NORMAL, CANNOT_TELL, None)
        heads = [edition.word(verdict) if verdict else edition.text("open") for verdict in verdicts]
        rows = [[edition.text("decision"), *heads, edition.text("total")]]
        for decision in (PNEUMONIA, NORMAL, NOT_JUDGED, None):
            found = [
                sum(
                    count
                    for (one, other), count in counts.items()
                    if decision in (one, None) and other == verdict
                )
                for verdict in verdicts
            ]
            name = edition.word(decision) if decision else edition.text("total")
            rows.append([name, *(whole(count, edition.language) for count in (*found, sum(found)))])
        for number, row in enumerate(rows):
            self.rule(y)
            x = LEFT
            for column, (cell, width) in enumerate(zip(row, _COUNTS, strict=True)):
                bold = column == 0 or number in (0, len(rows) - 1)
                words = self.one_line(cell, width - 1, 8.5, bold=bold)
                self.put(words, x, y + 0.8, 8.5, bold=bold, width=width, align="R" if column else "L")
                x += width
            y += _ROW
        self.rule(y)

    def write_list(self, cases: Sequence[CaseView], y: float, *, first_page: int) -> None:
        """One row a case, with the page it stands on."""
        edition = self.edition
        for head, x, width, align in _LIST:
            words = self.one_line(edition.text(head), width, 8.5, bold=True)
            self.put(words, x, y + 0.8, 8.5, bold=True, width=width, align=align)
        for page, case in enumerate(cases, start=first_page):
            y += _ROW
            self.rule(y)
            decision = edition.decision(case)
            marks = {"decision": decision, "verdict": case.verdict}
            cells = (
                case.pseudonym,
                short_moment(case.created, edition.language, zone=edition.zone),
                edition.probability(case),
                edition.word(decision),
                edition.word(case.verdict) if case.verdict in WORDS else "–",
                whole(page, edition.language),
            )
            for (head, x, width, align), cell in zip(_LIST, cells, strict=True):
                inset = 0.0
                if (mark := marks.get(head)) is not None:
                    self.shape(mark, x, y + 1.1, 3.2)
                    inset = 5.0
                words = self.one_line(cell, width - inset, 8.5)
                self.put(words, x + inset, y + 0.8, 8.5, width=width - inset, align=align)
        self.rule(y + _ROW)


def _facts_height(facts: Facts, size: float) -> float:
    return sum(len(lines) * line_height(size) + 1.6 for _, lines in facts)


def _to_be_signed(case: CaseView) -> bool:
    """Whether there is nothing yet, so that the page leaves room for a pen."""
    return case.verdict is None and not case.note


def _verdict_height(case: CaseView, lines: int, size: float) -> float:
    return 22.0 if _to_be_signed(case) else 19.0 + lines * line_height(size)


def _resized(film: Pixels, side: int) -> Pixels:
    """A film with `side` pixels at most."""
    image = Image.fromarray(film)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _map(film: Pixels, case: CaseView) -> Pixels | None:
    """The film with contour lines; None where there is no map, or nothing on it."""
    if case.heat is None or is_nothing(case.heat):
        return None
    factor = _MAP_SIDE / min(film.shape)
    height, width = (round(side * factor) for side in film.shape)
    resized = Image.fromarray(film).resize((width, height), Image.Resampling.BICUBIC)
    return drawn(np.asarray(resized), case.heat, opacity=1.0, style="Contours", line_width=_MAP_LINE)
