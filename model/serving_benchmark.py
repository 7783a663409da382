"""How long a film takes while a training runs beside: ``python -m model.serving_benchmark DATA_DIR``.

The training is a run as the app starts it: a process of its own with a lower priority, in a folder that is removed
afterwards. Films are read before it starts, while its batches run, and after it has ended: file bytes to probability,
one at a time. All in one run, because only ratios hold on a shared machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from model import jobs
from model.films import prepare, read_xray
from model.inference import Predictor
from model.recipes import default_config
from model.registry import find_version
from model.samples import SAMPLES

LONGEST_START = 600.0
"""Seconds until the training must have begun its batches."""


def read_films(predictor: Predictor, *, count: int) -> list[float]:
    """Milliseconds of each of ``count`` readings of the synthetic films, in turn."""
    films = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))]
    times = []
    for number in range(count):
        started = time.perf_counter()
        pixels = read_xray(films[number % len(films)]).pixels
        predictor.predict(prepare(pixels, size=predictor.card.input_size)[None])
        times.append((time.perf_counter() - started) * 1000)
    return times


def wait_until_training(home: Path, job: str) -> None:
    """Return when the run's first batches are done; RuntimeError where it ends before or never begins."""
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_START:
        now = jobs.read_job(home, job)
        if not now.active:
            raise RuntimeError(f"The training ended before it was measured: {now.status.message}")
        if now.status.progress.phase == "training" and now.status.progress.step > 2:
            return
        time.sleep(0.5)
    raise RuntimeError("The training did not begin.")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one line a state."""
    parser = argparse.ArgumentParser(prog="python -m model.serving_benchmark", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="what the training beside is trained on")
    parser.add_argument("--architecture", default="custom_cnn", help="of the training beside")
    parser.add_argument("--readings", type=int, default=200, help="in each state (default 200)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        predictor = Predictor.load(find_version(None), cache=home / "cache")
        read_films(predictor, count=20)
        before = read_films(predictor, count=arguments.readings)
        job = jobs.submit(
            home,
            name="beside",
            who="benchmark",
            data=arguments.data.absolute(),
            config=default_config(arguments.architecture, starting_weights="none"),
        )
        try:
            wait_until_training(home, job.id)
            beside = read_films(predictor, count=arguments.readings)
            still = jobs.read_job(home, job.id).active
        finally:
            jobs.cancel(home, job.id, "discard")
            while jobs.read_job(home, job.id).active:
                time.sleep(0.5)
        if not still:
            raise RuntimeError(
                "The training ended while films were read: take more films or another network."
            )
        after = read_films(predictor, count=arguments.readings)
    print(f"File bytes to probability, {arguments.readings} readings, milliseconds")
    print(f"{'':32}{'median':>8}{'95 % below':>12}{'ratio':>8}")
    for name, times in (
        ("alone", before),
        (f"beside a training ({arguments.architecture})", beside),
        ("alone again", after),
    ):
        high = quantiles(times, n=20)[-1]
        print(f"{name:32}{median(times):>8.1f}{high:>12.1f}{median(times) / median(before):>8.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
