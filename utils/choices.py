"""What the department has chosen for everybody: what is saved of the films that are read, and for how long.

Kept in the database, one line a choice, so that all processes and sessions see the same; every change is a line of the
audit trail. What a single installation needs to run at all stands in `utils.settings` instead.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select

from utils import audit_trail, database, film_store
from utils.permissions import Action, Person
from utils.settings import get_settings
from utils.tables import Choice

log = logging.getLogger(__name__)

Saving = Literal["off", "records", "films"]

_seen: set[Path] = set()
"""Files of databases that this process has seen."""


IDLE_MINUTES = (5, 720)
"""Least and most of `Choices.idle_minutes`."""


class ChoiceError(ValueError):
    """A choice that cannot be made; one sentence."""


class Choices(BaseModel):
    """The department's choices, each with what holds until somebody chooses.

    Attributes:
        saving: what is saved of a film that is read: nothing, a record without the film, or both.
        retention_days: after how many days since its first reading a case is deleted; None: never by itself.
        keep_heat: whether each case keeps its heat map; otherwise on request only.
        idle_minutes: after so long without a touch somebody is signed out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    saving: Saving = "off"
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    keep_heat: bool = False
    idle_minutes: int = Field(default=30, ge=IDLE_MINUTES[0], le=IDLE_MINUTES[1])


def get_choices() -> Choices:
    """The choices that are in force.

    Raises:
        DatabaseError: they cannot be read.
        SettingsError: the settings cannot be used.
    """
    settings = get_settings()
    file = settings.home / database.FILE
    if settings.database_url is None and file not in _seen:
        # Looking at a screen makes no database. One that was there and is gone is an error, though, and no choice.
        if not file.exists():
            return Choices()
        _seen.add(file)
    with database.snapshot() as session:
        return _from(session.scalars(select(Choice)).all())


def change_choices(*, who: Person, **changes: Any) -> Choices:
    """Choose anew, from now on and for everybody; each change is a line of the audit trail.

    Args:
        who: must be permitted to change settings.
        changes: fields of `Choices` with their new values.

    Returns:
        All choices, as they are now.

    Raises:
        Forbidden: `who` may not.
        ChoiceError: a value cannot be chosen, or films are to be kept and there is no key to encrypt them with.
        DatabaseError: nothing was changed.
    """
    who.require(Action.CHANGE_SETTINGS)
    try:
        Choices.model_validate(changes)
    except ValidationError as error:
        raise ChoiceError(" ".join(_sentence(detail) for detail in error.errors())) from error
    if changes.get("saving") == "films" and (problem := film_store.problem()):
        raise ChoiceError(problem)
    with database.transaction() as session:
        rows = {row.name: row for row in session.scalars(select(Choice))}
        before = _from(list(rows.values()))
        after = before.model_copy(update=changes)
        for name, value in changes.items():
            if (old := getattr(before, name)) == value:
                continue
            if name in rows:
                rows[name].value = {"value": value}
            else:
                session.add(Choice(name=name, value={"value": value}))
            audit_trail.add(
                session, "setting", who=who, subject=name, before={"value": old}, after={"value": value}
            )
    return after


def _from(rows: Sequence[Choice]) -> Choices:
    """The choices in these lines; what this version of the program cannot use holds no more."""
    found: dict[str, Any] = {}
    for row in rows:
        try:
            value = row.value["value"]
            Choices.model_validate({row.name: value})
        except (KeyError, ValidationError):
            log.warning("the department's choice %s cannot be used and is left out", row.name)
            continue
        found[row.name] = value
    return Choices.model_validate(found)


def _sentence(detail: Any) -> str:
    if detail["loc"] == ("retention_days",):
        return "Cases are kept for a whole number of days, from 1 to 36,500."
    if detail["loc"] == ("idle_minutes",):
        return "Somebody is signed out after 5 to 720 minutes without a touch."
    return f"{'.'.join(str(part) for part in detail['loc'])} cannot be chosen so: {detail['msg']}."
