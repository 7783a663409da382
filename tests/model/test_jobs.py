"""Real runs of a small network, in processes of their own: they queue, are cancelled, killed, and go on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import jobs
from model.jobs import Job, JobError, Status, cancel, delete, list_jobs, read_job, resume, submit, words_for
from model.recipes import TrainingConfig, default_config
from model.registry import list_versions, read_version

EPOCHS = 30  # enough to be killed in between
LONG = 5_000  # epochs of a run that a test stops


def config(epochs: int = 2) -> TrainingConfig:
    return default_config(
        "custom_cnn",
        input_side=16,
        head_units=4,
        epochs=epochs,
        augmentation="none",
        batch_size=8,
        mixed_precision=False,
        calibration_views=1,
        validation_fraction=0.25,
    )


def make_films(root: Path, *, count: int = 12, tests: int = 4) -> Path:
    """Films that a network can tell apart: pneumonia has a bright patch on one side."""
    random = np.random.default_rng(0)
    for split, first, number in (("train", 1, count), ("test", 100, tests)):
        for class_name, name in {"NORMAL": "IM-{:04d}-0001.png", "PNEUMONIA": "person{}_virus_1.png"}.items():
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for film in range(first, first + number):
                pixels = random.integers(60, 100, (64, 64))
                if class_name == "PNEUMONIA":
                    pixels[16:44, 6:28] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name.format(film))
    return root


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation; at the end nothing of it runs any more."""
    monkeypatch.setenv(jobs.NICE_VARIABLE, "0")
    folder = tmp_path / "home"
    folder.mkdir()
    yield folder
    for job in list_jobs(folder):
        if job.state == "queued":
            cancel(folder, job.id, "discard")
    for job in list_jobs(folder):
        if job.state == "running":
            os.kill(job.status.pid, signal.SIGKILL)
    until(lambda: not runner_lives(folder))


def until(reached: Callable[[], object], *, seconds: float = 240) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def runner_lives(home: Path) -> bool:
    try:
        with (home / "jobs" / "runner").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def ended(home: Path, job: Job) -> Job:
    until(lambda: not read_job(home, job.id).active)
    return read_job(home, job.id)


def epochs_done(home: Path, job: Job) -> int:
    table = read_job(home, job.id).history()
    return 0 if table is None else len(table)


def order(home: Path, films: Path, name: str, *, epochs: int = 1) -> Job:
    return submit(home, name=name, who="Dr A", data=films, config=config(epochs), source="Ward 3")


def test_runs_take_turns_and_leave_versions(home: Path, films: Path) -> None:
    first = order(home, films, "first")
    second = order(home, films, "second")
    third = order(home, films, "third")
    assert [job.name for job in list_jobs(home)] == ["third", "second", "first"]
    with pytest.raises(JobError, match="second is under way"):
        order(home, films, "second")
    cancel(home, third.id, "discard")
    assert read_job(home, third.id).state == "cancelled"
    with pytest.raises(JobError, match="has not ended"):
        delete(home, second.id)
    one, two = ended(home, first), ended(home, second)
    assert (one.state, two.state) == ("finished", "finished"), two.log()
    assert one.status.ended and two.status.started
    assert one.status.ended <= two.status.started  # one at a time
    card = read_version(home / "versions" / "first").card
    assert card.trained_by == "Dr A"
    assert epochs_done(home, first) == 1
    assert not one.run.exists()
    assert any("Run for first" in line for line in one.log())
    assert not any("Traceback" in line for line in one.log())
    with pytest.raises(JobError, match="a version called first already"):
        order(home, films, "first")
    delete(home, first.id)
    assert [job.name for job in list_jobs(home)] == ["third", "second"]
    assert [version.name for version in list_versions(home / "versions")] == ["second", "first"]


