"""Training runs as processes of their own, with their state on disk: closing the app, or the browser, loses nothing.

::

    <home>/jobs/turn                one run at a time holds it
                runner              the one process that starts waiting runs holds it
                guard               held for a moment by whoever changes a state
                <id>/job.json       what was ordered: never changes
                     status.json    where it is: replaced, never half-written
                     stop           "discard" or "keep", once somebody cancelled
                     beat           touched while the process gets work done
                     alive          held by the process as long as it lives
                     log.txt        what it said
                     run/           the training's own folder: checkpoint, history, TensorBoard

A waiting run is started by a small process (``python -m model.jobs HOME``) that takes the oldest one, waits for it,
notes how it ended and takes the next. The run itself (``python -m model.jobs HOME ID``) is its child, with a lower
priority. Both outlive the app. Signs of life are locks that the system drops with their process, so no dead process
passes for a living one, whoever has its number now. Where both are gone, the state says "running", nobody holds
``alive``, and that is read as failed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from model.registry import HISTORY_FILE, NAME_PATTERN, RELEASED, VersionError, find_version, read_version

if TYPE_CHECKING:
    import pandas

    from model.recipes import TrainingConfig
    from model.training import Progress

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = "jobs"
NAME_RULE = "letters, digits and . _ -, at most 100, beginning with a letter or a digit"
LONGEST_TEXT = 200
STALLED_AFTER = 90.0
"""Seconds without work done after which a run counts as stalled."""
LEAST_FREE = 500 * 2**20
"""Bytes that have to be free under home before a run starts: checkpoint, features and the new version."""
_BEAT = 5.0
_LOG_BYTES = 200_000
NICE_VARIABLE = "PNEUMOSCOPE_TRAINING_NICE"
"""Environment variable with the priority of runs: 0, as that of the app, to 19, the lowest; 10 where it is not set."""
_PATIENCE_WITH_DISCARD = 20.0
_CHATTER = re.compile(r"[IWE]\d{4} [\d:. ]+\d+ \w+\.cc:\d+\]|WARNING: All log messages before absl")
"""What TensorFlow tells its own developers when it starts."""

State = Literal["queued", "running", "finished", "failed", "cancelled"]
Stop = Literal["", "discard", "keep"]


class JobError(Exception):
    """What was asked of a run cannot be done; one sentence."""


class Order(BaseModel):
    """``job.json``. The configuration stays a plain dictionary: one of an older release can be shown, if not run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=NAME_PATTERN)
    who: str
    data: Path
    source: str = ""
    created: AwareDatetime
    config: dict[str, Any]


class Step(BaseModel):
    """The last progress that the training told."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    loss: float | None = None


class Status(BaseModel):
    """``status.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: State
    message: str = ""
    attempts: int = 0
    pid: int = 0
    queued: AwareDatetime
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    progress: Step = Step()


@dataclass(frozen=True)
class Job:
    """One run as it stood when it was read.

    Attributes:
        id: name of its folder.
        order: what was ordered.
        status: as derived: a run whose process is gone is failed.
        stop: what was asked of it, if it was cancelled.
        silent: seconds since it last got work done; 0 unless it runs.
        folder: where its state lies.
    """

    id: str
    order: Order
    status: Status
    stop: Stop
    silent: float
    folder: Path

    @property
    def name(self) -> str:
        """Of the version to be."""
        return self.order.name

    @property
    def state(self) -> State:
        return self.status.state

    @property
    def active(self) -> bool:
        """Whether it runs or waits to."""
        return self.state in ("queued", "running")

    @property
    def stalled(self) -> bool:
        """Whether it runs, but has done nothing for :data:`STALLED_AFTER` seconds."""
        return self.state == "running" and self.silent > STALLED_AFTER

    @property
    def can_resume(self) -> bool:
        return self.state == "failed"

    @property
    def run(self) -> Path:
        """The training's folder; it is there until the version stands."""
        return self.folder / "run"

    def log(self, lines: int = 40) -> tuple[str, ...]:
        """The last lines that the run wrote."""
        try:
            with (self.folder / "log.txt").open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except OSError:
            return ()
        said = (line.rstrip() for line in text.splitlines() if line.strip() and not _CHATTER.match(line))
        return tuple(said)[-lines:]

    def history(self) -> pandas.DataFrame | None:
        """One row an epoch so far, as `model.registry.Version.history`; None before the first one."""
        import pandas

        for file in (self.run / HISTORY_FILE, self.folder / HISTORY_FILE):
            with contextlib.suppress(OSError, ValueError):
                table = pandas.read_csv(file)
                if len(table):
                    return table
        return None


