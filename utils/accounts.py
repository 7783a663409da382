"""Accounts and sign-ins: who may come in, until when, and what ends it.

Passwords are kept as argon2 hashes, tokens of sign-ins as SHA-256. Nothing here waits for anything: whoever calls
says what time it is. Hashing happens outside of transactions, since it takes a tenth of a second on purpose.

`python -m utils.accounts password NAME` gives an account a new password that holds once, for an admin who cannot come
in any more; `python -m utils.accounts list` names the accounts.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadSignature, Signer
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from utils import audit_trail
from utils.choices import get_choices
from utils.database import DatabaseError, snapshot, transaction
from utils.people import Person, SignedOut
from utils.permissions import Action, Role
from utils.settings import OpenIdRule, SettingsError, get_settings
from utils.tables import Account, SignIn

COOKIE = "pneumoscope_sign_in"
FAILURES = 5
"""So many failed sign-ins in a row lock an account."""
LOCKED = timedelta(minutes=15)
LONGEST = timedelta(hours=12)
"""A sign-in ends after so long, busy or not."""
_TOUCH = timedelta(minutes=1)
"""How exactly the time of the last touch is kept: not every run of a page writes."""
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
REFUSED = (
    "That did not work. Check name and password; after "
    f"{FAILURES} failures in a row an account stays locked for {LOCKED.seconds // 60} minutes."
)
"""The one sentence for every way a sign-in can fail, so that it does not tell whether a name exists."""
NOBODY = "Nobody is signed in: sign in first."
_KEY_FILE = "sign-in.key"

_hasher = PasswordHasher()
# Each hash takes 64 MB: a flood of sign-ins waits here instead of taking the server's memory.
_hashing = threading.BoundedSemaphore(2)


class AccountError(ValueError):
    """The account cannot be made or changed that way; one sentence."""


class SignInRefused(PermissionError):  # noqa: N818 - it is no error of the program
    """The sign-in failed; one sentence."""


@dataclass(frozen=True)
class Listed:
    """An account as its administrator sees it.

    Attributes:
        openid: whether it signs in elsewhere; its roles then come from there.
        locked: after failures, until `locked_until`.
        signed_in: number of browsers.
    """

    id: int
    name: str
    title: str
    roles: frozenset[Role]
    openid: bool
    active: bool
    must_change: bool
    created: datetime
    locked_until: datetime | None
    signed_in: int
    seen: datetime | None


@dataclass(frozen=True)
class SignedIn:
    """Somebody with a valid sign-in; until a password is chosen, it is good for that alone."""

    person: Person
    must_change: bool
    openid: bool


# --- signing in and out ---


def sign_in(name: str, password: str, *, address: str, now: datetime, former: str | None = None) -> str:
    """Check name and password.

    Args:
        name: as typed.
        password: as typed.
        address: from where.
        now: the time.
        former: the cookie that the browser brought, whose sign-in ends here.

    Returns:
        The new cookie's value.

    Raises:
        SignInRefused: one and the same sentence whatever was wrong.
        DatabaseError: the accounts cannot be read or written.
    """
    wanted = tidy_name(name)
    with snapshot() as session:
        account = session.scalar(select(Account).where(Account.name == wanted))
        known = None if account is None else account.password
    right = _matches(known, password)
    refused = False
    token = ""
    with transaction() as session:
        account = session.scalar(select(Account).where(Account.name == wanted))
        if account is None or account.password != known or known is None:
            # What was typed as a name is often a password: it is not kept.
            who = "nobody" if account is None else account.name
            refused = True
            _note_refusal(session, who, address, "no such name" if account is None else "no password here")
        elif not account.active or (account.locked_until is not None and now < account.locked_until):
            refused = True
            _note_refusal(session, account.name, address, "locked" if account.active else "deactivated")
        elif not right:
            refused = True
            account.failures += 1
            reason = "wrong password"
            if account.failures >= FAILURES:
                account.failures, account.locked_until = 0, now + LOCKED
                reason = f"wrong password; locked for {LOCKED.seconds // 60} minutes"
            _note_refusal(session, account.name, address, reason)
        else:
            if _hasher.check_needs_rehash(known):
                account.password = _hash(password)
            token = _begin(session, account, address=address, now=now, former=former)
    if refused:
        raise SignInRefused(REFUSED)
    return _signed(token)


def sign_in_openid(
    claims: Mapping[str, Any], *, address: str, now: datetime, former: str | None = None
) -> str:
    """Let somebody in whom the OpenID Connect provider has just vouched for; roles come from the rules.

    Raises:
        SignInRefused: no rule gives a role, or the account is deactivated.
    """
    issuer = f"{claims.get('iss', '')} {claims.get('sub', '')}"
    roles = roles_of(claims, get_settings().openid_roles)
    address_of = claims.get("email") if claims.get("email_verified") is True else None
    title = str(claims.get("name") or address_of or claims.get("preferred_username") or claims.get("sub"))[
        :200
    ]
    refusal = ""
    token = ""
    with transaction() as session:
        account = session.scalar(select(Account).where(Account.issuer == issuer))
        who = "nobody" if account is None else account.name
        if not claims.get("iss") or not claims.get("sub"):
            refusal = "The sign-in service did not say who you are."
        elif not roles:
            refusal = "You have no role in this department yet: ask your administrator."
        elif account is not None and not account.active:
            refusal = "Your account is deactivated: ask your administrator."
        if refusal:
            if account is not None and not roles:
                _end_all(session, account.id)
            _note_refusal(session, who, address, "OpenID Connect: " + refusal)
        else:
            if account is None:
                account = Account(
                    name=_free_name(session, str(address_of or claims["sub"])),
                    title=title,
                    roles=_sorted(roles),
                    password=None,
                    issuer=issuer[:500],
                    active=True,
                    must_change=False,
                    created=now,
                    failures=0,
                    locked_until=None,
                )
                session.add(account)
                session.flush()
                _note_account(session, account, who=_as_person(account, address), before={})
            elif set(account.roles) != {role.value for role in roles}:
                before = {"roles": account.roles}
                account.roles = _sorted(roles)
                _note_account(session, account, who=_as_person(account, address), before=before)
            account.title = title
            token = _begin(session, account, address=address, now=now, former=former)
    if refusal:
        raise SignInRefused(refusal)
    return _signed(token)


def signed_in(cookie: str | None, *, address: str, now: datetime) -> SignedIn:
    """Whose sign-in a cookie holds.

    Raises:
        SignedOut: nobody's: it is forged, ended, too old, or the account was deactivated; one sentence.
        DatabaseError: the accounts cannot be read.
    """
    token = _token(cookie)
    if token is None:
        raise SignedOut(NOBODY)
    with snapshot() as session:
        found = session.execute(
            select(SignIn, Account)
            .join(Account, Account.id == SignIn.account_id)
            .where(SignIn.token == token)
        ).one_or_none()
        if found is None:
            raise SignedOut(NOBODY)
        entry, account = found
        if not account.active:
            raise SignedOut(NOBODY)
        idle = idle_time()
        if now - entry.seen >= idle:
            minutes = int(idle.total_seconds() // 60)
            raise SignedOut(f"You were signed out after {minutes} minutes without a touch: sign in again.")
        if now - entry.created >= LONGEST:
            hours = LONGEST.seconds // 3600
            raise SignedOut(f"A sign-in lasts {hours} hours: sign in again.")
        return SignedIn(_as_person(account, address), account.must_change, account.issuer is not None)


def touch(cookie: str | None, *, now: datetime) -> None:
    """Somebody is still there: the idle time starts anew. Not for what a screen does by itself."""
    token = _token(cookie)
    if token is None:
        return
    with snapshot() as session:
        seen = session.scalar(select(SignIn.seen).where(SignIn.token == token))
    if seen is None or now - seen < _TOUCH:
        return
    with transaction() as session:
        entry = session.get(SignIn, token)
        if entry is not None and now > entry.seen:
            entry.seen = now


def sign_out(cookie: str | None, *, address: str) -> None:
    """End a sign-in: its cookie is worth nothing from now on, wherever it is kept."""
    token = _token(cookie)
    if token is None:
        return
    with transaction() as session:
        entry = session.get(SignIn, token)
        if entry is None:
            return
        account = session.get_one(Account, entry.account_id)
        session.delete(entry)
        audit_trail.add(session, "sign-out", who=_as_person(account, address))


def sign_out_elsewhere(who: Person, cookie: str | None) -> int:
    """End all sign-ins of a person but the one of this cookie; how many there were."""
    token = _token(cookie)
    with transaction() as session:
        entries = session.scalars(
            select(SignIn).where(SignIn.account_id == who.account, SignIn.token != (token or ""))
        ).all()
        for entry in entries:
            session.delete(entry)
        if entries:
            audit_trail.add(session, "sign-out", who=who, after={"elsewhere": len(entries)})
        return len(entries)


def idle_time() -> timedelta:
    """After how long without a touch a sign-in ends, as the department has chosen."""
    return timedelta(minutes=get_choices().idle_minutes)


# --- passwords ---


def change_password(signed: SignedIn, old: str, new: str, again: str, *, address: str, now: datetime) -> str:
    """Choose another password for oneself; all sign-ins of the account end, and a new one starts.

    Returns:
        The new cookie's value.

    Raises:
        AccountError: the old password is wrong, or the new one will not do.
        SignInRefused: the account was locked or changed in the meantime.
    """
    account_id = signed.person.account
    with snapshot() as session:
        account = session.get_one(Account, account_id)
        known, name = account.password, account.name
        locked = account.locked_until is not None and now < account.locked_until
    if known is None:
        raise AccountError("This account signs in elsewhere: its password is changed there.")
    right = _matches(known, old)
    wrong = not right or locked
    if not wrong:
        check_password(new, again, name=name)
        if _matches(known, new):
            raise AccountError("Choose a password that is not the old one.")
    hashed = "" if wrong else _hash(new)
    token = ""
    with transaction() as session:
        account = session.get_one(Account, account_id)
        if wrong:
            # Whoever sits down at somebody's open screen may not try passwords either.
            account.failures += 1
            if account.failures >= FAILURES:
                account.failures, account.locked_until = 0, now + LOCKED
            _note_refusal(session, account.name, address, "wrong old password")
        else:
            if not account.active or account.password != known:
                raise SignInRefused(REFUSED)
            account.password, account.must_change = hashed, False
            _end_all(session, account.id)
            audit_trail.add(
                session,
                "account",
                who=_as_person(account, address),
                subject=account.name,
                after={"password": "changed"},
            )
            token = _begin(session, account, address=address, now=now, former=None)
    if wrong:
        raise AccountError("The old password is wrong, or the account is locked for the moment.")
    return _signed(token)


def check_password(password: str, again: str, *, name: str) -> None:
    """Nothing where a password will do.

    Raises:
        AccountError: it will not; one sentence that says why.
    """
    password, again = _normal(password), _normal(again)
    if password != again:
        raise AccountError("The two new passwords differ: type the same one twice.")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccountError(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.")
    if len(set(password)) < 6:
        raise AccountError("A password needs at least six different characters.")
    if len(name) > 3 and name.lower() in password.lower():
        raise AccountError("A password does not contain the account's name.")


# --- accounts ---


def add_account(name: str, title: str, roles: Collection[Role], *, who: Person, now: datetime) -> str:
    """Make an account.

    Returns:
        A password that holds for the first sign-in only: it has to be changed then.

    Raises:
        AccountError: the name will not do or is taken, or no role was given.
        Forbidden: this person may not.
    """
    who.require(Action.MANAGE_ACCOUNTS)
    wanted = _checked_name(name)
    if not roles:
        raise AccountError("Choose at least one role.")
    password = made_password()
    hashed = _hash(password)
    with transaction() as session:
        if session.scalar(select(Account.id).where(Account.name == wanted)) is not None:
            raise AccountError(f"There is an account {wanted} already: choose another name.")
        account = _new_account(wanted, title, roles, hashed, now=now, must_change=True)
        session.add(account)
        session.flush()
        _note_account(session, account, who=who, before={})
    return password


def change_account(
    account_id: int, *, title: str, roles: Collection[Role], active: bool, who: Person, revision: str
) -> None:
    """Change what others see, what is permitted, and whether one may come in.

    Args:
        account_id: which account.
        title: the name that others see.
        roles: at least one; those of an OpenID Connect account come from its rules and stay.
        active: whether one may sign in; where not, all sign-ins end at once.
        who: who changes it.
        revision: `revision_of` what the screen showed.

    Raises:
        AccountError: there would be no active admin left, nothing is chosen, or somebody else changed it.
        Forbidden: this person may not.
    """
    who.require(Action.MANAGE_ACCOUNTS)
    if not roles:
        raise AccountError("Choose at least one role.")
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None or revision_of(account) != revision:
            raise AccountError("Somebody else has just changed this account: look at it again.")
        before = _facts(account)
        account.title = _checked_title(title, account.name)
        if account.issuer is None:
            account.roles = _sorted(roles)
        account.active = active
        if not active:
            _end_all(session, account.id)
        session.flush()
        if not _active_admins(session):
            raise AccountError("One active account with the role of admin and a password has to stay.")
        if _facts(account) != before:
            _note_account(session, account, who=who, before=before)


def new_password(account_id: int, *, who: Person) -> str:
    """Give an account a new password that holds for one sign-in, unlock it, end its sign-ins.

    Raises:
        AccountError: the account signs in elsewhere.
        Forbidden: this person may not.
    """
    who.require(Action.MANAGE_ACCOUNTS)
    password = made_password()
    hashed = _hash(password)
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None or account.issuer is not None:
            raise AccountError("This account has no password here.")
        account.password, account.must_change = hashed, True
        account.failures, account.locked_until = 0, None
        _end_all(session, account.id)
        audit_trail.add(session, "account", who=who, subject=account.name, after={"password": "given anew"})
    return password


def unlock(account_id: int, *, who: Person) -> None:
    """Let an account that failures have locked sign in again at once."""
    who.require(Action.MANAGE_ACCOUNTS)
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None:
            raise AccountError("There is no such account any more.")
        account.failures, account.locked_until = 0, None
        audit_trail.add(session, "account", who=who, subject=account.name, after={"unlocked": True})


def list_accounts(*, who: Person, now: datetime) -> list[Listed]:
    """All accounts, by name.

    Raises:
        Forbidden: this person may not see them.
    """
    who.require(Action.MANAGE_ACCOUNTS)
    oldest, idle = now - LONGEST, now - idle_time()
    with snapshot() as session:
        alive = {
            account: (count, seen)
            for account, count, seen in session.execute(
                select(SignIn.account_id, func.count(), func.max(SignIn.seen))
                .where(SignIn.created > oldest, SignIn.seen > idle)
                .group_by(SignIn.account_id)
            )
        }
        return [
            Listed(
                id=account.id,
                name=account.name,
                title=account.title,
                roles=_roles(account),
                openid=account.issuer is not None,
                active=account.active,
                must_change=account.must_change,
                created=account.created,
                locked_until=account.locked_until
                if account.locked_until is not None and account.locked_until > now
                else None,
                signed_in=alive.get(account.id, (0, None))[0],
                seen=alive.get(account.id, (0, None))[1],
            )
            for account in session.scalars(select(Account).order_by(Account.name))
        ]


def revision_of(account: Account | Listed) -> str:
    """What a screen has shown of an account: a change of it elsewhere is told by this."""
    return repr((account.title, sorted(map(str, account.roles)), account.active))


# --- the first admin ---


def none_yet() -> bool:
    """Whether there is no account at all."""
    with snapshot() as session:
        return session.scalar(select(Account.id).limit(1)) is None


def first_admin(name: str, title: str, password: str, again: str, *, address: str, now: datetime) -> None:
    """Make the first account, an admin's.

    Raises:
        AccountError: name or password will not do, or there is an account already.
    """
    wanted = _checked_name(name)
    check_password(password, again, name=wanted)
    hashed = _hash(password)
    with transaction() as session:
        if session.scalar(select(Account.id).limit(1)) is not None:
            raise AccountError("There is an account already: sign in with it.")
        account = _new_account(wanted, title, [Role.ADMIN], hashed, now=now, must_change=False)
        session.add(account)
        session.flush()
        _note_account(session, account, who=_as_person(account, address), before={})


# --- roles that a provider's words give ---


def roles_of(claims: Mapping[str, Any], rules: Collection[OpenIdRule]) -> frozenset[Role]:
    """The roles that the rules give to somebody: of all rules that fit; none where none fits.

    An address counts only where the provider says that it has verified it. A claim may be one word or a list of words.
    """
    roles: set[Role] = set()
    for rule in rules:
        if rule.claim == "email" and claims.get("email_verified") is not True:
            continue
        value = claims.get(rule.claim)
        words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        pattern = rule.fits.casefold()
        if any(isinstance(word, str) and fnmatchcase(word.casefold(), pattern) for word in words):
            roles.update(rule.roles)
    return frozenset(roles)


# --- the cookie ---


def _signed(token: str) -> str:
    return _signer().sign(token).decode("ascii")


def _token(cookie: str | None) -> str | None:
    """SHA-256 of the token in a cookie, as the table has it; None where the signature is not ours."""
    if not cookie or len(cookie) > 200:
        return None
    try:
        token = _signer().unsign(cookie.encode("utf-8", "replace"))
    except BadSignature:
        return None
    return hashlib.sha256(token).hexdigest()


def _signer() -> Signer:
    settings = get_settings()
    if settings.secret is not None:
        key = settings.secret.get_secret_value()
    else:
        key = _key(settings.home)
    return Signer(key, salt=COOKIE, digest_method=hashlib.sha256)


@lru_cache(maxsize=4)
def _key(home: Path) -> str:
    """The key under home, made once; several processes at once end up with the same one."""
    file = home / _KEY_FILE
    try:
        if not file.exists():
            home.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(f"{_KEY_FILE}.{secrets.token_hex(8)}")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as output:
                output.write(secrets.token_hex(32))
                output.flush()
                os.fsync(output.fileno())
            try:
                os.link(draft, file)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The key that signs cookies cannot be kept in {file}: let the server write there, or set "
            "PNEUMOSCOPE_SECRET."
        ) from error
    if len(key) < 32:
        raise SettingsError(f"{file} holds no key: remove it, and a new one is made.")
    return key


# --- parts ---


def tidy_name(name: str) -> str:
    """A name as it is looked up: lower case, without blanks around it."""
    return _normal(name).strip().lower()[:200]


def made_password() -> str:
    """A password that nobody chose: 20 characters without those that look alike."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def same(one: str, other: str) -> bool:
    """Whether two codes are the same, in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _hash(password: str) -> str:
    with _hashing:
        return _hasher.hash(_normal(password))


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hash(secrets.token_hex(16))


def _matches(hashed: str | None, password: str) -> bool:
    """Whether a password is the one; as much work where there is none to compare with."""
    if len(password) > LONGEST_PASSWORD:
        password = password[: LONGEST_PASSWORD + 1]
    against = _nobodys_hash() if hashed is None else hashed
    try:
        with _hashing:
            right = _hasher.verify(against, _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return right if hashed is not None else False


def _begin(session: Session, account: Account, *, address: str, now: datetime, former: str | None) -> str:
    """A new sign-in; the one before it in this browser ends, and with it all that are too old."""
    account.failures, account.locked_until = 0, None
    if (before := _token(former)) is not None:
        session.execute(delete(SignIn).where(SignIn.token == before))
    session.execute(delete(SignIn).where(SignIn.created < now - LONGEST))
    token = secrets.token_urlsafe(32)
    hashed = hashlib.sha256(token.encode("ascii")).hexdigest()
    session.add(SignIn(token=hashed, account_id=account.id, created=now, seen=now, address=address[:64]))
    audit_trail.add(session, "sign-in", who=_as_person(account, address))
    return token


def _end_all(session: Session, account_id: int) -> None:
    session.execute(delete(SignIn).where(SignIn.account_id == account_id))


def _new_account(
    name: str, title: str, roles: Collection[Role], hashed: str, *, now: datetime, must_change: bool
) -> Account:
    return Account(
        name=name,
        title=_checked_title(title, name),
        roles=_sorted(roles),
        password=hashed,
        issuer=None,
        active=True,
        must_change=must_change,
        created=now,
        failures=0,
        locked_until=None,
    )


def _checked_name(name: str) -> str:
    wanted = tidy_name(name)
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789.-_@")
    if not 2 <= len(wanted) <= 64 or not set(wanted) <= allowed or wanted in {"local", "nobody"}:
        raise AccountError("A name has 2 to 64 characters: letters a to z, digits, and . - _ @")
    return wanted


def _checked_title(title: str, name: str) -> str:
    return " ".join(_normal(title).split())[:100] or name


def _free_name(session: Session, wanted: str) -> str:
    """A name that no account has yet, for somebody who signs in elsewhere."""
    base = tidy_name(wanted)[:190]
    taken = session.scalar(select(Account.id).where(Account.name == base)) is not None
    return f"{base} {secrets.token_hex(3)}" if taken or base in {"local", "nobody"} else base


def _roles(account: Account) -> frozenset[Role]:
    return frozenset(Role(role) for role in account.roles)


def _sorted(roles: Collection[Role]) -> list[str]:
    return [role.value for role in Role if role in roles]


def _as_person(account: Account, address: str) -> Person:
    return Person(account.name, account.title, _roles(account), address=address[:64], account=account.id)


def _active_admins(session: Session) -> int:
    """How many accounts can still manage the others; those of a provider do not count, it may be away."""
    local = session.scalars(select(Account).where(Account.active, Account.password.is_not(None)))
    return sum(Role.ADMIN in _roles(account) for account in local)


def _facts(account: Account) -> dict[str, Any]:
    return {"title": account.title, "roles": list(account.roles), "active": account.active}


def _note_account(session: Session, account: Account, *, who: Person, before: Mapping[str, Any]) -> None:
    audit_trail.add(
        session, "account", who=who, subject=account.name, before=dict(before), after=_facts(account)
    )


def _note_refusal(session: Session, name: str, address: str, reason: str) -> None:
    who = Person(name, name, frozenset(), address=address[:64])
    audit_trail.add(session, "sign-in refused", who=who, after={"reason": reason})


# --- the command ---


def main(arguments: list[str] | None = None) -> int:
    """For whoever runs the server, and with it may do anything."""
    parser = argparse.ArgumentParser(prog="python -m utils.accounts", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the accounts")
    password = commands.add_parser("password", help="give an account a new password that holds once")
    password.add_argument("name")
    chosen = parser.parse_args(arguments)
    who = Person("server", "command on the server", frozenset({Role.ADMIN}))
    try:
        accounts = list_accounts(who=who, now=datetime.now(UTC))
        if chosen.command == "list":
            for each in accounts:
                words = ", ".join(_sorted(each.roles)) + ("" if each.active else ", deactivated")
                print(f"{each.name}: {words}")
            return 0
        found = next((each for each in accounts if each.name == tidy_name(chosen.name)), None)
        if found is None:
            raise AccountError(f"There is no account {chosen.name!r}.")
        print(new_password(found.id, who=who))
    except (AccountError, DatabaseError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