def test_a_killed_run_says_so_and_goes_on(home: Path, films: Path) -> None:
    job = order(home, films, "killed", epochs=EPOCHS)
    until(lambda: epochs_done(home, job) >= 2 or not read_job(home, job.id).active)
    os.kill(read_job(home, job.id).status.pid, signal.SIGKILL)
    killed = ended(home, job)
    assert killed.state == "failed"
    until(lambda: "memory" in read_job(home, job.id).status.message)
    assert list_versions(home / "versions") == ()
    before = epochs_done(home, job)
    assert 2 <= before < EPOCHS
    # Another process, as after a new start of the app, finds it and has it go on.
    script = (
        "import sys; from pathlib import Path; from model.jobs import list_jobs, resume\n"
        "home = Path(sys.argv[1]); (job,) = list_jobs(home); print(job.state); resume(home, job.id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        capture_output=True,
        text=True,
        check=True,
        cwd=jobs.PROJECT,
    )
    assert done.stdout.strip() == "failed"
    finished = ended(home, job)
    assert finished.state == "finished", finished.log()
    assert finished.status.attempts == 2
    table = finished.history()
    assert table is not None
    assert table["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert finished.name in [version.name for version in list_versions(home / "versions")]


def test_the_best_epoch_is_kept_or_all_is_thrown_away(home: Path, films: Path) -> None:
    kept = order(home, films, "kept", epochs=LONG)
    until(lambda: epochs_done(home, kept) >= 1 or not read_job(home, kept.id).active)
    cancel(home, kept.id, "keep")
    thrown = order(home, films, "thrown", epochs=LONG)
    assert ended(home, kept).state == "finished", read_job(home, kept.id).log()
    assert "best epoch" in read_job(home, kept.id).status.message
    assert 1 <= len(read_version(home / "versions" / "kept").history()) < LONG
    until(lambda: epochs_done(home, thrown) >= 1 or not read_job(home, thrown.id).active)
    cancel(home, thrown.id, "discard")
    assert ended(home, thrown).state == "cancelled"
    assert not (home / "versions" / "thrown").exists()
    assert not read_job(home, thrown.id).run.exists()
    with pytest.raises(JobError, match="ended already"):
        cancel(home, thrown.id, "keep")
    with pytest.raises(JobError, match="Only a failed run"):
        resume(home, thrown.id)


def test_a_vanished_folder_is_a_sentence(home: Path, tmp_path: Path) -> None:
    gone = make_films(tmp_path / "stick")
    job = submit(home, name="gone", who="Dr A", data=gone, config=config(LONG))
    shutil.rmtree(gone)
    failed = ended(home, job)
    assert failed.state == "failed"
    assert "stick" in failed.status.message
    assert not any("Traceback" in line for line in failed.log())


# --- what needs no training ---


def as_if(home: Path, state: str, *, minutes_ago: float = 0, **more: object) -> Job:
    """A run in a state, without a process."""
    now = datetime.now(UTC)
    folder = home / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    ordered = {"name": "made", "who": "Dr A", "data": "/films", "created": now.isoformat(), "config": {}}
    (folder / "job.json").write_text(json.dumps(ordered))
    started = datetime.fromtimestamp(now.timestamp() - 60 * minutes_ago, UTC)
    status = Status.model_validate({"state": state, "queued": started, "started": started, **more})
    (folder / "status.json").write_text(status.model_dump_json())
    return read_job(home, folder.name)


def test_a_dead_process_is_not_a_running_one(home: Path) -> None:
    job = as_if(home, "running", pid=os.getpid())  # the number is in use, by another process
    assert job.state == "failed"
    assert "is gone" in job.status.message
    assert job.can_resume


def test_what_a_full_disk_left_of_a_run_s_words_is_found(home: Path) -> None:
    job = as_if(home, "running")
    (job.folder / "log.txt").write_text("2026-11-21 16:19:44  failed: The disk is full: make room.\n")
    assert read_job(home, job.id).status.message == "The disk is full: make room."


def test_a_silent_process_is_stalled(home: Path) -> None:
    job = as_if(home, "running", minutes_ago=10)
    with (job.folder / "alive").open("a") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        stalled = read_job(home, job.id)
        assert stalled.state == "running"
        assert stalled.stalled
        assert stalled.silent == pytest.approx(600, abs=60)
        (job.folder / "beat").touch()
        assert not read_job(home, job.id).stalled


def test_a_stalled_run_can_be_ended(home: Path) -> None:
    """A process that holds its lock and does nothing."""
    job = as_if(home, "running", minutes_ago=10)
    script = (
        "import fcntl, sys, time; held = open(sys.argv[1], 'a'); fcntl.flock(held, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(job.folder / "alive")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        status = read_job(home, job.id).status.model_copy(update={"pid": process.pid})
        (job.folder / "status.json").write_text(status.model_dump_json())
        cancel(home, job.id, "discard")
        assert process.wait(30) == -signal.SIGKILL
    assert read_job(home, job.id).state == "cancelled"


@pytest.mark.parametrize(
    ("name", "who", "words"),
    [("../up", "Dr A", "another name"), ("a b", "Dr A", "another name"), ("fine", "  ", "Say who")],
)
def test_orders_are_checked(home: Path, films: Path, name: str, who: str, words: str) -> None:
    with pytest.raises(JobError, match=words):
        submit(home, name=name, who=who, data=films, config=config())
    assert list_jobs(home) == ()


def test_a_full_disk_is_said_before_a_run_starts(
    home: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEAST_FREE", shutil.disk_usage(home).total + 1)
    with pytest.raises(JobError, match="make room"):
        submit(home, name="large", who="Dr A", data=films, config=config())
    assert list_jobs(home) == ()


def test_a_damaged_state_hides_no_other_run(home: Path) -> None:
    job = as_if(home, "finished")
    damaged = home / "jobs" / "20260102-000000-abcdef"
    shutil.copytree(job.folder, damaged)
    (damaged / "status.json").write_text("{")
    assert list_jobs(home) == (job,)
    with pytest.raises(JobError, match="damaged"):
        read_job(home, damaged.name)
    with pytest.raises(JobError, match="no such run"):
        read_job(home, "../../etc")


def test_what_stopped_a_run_is_put_into_words(home: Path) -> None:
    assert "disk" in words_for(OSError(errno.ENOSPC, "No space left on device"), home)
    assert "Memory ran out" in words_for(MemoryError(), home)
    assert "/films/a.png" in words_for(FileNotFoundError(2, "No such file", "/films/a.png"), home)
    assert words_for(JobError("As it is."), home) == "As it is."
    assert "KeyError" in words_for(KeyError("x"), home)


def test_the_app_loads_no_framework_with_it() -> None:
    script = (
        "import sys, model.jobs; print([n for n in ('tensorflow', 'keras', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=jobs.PROJECT
    )
    assert done.stdout.strip() == "[]"
