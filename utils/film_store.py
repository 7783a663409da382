"""Films that the department keeps: grey pixels as PNG, encrypted, in a folder by the hash of their file.

The keys come from `PNEUMOSCOPE_FILM_KEY` and lie nowhere else: without them the films cannot be read by anybody. The
first key encrypts, all of them decrypt, so that a key can be exchanged: put the new one in front, separated by a comma,
start the app anew, run ``python -m utils.film_store rotate``, then take the old one away. A small file beside the
films tells whether the keys are theirs before anything is written with another one.

    python -m utils.film_store make-key     a new key
    python -m utils.film_store check        whether all kept films can be read
    python -m utils.film_store rotate       encrypt all of them with the first key
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from numpy.typing import NDArray
from PIL import Image

from utils.settings import SettingsError, get_settings

VARIABLE = "PNEUMOSCOPE_FILM_KEY"
MAKE_KEY = "python -m utils.film_store make-key"
_CHECK = "key-check"
_LOCK = ".lock"
_KNOWN = b"Pneumoscope keeps films with this key."
_HASH = re.compile(r"[0-9a-f]{64}")


class FilmStoreError(RuntimeError):
    """A film could not be kept or read; one sentence for the user that says what to do."""


class FilmKeyError(FilmStoreError):
    """There is no key, or it is not the one that the films were encrypted with. The films lie untouched."""


def make_key() -> str:
    """A new key, for `PNEUMOSCOPE_FILM_KEY`: 32 random bytes in URL-safe base64."""
    return Fernet.generate_key().decode("ascii")


def problem() -> str:
    """Why no film can be kept at the moment, in one sentence; empty where films can be kept."""
    try:
        _checked_keys()
    except (FilmStoreError, SettingsError) as error:
        return str(error)
    return ""


def sealed(pixels: NDArray[np.uint8]) -> bytes:
    """A film as it is written: PNG, encrypted with the first key.

    Args:
        pixels: uint8 (height, width).

    Raises:
        FilmStoreError: there is no key, or it is not that of the films that are kept.
    """
    keys = _checked_keys()
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, format="PNG", compress_level=1)
    return keys.encrypt(packed.getvalue())


def put(image: str, sealed: bytes) -> None:
    """Keep a film, whole or not at all; one that is kept under the same hash is replaced.

    Call it within `adding`.

    Args:
        image: SHA-256 of its file, 64 hexadecimal digits.
        sealed: as `sealed` gives it.

    Raises:
        FilmStoreError: it cannot be written.
    """
    _write(_file(image), sealed)


def get(image: str) -> NDArray[np.uint8] | None:
    """A kept film, uint8 (height, width); None where there is none.

    Raises:
        FilmKeyError: it was encrypted with another key, or was changed since.
        FilmStoreError: it cannot be read.
    """
    try:
        token = _file(image).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FilmStoreError(
            f"The film cannot be read ({error.strerror}): tell your administrator."
        ) from error
    return _pixels(_keys(), token)


def has(image: str) -> bool:
    """Whether a film is kept under this hash; it may be one that no key at hand decrypts."""
    return _file(image).is_file()


def delete(image: str) -> bool:
    """Remove a film; False where there was none. Call it within `removing`.

    Raises:
        FilmStoreError: it cannot be removed.
    """
    try:
        _file(image).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FilmStoreError(
            f"The film cannot be deleted ({error.strerror}): tell your administrator; it is tried again every day."
        ) from error
    return True


@contextmanager
def adding() -> Iterator[None]:
    """While this is held no film is removed: from writing a film to the commit of the record that names it.

    Raises:
        FilmStoreError: the folder cannot be written.
    """
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def removing() -> Iterator[None]:
    """While this is held no film is added, by whatever process: from removing a record to removing its film.

    Raises:
        FilmStoreError: the folder cannot be written.
    """
    with _locked(fcntl.LOCK_EX):
        yield


def sweep(wanted: Callable[[Sequence[str]], Iterable[str]]) -> int:
    """Remove films that no record names, and halves of films: what a process left behind that was killed.

    Args:
        wanted: gives, of some hashes, those that a record names. It is asked while no film is being added.

    Returns:
        How many films were removed.

    Raises:
        FilmStoreError: the folder cannot be read or written.
    """
    if not _folder().is_dir():
        return 0
    found = list(images())
    # Most films have a record: those that seem to have none are looked at once more while nobody adds one.
    suspects = sorted(set(found) - set(wanted(found))) if found else []
    with removing():
        for half in _folder().glob("*/*.part"):
            half.unlink(missing_ok=True)
        gone = sorted(set(suspects) - set(wanted(suspects))) if suspects else []
        return sum(delete(image) for image in gone)


def images() -> Iterator[str]:
    """The hashes of all kept films."""
    for entry in _entries():
        yield entry.name


def size() -> tuple[int, int]:
    """How many films are kept, and how many bytes they take."""
    sizes = []
    for entry in _entries():
        with contextlib.suppress(OSError):  # deleted meanwhile
            sizes.append(entry.stat().st_size)
    return len(sizes), sum(sizes)


def check() -> tuple[int, int]:
    """How many films can be read with the keys at hand, and how many cannot."""
    good = bad = 0
    for image in images():
        try:
            good += get(image) is not None
        except FilmStoreError:
            bad += 1
    return good, bad


def rotate() -> tuple[int, int]:
    """Encrypt all films with the first key.

    Returns:
        How many were, and how many could not be decrypted with any key; these are left as they are.

    Raises:
        FilmStoreError: no key, or the folder cannot be written.
    """
    keys = _checked_keys()
    done = failed = 0
    for image in list(images()):
        with removing():  # a film that is deleted meanwhile must not come back
            try:
                token = _file(image).read_bytes()
            except FileNotFoundError:
                continue
            try:
                _write(_file(image), keys.rotate(token))
                done += 1
            except InvalidToken:
                failed += 1
    if not failed:
        _write(_folder() / _CHECK, keys.encrypt(_KNOWN))
    return done, failed


def _entries() -> Iterator[os.DirEntry[str]]:
    """The files of all films; 100,000 are listed in half a second."""
    if not _folder().is_dir():
        return
    for folder in _folder().iterdir():
        if len(folder.name) == 2 and folder.is_dir():
            with os.scandir(folder) as found:
                yield from (entry for entry in found if _HASH.fullmatch(entry.name))


def _folder() -> Path:
    return get_settings().home / "films"


def _file(image: str) -> Path:
    if not _HASH.fullmatch(image):
        raise ValueError("a film is named by the SHA-256 of its file, 64 hexadecimal digits")
    return _folder() / image[:2] / image


def _keys() -> MultiFernet:
    secret = get_settings().film_key
    given = [] if secret is None else [key.strip() for key in secret.get_secret_value().split(",")]
    if not any(given):
        raise FilmKeyError(
            f"Films are kept encrypted and no key is set: make one with `{MAKE_KEY}`, set {VARIABLE} to it and start "
            "the app anew."
        )
    try:
        return MultiFernet([Fernet(key) for key in given if key])
    except ValueError as error:
        # Not the library's words: they might quote the key.
        raise FilmKeyError(
            f"{VARIABLE} holds no key as `{MAKE_KEY}` makes them: set it to one, or to several separated by commas."
        ) from error


def _checked_keys() -> MultiFernet:
    """The keys, where they are those of the films that are kept already."""
    keys = _keys()
    file = _folder() / _CHECK
    try:
        token = file.read_bytes()
    except FileNotFoundError:
        _write(file, keys.encrypt(_KNOWN), first=True)
        token = file.read_bytes()
    except OSError as error:
        raise FilmStoreError(f"The folder of films cannot be read ({error.strerror}).") from error
    try:
        keys.decrypt(token)
    except InvalidToken as error:
        raise FilmKeyError(
            f"{VARIABLE} is not the key of the films that are kept: set it to that key, or to a new key, a comma and "
            "that key. Nothing was written."
        ) from error
    return keys


def _pixels(keys: MultiFernet, token: bytes) -> NDArray[np.uint8]:
    try:
        packed = keys.decrypt(token)
    except InvalidToken as error:
        raise FilmKeyError(
            f"This film is kept, but {VARIABLE} is not the key it was encrypted with: set that key again. The film "
            "lies untouched."
        ) from error
    with Image.open(io.BytesIO(packed), formats=("PNG",)) as picture:
        return np.asarray(picture.convert("L"))


@contextmanager
def _locked(kind: int) -> Iterator[None]:
    # The system lets go of it with its process, so that a crash never leaves the folder locked.
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        lock = os.open(_folder() / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(error) from error
    try:
        fcntl.flock(lock, kind)
        yield
    finally:
        os.close(lock)


def _write(file: Path, data: bytes, *, first: bool = False) -> None:
    """Write beside the final name and rename into place; `first`: only where there is none yet."""
    part = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if first:
            with contextlib.suppress(FileExistsError):
                os.link(part, file)
            Path(part).unlink()
        else:
            Path(part).replace(file)
        _keep_name(file.parent)
    except OSError as error:
        if part:
            with contextlib.suppress(OSError):
                Path(part).unlink(missing_ok=True)
        raise _cannot_write(error) from error


def _keep_name(folder: Path) -> None:
    """Have the system write the folder itself, without which a new name may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(error: OSError) -> FilmStoreError:
    return FilmStoreError(
        f"The film cannot be kept ({error.strerror}): make room or have the folder {_folder()} made writable, then "
        "try again."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 only where everything could be done."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.film_store", description="Keys of the films that are kept"
    )
    parser.add_argument("command", choices=("make-key", "check", "rotate"))
    command = parser.parse_args(arguments).command
    out = sys.stdout.write
    try:
        if command == "make-key":
            out(f"{make_key()}\n")
            return 0
        good, bad = check() if command == "check" else rotate()
    except (FilmStoreError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if command == "check":
        out(f"{good} films can be read, {bad} cannot.\n")
    else:
        out(
            f"{good} films are encrypted with the first key, {bad} could not be decrypted and lie untouched.\n"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
