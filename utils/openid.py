"""Signing in with OpenID Connect: what a provider vouches for, turned into an account and its roles by rules."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from utils.accounts import in_order, note_account
from utils.database import transaction
from utils.permissions import Role
from utils.settings import OpenIdRule, get_settings
from utils.sign_ins import SignInRefused, as_person, begin, cookie_of, end_all, note_refusal, tidy_name
from utils.tables import Account


def sign_in(claims: Mapping[str, Any], *, address: str, now: datetime, former: str | None = None) -> str:
    """Let somebody in whom the OpenID Connect provider has just vouched for; roles come from the rules.

    Raises:
        SignInRefused: no rule gives a role, or the account is deactivated.
    """
    issuer = f"{claims.get('iss', '')} {claims.get('sub', '')}"
    roles = granted(claims, get_settings().openid_roles)
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
                end_all(session, account.id)
            note_refusal(session, who, address, "OpenID Connect: " + refusal)
        else:
            if account is None:
                account = Account(
                    name=_free_name(session, str(address_of or claims["sub"])),
                    title=title,
                    roles=in_order(roles),
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
                note_account(session, account, who=as_person(account, address), before={})
            elif set(account.roles) != {role.value for role in roles}:
                before = {"roles": account.roles}
                account.roles = in_order(roles)
                note_account(session, account, who=as_person(account, address), before=before)
            account.title = title
            token = begin(session, account, address=address, now=now, former=former)
    if refusal:
        raise SignInRefused(refusal)
    return cookie_of(token)


def granted(claims: Mapping[str, Any], rules: Collection[OpenIdRule]) -> frozenset[Role]:
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


def _free_name(session: Session, wanted: str) -> str:
    """A name that no account has yet, for somebody who signs in elsewhere."""
    base = tidy_name(wanted)[:190]
    taken = session.scalar(select(Account.id).where(Account.name == base)) is not None
    return f"{base} {secrets.token_hex(3)}" if taken or base in {"local", "nobody"} else base
