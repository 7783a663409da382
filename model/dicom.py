"""DICOM files as hospitals have them: from the bytes of one file to one grey film, and nothing about the patient.

The data set is walked with pydicom, which is told the few tags wanted here: everything else, private tags and names
included, is skipped over and never becomes a value. Of what is read only closed sets of words and numbers are kept
(`model.films.DicomFacts`); dates serve to work out an age in whole years and are dropped.

Grey films go through the standard's own chain (PS3.3 C.11): stored value, modality look-up table or rescaling
(C.11.1), value-of-interest look-up table or window (C.11.2), presentation shape (C.11.6). The whole chain is worked
out once for each of the at most 65,536 values that a pixel can have; the picture is then one look-up.

Compressed frames are decoded by imagecodecs (libjpeg-turbo, CharLS, OpenJPEG). Before a decoder is called, the frame's
own header must agree with the data set: that stops bombs. What pydicom would warn about may hold values of the file;
it is silenced as a whole.

"PS3.3" and so on are the parts of the DICOM standard, https://www.dicomstandard.org/current.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import imagecodecs
import numpy as np
import pydicom.config
from numpy.typing import NDArray
from PIL import Image
from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import data_element_generator, read_sequence_item

from model.films import (
    MAXIMUM_BYTES,
    MAXIMUM_PIXELS,
    VALUE_REPRESENTATIONS,
    DicomFacts,
    ImageError,
    Source,
    Window,
    XRay,
    colour_share,
    refuse_sizes,
)

# Warnings of the reader quote what they stumble over, and that may be a name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")

T = TypeVar("T")

MAKER = "Pneumoscope"
"""Manufacturer (PS3.3 C.7.5.1) of the files that `model.dicom_results` makes."""
MAXIMUM_FRAMES = 2000
MAXIMUM_UNPACKED = 2 * MAXIMUM_BYTES  # of a deflated data set
# An ordinary film has some hundred elements; each takes the reader one to three looks into the file.
MAXIMUM_LOOKS = 100_000
MAXIMUM_VALUE = 4096  # bytes of one number or word, all its values together
MAXIMUM_TABLE = 2**20  # bytes of a look-up table or a sequence of them; the largest table has 131,072
MAXIMUM_TILES = 4096  # of one JPEG 2000 picture

MODALITIES = {
    "CR": "computed radiography",
    "DX": "digital radiography",
    "RG": "radiography on film",
    "RF": "radiofluoroscopy",
    "OT": "secondary capture",
    "SC": "secondary capture",
}
"""Modalities (PS3.3 C.7.3.1.1.1) that are read. RF, because fluoroscopy rooms take plain chest films too."""

VIEWS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LATERAL")
"""View positions that are told (PS3.3 C.8.1.1 and C.8.11.5); another one is left out."""

_OTHER_MODALITIES = {
    "CT": "a CT",
    "MR": "an MR image",
    "US": "an ultrasound image",
    "NM": "a nuclear medicine image",
    "PT": "a PET image",
    "XA": "an angiography",
    "MG": "a mammography",
    "IO": "a dental film",
    "PX": "a dental film",
    "BMD": "a bone densitometry",
    "ES": "an endoscopy",
    "SM": "a microscopy",
    "GM": "a microscopy",
    "OP": "an eye photograph",
    "OPT": "an eye tomography",
    "XC": "a photograph",
    "ECG": "an ECG",
    "SR": "a report",
    "DOC": "a document",
    "KO": "a list of key images",
    "PR": "a presentation state without a picture of its own",
    "SEG": "a segmentation",
    "RTDOSE": "a radiotherapy dose",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "a radiotherapy contour set",
    "RTIMAGE": "a radiotherapy image",
}
# SOP classes (PS3.4 B.5) that say what a file is where its modality is missing or says "other".
_OTHER_CLASSES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, the contents list of a disc",
    "1.2.840.10008.5.1.4.1.1.2": "a CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "a CT",
    "1.2.840.10008.5.1.4.1.1.4": "an MR image",
    "1.2.840.10008.5.1.4.1.1.4.1": "an MR image",
    "1.2.840.10008.5.1.4.1.1.6.1": "an ultrasound image",
    "1.2.840.10008.5.1.4.1.1.3.1": "an ultrasound image",
    "1.2.840.10008.5.1.4.1.1.12.1": "an angiography",
    "1.2.840.10008.5.1.4.1.1.1.2": "a mammography",
    "1.2.840.10008.5.1.4.1.1.1.3": "a dental film",
    "1.2.840.10008.5.1.4.1.1.20": "a nuclear medicine image",
    "1.2.840.10008.5.1.4.1.1.128": "a PET image",
    "1.2.840.10008.5.1.4.1.1.104.1": "a PDF in a DICOM file",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.481.3": "a radiotherapy contour set",
    "1.2.840.10008.5.1.4.1.1.481.5": "a radiotherapy plan",
}
_REPORT_CLASSES = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")

_NATIVE, _RLE, _JPEG, _JPEG_LS, _JPEG_2000 = "native", "RLE", "JPEG", "JPEG-LS", "JPEG 2000"
_SYNTAXES = {  # PS3.5 section 10 and annex A; PS3.6 table A-1
    "1.2.840.10008.1.2": ("implicit little endian", _NATIVE),
    "1.2.840.10008.1.2.1": ("explicit little endian", _NATIVE),
    "1.2.840.10008.1.2.1.99": ("deflated explicit little endian", _NATIVE),
    "1.2.840.10008.1.2.2": ("explicit big endian", _NATIVE),
    "1.2.840.10008.1.2.5": ("RLE lossless", _RLE),
    "1.2.840.10008.1.2.4.50": ("JPEG baseline", _JPEG),
    "1.2.840.10008.1.2.4.51": ("JPEG extended", _JPEG),
    "1.2.840.10008.1.2.4.57": ("JPEG lossless", _JPEG),
    "1.2.840.10008.1.2.4.70": ("JPEG lossless, first-order prediction", _JPEG),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS lossless", _JPEG_LS),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS near-lossless", _JPEG_LS),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000 lossless", _JPEG_2000),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", _JPEG_2000),
}
# Start-of-frame markers (ITU-T T.81 table B.1, T.87 annex C) that each transfer syntax allows.
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_FRAMES_OF = {
    "1.2.840.10008.1.2.4.50": _SEQUENTIAL,
    "1.2.840.10008.1.2.4.51": _SEQUENTIAL,
    "1.2.840.10008.1.2.4.57": frozenset({0xC3}),
    "1.2.840.10008.1.2.4.70": frozenset({0xC3}),
    "1.2.840.10008.1.2.4.80": frozenset({0xF7}),
    "1.2.840.10008.1.2.4.81": frozenset({0xF7}),
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")

_EXPORT = "export the X-ray again, as DICOM, PNG or JPEG"
_DAMAGED = f"The DICOM file is damaged and cannot be read: {_EXPORT}."
_INCOMPLETE = (
    "The DICOM file is incomplete, a part of its picture is missing: copy or export the X-ray again."
)

_WANTED = (
    "SOPClassUID",
    "Modality",
    "Manufacturer",  # to tell results of our own from films, then dropped
    "ViewPosition",
    "PatientAge",
    "PatientBirthDate",  # with the date of the study: an age, then dropped
    "StudyDate",
    "PatientSex",
    "BurnedInAnnotation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "LUTDescriptor",
    "LUTData",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "PixelData",
)
_TAGS = [tag for tag in map(tag_for_keyword, _WANTED) if tag is not None]
_PIXEL_DATA = 0x7FE00010
_MOST = {
    tag_for_keyword(keyword): MAXIMUM_TABLE
    for keyword in _WANTED
    if keyword.endswith(("Sequence", "LookupTableData", "LUTData"))
}


@dataclass(frozen=True)
class _LookUpTable:
    """Modality or VOI look-up table (PS3.3 C.11.1.1, C.11.2.1.1): ``values`` float64 (n,) of ``first`` and up."""

    first: int
    values: NDArray[np.float64]
    largest: float

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        places = np.clip(np.rint(values) - self.first, 0, len(self.values) - 1).astype(np.intp)
        return self.values[places]


@dataclass(frozen=True)
class DicomFile:
    """What is kept of one DICOM file: its pixel data as stored and what they mean. Holds no personal data.

    Attributes:
        facts: what may be told about the file, of frame 1.
        photometric: photometric interpretation (PS3.3 C.7.6.3.1.2).
        width: columns.
        height: rows.
        pixel_data: the value of Pixel Data (7FE0,0010) as in the file; for encapsulated ones the items.
    """

    facts: DicomFacts
    photometric: str
    width: int
    height: int
    pixel_data: bytes = field(repr=False)
    syntax: str
    samples: int
    planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    swapped: bool
    big_endian: bool
    padding: tuple[int, int] | None
    slope: float
    intercept: float
    modality_table: _LookUpTable | None
    voi_table: _LookUpTable | None
    window: Window | None
    inverted: bool
    palette: NDArray[np.uint8] | None
    palette_first: int

    def decode(self, frame: int = 1) -> DicomFrame:
        """Decode one frame; the first has number 1 (PS3.3 C.7.6.6).

        Raises:
            ImageError: where there is no such frame, or it is damaged or incomplete.
        """
        if not 1 <= frame <= self.facts.frames:
            raise ImageError(
                f"The file has {self.facts.frames} frames and none with number {frame}: choose another."
            )
        return _guarded(lambda: _frame(self, frame))


@dataclass(frozen=True)
class DicomFrame:
    """One decoded frame: ``stored`` is (rows, columns) with the ``bits`` stored bits of each pixel as an unsigned
    number, or uint8 (rows, columns, 3) for colour. `film` may be asked with several windows."""

    file: DicomFile
    number: int
    stored: NDArray[Any]
    bits: int

    def film(self, window: Window | None = None) -> XRay:
        """The film as the network and the eye see it.

        Args:
            window: to use instead of the file's own (PS3.3 C.11.2.1.2); colour has none and takes no notice.

        Raises:
            ImageError: where the picture is blank, or the window is none.
        """
        file, done = self.file, []
        facts = replace(file.facts, frame=self.number)
        if facts.frames > 1:
            done.append(f"frame {self.number} of {facts.frames} taken")
        share = 0.0
        if self.stored.ndim == 3:
            image = Image.fromarray(self.stored)
            share = colour_share(image)
            done.append("colour turned into grey" if share > 0 else "three equal channels made one")
            pixels: NDArray[np.uint8] = np.array(image.convert("L"))
        else:
            table, facts = self._table(window, facts, done)
            pixels = np.empty(self.stored.shape, np.uint8)
            for rows in self._rows():
                pixels[rows] = table[self.stored[rows]]
        if pixels.min() == pixels.max():
            raise ImageError(
                "The picture is blank, all its pixels are equal: export the X-ray again or widen its window."
            )
        pixels.setflags(write=False)
        source = Source(
            format="DICOM",
            width=file.width,
            height=file.height,
            bit_depth=file.bits_stored,
            photometric=file.photometric,
            done=tuple(done),
            colour_share=share,
            dicom=facts,
        )
        return XRay(pixels, source)

    def _rows(self) -> Iterator[slice]:
        """Parts of the film: what NumPy looks up by takes eight bytes a pixel on the way."""
        return (slice(start, start + 256) for start in range(0, len(self.stored), 256))

    def _table(
        self, window: Window | None, facts: DicomFacts, done: list[str]
    ) -> tuple[NDArray[np.uint8], DicomFacts]:
        """What each stored value becomes, uint8 (2 ** bits,): PS3.3 C.11, from the stored value to the P-value."""
        file = self.file
        values = np.arange(2**self.bits, dtype=np.float64)
        if file.signed:
            values[len(values) // 2 :] -= len(values)
        used = np.zeros(len(values), dtype=bool)
        for rows in self._rows():
            used[self.stored[rows]] = True
        padded = np.zeros(len(values), dtype=bool)
        if file.padding is not None:
            padded = (values >= file.padding[0]) & (values <= file.padding[1])
        if not (used & ~padded).any():
            raise ImageError("The picture is blank, it holds nothing but padding: export the X-ray again.")
        if file.modality_table is not None:
            values = file.modality_table(values)
            done.append("modality look-up table applied")
        elif (file.slope, file.intercept) != (1.0, 0.0):
            values = values * file.slope + file.intercept
            sign = "-" if file.intercept < 0 else "+"
            done.append(f"rescaled: value × {file.slope:g} {sign} {abs(file.intercept):g}")
        seen = values[used & ~padded]
        low, high = float(seen.min()), float(seen.max())
        facts = replace(
            facts, lowest=low, highest=high, window=window or file.window, by_hand=window is not None
        )
        if window is not None:
            grey = _windowed(values, window)
            done.append(f"windowed by hand: {window}")
        elif file.voi_table is not None:
            grey = file.voi_table(values) / file.voi_table.largest
            facts = replace(facts, window=None)
            done.append("VOI look-up table applied")
        elif file.window is not None:
            grey = _windowed(values, file.window)
            done.append(f"windowed: {file.window}")
        elif self.bits <= 8 and file.modality_table is None and file.slope == 1.0:
            grey = (values - file.intercept + (len(values) // 2 if file.signed else 0)) / (len(values) - 1)
        else:
            grey = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
            done.append("no window in the file: shown from its lowest to its highest value")
        if file.inverted:
            grey = 1 - grey
            done.append("inverted, as the file asks")
        if (used & padded).any():
            grey[padded] = 0
            done.append("padding shown black")
        return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), facts


def read_dicom(data: bytes, *, frame: int = 1, window: Window | None = None) -> XRay:
    """Read one DICOM file; `model.films.read_xray` calls this for what `model.films.is_dicom`.

    Raises:
        ImageError: for anything that cannot be read or is no plain X-ray. No other exception escapes.
    """
    return _guarded(lambda: open_dicom(data).decode(frame).film(window))


def open_dicom(data: bytes) -> DicomFile:
    """Read what one DICOM file says about its picture; no pixel is decoded yet.

    Raises:
        ImageError: as `read_dicom`.
    """
    return _guarded(lambda: _described(*_data_set(data)))


def read_elements(data: bytes, keywords: Sequence[str]) -> Dataset:
    """The named elements of one DICOM file, those in sequences not among them; what the file lacks is left out.

    This alone gives out what says who the patient is, to `model.dicom_results`, which writes it into files of the same
    study and nowhere else.

    Raises:
        ImageError: where the data set cannot be walked.
    """

    def work() -> Dataset:
        wanted = [tag for tag in map(tag_for_keyword, keywords) if tag is not None]
        elements, _ = _data_set(data, [*wanted, _PIXEL_DATA])  # the walk ends at the pixels
        elements.pop(_PIXEL_DATA, None)
        stated = elements.get("SpecificCharacterSet") or ""
        elements.set_original_encoding(False, True, convert_encodings(stated))
        return elements

    return _guarded(work)


def _guarded(work: Callable[[], T]) -> T:
    """Let only `ImageError` out: readers and decoders raise whatever they stumble over, and quote it."""
    try:
        return work()
    except ImageError:
        raise
    except Exception:
        raise ImageError(_DAMAGED) from None


# --- the data set -----------------------------------------------------------------------------------


class _Stream(io.BytesIO):
    """Bytes that may be looked into only so often: a file of millions of empty elements would take minutes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.looks = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.looks += 1
        if self.looks > MAXIMUM_LOOKS:
            raise ImageError(f"The DICOM file has too many parts for an X-ray: {_EXPORT}.")
        return super().read(size)


