"""From the bytes of an uploaded file to one grey film in memory, and from a film to the network's input.

JPEG and PNG are read here; DICOM is read by `model.dicom`, which is imported when the first DICOM file comes.

The format is decided by the bytes, never by the file's name. Before anything is decoded the file is walked
segment by segment (JPEG) or chunk by chunk (PNG): that finds the declared size, the bit depth and the
orientation, and lets only the parts needed for the picture through to Pillow. So EXIF blocks, text,
thumbnails and colour profiles, where personal data hides, are never read into anything that is kept, and none
of Pillow's warnings about them can be raised. Nothing here touches a global setting of Pillow, and nothing is
written to disk: all functions are thread-safe.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

MAXIMUM_BYTES = 64 * 2**20
MAXIMUM_PIXELS = 50_000_000  # the largest flat-panel detectors give about 20 million
MINIMUM_SIDE = 32
MAXIMUM_ASPECT = 4.0
MAXIMUM_SCANS = (
    100  # of a progressive JPEG; encoders make about ten, and each is a pass over the whole picture
)

# A difference of channels that a grey film does not reach, even as a coarsely quantised colour JPEG.
_COLOUR_DIFFERENCE = 24
_SAMPLED_SIDE = 512  # colour is judged on about this many rows and columns; more would only cost time

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAVE_AS = "save it as DICOM, JPEG or PNG and choose that file"


VALUE_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
"""The two letters that stand after a tag in explicit DICOM files (PS3.5 6.2)."""


class ImageError(ValueError):
    """The bytes are no X-ray that can be read; the message is one sentence for the technician."""


@dataclass(frozen=True)
class Window:
    """Which values a film shows between black and white (DICOM PS3.3 C.11.2.1.2).

    Attributes:
        centre: value in the middle, in the units of the film after rescaling.
        width: how many values lie between black and white; 1 or more, "linear exact" and "sigmoid" more than 0.
        shape: "linear", "linear exact" or "sigmoid".

    Raises:
        ImageError: for a width or a centre that is none.
    """

    centre: float
    width: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        narrowest = 1.0 if self.shape == "linear" else 1e-6
        if not (math.isfinite(self.centre) and narrowest <= self.width < math.inf):
            raise ImageError("A window needs a centre and a width of at least 1: choose others.")

    def __str__(self) -> str:
        return f"centre {self.centre:g}, width {self.width:g}, {self.shape}"


@dataclass(frozen=True)
class DicomFacts:
    """What is told of a DICOM file: words from closed sets, and numbers. Nothing else of it is kept.

    Attributes:
        modality: "CR", "DX", "RG", "RF", "OT" or "SC"; empty where the file says none.
        view: "PA", "AP", "LL", ...; empty where the file says none that is known.
        age: the patient's age in whole years; None where the file says none.
        sex: "F", "M", "O"; empty where the file says none.
        spacing: millimetres from row to row and from column to column; None where the file says none.
        transfer_syntax: how the file stores its pixels, in words.
        burned_in: whether the file says that text is burned into the picture.
        frames: how many frames the file holds.
        frame: which of them this film is; the first is 1.
        window: the window this film is seen through; None for colour, look-up tables and the full range.
        by_hand: whether that window was set by hand.
        lowest: smallest value of the film before the window.
        highest: largest value of the film before the window; both 0 for colour, which takes no window.
    """

    modality: str = ""
    view: str = ""
    age: int | None = None
    sex: str = ""
    spacing: tuple[float, float] | None = None
    transfer_syntax: str = ""
    burned_in: bool = False
    frames: int = 1
    frame: int = 1
    window: Window | None = None
    by_hand: bool = False
    lowest: float = 0.0
    highest: float = 0.0

    def __str__(self) -> str:
        """The facts in one line for the screen."""
        facts = [f"modality {self.modality}"] if self.modality else []
        facts += [f"view {self.view}"] if self.view else []
        facts += [f"age {self.age} {'year' if self.age == 1 else 'years'}"] if self.age is not None else []
        facts += [f"sex {self.sex}"] if self.sex else []
        if self.spacing is not None:
            facts.append(f"{self.spacing[0]:g} × {self.spacing[1]:g} mm a pixel")
        return ", ".join([*facts, f"stored as {self.transfer_syntax}"])


@dataclass(frozen=True)
class Source:
    """Where the pixels of a film came from. Holds no personal data.

    Attributes:
        format: "JPEG", "PNG" or "DICOM".
        width: pixels a row **as stored in the file**, before any rotation.
        height: rows as stored in the file.
        bit_depth: bits a sample as stored in the file (1, 2, 4, 8 or 16; of a DICOM file 1 to 16).
        photometric: how the file stores its samples: "grey", "RGB", "YCbCr", "palette", "CMYK" or "YCCK"; of a
            DICOM file its photometric interpretation.
        done: what was done to the picture on its way, in plain words, in order.
        colour_share: share of pixels, 0 to 1, whose channels really differ (by more than 24 of 255 levels).
        dicom: what a DICOM file says of the film; None for the other formats.
    """

    format: str
    width: int
    height: int
    bit_depth: int
    photometric: str
    done: tuple[str, ...] = ()
    colour_share: float = 0.0
    dicom: DicomFacts | None = None


@dataclass(frozen=True)
class XRay:
    """One film: ``pixels`` is uint8 of shape (height, width), 0 black to 255 white, read-only."""

    pixels: NDArray[np.uint8]
    source: Source


@dataclass(frozen=True)
class _Container:
    """What the walk over a file found: its header, and the same picture with everything else left out."""

    format: str
    width: int
    height: int
    bit_depth: int
    photometric: str
    orientation: int
    frames: int
    has_colour_key: bool
    picture: bytes


def read_xray(data: bytes, *, frame: int = 1, window: Window | None = None) -> XRay:
    """Decode one JPEG, PNG or DICOM file into a grey film.

    Args:
        data: the whole file.
        frame: which frame of a DICOM file, the first is 1; the other formats have one.
        window: to see a grey DICOM film through, instead of the file's own; the other formats have none.

    Returns:
        The film, upright, 8 bits deep. Colour becomes grey by ITU-R BT.601 luma; 16-bit grey is scaled by the
        bits that are really used (the smallest of 8, 10, 12, 14 and 16 that holds the largest value); of an
        animation the first frame is taken; transparency is flattened onto black. All of this is told in
        ``source.done``.

    Raises:
        ImageError: for anything that cannot be read or cannot be a film: empty, too large in bytes or pixels,
        too small,
            too narrow, another format, truncated, damaged, blank. No other exception escapes.
    """
    if _refuse_other_files(data) == "DICOM":
        from model.dicom import read_dicom

        return read_dicom(data, frame=frame, window=window)
    if frame != 1:
        raise ImageError(f"The file has no frame {frame}: choose its first.")
    container = _walk_png(data) if data.startswith(_PNG_SIGNATURE) else _walk_jpeg(data)
    refuse_sizes(container.width, container.height)
    done: list[str] = []
    if container.frames > 1:
        done.append(f"first frame of {container.frames} taken")
    image = _decode(container)
    try:
        pixels, colour_share = _to_grey(image, container, done)
    except Exception as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(_damaged()) from error
    if container.format == "JPEG" and (pixels[-8:] == 128).all() and pixels.min() != pixels.max():
        # Where its data end early, libjpeg says nothing and fills what is missing with exactly this grey.
        raise ImageError(_truncated())
    if pixels.min() == pixels.max():
        raise ImageError("The picture is blank, all its pixels are equal: export the X-ray again.")
    if container.orientation != 1:
        pixels = _upright(pixels, container.orientation)
        done.append("turned upright as its EXIF orientation asks")
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    return XRay(
        pixels,
        Source(
            format=container.format,
            width=container.width,
            height=container.height,
            bit_depth=container.bit_depth,
            photometric=container.photometric,
            done=tuple(done),
            colour_share=colour_share,
        ),
    )


def prepare(pixels: NDArray[np.uint8], *, size: tuple[int, int] = (224, 224)) -> NDArray[np.uint8]:
    """Turn a film into what the network sees; training and serving both use this one function.

    Args:
        pixels: uint8 of shape (height, width).
        size: (height, width) of the result.

    Returns:
        uint8 of shape (height, width, 3): Pillow's antialiased bilinear, stretched to ``size`` whatever the
        aspect, three equal channels. A film that already has the size comes through unchanged. Bilinear
        because it comes nearest to the published 224-pixel set (mean absolute difference 2.2 grey levels;
        bicubic 2.5, nearest 4.0).

    Raises:
        ValueError: where ``pixels`` is not uint8 of two dimensions.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(
            f"Expected uint8 pixels of shape (height, width), got {pixels.dtype} of shape {pixels.shape}."
        )
    height, width = size
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    prepared: NDArray[np.uint8] = np.repeat(np.asarray(resized)[:, :, np.newaxis], 3, axis=2)
    return prepared


