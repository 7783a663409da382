"""Somebody signed in without a browser: a real account, a real sign-in, the cookie where Streamlit looks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from streamlit.runtime.context import ContextProxy, StreamlitCookies

from utils import accounts, database, passwords, people, sign_ins
from utils.permissions import LOCAL, Person, Role

PASSWORD = "correct horse battery"
SignInAs = Callable[..., Person]


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost next to nothing; what a real one costs is the concern of one test of accounts."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher.from_parameters(CHEAPEST))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home with a database of its own."""
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    yield tmp_path / "home"
    database.close()


@pytest.fixture
def sign_in_as(quick_hashes: None, monkeypatch: pytest.MonkeyPatch) -> SignInAs:
    """Sign somebody with these roles in, as the browser of all that follows; without a role: sign out.

    The account is called after its roles. Needs a home of the test's own, set before.
    """
    monkeypatch.setenv("PNEUMOSCOPE_SIGN_IN", "required")
    people.guarded.set()

    def sign_in(*roles: Role) -> Person:
        brought: dict[str, str] = {}
        monkeypatch.setattr(ContextProxy, "cookies", property(lambda _: StreamlitCookies(brought)))
        if not roles:
            return LOCAL
        now = datetime.now(UTC)
        name = "-".join(role.value for role in roles)
        if all(each.name != name for each in accounts.list_accounts(who=LOCAL, now=now)):
            given = accounts.add_account(name, name.title(), roles, who=LOCAL, now=now)
            first = sign_ins.sign_in(name, given, address="", now=now)
            signed = sign_ins.signed_in(first, address="", now=now)
            sign_ins.change_password(signed, given, PASSWORD, PASSWORD, address="", now=now)
        brought[sign_ins.COOKIE] = sign_ins.sign_in(name, PASSWORD, address="", now=now)
        return people.current()

    return sign_in
