"""Accounts: who may sign in, with which roles; for administrators.

`python -m utils.accounts password NAME` gives an account a new password that holds once, for an admin who cannot come
in any more; `python -m utils.accounts list` names the accounts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from utils import audit_trail, passwords
from utils.database import DatabaseError, snapshot, transaction
from utils.permissions import Action, Person, Role
from utils.settings import SettingsError
from utils.sign_ins import LONGEST, as_person, end_all, idle_time, roles_of, tidy_name
from utils.tables import Account, SignIn


class AccountError(ValueError):
    """The account cannot be made or changed that way; one sentence."""


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
    password = passwords.made()
    hashed = passwords.hashed(password)
    with transaction() as session:
        if session.scalar(select(Account.id).where(Account.name == wanted)) is not None:
            raise AccountError(f"There is an account {wanted} already: choose another name.")
        account = _new_account(wanted, title, roles, hashed, now=now, must_change=True)
        session.add(account)
        session.flush()
        note_account(session, account, who=who, before={})
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
            account.roles = in_order(roles)
        account.active = active
        if not active:
            end_all(session, account.id)
        session.flush()
        if not _active_admins(session):
            raise AccountError("One active account with the role of admin and a password has to stay.")
        if _facts(account) != before:
            note_account(session, account, who=who, before=before)


def new_password(account_id: int, *, who: Person) -> str:
    """Give an account a new password that holds for one sign-in, unlock it, end its sign-ins.

    Raises:
        AccountError: the account signs in elsewhere.
        Forbidden: this person may not.
    """
    who.require(Action.MANAGE_ACCOUNTS)
    password = passwords.made()
    hashed = passwords.hashed(password)
    with transaction() as session:
        account = session.get(Account, account_id)
        if account is None or account.issuer is not None:
            raise AccountError("This account has no password here.")
        account.password, account.must_change = hashed, True
        account.failures, account.locked_until = 0, None
        end_all(session, account.id)
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
                roles=roles_of(account),
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
    passwords.check(password, again, name=wanted)
    hashed = passwords.hashed(password)
    with transaction() as session:
        if session.scalar(select(Account.id).limit(1)) is not None:
            raise AccountError("There is an account already: sign in with it.")
        account = _new_account(wanted, title, [Role.ADMIN], hashed, now=now, must_change=False)
        session.add(account)
        session.flush()
        note_account(session, account, who=as_person(account, address), before={})


def in_order(roles: Collection[Role]) -> list[str]:
    """Roles as the table keeps them: words, the least first."""
    return [role.value for role in Role if role in roles]


def note_account(session: Session, account: Account, *, who: Person, before: Mapping[str, Any]) -> None:
    """A line of the audit trail for an account that was made or changed."""
    audit_trail.add(
        session, "account", who=who, subject=account.name, before=dict(before), after=_facts(account)
    )


def _new_account(
    name: str, title: str, roles: Collection[Role], hashed: str, *, now: datetime, must_change: bool
) -> Account:
    return Account(
        name=name,
        title=_checked_title(title, name),
        roles=in_order(roles),
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
    return " ".join(passwords.normal(title).split())[:100] or name


def _active_admins(session: Session) -> int:
    """How many accounts can still manage the others; those of a provider do not count, it may be away."""
    local = session.scalars(select(Account).where(Account.active, Account.password.is_not(None)))
    return sum(Role.ADMIN in roles_of(account) for account in local)


def _facts(account: Account) -> dict[str, Any]:
    return {"title": account.title, "roles": list(account.roles), "active": account.active}


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
                words = ", ".join(in_order(each.roles)) + ("" if each.active else ", deactivated")
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
