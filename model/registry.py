"""Versions on disk: a network with its card, history and predictions, in a folder of its own.

::

    <version>/model.h5                             the network, plain Keras
              card.json                            what it is, what made it, how good it is (class Card)
              history.csv                          one row an epoch
              predictions/validation.csv, test.csv file, patient, label, subgroup, probability
              audit.json, faithfulness.json, domain.json   what was measured of it later, each by its own command
              features.npz                         features of the films it was trained on

A folder is written beside its final name and renamed into place: a half-written version is never seen.

Which version is in use stands in a journal beside the versions of the site (`LOG_FILE`): the last one that was promoted
or rolled back to and still stands unchanged, else the newest released one. A line of the journal is there or not, so
there is never a moment without a version in use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from model.calibration import Calibration, OperatingPoint
from model.dataset import CLASSES as CLASSES
from model.journal import Journal, JournalError
from model.network_file import NetworkFileError, check_network_file

if TYPE_CHECKING:
    import pandas

RELEASED = Path(__file__).parent / "released"
Split = Literal["validation", "test"]
ReportName = Literal["audit", "faithfulness", "domain"]

MODEL_FILE = "model.h5"
CARD_FILE = "card.json"
HISTORY_FILE = "history.csv"
PREDICTIONS_FOLDER = "predictions"
FEATURES_FILE = "features.npz"
REPORTS: tuple[ReportName, ...] = get_args(ReportName)
REPORT_KEYS = ("created", "command", "films", "split")
"""What every report says of itself: when, by which command, on how many films, of which split."""
LOG_FILE = "log.jsonl"
LONGEST_TEXT = 500
PREDICTION_COLUMNS = ("file", "patient", "label", "subgroup", "probability")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class VersionError(Exception):
    """A version that is missing or cannot be used; one sentence that says what to do."""


class Card(BaseModel):
    """What a version says about itself (``card.json``). Unknown keys of later releases are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(pattern=NAME_PATTERN)
    created: AwareDatetime
    architecture: str
    seed_configuration: str
    input_size: tuple[int, int] = (224, 224)
    """Height and width in pixels."""
    pixel_scaling: str
    classes: tuple[str, str] = CLASSES
    started_from: str
    training: dict[str, Any] = {}
    data: dict[str, Any] = {}
    split: dict[str, Any] = {}
    packages: dict[str, str] = {}
    code_revision: str = "unknown"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    parameters: int = Field(ge=0)
    trainable_parameters: int = Field(ge=0)
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    metrics: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    trained_by: str = ""
    samples: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Calibrated probability of each synthetic film by its file name; `model.smoke` compares with them."""

    def operating_point(self, name: str) -> OperatingPoint:
        """The operating point called ``name``; VersionError names those there are."""
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(point.name for point in self.operating_points) or "none"
        raise VersionError(f"Version {self.name} has no operating point {name!r}; it has: {known}.")


@dataclass(frozen=True)
class Predictions:
    """Stored calibrated probabilities of one split, one entry a film, all of the same length n.

    ``labels`` is an int array (n,), 1 = PNEUMONIA; ``probabilities`` float64 (n,) in [0, 1].
    """

    files: tuple[str, ...]
    patients: tuple[str, ...]
    labels: np.ndarray
    subgroups: tuple[str, ...]
    probabilities: np.ndarray


@dataclass(frozen=True)
class Version:
    """A version folder whose card has been read."""

    folder: Path
    card: Card

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def model_file(self) -> Path:
        return self.folder / MODEL_FILE

    def predictions(self, split: Split) -> Predictions:
        """The stored predictions of ``split``; VersionError where they are missing or damaged."""
        return as_predictions(self.table(split))

    def table(self, split: Split) -> pandas.DataFrame:
        """The whole file of stored predictions of ``split``, with any columns beyond `PREDICTION_COLUMNS`.

        Raises:
            VersionError: as :meth:`predictions`.
        """
        return read_table(
            self.folder / PREDICTIONS_FOLDER / f"{split}.csv",
            missing=_no_predictions(self.name, split),
            damaged=_damaged_predictions(self.name, split),
        )

    def report(self, name: ReportName) -> dict[str, Any] | None:
        """What :func:`write_report` wrote; None where that was never measured of this version.

        Raises:
            VersionError: the file is damaged, or was written for another network.
        """
        path = self.folder / report_file(name)
        command = f"run 'python -m model {name}' with --write again"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not {*REPORT_KEYS, "sha256"} <= found.keys():
            raise VersionError(f"The {name} report of version {self.name} is damaged; {command}.")
        if found["sha256"] != self.card.sha256:
            raise VersionError(f"The {name} report of version {self.name} is of another network; {command}.")
        return found

    def history(self) -> pandas.DataFrame:
        """One row an epoch; an empty frame where the version has no history."""
        import pandas

        path = self.folder / HISTORY_FILE
        if not path.is_file():
            return pandas.DataFrame()
        try:
            return pandas.read_csv(path)
        except (OSError, ValueError):
            raise VersionError(
                f"The training history of version {self.name} cannot be read: {path}."
            ) from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def report_file(name: ReportName) -> str:
    """Name of the file of a report within the version folder."""
    return f"{name}.json"


def write_report(version: Version, name: ReportName, report: Mapping[str, Any]) -> None:
    """Put a report beside the card, in one step; one of that name that is there gives way.

    The checksum of the network that it speaks of is added (``sha256``).

    Args:
        report: what goes into JSON, at least `REPORT_KEYS`; NaN and infinity do not.

    Raises:
        ValueError: one of these keys is missing, or something in it is no JSON.
        VersionError: the file cannot be written.
    """
    missing = [key for key in REPORT_KEYS if key not in report]
    if missing:
        raise ValueError(f"A report says {', '.join(missing)} too.")
    whole = {**report, "sha256": version.card.sha256}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path = version.folder / report_file(name)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise VersionError(f"{path} cannot be written ({error.strerror}); check the folder.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _no_predictions(name: str, split: str) -> str:
    return f"Version {name} has no stored {split} predictions; run 'python -m model evaluate'."


def _damaged_predictions(name: str, split: str) -> str:
    return f"The {split} predictions of version {name} are damaged"


def read_table(path: Path, *, missing: str, damaged: str) -> pandas.DataFrame:
    """A checked file of predictions: `PREDICTION_COLUMNS`, then whatever columns of text it has besides.

    Args:
        missing: the sentence where there is no such file.
        damaged: the beginning of the sentence where it cannot be read or holds a stray label or probability.

    Returns:
        One row a film; ``probability`` float64 in [0, 1], all other columns text, ``label`` one of `CLASSES`.

    Raises:
        VersionError: with one of the two sentences.
    """
    import pandas

    if not path.is_file():
        raise VersionError(missing)
    try:
        # The probability is turned into a number below: a missing one must not pass as an empty text.
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns[: len(PREDICTION_COLUMNS)]) != list(PREDICTION_COLUMNS):
            table = table[
                [*PREDICTION_COLUMNS, *(name for name in table.columns if name not in PREDICTION_COLUMNS)]
            ]
        probabilities = np.array([float(text) for text in table["probability"]], dtype=np.float64)
        sound = table["label"].isin(CLASSES).all() and np.all((probabilities >= 0) & (probabilities <= 1))
        if not sound:
            raise ValueError("labels or probabilities out of range")
        return table.assign(probability=probabilities)
    except (KeyError, ValueError, OSError):
        raise VersionError(f"{damaged}: {path}.") from None


def as_predictions(table: pandas.DataFrame) -> Predictions:
    """The films of a table of :func:`read_table`."""
    return Predictions(
        files=tuple(table["file"]),
        patients=tuple(table["patient"]),
        labels=(table["label"] == CLASSES[1]).to_numpy(dtype=np.int64),
        subgroups=tuple(table["subgroup"]),
        probabilities=table["probability"].to_numpy(dtype=np.float64),
    )


def read_version(folder: Path, *, verify: bool = True) -> Version:
    """Read the version in ``folder``.

    Args:
        verify: also look into ``model.h5``: whole, plain layers only, and the bytes the card was written for.

    Raises:
        VersionError: missing, damaged card, sha256 mismatch, Git LFS pointer, truncated or unsafe network.
    """
    card_file = folder / CARD_FILE
    if not folder.is_dir():
        raise VersionError(
            f"There is no version folder {folder}; 'python -m model list' shows the versions there are."
        )
    try:
        card = Card.model_validate_json(card_file.read_bytes())
    except OSError:
        raise VersionError(
            f"Version folder {folder} has no readable {CARD_FILE}; restore the folder."
        ) from None
    except ValidationError as error:
        fields = (
            ", ".join(sorted({str(entry["loc"][0]) for entry in error.errors() if entry["loc"]}))
            or "its JSON"
        )
        raise VersionError(
            f"The card of version folder {folder} is damaged (see {fields}); restore it."
        ) from None
    version = Version(folder=folder, card=card)
    if not version.model_file.is_file():
        raise VersionError(f"Version {card.name} has no {MODEL_FILE} in {folder}; restore the file.")
    if verify:
        try:
            check_network_file(version.model_file)
        except NetworkFileError as error:
            raise VersionError(f"Version {card.name} cannot be used: {error}") from None
        if sha256_of(version.model_file) != card.sha256:
            raise VersionError(
                f"The network of version {card.name} is not the one its card describes (checksum differs); "
                "restore the folder."
            )
    return version


def scan_versions(*roots: Path) -> tuple[tuple[Version, ...], tuple[VersionError, ...]]:
    """All versions under ``roots``, newest first, and what is wrong with the folders that are none.

    Only cards are read, not networks. A root that does not exist counts as empty; hidden folders (writing
    in progress) and folders without a card are no versions. The first of two equal names wins.
    """
    versions: dict[str, Version] = {}
    damaged: list[VersionError] = []
    for root in roots:
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            if folder.name.startswith(".") or not (folder / CARD_FILE).is_file():
                continue
            try:
                version = read_version(folder, verify=False)
            except VersionError as error:
                damaged.append(error)
            else:
                versions.setdefault(version.name, version)
    newest_first = sorted(
        versions.values(), key=lambda version: (version.card.created, version.name), reverse=True
    )
    return tuple(newest_first), tuple(damaged)


def list_versions(*roots: Path) -> tuple[Version, ...]:
    """The readable versions under ``roots`` (default: the released ones), newest first; damaged ones left out."""
    return scan_versions(*(roots or (RELEASED,)))[0]


def find_version(name_or_path: str | Path | None, *roots: Path) -> Version:
    """The version of that name under ``roots`` (default: the released ones) or in that folder, verified.

    ``None`` means the one in use, see :func:`version_in_use`; callers put RELEASED first.

    Raises:
        VersionError: there is none, or it cannot be used.
    """
    roots = roots or (RELEASED,)
    if name_or_path is None or not str(name_or_path):
        return read_version(version_in_use(*roots).folder)
    versions, _ = scan_versions(*roots)
    for version in versions:
        if version.name == str(name_or_path):
            return read_version(version.folder)
    folder = Path(name_or_path)
    if folder.is_dir():
        return read_version(folder)
    if re.match(NAME_PATTERN, str(name_or_path)):
        for root in roots:  # a folder of that name whose card is damaged: say what is wrong with it
            if (root / folder).is_dir():
                return read_version(root / folder)
    known = ", ".join(version.name for version in versions) or "none"
    raise VersionError(f"There is no version {str(name_or_path)!r}; known versions: {known}.")


class Change(BaseModel):
    """One line of the journal of versions.

    Attributes:
        action: what was done.
        who: by whom.
        when: when, with a time zone.
        before: name of the version in use before; empty where that has nothing to do with it (``from`` in the file).
        to: name of the version promoted, rolled back to, imported or deleted.
        sha256: of that version's network.
        reason: why, in one sentence; may be empty.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    action: Literal["promote", "rollback", "import", "delete"]
    who: str = Field(min_length=1, max_length=LONGEST_TEXT)
    when: AwareDatetime
    before: str = Field(default="", alias="from")
    to: str
    sha256: str
    reason: str = Field(default="", max_length=LONGEST_TEXT)