# --- orders ---------------------------------------------------------------------------------------------


def submit(home: Path, *, name: str, who: str, data: Path, config: TrainingConfig, source: str = "") -> Job:
    """Order a run; it starts at once, or when those before it have ended.

    Args:
        home: the installation's folder; the version goes to its ``versions``.
        name: of the version to be: free.
        who: who orders it; kept with the run and in the version's card.
        data: the folder of films.
        config: all choices; its starting weights may be the name of a version.
        source: the data set's name for people.

    Raises:
        JobError: the name cannot be used or is taken, nobody is named, or home cannot be written.
    """
    name = free_name(home, name)
    who = " ".join(who.split())[:LONGEST_TEXT]
    if not who:
        raise JobError("Say who orders the run: it is kept with the version.")
    now = datetime.now(UTC)
    order = Order(
        name=name,
        who=who,
        data=data,
        source=source or data.name,
        created=now,
        config=config.model_dump(mode="json"),
    )
    with _writing(home):
        _enough_room(home)
        folder = home / FOLDER / f"{now:%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"
        unfinished = folder.with_name(f".{folder.name}")
        unfinished.mkdir(parents=True)
        (unfinished / "job.json").write_text(order.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _write_status(unfinished, Status(state="queued", queued=now))
        unfinished.rename(folder)
    advance(home)
    return read_job(home, folder.name)


def free_name(home: Path, name: str) -> str:
    """`name` if a new version may have it.

    Raises:
        JobError: it breaks the rule, or a version or a waiting run has it.
    """
    name = name.strip()
    if not re.match(NAME_PATTERN, name):
        raise JobError(f"Give the new version another name: {NAME_RULE}.")
    if name.endswith(".run") or (home / "versions" / name).exists() or (RELEASED / name).exists():
        raise JobError(f"There is a version called {name} already; choose another name.")
    if any(job.active and job.name == name for job in list_jobs(home)):
        raise JobError(f"A run that is to make {name} is under way; choose another name.")
    return name


def list_jobs(home: Path) -> tuple[Job, ...]:
    """All runs, newest first; damaged ones are left out."""
    found = []
    with contextlib.suppress(OSError):
        for folder in (home / FOLDER).iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                with contextlib.suppress(JobError):
                    found.append(read_job(home, folder.name))
    return tuple(sorted(found, key=lambda job: (job.order.created, job.id), reverse=True))


def read_job(home: Path, job: str) -> Job:
    """The run `job`, its state as it is now.

    Raises:
        JobError: there is none, or it is damaged.
    """
    folder = _folder(home, job)
    try:
        order = Order.model_validate_json((folder / "job.json").read_bytes())
        status = Status.model_validate_json((folder / "status.json").read_bytes())
        alive = status.state == "running" and _held(folder / "alive")
        if status.state == "running" and not alive:  # it may have ended just now, and said so
            status = Status.model_validate_json((folder / "status.json").read_bytes())
    except OSError:
        raise JobError("There is no such run any more.") from None
    except ValidationError:
        raise JobError(f"The state of the run {job} is damaged: {folder}.") from None
    stop = _stop(folder)
    silent = 0.0
    if status.state == "running":
        if alive:
            silent = _silent(folder, status)
        elif stop == "discard":
            status = status.model_copy(update={"state": "cancelled", "message": _CANCELLED})
        else:
            status = status.model_copy(update={"state": "failed"})
    found = Job(id=job, order=order, status=status, stop=stop, silent=silent, folder=folder)
    if status.state == "failed" and not status.message:
        message = _last_words(found) or _gone(home)
        return replace(found, status=status.model_copy(update={"message": message}))
    return found


def cancel(home: Path, job: str, how: Literal["discard", "keep"]) -> None:
    """Stop a run: throw away what it did, or make a version of its best epoch so far.

    A waiting run is taken out of the queue. A running one stops at its next step; one that is stalled is killed.

    Raises:
        JobError: it has ended already, or home cannot be written.
    """
    with _writing(home):
        read = read_job(home, job)
        if not read.active:
            raise JobError(f"The run for {read.name} has ended already.")
        if read.state == "queued":
            ended = {"state": "cancelled", "ended": datetime.now(UTC), "message": "Taken out of the queue."}
            _write_status(read.folder, read.status.model_copy(update=ended))
            return
        _replace_text(read.folder / "stop", how)
    if how == "discard" and read.stalled and _held(read.folder / "alive"):
        with contextlib.suppress(OSError):
            os.kill(read.status.pid, signal.SIGKILL)  # it holds its lock, so the number is still its own


def resume(home: Path, job: str) -> Job:
    """Put a failed run back into the queue; it goes on from its last whole epoch.

    Raises:
        JobError: it is not failed, its version's name has been taken, or home cannot be written.
    """
    with _writing(home):
        read = read_job(home, job)
        if not read.can_resume:
            raise JobError(f"Only a failed run can be resumed; the one for {read.name} is {read.state}.")
        if not _made(home / "versions" / read.name, read):
            free_name(home, read.name)
        _enough_room(home)
        (read.folder / "stop").unlink(missing_ok=True)
        _write_status(
            read.folder, Status(state="queued", queued=datetime.now(UTC), attempts=read.status.attempts)
        )
    advance(home)
    return read_job(home, job)


def delete(home: Path, job: str) -> None:
    """Remove a run that has ended, with its log and checkpoint. The version it made stays.

    Raises:
        JobError: it runs or waits, or cannot be removed.
    """
    with _writing(home):
        read = read_job(home, job)
        if read.active:
            raise JobError(f"The run for {read.name} has not ended: cancel it first.")
        doomed = read.folder.with_name(f".deleted-{read.folder.name}")
        read.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def advance(home: Path) -> None:
    """See to it that a waiting run gets its turn. Cheap: pages call it whenever they look."""
    if not any(job.state == "queued" for job in list_jobs(home)) or _held(home / FOLDER / "runner"):
        return
    _launch([str(home)])


# --- state on disk ----------------------------------------------------------------------------------------

_FAILED = "  failed: "
_CANCELLED = "Cancelled; nothing was kept."
_NOTHING_TO_KEEP = "Cancelled before the first epoch had ended: there was nothing to keep."


def _folder(home: Path, job: str) -> Path:
    if not re.fullmatch(r"[0-9A-Za-z-]+", job):
        raise JobError("There is no such run.")
    return home / FOLDER / job


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Alone in changing states; a file system that refuses becomes a sentence."""
    try:
        (home / FOLDER).mkdir(parents=True, exist_ok=True)
        with (home / FOLDER / "guard").open("a") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise JobError(f"The disk that holds {home} is full: make room.") from None
        raise JobError(f"{home / FOLDER} cannot be written ({error.strerror}); check the folder.") from None


def _enough_room(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE:
        raise JobError(
            f"Only {free / 2**20:,.0f} MB are free on the disk that holds {home}, and a run needs "
            f"{LEAST_FREE / 2**20:,.0f} MB: make room."
        )


def _replace_text(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_status(folder: Path, status: Status) -> None:
    _replace_text(folder / "status.json", status.model_dump_json(indent=2) + "\n")


def _held(path: Path) -> bool:
    """Whether a process holds the lock of this file."""
    try:
        with path.open("rb") as stream:
            # Shared, so that two who ask do not take each other for the holder.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _stop(folder: Path) -> Stop:
    try:
        text = (folder / "stop").read_text(encoding="utf-8")
    except OSError:
        return ""
    return "keep" if text == "keep" else "discard"


def _silent(folder: Path, status: Status) -> float:
    try:
        last = (folder / "beat").stat().st_mtime
    except OSError:
        last = 0.0
    if status.started is not None:
        last = max(last, status.started.timestamp())
    return max(0.0, time.time() - last)


def _last_words(job: Job) -> str:
    """Why a run failed that could say so in its log alone, its status being on a full disk."""
    last = "".join(job.log(1)).partition(_FAILED)
    return last[2]


def _gone(home: Path) -> str:
    with contextlib.suppress(OSError):
        if shutil.disk_usage(home).free < LEAST_FREE // 10:
            return f"The run ended because the disk that holds {home} is full: make room, then resume it."
    return (
        "The process of the run is gone: it was killed, or the computer was started anew. Resume it to go on."
    )


# --- processes --------------------------------------------------------------------------------------------


def _launch(arguments: list[str]) -> None:
    """Start this module in a session of its own, so that it outlives who started it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "model.jobs", *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Waited for, or it would stay in the table of processes as a zombie for as long as the app lives.
    threading.Thread(target=process.wait, name="jobs-runner", daemon=True).start()


def run_queue(home: Path) -> None:
    """Run the waiting runs one after another, until none is left. Returns at once where another process does so."""
    with (home / FOLDER / "runner").open("a") as runner:
        try:
            fcntl.flock(runner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        while waiting := [job for job in list_jobs(home) if job.state == "queued"]:
            first = min(waiting, key=lambda job: (job.status.queued, job.id))
            with (first.folder / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "model.jobs", str(home), first.id],
                    cwd=PROJECT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(),
                )
            code = process.wait()
            _note_end(home, first.id, code)
            with contextlib.suppress(JobError):
                now = read_job(home, first.id)
                if now.state == "queued" and now.status.queued == first.status.queued:
                    return  # not even its end can be written


def _environment() -> dict[str, str]:
    """One processor stays free for the screens where there are more than two; fewer are shared by priority."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = processors - 1 if processors > 2 else processors
    return {
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        # The log is for people: without what the libraries have to tell their own developers.
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "PYTHONUNBUFFERED": "1",
    }


def _note_end(home: Path, job: str, code: int) -> None:
    """Put into the status what the process could not write itself any more."""
    with contextlib.suppress(JobError, ValidationError), _writing(home):
        folder = _folder(home, job)
        status = Status.model_validate_json((folder / "status.json").read_bytes())
        if status.state not in ("running", "queued"):
            return
        stop = _stop(folder)
        if stop == "discard":
            state: State = "cancelled"
            message = _CANCELLED
            shutil.rmtree(folder / "run", ignore_errors=True)
        else:
            state, message = "failed", _words_for_exit(code)
        ended = {"state": state, "message": message, "ended": datetime.now(UTC), "pid": 0}
        _write_status(folder, status.model_copy(update=ended))


def _words_for_exit(code: int) -> str:
    if code == -signal.SIGKILL:
        return (
            "The run was killed, most often because memory ran out. Resume it when more is free, or run it again with "
            "smaller batches or a smaller input side."
        )
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"The run was ended by the signal {signal.Signals(-code).name}. Resume it to go on."
    return f"The run ended before its time (exit status {code}); its last words are below."


def words_for(error: BaseException, home: Path) -> str:
    """One sentence, or two, for what stopped a run."""
    kind = type(error).__name__
    if kind in ("TrainingError", "DatasetError", "VersionError", "WeightsError", "JobError"):
        return str(error)
    if isinstance(error, MemoryError) or kind == "ResourceExhaustedError":
        return "Memory ran out: run it again with smaller batches or a smaller input side."
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or "No space left on device" in str(error):
        return f"The disk that holds {home} is full: make room, then resume the run."
    if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError) and error.filename:
        return f"{error.filename} cannot be read any more ({error.strerror}): bring it back, then resume the run."
    return f"The training failed unexpectedly ({kind}); the end of its log tells more."


def work(home: Path, job: str) -> int:
    """Do one run in this process; its exit status. Waits for its turn."""
    folder = _folder(home, job)
    with (home / FOLDER / "turn").open("a") as turn, (folder / "alive").open("a") as alive:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with _writing(home):
            read = read_job(home, job)
            if read.state != "queued":  # cancelled while it waited, or done by another process
                return 0
            fcntl.flock(alive, fcntl.LOCK_EX)
            status = read.status.model_copy(
                update={
                    "state": "running",
                    "attempts": read.status.attempts + 1,
                    "pid": os.getpid(),
                    "started": datetime.now(UTC),
                    "message": "",
                    "ended": None,
                }
            )
            _write_status(folder, status)
        _step_back()
        return _train(home, read, status)


def _step_back() -> None:
    """Let serving go first, and let this process be the one that goes where memory runs out."""
    try:
        nice = min(max(int(os.environ.get(NICE_VARIABLE, "10")), 0), 19)
    except ValueError:
        nice = 10
    with contextlib.suppress(OSError):
        os.nice(nice)
    # Linux weighs processes within their session, and sessions against each other, so the session steps back too.
    for file, text in (("autogroup", str(nice)), ("oom_score_adj", "500")):
        with contextlib.suppress(OSError):
            Path("/proc/self", file).write_text(text)


class _Follow:
    """Keeps the status of a run in step with its training, and its heart beating."""

    def __init__(self, home: Path, folder: Path, status: Status) -> None:
        self.home, self.folder, self.status = home, folder, status
        self._written = 0.0
        self._told = ("", 0)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def progress(self, now: Progress) -> None:
        told = (now.phase, now.epoch)
        news = told != self._told
        if news:
            self._told = told
            say(f"{now.phase}, epoch {now.epoch} of {now.epochs}" if now.phase == "training" else now.phase)
        if not news and time.monotonic() - self._written < 0.5:
            return
        self._written = time.monotonic()
        step = Step(
            phase=now.phase,
            epoch=now.epoch,
            epochs=now.epochs,
            step=now.step,
            steps=now.steps,
            seconds_left=_finite(now.seconds_left),
            loss=_finite(now.loss),
        )
        self.status = self.status.model_copy(update={"progress": step})
        with contextlib.suppress(OSError):  # a full disk ends a run where it loses something: at a checkpoint
            _write_status(self.folder, self.status)

    def stop(self) -> Stop:
        return _stop(self.folder)

    def end(self, state: State, message: str = "") -> None:
        self._ended.set()
        ended = {"state": state, "message": message, "ended": datetime.now(UTC), "pid": 0}
        say(f"{state}{': ' if message else ''}{message}")
        with _writing(self.home):
            _write_status(self.folder, self.status.model_copy(update=ended))

    def _beat(self) -> None:
        """Touch the beat while work is done; end the process where a discard is not heard."""
        before, unheard = -1.0, 0.0
        while not self._ended.wait(_BEAT):
            used = time.process_time()
            if used - before > 0.02:  # this thread alone needs less
                with contextlib.suppress(OSError):
                    (self.folder / "beat").touch()
            before = used
            unheard = unheard + _BEAT if self.stop() == "discard" else 0.0
            if unheard >= _PATIENCE_WITH_DISCARD:
                os._exit(1)


def say(text: str) -> None:
    """One line of the run's log."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {text}\n")
        sys.stdout.flush()


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value or value in (float("inf"), float("-inf")) else float(value)


def _train(home: Path, job: Job, status: Status) -> int:
    out = home / "versions" / job.name
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras on formats
    follow = _Follow(home, job.folder, status)
    if status.attempts > 1 and _made(out, job):  # killed between its version and its status
        _end_well(out, job, follow)
        return 0
    say(f"Run for {job.name}, ordered by {job.order.who}, attempt {status.attempts}")
    try:
        from model.recipes import TrainingConfig
        from model.training import TrainingStopped, train

        try:
            config = TrainingConfig.model_validate(
                {**job.order.config, "starting_weights": _weights(home, job.order.config)}
            )
        except ValidationError:
            raise JobError(
                "The configuration is one of another release: run it again with changes."
            ) from None
        _enough_room(home)
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            train(
                job.order.data,
                out,
                config=config,
                run=job.run,
                cache=home / "cache" / "features",
                resume=(job.run / "config.json").is_file(),
                progress=follow.progress,
                stop=follow.stop,
                who=job.order.who,
            )
        except TrainingStopped:
            shutil.rmtree(job.run, ignore_errors=True)
            kept = follow.stop() == "keep"
            follow.end(
                "cancelled",
                "Cancelled before the first epoch ended: there was nothing to keep." if kept else _CANCELLED,
            )
            return 0
    except Exception as error:
        message = words_for(error, home)
        if "unexpectedly" in message:
            traceback.print_exc(file=sys.stdout)
        with contextlib.suppress(JobError):  # the disk may be full: then the lock's end tells
            follow.end("failed", message)
        return 1
    _end_well(out, job, follow)
    return 0


def _end_well(out: Path, job: Job, follow: _Follow) -> None:
    with contextlib.suppress(OSError):  # the curves outlive the version
        shutil.copyfile(out / HISTORY_FILE, job.folder / HISTORY_FILE)
    shutil.rmtree(job.run, ignore_errors=True)
    follow.end("finished", "Cancelled; the best epoch was kept." if follow.stop() == "keep" else "")


def _made(out: Path, job: Job) -> bool:
    """Whether the version that stands there is this run's."""
    try:
        card = read_version(out).card
    except VersionError:
        return False
    return card.created >= job.order.created and card.trained_by == job.order.who


def _weights(home: Path, config: Mapping[str, Any]) -> str:
    """The starting weights; the name of a version becomes its file."""
    wanted = str(config.get("starting_weights", "none"))
    if wanted in ("none", "imagenet") or Path(wanted).expanduser().is_file():
        return wanted
    try:
        return str(find_version(wanted, RELEASED, home / "versions").model_file)
    except VersionError:
        return wanted  # the training says what is wrong with it


def main(arguments: list[str]) -> int:
    """``HOME``: run what waits. ``HOME ID``: do one run."""
    home = Path(arguments[0])
    if len(arguments) == 1:
        run_queue(home)
        return 0
    return work(home, arguments[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
