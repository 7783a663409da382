"""Who may do what, asked where it is done: the written table, every page, every handler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from model.jobs import list_jobs
from model.recipes import TrainingConfig
from model.registry import list_versions
from pages.administration_parts import audit
from pages.administration_parts import people as people_part
from pages.metrics_parts import operating
from pages.training_parts import order, runs
from tests.cases import add_cases, pseudonym
from tests.signing_in import SignInAs
from utils import (
    accounts,
    audit_trail,
    cases,
    choices,
    live,
    people,
    reporting,
    session,
    sign_ins,
    verdict_set,
    worklist,
)
from utils.audit_trail import Wanted
from utils.permissions import LOCAL, PERMITTED, Action, Forbidden, Person, Role, SignedOut
from utils.settings import PROJECT, get_settings

# The table of the roles once more, written down here: ● permitted. Technician, clinician, admin.
TABLE = """
read films                      ● ● –
see own and open cases          ● ● –
see all cases                   – ● –
see metrics                     ● ● ●
move the threshold              – ● –
give a verdict                  – ● –
make a report                   – ● –
export cases                    – ● –
delete a case                   – – ●
evaluate own films              – ● ●
set the department's threshold  – – ●
see data sets                   – – ●
train                           – – ●
manage models                   – – ●
manage accounts                 – – ●
see the audit trail             – – ●
change settings                 – – ●
"""
ROLES = list(Role)
PAGES: dict[str, Action | None] = {
    "diagnose": Action.READ_FILMS,
    "worklist": Action.SEE_OPEN_CASES,
    "live": Action.SEE_METRICS,
    "metrics": Action.SEE_METRICS,
    "own_films": Action.EVALUATE_OWN_FILMS,
    "data": Action.SEE_DATA,
    "training": Action.TRAIN,
    "models": Action.MANAGE_MODELS,
    "administration": Action.MANAGE_ACCOUNTS,
    "account": None,
}


def written() -> dict[str, dict[Role, bool]]:
    lines = [line.rsplit(maxsplit=3) for line in TABLE.strip().splitlines()]
    return {
        name: {role: mark == "●" for role, mark in zip(ROLES, marks, strict=True)} for name, *marks in lines
    }


def test_the_roles_permit_what_is_written() -> None:
    permits = {action.value: {role: action in PERMITTED[role] for role in Role} for action in Action}
    assert permits == written()


@pytest.fixture(autouse=True)
def _no_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No version: what is permitted does not hang on one, and loading it takes seconds."""
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "none-that-is-there")
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)


def test_every_page_has_its_action() -> None:
    """Its first statement that does anything asks for it."""
    assert {file.stem for file in (PROJECT / "pages").glob("*.py")} == set(PAGES)
    for name, action in PAGES.items():
        text = (PROJECT / "pages" / f"{name}.py").read_text()
        first = next(line for line in text.splitlines() if "session.enter(" in line)
        assert first.endswith(f", {'None' if action is None else f'Action.{action.name}'})"), name


@pytest.mark.parametrize("role", [None, *ROLES], ids=lambda role: "nobody" if role is None else role.value)
def test_a_page_asked_for_by_itself_shows_nothing_to_those_who_may_not(
    role: Role | None, sign_in_as: SignInAs, home: Path
) -> None:
    """As on a cold server, where Streamlit runs the file without `app.py`."""
    add_cases({}, {"by": "somebody-else"})
    person = None if role is None else sign_in_as(role)
    if role is None:
        sign_in_as()
    before = _files(home)
    for name, action in PAGES.items():
        if person is not None and (action is None or person.may(action)):
            continue
        app = AppTest.from_file(str(PROJECT / "pages" / f"{name}.py"), default_timeout=30).run()
        assert not app.exception, name
        sentence = app.error[0].value
        if person is None:
            assert sentence == sign_ins.NOBODY, name
        else:
            assert sentence.startswith(f"To {cast(Action, action).value} takes the role of "), name
        assert len(app.error) == 1 and not app.main.markdown and not app.title and not app.sidebar.children, (
            name
        )
        assert {type(each).__name__ for each in app.main.children.values()} <= {"Error", "Html"}, name
    assert _files(home) == before


def _files(home: Path) -> set[Path]:
    return {file for file in home.rglob("*") if not file.name.startswith("pneumoscope.db")}


