from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from sqlalchemy import select

from tests.signing_in import PASSWORD as GOOD
from utils import accounts, audit_trail, database, openid, passwords, sign_ins
from utils.accounts import AccountError
from utils.audit_trail import Wanted
from utils.choices import change_choices
from utils.database import snapshot
from utils.passwords import PasswordError
from utils.permissions import LOCAL, Action, Forbidden, Person, Role, SignedOut
from utils.settings import OpenIdRule, get_settings
from utils.sign_ins import SignInRefused
from utils.tables import Account, SignIn

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OTHER = "staple of the trade"
HOME = "192.0.2.7"


pytestmark = pytest.mark.usefixtures("quick_hashes")


def come_in(
    name: str = "admin", password: str = GOOD, *, now: datetime = NOON, former: str | None = None
) -> str:
    return sign_ins.sign_in(name, password, address=HOME, now=now, former=former)


def who(cookie: str | None, *, now: datetime = NOON) -> Person:
    return sign_ins.signed_in(cookie, address=HOME, now=now).person


@pytest.fixture
def admin(home: Path) -> Person:
    accounts.first_admin("Admin", "Ada Minister", GOOD, GOOD, address=HOME, now=NOON)
    return who(come_in())


def add(admin: Person, name: str, *roles: Role) -> tuple[int, str]:
    """An account that has chosen its own password."""
    given = accounts.add_account(name, name.title(), roles, who=admin, now=NOON)
    cookie = come_in(name, given)
    signed = sign_ins.signed_in(cookie, address=HOME, now=NOON)
    sign_ins.change_password(signed, given, OTHER, OTHER, address=HOME, now=NOON)
    assert signed.person.account is not None
    return signed.person.account, given


def listed(admin: Person, name: str) -> accounts.Listed:
    return next(each for each in accounts.list_accounts(who=admin, now=NOON) if each.name == name)


def change(admin: Person, name: str, *roles: Role, active: bool = True) -> None:
    shown = listed(admin, name)
    accounts.change_account(
        shown.id,
        title=shown.title,
        roles=roles,
        active=active,
        who=admin,
        revision=accounts.revision_of(shown),
    )


def events(name: str) -> list[tuple[str, object]]:
    found = audit_trail.search(Wanted(event=name))  # type: ignore[arg-type]  # the tests name events that exist
    return [(line.who, dict(line.after)) for line in reversed(found.lines)]


def test_passwords_are_hashed_as_rfc_9106_says_and_never_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    accounts.first_admin("admin", "", GOOD, GOOD, address=HOME, now=NOON)
    with snapshot() as session:
        hashed = session.scalars(select(Account.password)).one()
    assert hashed is not None
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    cookie = come_in()
    database.close()
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert GOOD.encode() not in kept
    assert cookie.rpartition(".")[0].encode() not in kept, "the table knows a token by its hash only"


def test_only_the_right_name_and_password_come_in(admin: Person) -> None:
    assert who(come_in(" ADMIN ")) == Person(
        "admin", "Ada Minister", frozenset({Role.ADMIN}), HOME, admin.account
    )
    said = set()
    accounts.add_account("new", "New", [Role.TECHNICIAN], who=admin, now=NOON)
    add(admin, "gone", Role.CLINICIAN)
    change(admin, "gone", Role.CLINICIAN, active=False)
    for name, password in (
        ("admin", "wrong password"),
        ("nobody", GOOD),
        ("gone", OTHER),
        ("new", ""),
        ("admin", GOOD + "x" * 1000),
        ("' or 1=1 --", "' or 1=1 --"),
    ):
        with pytest.raises(SignInRefused) as refused:
            come_in(name, password)
        said.add(str(refused.value))
    assert said == {sign_ins.REFUSED}, "what was wrong is not told"


