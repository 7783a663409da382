"""``python -m model faithfulness``: do a version's heat maps tell what moved its network? See `model.faithfulness`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.calibration import logit
from model.dataset import DatasetError, Film, read_dataset
from model.explanation import Head, NoClosedFormError
from model.faithfulness import (
    TRUTH,
    Heat,
    Progress,
    Read,
    measure_curves,
    measure_likeness,
    measure_pointing,
)
from model.films import ImageError, prepare, read_xray
from model.inference import InferenceError, Predictor
from model.lungs import find_lungs
from model.opacities import Lungs
from model.randomised import blocks_of, randomised_version
from model.registry import Version, write_report

POINT = "balanced"
"""The operating point that parts the films into those flagged and the others."""
RANDOMISED_FILMS = 30
"""Films of the randomisation check at most: its cost is networks, and its spread is between draws, not films."""
RANDOMISED_DRAWS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="the data set whose films of --split are used"
    )
    parser.add_argument("--version", metavar="V", help="name or folder (default: the version in use)")
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="test",
        help="the version's validation films, or the test films (default: test)",
    )
    parser.add_argument("--films", type=_count, default=100, metavar="N", help="of each class (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--draws",
        type=int,
        default=RANDOMISED_DRAWS,
        metavar="N",
        help=f"random networks a step of the randomisation check, 0 to leave it out (default: {RANDOMISED_DRAWS})",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="all figures")
    parser.add_argument("--write", action="store_true", help="put the report into the version's folder")


def _count(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("must be 2 or more")
    return value


def run(
    arguments: argparse.Namespace,
    version: Version,
    predictor: Predictor,
    *,
    write_text: Callable[[Path, str], None],
) -> int:
    """Measure, print, and write where asked for; the exit status."""
    images, labels = chosen_images(arguments, version)
    with _bars() as progress:
        report = measure(version, predictor, images, labels, arguments, progress)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(report, indent=2, allow_nan=False) + "\n")
    if arguments.write:
        write_report(version, "faithfulness", report)
    sys.stdout.write(f"{as_text(report)}\n")
    return 0


def chosen_images(
    arguments: argparse.Namespace, version: Version
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Films as the network sees them, uint8 (n, h, w, 3), and labels (n,): as many of each class, one film a patient.

    Raises:
        DatasetError: there are too few readable films of a class.
    """
    dataset = read_dataset(arguments.data)
    if arguments.split == "test":
        films = dataset.split("test") or dataset.split("all")
    else:
        held_out = set(version.predictions("validation").files)
        films = tuple(
            film for film in dataset.films if film.path.relative_to(dataset.root).as_posix() in held_out
        )
    random = np.random.default_rng(arguments.seed)
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label in (0, 1):
        found = _read(films, label, arguments.films, version.card.input_size, random)
        images += found
        labels += [label] * len(found)
    return np.stack(images), np.array(labels, dtype=np.int64)


def _read(
    films: Sequence[Film], label: int, count: int, size: tuple[int, int], random: np.random.Generator
) -> list[NDArray[np.uint8]]:
    chosen = [film for film in films if film.label == label]
    images: list[NDArray[np.uint8]] = []
    patients: set[str] = set()
    for index in random.permutation(len(chosen)):
        film = chosen[index]
        if film.patient in patients:
            continue
        try:
            images.append(prepare(read_xray(film.path.read_bytes()).pixels, size=size))
        except (ImageError, OSError):
            continue  # `python -m model data` names it
        patients.add(film.patient)
        if len(images) == count:
            break
    if len(images) < 2:
        raise DatasetError(
            "There are too few readable films of each class in that split: at least 2 are needed."
        )
    return images