def journal(site: Path) -> Journal[Change]:
    """The journal of the versions of a site; ``site`` is the root that its own versions lie in."""
    return Journal(site / LOG_FILE, Change)


def history(site: Path) -> tuple[Change, ...]:
    """All that was changed, newest first."""
    return tuple(reversed(journal(site).lines()))


def version_in_use(*roots: Path) -> Version:
    """The version that films are read with; its network is not looked into (:func:`read_version` does).

    The last one that was promoted or rolled back to; where it is gone or its card describes another network by now, the
    one before it, and so on; where there is none, the newest version of the first root that holds any.

    Args:
        roots: as :func:`find_version`. The journal lies in the last of them, the site's.

    Raises:
        VersionError: there is none.
    """
    roots = roots or (RELEASED,)
    versions, _ = scan_versions(*roots)
    for change in reversed(_steps(journal(roots[-1]).lines())):
        if (version := _standing(change.to, change.sha256, versions)) is not None:
            return version
    return _standard(roots)


def _standard(roots: Sequence[Path]) -> Version:
    """The version in use where nothing was ever promoted."""
    problems: list[VersionError] = []
    for root in roots:
        versions, damaged = scan_versions(root)
        problems.extend(damaged)
        if versions:
            return versions[0]
    if problems:
        raise problems[0]
    places = " or ".join(str(root) for root in roots)
    raise VersionError(f"There is no model version in {places}; restore the folder or train one.")