@pytest.mark.parametrize("role", [None, *ROLES], ids=lambda role: "nobody" if role is None else role.value)
def test_every_action_is_done_for_those_who_may_and_for_nobody_else(
    role: Role | None, sign_in_as: SignInAs
) -> None:
    if role is None:
        sign_in_as()
    else:
        sign_in_as(role)
    for action in Action:
        done: list[Person] = []
        expected = role is not None and written()[action.value][role]
        session.permitted(action)(lambda done=done: done.append(people.current()))()
        assert bool(done) == expected == session.may(action), action
        lines = audit_trail.search(Wanted(event="setting")).total
        refused: Any = SignedOut if role is None else Forbidden
        if expected:
            with session.on_record(action, "setting", subject=action.value):
                pass
        else:
            with pytest.raises(refused), session.on_record(action, "setting", subject=action.value):
                done.append(LOCAL)
            assert not done
        assert audit_trail.search(Wanted(event="setting")).total == lines + expected
    with pytest.raises((SignedOut, ZeroDivisionError)), session.on_record(Action.SEE_METRICS, "setting"):
        _ = 1 / 0
    assert audit_trail.search(Wanted(event="setting")).total == sum(
        role is not None and marks[role] for marks in written().values()
    ), "what failed has left no line"


def handlers() -> dict[str, tuple[Action, Callable[[Person], object]]]:
    """What does something, called as a screen calls it; what is missing is asked for after the permission."""
    now = datetime.now(UTC)
    listed = accounts.Listed(1, "x", "x", frozenset(), False, True, False, now, None, 0, None)
    return {
        "accounts.list_accounts": (
            Action.MANAGE_ACCOUNTS,
            lambda who: accounts.list_accounts(who=who, now=now),
        ),
        "accounts.add_account": (
            Action.MANAGE_ACCOUNTS,
            lambda who: accounts.add_account("made-here", "", [Role.ADMIN], who=who, now=now),
        ),
        "accounts.new_password": (Action.MANAGE_ACCOUNTS, lambda who: accounts.new_password(999, who=who)),
        "accounts.unlock": (Action.MANAGE_ACCOUNTS, lambda who: accounts.unlock(999, who=who)),
        "accounts.change_account": (
            Action.MANAGE_ACCOUNTS,
            lambda who: accounts.change_account(
                listed.id, title="", roles=[Role.ADMIN], active=True, who=who, revision=""
            ),
        ),
        "choices.change_choices": (
            Action.CHANGE_SETTINGS,
            lambda who: choices.change_choices(who=who, saving="records"),
        ),
        "cases.give_verdict": (
            Action.GIVE_VERDICT,
            lambda who: cases.give_verdict(pseudonym(1), revision=1, verdict="NORMAL", note="", who=who),
        ),
        "cases.delete": (Action.DELETE_CASE, lambda who: cases.delete(pseudonym(1), who=who)),
        "worklist.export_csv": (
            Action.EXPORT_CASES,
            lambda who: list(
                worklist.export_csv(worklist.Filter(), worklist.Sort.LIKELIEST, threshold=0.5, who=who)
            ),
        ),
        "reporting.of_case": (
            Action.MAKE_REPORT,
            lambda who: reporting.of_case(pseudonym(2), language="en", threshold=0.5, who=who),
        ),
        "verdict_set.make": (
            Action.TRAIN,
            lambda who: verdict_set.make(get_settings().home, name="set", who=who),
        ),
        "live.disagreements": (Action.SEE_ALL_CASES, lambda who: live.disagreements(live.Wanted(), who=who)),
        "audit.taken_away": (
            Action.SEE_AUDIT,
            lambda who: audit.taken_away(Wanted(), total=1, who=who),
        ),
    }


@pytest.mark.parametrize("role", ROLES)
def test_every_handler_asks_the_person(role: Role, sign_in_as: SignInAs, home: Path) -> None:
    add_cases({"by": "somebody"}, {"by": "somebody"}, {"by": "somebody", "verdict": "NORMAL"})
    person = sign_in_as(role)
    lines = audit_trail.search().total
    for name, (action, handler) in handlers().items():
        if written()[action.value][role]:
            try:
                handler(person)
            except Forbidden:
                pytest.fail(f"{name} refuses {role}")
            except Exception:
                continue  # it was asked for something that is not there
        else:
            with pytest.raises(Forbidden):
                handler(person)
    if role is Role.TECHNICIAN:
        assert audit_trail.search().total == lines, "nothing was done"


