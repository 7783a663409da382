"""Both languages say everything, no text is there for nothing, numbers and dates are written as each language does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from model.films import DicomFacts, Source, XRay
from model.quality import remarks
from tests.model.chest_films import chest_film
from utils import texts
from utils.case_report import CORRECTIONS
from utils.readings import OFFERS
from utils.texts import LANGUAGES, SENTENCES, TEXTS, Language, Text, placeholders, plural, text, translated

PROJECT = Path(__file__).resolve().parents[2]
USERS = [PROJECT / "utils" / f"{name}.py" for name in ("case_report", "decisions", "reporting", "texts")]
"""The modules that ask for texts."""


def strings(tree: ast.AST) -> Iterator[str]:
    """All texts in a program but its docstrings."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def asked() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Where a text is asked for by its name: the function, the key, the values given."""
    for path in USERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            keys = [
                value for value in strings(node.args[0]) if isinstance(node.args[0], ast.Constant | ast.IfExp)
            ]
            if name in ("text", "plural", "say"):
                given = frozenset(keyword.arg for keyword in node.keywords if keyword.arg is not None)
                yield from ((name, key, given) for key in keys)


def test_both_languages_have_every_text_with_the_same_values_to_fill_in() -> None:
    assert set(LANGUAGES) == set(get_args(Language)) == set(Text._fields)
    for key, row in [*TEXTS.items(), *((sentence.en, sentence) for sentence in SENTENCES)]:
        assert all(template.strip() for template in row), key
        assert len({placeholders(template) for template in row}) == 1, key


def test_every_text_that_is_asked_for_is_there_and_gets_its_values() -> None:
    found = list(asked())
    assert len(found) > 50
    for function, key, given in found:
        if function == "plural":
            assert {f"{key}.one", f"{key}.other"} <= set(TEXTS)
            given |= {"count"}
            key = f"{key}.other"
        assert key in TEXTS
        assert placeholders(TEXTS[key].en) <= given, key


def test_no_text_is_there_for_nothing() -> None:
    said = {value for path in USERS[:3] for value in strings(ast.parse(path.read_text(encoding="utf-8")))}
    said |= {key for function, key, _ in asked() if function in ("text", "plural")}
    unused = {key for key in TEXTS if key.removesuffix(".one").removesuffix(".other") not in said}
    assert not unused


