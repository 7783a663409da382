"""From uploaded bytes to readings: decode, look at the quality, run the network once, keep what the screen shows.

A `Reading` holds neither the uploaded bytes nor the file's name: it belongs to a content. Names, which may be
patients' names, stay in the `Entry` of the session that dropped the file. Of a DICOM file the pixel data stay, with
nothing personal beside them, so that another frame or window can be asked for; of another film that can be corrected
its grey pixels. A session keeps `HELD_BYTES` of both at most.

A picture that the network cannot judge is refused: it has a reason and no probability. Who reads it nevertheless
overrules that, and from then on every record of the reading says so.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.films import ImageError, Source, Window, XRay, prepare, read_xray
from model.quality import Remark, corrected, remarks
from model.reading_table import COLUMNS, harmless
from utils.decisions import NOT_JUDGED, SHAPES, decide

if TYPE_CHECKING:
    from model.conformal import Rule
    from model.dicom import DicomFile, DicomFrame
    from model.domain import Judgement
    from model.inference import Evidence

log = logging.getLogger(__name__)

PICTURE_SIDE = 1400
"""Longest side, in pixels, of the picture kept for the screen."""
HELD_BYTES = 256 * 2**20
"""Pixels that one session keeps to read films again, in bytes; beyond, the oldest go."""
THUMBNAIL_SIZE = (96, 72)
STOPPED = "Reading was stopped before this film's turn; drop it again to read it."
NETWORK_FAILED = "The network could not read this film; drop it once more or tell your administrator."


NOT_KEPT = "The pixels of this film are not kept any more: drop the file again."
OTHER_VERSION = "Another version is in use by now: drop the file again to read it."
OFFERS = {
    "invert": ("Invert", "inverted"),
    "turn-90": ("Turn right", "turned by 90° to the right"),
    "turn-180": ("Turn by 180°", "turned by 180°"),
    "turn-270": ("Turn left", "turned by 90° to the left"),
    "crop": ("Crop", "cropped"),
}
"""A correction that a remark offers: what its button says, and what the record says once it is done."""
COLUMNS_OF_THE_SCREEN = (*COLUMNS, "certainty", "error_rate")
"""Columns of the screen's CSV: those of the command line, then the verdict and the error rate it was asked for at."""

Judge = Callable[[XRay, NDArray[np.float32]], "Judgement"]
"""From a film and its pooled features, float32 (c,), to whether the network can judge it."""


@dataclass(frozen=True)
class Certainty:
    """A rule that says how sure a network is, and the version whose films it was fitted to: it holds for no other."""

    rule: Rule
    version: str


class Reader(Protocol):
    """What this module needs of `model.inference.Predictor`."""

    def read(self, images: NDArray[np.uint8]) -> Evidence: ...


