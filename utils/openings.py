"""Who has which case open at the moment, so that two people in one case know of each other.

Every browser says again and again that it is still there (`look`); one that falls silent, because it was closed or the
network is gone, stops counting after `GONE_AFTER`. Nothing is locked by it: what keeps a change from being
overwritten unseen is the case's revision (`utils.cases.give_verdict`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from utils.cases import visible
from utils.database import snapshot, transaction
from utils.permissions import Person
from utils.tables import Case, CaseOpening

LOOK_EVERY = 4.0
"""Seconds between two looks of an open screen."""
_SAY_EVERY = timedelta(seconds=10)
GONE_AFTER = timedelta(seconds=25)
"""A browser that has not said for so long that it has a case open does not have it open any more."""


@dataclass(frozen=True)
class Around:
    """What goes on around an open case.

    Attributes:
        others: titles of the people who have it open in other browsers.
        myself: whether the same person has it open in another browser.
        revision: of the case at the moment.
    """

    others: tuple[str, ...]
    myself: bool
    revision: int


def new_browser() -> str:
    """A name for a browser session, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def look(pseudonym: str, *, browser: str, who: Person) -> Around | None:
    """Say that this browser has the case open, and see who else has, and whether the case was changed.

    A browser has one case open at a time: the one it looked at last.

    Returns:
        None where there is no such case any more, or the person may not see it any more.

    Raises:
        Forbidden: `who` may see no cases.
        DatabaseError: the database cannot be read or written.
    """
    now = datetime.now(UTC)
    with snapshot() as session:
        case = session.execute(
            select(Case.id, Case.revision).where(Case.pseudonym == pseudonym, visible(who))
        ).one_or_none()
        if case is None:
            return None
        found = session.scalars(_lately(now).where(CaseOpening.case_id == case.id)).all()
    mine = next((opening for opening in found if opening.browser == browser), None)
    if mine is None or now - mine.seen > _SAY_EVERY:
        _say(case.id, browser=browser, who=who, now=now)
    rest = [opening for opening in found if opening.browser != browser]
    others = tuple(sorted({opening.title for opening in rest if opening.who != who.name}))
    return Around(others, any(opening.who == who.name for opening in rest), case.revision)


def leave(browser: str) -> None:
    """Say that this browser has no case open any more.

    Raises:
        DatabaseError: it could not be said.
    """
    with snapshot() as session:
        there = session.scalar(select(CaseOpening.case_id).where(CaseOpening.browser == browser).limit(1))
    if there is not None:
        with transaction() as writing:
            writing.execute(delete(CaseOpening).where(CaseOpening.browser == browser))


def others(browser: str) -> Select[int]:
    """A query for the numbers of the cases that other browsers have open."""
    limit = datetime.now(UTC) - GONE_AFTER
    return select(CaseOpening.case_id).where(CaseOpening.seen > limit, CaseOpening.browser != browser)


def titles(session: Session, cases: Sequence[int], *, browser: str) -> dict[int, tuple[str, ...]]:
    """Who has which of these cases open, in other browsers than this one."""
    found: dict[int, set[str]] = {}
    query = _lately(datetime.now(UTC)).where(CaseOpening.case_id.in_(cases), CaseOpening.browser != browser)
    for opening in session.scalars(query):
        found.setdefault(opening.case_id, set()).add(opening.title)
    return {case: tuple(sorted(people)) for case, people in found.items()}


def _lately(now: datetime) -> Select[CaseOpening]:
    return select(CaseOpening).where(CaseOpening.seen > now - GONE_AFTER)


def _say(case: int, *, browser: str, who: Person, now: datetime) -> None:
    with transaction() as session:
        session.execute(
            delete(CaseOpening).where(
                (CaseOpening.browser == browser) | (CaseOpening.seen < now - GONE_AFTER)
            )
        )
        if session.scalar(select(Case.id).where(Case.id == case)) is not None:
            session.add(CaseOpening(case_id=case, browser=browser, who=who.name, title=who.title, seen=now))
