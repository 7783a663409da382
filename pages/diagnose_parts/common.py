"""What the parts of Diagnose share: names in the session, the list of films, and reading one of them again.

Films belong to one session: they never enter a shared cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType

import streamlit as st

from model.films import ImageError, Window
from model.inference import InferenceError
from model.registry import Version, VersionError
from pages.diagnose_parts import saving
from utils import evidence, session
from utils.readings import Entry, Reading, Worklist, overrule, read_again

WORKLIST = "diagnose-worklist"
OPENED = "diagnose-opened"
FRAME = "diagnose-frame"  # the one decoded DICOM frame that is looked at: (content key, frame)
PROBLEM = "diagnose-problem"  # why a film could not be read again, said once


@dataclass(frozen=True)
class Opened:
    """The film that is looked at, and what it is read with."""

    entry: Entry
    reading: Reading
    version: Version
    threshold: float


def worklist() -> Worklist:
    """The films of this session."""
    found = st.session_state.setdefault(WORKLIST, Worklist())
    assert isinstance(found, Worklist)
    return found


def seen_key(reading: Reading) -> str:
    """What tells apart everything that was computed from what the network saw: the picture, and who looked at it."""
    seen = reading.key.encode() if reading.seen is None else reading.seen.tobytes()
    return f"{hashlib.sha256(seen).hexdigest()[:32]}-{reading.version}"


def again(
    reading: Reading,
    version: Version,
    *,
    frame: int | None = None,
    window: Window | EllipsisType | None = ...,
    offers: Sequence[str] | None = None,
) -> bool:
    """Read the film once more, another frame, through another window or corrected, and put it in the list.

    False where that cannot be done: `problem` says why.
    """
    return _replace(
        version,
        lambda: read_again(
            reading,
            reader=session.predictor(version).result(),
            version=version.name,
            judge=evidence.judge(version),
            frame=frame,
            window=window,
            offers=offers,
            input_size=version.card.input_size,
        ),
    )


def nevertheless(reading: Reading, version: Version) -> None:
    """Read a picture that was refused."""
    _replace(
        version,
        lambda: overrule(reading, reader=session.predictor(version).result(), version=version.name),
    )


def _replace(version: Version, read: Callable[[], Reading]) -> bool:
    try:
        reading = read()
    except (ImageError, InferenceError, VersionError) as error:
        st.session_state[PROBLEM] = str(error)
        return False
    listed = worklist()
    listed.keep([reading])
    saving.read_anew(
        reading, version, synthetic=any(e.key == reading.key and e.synthetic for e in listed.entries)
    )
    return True


def problem() -> None:
    """Say, once, why a film could not be read again."""
    if message := st.session_state.pop(PROBLEM, ""):
        st.error(message, icon=":material/error:")
