"""Sets of films that came as a ZIP: unpacked once in the background, kept under home until somebody deletes them.

::

    <home>/data/<name>/train/NORMAL/…   as `model.archive` unpacks it
                       upload.json      who, when, from which ZIP, what did not come out of it whole

A set is unpacked beside its final name and renamed into place. One set is made at a time, for all sessions. Sets of
cases with verdicts come the same way: `utils.verdict_set`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from model.archive import ArchiveError, contents, unpack
from model.jobs import LEAST_FREE, list_jobs
from model.registry import NAME_PATTERN
from model.scoring import ScoringCancelled

log = logging.getLogger(__name__)

FOLDER = "data"
FACTS = "upload.json"
NAME_RULE = "letters, digits and . _ -, at most 100, beginning with a letter or a digit"
_TEMPORARY = re.compile(r"\.(?:unpacking|deleted)-(?P<pid>\d+)-")


class UploadError(ValueError):
    """A set that cannot be kept or deleted; one sentence."""


class Facts(BaseModel):
    """``upload.json``. `damaged`: files that did not come out of the ZIP whole, each with its sentence. `remarks`: what
    else to know of the set, in sentences."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: AwareDatetime
    who: str
    source: str
    damaged: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def uploaded_sets(home: Path) -> tuple[Path, ...]:
    """The folders of the kept sets, by name."""
    try:
        return tuple(
            sorted(each for each in (home / FOLDER).iterdir() if each.is_dir() and each.name[0] != ".")
        )
    except OSError:
        return ()


def facts_of(folder: Path) -> Facts | None:
    """What is known of a kept set; None for a folder that is none."""
    try:
        return Facts.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValidationError):
        return None


def checked_name(home: Path, name: str) -> str:
    """`name` if a new set may have it.

    Raises:
        UploadError: it breaks the rule, or is taken.
    """
    name = name.strip()
    if not re.match(NAME_PATTERN, name):
        raise UploadError(f"Give the set a name: {NAME_RULE}.")
    if (home / FOLDER / name).exists():
        raise UploadError(f"There is a set called {name} already; choose another name.")
    return name


def delete_set(home: Path, name: str) -> None:
    """Delete a kept set with its films.

    Raises:
        UploadError: a run needs it, or it cannot be deleted.
    """
    folder = home / FOLDER / name
    if folder not in uploaded_sets(home):
        raise UploadError(f"There is no uploaded set called {name} any more.")
    if any(job.active and job.order.data == folder for job in list_jobs(home)):
        raise UploadError(f"A training run needs the set {name}: cancel it, or wait until it has ended.")
    doomed = folder.with_name(f".deleted-{os.getpid()}-{name}")
    try:
        folder.rename(doomed)
    except OSError as error:
        raise UploadError(f"{folder} cannot be deleted ({error.strerror}); check the folder.") from None
    shutil.rmtree(doomed, ignore_errors=True)


Phase = Literal["unpacking", "done", "cancelled", "failed"]


