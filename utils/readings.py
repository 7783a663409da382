"""From uploaded bytes to readings: decode, look at the quality, run the network once, keep what the screen shows.

A `Reading` holds neither the uploaded bytes nor the file's name: it belongs to a content. Names, which may be
patients' names, stay in the `Entry` of the session that dropped the file. Of a DICOM file the pixel data stay, with
nothing personal beside them, so that another frame or window can be asked for; a session keeps `HELD_BYTES` at most.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.films import ImageError, Source, Window, XRay, prepare, read_xray
from model.quality import Remark, remarks
from model.reading_table import COLUMNS, harmless
from utils.decisions import SHAPES, decide

if TYPE_CHECKING:
    from model.dicom import DicomFile, DicomFrame

log = logging.getLogger(__name__)

PICTURE_SIDE = 1400
"""Longest side, in pixels, of the picture kept for the screen."""
HELD_BYTES = 256 * 2**20
"""Pixel data of DICOM files that one session keeps, in bytes; beyond, the oldest go."""
THUMBNAIL_SIZE = (96, 72)
STOPPED = "Reading was stopped before this film's turn; drop it again to read it."
NETWORK_FAILED = "The network could not read this film; drop it once more or tell your administrator."


class Reader(Protocol):
    """What this module needs of `model.inference.Predictor`."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Reading:
    """What is known about one file's content.

    Attributes:
        key: SHA-256 of the file's bytes.
        version: name of the version that read it.
        probability: calibrated probability of PNEUMONIA in [0, 1]; None where the file could not be read.
        source: what the file was and what was done to it; None where it could not be read.
        quality: remarks on the film's quality.
        picture: JPEG for the screen, at most `PICTURE_SIDE` pixels long; empty where unreadable.
        thumbnail: small JPEG as a data URI; empty where unreadable.
        message: why the file could not be read, one sentence; empty where it could.
        input_size: height and width, in pixels, of what the network saw.
        dicom: the pixel data of a DICOM file, for another frame or window; None for other formats, and where the
            session keeps too many.
    """

    key: str
    version: str
    probability: float | None = None
    source: Source | None = None
    quality: tuple[Remark, ...] = ()
    picture: bytes = b""
    thumbnail: str = ""
    message: str = ""
    input_size: tuple[int, int] = (224, 224)
    dicom: DicomFile | None = field(default=None, repr=False)

    @property
    def failed(self) -> bool:
        return self.probability is None

    def settled(self, version: str) -> bool:
        """Whether reading the same content with `version` once more could say nothing new."""
        return self.version == version and self.message not in (STOPPED, NETWORK_FAILED)


@dataclass(frozen=True)
class Entry:
    """One line of a session's list: the name it was dropped under, its content's key, and how often it came."""

    name: str
    key: str
    also: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def remark(self) -> str:
        """What to say about duplicates; empty where the content came once."""
        if not self.also:
            return ""
        others = ", ".join(dict.fromkeys(name for name in self.also if name != self.name))
        times = len(self.also) + 1
        named = f" (also as {others})" if others else ""
        return f"The same image came {times} times{named}; it is shown once."


