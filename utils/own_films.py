"""The site's own labelled films: scored once in the background, kept as probabilities under a name.

::

    <home>/evaluations/<name>/set.json          who, when, which version, from where, what could not be read
                              predictions.csv   file, patient, label, subgroup, probability, split, series, folder

The films themselves are never kept. A set is written beside its final name and renamed into place; one scoring job
runs at a time, shared by all sessions of the server.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from model.archive import ArchiveError, unpack
from model.dataset import CLASSES, DatasetError
from model.inference import InferenceError, Predictor
from model.registry import Predictions, Version, VersionError, as_predictions, read_table, write_predictions
from model.scoring import Scoring, ScoringCancelled, Unreadable, score_folder
from utils.department import base_of, current_policy, recalibrated

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

FOLDER = "evaluations"
SET_FILE = "set.json"
PREDICTIONS_FILE = "predictions.csv"
NAME_RULE = "letters, digits, spaces and . , _ - ( ), at most 60, beginning with a letter or a digit"
_NAME = re.compile(r"[^\W_][\w .,()-]{0,59}")
_TEMPORARY = re.compile(r"\.(?:scoring|writing|deleted)-(?P<pid>\d+)-")


class OwnFilmsError(ValueError):
    """A set that cannot be made, read or deleted; one sentence."""


class _Facts(BaseModel):
    """``set.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: AwareDatetime
    who: str
    source: str
    version: str
    sha256: str
    split: str | None = None
    films: str | None = None
    fingerprint: str = ""
    counts: dict[str, int] = {}
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class EvaluatedSet:
    """One evaluated folder of the site.

    Attributes:
        name: as the site called it; also its folder's name.
        created: when it was scored, with a time zone.
        who: who had it scored.
        source: the folder as it was typed, or the ZIP's name.
        version: name of the version that read the films.
        sha256: of its network.
        films: the folder of the images if it is still there: paths of `predictions` are relative to it.
        unreadable: files that could not be read, each with its sentence.
        folder: where the set is kept.
        split: the part of the folder that was scored; None: all of it.
        fingerprint: two sets with one fingerprint hold the same films.
        counts: films read, by class.
    """

    name: str
    created: datetime
    who: str
    source: str
    version: str
    sha256: str
    films: Path | None
    unreadable: tuple[Unreadable, ...]
    folder: Path
    split: str | None = None
    fingerprint: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    def predictions(self) -> Predictions:
        """The films and their probabilities, on the scale that the department uses for this network now.

        Raises:
            OwnFilmsError: the file is missing or damaged.
        """
        return as_predictions(self.table())

    def table(self) -> pandas.DataFrame:
        """The whole file of predictions, also with the columns ``split``, ``series`` and ``folder``."""
        stored = self.stored_table()
        policy = current_policy(self.folder.parent.parent, self)
        site = None if policy is None else policy.calibration
        return stored.assign(probability=recalibrated(stored["probability"], site))

    def stored_table(self) -> pandas.DataFrame:
        """The same with the probabilities as the version's own card calibrates them."""
        try:
            return read_table(
                self.folder / PREDICTIONS_FILE,
                missing=f"The set {self.name} has no predictions any more; delete it and score the films again.",
                damaged=f"The predictions of the set {self.name} are damaged",
            )
        except VersionError as error:
            raise OwnFilmsError(str(error)) from None


def sets_folder(home: Path) -> Path:
    """Where the sets of an installation lie."""
    return home / FOLDER


def list_sets(home: Path) -> tuple[EvaluatedSet, ...]:
    """The kept sets, newest first; damaged ones are left out."""
    found = []
    with contextlib.suppress(OSError):
        for folder in sorted(sets_folder(home).iterdir()):
            if not folder.name.startswith("."):
                with contextlib.suppress(OwnFilmsError):
                    found.append(read_set(home, folder.name))
    return tuple(sorted(found, key=lambda kept: (kept.created, kept.name), reverse=True))


def read_set(home: Path, name: str) -> EvaluatedSet:
    """The set called `name`.

    Raises:
        OwnFilmsError: there is none, or it is damaged.
    """
    folder = sets_folder(home) / checked_name(name)
    try:
        facts = _Facts.model_validate_json((folder / SET_FILE).read_bytes())
    except OSError:
        raise OwnFilmsError(f"There is no evaluated set called {name}.") from None
    except ValidationError:
        raise OwnFilmsError(f"The set {name} is damaged: {folder / SET_FILE}.") from None
    films = None if facts.films is None else Path(facts.films)
    return EvaluatedSet(
        name=folder.name,
        created=facts.created,
        who=facts.who,
        source=facts.source,
        version=facts.version,
        sha256=facts.sha256,
        films=films if films is not None and films.is_dir() else None,
        unreadable=tuple(Unreadable(file, reason) for file, reason in facts.unreadable),
        folder=folder,
        split=facts.split,
        fingerprint=facts.fingerprint,
        counts=facts.counts,
    )