def _steps(changes: Sequence[Change]) -> list[Change]:
    """The promotions that no rollback has taken back, oldest first, the last one's version in use.

    A rollback to a version that is not among them, as the released one before the first promotion, stands as the only
    step.
    """
    steps: list[Change] = []
    for change in changes:
        if change.action == "promote":
            steps.append(change)
        elif change.action == "rollback":
            while steps and (steps[-1].to, steps[-1].sha256) != (change.to, change.sha256):
                steps.pop()
            if not steps:
                steps.append(change)
    return steps


def _standing(name: str, sha256: str, versions: Sequence[Version]) -> Version | None:
    return next(
        (version for version in versions if version.name == name and version.card.sha256 == sha256), None
    )


def rollback_target(*roots: Path) -> Version | None:
    """The version that :func:`rollback` would go back to; None where there is nothing to take back."""
    try:
        now = version_in_use(*roots)
    except VersionError:
        return None
    versions, _ = scan_versions(*roots)
    steps = _steps(journal(roots[-1]).lines())
    earlier = [_standing(step.to, step.sha256, versions) for step in steps[:-1]]
    if steps and steps[0].action == "promote":  # what was in use before the first promotion
        earlier.insert(0, next((version for version in versions if version.name == steps[0].before), None))
    return next((version for version in reversed(earlier) if version not in (None, now)), None)