@dataclass
class Worklist:
    """The films of one session: its entries in the order they came, and the readings of their contents."""

    entries: tuple[Entry, ...] = ()
    readings: dict[str, Reading] = field(default_factory=dict)

    def reading(self, key: str) -> Reading:
        return self.readings[key]

    def probability(self, entry: Entry) -> float:
        """The probability of a film that could be read, in [0, 1]; ValueError for another."""
        probability = self.readings[entry.key].probability
        if probability is None:
            raise ValueError("this file could not be read and has no probability")
        return probability

    def settled(self, key: str, version: str) -> bool:
        """Whether this content need not be read (again) with `version`."""
        return key in self.readings and self.readings[key].settled(version)

    def forget(self, keys: Iterable[str]) -> None:
        """Take contents off the list that are about to be read (again)."""
        gone = set(keys)
        self.entries = tuple(entry for entry in self.entries if entry.key not in gone)

    def keep(self, readings: Iterable[Reading]) -> None:
        """Keep new readings; the list itself does not change yet."""
        self.readings.update((reading.key, reading) for reading in readings)
        held = 0
        for key, reading in reversed(self.readings.items()):
            if reading.dicom is not None:
                held += len(reading.dicom.pixel_data)
                if held > HELD_BYTES:
                    self.readings[key] = replace(reading, dicom=None)

    def add(self, files: Sequence[tuple[str, str, bool]], *, version: str) -> None:
        """Add files (name, content key, synthetic?) to the list in one step.

        A content that is listed already becomes a remark on its line. One without a reading was stopped before its
        turn: it says so, and may be dropped again.
        """
        entries = self.entries
        for name, key, synthetic in files:
            if not self.settled(key, version):
                self.readings.setdefault(key, Reading(key=key, version=version, message=STOPPED))
            entries = enter(entries, name, key, synthetic=synthetic)
        self.entries = entries

    def row(self, entry: Entry, *, threshold: float) -> dict[str, object]:
        """One row of the table on the screen, for a film that could be read."""
        reading = self.readings[entry.key]
        probability = self.probability(entry)
        decision = decide(probability, threshold=threshold)
        notes = [remark.message for remark in reading.quality]
        notes += ["Synthetic sample."] if entry.synthetic else []
        notes += [entry.remark] if entry.remark else []
        return {
            "film": reading.thumbnail,
            "file": entry.name,
            "probability": probability,
            "decision": f"{SHAPES[decision]} {decision}",
            "remarks": " ".join(notes),
        }


def content_key(data: bytes) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def enter(entries: Sequence[Entry], name: str, key: str, *, synthetic: bool = False) -> tuple[Entry, ...]:
    """The list with one more file: a new line, or a remark on the line that has the same content already."""
    for index, entry in enumerate(entries):
        if entry.key == key:
            return (*entries[:index], replace(entry, also=(*entry.also, name)), *entries[index + 1 :])
    return (*entries, Entry(name=name, key=key, synthetic=synthetic))


def read_films(
    files: Sequence[bytes], *, reader: Reader, version: str, input_size: tuple[int, int] = (224, 224)
) -> tuple[Reading, ...]:
    """Read several files in one pass of the network; a bad file never stops the others.

    Args:
        files: the bytes of each file.
        reader: the predictor.
        version: name of its version, kept in each reading.
        input_size: height and width of the network's input, in pixels.

    Returns:
        One reading a file, in the same order. A film with one pass through the network that fails gets
        `NETWORK_FAILED` as its message: the pass is repeated film by film, so that one cannot spoil the rest.
    """
    found: list[Reading] = []
    images: list[NDArray[np.uint8]] = []
    for data in files:
        reading, image = _decode(data, version=version, input_size=input_size)
        found.append(reading)
        if image is not None:
            images.append(image)
    probabilities = iter(_probabilities(images, reader))
    finished: list[Reading] = []
    for reading in found:
        if reading.message:
            finished.append(reading)
            continue
        probability = next(probabilities)
        if probability is None:
            finished.append(Reading(key=reading.key, version=version, message=NETWORK_FAILED))
        else:
            finished.append(replace(reading, probability=probability))
    return tuple(finished)


def read_again(
    reading: Reading,
    *,
    frame: int,
    window: Window | None,
    reader: Reader,
    version: str,
    input_size: tuple[int, int] = (224, 224),
) -> Reading:
    """Read another frame of a DICOM film, or the same through a window set by hand; None: the file's own.

    Raises:
        ImageError: where the frame cannot be decoded, or the window leaves nothing to see.
    """
    if reading.dicom is None:
        raise ImageError("The pixels of this film are not kept any more: drop the file again.")
    xray = reading.dicom.decode(frame).film(window)
    again = _described(reading.key, xray, version=version, input_size=input_size)
    (probability,) = _probabilities([prepare(xray.pixels, size=input_size)], reader)
    if probability is None:
        return Reading(key=reading.key, version=version, message=NETWORK_FAILED)
    return replace(again, probability=probability, dicom=reading.dicom)


