"""A file from elsewhere becomes a version, in a process of its own that the screens can watch and stop.

The process is `python -m model import … --json`, so that neither TensorFlow nor a damaged file gets into the server.
One import runs at a time. An upload is kept under home for as long as its import takes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

from model.importing import AUTO

log = logging.getLogger(__name__)
_starting = threading.Lock()
_latest: ImportJob | None = None
_PROJECT = Path(__file__).resolve().parent.parent
STOPPED = "The import was stopped; nothing was kept."


class ImportingRefused(ValueError):  # noqa: N818  what is refused is no fault
    """The import cannot start; one sentence."""


class ImportJob:
    """One import. Its attributes may be read from any thread.

    Attributes:
        title: what is imported, for the screen.
        words, done, total: where it is; 0 of 0 where that is not known.
        result: what `python -m model import --json` says at the end: version, notes, trials; None before, and where it
            failed.
        problem: why it failed, one sentence; empty where it did not.
    """

    def __init__(
        self, title: str, command: list[str], folder: Path | None, environment: dict[str, str]
    ) -> None:
        self.title = title
        self.words, self.done, self.total = "Starting", 0, 0
        self.result: dict[str, Any] | None = None
        self.problem = ""
        self._stopping = False
        self._folder = folder
        self._process = subprocess.Popen(
            command,
            cwd=_PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._follow, name="import", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Until it has ended, or so long."""
        self._thread.join(seconds)

    def stop(self) -> None:
        """End it; nothing of it is kept. Asked for twice, it ends without clearing up."""
        wanted = signal.SIGKILL if self._stopping else signal.SIGINT
        self._stopping = True
        try:
            os.killpg(self._process.pid, wanted)
        except ProcessLookupError:
            return

    def _follow(self) -> None:
        errors: list[str] = []
        aside = threading.Thread(target=lambda: errors.append(self._process.stderr.read()), daemon=True)  # type: ignore[union-attr]
        aside.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._take(line)
            status = self._process.wait()
            aside.join(5)
            if self.result is None and not self.problem:
                log.error("an import ended with status %d: %s", status, "".join(errors)[-2000:].strip())
                self.problem = (
                    STOPPED
                    if self._stopping
                    else "The import ended before its time, perhaps for want of memory; try once more."
                )
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _take(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # a library's own words
        if not isinstance(said, dict):
            return
        if "progress" in said:
            self.done, self.total, self.words = said["done"], said["total"], said["progress"]
        elif "error" in said:
            self.problem = str(said["error"])
        elif "version" in said:
            self.result = said


def latest() -> ImportJob | None:
    """The import that runs, or the last one that did, of whichever session."""
    return _latest


def start(
    home: Path,
    *,
    source: Path | BinaryIO,
    title: str,
    name: str,
    data: Path | None = None,
    scaling: str = AUTO,
    who: str,
    reason: str = "",
) -> ImportJob:
    """Import a network file or the ZIP of a version.

    Args:
        home: the installation's folder.
        source: a file on this computer, or an upload, which is copied under home until the import has ended.
        title: name of the file, for the screen and for the ending of an upload.
        name: of the version to be; empty: a ZIP's own, or the file's.
        data, scaling, reason: as `model.importing.import_network`.
        who: who imports it; kept.

    Raises:
        ImportingRefused: nobody is named, another import runs, or there is no room for the upload.
    """
    global _latest
    if not who.strip():
        raise ImportingRefused("Say who imports the model: it is kept with the name.")
    with _starting:
        if _latest is not None and _latest.running:
            raise ImportingRefused("Another import is running; wait until it has ended.")
        folder = None
        if isinstance(source, Path):
            file = source
            if not file.is_file():
                raise ImportingRefused(f"There is no file {file}.")
        else:
            folder, file = _kept(home, source, title)
        command = [sys.executable, "-m", "model", "import", str(file), "--json", "--scaling", scaling]
        command += [
            "--who",
            who.strip(),
            "--reason",
            reason.strip(),
            "--name",
            name.strip() or _name_of(title),
        ]
        if data is not None:
            command += ["--data", str(data)]
        environment = os.environ | {
            "PNEUMOSCOPE_HOME": str(home),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        }
        _latest = ImportJob(title, ["nice", "-n", "10", *command], folder, environment)
        return _latest


def _name_of(title: str) -> str:
    """A name for the version, from the file's; a ZIP has its own."""
    return "" if title.lower().endswith(".zip") else _plain_stem(title)


def _plain_stem(title: str) -> str:
    stem = "".join(
        each if (each.isalnum() and each.isascii()) or each in "._-" else "-" for each in Path(title).stem
    )
    return stem.lstrip("._-")[:100]


def _kept(home: Path, source: BinaryIO, title: str) -> tuple[Path, Path]:
    """Copy an upload to a folder of its own, and what an earlier server left there away."""
    root = home / "imports"
    try:
        shutil.rmtree(root, ignore_errors=True)  # none runs: nothing in it is needed
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root))
        ending = ".zip" if title.lower().endswith(".zip") else ".h5"
        file = folder / f"{_plain_stem(title) or 'upload'}{ending}"
        source.seek(0)
        with file.open("wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise ImportingRefused(
            f"The upload cannot be kept under {home} ({error.strerror}); make room."
        ) from None
    return folder, file
