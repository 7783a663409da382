"""The Worklist screen, driven without a browser and without a network: the list, and verdicts that lose nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.cases import add_cases, pseudonym
from utils import cases, database, openings
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA
from utils.permissions import LOCAL, Person, Role

APP = Path(__file__).resolve().parents[2] / "app.py"
CARL = Person("carl", "Dr Carl", frozenset({Role.CLINICIAN}))
KEYS = {PNEUMONIA: "worklist-verdict-PNEUMONIA", NORMAL: "worklist-verdict-NORMAL"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home, and no version: the list needs none."""
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "none")
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    yield tmp_path
    database.close()


def screen(case: str = "") -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    if case:
        app.query_params["case"] = case
    return ran(app.switch_page("pages/worklist.py"))


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return ran(app)


def words(app: AppTest) -> str:
    """All text on the screen, as it reads there."""
    kinds = (app.html, app.markdown, app.caption, app.text, app.info, app.success, app.error, app.toast)
    return " ".join(str(block.value) for kind in kinds for block in kind).replace("\\", "")


def listed(app: AppTest) -> list[str]:
    return [str(name) for name in app.dataframe[0].value["case"]]


def note(app: AppTest) -> str:
    return str(app.text_area[0].value)


def test_from_nothing_through_the_list_to_the_last_verdict(home: Path) -> None:
    app = screen()
    assert "No cases yet" in words(app)
    assert "saves nothing" in words(app)
    assert not app.dataframe

    add_cases(
        {"probability": 0.2, "by": "tom"},
        {"probability": 0.9},
        {"probability": 0.8, "verdict": PNEUMONIA},
        {"probability": None, "refusal": "It looks like no chest X-ray."},
        {"probability": 0.5, "note": "<b>old</b> *note*"},
    )
    ran(app)
    assert listed(app) == [pseudonym(number) for number in (2, 5, 1, 4)], "to be read, likeliest first"
    assert "**4 cases**, 2 flagged as PNEUMONIA at threshold 0.500, 1 not judged." in words(app)
    assert "saves no new cases" in words(app)
    app.selectbox(key="worklist-verdict").set_value("")
    app.selectbox(key="worklist-order").set_value("age")
    assert listed(ran(app)) == [pseudonym(number) for number in (1, 2, 3, 4, 5)]
    app.selectbox(key="worklist-person").set_value("tom")
    assert listed(ran(app)) == [pseudonym(1)]
    app.toggle(key="worklist-cannot-tell").set_value(True)
    assert "No case is like that" in words(ran(app))
    press(app, "Clear the filters")
    app.sidebar.slider[0].set_value(0.95)
    assert "0 flagged as PNEUMONIA at threshold 0.950" in words(ran(app))

    press(app, "Open the first")
    assert app.query_params["case"] == pseudonym(2)
    assert "None has been given yet." in words(app)
    assert "Nobody else has this case open." in words(app)
    app.button(key=KEYS[PNEUMONIA]).click()
    ran(app)
    app.text_area[0].set_value("left lower lobe")
    assert "Not saved yet." in words(ran(app))
    press(app, "Save and next case")
    view = cases.open_case(pseudonym(2), who=LOCAL)
    assert (view.verdict, view.note, view.verdict_by) == (PNEUMONIA, "left lower lobe", LOCAL.name)
    assert f"Saved: {pseudonym(2)}" in words(app)
    assert "Unchanged." in words(app)
    assert note(app) == "<b>old</b> *note*", "of the next case"
    for verdict in (NORMAL, CANNOT_TELL, NORMAL):
        app.button(key=f"worklist-verdict-{verdict}").click()
        ran(app)
        press(app, "Save and next case")
    assert "That was the last case of the list." in words(app)
    assert "Every case has a verdict" in words(app)
    assert cases.open_case(pseudonym(1), who=LOCAL).verdict == CANNOT_TELL
    press(app, "Show all cases")
    assert len(listed(app)) == 5
    press(app, "Open the first")
    press(app, f"Delete {pseudonym(2)}")
    assert f"Case {pseudonym(2)} is deleted." in words(app)
    assert pseudonym(2) not in listed(app)


def test_what_is_typed_outlives_a_conflict_and_a_database_that_is_gone(home: Path) -> None:
    add_cases({"probability": 0.9}, {"probability": 0.2})
    openings.look(pseudonym(1), browser="carls", who=CARL)
    openings.look(pseudonym(1), browser="of-the-same-person", who=LOCAL)
    app = screen(pseudonym(1).lower())
    assert "Dr Carl has this case open too, and you in another window." in words(app)
    app.button(key=KEYS[NORMAL]).click()
    ran(app)

    cases.give_verdict(pseudonym(1), revision=1, verdict=PNEUMONIA, note="Look *again*", who=CARL)
    app.text_area[0].set_value("mine")
    press(app, "Save")
    assert "What you typed is still here." in words(app)
    assert "Changed while you had this case open." in words(app)
    assert "▲ PNEUMONIA; note: Look *again*" in words(app)
    assert note(app) == "mine"
    press(app, "Save")
    view = cases.open_case(pseudonym(1), who=LOCAL)
    assert (view.verdict, view.note) == (PNEUMONIA, "Look *again*"), "nothing unseen is overwritten"

    press(app, "Go on with mine")
    press(app, "Take back")
    for _ in range(2):
        app.button(key=KEYS[NORMAL]).click()
        ran(app)
    file, away = home / database.FILE, home / "away"
    away.mkdir()
    for part in home.glob(f"{database.FILE}*"):
        shutil.move(part, away / part.name)
    press(app, "Save")
    assert len(app.error) == 1
    assert "Saved" not in words(app)
    assert note(app) == "mine"
    for part in away.iterdir():
        shutil.move(part, home / part.name)
    assert file.exists()
    press(app, "Save")
    view = cases.open_case(pseudonym(1), who=LOCAL)
    assert (view.verdict, view.note, len(view.changes)) == (NORMAL, "mine", 2)
    assert "▲ PNEUMONIA → ○ NORMAL; note: mine" in app.table[1].value.to_string().replace("\\", "")

    app.text_area[0].set_value("not lost")
    ran(app)
    cases.give_verdict(pseudonym(1), revision=view.revision, verdict=CANNOT_TELL, note="", who=CARL)
    press(app, "All cases")
    press(app, "Open the first")
    assert app.title[0].value.endswith("0002")
    app.query_params["case"] = pseudonym(1)
    ran(app)
    assert note(app) == "not lost"
    press(app, "Throw mine away")
    assert (note(app), "Unchanged." in words(app)) == ("", True)

    app.text_area[0].set_value("for a case that goes")
    ran(app)
    cases.delete(pseudonym(1), who=LOCAL)
    press(app, "Save")
    assert "There is no case with this pseudonym" in words(app)
    assert "for a case that goes" in words(app)