def activate(
    name: str,
    *roots: Path,
    who: str,
    reason: str = "",
    check: Callable[[Version], None],
) -> Change:
    """Promote a version: from this line of the journal on every film is read with it.

    Args:
        name: of a version under ``roots``.
        roots: as :func:`version_in_use`.
        who: who promotes it; kept.
        reason: why; kept.
        check: raises VersionError where the version may not go into use, as `model.smoke.smoke_test` does.

    Raises:
        VersionError: there is no such version, it is damaged, was not evaluated, failed the check, is in use already,
            nobody is named, or the journal cannot be written. What was in use stays in use.
    """
    _named(who)
    version = _fit_for_use(name, roots, check)
    return _put_in_use(version, roots, action="promote", who=who, reason=reason)


def rollback(*roots: Path, who: str, reason: str = "", check: Callable[[Version], None]) -> Change:
    """Take the last promotion back that was not taken back yet; arguments and errors as :func:`activate`."""
    _named(who)
    target = rollback_target(*roots)
    if target is None:
        raise VersionError("There is nothing to roll back to: no other version was in use before.")
    version = _fit_for_use(target.name, roots, check)
    return _put_in_use(version, roots, action="rollback", who=who, reason=reason)


def _named(who: str) -> None:
    if not who.strip():
        raise VersionError("Say who changes the versions: it is kept with the name.")


def is_evaluated(version: Version) -> bool:
    """Whether the version has operating points and was measured on labelled films."""
    return bool(version.card.operating_points) and any(
        (version.folder / PREDICTIONS_FOLDER / f"{split}.csv").is_file() for split in ("test", "validation")
    )


def _fit_for_use(name: str, roots: Sequence[Path], check: Callable[[Version], None]) -> Version:
    # By name, never by path: what is in use must be found again among the roots.
    found = next((version for version in scan_versions(*roots)[0] if version.name == name), None)
    version = find_version(name, *roots) if found is None else read_version(found.folder)
    if found is None:
        raise VersionError(f"{name} lies outside the folders of versions; import it first.")
    if not is_evaluated(version):
        raise VersionError(
            f"Version {name} was not evaluated on labelled films yet; import it once more with a folder of them."
        )
    check(version)
    return version


def _put_in_use(
    version: Version, roots: Sequence[Path], *, action: Literal["promote", "rollback"], who: str, reason: str
) -> Change:
    try:
        with journal(roots[-1]).locked() as add:
            # Looked at again under the lock: the version may be gone, or another one in use by now.
            read_version(version.folder, verify=False)
            try:
                now = version_in_use(*roots)
            except VersionError:
                now = None
            if now is not None and (now.name, now.card.sha256) == (version.name, version.card.sha256):
                raise VersionError(f"Version {version.name} is in use already.")
            change = Change(
                action=action,
                who=who.strip()[:LONGEST_TEXT],
                when=datetime.now(UTC),
                before="" if now is None else now.name,
                to=version.name,
                sha256=version.card.sha256,
                reason=reason.strip()[:LONGEST_TEXT],
            )
            add(change)
    except JournalError as error:
        raise VersionError(str(error)) from None
    return change


