"""A file of JSON lines that is only ever added to: who changed what, when. What holds is what its lines add up to.

Several processes may write: each holds the file's lock while it looks and adds, and a line is on the disk before the
lock is let go. A line that a crash cut short counts as never written. Readers take no lock.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

Line = TypeVar("Line", bound=BaseModel)
logger = logging.getLogger(__name__)


class JournalError(OSError):
    """The journal cannot be written; one sentence."""


class Journal(Generic[Line]):
    """The lines of one file, each of the pydantic model `kind`."""

    def __init__(self, file: Path, kind: type[Line]) -> None:
        self.file = file
        self._kind = kind

    def lines(self) -> list[Line]:
        """All whole lines, oldest first; none where there is no file. Damaged ones are left out and logged."""
        try:
            raw = self.file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.error("%s cannot be read: %s", self.file.name, error.strerror)
            return []
        lines = []
        for number, text in enumerate(raw, start=1):
            if not text.strip():
                continue
            try:
                lines.append(self._kind.model_validate_json(text))
            except ValidationError:
                logger.warning("line %d of %s is damaged and left out", number, self.file.name)
        return lines

    def append(self, line: Line) -> None:
        """Add one line.

        Raises:
            JournalError: the file cannot be written.
        """
        with self.locked() as add:
            add(line)

    @contextmanager
    def locked(self) -> Iterator[Callable[[Line], None]]:
        """Nobody else adds a line until the block ends; gives the function that adds one.

        Raises:
            JournalError: the file cannot be written.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            stream = self.file.open("ab+", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # let go of when the file is closed, also by a crash

            def add(line: Line) -> None:
                text = line.model_dump_json(by_alias=True).encode() + b"\n"
                try:
                    end = stream.seek(0, os.SEEK_END)
                    if end:
                        stream.seek(end - 1)
                        if stream.read(1) != b"\n":  # a line that was cut short must not swallow this one
                            text = b"\n" + text
                    if stream.write(text) != len(text):  # a full disk takes a part
                        stream.truncate(end)
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(stream.fileno())
                except OSError as error:
                    raise self._unwritable(error) from None

            yield add

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(f"{self.file} cannot be written ({error.strerror}); check the folder.")
