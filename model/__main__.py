"""The command line: ``python -m model COMMAND``. Exit status 0 only on success; each error one line on stderr."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model import registry_commands
from model.dataset import EXTENSIONS, DatasetError, is_film, read_dataset
from model.domain import judge
from model.films import ImageError, XRay, prepare, read_xray
from model.importing import ImportingError
from model.inference import Evidence, InferenceError, Predictor
from model.quality import remarks
from model.reading_table import COLUMNS, harmless
from model.registry import (
    CLASSES,
    PREDICTION_COLUMNS,
    RELEASED,
    Card,
    Version,
    VersionError,
    find_version,
    scan_versions,
    write_predictions,
    write_report,
)
from utils.settings import Settings, SettingsError, get_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.neighbours import Reference

PROGRAM = "python -m model"
STANDARD_POINT = "balanced"
HEAT_MAP_SIDE = 1024
"""Pixels of a heat map's longer side at most: the map is coarse, and the film is at hand in full."""


class CommandError(Exception):
    """What the user asked for cannot be done; one sentence."""


def report(message: object) -> None:
    """One line on stderr, without tearing a progress bar that may be there."""
    from tqdm import tqdm

    tqdm.write(f"{PROGRAM}: {' '.join(str(message).split())}", file=sys.stderr)


def _versions(settings: Settings) -> tuple[Path, ...]:
    return RELEASED, settings.versions


def _version(arguments: argparse.Namespace, settings: Settings) -> Version:
    return find_version(arguments.version or settings.version, *_versions(settings))


def _threshold(text: str | None, card: Card) -> float:
    """A number in [0, 1] or an operating point's name; without either, the version's balanced point."""
    if text is None:
        return card.operating_point(STANDARD_POINT).threshold
    try:
        value = float(text)
    except ValueError:
        return card.operating_point(text).threshold
    if not 0 <= value <= 1:
        raise CommandError(f"A threshold lies between 0 and 1, not {text}.")
    return value


def _predictor(version: Version, settings: Settings) -> Predictor:
    return Predictor.load(version, cache=settings.cache, precision=settings.precision, engine=settings.engine)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its name and rename it: what is there is always whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)

    _replace(path, write)


