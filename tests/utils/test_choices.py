"""What the department chooses holds for everybody, and is in the audit trail."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils import audit_trail, database, film_store
from utils.choices import ChoiceError, Choices, change_choices, get_choices
from utils.database import DatabaseError, transaction
from utils.permissions import LOCAL, Forbidden, Person, Role
from utils.tables import Choice


def test_choices_hold_from_the_next_look_on(
    department_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(film_store.VARIABLE, raising=False)
    assert get_choices() == Choices()
    assert Choices().saving == "off" and Choices().retention_days is None
    chosen = change_choices(who=LOCAL, saving="records", retention_days=90)
    assert chosen == get_choices() == Choices(saving="records", retention_days=90)
    change_choices(who=LOCAL, saving="records", retention_days=30)
    lines = audit_trail.search().lines
    assert [(line.event, line.subject, line.before, line.after) for line in reversed(lines)] == [
        ("setting", "saving", {"value": "off"}, {"value": "records"}),
        ("setting", "retention_days", {"value": None}, {"value": 90}),
        ("setting", "retention_days", {"value": 90}, {"value": 30}),
    ]
    for wrong, sentence in (
        ({"retention_days": 0}, "whole number of days"),
        ({"saving": "everything"}, "saving cannot be chosen so"),
        ({"saving": "films"}, "no key is set"),
    ):
        with pytest.raises(ChoiceError, match=sentence):
            change_choices(who=LOCAL, **wrong)
    with pytest.raises(Forbidden, match="role of admin"):
        change_choices(who=Person("t", "T", frozenset({Role.TECHNICIAN, Role.CLINICIAN})), saving="off")
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    assert change_choices(who=LOCAL, saving="films").saving == "films"
    with transaction() as session:
        session.add(Choice(name="of a newer version", value={"value": 1}))
        session.get_one(Choice, "retention_days").value = {"strange": True}
    assert get_choices() == Choices(saving="films"), "what cannot be used holds no more"


def test_looking_makes_no_database_and_a_lost_one_is_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    assert get_choices() == Choices()
    assert not home.exists()
    change_choices(who=LOCAL, saving="records")
    assert get_choices().saving == "records"
    home.rename(tmp_path / "elsewhere")
    with pytest.raises(DatabaseError, match="is gone"):
        get_choices()
    database.close()