def test_an_unknown_name_costs_the_same_work(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2's word
            compared.append(str(hash))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_hasher", Counting.from_parameters(CHEAPEST))
    for name in ("admin", "nobody"):
        with pytest.raises(SignInRefused):
            come_in(name, "wrong password")
    assert len(compared) == 2
    known, unknown = (hashed.rpartition("$")[0].rpartition("$")[0] for hashed in compared)
    assert known == unknown, "with the same parameters"


def test_failures_lock_an_account_for_a_while(admin: Person) -> None:
    for number in range(sign_ins.FAILURES):
        with pytest.raises(SignInRefused):
            come_in(password=f"guess number {number}")
    with pytest.raises(SignInRefused) as refused:
        come_in()
    assert str(refused.value) == sign_ins.REFUSED
    assert listed(admin, "admin").locked_until == NOON + sign_ins.LOCKED
    with pytest.raises(SignInRefused):
        come_in(now=NOON + sign_ins.LOCKED - timedelta(seconds=1))
    assert come_in(now=NOON + sign_ins.LOCKED)
    assert [after for _, after in events("sign-in refused")] == [
        *[{"reason": "wrong password"}] * (sign_ins.FAILURES - 1),
        {"reason": "wrong password; locked for 15 minutes"},
        *[{"reason": "locked"}] * 2,
    ]


def test_a_success_forgives_failures_and_an_admin_unlocks(admin: Person) -> None:
    account, _ = add(admin, "tina", Role.TECHNICIAN)
    for _ in range(2):
        for number in range(sign_ins.FAILURES - 1):
            with pytest.raises(SignInRefused):
                come_in("tina", f"guess number {number}")
        assert come_in("tina", OTHER)
    for number in range(sign_ins.FAILURES):
        with pytest.raises(SignInRefused):
            come_in("tina", f"guess number {number}")
    accounts.unlock(account, who=admin)
    assert come_in("tina", OTHER)


def test_guesses_at_once_are_counted_one_by_one(
    department_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both databases: ten guesses side by side lock the account as ten in a row do."""
    accounts.first_admin("admin", "", GOOD, GOOD, address=HOME, now=NOON)
    outcomes: list[str] = []

    def guess(number: int) -> None:
        try:
            come_in(password=f"guess number {number}")
        except SignInRefused as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [sign_ins.REFUSED] * 10
    with pytest.raises(SignInRefused):
        come_in()
    reasons = [after for _, after in events("sign-in refused")]
    assert reasons.count({"reason": "wrong password"}) == sign_ins.FAILURES - 1
    assert audit_trail.verify().whole


def test_a_cookie_is_worth_something_only_as_it_was_given(admin: Person) -> None:
    cookie = come_in()
    token, _, signature = cookie.rpartition(".")
    with snapshot() as session:
        hashed = session.scalars(select(SignIn.token)).all()
    for forged in (
        None,
        "",
        token,
        f"{token}.",
        f"{token}x.{signature}",
        f"{token}.{signature[:-1]}",
        f"{hashed[0]}.{signature}",
        hashed[0],
        "é.é",
        cookie + "x" * 500,
    ):
        with pytest.raises(SignedOut):
            who(forged)
    assert who(cookie).name == "admin"


def test_another_key_ends_all_sign_ins(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = come_in()
    monkeypatch.setenv("PNEUMOSCOPE_SECRET", "a secret of thirty-two characters or more")
    with pytest.raises(SignedOut):
        who(cookie)
    assert who(come_in()).name == "admin"


def test_the_key_is_for_the_server_alone(admin: Person) -> None:
    key = get_settings().home / "sign-in.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text()) == 64
    assert [file.name for file in key.parent.iterdir() if file.name.startswith("sign-in.key")] == [key.name]


def test_signing_out_ends_the_cookie_everywhere(admin: Person) -> None:
    first, second = come_in(), come_in()
    sign_ins.sign_out(first, address=HOME)
    with pytest.raises(SignedOut):
        who(first)
    assert who(second).name == "admin", "another browser stays"
    third = come_in()
    assert sign_ins.sign_out_elsewhere(who(third), third) == 2  # the second, and the fixture's
    with pytest.raises(SignedOut):
        who(second)
    assert who(third).name == "admin"
    assert events("sign-out") == [("admin", {}), ("admin", {"elsewhere": 2})]


def test_a_browser_gets_a_new_token_at_each_sign_in(admin: Person) -> None:
    before = come_in()
    after = come_in(former=before)
    assert before != after
    with pytest.raises(SignedOut):
        who(before)
    assert who(after).name == "admin"


def test_a_sign_in_ends_after_rest_and_at_the_end_of_the_day(admin: Person) -> None:
    cookie = come_in()
    half = timedelta(minutes=29)
    assert who(cookie, now=NOON + half).name == "admin"
    sign_ins.touch(cookie, now=NOON + half)
    assert who(cookie, now=NOON + 2 * half).name == "admin"
    with pytest.raises(SignedOut, match="after 30 minutes without a touch"):
        who(cookie, now=NOON + half + timedelta(minutes=30))
    change_choices(who=admin, idle_minutes=60)
    assert who(cookie, now=NOON + half + timedelta(minutes=59)).name == "admin"
    now = NOON
    while now < NOON + sign_ins.LONGEST - timedelta(minutes=59):
        now += timedelta(minutes=59)
        assert who(cookie, now=now).name == "admin"
        sign_ins.touch(cookie, now=now)
    with pytest.raises(SignedOut, match="lasts 12 hours"):
        who(cookie, now=NOON + sign_ins.LONGEST)
    come_in(now=NOON + sign_ins.LONGEST + timedelta(minutes=1))
    with snapshot() as session:
        assert len(session.scalars(select(SignIn)).all()) == 1, "those that are too old are cleared away"


def test_a_given_password_holds_once(admin: Person) -> None:
    given = accounts.add_account("Tina.T", "Tina", [Role.TECHNICIAN], who=admin, now=NOON)
    cookie = come_in("tina.t", given)
    signed = sign_ins.signed_in(cookie, address=HOME, now=NOON)
    assert signed.must_change
    for old, new, again, sentence in (
        ("wrong", OTHER, OTHER, "old password is wrong"),
        (given, OTHER, OTHER + "!", "differ"),
        (given, "short", "short", "12 to 200"),
        (given, "aaaaaaaabbbbbbbb", "aaaaaaaabbbbbbbb", "six different"),
        (given, "my name is tina.t", "my name is tina.t", "account's name"),
        (given, given, given, "not the old one"),
    ):
        with pytest.raises(PasswordError, match=sentence):
            sign_ins.change_password(signed, old, new, again, address=HOME, now=NOON)
    after = sign_ins.change_password(signed, given, OTHER, OTHER, address=HOME, now=NOON)
    with pytest.raises(SignedOut):
        who(cookie)
    assert not sign_ins.signed_in(after, address=HOME, now=NOON).must_change
    with pytest.raises(SignInRefused):
        come_in("tina.t", given)
    assert who(come_in("tina.t", OTHER)).title == "Tina"


def test_whoever_sits_at_an_open_screen_cannot_try_passwords(admin: Person) -> None:
    cookie = come_in()
    signed = sign_ins.signed_in(cookie, address=HOME, now=NOON)
    for _ in range(sign_ins.FAILURES):
        with pytest.raises(PasswordError):
            sign_ins.change_password(signed, "a guess", OTHER, OTHER, address=HOME, now=NOON)
    with pytest.raises(PasswordError, match="locked"):
        sign_ins.change_password(signed, GOOD, OTHER, OTHER, address=HOME, now=NOON)


def test_what_an_admin_changes_holds_at_once(admin: Person) -> None:
    account, _ = add(admin, "tina", Role.TECHNICIAN)
    cookie = come_in("tina", OTHER)
    assert not who(cookie).may(Action.GIVE_VERDICT)
    change(admin, "tina", Role.TECHNICIAN, Role.CLINICIAN)
    assert who(cookie).may(Action.GIVE_VERDICT)
    change(admin, "tina", Role.CLINICIAN, active=False)
    with pytest.raises(SignedOut):
        who(cookie)
    change(admin, "tina", Role.CLINICIAN)
    with pytest.raises(SignedOut):
        who(cookie)
    cookie = come_in("tina", OTHER)
    given = accounts.new_password(account, who=admin)
    with pytest.raises(SignedOut):
        who(cookie)
    assert sign_ins.signed_in(come_in("tina", given), address=HOME, now=NOON).must_change
    shown = listed(admin, "tina")
    change(admin, "tina", Role.TECHNICIAN)
    with pytest.raises(AccountError, match="Somebody else"):
        accounts.change_account(
            shown.id,
            title="Old screen",
            roles=[Role.ADMIN],
            active=True,
            who=admin,
            revision=accounts.revision_of(shown),
        )
    changes = [line for line in audit_trail.search(Wanted(event="account")).lines if line.subject == "tina"]
    assert changes[0].before == {"title": "Tina", "roles": ["clinician"], "active": True}
    assert changes[0].after == {"title": "Tina", "roles": ["technician"], "active": True}
    assert {line.who for line in changes} == {"admin", "tina"}


def test_an_admin_always_stays(admin: Person) -> None:
    for roles, active in (((Role.CLINICIAN,), True), ((Role.ADMIN,), False)):
        with pytest.raises(AccountError, match="has to stay"):
            change(admin, "admin", *roles, active=active)
    with pytest.raises(AccountError, match="at least one role"):
        change(admin, "admin")
    add(admin, "second", Role.ADMIN, Role.CLINICIAN)
    change(admin, "admin", Role.CLINICIAN)
    with pytest.raises(Forbidden):
        change(who(come_in()), "second", Role.CLINICIAN)


def test_names_that_will_not_do(admin: Person) -> None:
    for name in ("", "a", "local", "nobody", "two words", "ümlaut", "a" * 65, "<b>x</b>"):
        with pytest.raises(AccountError, match="A name has"):
            accounts.add_account(name, "", [Role.TECHNICIAN], who=admin, now=NOON)
    with pytest.raises(AccountError, match="already"):
        accounts.add_account("ADMIN", "", [Role.TECHNICIAN], who=admin, now=NOON)
    with pytest.raises(AccountError, match="role"):
        accounts.add_account("tina", "", [], who=admin, now=NOON)


@pytest.mark.parametrize("role", [Role.TECHNICIAN, Role.CLINICIAN])
def test_accounts_are_for_admins(admin: Person, role: Role) -> None:
    account, _ = add(admin, "tina", role)
    person = who(come_in("tina", OTHER))
    before = accounts.list_accounts(who=admin, now=NOON)
    for forbidden in (
        lambda: accounts.list_accounts(who=person, now=NOON),
        lambda: accounts.add_account("more", "", [Role.ADMIN], who=person, now=NOON),
        lambda: accounts.new_password(account, who=person),
        lambda: accounts.unlock(account, who=person),
        lambda: accounts.change_account(
            account, title="", roles=[Role.ADMIN], active=True, who=person, revision=""
        ),
    ):
        with pytest.raises(Forbidden):
            forbidden()
    assert accounts.list_accounts(who=admin, now=NOON) == before


def test_there_is_one_first_admin(department_database: str) -> None:
    """On both databases: of several who are first at once, one is."""
    outcomes: list[str] = []

    def be_first(number: int) -> None:
        try:
            accounts.first_admin(f"admin{number}", "", GOOD, GOOD, address=HOME, now=NOON)
            outcomes.append("made")
        except AccountError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=be_first, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["There is an account already: sign in with it."] * 3 + ["made"]
    with snapshot() as session:
        assert len(session.scalars(select(Account)).all()) == 1


def test_the_audit_trail_has_no_password_and_no_token(admin: Person) -> None:
    _, given = add(admin, "tina", Role.TECHNICIAN)
    cookie = come_in("tina", OTHER)
    with pytest.raises(SignInRefused):
        come_in(GOOD, "typed into the wrong field")
    told = audit_trail.as_csv()
    for secret in (GOOD, OTHER, given, cookie, cookie.rpartition(".")[0], "typed into"):
        assert secret not in told
    assert events("sign-in refused") == [("nobody", {"reason": "no such name"})]
    assert {line.address for line in audit_trail.search(Wanted(event="sign-in")).lines} == {HOME}


RULES = (
    OpenIdRule(claim="groups", fits="Radiology", roles=(Role.CLINICIAN,)),
    OpenIdRule(claim="groups", fits="pneumo-admins", roles=(Role.ADMIN,)),
    OpenIdRule(claim="email", fits="*@clinic.example"),
)


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({}, set()),
        ({"groups": ["others"]}, set()),
        ({"groups": "radiology"}, {Role.CLINICIAN}),
        ({"groups": ["radiology", "pneumo-admins"]}, {Role.CLINICIAN, Role.ADMIN}),
        ({"groups": {"radiology": True}}, set()),
        ({"email": "t@clinic.example", "email_verified": True}, {Role.TECHNICIAN}),
        ({"email": "t@clinic.example", "email_verified": "true"}, set()),
        ({"email": "t@clinic.example"}, set()),
        ({"email": "t@clinic.example.evil.example", "email_verified": True}, set()),
    ],
)
def test_a_providers_words_give_roles_by_the_rules_alone(claims: dict[str, object], roles: set[Role]) -> None:
    assert openid.granted(claims, RULES) == roles
    assert openid.granted(claims, ()) == frozenset()


def test_signing_in_elsewhere(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PNEUMOSCOPE_OPENID_ROLES", '[{"claim": "groups", "fits": "radiology", "roles": ["clinician"]}]'
    )
    claims = {"iss": "https://id.example", "sub": "17", "name": "Clara", "groups": ["radiology"]}
    cookie = openid.sign_in(claims, address=HOME, now=NOON)
    assert who(cookie).roles == {Role.CLINICIAN}
    # An address that the provider has not verified takes over no account, and names none.
    other = claims | {"sub": "18", "email": "admin", "preferred_username": "admin"}
    assert who(openid.sign_in(other, address=HOME, now=NOON)).name == "18"
    named = claims | {"sub": "19", "email": "admin", "email_verified": True}
    third = who(openid.sign_in(named, address=HOME, now=NOON))
    assert third.name != "admin" and third.account != admin.account
    with pytest.raises(SignInRefused):
        come_in(who(cookie).name, "")
    with pytest.raises(SignInRefused):
        openid.sign_in(claims | {"groups": []}, address=HOME, now=NOON)
    with pytest.raises(SignedOut):
        who(cookie)  # the role is gone, and with it the sign-in
    with pytest.raises(SignInRefused):
        openid.sign_in({"groups": ["radiology"]}, address=HOME, now=NOON)
    change(admin, "17", Role.CLINICIAN, active=False)
    with pytest.raises(SignInRefused, match="deactivated"):
        openid.sign_in(claims, address=HOME, now=NOON)


def test_the_command_gives_a_password_that_holds_once(
    admin: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accounts.main(["list"]) == 0
    assert capsys.readouterr().out == "admin: admin\n"
    assert accounts.main(["password", "nobody-here"]) == 1
    assert "no account" in capsys.readouterr().err
    assert accounts.main(["password", "admin"]) == 0
    given = capsys.readouterr().out.strip()
    assert sign_ins.signed_in(come_in(password=given), address=HOME, now=NOON).must_change


def test_this_computer_manages_accounts_too(home: Path) -> None:
    """Where no sign-in is asked for, accounts can be made for the day when it is."""
    assert accounts.add_account("clara", "Clara", [Role.CLINICIAN], who=LOCAL, now=NOON)