def _found(names: Sequence[Path]) -> Iterator[Path]:
    """Files as named, and in folders, at any depth, those named like images; each once."""
    seen: set[Path] = set()
    for name in names:
        if name.is_dir():
            files = sorted(path for path in name.rglob("*") if is_film(path))
            if not files:
                raise CommandError(f"Folder {name} holds no image ({', '.join(EXTENSIONS)}).")
        else:
            files = [name]
        for path in files:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _read(path: Path, predictor: Predictor) -> tuple[XRay, NDArray[np.uint8]]:
    """One film and what the network sees of it; ImageError also where the file itself cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("There is no such file.") from None
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.") from None
    xray = read_xray(data)
    return xray, prepare(xray.pixels, size=predictor.card.input_size)


def predict(arguments: argparse.Namespace, settings: Settings) -> int:
    """Read films; one bad file never stops the rest, but makes the exit status 1."""
    from tqdm import tqdm

    maps = arguments.heatmaps and arguments.heatmaps.resolve()
    own = {folder.resolve() for folder in (arguments.heatmaps, arguments.dicom) if folder is not None}
    files = [path for path in _found(arguments.files) if own.isdisjoint(path.resolve().parents)]
    version = _version(arguments, settings)
    threshold = _threshold(arguments.threshold, version.card)
    predictor = _predictor(version, settings)
    rows: list[tuple[str, ...]] = []
    failed = without = 0
    taken: set[str] = set()
    taken_maps: set[str] = set()
    without_heat = False
    films_known = _reference(version)
    try:
        for path in tqdm(files, unit="film", disable=None, dynamic_ncols=True):
            probability = decision = quality = message = ""
            try:
                xray, image = _read(path, predictor)
            except ImageError as error:
                failed += 1
                message = str(error)
                report(f"{path}: {message}")
            else:
                seen = predictor.read(image[None])
                judged = judge(xray, seen.pooled[0], films_known)
                if not judged.accepted and not arguments.accept_any:
                    failed += 1
                    message = f"Not judged: {judged.reason}"
                    report(f"{path}: {message}")
                    quality = "; ".join(remark.message for remark in remarks(xray))
                    row = (str(path), "", "", repr(threshold), version.name, quality, message)
                    rows.append(tuple(map(harmless, row)))
                    continue
                if not judged.accepted:
                    message = f"Read although it was refused (--accept-any): {judged.reason}"
                    report(f"{path}: {message}")
                value = float(seen.probabilities[0])
                # repr keeps every digit: a reader of the file must come to the same decision.
                probability, decision = repr(value), CLASSES[int(value >= threshold)]
                quality = "; ".join(remark.message for remark in remarks(xray))
                if maps is not None and seen.heat is not None:
                    name = _untaken(path.name, taken_maps)
                    taken_maps.add(name.casefold())
                    _write_heat_map(path, name, maps, xray, seen.heat[0])
                elif maps is not None and not without_heat:
                    without_heat = True
                    report(
                        f"Version {version.name} has no heat maps: what lies behind its last convolution has no "
                        "closed form; choose another version."
                    )
                if arguments.dicom is not None:
                    name = _untaken(path.stem, taken)
                    try:
                        _write_dicom(path, arguments.dicom / name, xray, seen, threshold, version, message)
                        taken.add(name.casefold())
                    except ImageError as error:
                        without += 1
                        report(f"{path}: {error}")
                if arguments.csv is None:
                    tqdm.write(f"{value:.4f}  {decision:<9}  {path}{'  ' + quality if quality else ''}")
            row = (str(path), probability, decision, repr(threshold), version.name, quality, message)
            rows.append(tuple(map(harmless, row)))
    finally:
        if arguments.csv is not None and rows:  # also what was read before Ctrl-C
            _write_rows(arguments.csv, COLUMNS, rows)
    if arguments.csv is not None:
        print(f"{len(files) - failed} of {len(files)} films read, written to {arguments.csv}.")
    return 1 if failed or without or without_heat else 0


def _reference(version: Version) -> Reference | None:
    """The films that the version learnt from; where they cannot be read, the rest is done without them."""
    from model.neighbours import Reference

    try:
        return Reference.load(version)
    except VersionError as error:
        report(error)
        return None


def _write_heat_map(film: Path, name: str, folder: Path, xray: XRay, heat: NDArray[np.float32]) -> None:
    """Write the film with its heat in colour and the scale below as FOLDER/NAME.png, without any metadata."""
    from PIL import Image

    from model.explanation import overlay_image, scale_of, with_scale

    if name != film.name:
        report(f"{film}: its heat map is called {name}.png, because another film has the same file name.")
    shown = Image.fromarray(xray.pixels)
    shown.thumbnail((HEAT_MAP_SIDE, HEAT_MAP_SIDE))
    scale = scale_of(heat)
    picture = with_scale(overlay_image(np.asarray(shown), heat, scale=scale), scale)
    _replace(folder / f"{name}.png", lambda path: Image.fromarray(picture).save(path, format="PNG"))


def _untaken(name: str, taken: set[str]) -> str:
    """The name, or where it is taken by a file of another folder, the name with a number behind it.

    ``taken`` holds names in small letters: some systems do not tell these from capitals.
    """
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name.casefold() not in taken)


def _write_dicom(
    path: Path, target: Path, xray: XRay, seen: Evidence, threshold: float, version: Version, overruled: str
) -> None:
    """Write one film's result as TARGET-heat-map.dcm and TARGET-report.dcm; ImageError where it cannot be filed.

    ``overruled`` says that the picture was refused and read nevertheless; empty for films.
    """
    if xray.source.dicom is None:
        raise ImageError("This is no DICOM film, so no result can be filed with its study; none was written.")
    from model.dicom_results import Result, dicom_results, meaning_of

    result = Result(
        probability=float(seen.probabilities[0]),
        threshold=threshold,
        version=version.name,
        sha256=version.card.sha256,
        meaning=meaning_of(version.card, threshold),
        remarks=tuple(filter(None, (overruled, *(remark.message for remark in remarks(xray))))),
        heat=None if seen.heat is None else seen.heat[0],
    )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"The file cannot be read any more: {error.strerror}.") from None
    results = dicom_results(data, result)
    _write_bytes(target.with_name(f"{target.name}-heat-map.dcm"), results.capture)
    _write_bytes(target.with_name(f"{target.name}-report.dcm"), results.report)


def _write_bytes(path: Path, data: bytes) -> None:
    def write(unfinished: Path) -> None:
        unfinished.write_bytes(data)

    _replace(path, write)


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal that takes (films done, films in all)."""
    from tqdm import tqdm

    with tqdm(unit="film", disable=None, dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def evaluate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Read a labelled split and measure; unreadable films are named, left out and make the exit status 1."""
    from model import evaluation
    from model.scoring import score_folder

    splits = read_dataset(arguments.data).splits
    split = arguments.split or ("test" if "test" in splits else splits[0])
    version = _version(arguments, settings)
    threshold = _threshold(arguments.threshold, version.card)
    predictor = _predictor(version, settings)
    with _progress_bar() as progress:
        scoring = score_folder(arguments.data, predictor, split=split, progress=progress)
    for film in scoring.unreadable:
        report(f"{arguments.data / film.file}: {film.reason}")
    films = scoring.predictions
    result = evaluation.evaluate(
        films.labels, films.probabilities, threshold=threshold, patients=films.patients
    ).as_json()
    result |= {
        "version": version.name,
        "sha256": version.card.sha256,
        "split": split,
        "unreadable": [film.file for film in scoring.unreadable],
        "engine": predictor.description.words,
    }
    if arguments.json is not None:
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        _replace(arguments.json, lambda path: _write_text(path, text))
    if arguments.csv is not None:
        _replace(arguments.csv, lambda path: write_predictions(path, films))
    print(_figures(result))
    return 1 if scoring.unreadable else 0


def audit(arguments: argparse.Namespace, settings: Settings) -> int:
    """What is left of the AUC where something is taken off the films; see model/audit.py."""
    from model import audit as auditing

    version = _version(arguments, settings)
    with _progress_bar() as progress:
        found = auditing.audit(
            arguments.data,
            version,
            _predictor(version, settings),
            split=arguments.split,
            most=arguments.films,
            progress=progress,
            unreadable=lambda path, reason: report(f"{path}: {reason}"),
        )
    # The folder's own path is nobody's business.
    films = "" if arguments.films is None else f" --films {arguments.films}"
    command = f"{PROGRAM} audit DATA_DIR --version {version.name} --split {arguments.split}{films} --write"
    result = found.as_json(command=command)
    if arguments.json is not None:
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        _replace(arguments.json, lambda path: _write_text(path, text))
    if arguments.write:
        write_report(version, "audit", result)
    print(auditing.as_text(found))
    return 1 if found.left_out else 0


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _figures(result: dict[str, Any]) -> str:
    """The figures as lines for a terminal."""
    from model.evaluation import FIGURE_NAMES

    counts = result["confusion"]
    lines = [
        f"{result['version']} on {result['n']} films of split {result['split']}, "
        f"threshold {result['threshold']:.4g}:"
    ]
    for name in FIGURE_NAMES:
        value, interval = result[name], result[f"{name}_ci"]
        shown = f"not defined: {result['unavailable'][name]}" if value is None else f"{value:.4f}"
        if interval is not None:
            shown += f"  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"
        lines.append(f"  {name.replace('_', ' '):<18} {shown}")
    lines.append(f"  {'confusion':<18} " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    return "\n".join(lines)


def _place(settings: Settings) -> registry_commands.Place:
    return registry_commands.Place(
        roots=_versions(settings),
        cache=settings.cache,
        engine=settings.engine,
        precision=settings.precision,
        pinned=settings.version or "",
    )


def features(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write features.npz beside a version's model; see model/neighbours_commands.py."""
    from model.neighbours_commands import run_features

    version = _version(arguments, settings)
    with _progress_bar() as progress:
        return run_features(
            arguments, version, _predictor(version, settings), progress=progress, report=report
        )


def certainty(arguments: argparse.Namespace, settings: Settings) -> int:
    """Measure verdicts, risk, films alike and views of a version; see model/certainty_report.py."""
    from model import certainty_report

    version = _version(arguments, settings)
    try:
        found = certainty_report.measure(version)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if arguments.search:
        found["search_ms"] = certainty_report.measure_search(version)
    if arguments.views is not None:
        with _progress_bar() as progress:
            found["views"] = certainty_report.measure_views(
                arguments.views,
                version,
                _predictor(version, settings),
                films=arguments.films,
                progress=progress,
            )
    if arguments.json is not None:
        text = json.dumps(found, indent=2) + "\n"
        _replace(arguments.json, lambda path: _write_text(path, text))
    print(certainty_report.as_text(found))
    return 0


def show_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """The versions there are, newest first; damaged ones on stderr make the exit status 1."""
    place = _place(settings)
    if arguments.log:
        print("\n".join(registry_commands.log_lines(place)) or "Nothing was changed yet.")
        return 0
    versions, damaged = scan_versions(*place.roots)
    for line in registry_commands.table(place):
        print(line)
    for error in damaged:
        report(error)
    if not versions and not damaged:
        raise CommandError(f"There is no version in {' or '.join(map(str, place.roots))}.")
    return 1 if damaged else 0


def change_versions(arguments: argparse.Namespace, settings: Settings) -> int:
    """activate, rollback, import, export, delete; see model/registry_commands.py."""
    run: Callable[[argparse.Namespace, registry_commands.Place], int] = arguments.change
    return run(arguments, _place(settings))


def show_card(arguments: argparse.Namespace, settings: Settings) -> int:
    """A version's card as JSON."""
    print(_version(arguments, settings).card.model_dump_json(indent=2))
    return 0


def check_data(arguments: argparse.Namespace, settings: Settings) -> int:
    """Check a data set; the exit status is 1 where something spoils training or figures."""
    from model.datacheck import check_folder

    with _progress_bar() as progress:
        found = check_folder(arguments.data, progress=progress)
    if arguments.json != Path("-"):
        print(found.as_text(), end="")
    if arguments.json is not None:
        text = json.dumps(found.as_json(), indent=2, ensure_ascii=False)
        if arguments.json == Path("-"):
            print(text)
        else:
            _replace(arguments.json, lambda path: _write_text(path, text + "\n"))
    return 0 if found.fit else 1


def domain(arguments: argparse.Namespace, settings: Settings) -> int:
    """How often films, and what is none, are refused; see model/domain_commands.py."""
    from model.domain_commands import run

    version = _version(arguments, settings)
    return run(arguments, version, _predictor(version, settings), report=report)


def samples(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make the synthetic films that ship with the project."""
    from model.samples import SAMPLES, make_samples

    for sample in make_samples(arguments.data, arguments.out or SAMPLES):
        print(sample)
    return 0


def benchmark(arguments: argparse.Namespace, settings: Settings) -> int:
    """Measure this machine; see model/benchmark.py and model/training_benchmark.py."""
    if arguments.training is not None:
        status: int = importlib.import_module("model.training_commands").run_benchmark(arguments)
        return status
    from model import benchmark as measuring

    version = _version(arguments, settings)
    result = measuring.measure(
        version, cache=settings.cache, rounds=arguments.rounds, films=arguments.films, memory=arguments.memory
    )
    if arguments.json is not None:
        text = json.dumps(result.as_json(), indent=2) + "\n"
        if arguments.json == Path("-"):
            print(text, end="")
            return 0
        _replace(arguments.json, lambda path: _write_text(path, text))
    print(result.as_text())
    return 0


def train(arguments: argparse.Namespace, settings: Settings) -> int:
    """Train a version; see model/training.py."""
    commands = importlib.import_module("model.training_commands")
    status: int = commands.run(arguments, versions=settings.versions, cache=settings.cache / "features")
    return status


def faithfulness(arguments: argparse.Namespace, settings: Settings) -> int:
    """Whether heat maps tell what moved the network; see model/faithfulness_commands.py."""
    commands = importlib.import_module("model.faithfulness_commands")
    version = _version(arguments, settings)
    status: int = commands.run(
        arguments,
        version,
        _predictor(version, settings),
        write_text=lambda path, text: _replace(path, lambda unfinished: _write_text(unfinished, text)),
    )
    return status


def cost(arguments: argparse.Namespace, settings: Settings) -> int:
    """Measure what a training run would take; see model/cost.py."""
    commands = importlib.import_module("model.training_commands")
    status: int = commands.run_cost(arguments, versions=settings.versions)
    return status


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; ``command`` is the one about to run, whose own arguments may need a slow import."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Pneumoscope on the command line. It assists; a professional gives the verdict.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace, Settings], int], help: str, more: str = "") -> Any:  # noqa: A002
        made = commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip()
        )
        made.set_defaults(run=run)
        return made

    def add_choice(made: argparse.ArgumentParser, *, threshold: bool = True) -> None:
        made.add_argument("--version", metavar="V", help="name or folder (default: the version in use)")
        if threshold:
            made.add_argument(
                "--threshold",
                metavar="T",
                help="a number in 0..1 or an operating point's name (default: the version's balanced point)",
            )

    made = add(
        "predict",
        predict,
        "probability and decision for films",
        "A file that cannot be read has its own line on stderr and in the CSV and never stops the rest; "
        "the exit status is then 1.",
    )
    made.add_argument(
        "files", nargs="+", type=Path, metavar="FILE_OR_DIR", help="folders are searched at any depth"
    )
    add_choice(made)
    made.add_argument(
        "--heatmaps",
        type=Path,
        metavar="DIR",
        help="a PNG for each film, with what speaks for pneumonia in colour; what lies in DIR is not read as a film",
    )
    made.add_argument("--csv", type=Path, metavar="OUT", help=f"columns {', '.join(COLUMNS)}")
    made.add_argument(
        "--accept-any",
        action="store_true",
        help="read pictures too that do not look like films the network can judge; the message then says so",
    )
    made.add_argument(
        "--dicom",
        type=Path,
        metavar="DIR",
        help="for each DICOM film the result as DICOM, for the same study: a Secondary Capture with the heat map and a "
        "structured report; both hold the patient's data",
    )

    made = add(
        "evaluate",
        evaluate,
        "measure a version on labelled films",
        "Unreadable films are named on stderr and left out; the exit status is then 1.",
    )
    made.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="train/…, test/… or the class folders themselves"
    )
    add_choice(made)
    made.add_argument("--split", help="train, val, test or all (default: test where there is one)")
    made.add_argument("--json", type=Path, metavar="OUT", help="all figures")
    made.add_argument("--csv", type=Path, metavar="OUT", help=f"columns {', '.join(PREDICTION_COLUMNS)}")

    made = add(
        "audit",
        audit,
        "can a version cheat: its AUC with the lungs painted over, without borders, without letters",
        "Unreadable films are named on stderr and left out; the exit status is then 1.",
    )
    made.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="train/…, test/… or the class folders themselves"
    )
    add_choice(made, threshold=False)
    made.add_argument(
        "--split",
        default="test",
        help="train, val, test, all, or validation: the films that the version was validated on (default: test)",
    )
    made.add_argument(
        "--films", type=_positive, metavar="N", help="no more films than this, evenly from all (default: all)"
    )
    made.add_argument("--json", type=Path, metavar="OUT", help="all figures")
    made.add_argument(
        "--write", action="store_true", help="keep them with the version, for the screen Metrics"
    )

    made = add("list", show_list, "the versions there are, newest first; ▶ is in use")
    made.add_argument("--log", action="store_true", help="what was promoted, rolled back, imported, deleted")
    made = add("card", show_card, "what a version says about itself, as JSON")
    made.add_argument("version", metavar="V", nargs="?", help="name or folder (default: the version in use)")

    made = add("activate", change_versions, "put a version in use, after a smoke test")
    made.add_argument("version", metavar="V")
    registry_commands.add_who(made)
    made.set_defaults(change=registry_commands.run_activate)

    made = add("rollback", change_versions, "put the version in use that was before the last promotion")
    registry_commands.add_who(made)
    made.set_defaults(change=registry_commands.run_rollback)

    made = add(
        "import",
        change_versions,
        "make a version of a network from elsewhere",
        "A Keras .h5 is looked into, rebuilt with the pixel scaling inside, calibrated on validation films, measured "
        "on test films. A ZIP is one that 'export' wrote.",
    )
    registry_commands.add_import_arguments(made)
    made.set_defaults(change=registry_commands.run_import)

    made = add("export", change_versions, "write a version as one ZIP")
    made.add_argument("version", metavar="V")
    made.add_argument("--out", type=Path, metavar="FILE", help="default: the version's name, here")
    made.set_defaults(change=registry_commands.run_export)

    made = add("delete", change_versions, "delete a version of this site that is not in use")
    made.add_argument("version", metavar="V")
    registry_commands.add_who(made)
    made.set_defaults(change=registry_commands.run_delete)

    made = add(
        "data",
        check_data,
        "check a data set: counts, unreadable files, copies, patients, leakage",
        "The exit status is 1 where something is found that spoils training or figures.",
    )
    made.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="train/…, test/… or the class folders themselves"
    )
    made.add_argument(
        "--json",
        type=Path,
        metavar="OUT",
        nargs="?",
        const=Path("-"),
        help="as JSON too (without OUT: instead)",
    )

    made = add(
        "features",
        features,
        "what the network sees of its own films, for films that are alike",
        "Written as features.npz beside the version's model.",
    )
    made.add_argument("data", type=Path, metavar="DATA_DIR", help="the data set that it was trained on")
    add_choice(made, threshold=False)

    made = add(
        "domain",
        domain,
        "how often films are refused, and pictures that are none; what each quality remark finds",
        "Files that cannot be read are named on stderr and left out; the exit status is then 1.",
    )
    if command == "domain":
        importlib.import_module("model.domain_commands").add_arguments(made)

    made = add(
        "certainty",
        certainty,
        "how sure a version is: verdicts at an error rate, risk, films alike",
        "From its stored predictions and features.",
    )
    add_choice(made, threshold=False)
    made.add_argument("--search", action="store_true", help="time the search for films alike too")
    made.add_argument(
        "--views",
        type=Path,
        metavar="DATA_DIR",
        help="measure views of validation films of this data set too",
    )
    made.add_argument("--films", type=_positive, default=200, metavar="N", help="films to view (default 200)")
    made.add_argument("--json", type=Path, metavar="OUT", help="all figures")

    made = add("samples", samples, "make the synthetic films that ship with the project")
    made.add_argument("data", type=Path, metavar="DATA_DIR", help="the data set to make them from")
    made.add_argument("--out", type=Path, metavar="DIR", help="where to write them (default: model/samples)")

    made = add("benchmark", benchmark, "latency, throughput and memory on this machine beside plain Keras")
    add_choice(made, threshold=False)
    made.add_argument(
        "--json", type=Path, metavar="OUT", nargs="?", const=Path("-"), help="as JSON (to stdout)"
    )
    made.add_argument("--rounds", type=_positive, default=15, help="how often each is measured (default 15)")
    made.add_argument(
        "--films", type=Path, metavar="DIR", help="films to read (default: the synthetic samples)"
    )
    made.add_argument(
        "--memory",
        type=_positive,
        default=2000,
        metavar="N",
        help="predictions to watch memory over (default 2000)",
    )

    made.add_argument(
        "--training",
        type=Path,
        metavar="DATA_DIR",
        help="measure training on cached features of a frozen base beside plain Keras fit instead",
    )
    made.add_argument("--architecture", metavar="NAME", help="what to train (default: vgg16_finetuned)")
    made.add_argument(
        "--epochs", type=_positive, default=10, metavar="N", help="epochs to train (default 10)"
    )
    made.add_argument(
        "--training-films",
        type=_positive,
        metavar="N",
        help="train on no more films than this (default: all)",
    )

    made = add(
        "faithfulness",
        faithfulness,
        "measure whether a version's heat maps tell what moved its network",
        "Deletion and insertion, opacities pasted into normal films, and maps of networks with random weights.",
    )
    if command == "faithfulness":
        importlib.import_module("model.faithfulness_commands").add_arguments(made)

    made = add("train", train, "train a version on a data set")
    if command == "train":  # its arguments come with imports that the other commands do without
        importlib.import_module("model.training_commands").add_arguments(made)

    made = add(
        "cost", cost, "what a training run would take on this machine, measured from a few steps, as JSON"
    )
    if command == "cost":
        importlib.import_module("model.training_commands").add_config_arguments(made)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; argparse's own errors exit with 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words[0] if words else None).parse_args(words)
    try:
        run: Callable[[argparse.Namespace, Settings], int] = arguments.run
        return run(arguments, get_settings())
    except (
        CommandError,
        VersionError,
        ImportingError,
        InferenceError,
        DatasetError,
        SettingsError,
    ) as error:
        report(error)
        return 1
    except KeyboardInterrupt:
        report("stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
