"""Who may do what: people, three roles, and one table that every page and every handler of an action asks.

A hidden button is a courtesy; what counts is `require`, called where the action is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is in the department. The least comes first."""

    TECHNICIAN = "technician"
    CLINICIAN = "clinician"
    ADMIN = "admin"


class Action(StrEnum):
    """Everything that is permitted or not; the value is what the audit trail calls it."""

    READ_FILMS = "read films"
    SEE_OPEN_CASES = "see own and open cases"
    SEE_ALL_CASES = "see all cases"
    SEE_METRICS = "see metrics"
    SET_THRESHOLD = "move the threshold"
    GIVE_VERDICT = "give a verdict"
    MAKE_REPORT = "make a report"
    EXPORT_CASES = "export cases"
    DELETE_CASE = "delete a case"
    EVALUATE_OWN_FILMS = "evaluate own films"
    SET_DEPARTMENT_THRESHOLD = "set the department's threshold"
    SEE_DATA = "see data sets"
    TRAIN = "train"
    MANAGE_MODELS = "manage models"
    MANAGE_ACCOUNTS = "manage accounts"
    SEE_AUDIT = "see the audit trail"
    CHANGE_SETTINGS = "change settings"


_TECHNICIAN = frozenset({Action.READ_FILMS, Action.SEE_OPEN_CASES, Action.SEE_METRICS})
_CLINICIAN = _TECHNICIAN | {
    Action.SEE_ALL_CASES,
    Action.SET_THRESHOLD,
    Action.GIVE_VERDICT,
    Action.MAKE_REPORT,
    Action.EXPORT_CASES,
    Action.EVALUATE_OWN_FILMS,
}
_ADMIN = frozenset(
    {
        Action.SEE_METRICS,
        Action.SET_DEPARTMENT_THRESHOLD,
        Action.EVALUATE_OWN_FILMS,
        Action.DELETE_CASE,
        Action.SEE_DATA,
        Action.TRAIN,
        Action.MANAGE_MODELS,
        Action.MANAGE_ACCOUNTS,
        Action.SEE_AUDIT,
        Action.CHANGE_SETTINGS,
    }
)

PERMITTED: dict[Role, frozenset[Action]] = {
    Role.TECHNICIAN: _TECHNICIAN,
    Role.CLINICIAN: frozenset(_CLINICIAN),
    Role.ADMIN: _ADMIN,
}
"""Each role by itself; an account may have several. An admin who also reads films is given both roles."""


class Forbidden(PermissionError):  # noqa: N818 - it is no error of the program
    """The roles of this person do not permit the action; one sentence that says who may."""


def permits(roles: frozenset[Role], action: Action) -> bool:
    """Whether one of the roles permits the action."""
    return any(action in PERMITTED[role] for role in roles)


def require(roles: frozenset[Role], action: Action) -> None:
    """Nothing where one of the roles permits the action.

    Raises:
        Forbidden: none does.
    """
    if not permits(roles, action):
        who = " or ".join(role.value for role in Role if action in PERMITTED[role])
        raise Forbidden(f"To {action.value} takes the role of {who}: ask your administrator.")


class SignedOut(PermissionError):  # noqa: N818 - it is no error of the program
    """Nobody is signed in; one sentence that says so."""


@dataclass(frozen=True)
class Person:
    """Somebody who does something.

    Attributes:
        name: what the records keep, lower case: `Account.name`, or ``local``.
        title: what others see.
        roles: decide what is permitted.
        address: from where, an IP address; empty where it is not known.
        account: `Account.id`; None where nobody signed in.
    """

    name: str
    title: str
    roles: frozenset[Role]
    address: str = ""
    account: int | None = None

    def may(self, action: Action) -> bool:
        """Whether one of the roles permits the action."""
        return permits(self.roles, action)

    @property
    def signature(self) -> str:
        """What logs that people read keep: the name that others see, and which account it was."""
        return self.title if self.account is None else f"{self.title} ({self.name})"

    def require(self, action: Action) -> None:
        """Nothing where one of the roles permits the action.

        Raises:
            Forbidden: none does; one sentence that says who may.
        """
        require(self.roles, action)


LOCAL = Person("local", "this computer", frozenset(Role))
"""Whoever sits at this computer, where the server listens to it alone and asks for no sign-in."""
