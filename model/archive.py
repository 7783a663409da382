"""A ZIP of labelled films becomes a folder of them; nothing else gets out of it.

The archive comes from outside and is not trusted: nothing is written until its whole table of contents has been
looked at, only films are unpacked, and no name in it decides where a file goes beyond its folders' names.
"""

from __future__ import annotations

import contextlib
import errno
import io
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from model.dataset import CLASSES, DICOM_START, EXTENSIONS, SPLITS, may_be_dicom
from model.films import MAXIMUM_BYTES, is_dicom
from model.scoring import ScoringCancelled, Unreadable

MAXIMUM_FILES = 50_000
MAXIMUM_TOTAL = 8 * 2**30
"""Bytes of all films, unpacked."""
MAXIMUM_RATIO = 100
"""Unpacked to packed bytes of the whole archive. JPEG and PNG films hardly shrink at all."""
LIMITS = (
    f"at most {MAXIMUM_FILES:,} files and {MAXIMUM_TOTAL // 2**30} GB unpacked, "
    f"{MAXIMUM_BYTES // 2**20} MB a film"
)
_CHUNK = 2**20
_LARGEST_TABLE = 16 * 2**20
_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}


class ArchiveError(ValueError):
    """The ZIP cannot be used; one sentence that says what to do."""


