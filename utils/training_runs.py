"""What the Training screen says about runs, and what a run would cost: measured in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from model.architectures import ARCHITECTURES
from model.jobs import Job
from model.recipes import TrainingConfig
from utils.settings import PROJECT

STATE_WORDS = {
    "queued": ":material/hourglass_empty: waiting",
    "running": ":material/play_circle: running",
    "finished": ":material/check_circle: finished",
    "failed": ":material/error: failed",
    "cancelled": ":material/block: cancelled",
}
STALLED_WORDS = ":material/pause_circle: stalled"
PHASE_WORDS = {
    "": "Starting TensorFlow",
    "reading films": "Reading the films",
    "lungs": "Finding the lungs",
    "features": "Computing the features of the frozen part",
    "training": "Training",
    "calibrating": "Calibrating on validation films",
    "testing": "Measuring on the test films",
    "writing": "Writing the version",
}
_COST_SECONDS = 600


class EstimateError(RuntimeError):
    """What a run would cost could not be measured; one sentence."""


class Cost(BaseModel):
    """What ``python -m model cost`` measured. Times in seconds, on this machine."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    parameters: int
    trainable_parameters: int
    seconds: float
    seconds_per_epoch: float = 0.0
    features_seconds: float = 0.0
    measured_steps: int = 0


@dataclass(frozen=True)
class Estimate:
    """A measurement under way or done; it belongs to one folder and one configuration."""

    key: str
    result: Future[Cost]
    process: subprocess.Popen[str] | None = None

    def cancel(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def estimate_key(data: Path, config: TrainingConfig) -> str:
    """Tells estimates apart."""
    return f"{data} {config.model_dump_json()}"


def estimate(data: Path, config: TrainingConfig, *, weights: str) -> Estimate:
    """Measure a few steps of a run in a process of its own, with a low priority.

    Args:
        weights: the starting weights, a version's name as its file.
    """
    folder = Path(tempfile.mkdtemp(prefix="pneumoscope-cost-"))
    file = folder / "config.json"
    changed = config.model_copy(update={"starting_weights": weights})
    file.write_text(changed.model_dump_json(), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "cost", str(data), "--config", str(file)],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    made = Estimate(estimate_key(data, config), Future(), process)

    def wait() -> None:
        try:
            made.result.set_result(_measured(process))
        except EstimateError as error:
            made.result.set_exception(error)
        finally:
            file.unlink(missing_ok=True)
            folder.rmdir()

    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, 10)
    threading.Thread(target=wait, name="training-cost", daemon=True).start()
    return made


def _measured(process: subprocess.Popen[str]) -> Cost:
    try:
        out, complaints = process.communicate(timeout=_COST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise EstimateError(
            f"Measuring took longer than {_COST_SECONDS // 60} minutes: this machine is too slow for this recipe, or "
            "busy."
        ) from None
    if process.returncode:
        # Errors that are meant for people stand in one line: "python -m model cost: What is wrong."
        said = [
            line.partition(": ")[2] for line in complaints.splitlines() if line.startswith("python -m model")
        ]
        reason = said[-1] if said else "The measurement ended before its time."
        raise EstimateError(reason)
    try:
        return Cost.model_validate(json.loads(out.strip().splitlines()[-1]))
    except (IndexError, ValueError, ValidationError):
        raise EstimateError("The measurement gave no result that can be read.") from None


def time_in_words(seconds: float) -> str:
    """A length of time as people say it.

    >>> time_in_words(42)
    '42 s'
    >>> time_in_words(130)
    '2 min 10 s'
    >>> time_in_words(5000)
    '1 h 23 min'
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def state_in_words(job: Job) -> str:
    """The state with its sign; stalled runs say so."""
    return STALLED_WORDS if job.stalled else STATE_WORDS[job.state]


def duration(job: Job) -> float | None:
    """Seconds that the last attempt has taken, or took; None before it began."""
    if job.status.started is None:
        return None
    end = job.status.ended or datetime.now(UTC)
    return (end - job.status.started).total_seconds()


def share_done(job: Job) -> float:
    """Of the phase that the run is in, 0 to 1."""
    step = job.status.progress
    return min(max(step.step / step.steps, 0.0), 1.0) if step.steps else 0.0


def planned_epochs(job: Job) -> int:
    """Epochs of the run, at most; of one that has ended, those that it had."""
    table = job.history()
    done = 0 if table is None else len(table)
    if not job.active and job.state != "failed":
        return done
    try:
        planned = TrainingConfig.model_validate(job.order.config).total_epochs
    except ValidationError:
        planned = job.status.progress.epochs
    return max(planned, done)


def phases(job: Job) -> tuple[str, ...]:
    """The phases that a run goes through, in their order."""
    settings = job.order.config
    without = {""}
    if not settings.get("transplanted"):
        without.add("lungs")
    network = ARCHITECTURES.get(str(settings.get("architecture")))
    whole = network is not None and settings.get("unfrozen_blocks", 0) == network.blocks
    if whole and not settings.get("settle_epochs"):
        without.add("features")
    return tuple(phase for phase in PHASE_WORDS if phase not in without)


def progress_in_words(job: Job) -> str:
    """Phase, epoch, step and time left, in one line."""
    step = job.status.progress
    parts = [PHASE_WORDS.get(step.phase, step.phase)]
    if step.phase == "training":
        parts.append(f"epoch {step.epoch} of {step.epochs}")
    if step.steps:
        parts.append(f"step {step.step:,} of {step.steps:,}")
    if step.seconds_left is not None and step.steps and step.step:
        parts.append(f"{time_in_words(step.seconds_left)} left")
    if step.loss is not None and step.phase == "training":
        parts.append(f"loss {step.loss:.4f}")
    return ", ".join(parts)


def as_row(job: Job) -> dict[str, Any]:
    """A run in the history of runs."""
    # Of one that is under way the figures stand above, where they are kept up to date.
    table = None if job.active else job.history()
    took = None if job.active else duration(job)
    best = "–" if table is None or "val_auc" not in table else f"{table['val_auc'].max():.3f}"
    return {
        "Version": job.name,
        "State": state_in_words(job).rsplit(": ", 1)[-1],
        "Ordered": job.order.created.astimezone().strftime("%Y-%m-%d %H:%M"),
        "By": job.order.who,
        "Films": job.order.source,
        "Network": str(job.order.config.get("architecture", "")),
        "Epochs": "–" if table is None else str(len(table)),
        "Best validation AUC": best,
        "Took": "–" if took is None else time_in_words(took),
    }
