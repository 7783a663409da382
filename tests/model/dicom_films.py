"""DICOM files made for tests: every transfer syntax and photometric interpretation, with pixels that are known."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_file_meta_info
from pydicom.uid import UID

ROWS, COLUMNS = 48, 64
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (
    f"1.2.840.10008.1.2{ending}" for ending in ("", ".1", ".1.99", ".2")
)
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)
)
JPEG_LS, JPEG_LS_NEAR, JPEG_2000_LOSSLESS, JPEG_2000 = (
    f"1.2.840.10008.1.2.4.{number}" for number in (80, 81, 90, 91)
)


def grey(bits: int = 12, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.uint16]:
    """A smooth picture that uses all of its bits, and whose corners differ."""
    down, across = np.mgrid[0:rows, 0:columns]
    picture = (down / (rows - 1) * 0.6 + across / (columns - 1) * 0.4) * (2**bits - 1)
    return np.asarray(np.rint(picture), np.uint16)


def colour() -> NDArray[np.uint8]:
    """A picture (rows, columns, 3) whose channels differ."""
    one = grey(8).astype(np.uint8)
    return np.stack([one, one[::-1], 255 - one], axis=2)


def run_lengths(samples: NDArray[Any]) -> bytes:
    """One frame as RLE (PS3.5 annex G); each row packed by itself."""
    planes = samples[:, :, None] if samples.ndim == 2 else samples
    wide = planes.dtype.itemsize
    segments = []
    for channel in range(planes.shape[2]):
        octets = planes[:, :, channel].astype(f">u{wide}").view(np.uint8).reshape(*planes.shape[:2], wide)
        for octet in range(wide):
            segment = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in octets[:, :, octet])
            segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def coded(syntax: str, samples: NDArray[Any], bits: int, **options: Any) -> bytes:
    """One frame in the syntax's compression."""
    samples = np.ascontiguousarray(samples)
    encoders: dict[str, Callable[[], Any]] = {
        RLE: lambda: run_lengths(samples),
        JPEG_BASELINE: lambda: imagecodecs.jpeg8_encode(samples, level=95, **options),
        JPEG_EXTENDED: lambda: imagecodecs.jpeg8_encode(samples, level=95, bitspersample=bits, **options),
        JPEG_LOSSLESS: lambda: imagecodecs.jpeg8_encode(
            samples, lossless=True, predictor=6, bitspersample=bits, **options
        ),
        JPEG_LOSSLESS_FIRST: lambda: imagecodecs.jpeg8_encode(
            samples, lossless=True, predictor=1, bitspersample=bits, **options
        ),
        JPEG_LS: lambda: imagecodecs.jpegls_encode(samples),
        JPEG_LS_NEAR: lambda: imagecodecs.jpegls_encode(samples, level=2),
        JPEG_2000_LOSSLESS: lambda: imagecodecs.jpeg2k_encode(
            samples, codecformat="J2K", reversible=True, bitspersample=bits, **options
        ),
        JPEG_2000: lambda: imagecodecs.jpeg2k_encode(
            samples, codecformat="J2K", level=80, bitspersample=bits, **options
        ),
    }
    return bytes(encoders[syntax]())


def film(
    samples: NDArray[Any] | None = None,
    *,
    syntax: str = EXPLICIT,
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    frames: list[bytes] | None = None,
    pixel_data: bytes | None = None,
    count: int = 1,
    preamble: bool = True,
    meta: bool = True,
    leave_out: tuple[str, ...] = (),
    **elements: Any,
) -> bytes:
    """One DICOM file.

    ``samples``: stored samples of all frames; for a compressed syntax one frame. ``frames``: coded frames instead.
    ``pixel_data``: the bytes of Pixel Data as they are. ``elements``: set last, by keyword; ``leave_out``: taken out.
    """
    samples = grey(bits) if samples is None else samples
    rows, columns = samples.shape[-3:-1] if samples.shape[-1] == 3 else samples.shape[-2:]
    allocated = 8 if bits <= 8 else 16
    dataset = Dataset()
    dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    dataset.SOPInstanceUID = UID("1.2.3.4.5")
    dataset.Modality = "DX"
    dataset.PatientAge = "004Y"
    dataset.PatientSex = "F"
    dataset.ViewPosition = "PA"
    dataset.PixelSpacing = ["0.15", "0.15"]
    dataset.SamplesPerPixel = 3 if samples.shape[-1] == 3 else 1
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    if count > 1:
        dataset.NumberOfFrames = count
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(samples.dtype, np.signedinteger))
    for key, value in elements.items():
        setattr(dataset, key, value)
    big = syntax == BIG_ENDIAN
    if pixel_data is None:
        if syntax in (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN):
            letter = "i" if dataset.PixelRepresentation else "u"
            pixel_data = samples.astype(f"{'>' if big else '<'}{letter}{allocated // 8}").tobytes()
            pixel_data += b"\0" * (len(pixel_data) % 2)
        else:
            pixel_data = encapsulate(frames or [coded(syntax, samples, bits)])
    dataset.PixelData = pixel_data
    dataset["PixelData"].VR = "OB" if allocated == 8 or "2.4." in syntax or syntax == RLE else "OW"
    if "2.4." in syntax or syntax == RLE:
        dataset["PixelData"].is_undefined_length = True
    for keyword in leave_out:
        del dataset[keyword]
    stream = io.BytesIO()
    implicit = syntax == IMPLICIT
    body = io.BytesIO()
    dcmwrite(body, dataset, implicit_vr=implicit, little_endian=not big, force_encoding=True)
    packed = body.getvalue()
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = packer.compress(packed) + packer.flush()
    if preamble:
        stream.write(bytes(128) + b"DICM")
    if meta:
        header = FileMetaDataset()
        header.MediaStorageSOPClassUID = dataset.get("SOPClassUID")
        header.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID")
        header.TransferSyntaxUID = UID(syntax)
        header.ImplementationClassUID = UID("1.2.3.4")
        written = DicomBytesIO()
        write_file_meta_info(written, header)
        stream.write(written.getvalue())
    return stream.getvalue() + packed


