"""``python -m model train`` and ``python -m model cost``: arguments, progress on a terminal, errors in one line."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from model.architectures import ARCHITECTURES, weights_available
from model.dataset import DatasetError
from model.fitting import CHECKPOINT
from model.progress import Progress, TrainingError
from model.recipes import ConfigError, TrainingConfig, read_config
from model.registry import RELEASED, VersionError, find_version
from model.training import train

FAILURES = (TrainingError, ConfigError, DatasetError, VersionError)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what to train, on what."""
    parser.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="folder with train/NORMAL, train/PNEUMONIA, test/…"
    )
    parser.add_argument("--architecture", metavar="NAME", help="which network (default: vgg16_finetuned)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file of settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting; values are JSON or plain text; starting_weights also takes the name of a version",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``python -m model train``."""
    add_config_arguments(parser)
    parser.add_argument("--out", type=Path, help="version folder to write (default: under PNEUMOSCOPE_HOME)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run that was stopped (without --out: the newest one)",
    )
    parser.add_argument("--who", default=None, help="who trains, for the card (default: the login name)")


def read_arguments(arguments: argparse.Namespace, versions: Path) -> TrainingConfig:
    """The configuration that the arguments name, starting weights as a file; raises ConfigError."""
    config = read_config(arguments.config, arguments.set, architecture=arguments.architecture)
    wanted = config.starting_weights
    if wanted in ("imagenet", "none") or Path(wanted).expanduser().is_file():
        return config
    try:
        file = find_version(wanted, RELEASED, versions).model_file
    except VersionError:
        return config  # the run says what is wrong with it
    return config.model_copy(update={"starting_weights": str(file)})


def run(arguments: argparse.Namespace, *, versions: Path, cache: Path) -> int:
    """Run ``python -m model train``; ``versions``: folder of a version without ``--out``; ``cache``: of features."""
    try:
        config = read_arguments(arguments, versions)
        out = arguments.out or (
            newest_run(versions, arguments.architecture)
            if arguments.resume
            else free_name(versions, config.architecture)
        )
        with progress_bar() as show:
            version = train(
                arguments.data,
                out,
                config=config,
                cache=cache,
                resume=arguments.resume,
                who=login_name() if arguments.who is None else arguments.who,
                progress=show,
            )
    except FAILURES as error:
        return fail("train", error)
    print(f"{version.name}: written to {version.folder}")
    return 0


def run_cost(arguments: argparse.Namespace, *, versions: Path) -> int:
    """Run ``python -m model cost``."""
    from model.cost import measure_cost

    try:
        print(json.dumps(measure_cost(arguments.data, read_arguments(arguments, versions)).as_json()))
    except FAILURES as error:
        return fail("cost", error)
    return 0


def run_benchmark(arguments: argparse.Namespace) -> int:
    """Run ``python -m model benchmark --training``."""
    from model.training_benchmark import measure_training

    try:
        config = read_config(None, [f"epochs={arguments.epochs}"], architecture=arguments.architecture)
        there, _ = weights_available(ARCHITECTURES[config.architecture], config.starting_weights)
        if not there:  # what the weights are makes no difference to the time
            config = config.model_copy(update={"starting_weights": "none"})
        result = measure_training(arguments.training, config, films=arguments.training_films)
    except FAILURES as error:
        return fail("benchmark", error)
    print(json.dumps(result.as_json(), indent=2) if arguments.json is not None else result.as_text())
    return 0


def fail(command: str, error: Exception) -> int:
    """One line on stderr; the exit status."""
    print(f"python -m model {command}: {' '.join(str(error).split())}", file=sys.stderr)
    return 1


def free_name(versions: Path, architecture: str) -> Path:
    """``<architecture>-<date>`` under ``versions``, with -2, -3, … where that is taken by a version or a run."""
    name = f"{architecture}-{datetime.now():%Y-%m-%d}"
    number = 1
    while True:
        out = versions / (name if number == 1 else f"{name}-{number}")
        if not out.exists() and not (versions / f"{out.name}.run" / CHECKPOINT).exists():
            return out
        number += 1


def newest_run(versions: Path, architecture: str | None) -> Path:
    """Where the unfinished run begun last (of ``architecture``) was to write its version; raises TrainingError."""
    runs = versions.glob(f"{architecture or ''}*.run/{CHECKPOINT}")
    found = sorted(runs, key=lambda path: path.stat().st_mtime)
    if not found:
        raise TrainingError(f"There is no unfinished run in {versions}: start one without --resume.")
    return found[-1].parent.with_suffix("")


def login_name() -> str:
    """Who runs this process; empty where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on the terminal that follows a run."""
    from tqdm import tqdm

    with tqdm(total=None, desc="starting", dynamic_ncols=True, bar_format=_BAR) as bar:
        phase = ""

        def show(now: Progress) -> None:
            nonlocal phase
            if now.phase != phase:
                phase = now.phase
                bar.reset(total=now.steps)
            bar.total = now.steps
            training = now.phase == "training"
            words = f"epoch {now.epoch}/{now.epochs}" if training else now.phase
            bar.set_description(words, refresh=False)
            left = "" if now.seconds_left != now.seconds_left else f", {_time(now.seconds_left)} left"
            bar.set_postfix_str(f"loss {now.loss:.3f}{left}" if training else left[2:], refresh=False)
            bar.update(now.step - bar.n)

        yield show


_BAR = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
