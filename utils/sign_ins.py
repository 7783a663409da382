"""Sign-ins: who has come in, until when, and what ends it.

A browser keeps a token in a signed cookie, the table its SHA-256. Nothing here waits for anything: whoever calls says
what time it is.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from itsdangerous import BadSignature, Signer
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from utils import audit_trail, passwords
from utils.choices import get_choices
from utils.database import snapshot, transaction
from utils.passwords import PasswordError
from utils.permissions import Person, Role, SignedOut
from utils.settings import SettingsError, get_settings
from utils.tables import Account, SignIn

COOKIE = "pneumoscope_sign_in"
FAILURES = 5
"""So many failed sign-ins in a row lock an account."""
LOCKED = timedelta(minutes=15)
LONGEST = timedelta(hours=12)
"""A sign-in ends after so long, busy or not."""
_TOUCH = timedelta(minutes=1)
"""How exactly the time of the last touch is kept: not every run of a page writes."""
REFUSED = (
    "That did not work. Check name and password; after "
    f"{FAILURES} failures in a row an account stays locked for {LOCKED.seconds // 60} minutes."
)
"""The one sentence for every way a sign-in can fail, so that it does not tell whether a name exists."""
NOBODY = "Nobody is signed in: sign in first."
_KEY_FILE = "sign-in.key"


class SignInRefused(PermissionError):  # noqa: N818 - it is no error of the program
    """The sign-in failed; one sentence."""


@dataclass(frozen=True)
class SignedIn:
    """Somebody with a valid sign-in; until a password is chosen, it is good for that alone."""

    person: Person
    must_change: bool
    openid: bool


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
    right = passwords.matches(known, password)
    refused = False
    token = ""
    with transaction() as session:
        account = session.scalar(select(Account).where(Account.name == wanted))
        if account is None or account.password != known or known is None:
            # What was typed as a name is often a password: it is not kept.
            who = "nobody" if account is None else account.name
            refused = True
            note_refusal(session, who, address, "no such name" if account is None else "no password here")
        elif not account.active or (account.locked_until is not None and now < account.locked_until):
            refused = True
            note_refusal(session, account.name, address, "locked" if account.active else "deactivated")
        elif not right:
            refused = True
            account.failures += 1
            reason = "wrong password"
            if account.failures >= FAILURES:
                account.failures, account.locked_until = 0, now + LOCKED
                reason = f"wrong password; locked for {LOCKED.seconds // 60} minutes"
            note_refusal(session, account.name, address, reason)
        else:
            if passwords.outdated(known):
                account.password = passwords.hashed(password)
            token = begin(session, account, address=address, now=now, former=former)
    if refused:
        raise SignInRefused(REFUSED)
    return cookie_of(token)


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
        return SignedIn(as_person(account, address), account.must_change, account.issuer is not None)


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
        audit_trail.add(session, "sign-out", who=as_person(account, address))


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


def change_password(signed: SignedIn, old: str, new: str, again: str, *, address: str, now: datetime) -> str:
    """Choose another password for oneself; all sign-ins of the account end, and a new one starts.

    Returns:
        The new cookie's value.

    Raises:
        PasswordError: the old password is wrong, or the new one will not do.
        SignInRefused: the account was locked or changed in the meantime.
    """
    account_id = signed.person.account
    with snapshot() as session:
        account = session.get_one(Account, account_id)
        known, name = account.password, account.name
        locked = account.locked_until is not None and now < account.locked_until
    if known is None:
        raise PasswordError("This account signs in elsewhere: its password is changed there.")
    right = passwords.matches(known, old)
    wrong = not right or locked
    if not wrong:
        passwords.check(new, again, name=name)
        if passwords.matches(known, new):
            raise PasswordError("Choose a password that is not the old one.")
    hashed = "" if wrong else passwords.hashed(new)
    token = ""
    with transaction() as session:
        account = session.get_one(Account, account_id)
        if wrong:
            # Whoever sits down at somebody's open screen may not try passwords either.
            account.failures += 1
            if account.failures >= FAILURES:
                account.failures, account.locked_until = 0, now + LOCKED
            note_refusal(session, account.name, address, "wrong old password")
        else:
            if not account.active or account.password != known:
                raise SignInRefused(REFUSED)
            account.password, account.must_change = hashed, False
            end_all(session, account.id)
            audit_trail.add(
                session,
                "account",
                who=as_person(account, address),
                subject=account.name,
                after={"password": "changed"},
            )
            token = begin(session, account, address=address, now=now, former=None)
    if wrong:
        raise PasswordError("The old password is wrong, or the account is locked for the moment.")
    return cookie_of(token)


def idle_time() -> timedelta:
    """After how long without a touch a sign-in ends, as the department has chosen."""
    return timedelta(minutes=get_choices().idle_minutes)


def tidy_name(name: str) -> str:
    """A name as it is looked up: lower case, without blanks around it."""
    return passwords.normal(name).strip().lower()[:200]


def roles_of(account: Account) -> frozenset[Role]:
    """The roles that the table keeps as words."""
    return frozenset(Role(role) for role in account.roles)


def as_person(account: Account, address: str) -> Person:
    """Whoever has this account, at this address."""
    return Person(account.name, account.title, roles_of(account), address=address[:64], account=account.id)


def begin(session: Session, account: Account, *, address: str, now: datetime, former: str | None) -> str:
    """A new sign-in; the one before it in this browser ends, and with it all that are too old."""
    account.failures, account.locked_until = 0, None
    if (before := _token(former)) is not None:
        session.execute(delete(SignIn).where(SignIn.token == before))
    session.execute(delete(SignIn).where(SignIn.created < now - LONGEST))
    token = secrets.token_urlsafe(32)
    hashed = hashlib.sha256(token.encode("ascii")).hexdigest()
    session.add(SignIn(token=hashed, account_id=account.id, created=now, seen=now, address=address[:64]))
    audit_trail.add(session, "sign-in", who=as_person(account, address))
    return token


def end_all(session: Session, account_id: int) -> None:
    """End all sign-ins of an account."""
    session.execute(delete(SignIn).where(SignIn.account_id == account_id))


def note_refusal(session: Session, name: str, address: str, reason: str) -> None:
    """A line of the audit trail for somebody who was not let in."""
    who = Person(name, name, frozenset(), address=address[:64])
    audit_trail.add(session, "sign-in refused", who=who, after={"reason": reason})


def cookie_of(token: str) -> str:
    """The value of the cookie for a token, signed."""
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