def _data_set(data: bytes, tags: Sequence[int] = _TAGS) -> tuple[Dataset, str]:
    """The wanted elements, and the transfer syntax (PS3.10 7.1: preamble, file meta information, data set)."""
    stream = _Stream(data)
    if data[128:132] == b"DICM":
        stream.seek(132)
    start = stream.tell()
    syntax = ""
    if data[start : start + 2] == b"\x02\x00":
        for element in data_element_generator(
            stream, False, True, stop_when=lambda tag, _, __: tag.group != 2
        ):
            if element.tag == 0x00020010 and isinstance(element.value, bytes):
                syntax = element.value.rstrip(b"\0 ").decode("ascii")
        start = stream.tell()
    if not syntax:
        # PS3.5 10.1: implicit little endian where nothing else was agreed; older machines write it without a header.
        big_endian = data[start : start + 1] == b"\x00"
        implicit = data[start + 4 : start + 6] not in VALUE_REPRESENTATIONS
        syntax = "1.2.840.10008.1.2" + (".2" if big_endian else "" if implicit else ".1")
    if syntax not in _SYNTAXES:
        raise ImageError(_unknown_syntax(syntax))
    implicit = syntax == "1.2.840.10008.1.2"
    big_endian = syntax == "1.2.840.10008.1.2.2"
    if syntax == "1.2.840.10008.1.2.1.99":
        stream = _Stream(_inflated(data[start:]))
    elements: dict[Any, Any] = {}
    for element in data_element_generator(stream, implicit, not big_endian, specific_tags=list(tags)):
        if element.tag == _PIXEL_DATA:
            elements[element.tag] = element
            break
        value = getattr(element, "value", None)
        if isinstance(value, bytes) and len(value) > _MOST.get(element.tag, MAXIMUM_VALUE):
            raise ImageError(_DAMAGED)
        elements[element.tag] = element
    return Dataset(elements), syntax