def said_by(module: str, **values: tuple[str, ...]) -> set[str]:
    """The sentences that a module of the model floor can say, with braces for what it fills in.

    Args:
        module: its file in `model`.
        values: what a name in its sentences can stand for.
    """
    tree = ast.parse((PROJECT / "model" / f"{module}.py").read_text(encoding="utf-8"))
    raised = {
        id(node) for error in ast.walk(tree) if isinstance(error, ast.Raise) for node in ast.walk(error)
    }
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and id(node) not in raised]
    parts = {id(part) for node in whole for part in ast.walk(node) if part is not node}
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    templates: list[list[tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if id(node) in raised | parts | documentation:
            continue
        if isinstance(node, ast.JoinedStr):
            templates.append(
                [
                    (str(value.value),)
                    if isinstance(value, ast.Constant)
                    else values.get(ast.unparse(value.value), ("{}",))
                    for value in node.values
                    if isinstance(value, ast.Constant | ast.FormattedValue)
                ]
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            templates.append([(node.value,)])
    sentences = {"".join(chosen) for template in templates for chosen in product(*template)}
    return {sentence for sentence in sentences if re.fullmatch(r"[A-Z].* .*\.", sentence)}


def test_every_sentence_of_the_model_floor_can_be_said_in_both_languages() -> None:
    exposure = "check the exposure or the window it was exported with."
    said = said_by("quality", exposure=(exposure,), way=("right", "left"))
    said |= said_by("domain", _OTHERWISE=("choose the X-ray itself",))
    assert len(said) > 20
    # What stands beside "%" is a format in the source.
    assert {re.sub(r"{\w+}%?", "{}", sentence.en) for sentence in SENTENCES} == said


def test_a_remark_is_translated_with_its_numbers() -> None:
    facts = DicomFacts(view="LL", age=70, frames=3, frame=2, burned_in=True)
    film = np.ascontiguousarray(np.rot90(chest_film(height=200, width=600)))
    found = remarks(XRay(film, Source("DICOM", 200, 600, 8, "MONOCHROME2", dicom=facts)))
    german = {remark.code: translated(remark.message, "de") for remark in found}
    assert "Das Alter ist 70, und" in german["age"]
    assert "Aufnahmerichtung LL, und" in german["view"]
    assert "enthält 3 Bilder, ausgewertet wurde Bild 2:" in german["frames"]
    assert "nur 200 x 600 Bildpunkte" in german["too-small"] and "mindestens 224" in german["too-small"]
    for remark in found:
        assert german[remark.code] != remark.message
        assert translated(remark.message, "en") == remark.message
    assert translated("Said by an older version.", "de") == "Said by an older version."


def test_corrections_are_called_as_on_the_screen() -> None:
    assert {offer: words for offer, (_, words) in OFFERS.items()} == {
        offer: text(key, "en") for offer, key in CORRECTIONS.items()
    }


@pytest.mark.parametrize(
    ("count", "english", "german"),
    [
        (0, "0 cases", "0 Fälle"),
        (1, "1 case", "1 Fall"),
        (2, "2 cases", "2 Fälle"),
        (12345, "12,345 cases", "12.345 Fälle"),
    ],
)
def test_plurals(count: int, english: str, german: str) -> None:
    assert plural("cases", count, "en") == english
    assert plural("cases", count, "de") == german


def test_numbers_and_days() -> None:
    assert texts.decimal("0.873", "en") == "0.873"
    assert texts.decimal(">0.999", "de") == ">0,999"
    assert texts.percent(0.9744, "en") == "97.4\N{NO-BREAK SPACE}%"
    assert texts.percent(0.25, "de", digits=0) == "25\N{NO-BREAK SPACE}%"
    assert texts.percent(0.9744, "de") == "97,4\N{NO-BREAK SPACE}%"
    assert texts.day(date(2026, 3, 1), "en") == "1 March 2026"
    assert texts.day(date(2026, 3, 1), "de") == "1. März 2026"
    assert texts.listed(["a", "b", "c"], "de") == "a, b und c"
    assert texts.listed(["a"], "en") == "a"


@pytest.mark.parametrize(
    ("when", "zone", "english", "german"),
    [
        ((2026, 1, 31, 23, 30), "UTC", "31 January 2026, 23:30~UTC", "31. Januar 2026, 23:30 Uhr~UTC"),
        (
            (2026, 1, 31, 23, 30),
            "Europe/Berlin",
            "1 February 2026, 00:30~CET",
            "1. Februar 2026, 00:30 Uhr~CET",
        ),
        ((2026, 7, 1, 8, 5), "Europe/Berlin", "1 July 2026, 10:05~CEST", "1. Juli 2026, 10:05 Uhr~CEST"),
        ((2026, 7, 1, 8, 5), "Asia/Kolkata", "1 July 2026, 13:35~IST", "1. Juli 2026, 13:35 Uhr~IST"),
        (
            (2026, 7, 1, 8, 5),
            "America/Sao_Paulo",
            "1 July 2026, 05:05~UTC-03:00",
            "1. Juli 2026, 05:05 Uhr~UTC-03:00",
        ),
    ],
)
def test_moments_are_told_in_the_readers_zone(
    when: tuple[int, int, int, int, int], zone: str, english: str, german: str
) -> None:
    moment = datetime(*when, tzinfo=UTC)
    fixed = "\N{NO-BREAK SPACE}"
    assert texts.moment(moment, "en", zone=ZoneInfo(zone)) == english.replace("~", fixed)
    assert texts.moment(moment, "de", zone=ZoneInfo(zone)) == german.replace("~", fixed)


def test_short_moments() -> None:
    moment = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)
    assert texts.short_moment(moment, "en") == "01/03/2026 09:05"
    assert texts.short_moment(moment, "de") == "01.03.2026 09:05"


@pytest.mark.parametrize(
    ("code", "language"),
    [("de", "de"), ("de-AT", "de"), ("DE", "de"), ("en-GB", "en"), ("fr", "en"), ("", "en"), (None, "en")],
)
def test_a_browsers_language_is_ours_or_english(code: str | None, language: Language) -> None:
    assert texts.known(code) == language
