"""What a training run tells while it goes on, what it can be told, and how it fails: in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

Phase = Literal["reading films", "lungs", "features", "training", "calibrating", "testing", "writing"]
Stop = Literal["", "discard", "keep"]
"""What is asked of a run: to go on, to end without a version, to end with the best epoch so far."""


class TrainingError(Exception):
    """The run cannot start or go on; one sentence that says what to do."""


class TrainingStopped(TrainingError):  # noqa: N818
    """The run was stopped on request and leaves no version."""


class KeepBest(Exception):  # noqa: N818
    """The run was asked to end with the best epoch so far. Never leaves `model.fitting`."""


@dataclass(frozen=True)
class Progress:
    """Where a run is. ``step`` and ``steps`` count the batches of the phase, in ``training`` those of all epochs.

    ``seconds_left`` is of the phase; ``loss`` is not a number outside ``training``.
    """

    phase: Phase
    epoch: int
    epochs: int
    step: int
    steps: int
    seconds_left: float
    loss: float


@dataclass
class Watch:
    """The two ends of a run's line to whoever started it; asked at each step."""

    progress: Callable[[Progress], None] = lambda _: None
    stop: Callable[[], Stop] = lambda: ""
    epoch: int = 0
    epochs: int = 0
    fitting: bool = field(default=False, init=False)
    """``keep`` ends this; what comes before and after it is needed for any version."""

    def tell(
        self, phase: Phase, step: int, steps: int, *, seconds_left: float, loss: float = float("nan")
    ) -> None:
        """Tell where the run is, and do as is asked."""
        self.progress(Progress(phase, self.epoch, self.epochs, step, steps, seconds_left, loss))
        self.ask()

    def ask(self) -> None:
        """Do as is asked: raises TrainingStopped, or KeepBest while a network is fitted."""
        wanted = self.stop()
        if wanted == "discard":
            raise TrainingStopped("The run was stopped; nothing was kept.")
        if wanted == "keep" and self.fitting:
            raise KeepBest

    def counter(self, phase: Phase, steps: int) -> Callable[[], None]:
        """A function to call after each of ``steps`` equal steps of a phase."""
        began, done = monotonic(), 0

        def step() -> None:
            nonlocal done
            done += 1
            self.tell(phase, done, steps, seconds_left=(monotonic() - began) / done * (steps - done))

        return step


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """Turn what a full disk, too little memory or a vanished file raises into a TrainingError."""
    try:
        yield
    except MemoryError:
        raise TrainingError(_NO_MEMORY) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise TrainingError(
                "The disk is full: free some space, then resume the run; it goes on from its last epoch."
            ) from None
        if error.errno == errno.ENOMEM:
            raise TrainingError(_NO_MEMORY) from None
        where = (
            f"{error.filename} cannot be read or written" if error.filename else "Reading or writing failed"
        )
        raise TrainingError(f"{where}: {error.strerror or error}.") from None
    except Exception as error:
        if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's word for it
            raise TrainingError(_NO_MEMORY) from None
        raise


_NO_MEMORY = (
    "The memory ran out: take a smaller batch_size or input_side, or close other programs, and start again."
)
