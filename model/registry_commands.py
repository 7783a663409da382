"""The commands that change which versions there are and which one is in use; `model.__main__` calls them."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from model.importing import AUTO, SCALINGS, ImportingError
from model.registry import (
    Version,
    VersionError,
    activate,
    delete,
    find_version,
    history,
    rollback,
    scan_versions,
    version_in_use,
)


@dataclass(frozen=True)
class Place:
    """Where an installation keeps its versions, and how it runs them.

    Attributes:
        roots: folders of versions; the site's own is the last.
        cache: of converted networks.
        pinned: what PNEUMOSCOPE_VERSION names, which goes before every promotion; empty where it is not set.
    """

    roots: tuple[Path, ...]
    cache: Path
    engine: Literal["auto", "openvino", "keras"] = "auto"
    precision: Literal["auto", "bf16", "f32"] = "auto"
    pinned: str = ""

    @property
    def site(self) -> Path:
        return self.roots[-1]

    @property
    def check(self) -> Callable[[Version], None]:
        """The smoke test, as this installation would serve the version."""
        from model.smoke import smoke_test

        return partial(smoke_test, cache=self.cache, engine=self.engine, precision=self.precision)


def add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", default="", metavar="NAME", help="who does it, for the log (default: you)")
    parser.add_argument("--reason", default="", metavar="WORDS", help="why, for the log")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a Keras .h5, or the ZIP of a version")
    parser.add_argument("--name", default="", help="of the version to be (default: the file's name)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA_DIR",
        help="labelled films: train/ calibrates it, test/ measures it (.h5 only)",
    )
    parser.add_argument(
        "--scaling",
        default=AUTO,
        choices=(AUTO, *SCALINGS),
        help="how the pixels were scaled for it (default: each is tried on validation films)",
    )
    parser.add_argument("--json", action="store_true", help="progress and result as lines of JSON")
    add_who(parser)


def _who(arguments: argparse.Namespace) -> str:
    return arguments.who or getpass.getuser()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(place: Place) -> Iterable[str]:
    """One line a version, newest first; a ▶ in front of the one in use."""
    try:
        if place.pinned:
            in_use = find_version(place.pinned, *place.roots).folder
        else:
            in_use = version_in_use(*place.roots).folder
    except VersionError:
        in_use = None
    for version in scan_versions(*place.roots)[0]:
        points = (version.card.metrics.get("test") or {}).values()
        # Figures are stored an operating point; the area under the curve is the same at each.
        auc = next((figures.get("auc") for figures in points if isinstance(figures, dict)), None)
        yield "  ".join(
            (
                "▶" if version.folder == in_use else " ",
                f"{version.name:<24}",
                version.card.created.strftime("%Y-%m-%d"),
                f"{'site' if version.folder.parent == place.site else 'released':<8}",
                f"{version.card.seed_configuration[:24]:<24}",
                "" if auc is None else f"test AUC {auc:.4f}",
            )
        ).rstrip()


def log_lines(place: Place) -> Iterable[str]:
    """What was changed, newest first."""
    for change in history(place.site):
        moved = (
            f"{change.before or '–'} → {change.to}" if change.action in ("promote", "rollback") else change.to
        )
        reason = f": {change.reason}" if change.reason else ""
        yield f"{change.when.astimezone():%Y-%m-%d %H:%M}  {change.action:<8}  {moved}  by {change.who}{reason}"


def run_activate(arguments: argparse.Namespace, place: Place) -> int:
    change = activate(
        arguments.version, *place.roots, who=_who(arguments), reason=arguments.reason, check=place.check
    )
    _say(f"In use: {change.to} (before: {change.before or 'none'}).{_pinned(place)}")
    return 0


def run_rollback(arguments: argparse.Namespace, place: Place) -> int:
    change = rollback(*place.roots, who=_who(arguments), reason=arguments.reason, check=place.check)
    _say(f"In use again: {change.to} (before: {change.before or 'none'}).{_pinned(place)}")
    return 0


def _pinned(place: Place) -> str:
    if not place.pinned:
        return ""
    return f" But PNEUMOSCOPE_VERSION names {place.pinned}, and that goes first while it is set."


def run_delete(arguments: argparse.Namespace, place: Place) -> int:
    delete(
        arguments.version,
        *place.roots,
        who=_who(arguments),
        reason=arguments.reason,
        keep=[place.pinned],
    )
    _say(f"Deleted: {arguments.version}.")
    return 0


def run_export(arguments: argparse.Namespace, place: Place) -> int:
    from model.exchange import export_version

    version = find_version(arguments.version, *place.roots)
    out: Path = arguments.out or Path(f"{version.name}.zip")
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        export_version(version, unfinished)
        unfinished.replace(out)
    except OSError as error:
        raise VersionError(f"{out} cannot be written ({error.strerror}).") from None
    finally:
        unfinished.unlink(missing_ok=True)
    _say(f"{version.name}: written to {out}")
    return 0


def run_import(arguments: argparse.Namespace, place: Place) -> int:
    """Import a network file or a ZIP; each step is a line."""
    last = ""

    def progress(words: str, done: int, total: int) -> None:
        nonlocal last
        if arguments.json:
            _say(json.dumps({"progress": words, "done": done, "total": total}))
        elif words != last:
            _say(f"{words} …")
        last = words

    try:
        result = _import(arguments, place, progress)
    except (ImportingError, VersionError, ValueError) as error:
        if not arguments.json:
            raise
        _say(json.dumps({"error": str(error)}))
        return 1
    if arguments.json:
        _say(json.dumps(result))
    else:
        for note in result["notes"]:
            _say(f"  {note}")
        _say(f"{result['version']}: written to {place.site / result['version']}")
    return 0


def _import(
    arguments: argparse.Namespace, place: Place, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    from model.exchange import import_version
    from model.importing import import_network

    with arguments.file.open("rb") if arguments.file.is_file() else _missing(arguments.file) as stream:
        packed = stream.read(4) == b"PK\x03\x04"
    if packed:
        progress("Unpacking the version and trying it on the sample films", 0, 0)
        version = import_version(
            arguments.file,
            place.site,
            check=place.check,
            name=arguments.name,
            who=_who(arguments),
            reason=arguments.reason,
            roots=place.roots,
        )
        return {"version": version.name, "notes": list(version.card.notes[-1:]), "trials": []}
    imported = import_network(
        arguments.file,
        place.site,
        name=arguments.name or arguments.file.stem,
        data=arguments.data,
        scaling=arguments.scaling,
        who=_who(arguments),
        reason=arguments.reason,
        roots=place.roots,
        progress=progress,
    )
    return {
        "version": imported.version.name,
        "notes": list(imported.notes),
        "trials": [trial.as_json() for trial in imported.trials],
    }


def _missing(file: Path) -> Any:
    raise ImportingError(f"There is no file {file}.")