@dataclass(frozen=True)
class Reading:
    """What is known about one file's content.

    Attributes:
        key: SHA-256 of the file's bytes.
        version: name of the version that read it.
        probability: calibrated probability of PNEUMONIA in [0, 1]; None where the file could not be read, or was
            refused and nobody overruled that.
        source: what the file was and what was done to it; None where it could not be read.
        quality: remarks on the film's quality.
        picture: JPEG for the screen, at most `PICTURE_SIDE` pixels long; empty where unreadable.
        thumbnail: small JPEG as a data URI; empty where unreadable.
        message: why the file could not be read, one sentence; empty where it could.
        input_size: height and width, in pixels, of what the network saw.
        dicom: the pixel data of a DICOM file, for another frame or window; None for other formats, and where the
            session keeps too many.
        original: a film that is no DICOM before any correction; None where there is nothing to correct, and where the
            session keeps too many.
        heat: float32 (h, w), what each place of the last feature map adds to the calibrated logit, at least 0; None
            without a probability, and where the network's head has no closed form.
        pooled: float16 (c,), the pooled features; None where the network has not seen the film.
        seen: uint8 (h, w), one of the three equal channels that the network saw; None where it has not.
        refusal: why the network cannot judge this picture, one sentence; empty where it can.
        overruled: whether somebody had it read although it was refused.
        offers: the corrections that were done on request, in their order; keys of `OFFERS`.
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
    original: XRay | None = field(default=None, repr=False, compare=False)
    heat: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    pooled: NDArray[np.float16] | None = field(default=None, repr=False, compare=False)
    seen: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    refusal: str = ""
    overruled: bool = False
    offers: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the file could not be read at all."""
        return bool(self.message)

    @property
    def refused(self) -> bool:
        """Whether it was read and stands there without a probability: no film that the network can judge."""
        return bool(self.refusal) and not self.overruled

    @property
    def correctable(self) -> bool:
        """Whether the pixels that a correction starts from are still kept."""
        return self.dicom is not None or self.original is not None

    def verdict(self, certainty: Certainty | None) -> str:
        """How sure the network is of it, a verdict of `model.conformal`; empty where nothing can be promised: without a
        rule of the version that read it, without a probability, and where a refusal was overruled, because no rule was
        fitted to such pictures."""
        if certainty is None or certainty.version != self.version:
            return ""
        if self.probability is None or self.overruled:
            return ""
        return certainty.rule.verdict(self.probability)

    @property
    def record(self) -> str:
        """What everybody must know who sees this reading: refused, overruled, corrected; empty for most."""
        parts = []
        if self.refused:
            parts.append(f"Not judged: {self.refusal}")
        elif self.overruled:
            parts.append(f"Refused at first and read nevertheless, on request: {self.refusal}")
        if self.offers:
            parts.append(f"Corrected on request before reading: {corrections_in_words(self.offers)}.")
        return " ".join(parts)

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
            held += 0 if reading.dicom is None else len(reading.dicom.pixel_data)
            held += 0 if reading.original is None else reading.original.pixels.nbytes
            if held > HELD_BYTES and reading.correctable:
                self.readings[key] = replace(reading, dicom=None, original=None)

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

    def row(self, entry: Entry, *, threshold: float, certainty: Certainty | None = None) -> dict[str, object]:
        """One row of the table on the screen, for a film that could be read."""
        reading = self.readings[entry.key]
        probability = reading.probability
        notes = [reading.record] if reading.record else []
        notes += [remark.message for remark in reading.quality]
        notes += ["Synthetic sample."] if entry.synthetic else []
        notes += [entry.remark] if entry.remark else []
        decision = NOT_JUDGED if probability is None else decide(probability, threshold=threshold)
        verdict = reading.verdict(certainty)
        return {
            "film": reading.thumbnail,
            "file": entry.name,
            "probability": probability,
            "decision": f"{SHAPES[decision]} {decision}",
            "certainty": f"{SHAPES[verdict]} {verdict}" if verdict else "",
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
    files: Sequence[bytes],
    *,
    reader: Reader,
    version: str,
    judge: Judge | None = None,
    input_size: tuple[int, int] = (224, 224),
) -> tuple[Reading, ...]:
    """Read several files in one pass of the network; a bad file never stops the others.

    Args:
        files: the bytes of each file.
        reader: the predictor.
        version: name of its version, kept in each reading.
        judge: whether a picture is a film that the network can judge; None: all are.
        input_size: height and width of the network's input, in pixels.

    Returns:
        One reading a file, in the same order. A film with one pass through the network that fails gets
        `NETWORK_FAILED` as its message: the pass is repeated film by film, so that one cannot spoil the rest.
    """
    found: list[tuple[Reading, XRay | None]] = []
    images: list[NDArray[np.uint8]] = []
    for data in files:
        key = content_key(data)
        try:
            xray = read_xray(data)
            image = prepare(xray.pixels, size=input_size)
        except ImageError as error:
            found.append((Reading(key=key, version=version, message=str(error)), None))
            continue
        reading = _described(key, xray, image, version=version)
        if xray.source.dicom is not None:
            from model.dicom import open_dicom

            reading = replace(reading, dicom=open_dicom(data))
        found.append((reading, xray))
        images.append(image)
    passes = iter(_passes(images, reader))
    return tuple(
        reading if xray is None else _finished(reading, xray, next(passes), judge=judge)
        for reading, xray in found
    )