def reader(version: Version, predictor: Predictor) -> Read:
    """Probabilities, and what each place adds to their logit with its sign, of images; see `model.faithfulness.Read`.

    The positive part of the second is the heat of `Predictor.read`, which tells nothing of places below zero.

    Raises:
        InferenceError: when called, where the network's head has no closed form, so that there is no heat.
    """
    calibration = predictor.card.calibration

    @lru_cache(maxsize=1)
    def head() -> Head:
        try:
            found = Head.from_file(version.model_file)
        except (NoClosedFormError, OSError) as error:
            raise InferenceError(f"Version {version.name} has no heat map to measure: {error}") from None
        samples = np.random.default_rng(0).integers(0, 256, (2, *version.card.input_size, 3), dtype=np.uint8)
        some = predictor.predict_with_features(samples)
        raw = (logit(some.probabilities) - calibration.intercept) / calibration.slope
        matching = found.matching(some.features, raw)
        if matching is None:
            raise InferenceError(
                f"Version {version.name} has no heat map to measure: its head was not understood."
            )
        return matching

    def read(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Heat]:
        prediction = predictor.predict_with_features(images)
        maps = prediction.features
        weights = head().gradient(maps).mean((1, 2))
        shares = np.einsum("nhwc,nc->nhw", maps, weights) * calibration.slope
        return prediction.probabilities, shares.astype(np.float32)

    return read


def measure(
    version: Version,
    predictor: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    arguments: argparse.Namespace,
    progress: Progress,
) -> dict[str, Any]:
    """The whole report, as `model.registry.write_report` takes it."""
    read = reader(version, predictor)
    threshold = version.card.operating_point(POINT).threshold
    seed = arguments.seed
    command = f"python -m model faithfulness DATA_DIR --version {version.name} --split {arguments.split} "
    command += f"--films {arguments.films} --seed {seed} --draws {arguments.draws}"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "films": len(images),
        "films_by_class": {"NORMAL": int((labels == 0).sum()), "PNEUMONIA": int((labels == 1).sum())},
        "split": arguments.split,
        "version": version.name,
        "engine": predictor.description.words,
        "threshold": threshold,
        "heat_map": list(read(images[:1])[1].shape[1:]),
        "curves": measure_curves(
            images, labels == 0, read, predictor.predict, threshold=threshold, seed=seed, progress=progress
        ),
        "pointing": measure_pointing(
            images[labels == 0], read, two_lungs, threshold=threshold, seed=seed, progress=progress
        ),
        "randomisation": measure_randomisation(
            version, images, read, draws=arguments.draws, seed=seed, progress=progress
        ),
    }


def two_lungs(film: NDArray[np.uint8]) -> Lungs:
    """The masks of `model.lungs`, parted at the middle of both."""
    mask = find_lungs(film).mask
    columns = np.flatnonzero(mask.any(axis=0))
    left = np.arange(film.shape[1]) < (columns[0] + columns[-1] + 1) / 2
    return mask & left, mask & ~left