def shown(frame: DicomFrame, window: Window) -> bytes:
    """A decoded frame seen through a window, as JPEG for the screen; ImageError where it shows nothing."""
    return _jpeg(frame.film(window), (PICTURE_SIDE, PICTURE_SIDE), quality=92)


def batches(count: int, *, first: int = 1, size: int = 8) -> Iterable[slice]:
    """Slices over `count` files: a first short one, so that an answer shows at once, then full ones."""
    start = 0
    while start < count:
        stop = min(count, start + (first if start == 0 else size))
        yield slice(start, stop)
        start = stop


def done_in_words(source: Source, *, input_size: tuple[int, int] = (224, 224)) -> str:
    """What the file was and what was done to it, in one line."""
    photometric = f", {source.photometric}" if source.photometric else ""
    what = f"{source.format}, {source.width} × {source.height} pixels, {source.bit_depth} bit{photometric}"
    steps = (*source.done, f"resized to {input_size[1]} × {input_size[0]} for the network")
    told = "" if source.dicom is None else f" The file says: {source.dicom}."
    return f"{what}: {'; '.join(steps)}.{told}"


def readings_csv(entries: Sequence[Entry], readings: Mapping[str, Reading], *, threshold: float) -> bytes:
    """The list as CSV (UTF-8), with the columns of `python -m model predict --csv`, decided at `threshold`.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        reading = readings[entry.key]
        probability = reading.probability
        quality = "; ".join(remark.message for remark in reading.quality)
        message = " ".join(part for part in (reading.message, entry.remark) if part)
        writer.writerow(
            [
                harmless(entry.name),
                "" if probability is None else repr(probability),
                "" if probability is None else decide(probability, threshold=threshold),
                repr(threshold),
                harmless(reading.version),
                harmless(quality),
                harmless(message),
            ]
        )
    return text.getvalue().encode("utf-8")


def _decode(
    data: bytes, *, version: str, input_size: tuple[int, int]
) -> tuple[Reading, NDArray[np.uint8] | None]:
    key = content_key(data)
    try:
        xray = read_xray(data)
        image = prepare(xray.pixels, size=input_size)
    except ImageError as error:
        return Reading(key=key, version=version, message=str(error)), None
    reading = _described(key, xray, version=version, input_size=input_size)
    if xray.source.dicom is not None:
        from model.dicom import open_dicom

        reading = replace(reading, dicom=open_dicom(data))
    return reading, image


def _described(key: str, xray: XRay, *, version: str, input_size: tuple[int, int]) -> Reading:
    """A reading that has no probability yet."""
    return Reading(
        key=key,
        version=version,
        source=xray.source,
        input_size=input_size,
        quality=remarks(xray),
        picture=_jpeg(xray, (PICTURE_SIDE, PICTURE_SIDE), quality=92),
        thumbnail=data_uri(_jpeg(xray, THUMBNAIL_SIZE, quality=80)),
    )


def _probabilities(images: Sequence[NDArray[np.uint8]], reader: Reader) -> list[float | None]:
    if not images:
        return []
    try:
        return [float(value) for value in reader.predict(np.stack(images))]
    except Exception as error:
        # Whatever an engine raises: no film may take the others with it, and no traceback may reach the user.
        if len(images) == 1:
            log.error("the network failed on a film: %s", error)
            return [None]
        return [_probabilities([image], reader)[0] for image in images]


def _jpeg(xray: XRay, size: tuple[int, int], *, quality: int) -> bytes:
    picture = Image.fromarray(xray.pixels)
    picture.thumbnail(size, Image.Resampling.BILINEAR)
    target = io.BytesIO()
    picture.save(target, format="JPEG", quality=quality)
    return target.getvalue()


def data_uri(jpeg: bytes) -> str:
    """A JPEG as a `data:` address, which a browser shows without asking a server."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
