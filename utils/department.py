"""What a department has agreed on: its threshold, and its own calibration of the probabilities.

Kept as a journal (`model.journal`) under ``<home>/department/log.jsonl``: who adopted or withdrew
what, when and why. What is in force for a network is its last line. A calibration of the site is kept as it was
fitted, on top of the version's own; the version's card on disk is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from model.calibration import Calibration, OperatingPoint, logit, sigmoid
from model.journal import Journal, JournalError
from model.registry import Predictions, Split, Version, as_predictions

if TYPE_CHECKING:
    import pandas

POINT = "department"
"""Name of the operating point that the department's threshold is in the version in use."""
LONGEST_TEXT = 500


class DepartmentError(ValueError):
    """What was to be adopted cannot be; one sentence."""


class Policy(BaseModel):
    """What a department agreed on for one network.

    Attributes:
        version: name of the version.
        sha256: of its network: a policy holds for no other.
        threshold: in [0, 1], on the scale of `calibration` where there is one.
        calibration: the site's own, of the version's calibrated probabilities; None: the version's are used.
        who: who adopted it.
        when: when, with a time zone.
        reason: why, in the department's words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    threshold: float = Field(ge=0, le=1, allow_inf_nan=False)
    calibration: Calibration | None = None
    who: str = Field(min_length=1, max_length=LONGEST_TEXT)
    when: AwareDatetime
    reason: str = Field(default="", max_length=LONGEST_TEXT)

    @property
    def in_words(self) -> str:
        """For the sidebar and the log."""
        return f"Department's threshold {self.threshold:.3f}, set by {self.who} on {self.when:%d %B %Y}"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["adopted", "withdrawn"]
    who: str
    when: AwareDatetime
    version: str
    sha256: str
    policy: Policy | None = None


@dataclass(frozen=True)
class LogEntry:
    """One line of the log: who did what, when. `what` is one sentence."""

    who: str
    when: datetime
    what: str


def log_file(home: Path) -> Path:
    """The log's file; it may not be there yet."""
    return home / "department" / "log.jsonl"


class Network(Protocol):
    """A card, or an evaluated set: what says which network it is of."""

    @property
    def sha256(self) -> str: ...


def current_policy(home: Path, card: Network) -> Policy | None:
    """What is in force for the card's network; None where nothing was adopted, or it was withdrawn."""
    for line in reversed(_journal(home).lines()):
        if line.sha256 == card.sha256:
            return line.policy if line.action == "adopted" else None
    return None


def adopt(home: Path, policy: Policy) -> None:
    """Make `policy` the one in force for its network.

    Raises:
        DepartmentError: nobody is named, or the log cannot be written.
    """
    if not policy.who.strip():
        raise DepartmentError("Say who sets the department's threshold: it is kept with the name.")
    _append(
        home,
        _Line(
            action="adopted",
            who=policy.who,
            when=policy.when,
            version=policy.version,
            sha256=policy.sha256,
            policy=policy,
        ),
    )


def withdraw(home: Path, card: Network, *, who: str) -> None:
    """Let the version's own threshold and calibration hold again; nothing happens where no policy is in force.

    Raises:
        DepartmentError: nobody is named, or the log cannot be written.
    """
    if not who.strip():
        raise DepartmentError("Say who withdraws the department's threshold: it is kept with the name.")
    policy = current_policy(home, card)
    if policy is None:
        return
    _append(
        home,
        _Line(
            action="withdrawn",
            who=who.strip(),
            when=datetime.now(UTC),
            version=policy.version,
            sha256=card.sha256,
        ),
    )


def log(home: Path) -> tuple[LogEntry, ...]:
    """All that was adopted and withdrawn, newest first."""
    return tuple(LogEntry(line.who, line.when, _what(line)) for line in reversed(_journal(home).lines()))