def read_again(
    reading: Reading,
    *,
    reader: Reader,
    version: str,
    judge: Judge | None = None,
    frame: int | None = None,
    window: Window | EllipsisType | None = ...,
    offers: Sequence[str] | None = None,
    input_size: tuple[int, int] = (224, 224),
) -> Reading:
    """Read a film once more: another frame, through a window set by hand, or corrected.

    Args:
        reading: what is known of it.
        reader: the predictor.
        version: name of its version.
        judge: as in `read_films`.
        frame: of a DICOM film, the first is 1; left out, the one that was read. Another frame starts with no
            corrections.
        window: of a DICOM film, None for the file's own; left out, the one it was read through.
        offers: the corrections to do, in their order, keys of `OFFERS`; left out, those that were done.
        input_size: height and width of the network's input, in pixels.

    Raises:
        ImageError: where the frame cannot be decoded, the window leaves nothing to see, or the pixels are not kept.
    """
    facts = None if reading.source is None else reading.source.dicom
    if offers is None:
        offers = () if facts is not None and frame not in (None, facts.frame) else reading.offers
    if reading.dicom is not None and facts is not None:
        if isinstance(window, EllipsisType):
            window = facts.window if facts.by_hand else None
        film = reading.dicom.decode(frame or facts.frame).film(window)
    elif reading.original is not None:
        film = reading.original
    else:
        raise ImageError(NOT_KEPT)
    xray = _corrected(film, offers)
    image = prepare(xray.pixels, size=input_size)
    again = replace(
        _described(reading.key, xray, image, version=version),
        dicom=reading.dicom,
        original=reading.original,
        offers=tuple(offers),
    )
    (found,) = _passes([image], reader)
    # Whoever overruled a refusal need not do so again for each window.
    return _finished(again, xray, found, judge=judge, overruled=reading.overruled)


def overrule(reading: Reading, *, reader: Reader, version: str) -> Reading:
    """Read a picture that was refused; the reading says from now on that somebody overruled that.

    Raises:
        ImageError: where the network's own picture is not there, or another version would have to look at it.
    """
    if reading.seen is None or reading.version != version:
        raise ImageError(OTHER_VERSION)
    (found,) = _passes([np.repeat(reading.seen[:, :, None], 3, axis=2)], reader)
    if found is None:
        return Reading(key=reading.key, version=version, message=NETWORK_FAILED)
    return replace(reading, probability=found.probability, heat=found.heat, overruled=True)


def film_as_read(reading: Reading, data: bytes | None = None) -> XRay | None:
    """The film as the reading saw it, at its full size: frame, window and corrections as they were.

    Args:
        reading: of a film that could be read.
        data: the file, where it is still at hand; None: from the pixels that are kept to read the film again.

    Returns:
        None where neither is there.

    Raises:
        ImageError: it cannot be decoded any more.
    """
    facts = None if reading.source is None else reading.source.dicom
    if reading.dicom is not None and facts is not None:
        film = reading.dicom.decode(facts.frame).film(facts.window if facts.by_hand else None)
    elif reading.original is not None:
        film = reading.original
    elif data is not None:
        film = read_xray(data)
    else:
        return None
    return _corrected(film, reading.offers)


def shown(frame: DicomFrame, window: Window, *, offers: Sequence[str] = ()) -> bytes:
    """A decoded frame through a window, corrected, as JPEG for the screen; ImageError where it shows nothing."""
    return screen_jpeg(_corrected(frame.film(window), offers).pixels)


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


def corrections_in_words(offers: Sequence[str]) -> str:
    """What was done on request, in its order: "inverted, turned by 180°"."""
    return ", ".join(OFFERS[offer][1] for offer in offers)