def record_import(version: Version, site: Path, *, who: str, reason: str = "") -> None:
    """Note in the journal that a version came from elsewhere.

    Raises:
        VersionError: the journal cannot be written.
    """
    change = Change(
        action="import",
        who=(who.strip() or "unknown")[:LONGEST_TEXT],
        when=datetime.now(UTC),
        to=version.name,
        sha256=version.card.sha256,
        reason=reason.strip()[:LONGEST_TEXT],
    )
    try:
        journal(site).append(change)
    except JournalError as error:
        raise VersionError(str(error)) from None


def delete(name: str, *roots: Path, who: str, reason: str = "", keep: Collection[str] = ()) -> None:
    """Delete a version of the site; the journal keeps that it was there.

    Args:
        name: of a version in the last root; a released one is never deleted.
        who: who deletes it; kept.
        keep: names of versions that must stay whatever the journal says, as the one that a setting names.

    Raises:
        VersionError: there is no such version of the site, it is in use, nobody is named, or the folder cannot be
            changed.
    """
    _named(who)
    site = roots[-1]
    version = next((version for version in scan_versions(*roots)[0] if version.name == name), None)
    if version is None:
        raise VersionError(f"There is no version {name!r}.")
    if version.folder.parent != site:
        raise VersionError(f"Version {name} was released with the project and cannot be deleted here.")
    try:
        with journal(site).locked() as add:
            if name in keep or version_in_use(*roots).name == name:
                raise VersionError(f"Version {name} is in use; put another one in use first.")
            gone = Path(tempfile.mkdtemp(prefix=f".deleted-{name}-", dir=site))
            change = Change(
                action="delete",
                who=who.strip()[:LONGEST_TEXT],
                when=datetime.now(UTC),
                to=name,
                sha256=version.card.sha256,
                reason=reason.strip()[:LONGEST_TEXT],
            )
            try:
                version.folder.rename(gone / name)
                try:
                    add(change)
                except JournalError:
                    (gone / name).rename(version.folder)
                    raise
            finally:
                shutil.rmtree(gone, ignore_errors=True)
    except JournalError as error:
        raise VersionError(str(error)) from None
    except OSError as error:
        raise VersionError(
            f"Version {name} cannot be deleted ({error.strerror}); check its folder."
        ) from None


def write_version(
    destination: Path,
    *,
    model_file: Path,
    card: Card,
    history: pandas.DataFrame | None,
    predictions: dict[str, Predictions],
) -> Version:
    """Write a version folder beside ``destination`` and rename it into place.

    The card's ``sha256`` is set from ``model_file``, which is copied.

    Raises:
        VersionError: ``destination`` exists already, or the network file is not one that may be opened.
    """
    if destination.exists():
        raise VersionError(f"{destination} exists already; choose another name or remove it first.")
    try:
        check_network_file(model_file)
    except NetworkFileError as error:
        raise VersionError(str(error)) from None
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        shutil.copyfile(model_file, unfinished / MODEL_FILE)
        card = card.model_copy(update={"sha256": sha256_of(unfinished / MODEL_FILE)})
        # pydantic writes a NaN among the metrics as null: a long training must not fail on its last step.
        (unfinished / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if history is not None:
            history.to_csv(unfinished / HISTORY_FILE, index=False)
        for split, films in predictions.items():
            write_predictions(unfinished / PREDICTIONS_FOLDER / f"{split}.csv", films)
        unfinished.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        try:
            unfinished.rename(destination)
        except OSError:
            raise VersionError(f"{destination} could not be put in place; choose another name.") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return read_version(destination)


def write_predictions(
    path: Path, films: Predictions, *, extra: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write a file of predictions, probabilities to the last bit; its folder is made where missing.

    Args:
        extra: further columns of text, one entry a film, for example another way to group the films.
    """
    import pandas

    path.parent.mkdir(exist_ok=True)
    columns = (
        films.files,
        films.patients,
        [CLASSES[int(label)] for label in films.labels],
        films.subgroups,
        np.asarray(films.probabilities, dtype=np.float64),
    )
    table = pandas.DataFrame({**dict(zip(PREDICTION_COLUMNS, columns, strict=True)), **(extra or {})})
    table.to_csv(path, index=False)
