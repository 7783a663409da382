"""Reports are read back with PDFium: what stands on each page, where, in which fonts, and what does not."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pypdfium2 as pdfium
import pytest
from numpy.typing import NDArray
from pypdfium2 import raw

from model.evaluation import operating_rates
from tests.model.chest_films import chest_film
from utils.case_report import Edition, Measured, case_pdf, cases_pdf
from utils.cases import CaseView
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA
from utils.paper import BOTTOM, LEFT, RIGHT, TOP, plain

READ = datetime(2026, 3, 1, 9, 7, tzinfo=UTC)
NETWORK = "a" * 64
HEAT = np.zeros((7, 7), dtype=np.float32)
HEAT[4, 2] = 2.5
LABELS = [1] * 8 + [0] * 8
PROBABILITIES = [0.9] * 7 + [0.1] + [0.1] * 6 + [0.9] * 2  # at 0.37: sensitivity 7 of 8, specificity 6 of 8
ENGLISH = Edition(
    language="en",
    threshold=0.37,
    maker="Dr. Anna Weber",
    made=datetime(2026, 11, 21, 22, 40, tzinfo=UTC),
    zone=ZoneInfo("Europe/Berlin"),
    versions={
        NETWORK: Measured(
            datetime(2026, 2, 3, tzinfo=UTC), "balanced", operating_rates(LABELS, PROBABILITIES, 0.37)
        )
    },
    names={"weber": "Dr. Anna Weber", "kurz": "Jürgen Kurz"},
)
GERMAN = replace(ENGLISH, language="de")
DARK = "The film is very dark: check the exposure or the window it was exported with."


def case(**values: Any) -> CaseView:
    usual: dict[str, Any] = {
        "pseudonym": "K7M2-QX4D",
        "patient": "secret-patient",
        "image": "f" * 64,
        "created": READ,
        "by": "kurz",
        "version": "vgg16-test",
        "network": NETWORK,
        "probability": 0.87312,
        "threshold": 0.37,
        "certainty": PNEUMONIA,
        "refusal": "",
        "overruled": False,
        "corrections": (),
        "quality": (),
        "done": (),
        "view": "PA",
        "age": 4,
        "sex": "F",
        "pooled": None,
        "heat": None,
        "film": True,
        "verdict": None,
        "note": "",
        "verdict_by": None,
        "verdict_at": None,
        "revision": 1,
        "readings": (),
        "changes": (),
    }
    return CaseView(**usual | values)


JUDGED: dict[str, Any] = {
    "verdict": PNEUMONIA,
    "verdict_by": "weber",
    "verdict_at": READ + timedelta(hours=2),
    "note": "Verschattung im rechten Unterfeld, größer als zuvor. Heart size normal.",
}


class Thing(NamedTuple):
    """Something on a page: its kind in PDFium, and its edges in mm from the top left corner."""

    kind: int
    left: float
    top: float
    right: float
    bottom: float


@contextmanager
def opened(pdf: bytes) -> Iterator[pdfium.PdfDocument]:
    document = pdfium.PdfDocument(pdf)
    try:
        yield document
    finally:
        document.close()


def words_of(pdf: bytes, page: int = 0) -> str:
    """The text of a page, as a search finds it: without ends of lines."""
    with opened(pdf) as document:
        return " ".join(document[page].get_textpage().get_text_range().split()).replace("\xa0", " ")


def things_on(page: pdfium.PdfPage) -> list[Thing]:
    mm = 25.4 / 72
    found = []
    for thing in page.get_objects():
        left, bottom, right, top = (edge * mm for edge in thing.get_bounds())
        found.append(Thing(thing.type, left, 297 - top, right, 297 - bottom))
    return found


def no_film(_: CaseView) -> None:
    return None


@pytest.fixture(scope="module")
def film() -> NDArray[np.uint8]:
    return chest_film(height=256, width=320)


@pytest.fixture(scope="module")
def english(film: NDArray[np.uint8]) -> bytes:
    return case_pdf(case(heat=HEAT, quality=(DARK,), **JUDGED), film=film, edition=ENGLISH)


@pytest.fixture(scope="module")
def german(film: NDArray[np.uint8]) -> bytes:
    told = case(
        heat=HEAT,
        quality=(DARK,),
        corrections=("invert", "turn-90"),
        certainty=CANNOT_TELL,
        **JUDGED,
    )
    return case_pdf(told, film=film, edition=GERMAN)


def test_a_page_tells_all_there_is_to_tell(english: bytes) -> None:
    words = words_of(english)
    for told in (
        "Case K7M2-QX4D",
        "Read 1 March 2026, 10:07 CET by Jürgen Kurz",
        "View PA, 4 years old, female",
        "What speaks for pneumonia: lines at 25 %, 50 % and 75 % of 2.50 log-odds",
        "Probability of pneumonia",
        "0.873",
        "PNEUMONIA flagged: the probability is at or above the threshold",
        "0.370 (operating point “balanced”).",
        "At this threshold 88 of 100 pneumonias and 25 of 100 healthy children are flagged, measured on the test set.",
        "Sensitivity 87.5 % (52.9 to 97.8 %), specificity 75.0 % (40.9 to 92.9 %), with 95 % intervals.",
        "PNEUMONIA: the network was sure at the error rate asked for.",
        DARK,
        "vgg16-test, of 3 February 2026",
        "1 March 2026, 12:07 CET, Dr. Anna Weber",
        "Verschattung im rechten Unterfeld, größer als zuvor. Heart size normal.",
        "Pneumoscope assists. A professional gives the verdict.",
        "Page 1 of 1",
        "Report made 21 November 2026, 23:40 CET by Dr. Anna Weber",
    ):
        assert told in words


def test_the_same_page_in_german(german: bytes) -> None:
    words = words_of(german)
    for told in (
        "Fall K7M2-QX4D",
        "Ausgewertet 1. März 2026, 10:07 Uhr CET von Jürgen Kurz",
        "Aufnahmerichtung PA, 4 Jahre alt, weiblich",
        "Linien bei 25 %, 50 % und 75 % von 2,50 Log-Odds",
        "Wahrscheinlichkeit einer Pneumonie",
        "0,873",
        "PNEUMONIE markiert: Die Wahrscheinlichkeit erreicht den Schwellenwert",
        "0,370 (Arbeitspunkt „balanced“).",
        "88 von 100 Pneumonien und 25 von 100 gesunden Kindern markiert",
        "Sensitivität 87,5 % (52,9 bis 97,8 %), Spezifität 75,0 % (40,9 bis 92,9 %)",
        "NICHT ENTSCHEIDBAR: Bei der gewählten Fehlerrate kommt beides in Frage.",
        "Vor der Auswertung auf Wunsch korrigiert: invertiert, um 90° nach rechts gedreht.",
        "Die Aufnahme ist sehr dunkel: Belichtung oder Fenster beim Export prüfen.",
        "vgg16-test, vom 3. Februar 2026",
        "1. März 2026, 12:07 Uhr CET, Dr. Anna Weber",
        "Den Befund erstellt eine Fachperson.",
        "Seite 1 von 1",
    ):
        assert told in words
    for english_word in (" the ", "threshold", "flagged", "Film", "Verdict", "Read"):
        assert english_word not in words


def test_one_page_with_film_and_map_beside_each_other(english: bytes) -> None:
    with opened(english) as document:
        assert len(document) == 1
        assert document[0].get_size() == pytest.approx((595.28, 841.89), abs=0.1)
        pictures = [thing for thing in things_on(document[0]) if thing.kind == raw.FPDF_PAGEOBJ_IMAGE]
    assert len(pictures) == 2
    for picture in pictures:
        assert (picture.right - picture.left) / (picture.bottom - picture.top) == pytest.approx(
            320 / 256, abs=0.01
        )
    left, right = sorted(pictures, key=lambda picture: picture.left)
    assert left.right < right.left and left.top == right.top


def test_every_letter_has_its_font_in_the_file(german: bytes) -> None:
    names = set()
    with opened(german) as document:
        for thing in document[0].get_objects([raw.FPDF_PAGEOBJ_TEXT]):
            font = raw.FPDFTextObj_GetFont(thing.raw)
            assert raw.FPDFFont_GetIsEmbedded(font) == 1
            name = ctypes.create_string_buffer(100)
            raw.FPDFFont_GetBaseFontName(font, name, 100)
            names.add(name.value.decode())
    assert len(names) == 2 and all("DejaVuSansCondensed" in name for name in names)


def test_the_file_says_what_it_is_and_names_nobody(english: bytes) -> None:
    assert b"<pdfaid:part>2</pdfaid:part>" in english
    start = english.index(b"<x:xmpmeta")
    metadata = english[start : english.index(b"</x:xmpmeta>", start)].decode()
    assert "Reading of a chest X-ray" in metadata and "2026-11-21T22:40:00+00:00" in metadata
    with opened(english) as document:
        told = metadata + repr(document.get_metadata_dict())
    for secret in ("Weber", "Kurz", "K7M2", "secret-patient", "f" * 64):
        assert secret not in told
    assert "secret-patient" not in words_of(english)


def test_the_same_report_is_the_same_file(film: NDArray[np.uint8], english: bytes) -> None:
    again = case_pdf(case(heat=HEAT, quality=(DARK,), **JUDGED), film=film.copy(), edition=ENGLISH)
    assert again == english
    later = replace(ENGLISH, made=ENGLISH.made + timedelta(seconds=1))
    assert case_pdf(case(heat=HEAT, quality=(DARK,), **JUDGED), film=film, edition=later) != english


def test_a_page_without_film_has_no_colour_and_says_so() -> None:
    pdf = case_pdf(case(film=False, heat=HEAT, **JUDGED), film=None, edition=ENGLISH)
    assert "The film is not kept with this case, so this report shows none." in words_of(pdf)
    assert "A heat map is kept; without the film it cannot be drawn." in words_of(pdf)
    with opened(pdf) as document:
        assert not [thing for thing in things_on(document[0]) if thing.kind == raw.FPDF_PAGEOBJ_IMAGE]
        pixels = document[0].render(scale=1).to_numpy()
    assert (pixels.max(axis=2) == pixels.min(axis=2)).all()
    assert pixels.min() == 0


def test_a_film_that_is_kept_and_cannot_be_shown_is_no_film_that_is_not_kept() -> None:
    words = words_of(case_pdf(case(), film=None, edition=ENGLISH))
    assert "could not be shown when this report was made" in words
    assert "is not kept" not in words


def test_an_empty_map_is_said_and_not_drawn(film: NDArray[np.uint8]) -> None:
    pdf = case_pdf(case(heat=np.zeros((7, 7), dtype=np.float32)), film=film, edition=ENGLISH)
    assert "Heat map: no place on this film speaks for pneumonia." in words_of(pdf)
    with opened(pdf) as document:
        things = things_on(document[0])
    assert sum(thing.kind == raw.FPDF_PAGEOBJ_IMAGE for thing in things) == 1


def test_what_is_not_judged_has_no_probability() -> None:
    told = case(
        probability=None, certainty="", refusal="The picture is almost blank: choose the X-ray itself."
    )
    words = words_of(case_pdf(told, film=None, edition=GERMAN))
    assert "– Entscheidung NICHT BEURTEILT" in words
    assert "Nicht beurteilt: Das Bild ist fast leer: die Röntgenaufnahme selbst wählen." in words
    assert "Noch kein Befund. Datum, Unterschrift" in words
    overruled = replace(told, probability=0.2, overruled=True)
    words = words_of(case_pdf(overruled, film=None, edition=GERMAN))
    assert "Zuerst abgelehnt und auf Wunsch dennoch ausgewertet: Das Bild ist fast leer" in words


@pytest.mark.parametrize(
    ("probability", "threshold", "decision"),
    [(0.37, 0.37, "PNEUMONIA flagged:"), (np.nextafter(0.37, 0), 0.37, "NORMAL not flagged:")],
)
def test_the_decision_is_the_one_at_the_threshold(
    probability: float, threshold: float, decision: str
) -> None:
    edition = replace(ENGLISH, threshold=threshold)
    assert decision in words_of(case_pdf(case(probability=probability), film=None, edition=edition))


def test_another_threshold_than_when_it_was_read_is_said() -> None:
    words = words_of(case_pdf(case(probability=0.4, threshold=0.5), film=None, edition=ENGLISH))
    assert "When it was read, the threshold was 0.500: NORMAL." in words
    words = words_of(case_pdf(case(probability=0.4), film=None, edition=ENGLISH))
    assert "When it was read, the threshold" not in words


def test_a_version_that_is_not_at_hand_leaves_the_rates_open() -> None:
    words = words_of(case_pdf(case(network="b" * 64), film=None, edition=ENGLISH))
    assert "0.370 (set by hand)." in words
    assert "What this threshold costs and gains is not known" in words


LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmütze"
HOSTILE = {
    "unbroken": (LONG * 90)[:4000],
    "many lines": "a\n" * 500,
    "long": "Ein langer Satz über diese Aufnahme, der nichts Neues sagt. " * 65 + "Ende gut.",
    "control": "Before\x00\x07\x1b[31m after\ttab\r\nnext\x0bline\u2028end",
    "direction": "abc \u202egnirts\u202c \u2066x\u2069 שלום עולם 12 مرحبا",
    "emoji": "lungs \U0001fac1 family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1e9\U0001f1ea",
    "alias": "{nb} {page} {0} <b>bold</b> **bold** __x__ [a](b) \\n %s",
    "marks": "Z" + "\u0301\u0316" * 300,
    "surrogate": "half \ud83e of a pair \uffff \ue000",
    "scripts": "Ελληνικά Русский 中文 हिन्दी ไทย Tiếng Việt ﷽",
}


@pytest.fixture(scope="module")
def hostile() -> bytes:
    listed = [
        case(
            **JUDGED | {"note": note, "verdict_by": note, "by": note},
            version=note[:200],
            refusal=note,
            overruled=True,
            quality=(note[:500], DARK),
            corrections=("no such thing",),
        )
        for note in HOSTILE.values()
    ]
    edition = replace(GERMAN, maker=HOSTILE["unbroken"])
    return cases_pdf(listed, film_of=no_film, edition=edition, chosen=list(HOSTILE.values()))


def test_nothing_that_people_write_leaves_its_place(hostile: bytes) -> None:
    with opened(hostile) as document:
        assert len(document) == 1 + len(HOSTILE)
        for page in document:
            for thing in things_on(page):
                assert thing.left > LEFT - 3 and thing.right < RIGHT + 3
                assert thing.top > TOP - 1 and thing.bottom < 290
            foot = [thing for thing in things_on(page) if thing.bottom > BOTTOM + 2.5]
            assert {thing.kind for thing in foot} == {raw.FPDF_PAGEOBJ_TEXT}
            assert len(foot) == 3  # who assists, the page, the maker


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unbroken", LONG[:30]),
        ("many lines", "[gekürzt: Der ganze Text steht beim Fall]"),
        ("control", "Before[31m after tab next line end"),
        ("emoji", "family \N{REPLACEMENT CHARACTER}"),
        ("alias", "{nb} {page} {0} <b>bold</b> **bold** __x__ [a](b) \\n %s"),
        ("scripts", "Ελληνικά Русский \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_people_write_is_set_as_it_is(hostile: bytes, name: str, told: str) -> None:
    assert told in words_of(hostile, 1 + list(HOSTILE).index(name))


def test_a_note_as_long_as_they_may_be_stands_there_whole(film: NDArray[np.uint8]) -> None:
    note = HOSTILE["long"]
    assert 3800 < len(note) <= 4000
    words = words_of(
        case_pdf(case(heat=HEAT, quality=(DARK,) * 3, **JUDGED | {"note": note}), film=film, edition=ENGLISH)
    )
    assert "Ende gut." in words and "shortened" not in words


def test_plain_keeps_what_can_be_set() -> None:
    assert plain("Größe ≥ 5 cm\n\n\n\nΩ") == "Größe ≥ 5 cm\n\nΩ"
    assert plain("a\u202eb\u200fc\ufeff\x00d") == "abcd"
    assert plain("e\u0301") == "é"
    assert plain("a\tb\u2003c\xa0d") == "a b c\xa0d"
    assert plain("\U0001fac1中") == "\N{REPLACEMENT CHARACTER}" * 2
    assert plain("") == ""


def test_no_word_of_a_note_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        case_pdf(case(**JUDGED | {"note": "Ж \U0001fac1"}), film=None, edition=ENGLISH)
    assert caplog.text == ""


@pytest.fixture(scope="module")
def several() -> tuple[bytes, list[CaseView]]:
    verdicts = (None, NORMAL, PNEUMONIA, CANNOT_TELL)
    listed = [
        case(
            pseudonym=f"CASE-{number:04d}",
            probability=None if number == 5 else number / 40,
            verdict=verdicts[number % 4],
            verdict_by=None if number % 4 == 0 else "weber",
            verdict_at=None if number % 4 == 0 else READ,
        )
        for number in range(40)
    ]
    return cases_pdf(listed, film_of=no_film, edition=GERMAN, chosen=["Befund: noch keiner"]), listed


def test_the_summary_counts(several: tuple[bytes, list[CaseView]]) -> None:
    """Of numbers 0 to 39 at 0.37 (14.8 of 40), 15 to 39 are flagged and 5 is not judged, one of four each verdict."""
    words = words_of(several[0])
    assert "40 Fälle" in words and "Befund: noch keiner" in words
    assert "PNEUMONIE NORMAL NICHT ENTSCHEIDBAR Ohne Befund Gesamt" in words
    assert "PNEUMONIE 6 6 7 6 25" in words
    assert "NORMAL 4 3 3 4 14" in words
    assert "NICHT BEURTEILT 0 1 0 0 1" in words
    assert "Gesamt 10 10 10 10 40" in words
    # both pneumonia: 18 to 38 by four, 6; both normal: 1, 9, 13; of 6 + 6 + 4 + 3 with both
    assert (
        "Bei 19 Fällen mit Entscheidung und einem Befund Pneumonie oder Normal stimmen beide in 9 überein."
        in words
    )


def test_the_summary_says_where_each_case_stands(several: tuple[bytes, list[CaseView]]) -> None:
    pdf, listed = several
    with opened(pdf) as document:
        in_front = len(document) - len(listed)
        assert in_front == 2
        bookmarks = {mark.get_title(): mark.get_dest().get_index() for mark in document.get_toc()}
    rows = dict(
        re.findall(r"(CASE-\d{4}) .*?(\d+)(?= CASE|$| Pneumoscope)", f"{words_of(pdf, 0)} {words_of(pdf, 1)}")
    )
    assert len(rows) == len(listed)
    for number, each in enumerate(listed):
        page = in_front + number
        assert bookmarks[f"Fall {each.pseudonym}"] == page
        assert int(rows[each.pseudonym]) == page + 1
    last = words_of(pdf, len(listed) + in_front - 1)
    assert "Fall CASE-0039" in last and "Seite 42 von 42" in last


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a case"):
        cases_pdf([], film_of=no_film, edition=ENGLISH)
