"""The table of networks of docs/training.md from version folders: ``python -m model.network_table FOLDER``.

Everything but the milliseconds is read from cards and histories; those are measured here, one network after the other.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from model.architectures import ARCHITECTURES
from model.inference import Predictor
from model.registry import Version, list_versions
from model.smoke import sample_images

COLUMNS = (
    "network",
    "parameters",
    "trained",
    "started from",
    "films",
    "epochs",
    "minutes",
    "test AUC (95 % interval)",
    "sensitivity",
    "specificity",
    "ms an image",
)
POINT = "balanced"


def milliseconds(version: Version, cache: Path, *, rounds: int) -> float:
    """Median time of one image through the app's engine, input in memory."""
    predictor = Predictor.load(version, cache=cache)
    _, images = sample_images(version.card.input_size)
    times = []
    for number in range(rounds + 3):
        started = time.perf_counter()
        predictor.predict(images[number % len(images)][None])
        times.append(time.perf_counter() - started)
    return median(times[3:]) * 1000


def row(version: Version, cache: Path, *, rounds: int) -> tuple[str, ...]:
    """One line of the table, a text a column of `COLUMNS`."""
    card = version.card
    history = version.history()
    test = card.metrics.get("test", {}).get(POINT)
    measured = ("–",) * 3
    if test is not None:
        low, high = test["auc_ci"]
        measured = (
            f"{test['auc']:.3f} ({low:.3f} to {high:.3f})",
            f"{test['sensitivity']:.3f}",
            f"{test['specificity']:.3f}",
        )
    # A card that does not tell the whole run's seconds is that of a run without features.
    spent = float(card.training.get("seconds") or history["seconds"].sum())
    return (
        f"`{card.seed_configuration}`",
        f"{card.parameters:,}",
        f"{card.trainable_parameters:,}",
        card.started_from,
        f"{sum(card.data['counts']['training'].values()):,}",
        str(len(history)),
        f"{spent / 60:.0f}" if spent >= 600 else f"{spent / 60:.1f}",
        *measured,
        f"{milliseconds(version, cache, rounds=rounds):.1f}",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table as Markdown, in the order of `ARCHITECTURES`."""
    parser = argparse.ArgumentParser(prog="python -m model.network_table", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="folders of version folders")
    parser.add_argument("--rounds", type=int, default=30, help="images a network (default 30)")
    arguments = parser.parse_args(argv)
    order = list(ARCHITECTURES)
    versions = sorted(
        list_versions(*arguments.folder),
        key=lambda version: (order.index(version.card.seed_configuration), version.name),
    )
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    with tempfile.TemporaryDirectory() as cache:
        for version in versions:
            print("| " + " | ".join(row(version, Path(cache), rounds=arguments.rounds)) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
