"""A version as one ZIP: to take it to another place, and to take in one from there.

The ZIP comes from a stranger as any upload does: nothing but the files of a version is unpacked, no name in it decides
where a file goes, and the version is in place only after its card, its network's checksum and the smoke test are right.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from model.archive import ArchiveError, opened
from model.importing import ImportingError, check_name
from model.network_file import MAXIMUM_BYTES
from model.registry import (
    CARD_FILE,
    FEATURES_FILE,
    HISTORY_FILE,
    MODEL_FILE,
    PREDICTIONS_FOLDER,
    REPORTS,
    Version,
    VersionError,
    read_table,
    read_version,
    record_import,
    report_file,
)

LARGEST_TEXT = 64 * 2**20
"""Bytes of a card, a history, a report, a table of predictions or the features."""
_PLAIN = frozenset({MODEL_FILE, CARD_FILE, HISTORY_FILE, FEATURES_FILE, *map(report_file, REPORTS)})
_PREDICTIONS = re.compile(rf"{PREDICTIONS_FOLDER}/[A-Za-z0-9-]{{1,40}}\.csv")
_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}
_CHUNK = 2**20


def export_version(version: Version, target: BinaryIO | Path) -> None:
    """Write a version as a ZIP of one folder: network, card, history, predictions, reports and features.

    Raises:
        VersionError: a file of it cannot be read, or the ZIP cannot be written.
    """
    files = [path for path in sorted(version.folder.rglob("*")) if path.is_file()]
    try:
        with zipfile.ZipFile(target, "w") as archive:
            for path in files:
                inside = path.relative_to(version.folder).as_posix()
                if not _belongs(inside):
                    continue
                # Weights hardly shrink, and packing them takes seconds.
                method = zipfile.ZIP_STORED if inside == MODEL_FILE else zipfile.ZIP_DEFLATED
                archive.write(path, f"{version.folder.name}/{inside}", compress_type=method)
    except OSError as error:
        raise VersionError(f"Version {version.name} cannot be exported ({error.strerror}).") from None


def import_version(
    file: Path,
    site: Path,
    *,
    check: Callable[[Version], None],
    name: str = "",
    who: str = "",
    reason: str = "",
    roots: Sequence[Path] = (),
) -> Version:
    """Take in a version that :func:`export_version` wrote, here or elsewhere.

    Args:
        file: the ZIP.
        site: the folder of the site's versions.
        check: raises VersionError where the network is not sound, as `model.smoke.smoke_test` does.
        name: another name for it; empty: its own.
        who: who imports it; kept.
        reason: why; kept.
        roots: the folders of all versions, in which the name must be free.

    Raises:
        ImportingError, VersionError: one sentence.
    """
    site.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".importing-", dir=site))
    try:
        folder = unfinished / "version"
        folder.mkdir()
        try:
            with file.open("rb") as stream:
                _unpack(stream, folder)
        except ArchiveError as error:
            raise ImportingError(str(error)) from None
        except OSError as error:
            raise ImportingError(f"{file.name} cannot be unpacked ({error.strerror}).") from None
        came_as = read_version(folder).name
        name = name or came_as
        check_name(name, *roots, site)
        _rename(
            folder,
            name,
            note=f"Imported from the ZIP of version {came_as}; its figures are those it came with.",
        )
        version = read_version(folder)
        for path in sorted((folder / PREDICTIONS_FOLDER).glob("*.csv")):
            read_table(path, missing="", damaged=f"The {path.stem} predictions in the ZIP are damaged")
        version.history()
        for report in REPORTS:
            version.report(report)
        check(version)
        try:
            folder.rename(site / name)
        except OSError:
            raise ImportingError(f"There is a version {name} already; choose another name.") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    version = read_version(site / name, verify=False)
    try:
        record_import(version, site, who=who, reason=reason)
    except VersionError:
        shutil.rmtree(version.folder, ignore_errors=True)
        raise
    return version


def _belongs(inside: str) -> bool:
    return inside in _PLAIN or _PREDICTIONS.fullmatch(inside) is not None


def _unpack(source: BinaryIO, folder: Path) -> None:
    with opened(source) as archive:
        for entry, inside in _chosen(archive):
            target = folder / inside
            target.parent.mkdir(exist_ok=True)
            most = MAXIMUM_BYTES if inside == MODEL_FILE else LARGEST_TEXT
            try:
                _write(archive, entry, target, most)
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError):
                raise ImportingError(
                    f"{inside} is damaged inside the ZIP; export the version again."
                ) from None
            except (NotImplementedError, RuntimeError):
                raise ImportingError(
                    f"{inside} is packed by a method that is not supported; pack it as a plain ZIP."
                ) from None


def _chosen(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files of the version with their places in its folder, from the table of contents alone."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops: set[tuple[str, ...]] = set()
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        mode = entry.external_attr >> 16
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
            raise ImportingError("The ZIP holds a name that leads out of its folder; it is refused.")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ImportingError("The ZIP holds a link or a device; it is refused.")
        junk = any(part.lower() in _JUNK or part.startswith(".") for part in parts)
        if not parts or junk or name.endswith("/") or stat.S_ISDIR(mode):
            continue
        depth = 2 if len(parts) > 1 and parts[-2] == PREDICTIONS_FOLDER else 1
        inside = "/".join(parts[-depth:])
        if not _belongs(inside):
            raise ImportingError(
                f"The ZIP holds {_shown(name)}, which is no part of a version; pack the folder of one version alone."
            )
        if entry.flag_bits & 0x1:
            raise ImportingError("The ZIP is encrypted; export the version again without a password.")
        if inside in found:
            raise ImportingError(f"The ZIP holds {inside} twice; pack the folder of one version alone.")
        if entry.file_size > (MAXIMUM_BYTES if inside == MODEL_FILE else LARGEST_TEXT):
            raise ImportingError(
                f"The ZIP holds {inside} of {entry.file_size / 2**20:,.0f} MB, which is too large."
            )
        tops.add(tuple(parts[:-depth]))
        found[inside] = entry
    if len(tops) > 1:
        raise ImportingError("The ZIP holds several folders; pack the folder of one version alone.")
    for needed in (MODEL_FILE, CARD_FILE):
        if needed not in found:
            raise ImportingError(f"The ZIP holds no {needed}; export the version again.")
    return [(entry, inside) for inside, entry in found.items()]


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}…")


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, most: int) -> None:
    """Unpack one file; what the table of contents says about its size is not believed."""
    written = 0
    with archive.open(entry) as packed, target.open("xb") as stream:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise ImportingError("The ZIP unpacks to more than it says; it is refused.")
            stream.write(chunk)


def _rename(folder: Path, name: str, *, note: str) -> None:
    """Write the name and a note into the card; what else stands in it stays as it came."""
    file = folder / CARD_FILE
    card = json.loads(file.read_text(encoding="utf-8"))
    notes = [*card.get("notes", []), note]
    file.write_text(
        json.dumps(card | {"name": name, "notes": notes}, indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    with contextlib.suppress(OSError):
        folder.chmod(0o755)