def delete_set(home: Path, name: str) -> None:
    """Delete a set; nothing happens where there is none.

    Raises:
        OwnFilmsError: the folder cannot be changed.
    """
    folder = sets_folder(home) / checked_name(name)
    if not folder.is_dir():
        return
    # Renamed first: what a crash leaves is no half set, and is swept later.
    try:
        doomed = Path(tempfile.mkdtemp(prefix=f".deleted-{os.getpid()}-", dir=folder.parent))
        folder.rename(doomed / "set")
    except OSError as error:
        raise OwnFilmsError(f"The set {name} cannot be deleted: {error.strerror}.") from None
    shutil.rmtree(doomed, ignore_errors=True)


def checked_name(name: str) -> str:
    """The name without blanks at its ends.

    Raises:
        OwnFilmsError: it cannot be the name of a set.
    """
    stripped = name.strip()
    if not _NAME.fullmatch(stripped) or stripped.endswith("."):
        raise OwnFilmsError(f"Give the set another name: {NAME_RULE}.")
    return stripped


def free_name(home: Path, name: str) -> str:
    """`name`, or the first of "name (2)", "name (3)" … that no set has yet."""
    stem = re.sub(r" \(\d+\)$", "", name)
    candidates = (name if number == 1 else f"{stem[:54]} ({number})" for number in range(1, 10_000))
    return next(each for each in candidates if not (sets_folder(home) / each).exists())