def readings_csv(
    entries: Sequence[Entry],
    readings: Mapping[str, Reading],
    *,
    threshold: float,
    certainty: Certainty | None = None,
    cases: Mapping[str, str] | None = None,
) -> bytes:
    """The list as CSV (UTF-8), with `COLUMNS_OF_THE_SCREEN`, decided at `threshold`.

    With `cases`, the pseudonyms of the films' cases by key, a last column `case` is the only place where file names and
    pseudonyms stand together. What was refused, overruled or corrected stands in the column `message`.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS_OF_THE_SCREEN, *(() if cases is None else ("case",))))
    for entry in entries:
        reading = readings[entry.key]
        probability = reading.probability
        quality = "; ".join(remark.message for remark in reading.quality)
        message = " ".join(part for part in (reading.message, reading.record, entry.remark) if part)
        writer.writerow(
            [
                harmless(entry.name),
                "" if probability is None else repr(probability),
                "" if probability is None else decide(probability, threshold=threshold),
                repr(threshold),
                harmless(reading.version),
                harmless(quality),
                harmless(message),
                reading.verdict(certainty),
                "" if certainty is None else repr(certainty.rule.error_rate),
                *(() if cases is None else (cases.get(entry.key, ""),)),
            ]
        )
    return text.getvalue().encode("utf-8")


@dataclass(frozen=True)
class _Pass:
    """What one pass of the network found on one film."""

    probability: float
    heat: NDArray[np.float32] | None
    pooled: NDArray[np.float32]


def _described(key: str, xray: XRay, image: NDArray[np.uint8], *, version: str) -> Reading:
    """A reading that has no probability yet; `image` is what the network sees."""
    height, width = image.shape[:2]
    quality = remarks(xray)
    return Reading(
        key=key,
        version=version,
        source=xray.source,
        input_size=(height, width),
        quality=quality,
        picture=screen_jpeg(xray.pixels),
        thumbnail=data_uri(_jpeg(xray.pixels, THUMBNAIL_SIZE, quality=80)),
        original=xray if xray.source.dicom is None and any(one.offer for one in quality) else None,
        seen=np.ascontiguousarray(image[:, :, 0]),
    )


def _corrected(xray: XRay, offers: Sequence[str]) -> XRay:
    """The film with the corrections done and said."""
    if not offers:
        return xray
    pixels, done = xray.pixels, list(xray.source.done)
    for offer in offers:
        pixels = corrected(pixels, offer)
        done.append(f"{OFFERS[offer][1]} on request")
    return XRay(pixels, replace(xray.source, done=tuple(done)))


def _finished(
    reading: Reading, xray: XRay, found: _Pass | None, *, judge: Judge | None, overruled: bool = False
) -> Reading:
    """The reading with what the pass found; without a probability where the picture is none to judge."""
    if found is None:
        return Reading(key=reading.key, version=reading.version, message=NETWORK_FAILED)
    reading = replace(reading, pooled=found.pooled.astype(np.float16))
    judgement = None if judge is None else judge(xray, found.pooled)
    if judgement is not None and not judgement.accepted:
        reading = replace(reading, refusal=judgement.reason, overruled=overruled)
    if reading.refused:
        return reading
    return replace(reading, probability=found.probability, heat=found.heat)


def _passes(images: Sequence[NDArray[np.uint8]], reader: Reader) -> list[_Pass | None]:
    if not images:
        return []
    try:
        found = reader.read(np.stack(images))
    except Exception as error:
        # Whatever an engine raises: no film may take the others with it, and no traceback may reach the user.
        if len(images) == 1:
            log.error("the network failed on a film: %s", error)
            return [None]
        return [_passes([image], reader)[0] for image in images]
    heats = [None] * len(images) if found.heat is None else list(found.heat)
    # Copies: a view would keep the whole batch in memory as long as one of its films.
    return [
        _Pass(float(probability), None if heat is None else heat.copy(), pooled.copy())
        for probability, heat, pooled in zip(found.probabilities, heats, found.pooled, strict=True)
    ]


def screen_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A film, uint8 (height, width), as JPEG for the screen, at most `PICTURE_SIDE` pixels long."""
    return _jpeg(pixels, (PICTURE_SIDE, PICTURE_SIDE), quality=92)


def _jpeg(pixels: NDArray[np.uint8], size: tuple[int, int], *, quality: int) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail(size, Image.Resampling.BILINEAR)
    target = io.BytesIO()
    picture.save(target, format="JPEG", quality=quality)
    return target.getvalue()


def data_uri(jpeg: bytes) -> str:
    """A JPEG as a `data:` address, which a browser shows without asking a server."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