def _unknown_syntax(syntax: str) -> str:
    """The sentence for a transfer syntax that is not read; the identifier itself is not quoted."""
    if syntax.startswith("1.2.840.10008.1.2.4.10") and len(syntax) == 23:
        kind = "a film sequence (MPEG video)"
    elif syntax.startswith("1.2.840.10008.1.2."):
        kind = "a compression (transfer syntax) that is not read"
    else:
        kind = "an unknown transfer syntax"
    return f"The DICOM file is stored with {kind}: export it uncompressed, or as JPEG 2000 or PNG."


def _inflated(packed: bytes) -> bytes:
    """Unpack a deflated data set (PS3.5 A.5: a raw stream, RFC 1951), up to a limit."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = unpacker.decompress(packed, MAXIMUM_UNPACKED)
    if unpacker.unconsumed_tail and not unpacker.eof:
        raise ImageError(f"The DICOM file unpacks to more than {MAXIMUM_UNPACKED // 2**20} MB: {_EXPORT}.")
    if not unpacker.eof:
        raise ImageError(_INCOMPLETE)
    return unpacked


# --- what it says -----------------------------------------------------------------------------------


def _described(elements: Dataset, syntax: str) -> DicomFile:
    _refuse_other_kinds(elements)
    photometric = _word(elements, "PhotometricInterpretation")
    if "PixelData" not in elements:
        raise ImageError(f"The DICOM file holds no picture: {_EXPORT}.")
    width, height = _count(elements, "Columns"), _count(elements, "Rows")
    if not width or not height:
        raise ImageError(_DAMAGED)
    refuse_sizes(width, height)
    frames = 1
    if "NumberOfFrames" in elements:
        frames = int(_number(elements, "NumberOfFrames", 1.0))
    if not 1 <= frames <= MAXIMUM_FRAMES:
        raise ImageError(
            f"The DICOM file claims {frames} frames and at most {MAXIMUM_FRAMES} are read: {_EXPORT}."
        )
    samples = _count(elements, "SamplesPerPixel", 1)
    allocated = _count(elements, "BitsAllocated", 16)
    stored = _count(elements, "BitsStored", allocated)
    high_bit = _count(elements, "HighBit", stored - 1)
    if photometric not in (*_GREY, *_COLOURS, "PALETTE COLOR"):
        raise ImageError(f"The DICOM file stores colour in a way that is not read: {_EXPORT}.")
    if allocated not in (8, 16):
        raise ImageError(
            f"The DICOM file has {allocated} bits a pixel, and only 8 or 16 are read: {_EXPORT}."
        )
    if samples != (3 if photometric in _COLOURS else 1) or not 1 <= stored <= high_bit + 1 <= allocated:
        raise ImageError(_DAMAGED)
    if samples == 3 and width * height > MAXIMUM_PIXELS // 3:
        raise ImageError(f"The DICOM file holds too many colour pixels ({width} x {height}): {_EXPORT}.")
    pixel_element = elements.get_item("PixelData")
    pixel_data = pixel_element.value
    if not isinstance(pixel_data, bytes) or not pixel_data:
        raise ImageError(_INCOMPLETE)
    words, _ = _SYNTAXES[syntax]
    big_endian = syntax == "1.2.840.10008.1.2.2"
    signed = _count(elements, "PixelRepresentation", 0) == 1
    palette, palette_first = _palette(elements) if photometric == "PALETTE COLOR" else (None, 0)
    slope, intercept = _number(elements, "RescaleSlope", 1.0), _number(elements, "RescaleIntercept", 0.0)
    if slope == 0:
        slope, intercept = 1.0, 0.0
    window = _window(elements)
    return DicomFile(
        facts=DicomFacts(
            modality=_word(elements, "Modality"),
            view=_word(elements, "ViewPosition") if _word(elements, "ViewPosition") in VIEWS else "",
            age=_age(elements),
            sex=_word(elements, "PatientSex") if _word(elements, "PatientSex") in ("F", "M", "O") else "",
            spacing=_spacing(elements),
            transfer_syntax=words,
            burned_in=_word(elements, "BurnedInAnnotation") == "YES",
            frames=frames,
            window=window,
        ),
        photometric=photometric,
        width=width,
        height=height,
        pixel_data=pixel_data,
        syntax=syntax,
        samples=samples,
        planar=_count(elements, "PlanarConfiguration", 0) == 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed,
        # PS3.5 8.1.1 and annex A.3: bytes in words of 16 bits, the words in big endian order.
        swapped=big_endian and allocated == 8 and getattr(pixel_element, "VR", "") == "OW",
        big_endian=big_endian,
        padding=_padding(elements, signed=signed),
        slope=slope,
        intercept=intercept,
        modality_table=_table(elements, "ModalityLUTSequence", signed=signed, big_endian=big_endian),
        voi_table=_table(elements, "VOILUTSequence", signed=signed, big_endian=big_endian),
        window=window,
        # PS3.3 C.7.6.3.1.2 and C.11.6.1. A digital X-ray image with MONOCHROME1 says INVERSE too, of the same turn.
        inverted=photometric == "MONOCHROME1"
        or (photometric == "MONOCHROME2" and _word(elements, "PresentationLUTShape") == "INVERSE"),
        palette=palette,
        palette_first=palette_first,
    )


def _refuse_other_kinds(elements: Dataset) -> None:
    if _text(elements, "Manufacturer") == MAKER:
        raise ImageError(
            "The DICOM file is a result that Pneumoscope made, not a film: choose the chest X-ray of this study."
        )
    modality, kind = _word(elements, "Modality"), _text(elements, "SOPClassUID")
    what = _OTHER_MODALITIES.get(modality) or _OTHER_CLASSES.get(kind)
    if what is None and kind.startswith(_REPORT_CLASSES[0]):
        what = "a structured report"
    if what is None and kind.startswith(_REPORT_CLASSES[1]):
        what = "a presentation state without a picture of its own"
    if what is None and modality and modality not in MODALITIES:
        what = "of another kind (modality)"
    if what is not None:
        raise ImageError(
            f"The DICOM file is {what}, not a plain X-ray: choose the chest X-ray of this study."
        )


def _text(elements: Dataset, keyword: str) -> str:
    """The first value of an element as text; empty where it is missing or none."""
    try:
        value = elements.get(keyword)
    except Exception:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else ""
    return "" if value is None else str(value).strip(" \0")


def _word(elements: Dataset, keyword: str) -> str:
    return _text(elements, keyword).upper()


def _number(elements: Dataset, keyword: str, otherwise: float) -> float:
    """The first value of an element as a finite number; ``otherwise`` where it is missing or none."""
    try:
        number = float(_text(elements, keyword))
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _count(elements: Dataset, keyword: str, otherwise: int = 0) -> int:
    return int(_number(elements, keyword, otherwise))


def _numbers(elements: Dataset, keyword: str) -> list[float]:
    try:
        value = elements.get(keyword)
        if value is None or isinstance(value, (str, bytes)):
            return []
        return [float(each) for each in (value if hasattr(value, "__len__") else [value])]
    except Exception:
        return []


def _spacing(elements: Dataset) -> tuple[float, float] | None:
    """Millimetres from row to row and from column to column (PS3.3 10.7.1), at the detector (C.8.11.4) where the
    patient's plane is not known."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = _numbers(elements, keyword)
        if len(numbers) == 2 and all(0 < number < 100 for number in numbers):
            return round(numbers[0], 4), round(numbers[1], 4)
    return None