def test_a_technicians_callbacks_do_nothing(sign_in_as: SignInAs, home: Path) -> None:
    """What an old screen, or somebody by hand, may ask for although no button is shown."""
    sign_in_as(Role.TECHNICIAN)
    (home / "jobs").mkdir(parents=True)
    before, lines = _files(home), audit_trail.search().total
    config = TrainingConfig()
    state = {
        session.THRESHOLD: 0.5,
        "operating-point": "rule-in",
        "training-name": "made-here",
        "training-who": "somebody else",
        people_part.NAME: "made-here",
        people_part.TITLE: "",
        people_part.ROLES: [Role.ADMIN],
        people_part.IDLE: 720,
    }
    for key, value in state.items():
        st.session_state[key] = value
    now = datetime.now(UTC)
    technician = accounts.list_accounts(who=LOCAL, now=now)[0]
    callbacks: tuple[Callable[[], object], ...] = (
        lambda: operating._use(0.9),
        lambda: session._take_point({"rule-in": 0.9}),
        lambda: order.begin(home, home, config),
        lambda: order.begin_estimate(home, config),
        lambda: runs.stop(home, "1", "discard"),
        lambda: runs.resume(home, "1"),
        lambda: runs.delete(home, "1"),
        people_part.make,
        lambda: people_part.save(technician),
        lambda: people_part.renew(technician),
        lambda: people_part.unlock(technician),
        people_part.change_idle_time,
    )
    for callback in callbacks:
        callback()
    assert {key: st.session_state[key] for key in state} == state
    assert _files(home) == before and not list_jobs(home)
    assert audit_trail.search().total == lines
    assert accounts.list_accounts(who=LOCAL, now=now) == [technician]


def test_the_name_kept_is_that_of_the_sign_in(sign_in_as: SignInAs) -> None:
    clara = sign_in_as(Role.CLINICIAN)
    assert session.who("somebody else") == clara.signature == "Clinician (clinician)"
    assert session.who_field("Your name", key="somewhere") == clara.signature


def test_a_session_belongs_to_whoever_began_it(sign_in_as: SignInAs) -> None:
    """A tab that comes back after somebody else has signed in brings the films of the one before along."""
    clara = sign_in_as(Role.CLINICIAN)
    app = AppTest.from_file(str(PROJECT / "pages" / "account.py"), default_timeout=30).run()
    assert app.title[0].value == "Account" and clara.name in app.markdown[0].value
    app.session_state["films"] = "hers"
    sign_in_as(Role.TECHNICIAN)
    app.run()
    assert [each.value for each in app.error] == ["Somebody else has signed in here since."]
    assert not app.title and "films" not in app.session_state
    sign_in_as()
    app.run()
    assert [each.value for each in app.error] == [sign_ins.NOBODY]


def _sidebar() -> None:
    import streamlit as st

    from model.registry import list_versions
    from utils import people, session

    st.write(f"{session._threshold_controls(list_versions()[0], people.current()):.3f}")


def test_the_threshold_is_moved_by_those_who_may_and_each_move_is_told(sign_in_as: SignInAs) -> None:
    start = session.start_threshold(list_versions()[0])
    sign_in_as(Role.TECHNICIAN)
    app = AppTest.from_function(_sidebar, default_timeout=30)
    app.query_params[session.THRESHOLD] = "0.9"
    app.run()
    assert app.slider[0].disabled and app.markdown[0].value == f"{start:.3f}", (
        "a link moves it no more than a hand"
    )
    app.session_state[session._FIXED] = 0.9  # as somebody may send it who makes up a browser
    app.run()
    assert app.slider[0].value == start and app.markdown[0].value == f"{start:.3f}"
    assert audit_trail.search(Wanted(event="threshold")).total == 0

    sign_in_as(Role.CLINICIAN)
    app = AppTest.from_function(_sidebar, default_timeout=30).run()
    for threshold in (0.9, 0.8):
        app.slider[0].set_value(threshold).run()
    app.run()
    assert app.markdown[0].value == "0.800"
    lines = audit_trail.search(Wanted(event="threshold")).lines
    assert [(line.who, line.before["threshold"], line.after["threshold"]) for line in lines] == [
        ("clinician", 0.9, 0.8),
        ("clinician", start, 0.9),
    ]