def write_set(
    home: Path,
    name: str,
    scoring: Scoring,
    *,
    who: str,
    source: str,
    version: Version,
    films: Path | None,
    split: str | None = None,
) -> EvaluatedSet:
    """Keep a scored folder under `name`, all of it or nothing.

    Args:
        films: the folder of the images, where they stay.

    Raises:
        OwnFilmsError: the name is taken or none, or the home folder cannot be written.
    """
    name = checked_name(name)
    base = base_of(version)
    facts = _Facts(
        created=datetime.now(UTC),
        who=who,
        source=source,
        version=base.name,
        sha256=base.card.sha256,
        split=split,
        films=None if films is None else str(films),
        fingerprint=scoring.fingerprint,
        counts={name: int((scoring.predictions.labels == label).sum()) for label, name in enumerate(CLASSES)},
        unreadable=tuple((each.file, each.reason) for each in scoring.unreadable),
    )
    root = sets_folder(home)
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".writing-{os.getpid()}-", dir=root))
        try:
            write_predictions(unfinished / PREDICTIONS_FILE, scoring.predictions, extra={**scoring.extra})
            (unfinished / SET_FILE).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
            if (root / name).exists():
                raise OwnFilmsError(f"There is a set called {name} already; choose another name.")
            unfinished.rename(root / name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise OwnFilmsError(f"{root} cannot be written ({error.strerror}); check the folder.") from None
    return read_set(home, name)


Phase = Literal["waiting", "unpacking", "reading", "done", "cancelled", "failed"]


@dataclass
class Job:
    """One folder being scored in a thread of its own. Read it from any session; change it through `cancel`.

    Attributes:
        name: of the set to be.
        who: who started it.
        phase: ``waiting`` for the network, ``unpacking`` a ZIP, ``reading`` films, then how it ended.
        done: films (or files of the ZIP) done.
        total: of how many; 0 while not known.
        message: why it failed, one sentence.
    """

    name: str
    who: str
    phase: Phase = "waiting"
    done: int = 0
    total: int = 0
    message: str = ""
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.phase in ("waiting", "unpacking", "reading")

    def cancel(self) -> None:
        """Ask it to stop; it does within a few films."""
        self._stop.set()

    @property
    def cancelling(self) -> bool:
        return self.running and self._stop.is_set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, `timeout` seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total


_guard = threading.Lock()
_latest: Job | None = None


def latest_job() -> Job | None:
    """The job that runs, or the last one that did since the server started."""
    return _latest


def start(
    home: Path,
    *,
    name: str,
    who: str,
    version: Version,
    predictor: Future[Predictor],
    folder: Path | None = None,
    archive: bytes | None = None,
    source: str,
    split: str | None = None,
) -> Job:
    """Score a folder, or a ZIP of one, in the background.

    Args:
        name: of the set; free and allowed.
        version: the version that `predictor` runs, without a department's calibration.
        folder: a labelled folder; or
        archive: the bytes of a ZIP of one.
        source: what to keep as the set's origin.
        split: as in `model.scoring.score_folder`.

    Raises:
        OwnFilmsError: the name cannot be used, nobody is named, or another set is being scored.
    """
    global _latest
    name = checked_name(name)
    if not who.strip():
        raise OwnFilmsError("Say who has these films scored: it is kept with the result.")
    if (sets_folder(home) / name).exists():
        raise OwnFilmsError(f"There is a set called {name} already; choose another name.")
    if (folder is None) == (archive is None):
        raise ValueError("either a folder or an archive")
    job = Job(name=name, who=who.strip())

    def work() -> None:
        _be_nice()
        try:
            with _films(home, folder, archive, job) as (films, damaged):
                job.phase, job.done, job.total = "waiting", 0, 0
                loaded = _loaded(predictor, job)
                job.phase = "reading"
                scoring = score_folder(
                    films, loaded, split=split, progress=job._progress, cancelled=job._stop.is_set
                )
                scoring = replace(scoring, unreadable=(*damaged, *scoring.unreadable))
                write_set(
                    home,
                    name,
                    scoring,
                    who=job.who,
                    source=source,
                    version=version,
                    films=folder,
                    split=split,
                )
            log.info(
                "own films scored: %d read, %d not", len(scoring.predictions.files), len(scoring.unreadable)
            )
            job.phase = "done"
        except ScoringCancelled:
            job.phase = "cancelled"
        except (DatasetError, ArchiveError, OwnFilmsError, InferenceError, VersionError) as error:
            job.message = str(error)
            job.phase = "failed"
        except Exception as error:
            # Whatever goes wrong must reach the waiting page. Its words may hold a file's name: the log gets its kind.
            log.error("scoring own films failed: %s", type(error).__name__)
            job.message = "Scoring failed; try once more or tell your administrator."
            job.phase = "failed"

    with _guard:
        if _latest is not None and _latest.running:
            raise OwnFilmsError(
                f"The set {_latest.name} is being scored; wait until it is done, or cancel it."
            )
        sweep(home)
        job._thread = threading.Thread(target=work, name="own-films", daemon=True)
        _latest = job
        job._thread.start()
    return job


def sweep(home: Path) -> None:
    """Remove what jobs of this or of dead servers have left behind. Not while a job runs."""
    with contextlib.suppress(OSError):
        for folder in list(sets_folder(home).iterdir()):
            match = _TEMPORARY.match(folder.name)
            if match and (int(match["pid"]) == os.getpid() or not _is_alive(int(match["pid"]))):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _be_nice() -> None:
    """Let a clinician's film go first: this thread decodes, the network's own lock does the rest."""
    with contextlib.suppress(OSError, AttributeError):  # a thread has a priority of its own on Linux only
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _loaded(predictor: Future[Predictor], job: Job) -> Predictor:
    while not predictor.done():
        if job._stop.is_set():
            raise ScoringCancelled
        wait([predictor], timeout=0.25)
    error = predictor.exception()
    if error is not None:
        reason = f" {error}" if isinstance(error, InferenceError | VersionError) else ""
        raise OwnFilmsError(f"The network could not be loaded.{reason}")
    return predictor.result()


@contextlib.contextmanager
def _films(
    home: Path, folder: Path | None, archive: bytes | None, job: Job
) -> Iterator[tuple[Path, tuple[Unreadable, ...]]]:
    """The folder to read, and the films that did not come out of the ZIP.

    The films of a ZIP lie under the home folder until the end of the block, no longer.
    """
    if folder is not None:
        yield folder, ()
        return
    assert archive is not None
    job.phase = "unpacking"
    root = sets_folder(home)
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".scoring-{os.getpid()}-", dir=root))
    except OSError as error:
        raise OwnFilmsError(f"{root} cannot be written ({error.strerror}); check the folder.") from None
    try:
        unpacked = unpack(io.BytesIO(archive), temporary, progress=job._progress, cancelled=job._stop.is_set)
        yield unpacked.folder, unpacked.damaged
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