def palette() -> dict[str, Any]:
    """A palette of 256 entries of 16 bits whose greys are those of the stored value."""
    entries = (np.arange(256, dtype=np.uint16) * 257).astype("<u2").tobytes()
    described = {
        f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")
    }
    return described | {f"{name}PaletteColorLookupTableData": entries for name in ("Red", "Green", "Blue")}


def look_up_table(values: NDArray[np.uint16], *, first: int = 0, bits: int = 12) -> Dataset:
    """The item of a modality or VOI look-up table sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 2**16, first % 2**16, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


def every_kind() -> dict[str, bytes]:
    """A small file of every kind that is read, by name."""
    deep, flat, rgb = grey(12), grey(8).astype(np.uint8), colour()
    kinds = {
        f"{bits} bits, {name}": film(grey(bits), bits=bits, syntax=syntax)
        for name, syntax in (
            ("implicit", IMPLICIT),
            ("explicit", EXPLICIT),
            ("deflated", DEFLATED),
            ("big endian", BIG_ENDIAN),
        )
        for bits in (8, 10, 12, 14, 16)
    }
    for name, syntax in (("extended", JPEG_EXTENDED), ("baseline", JPEG_BASELINE)):
        kinds[f"8 bits, JPEG {name}"] = film(flat, bits=8, syntax=syntax)
        kinds[f"RGB, JPEG {name}"] = film(rgb, bits=8, syntax=syntax, photometric="YBR_FULL_422")
    kinds["12 bits, JPEG extended"] = film(deep, syntax=JPEG_EXTENDED)
    for name, syntax in (
        ("RLE", RLE),
        ("JPEG lossless", JPEG_LOSSLESS),
        ("JPEG lossless, first order", JPEG_LOSSLESS_FIRST),
        ("JPEG-LS", JPEG_LS),
        ("JPEG-LS near-lossless", JPEG_LS_NEAR),
        ("JPEG 2000 lossless", JPEG_2000_LOSSLESS),
        ("JPEG 2000", JPEG_2000),
    ):
        for bits in (8, 12, 16):
            kinds[f"{bits} bits, {name}"] = film(flat if bits == 8 else grey(bits), bits=bits, syntax=syntax)
        kinds[f"RGB, {name}"] = film(rgb, bits=8, syntax=syntax, photometric="RGB")
    kinds["signed"] = film((deep.astype(np.int16) - 2048), RescaleSlope="2", RescaleIntercept="-100")
    kinds["monochrome 1"] = film(photometric="MONOCHROME1", PresentationLUTShape="INVERSE")
    kinds["window"] = film(WindowCenter=["2048", "100"], WindowWidth=["1000", "50"])
    kinds["sigmoid"] = film(WindowCenter="2048", WindowWidth="1000", VOILUTFunction="SIGMOID")
    kinds["look-up table"] = film(VOILUTSequence=[look_up_table(grey(12).ravel()[:2000] % 4096)])
    kinds["modality table"] = film(ModalityLUTSequence=[look_up_table(np.arange(4096, dtype=np.uint16))])
    kinds["padding"] = film(PixelPaddingValue=0, PixelPaddingRangeLimit=40)
    kinds["palette"] = film(flat, bits=8, photometric="PALETTE COLOR", **palette())
    kinds["planar"] = film(
        rgb, bits=8, photometric="RGB", PlanarConfiguration=1, pixel_data=rgb.transpose(2, 0, 1).tobytes()
    )
    kinds["YBR full"] = film(rgb, bits=8, photometric="YBR_FULL")
    kinds["frames"] = film(np.stack([deep, deep[::-1]]), count=2)
    kinds["coded frames"] = film(
        deep, syntax=JPEG_LS, count=2, frames=[coded(JPEG_LS, deep, 12), coded(JPEG_LS, deep[::-1], 12)]
    )
    kinds["no preamble"] = film(preamble=False)
    kinds["no header"] = film(preamble=False, meta=False)
    kinds["no header, implicit"] = film(preamble=False, meta=False, syntax=IMPLICIT)
    return kinds