# --- what the file is -------------------------------------------------------------------------------


def _damaged() -> str:
    return "The file is damaged and cannot be decoded: export or copy the X-ray again."


def _truncated() -> str:
    return "The file is incomplete, its end is missing: copy or export the X-ray again."


def _refuse_other_files(data: bytes) -> str:
    """Which format the bytes are: "PNG", "JPEG" or "DICOM"."""
    if not data:
        raise ImageError("The file is empty: copy or export the X-ray again.")
    if len(data) > MAXIMUM_BYTES:
        raise ImageError(
            f"The file is {len(data) / 2**20:.0f} MB large and only {MAXIMUM_BYTES // 2**20} MB are read: "
            "export the X-ray alone, as DICOM, JPEG or PNG."
        )
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if len(data) < len(_PNG_SIGNATURE) and (_PNG_SIGNATURE.startswith(data) or data == b"\xff\xd8"):
        raise ImageError(_truncated())
    if is_dicom(data):
        return "DICOM"
    name = _other_format(data)
    if name:
        raise ImageError(f"The file is {name}, not a DICOM, JPEG or PNG image: {_SAVE_AS}.")
    raise ImageError(
        "The file is not an image, whatever its name says: choose an X-ray saved as DICOM, JPEG or PNG."
    )


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are a DICOM file (PS3.10 7.1), or a data set without preamble as older machines write it."""
    if data[128:132] == b"DICM":
        return True
    start = data[:8]
    if len(start) < 8 or start[:4] not in (
        *(b"\x02\x00" + bytes((element, 0)) for element in (0, 1, 2, 3, 0x10)),
        *(b"\x08\x00" + bytes((element, 0)) for element in (0, 1, 5, 8, 0x12, 0x13, 0x14, 0x16, 0x18)),
        *(b"\x00\x08\x00" + bytes((element,)) for element in (0, 1, 5, 8, 0x12, 0x13, 0x14, 0x16, 0x18)),
    ):
        return False
    return start[4:6] in VALUE_REPRESENTATIONS or struct.unpack("<I", start[4:])[0] < 1024


def _other_format(data: bytes) -> str | None:
    """Name a well-known format by its first bytes, with its article; None for anything else."""
    starts = {
        b"GIF87a": "a GIF",
        b"GIF89a": "a GIF",
        b"II*\x00": "a TIFF",
        b"MM\x00*": "a TIFF",
        b"II+\x00": "a TIFF",
        b"MM\x00+": "a TIFF",
        b"\x00\x00\x00\x0cjP  ": "a JPEG 2000",
        b"\xff\x4f\xff\x51": "a JPEG 2000",
        b"8BPS": "a Photoshop document",
        b"PK\x03\x04": "a ZIP archive or an office document",
        b"\xd0\xcf\x11\xe0": "an office document",
    }
    for start, name in starts.items():
        if data.startswith(start):
            return name
    if data[:2] == b"BM" and data[6:10] == b"\x00\x00\x00\x00":
        return "a BMP"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WEBP"
    if data[4:8] == b"ftyp":
        if data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "a HEIC"
        return "an AVIF" if data[8:12] in (b"avif", b"avis") else "a video"
    # The standard lets a PDF begin with up to 1024 bytes of something else.
    return "a PDF" if b"%PDF-" in data[:1024] else None


def refuse_sizes(width: int, height: int) -> None:
    """Judge the declared size before a single pixel is decoded: this is what stops decompression bombs."""
    if width * height > MAXIMUM_PIXELS:
        raise ImageError(
            f"It claims {width} x {height} pixels and at most {MAXIMUM_PIXELS // 10**6} million are read: "
            "export the X-ray in its ordinary size."
        )
    if min(width, height) < MINIMUM_SIDE:
        raise ImageError(
            f"The picture has only {width} x {height} pixels, too few for an X-ray "
            f"(at least {MINIMUM_SIDE} a side): choose the original, not a thumbnail."
        )
    if max(width, height) > MAXIMUM_ASPECT * min(width, height):
        raise ImageError(
            f"The picture of {width} x {height} pixels is too long and narrow for a chest X-ray: "
            "choose the whole film, not a strip of it."
        )


# --- the walk over the file -------------------------------------------------------------------------


def _walk_png(data: bytes) -> _Container:
    """Read a PNG's header and keep only IHDR, PLTE, IDAT, a palette's tRNS, and IEND (PNG specification,
    clause 11)."""
    header: tuple[int, ...] | None = None
    kept = [_PNG_SIGNATURE]
    frames, orientation = 1, 1
    has_colour_key = seen_pixels = False
    for kind, body, whole in _png_chunks(data):
        if header is None and (kind != b"IHDR" or len(body) != 13):
            raise ImageError(_damaged())
        if kind == b"IHDR":
            if header is not None:
                raise ImageError(_damaged())
            header = struct.unpack(">IIBBBBB", body)
            # The size is judged here already, so that a bomb is not even walked through.
            if header[0] == 0 or header[1] == 0:
                raise ImageError(_damaged())
            refuse_sizes(header[0], header[1])
        elif kind == b"acTL" and len(body) == 8:
            frames = max(1, struct.unpack(">I", body[:4])[0])
        elif kind == b"eXIf":
            orientation = _orientation(body)
        elif kind == b"tRNS" and header is not None and header[3] != 3:
            has_colour_key = True
            continue
        seen_pixels = seen_pixels or kind == b"IDAT"
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            if struct.unpack(">I", whole[-4:])[0] != zlib.crc32(whole[4:-4]):
                raise ImageError(_damaged())
            kept.append(whole)
    if header is None or not seen_pixels:
        raise ImageError(_truncated())
    _refuse_missing_rows(header, [whole[8:-4] for whole in kept if whole[4:8] == b"IDAT"])
    photometric = {0: "grey", 2: "RGB", 3: "palette", 4: "grey", 6: "RGB"}.get(header[3])
    if photometric is None:
        raise ImageError(_damaged())
    return _Container(
        format="PNG",
        width=header[0],
        height=header[1],
        bit_depth=header[2],
        photometric=photometric,
        orientation=orientation,
        frames=frames,
        has_colour_key=has_colour_key,
        picture=b"".join(kept),
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield (type, body, whole chunk) up to and including IEND; raise where the file ends before it."""
    place = len(_PNG_SIGNATURE)
    while True:
        if place + 12 > len(data):
            raise ImageError(_truncated())
        length = struct.unpack(">I", data[place : place + 4])[0]
        kind = data[place + 4 : place + 8]
        end = place + 12 + length
        if not kind.isalpha() or not kind.isascii():
            raise ImageError(_damaged())
        if end > len(data):
            raise ImageError(_truncated())
        yield kind, data[place + 8 : end - 4], data[place:end]
        if kind == b"IEND":
            return
        place = end