@dataclass
class Upload:
    """One set being made in a thread of its own. Read it from any session; change it through `cancel`.

    `words` begin the line that says how far it is.
    """

    name: str
    who: str
    words: str = "Unpacked"
    phase: Phase = "unpacking"
    done: int = 0
    total: int = 0
    message: str = ""
    folder: Path | None = None
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.phase == "unpacking"

    def cancel(self) -> None:
        """Ask it to stop; it does after the film in hand."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, `timeout` seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop.is_set()

    def progress(self, done: int, total: int) -> None:
        """How far it is."""
        self.done, self.total = done, total


_guard = threading.Lock()
_latest: Upload | None = None


def latest() -> Upload | None:
    """The ZIP that is being unpacked, or the last one that was since the server started."""
    return _latest


def keep(home: Path, *, name: str, who: str, source: str, archive: BinaryIO) -> Upload:
    """Unpack a ZIP of labelled films in the background and keep it under `name`.

    Args:
        archive: the ZIP; its bytes are read until the upload has ended.
        source: the ZIP's name.

    Raises:
        UploadError: the name cannot be used, nobody is named, another ZIP is being unpacked, or the disk is too full.
        ArchiveError: the ZIP cannot be used.
    """
    name = checked_name(home, name)
    if not who.strip():
        raise UploadError("Say who uploads these films: it is kept with them.")
    return begin(
        home,
        Upload(name=name, who=who.strip()),
        size=contents(archive).size,
        make=lambda upload, root: _unpack(root, upload, archive, source),
    )


def begin(home: Path, upload: Upload, *, size: int, make: Callable[[Upload, Path], Path]) -> Upload:
    """Make a set in the background.

    Args:
        home: of the installation.
        upload: with a name that `checked_name` gave.
        size: bytes that the films will take.
        make: makes the set under the folder it is given, with `beside` and `put_in_place`, and returns its place;
            raises UploadError, ArchiveError, ScoringCancelled or OSError.

    Raises:
        UploadError: another set is being made, or the disk is too full.
    """
    global _latest
    root = home / FOLDER
    needed = size + LEAST_FREE
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise UploadError(f"{root} cannot be written ({error.strerror}); check the folder.") from None
    if free < needed:
        raise UploadError(
            f"The films need {needed / 2**20:,.0f} MB on the disk that holds {home}, and {free / 2**20:,.0f} MB are "
            "free: make room."
        )

    def work() -> None:
        try:
            upload.folder = make(upload, root)
            upload.phase = "done"
        except ScoringCancelled:
            upload.phase = "cancelled"
        except (ArchiveError, UploadError) as error:
            upload.message, upload.phase = str(error), "failed"
        except OSError as error:
            upload.message = f"The films cannot be written ({error.strerror}); check the disk under {root}."
            upload.phase = "failed"
        except Exception as error:
            # Whatever goes wrong must reach the waiting page. Its words may hold a file's name: the log gets its kind.
            log.error("making a set of films failed: %s", type(error).__name__)
            upload.message = "The set could not be made; try once more or tell your administrator."
            upload.phase = "failed"

    with _guard:
        if _latest is not None and _latest.running:
            raise UploadError(f"The set {_latest.name} is being made; wait until it is done, or cancel it.")
        _sweep(root)
        upload._thread = threading.Thread(target=work, name="make-set", daemon=True)
        _latest = upload
        upload._thread.start()
    return upload


@contextmanager
def beside(root: Path) -> Iterator[Path]:
    """A folder to make a set in, beside its final name; what is left of it goes in the end."""
    temporary = Path(tempfile.mkdtemp(prefix=f".unpacking-{os.getpid()}-", dir=root))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(root: Path, upload: Upload, folder: Path, facts: Facts) -> Path:
    """Give a set that is whole its name; returns its place.

    Raises:
        UploadError: the name was taken meanwhile.
    """
    (folder / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if (root / upload.name).exists():
        raise UploadError(f"There is a set called {upload.name} already; choose another name.")
    return folder.rename(root / upload.name)


def _unpack(root: Path, upload: Upload, archive: BinaryIO, source: str) -> Path:
    with beside(root) as temporary:
        unpacked = unpack(archive, temporary, progress=upload.progress, cancelled=upload._stop.is_set)
        facts = Facts(
            created=datetime.now(UTC),
            who=upload.who,
            source=source,
            damaged=tuple((each.file, each.reason) for each in unpacked.damaged),
        )
        return put_in_place(root, upload, unpacked.folder, facts)


def tidy(home: Path) -> None:
    """Remove what a server that was killed has left of sets in the making."""
    with _guard:
        if (home / FOLDER).is_dir() and (_latest is None or not _latest.running):
            _sweep(home / FOLDER)


def _sweep(root: Path) -> None:
    """Remove what this or a dead server has left behind. Not while a set is made."""
    for folder in list(root.iterdir()):
        match = _TEMPORARY.match(folder.name)
        if match and (int(match["pid"]) == os.getpid() or not Path("/proc", match["pid"]).exists()):
            shutil.rmtree(folder, ignore_errors=True)