def measure_randomisation(
    version: Version,
    images: NDArray[np.uint8],
    read: Read,
    *,
    draws: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Heat of networks whose blocks were drawn anew, from the head down, beside the true heat of the same films."""
    heat = np.maximum(read(images)[1], 0)
    films = np.flatnonzero(heat.max(axis=(1, 2)) > 0)
    films = np.random.default_rng(seed).permutation(films)[:RANDOMISED_FILMS]
    truth, images = heat[films], images[films]
    blocks = blocks_of(version.model_file)
    steps: list[dict[str, Any]] = []
    for number in range(1, len(blocks) + 1 if draws else 1):
        others: list[Heat] = []
        for draw in range(draws):
            others.append(_randomised_heat(version, number, images, seed=seed + 1000 * draw + number))
            progress("randomised networks", (number - 1) * draws + draw + 1, len(blocks) * draws)
        steps.append(
            {
                "randomised": [block.name for block in blocks[:number]],
                **measure_likeness(truth, others, seed=seed),
            }
        )
    return {
        "films": len(films),
        "another_film": measure_likeness(truth, [np.roll(truth, 1, axis=0)], seed=seed),
        "steps": steps,
    }


def _randomised_heat(version: Version, number: int, images: NDArray[np.uint8], *, seed: int) -> Heat:
    blocks = blocks_of(version.model_file)[:number]
    with tempfile.TemporaryDirectory(prefix="pneumoscope-randomised-") as name:
        folder = Path(name)
        other = randomised_version(version, blocks, folder / "version", np.random.default_rng(seed))
        # In float32, so that a random network is not first measured for bfloat16.
        predictor = Predictor.load(other, cache=folder / "cache", precision="f32")
        return np.maximum(reader(other, predictor)(images)[1], 0)


@contextmanager
def _bars() -> Iterator[Progress]:
    """One bar on the terminal, which starts anew with each thing that is measured."""
    with tqdm(unit="", disable=None, dynamic_ncols=True) as bar:

        def progress(words: str, done: int, total: int) -> None:
            if not bar.disable:
                bar.total, bar.n = total, done
                bar.set_description(words)

        yield progress


def _figure(entry: Mapping[str, Any], places: int = 3) -> str:
    if entry["value"] is None:
        return "no film"
    shown = f"{entry['value']:.{places}f}"
    return (
        shown
        if entry["low"] is None
        else f"{shown} ({entry['low']:.{places}f} to {entry['high']:.{places}f})"
    )


def _three(shares: Mapping[str, Any]) -> str:
    found = (shares.get(key) for key in ("within", "near", "lung"))
    return "  ".join(
        "–" if share is None else f"{share:.3f}" if isinstance(share, float) else _figure(share)
        for share in found
    )


def as_text(report: Mapping[str, Any]) -> str:
    """The report as lines for a terminal; 95 % intervals in brackets."""
    lines = [f"{report['version']}, {report['films']} films of split {report['split']}"]
    found = report["curves"]
    lines.append(f"\nDeletion and insertion, {found['films']} films flagged at {report['threshold']:.3f}:")
    for scale in ("probability", "logit"):
        for kind, entry in found[scale].items():
            line = f"  {scale:<12} {kind:<26} deletion {_figure(entry['deletion_area'])}"
            line += f"  insertion {_figure(entry['insertion_area'])}"
            lines.append(line)
            if kind != TRUTH:
                gains = (_figure(entry[f"{way}_gain"]) for way in ("deletion", "insertion"))
                lines.append(
                    f"  {'':<12} {TRUTH + ' is better by':<26} deletion {'  insertion '.join(gains)}"
                )
    smooth = (_figure(found["blurred"][f"probability_of_{group}"]) for group in ("flagged", "not_flagged"))
    lines.append(f"  blurred films are read as {' if flagged, '.join(smooth)} if not flagged before")
    pointing = report["pointing"]
    lines.append(
        f"\nOpacities pasted into {pointing['films']} normal films; hottest place within, near, in that lung:"
    )
    for opacity in pointing["opacities"]:
        for name, chance in opacity["chance"].items():
            lines.append(f"  {opacity['opacity']}, by chance: {name:<36} {_three(chance)}")
        for row in opacity["contrasts"]:
            lines.append(
                f"  {opacity['opacity']}, contrast {row['contrast']:.2f}: probability "
                f"{row['probability_before']['value']:.3f} to {row['probability_after']['value']:.3f}, "
                f"logit {_figure(row['logit_rise'], 2)}, newly flagged {_figure(row['newly_flagged'])}"
            )
            for name in ("heat", "change"):
                lines.append(f"    {name:<8} {_three(row[name])}")
    randomisation = report["randomisation"]
    lines.append(
        f"\nRandomised weights, {randomisation['films']} films; rank correlation, its size, similarity:"
    )
    rows = [(TRUTH + " of another film", randomisation["another_film"])]
    rows += [(", ".join(step["randomised"]), step) for step in randomisation["steps"]]
    for words, entry in rows:
        keys = ("rank_correlation", "size_of_rank_correlation", "structural_similarity")
        lines.append(f"  {words:<50} {'  '.join(_figure(entry[key]) for key in keys)}")
    return "\n".join(lines)
