"""The section Audit trail of Administration: search, paging, verifying, taking away."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from streamlit.testing.v1 import AppTest

from pages.administration_parts import audit
from utils.audit_trail import Wanted, add, search, verify
from utils.database import transaction
from utils.permissions import LOCAL, Forbidden, Person, Role
from utils.tables import AuditLine

EVE = Person("eve", "Eve", frozenset({Role.ADMIN}), address="10.0.0.9")


def section() -> None:
    from pages.administration_parts import audit
    from utils.permissions import LOCAL
    from utils.session import Screen

    audit.show(Screen(version=None, problem="", threshold=0.5, person=LOCAL))


def test_the_section(home: Path) -> None:
    app = AppTest.from_function(section, default_timeout=60).run()
    assert not app.exception
    assert [each.value for each in app.info] == ["Nothing has been done yet."]

    with transaction() as session:
        for number in range(60):
            add(session, "reading", who=LOCAL, subject=f"case {number}", after={"probability": 0.25})
        add(
            session,
            "account",
            who=EVE,
            subject="<b>bob</b>",
            before={"roles": []},
            after={"roles": ["admin"]},
        )
        add(session, "threshold", who=EVE, before={"threshold": 0.5}, after={"threshold": 0.37})
    app.run()
    table = app.dataframe[0].value
    assert list(table["number"]) == list(range(62, 12, -1)), "newest first, a page at a time"
    assert list(table["change"][:2]) == ["threshold: 0.5 → 0.37", "roles: – → admin"]
    assert table["subject"][1] == "<b>bob</b>"

    app.text_input(key=audit.WHO).set_value("EVE").run()
    app.selectbox(key=audit.EVENT).set_value("account").run()
    assert list(app.dataframe[0].value["number"]) == [61]
    app.date_input(key=audit.SINCE).set_value(datetime.now().astimezone().date()).run()
    app.date_input(key=audit.UNTIL).set_value(datetime.now().astimezone().date()).run()
    assert list(app.dataframe[0].value["number"]) == [61]
    app.date_input(key=audit.UNTIL).set_value(datetime.now().astimezone().date() - timedelta(days=2)).run()
    assert [each.value for each in app.info] == ["No line is like that."]

    def press_verify() -> None:
        next(button for button in app.button if button.label == "Verify all lines").click().run()

    press_verify()
    head = verify().head
    assert "62 lines" in app.success[0].value
    assert app.code[0].value == head
    app.text_input(key=audit.EXPECTED).set_value("abc").run()
    press_verify()
    assert "copy the whole of it" in app.error[0].value
    with transaction() as session:
        session.execute(delete(AuditLine).where(AuditLine.id == 62))
    app.text_input(key=audit.EXPECTED).set_value(head).run()
    press_verify()
    assert "No line has the expected head" in app.error[0].value
    with transaction() as session:
        session.execute(update(AuditLine).where(AuditLine.id == 7).values(who="somebody else"))
    press_verify()
    assert "Line 7 has been changed since it was written" in app.error[0].value
    assert not app.success and not app.exception


def test_what_is_taken_away_becomes_a_line(home: Path) -> None:
    with transaction() as session:
        add(session, "sign-in", who=LOCAL)
        add(session, "sign-in", who=EVE)
    table = audit.taken_away(Wanted(who="eve"), total=1, who=EVE).decode()
    assert [row["number"] for row in csv.DictReader(io.StringIO(table))] == ["2", "3"]
    assert search().lines[0].event == "export" and search().lines[0].who == "eve"
    for roles in ({Role.TECHNICIAN}, {Role.CLINICIAN}):
        with pytest.raises(Forbidden):
            audit.taken_away(Wanted(), total=1, who=Person("bob", "Bob", frozenset(roles)))
    assert search().total == 3


def test_a_day_begins_at_midnight_of_the_server() -> None:
    day = datetime(2026, 11, 21, tzinfo=UTC).date()
    start = audit._midnight(day)
    assert start is not None and start.tzinfo is not None
    assert (start.date(), start.hour) == (day, 0)
    assert audit._midnight(day, days=1) == start + timedelta(days=1)