def _age(elements: Dataset) -> int | None:
    """Whole years of age: from the age (PS3.5 6.2, AS), or else from the dates of birth and study."""
    match = re.fullmatch(r"(\d{3})([DWMY])", _word(elements, "PatientAge"))
    if match:
        return int(match[1]) // {"D": 365, "W": 52, "M": 12, "Y": 1}[match[2]]
    dates = [
        re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", _text(elements, keyword))
        for keyword in ("PatientBirthDate", "StudyDate")
    ]
    if dates[0] is None or dates[1] is None:
        return None
    born, seen = (tuple(int(part) for part in date.groups()) for date in dates if date is not None)
    years = seen[0] - born[0] - (seen[1:] < born[1:])
    return years if 0 <= years <= 130 else None


def _padding(elements: Dataset, *, signed: bool) -> tuple[int, int] | None:
    """Lowest and highest stored value that is padding (PS3.3 C.7.5.1.1.2)."""
    found = [
        int(_text(elements, keyword))
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if re.fullmatch(r"-?\d+", _text(elements, keyword))
    ]
    if not found:
        return None
    found = [value - 2**16 if signed and value >= 2**15 else value for value in found]
    return min(found), max(found)


def _window(elements: Dataset) -> Window | None:
    """The first window of the file (PS3.3 C.11.2.1.2); None where there is none that works."""
    try:
        centre, width = (float(_text(elements, keyword)) for keyword in ("WindowCenter", "WindowWidth"))
        shape = {"LINEAR_EXACT": "linear exact", "SIGMOID": "sigmoid"}.get(_word(elements, "VOILUTFunction"))
        return Window(centre, width, shape or "linear")
    except ValueError:  # ImageError is one
        return None


