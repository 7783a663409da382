"""The worklist's queries, on both databases: order, filters, pages, the next case, the CSV, who has what open."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.cases import BEGAN, add_cases, pseudonym
from utils import audit_trail, cases, openings, worklist
from utils.database import transaction
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA
from utils.openings import GONE_AFTER
from utils.permissions import Forbidden, Person, Role
from utils.tables import CaseOpening
from utils.worklist import GIVEN, OPEN, Filter, Sort

CLARA = Person("clara", "Dr Clara", frozenset({Role.CLINICIAN}))
CARL = Person("carl", "Dr Carl", frozenset({Role.CLINICIAN}))
TINA = Person("tina", "Tina", frozenset({Role.TECHNICIAN}))
TOM = Person("tom", "Tom", frozenset({Role.TECHNICIAN}))
ADA = Person("ada", "Ada", frozenset({Role.ADMIN}))
T = 0.5
ALL = Filter()

CASES: tuple[dict[str, Any], ...] = (
    {"probability": 0.5},  # 1: at the threshold, so flagged
    {"probability": 0.2, "verdict": NORMAL, "by": "tom"},  # 2
    {"probability": None, "refusal": "It looks like no chest X-ray."},  # 3
    {"probability": 0.9, "verdict": PNEUMONIA, "verdict_by": "carl"},  # 4
    {"probability": 0.4999, "certainty": CANNOT_TELL, "version": "second"},  # 5
    {"probability": 0.9, "verdict": CANNOT_TELL, "by": "tom"},  # 6
    {"probability": 0.7, "by": "tom", "quality": ["Too dark."]},  # 7
)


@pytest.fixture(autouse=True)
def _filled(department_database: str) -> None:
    add_cases(*CASES)


def numbers(
    wanted: Filter = ALL, sort: Sort = Sort.LIKELIEST, who: Person = CLARA, offset: int = 0, limit: int = 50
) -> list[int]:
    found = worklist.page(wanted, sort, threshold=T, who=who, offset=offset, limit=limit)
    return [int(row.pseudonym[-4:]) for row in found.rows]


def test_order_and_pages() -> None:
    likeliest = [6, 4, 7, 1, 5, 2, 3]  # equals: the newer first; what was not judged last
    assert numbers() == likeliest
    assert numbers(sort=Sort.OLDEST) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(sort=Sort.NEWEST) == [7, 6, 5, 4, 3, 2, 1]
    for offset in range(8):
        assert numbers(offset=offset, limit=2) == likeliest[offset : offset + 2]
    for sort in Sort:
        everything = [pseudonym(number) for number in numbers(sort=sort)]
        walked = [everything[0]]
        while (following := next_(walked[-1], sort)) is not None:
            walked.append(following)
        assert walked == everything, "next case by next case"
        assert next_("GONE-0000", sort) == everything[0]
    found = worklist.page(ALL, Sort.LIKELIEST, threshold=T, who=CLARA, limit=1)
    assert (len(found.rows), found.total, found.judged, found.flagged) == (1, 7, 6, 4)
    last = worklist.page(Filter(search=pseudonym(3)), Sort.OLDEST, threshold=T, who=CLARA).rows[0]
    assert (last.decision(T), last.remarks) == (NOT_JUDGED, "Not judged: It looks like no chest X-ray.")


def test_filters() -> None:
    day = BEGAN.astimezone().date()
    expected: list[tuple[Filter, set[int]]] = [
        (Filter(decision=PNEUMONIA), {1, 4, 6, 7}),
        (Filter(decision=NORMAL), {2, 5}),
        (Filter(decision=NOT_JUDGED), {3}),
        (Filter(verdict=OPEN), {1, 3, 5, 7}),
        (Filter(verdict=GIVEN), {2, 4, 6}),
        (Filter(verdict=CANNOT_TELL), {6}),
        (Filter(person="carl"), {4}),
        (Filter(person="tom"), {2, 6, 7}),
        (Filter(since=day + timedelta(days=6)), {6, 7}),
        (Filter(until=day + timedelta(days=2)), {1, 2}),
        (Filter(since=day + timedelta(days=3), until=day + timedelta(days=3)), {3}),
        (Filter(version="second"), {5}),
        (Filter(cannot_tell=True), {5}),
        (Filter(search="e-0007"), {7}),
        (Filter(search="%"), set()),
        (Filter(decision=PNEUMONIA, verdict=OPEN, person="tom"), {7}),
    ]
    for wanted, found in expected:
        page = worklist.page(wanted, Sort.OLDEST, threshold=T, who=CLARA)
        assert {int(row.pseudonym[-4:]) for row in page.rows} == found, wanted
        assert page.total == len(found), wanted
    assert worklist.names(who=CLARA) == worklist.Names(("carl", "clara", "tina", "tom"), ("first", "second"))


def test_who_sees_what() -> None:
    assert set(numbers(who=TINA)) == {1, 3, 4, 5, 7}  # the own ones and those without a verdict
    assert set(numbers(who=TOM)) == {1, 2, 3, 5, 6, 7}
    assert worklist.next_after(pseudonym(6), ALL, Sort.LIKELIEST, threshold=T, who=TINA) == pseudonym(4)
    assert worklist.next_after(pseudonym(6), ALL, Sort.LIKELIEST, threshold=T, who=TOM) == pseudonym(7)
    ask: list[Callable[[], object]] = [
        lambda: numbers(who=ADA),
        lambda: worklist.next_after(pseudonym(1), ALL, Sort.OLDEST, threshold=T, who=ADA),
        lambda: worklist.names(who=ADA),
        lambda: worklist.newest(who=ADA),
        lambda: worklist.any_case(who=ADA),
        lambda: openings.look(pseudonym(1), browser="b", who=ADA),
        lambda: worklist.export_csv(ALL, Sort.OLDEST, threshold=T, who=ADA),
        lambda: worklist.export_csv(ALL, Sort.OLDEST, threshold=T, who=TINA),
    ]
    for each in ask:
        with pytest.raises(Forbidden):
            each()


def next_(after: str, sort: Sort, wanted: Filter = ALL, browser: str = "") -> str | None:
    return worklist.next_after(after, wanted, sort, threshold=T, who=CLARA, browser=browser)


def test_the_next_case_after_a_verdict_and_past_those_that_others_have_open() -> None:
    wanted = Filter(verdict=OPEN)
    view = cases.open_case(pseudonym(7), who=CLARA)
    cases.give_verdict(view.pseudonym, revision=view.revision, verdict=NORMAL, note="", who=CLARA)
    assert next_(pseudonym(7), Sort.LIKELIEST, wanted) == pseudonym(1)
    openings.look(pseudonym(1), browser="carls", who=CARL)
    assert next_(pseudonym(7), Sort.LIKELIEST, wanted, "claras") == pseudonym(5)
    assert next_(pseudonym(7), Sort.LIKELIEST, wanted, "carls") == pseudonym(1)
    rows = worklist.page(wanted, Sort.LIKELIEST, threshold=T, who=CLARA, browser="claras").rows
    assert [row.opened for row in rows if row.opened] == [("Dr Carl",)]


def test_two_people_in_one_case() -> None:
    def look(browser: str, who: Person) -> openings.Around:
        found = openings.look(pseudonym(1), browser=browser, who=who)
        assert found is not None
        return found

    alone = look("claras", CLARA)
    assert (alone.others, alone.myself) == ((), False)
    assert look("carls", CARL).others == ("Dr Clara",)
    assert look("claras", CLARA).others == ("Dr Carl",)
    second = look("claras-phone", CLARA)
    assert (second.others, second.myself) == (("Dr Carl",), True)
    openings.leave("claras-phone")
    view = cases.open_case(pseudonym(1), who=CARL)
    cases.give_verdict(view.pseudonym, revision=view.revision, verdict=PNEUMONIA, note="", who=CARL)
    assert look("claras", CLARA).revision == alone.revision + 1
    openings.look(pseudonym(2), browser="carls", who=CARL)  # a browser has one case open
    assert look("claras", CLARA).others == ()
    with transaction() as session:
        session.execute(update(CaseOpening).values(seen=datetime.now(UTC) - GONE_AFTER))
    assert look("other", CARL).others == (), "who fell silent is gone"
    assert openings.look(pseudonym(1), browser="toms", who=TOM) is None, "it has a verdict by now"
    assert openings.look("GONE-0000", browser="carls", who=CARL) is None


def test_csv() -> None:
    view = cases.open_case(pseudonym(1), who=CLARA)
    note = "=1+1, left\nlower lobe"
    cases.give_verdict(view.pseudonym, revision=view.revision, verdict=PNEUMONIA, note=note, who=CLARA)
    wanted = Filter(until=date(2026, 12, 31))
    data = b"".join(worklist.export_csv(wanted, Sort.LIKELIEST, threshold=T, who=CLARA)).decode()
    table = list(csv.DictReader(io.StringIO(data)))
    assert [row["case"] for row in table] == [pseudonym(number) for number in numbers()]
    row = next(row for row in table if row["case"] == pseudonym(1))
    assert tuple(row) == worklist.COLUMNS
    assert (row["probability"], row["decision"], row["verdict"], row["note"]) == (
        "0.5",
        PNEUMONIA,
        PNEUMONIA,
        "'" + note,
    )
    assert row["read_at"] == (BEGAN + timedelta(days=1)).isoformat()
    assert table[-1]["decision"] == NOT_JUDGED
    nothing = replace(wanted, version="none")
    assert b"".join(worklist.export_csv(nothing, Sort.OLDEST, threshold=T, who=CLARA)).count(b"\n") == 1
    lines = audit_trail.search().lines
    assert [line.event for line in lines].count("export") == 2
    export = next(line for line in reversed(lines) if line.after.get("cases") == 7)
    assert (export.who, export.after["until"]) == ("clara", "2026-12-31")
