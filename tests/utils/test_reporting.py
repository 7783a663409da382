"""A report is made from the cases as they are, by whoever may, and is a line of the audit trail."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pypdfium2 as pdfium
import pytest

from tests.cases import add_cases, picture, pseudonym
from utils import audit_trail, cases, film_store, reporting
from utils.database import transaction
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA
from utils.permissions import Forbidden, Person, Role
from utils.reporting import NothingToReport
from utils.tables import Account
from utils.worklist import GIVEN, OPEN, Filter, Sort

CLARA = Person("clara", "Dr. Clara Weiß", frozenset({Role.CLINICIAN}))
TINA = Person("tina", "Tina", frozenset({Role.TECHNICIAN}))
ADA = Person("ada", "Ada", frozenset({Role.ADMIN}))
T = 0.5


@pytest.fixture(autouse=True)
def _filled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    add_cases(
        {"probability": 0.9, "verdict": PNEUMONIA, "note": "Größer.", "pixels": picture(1)},
        {"probability": 0.2},
        {"probability": 0.7, "verdict": NORMAL, "certainty": CANNOT_TELL},
    )
    with transaction() as session:
        session.add(
            Account(
                name="tina",
                title="Tina Töpfer",
                roles=["technician"],
                created=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )


def pages_of(pdf: bytes) -> list[str]:
    document = pdfium.PdfDocument(pdf)
    try:
        return [" ".join(page.get_textpage().get_text_range().split()) for page in document]
    finally:
        document.close()


def lines() -> list[audit_trail.Line]:
    return [line for line in audit_trail.search().lines if line.event == "report"]


def test_one_case_as_it_is_now() -> None:
    case = cases.open_case(pseudonym(2), who=CLARA)
    cases.give_verdict(case.pseudonym, revision=case.revision, verdict=NORMAL, note="Frei.", who=CLARA)
    report = reporting.of_case(pseudonym(2), language="de", threshold=T, who=CLARA)
    (page,) = pages_of(report.pdf)
    for told in (
        f"Fall {pseudonym(2)}",
        "Frei.",
        "von Tina Töpfer",
        "Dr. Clara Weiß",
        "keine Aufnahme aufbewahrt",
    ):
        assert told in page
    assert (report.cases, report.films_missing) == (1, 0)
    (line,) = lines()
    assert (line.who, line.subject) == ("clara", pseudonym(2))
    assert line.after == {"language": "de", "threshold": T, "version": "first"}
    assert "Frei" not in str(line)


def test_a_list_in_its_order_with_what_it_was_chosen_by() -> None:
    wanted = Filter(verdict=GIVEN, since=date(2026, 1, 6), cannot_tell=False)
    steps: list[tuple[int, int]] = []
    report = reporting.of_list(
        wanted,
        Sort.LIKELIEST,
        language="en",
        threshold=T,
        who=CLARA,
        progress=lambda *step: steps.append(step),
    )
    front, *pages = pages_of(report.pdf)
    assert "2 cases" in front and "Verdict: given First read from 6 January 2026 on" in front
    assert [f"Case {pseudonym(number)}" in page for number, page in zip((1, 3), pages, strict=True)] == [
        True,
        True,
    ]
    assert steps == [(1, 2), (2, 2)]
    (line,) = lines()
    assert line.after == {
        "cases": 2,
        "as": "PDF",
        "language": "en",
        "threshold": T,
        "verdict": GIVEN,
        "since": "2026-01-06",
    }


@pytest.mark.parametrize("who", [TINA, ADA])
def test_only_a_clinician_makes_reports(who: Person) -> None:
    with pytest.raises(Forbidden):
        reporting.of_case(pseudonym(2), language="en", threshold=T, who=who)
    with pytest.raises(Forbidden):
        reporting.of_list(Filter(), Sort.OLDEST, language="en", threshold=T, who=who)
    assert not lines()


def test_a_film_that_cannot_be_opened_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reporting.of_case(pseudonym(1), language="en", threshold=T, who=CLARA).films_missing == 0
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    report = reporting.of_list(Filter(), Sort.OLDEST, language="en", threshold=T, who=CLARA)
    assert (report.cases, report.films_missing) == (3, 1)
    assert "could not be shown" in pages_of(report.pdf)[1]


def test_nothing_to_report() -> None:
    with pytest.raises(NothingToReport):
        reporting.of_list(Filter(search="ZZZZ"), Sort.OLDEST, language="en", threshold=T, who=CLARA)
    with pytest.raises(LookupError):
        reporting.of_case("K7M2-QX4D", language="en", threshold=T, who=CLARA)
    assert not lines()


def test_every_way_to_choose_is_said_in_words() -> None:
    everything = Filter(
        decision=PNEUMONIA,
        verdict=OPEN,
        person="tina",
        since=date(2026, 1, 6),
        until=date(2026, 2, 1),
        version="first",
        cannot_tell=True,
        search="CASE",
    )
    assert set(everything.chosen) == set(Filter.__dataclass_fields__)
    case = cases.open_case(pseudonym(2), who=CLARA)
    edition = reporting.edition_of([case], language="de", threshold=T, who=CLARA)
    assert reporting.chosen_in_words(everything, edition) == [
        "Entscheidung: PNEUMONIE",
        "Befund: noch keiner",
        "Zuerst ausgewertet ab 6. Januar 2026",
        "Zuerst ausgewertet bis 1. Februar 2026",
        "Ausgewertet oder befundet von Tina Töpfer",
        "Version first",
        "Für das Netz nicht entscheidbar",
        "Name des Falls enthält CASE",
    ]
    assert reporting.chosen_in_words(Filter(), edition) == []
    assert reporting.chosen_in_words(Filter(verdict=CANNOT_TELL), edition) == ["Befund: NICHT ENTSCHEIDBAR"]