def _table(elements: Dataset, keyword: str, *, signed: bool, big_endian: bool) -> _LookUpTable | None:
    """The first item of a look-up table sequence (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""
    item = _first_item(elements, keyword, big_endian=big_endian)
    if item is None:
        return None
    descriptor = [int(number) for number in _numbers(item, "LUTDescriptor")]
    data = item.get("LUTData")
    if len(descriptor) != 3 or data is None:
        raise ImageError(_DAMAGED)
    count = descriptor[0] % 2**16 or 2**16
    first = descriptor[1] - 2**16 if signed and descriptor[1] >= 2**15 else descriptor[1]
    values = _table_values(data, count, big_endian=big_endian).astype(np.float64)
    bits = descriptor[2] if 8 <= descriptor[2] <= 16 else 16
    return _LookUpTable(first, values, float(max(2**bits - 1, values.max())))


def _first_item(elements: Dataset, keyword: str, *, big_endian: bool) -> Dataset | None:
    """The first item of a sequence, which alone is read (PS3.5 7.5)."""
    if keyword not in elements:
        return None
    element = elements.get_item(keyword)
    if isinstance(element, RawDataElement):
        if not element.value:
            return None
        stream = _Stream(element.value)
        return read_sequence_item(stream, element.is_implicit_VR, not big_endian, "ascii")
    return element.value[0] if element.value else None


def _table_values(data: Any, count: int, *, big_endian: bool) -> NDArray[np.int64]:
    """``count`` entries of 16 bits, or of 8 where there are no more bytes than entries."""
    if isinstance(data, bytes):
        if count <= len(data) < 2 * count:
            entries = np.frombuffer(data, np.uint8)
        else:
            entries = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
        values = entries.astype(np.int64)
    else:
        values = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(values) < count:
        raise ImageError(_DAMAGED)
    return values[:count]


def _palette(elements: Dataset) -> tuple[NDArray[np.uint8], int]:
    """Palette uint8 (n, 3) and the stored value of its first entry (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""
    if "SegmentedRedPaletteColorLookupTableData" in elements:
        raise ImageError(f"The DICOM file has a segmented colour palette, which is not read: {_EXPORT}.")
    descriptor = [int(number) for number in _numbers(elements, "RedPaletteColorLookupTableDescriptor")]
    if len(descriptor) != 3:
        raise ImageError(_DAMAGED)
    count = descriptor[0] % 2**16 or 2**16
    channels = [
        _table_values(elements.get(f"{name}PaletteColorLookupTableData", b""), count, big_endian=False)
        for name in ("Red", "Green", "Blue")
    ]
    table = np.stack(channels, axis=1)
    # Some writers put 8-bit entries into 16 bits and say 16.
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8), descriptor[1]


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Grey, 0 to 1, of values seen through a window (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2)."""
    centre, width = window.centre, window.width
    if window.shape == "sigmoid":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if window.shape == "linear":
        centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


# --- the pixels -------------------------------------------------------------------------------------


def _frame(file: DicomFile, number: int) -> DicomFrame:
    samples, bits = _decoded(file, number)
    if file.photometric not in _GREY:
        return DicomFrame(file, number, _rgb(file, samples, bits), 8)
    # Signed ones too are kept as their bits: a table is indexed with them.
    stored = samples.astype(np.uint16) & np.uint16((1 << bits) - 1)
    return DicomFrame(file, number, stored.astype(np.uint8) if bits <= 8 else stored, bits)


def _decoded(file: DicomFile, frame: int) -> tuple[NDArray[Any], int]:
    """Stored samples (rows, columns) or (rows, columns, 3) of one frame, and how many of their bits count."""
    kind = _SYNTAXES[file.syntax][1]
    if kind == _NATIVE:
        return _native(file, frame), file.bits_stored
    try:
        coded = get_frame(file.pixel_data, frame - 1, number_of_frames=file.facts.frames)
    except Exception:
        raise ImageError(_INCOMPLETE) from None
    if kind == _RLE:
        return _run_lengths(file, coded), file.bits_stored
    decode = {_JPEG: _jpeg, _JPEG_LS: _jpeg_ls, _JPEG_2000: _jpeg_2000}[kind]
    samples, bits = decode(file, coded)
    expected = (file.height, file.width) + ((3,) if file.samples == 3 else ())
    if samples.shape != expected:
        raise ImageError(_DAMAGED)
    return samples, min(bits, file.bits_stored)


def _native(file: DicomFile, frame: int) -> NDArray[Any]:
    """PS3.5 8.2 and annex A.1 to A.3: pixels as they are, frame after frame."""
    halved = file.photometric == "YBR_FULL_422"
    each = 2 if halved else file.samples
    wide = file.bits_allocated // 8
    size = file.height * file.width * each * wide
    excess = len(file.pixel_data) - size * file.facts.frames
    if excess < 0:
        raise ImageError(_INCOMPLETE)
    if excess > max(1, file.width * each * wide):
        raise ImageError(f"The DICOM file holds more pixel data than its size asks for: {_EXPORT}.")
    data = file.pixel_data
    if file.swapped:
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    order = ">" if file.big_endian else "<"
    flat = np.frombuffer(data, f"{order}u{wide}", count=size // wide, offset=size * (frame - 1))
    if file.high_bit + 1 > file.bits_stored:
        flat = flat >> (file.high_bit + 1 - file.bits_stored)
    if halved:  # PS3.3 C.7.6.3.1.2: Y Y Cb Cr for each two pixels
        pairs = flat.reshape(file.height, file.width // 2, 4)
        return np.stack(
            [
                pairs[..., :2].reshape(file.height, file.width),
                *(np.repeat(pairs[..., part], 2, axis=1) for part in (2, 3)),
            ],
            axis=2,
        )
    if file.samples == 1:
        return flat.reshape(file.height, file.width)
    if file.planar:  # PS3.3 C.7.6.3.1.3
        return flat.reshape(3, file.height, file.width).transpose(1, 2, 0)
    return flat.reshape(file.height, file.width, 3)


def _run_lengths(file: DicomFile, coded: bytes) -> NDArray[Any]:
    """PS3.5 annex G: a header of 64 bytes, then a segment for each byte of each sample, the highest byte first."""
    wide, area = file.bits_allocated // 8, file.height * file.width
    count, *offsets = struct.unpack("<16L", coded[:64])
    if count != wide * file.samples or any(offset < 64 for offset in offsets[:count]):
        raise ImageError(_DAMAGED)
    bounds = [*offsets[:count], len(coded)]
    planes = [
        _unpacked(coded[start:end], area).reshape(file.height, file.width)
        for start, end in itertools.pairwise(bounds)
    ]
    samples: list[NDArray[Any]] = []
    for number in range(file.samples):
        sample: NDArray[Any] = planes[number * wide]
        if wide == 2:
            sample = (sample.astype(np.uint16) << 8) | planes[number * wide + 1]
        samples.append(sample)
    return samples[0] if file.samples == 1 else np.stack(samples, axis=2)


def _unpacked(segment: bytes, area: int) -> NDArray[np.uint8]:
    """PackBits (PS3.5 G.3.2), at most a little more than ``area`` bytes: where there is more, the decoder refuses."""
    for packed in (segment, segment[:-1]):  # the last byte may only make the length even
        try:
            plane = imagecodecs.packbits_decode(packed, out=bytearray(area + 256))
        except RuntimeError:  # what the codecs raise is a kind of it
            continue
        if len(plane) >= area:
            return np.frombuffer(plane, np.uint8, count=area)
    raise ImageError(_INCOMPLETE)


def _segments(coded: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment before the first scan (ITU-T T.81 annex B)."""
    place = 2
    while place + 4 <= len(coded):
        if coded[place] != 0xFF:
            break
        marker = coded[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        length = struct.unpack(">H", coded[place + 2 : place + 4])[0]
        body = coded[place + 4 : place + 2 + length]
        if length < 2 or len(body) < length - 2:
            raise ImageError(_INCOMPLETE)
        yield marker, body
        if marker == 0xDA:
            return
        place += 2 + length
    raise ImageError(_DAMAGED)


def _frame_header(file: DicomFile, coded: bytes) -> tuple[int, bool]:
    """Sample precision of a JPEG or JPEG-LS frame and whether it says that its colour is YCbCr.

    The frame must be of the kind and size that the data set says (PS3.5 8.2.1 and 8.2.3): nothing larger reaches a
    decoder.
    """
    if not coded.startswith(b"\xff\xd8"):
        raise ImageError(_DAMAGED)
    precision, luminance = 0, False
    for marker, body in _segments(coded):
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if precision or marker not in _FRAMES_OF[file.syntax] or len(body) < 6:
                raise ImageError(_DAMAGED)
            precision, height, width, components = struct.unpack(">BHHB", body[:6])
            if (height, width, components) != (
                file.height,
                file.width,
                file.samples,
            ) or not 2 <= precision <= 16:
                raise ImageError(_DAMAGED)
        luminance = luminance or (marker == 0xE0 and body.startswith(b"JFIF\0"))
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            luminance = body[11] == 1
    # A sequential frame has one scan, or one for each component; more would only cost time.
    if not precision or coded.count(b"\xff\xda") > 4:
        raise ImageError(_DAMAGED)
    if b"\xff\xd9" not in coded[-16:]:
        raise ImageError(_INCOMPLETE)
    return precision, luminance


def _jpeg(file: DicomFile, coded: bytes) -> tuple[NDArray[Any], int]:
    """JPEG of 8 or 12 bits, and lossless up to 16 (PS3.5 8.2.1)."""
    precision, luminance = _frame_header(file, coded)
    if file.samples == 1:
        samples = imagecodecs.jpeg8_decode(coded)
        middle = 1 << (precision - 1)
        if (
            0xC3 not in _FRAMES_OF[file.syntax]
            and (samples[-8:] == middle).all()
            and samples.min() != samples.max()
        ):
            # Where its data end early, libjpeg says nothing and fills what is missing with exactly this grey.
            raise ImageError(_INCOMPLETE)
        return samples, precision
    # As stored: what the components mean is known here better than to the decoder.
    samples = imagecodecs.jpeg8_decode(coded, colorspace="RGB", outcolorspace="RGB")
    if file.photometric == "RGB" and luminance and 0xC3 not in _FRAMES_OF[file.syntax]:
        samples = _from_luminance(samples)
    return samples, precision


def _jpeg_ls(file: DicomFile, coded: bytes) -> tuple[NDArray[Any], int]:
    """JPEG-LS (PS3.5 8.2.3)."""
    precision, _ = _frame_header(file, coded)
    samples = imagecodecs.jpegls_decode(coded)
    if file.samples == 3 and samples.shape == (3, file.height, file.width):
        samples = samples.transpose(1, 2, 0)
    return samples, precision


def _jpeg_2000(file: DicomFile, coded: bytes) -> tuple[NDArray[Any], int]:
    """JPEG 2000 (PS3.5 8.2.4); the size in its SIZ segment (ITU-T T.800 A.5.1) must be that of the data set."""
    start = coded.find(b"\xff\x4f\xff\x51", 0, 2**16)  # some writers leave it in its file
    if start < 0 or len(coded) < start + 48:
        raise ImageError(_DAMAGED)
    _, _, right, lower, left, upper, tile_width, tile_height, _, _, components, depth, across, down = (
        struct.unpack(">HH8IH3B", coded[start + 4 : start + 45])
    )
    if (right - left, lower - upper, components) != (file.width, file.height, file.samples):
        raise ImageError(_DAMAGED)
    if (across, down) != (1, 1) or not tile_width or not tile_height:
        raise ImageError(_DAMAGED)
    if -(-right // tile_width) * -(-lower // tile_height) > MAXIMUM_TILES:
        raise ImageError(f"The DICOM file is cut into too many tiles: {_EXPORT}.")
    return imagecodecs.jpeg2k_decode(coded[start:]), (depth & 0x7F) + 1


def _rgb(file: DicomFile, samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Colour as uint8 (rows, columns, 3), whatever it was stored as (PS3.3 C.7.6.3.1.2)."""
    if file.palette is not None:
        values = samples.astype(np.int32) & ((1 << bits) - 1)
        return file.palette[np.clip(values - file.palette_first, 0, len(file.palette) - 1)]
    if bits != 8:
        samples = np.rint((samples.astype(np.float32)) * (255 / ((1 << bits) - 1))).clip(0, 255)
    samples = np.ascontiguousarray(samples, dtype=np.uint8)
    # JPEG 2000 undoes its own colour transforms (YBR_RCT, YBR_ICT) while it decodes.
    return _from_luminance(samples) if file.photometric in ("YBR_FULL", "YBR_FULL_422") else samples


def _from_luminance(samples: NDArray[Any]) -> NDArray[np.uint8]:
    height, width, _ = samples.shape
    stored = Image.frombytes(
        "YCbCr", (width, height), np.ascontiguousarray(samples, dtype=np.uint8).tobytes()
    )
    return np.array(stored.convert("RGB"))