def _refuse_missing_rows(header: tuple[int, ...], bodies: list[bytes]) -> None:
    """Count the unpacked bytes: where a well-formed stream ends early, Pillow would leave the rest of a film
    black."""
    width, height, depth, colour = header[:4]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    # Adam7 interlacing is seven small pictures: (first column, first row, column step, row step).
    adam7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    missing = 0
    for column, row, column_step, row_step in adam7 if header[6] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // column_step), -(-(height - row) // row_step)
        missing += rows * (1 + -(-columns * depth * channels // 8)) if columns > 0 else 0
    unpacker = zlib.decompressobj()
    try:
        for body in bodies:
            packed = body
            while packed and missing > 0:
                missing -= len(unpacker.decompress(packed, 2**20))
                packed = unpacker.unconsumed_tail
        while missing > 0 and (rest := unpacker.decompress(unpacker.unconsumed_tail, 2**20)):
            missing -= len(rest)
    except zlib.error as error:
        raise ImageError(_damaged()) from error
    if missing > 0:
        raise ImageError(_truncated())


def _walk_jpeg(data: bytes) -> _Container:
    """Read a JPEG's header and leave out its comments and application segments (ITU-T T.81, annex B).

    Two application segments stay, because they say what the colour components mean: JFIF's APP0 and Adobe's
    APP14.
    """
    kept = [b"\xff\xd8"]
    orientation = 1
    frame: tuple[int, int, int] | None = None  # height, width, components
    component_names = b""
    adobe_transform: int | None = None
    place = 2
    while True:
        while place < len(data) and data[place] != 0xFF:  # junk between segments, which decoders skip too
            place += 1
        while place < len(data) and data[place] == 0xFF:  # any number of fill bytes may stand before a marker
            place += 1
        if place >= len(data):
            raise ImageError(_truncated())
        marker = data[place]
        place += 1
        if marker == 0x00 or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            continue
        if marker == 0xD9:  # end of image before any scan
            raise ImageError(_damaged())
        if place + 2 > len(data):
            raise ImageError(_truncated())
        length = struct.unpack(">H", data[place : place + 2])[0]
        if length < 2:
            raise ImageError(_damaged())
        body = data[place + 2 : place + length]
        if len(body) < length - 2:
            raise ImageError(_truncated())
        segment = bytes((0xFF, marker)) + data[place : place + length]
        if marker == 0xDA:  # start of scan: the picture itself follows
            kept.append(data[place - 2 :])
            break
        place += length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(body) < 6:
                raise ImageError(_damaged())
            if marker not in (0xC0, 0xC1, 0xC2) or body[0] != 8:
                kind = (
                    "12-bit"
                    if body[0] == 12 and marker in (0xC0, 0xC1, 0xC2)
                    else "lossless or arithmetic-coded"
                )
                raise ImageError(
                    f"The file is a {kind} JPEG, which is not read: save it as an ordinary JPEG or as PNG."
                )
            height, width = struct.unpack(">HH", body[1:5])
            frame = (height, width, body[5])
            component_names = body[6::3]
        if marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
            orientation = _orientation(body[6:])
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe_transform = body[11]
        is_application = 0xE0 <= marker <= 0xEF
        tells_colour = (marker == 0xE0 and body.startswith(b"JFIF\x00")) or (
            marker == 0xEE and body.startswith(b"Adobe")
        )
        if marker != 0xFE and (not is_application or tells_colour):
            kept.append(segment)
    if frame is None or 0 in frame:
        raise ImageError(_damaged())
    if data.find(b"\xff\xd9", place) < 0:
        raise ImageError(_truncated())
    if data.count(b"\xff\xda", place) > MAXIMUM_SCANS:
        raise ImageError("The JPEG is made of too many scans: save it as an ordinary JPEG or as PNG.")
    height, width, components = frame
    three = "RGB" if adobe_transform == 0 or component_names == b"RGB" else "YCbCr"
    four = "YCCK" if adobe_transform == 2 else "CMYK"
    photometric = {1: "grey", 3: three, 4: four}.get(components)
    if photometric is None:
        raise ImageError(_damaged())
    return _Container(
        format="JPEG",
        width=width,
        height=height,
        bit_depth=8,
        photometric=photometric,
        orientation=orientation,
        frames=1,
        has_colour_key=False,
        picture=b"".join(kept),
    )


def _orientation(exif: bytes) -> int:
    """The orientation tag (0x0112) of a TIFF-structured EXIF block, 1 (upright) where it is missing or
    damaged.

    Read by hand because Pillow's reader warns on standard error about each damaged tag and keeps all the
    others.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    first = struct.unpack(order + "I", exif[4:8])[0]
    if first + 2 > len(exif):
        return 1
    (count,) = struct.unpack(order + "H", exif[first : first + 2])
    for place in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, _ = struct.unpack(order + "HHI", exif[place : place + 8])
        if tag == 0x0112 and kind == 3:
            (value,) = struct.unpack(order + "H", exif[place + 8 : place + 10])
            return int(value) if 1 <= value <= 8 else 1
    return 1


# --- the picture ------------------------------------------------------------------------------------


def _decode(container: _Container) -> Image.Image:
    stream = io.BytesIO(container.picture)
    image: Image.Image
    try:
        # The two readers are called directly: Image.open would try others, and warns about sizes judged
        # above.
        if container.format == "JPEG":
            image = JpegImagePlugin.JpegImageFile(stream)
        else:
            image = PngImagePlugin.PngImageFile(stream)
        if image.size != (container.width, container.height):
            raise ImageError(_damaged())
        image.load()
    except ImageError:
        raise
    except Exception as error:
        # Pillow raises whatever its readers stumble over (OSError, SyntaxError, ValueError, struct.error,
        # ...).
        raise ImageError(_truncated() if "truncated" in str(error) else _damaged()) from error
    return image


def _to_grey(image: Image.Image, container: _Container, done: list[str]) -> tuple[NDArray[np.uint8], float]:
    """Return uint8 pixels (height, width) and the share of pixels that are coloured; add to ``done`` what was
    done."""
    if container.has_colour_key:
        done.append("transparent colour shown as it is stored")
    if container.bit_depth == 16 and container.format == "PNG":
        if image.mode == "I;16":
            return _scale_16_bits(np.asarray(image), done), 0.0
        _refuse_sparse_16_bits(image)
        done.append("the upper 8 of 16 bits taken")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "CMYK":
        image = image.convert("RGB")
        done.append("printing colours (CMYK) turned into light")
    if image.mode in ("LA", "RGBA"):
        image = _flatten(image, done)
    if image.mode == "L":
        return np.array(image), 0.0
    share = colour_share(image)
    done.append("colour turned into grey" if share > 0 else "three equal channels made one")
    return np.array(image.convert("L")), share


def _scale_16_bits(values: NDArray[np.uint16], done: list[str]) -> NDArray[np.uint8]:
    largest = int(values.max())
    bits = next(bits for bits in (8, 10, 12, 14, 16) if largest < 2**bits)
    full = 2**bits - 1
    done.append(f"16-bit values scaled by the {bits} bits really used")
    return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)


def _refuse_sparse_16_bits(image: Image.Image) -> None:
    """Pillow keeps the upper byte of 16-bit colour; a film with 14 bits or fewer in use would come out dark
    and coarse."""
    extrema = image.getextrema()
    channels = extrema[:-1] if image.mode in ("LA", "RGBA") else extrema
    if max(int(channel[1]) for channel in channels if isinstance(channel, tuple)) < 64:
        raise ImageError(
            "The file is a 16-bit PNG with colour or transparency whose upper bits are unused, which is not "
            "read: save it as 8-bit PNG or as 16-bit grey."
        )


def _flatten(image: Image.Image, done: list[str]) -> Image.Image:
    alpha = image.getchannel("A")
    opaque = image.convert("L" if image.mode == "LA" else "RGB")
    if alpha.getextrema()[0] == 255:
        done.append("unused transparency dropped")
        return opaque
    done.append("transparency flattened onto black")
    flat = Image.new(opaque.mode, opaque.size)
    flat.paste(opaque, mask=alpha)
    return flat


def colour_share(image: Image.Image) -> float:
    step = max(1, min(image.size) // _SAMPLED_SIDE)
    channels = np.asarray(image)[::step, ::step]
    difference = channels.max(axis=2) - channels.min(axis=2)
    return float(np.mean(difference > _COLOUR_DIFFERENCE))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF orientation (Exif 2.32, tag 0x0112), which names where the stored row 0 and column 0
    lie."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.T
        case 6:
            return pixels.T[:, ::-1]
        case 7:
            return pixels[::-1, ::-1].T
        case 8:
            return pixels.T[::-1]
    return pixels