@dataclass(frozen=True)
class Contents:
    """The films of a ZIP, from its table of contents alone.

    Attributes:
        films: (place in the archive, path in the folder to be), for example ``test/NORMAL/a.png``.
        counts: films by split (``all`` where the ZIP has none) and class.
        others: files that are no films by their names (without an ending: by their first bytes), and are left alone.
        size: bytes of the films, unpacked.
    """

    films: tuple[tuple[zipfile.ZipInfo, PurePosixPath], ...]
    counts: dict[str, dict[str, int]]
    others: int
    size: int

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val``, ``test`` as far as there are any, or ``all``."""
        return tuple(self.counts)


@dataclass(frozen=True)
class Unpacked:
    """The folder that `model.dataset.read_dataset` reads, and the films that did not come out of the ZIP whole."""

    folder: Path
    damaged: tuple[Unreadable, ...]


def contents(source: BinaryIO) -> Contents:
    """Look at a ZIP's table of contents; nothing is unpacked but the first bytes of files without an ending.

    The class folders may lie in ``train``, ``val`` or ``test``, and any number of folders deep; upper or lower case.

    Args:
        source: the ZIP; it stays open.

    Raises:
        ArchiveError: it is no ZIP, is cut short, is encrypted, would unpack to too much, holds a link or a name that
            leads out of its folder, or no class folders.
    """
    with opened(source) as archive:
        return _contents(archive)


def unpack(
    source: BinaryIO,
    destination: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Unpacked:
    """Unpack the films of a ZIP into a folder ``films`` of `destination`, which exists and is the caller's to remove.

    Args:
        progress: called with the number of films unpacked and of all films.
        cancelled: asked before each film.

    Raises:
        ArchiveError: as `contents`; or what comes out is more than the table of contents says.
        ScoringCancelled: `cancelled` said so.
        OSError: `destination` cannot be written.
    """
    root = destination / "films"
    root.mkdir()
    damaged: list[Unreadable] = []
    left = MAXIMUM_TOTAL
    with opened(source) as archive:
        films = _contents(archive).films
        for done, (entry, path) in enumerate(films):
            if cancelled is not None and cancelled():
                raise ScoringCancelled
            if progress is not None:
                progress(done, len(films))
            target = root / path
            reason = ""
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _write(archive, entry, target, most=min(MAXIMUM_BYTES, left))
            except ArchiveError:
                raise
            except FileExistsError:
                damaged.append(Unreadable(str(path), "The ZIP holds several files of this name."))
                continue
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError):
                reason = "It is damaged inside the ZIP; pack it again."
            except (NotImplementedError, RuntimeError):
                reason = "It is packed by a method that is not supported; pack it again as a plain ZIP."
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EILSEQ, errno.EINVAL):
                    raise
                reason = "It cannot be unpacked under this name; give it a shorter, plain one."
            if reason:
                damaged.append(Unreadable(str(path), reason))
                with contextlib.suppress(OSError):
                    target.unlink(missing_ok=True)
    return Unpacked(root, tuple(damaged))


def opened(source: BinaryIO) -> zipfile.ZipFile:
    """A ZIP from a stranger, opened for reading.

    Raises:
        ArchiveError: it is no ZIP, is cut short or damaged, or its table of contents is absurdly long.
    """
    start = source.read(4) if source.seek(0) == 0 else b""
    size = source.seek(0, io.SEEK_END)
    source.seek(max(0, size - 2**16 - 100))
    tail = source.read()
    source.seek(0)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        if start == b"PK\x03\x04":
            raise ArchiveError("The ZIP is cut short: its table of contents is missing; copy it once more.")
        raise ArchiveError("This file is no ZIP; pack the folder as a plain ZIP.")
    table = int.from_bytes(tail[end + 12 : end + 16], "little")
    large = tail.rfind(b"PK\x06\x06", 0, end)
    if table == 0xFFFFFFFF and large >= 0:
        table = int.from_bytes(tail[large + 40 : large + 48], "little")
    if table > _LARGEST_TABLE:  # before it is read: each line of it becomes an object in memory
        raise ArchiveError(_too_many())
    try:
        return zipfile.ZipFile(source)
    except (
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        OverflowError,
        NotImplementedError,
        OSError,
        UnicodeDecodeError,
    ):
        raise ArchiveError(
            "The ZIP is damaged or cut short; pack the folder again, or copy it once more."
        ) from None


def _too_many() -> str:
    return f"The ZIP holds more than {MAXIMUM_FILES:,} files; pack fewer, or name the folder instead."


def _contents(archive: zipfile.ZipFile) -> Contents:
    entries = archive.infolist()
    if len(entries) > MAXIMUM_FILES:
        raise ArchiveError(_too_many())
    found: list[tuple[zipfile.ZipInfo, tuple[str, ...]]] = []
    others = 0
    for entry in entries:
        parts = _parts(entry)
        if parts is None:
            continue
        named = parts[-1].lower().endswith(EXTENSIONS)
        if not _class_position(parts) or not (named or may_be_dicom(parts[-1])):
            others += 1
            continue
        if entry.flag_bits & 0x1:
            raise ArchiveError("The ZIP is encrypted; pack the folder without a password.")
        if not named and not _starts_as_dicom(archive, entry):
            others += 1
            continue
        if entry.file_size > MAXIMUM_BYTES:
            raise ArchiveError(
                f"The ZIP holds a film of {entry.file_size / 2**20:,.0f} MB, and at most "
                f"{MAXIMUM_BYTES // 2**20} MB are read; take it out."
            )
        found.append((entry, parts))
    if not found:
        raise ArchiveError(
            f"The ZIP holds no films in folders {CLASSES[0]} and {CLASSES[1]}: pack a folder that has these two, or "
            "train and test with them."
        )
    size = sum(entry.file_size for entry, _ in found)
    packed = sum(entry.compress_size for entry, _ in found)
    if size > MAXIMUM_TOTAL:
        raise ArchiveError(
            f"The ZIP would unpack to {size / 2**30:.1f} GB, and at most {MAXIMUM_TOTAL // 2**30} GB are; pack fewer "
            "films, or name the folder instead."
        )
    if size > MAXIMUM_RATIO * max(packed, 1) and size > _CHUNK:
        raise ArchiveError(
            "The ZIP would unpack to far more than films ever do; it is refused. Name the folder instead."
        )
    films: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    roots: set[tuple[str, ...]] = set()
    counts: dict[str, dict[str, int]] = {}
    for entry, parts in found:
        position = _class_position(parts) - 1
        split = parts[position - 1].lower() if position and parts[position - 1].lower() in SPLITS else "all"
        roots.add(parts[: position if split == "all" else position - 1])
        class_name = parts[position].upper()
        within = (class_name, *parts[position + 1 :])
        films.append((entry, PurePosixPath(*within) if split == "all" else PurePosixPath(split, *within)))
        of_split = counts.setdefault(split, dict.fromkeys(CLASSES, 0))
        of_split[class_name] += 1
    if len(roots) > 1 or ("all" in counts and len(counts) > 1):
        raise ArchiveError(
            "The ZIP holds several folders of films; pack one that has NORMAL and PNEUMONIA, or train and test with "
            "them."
        )
    for split, of_class in counts.items():
        for class_name, count in of_class.items():
            if not count:
                place = "The ZIP" if split == "all" else f"The folder {split} of the ZIP"
                raise ArchiveError(f"{place} has no film in a folder {class_name}: both classes are needed.")
    ordered = {split: counts[split] for split in (*SPLITS, "all") if split in counts}
    return Contents(films=tuple(films), counts=ordered, others=others, size=size)


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...] | None:
    """The folders and the name of a file; None for a folder and for what systems put in by themselves."""
    name = entry.filename.replace("\\", "/")  # some programs on Windows write these
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError("The ZIP holds a link or a device; pack the films themselves.")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise ArchiveError(
            "The ZIP holds a name that leads out of its folder; it is refused. Pack the folder again."
        )
    junk = any(part.lower() in _JUNK or part.startswith(".") for part in parts)
    if not parts or junk or name.endswith("/") or stat.S_ISDIR(mode):
        return None
    return parts


def _class_position(parts: tuple[str, ...]) -> int:
    """Position of the class folder, counted from 1; 0 where there is none."""
    folders = [part.upper() for part in parts[:-1]]
    return next((number for number, part in enumerate(folders, start=1) if part in CLASSES), 0)


def _starts_as_dicom(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether a file without an ending is DICOM by its first bytes; False where they cannot be unpacked."""
    try:
        with archive.open(entry) as packed:
            return is_dicom(packed.read(DICOM_START))
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ):
        return False


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, *, most: int) -> int:
    """Unpack one film; its number of bytes. What the table of contents says about its size is not believed."""
    written = 0
    with archive.open(entry) as packed, target.open("xb") as film:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise ArchiveError(
                    "The ZIP unpacks to more than it says; it is refused. Pack the folder again."
                )
            film.write(chunk)
    return written