def _what(line: _Line) -> str:
    if line.policy is None:
        return f"Withdrew the department's threshold for version {line.version}."
    fitted = line.policy.calibration
    scale = "" if fitted is None else f", probabilities recalibrated on {fitted.fitted_on}"
    reason = f" {line.policy.reason}" if line.policy.reason else ""
    return f"Adopted threshold {line.policy.threshold:.3f} for version {line.version}{scale}.{reason}"


def _journal(home: Path) -> Journal[_Line]:
    return Journal(log_file(home), _Line)


def _append(home: Path, line: _Line) -> None:
    try:
        _journal(home).append(line)
    except JournalError as error:
        raise DepartmentError(str(error)) from None


def recalibrated(probabilities: ArrayLike, calibration: Calibration | None) -> NDArray[np.float64]:
    """Calibrated probabilities (n,) in [0, 1] brought to a site's scale; the order of films stays.

    Unlike `Calibration.apply` nothing is clipped: two films that the version tells apart stay apart.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if calibration is None:
        return values.copy()
    with np.errstate(divide="ignore"):
        logits = np.log(values) - np.log1p(-values)
    return sigmoid(calibration.slope * logits + calibration.intercept)


def moved(threshold: float, *, before: Calibration | None, after: Calibration | None) -> float:
    """A threshold on the scale of one calibration, brought to that of another: it decides the same."""
    if before is not None:
        value = (float(logit(threshold)) - before.intercept) / before.slope
        threshold = float(sigmoid(value))
    return float(recalibrated(threshold, after))


def composed(first: Calibration, second: Calibration) -> Calibration:
    """The one calibration that does what `first` and then `second` do."""
    return Calibration(
        method=f"{first.method}; then {second.method}",
        slope=second.slope * first.slope,
        intercept=second.slope * first.intercept + second.intercept,
        prevalence=second.prevalence,
        fitted_on=f"{first.fitted_on}; then {second.fitted_on}",
    )


@dataclass(frozen=True)
class AdaptedVersion(Version):
    """A version as a department uses it: `policy` applied to its card and to its stored predictions.

    Where the policy holds a calibration the version has a name of its own, so that no probability of one scale is
    taken for one of the other.
    """

    base: Version
    policy: Policy

    def predictions(self, split: Split) -> Predictions:
        return as_predictions(self.table(split))

    def table(self, split: Split) -> pandas.DataFrame:
        table = self.base.table(split)
        return table.assign(probability=recalibrated(table["probability"], self.policy.calibration))


def adapted(version: Version, policy: Policy | None) -> Version:
    """`version` as the policy wants it; the version itself where there is none or it is another network's.

    The site's calibration is put on top of the card's. Operating points move with it, so that what they decide stays
    the same; the department's threshold becomes an operating point of its own.
    """
    version = base_of(version)
    if policy is None or policy.sha256 != version.card.sha256:
        return version
    card = version.card
    points = [point for point in card.operating_points if point.name != POINT]
    name, calibration = card.name, card.calibration
    if policy.calibration is not None:
        name = f"{card.name}-site-{policy.when.astimezone(UTC):%Y%m%d-%H%M%S}"
        calibration = composed(card.calibration, policy.calibration)
        points = [
            point.model_copy(
                update={
                    "threshold": float(recalibrated(point.threshold, policy.calibration)),
                    "rule": f"{point.rule}; before the calibration of this site",
                }
            )
            for point in points
        ]
    why = f": {policy.reason}" if policy.reason else ""
    own = OperatingPoint(
        name=POINT,
        threshold=policy.threshold,
        rule=f"set by {policy.who} on {policy.when:%d %B %Y}{why}",
    )
    adapted_card = card.model_copy(
        update={"name": name, "calibration": calibration, "operating_points": (*points, own)}
    )
    return AdaptedVersion(folder=version.folder, card=adapted_card, base=version, policy=policy)


def base_of(version: Version) -> Version:
    """The version as it lies on disk, without what a department has put on top."""
    return version.base if isinstance(version, AdaptedVersion) else version


def policy_of(version: Version | None) -> Policy | None:
    """The policy that `version` was adapted by, or None."""
    return version.policy if isinstance(version, AdaptedVersion) else None
