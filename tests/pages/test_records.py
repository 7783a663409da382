"""The section Records of Administration: choices, what is stored, deleting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from pages.administration_parts import records
from tests.made_cases import CLARA, film, reading, save
from utils import cases, database, film_store
from utils.choices import Choices, change_choices, get_choices
from utils.database import transaction
from utils.permissions import LOCAL, Forbidden, Person, Role
from utils.session import Screen
from utils.tables import Case


def section() -> None:
    from pages.administration_parts import records
    from utils.permissions import LOCAL
    from utils.session import Screen

    records.show(Screen(version=None, problem="", threshold=0.5, person=LOCAL))


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.error, app.success, app.warning)
    return " ".join(block.value for kind in kinds for block in kind).replace("\\", "")


def test_the_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    monkeypatch.delenv(film_store.VARIABLE, raising=False)
    app = AppTest.from_function(section, default_timeout=60).run()
    assert not app.exception
    assert app.radio(key=records.SAVING).value == "off"

    app.radio(key=records.SAVING).set_value("films").run()
    assert "no key is set" in app.warning[0].value
    press(app, "Save these choices")
    assert "no key is set" in app.error[0].value and get_choices() == Choices()
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    press(app, "Save these choices")
    assert get_choices() == Choices(saving="films")
    assert not app.error and "hold from now on" in app.success[0].value

    change_choices(who=LOCAL, saving="records")
    app.run()
    assert app.radio(key=records.SAVING).value == "records", "somebody else has changed it meanwhile"
    change_choices(who=LOCAL, saving="films")
    app.run()
    names = [save(reading(number), pixels=film(number)).pseudonym for number in range(3)]
    with transaction() as session:
        old = session.scalars(select(Case).where(Case.pseudonym == names[0])).one()
        old.created = datetime.now(UTC) - timedelta(days=100)
    app.toggle(key=records.LIMITED).set_value(True).run()
    app.number_input(key=records.DAYS).set_value(90).run()
    assert "1 of the stored cases is older" in words(app)
    press(app, "Save these choices")
    assert get_choices() == Choices(saving="films", retention_days=90)
    assert cases.stored().cases == 3, "deleting waits for the round"
    press(app, "Delete what is past its days now")
    assert "Deleted: 1 case, 1 film." in words(app)
    assert cases.stored().cases == 2

    app.text_input(key=records.PSEUDONYM).set_value("nobody's")
    press(app, "Delete this case")
    assert "There is no case with this pseudonym" in app.error[0].value
    app.text_input(key=records.PSEUDONYM).set_value(f" {names[1].lower()} ")
    press(app, "Delete this case")
    assert "for good" in app.warning[0].value
    press(app, "Keep it")
    assert cases.stored().cases == 2
    app.text_input(key=records.PSEUDONYM).set_value(names[1])
    press(app, "Delete this case")
    press(app, "Delete for good")
    assert f"Case {names[1]} and its film deleted." in words(app)
    assert cases.stored() == cases.Stored(
        1, 0, 0, cases.open_case(names[2], who=CLARA).created, 1, film_store.size()[1]
    )
    (tmp_path / database.FILE).rename(tmp_path / "elsewhere")
    app.run()
    assert not app.exception and "is gone" in app.error[0].value
    database.close()


def test_nobody_else_sees_it() -> None:
    somebody = Person("c", "C", frozenset({Role.TECHNICIAN, Role.CLINICIAN}))
    with pytest.raises(Forbidden):
        records.show(Screen(version=None, problem="", threshold=0.5, person=somebody))
