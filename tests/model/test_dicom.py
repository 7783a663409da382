"""DICOM films against known pixels, what is refused, and that nothing of the patient is kept or told."""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import traceback
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom._dicom_dict import DicomDictionary
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array

from model import dicom
from model.dicom import open_dicom
from model.films import ImageError, Window, XRay, read_xray
from tests.fuzz_films import inputs
from tests.model import dicom_films as made
from tests.model.dicom_films import film, grey

LOSSLESS = (
    made.IMPLICIT,
    made.EXPLICIT,
    made.DEFLATED,
    made.BIG_ENDIAN,
    made.RLE,
    made.JPEG_LOSSLESS,
    made.JPEG_LOSSLESS_FIRST,
    made.JPEG_LS,
    made.JPEG_2000_LOSSLESS,
)
LOSSY = (made.JPEG_EXTENDED, made.JPEG_LS_NEAR, made.JPEG_2000)


def stored(data: bytes, frame: int = 1) -> NDArray[Any]:
    return open_dicom(data).decode(frame).stored


def scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Grey 0 to 255 of values between two ends, as a linear window has it."""
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255)


def facts(xray: XRay) -> Any:
    assert xray.source.dicom is not None
    return xray.source.dicom


def packaged(name: str) -> Path:
    """A file that pydicom carries in its package; nothing is downloaded."""
    return Path(str(get_testdata_file(name, download=False)))


def as_x_ray(name: str) -> tuple[bytes, Dataset]:
    """A packaged file that says it is an X-ray, and its data set."""
    dataset = pydicom.dcmread(packaged(name))
    dataset.Modality, dataset.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue(), dataset


# --- every transfer syntax and depth, against known pixels ------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_comes_back_bit_for_bit(syntax: str, bits: int) -> None:
    samples = grey(bits).astype(np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(stored(film(samples, bits=bits, syntax=syntax)), samples)


@pytest.mark.parametrize(("syntax", "bits"), [(made.JPEG_BASELINE, 8), *((one, 12) for one in LOSSY)])
def test_lossy_comes_back_nearly(syntax: str, bits: int) -> None:
    samples = grey(bits).astype(np.uint8 if bits == 8 else np.uint16)
    found = stored(film(samples, bits=bits, syntax=syntax))
    assert np.abs(found.astype(int) - samples).max() <= 2**bits * 0.015


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_signed_values_keep_their_sign(syntax: str) -> None:
    samples = grey(12).astype(np.int16) - 2048
    pixels = (
        samples
        if syntax in LOSSLESS[:4] or syntax == made.JPEG_2000_LOSSLESS
        else samples.view(np.uint16) & 0xFFF
    )
    data = film(pixels, syntax=syntax, PixelRepresentation=1, WindowCenter="-999.5", WindowWidth="1001")
    assert np.array_equal(read_xray(data).pixels, scaled(samples, -1500, -500))


def test_bits_above_the_stored_ones_are_no_part_of_the_picture() -> None:
    samples = grey(12)
    assert np.array_equal(stored(film(samples | 0xF000)), samples)
    shifted = film(samples << 4, HighBit=15)
    assert np.array_equal(stored(shifted), samples)


def test_big_endian_bytes_in_words() -> None:
    samples = grey(8).astype(np.uint8)
    swapped = samples.ravel().view(">u2").astype("<u2").tobytes()
    data = film(samples, bits=8, syntax=made.BIG_ENDIAN, pixel_data=swapped)
    assert np.array_equal(stored(data.replace(b"OB\0\0", b"OW\0\0")), samples)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_one_packaged_picture_in_every_packing(name: str) -> None:
    known = pydicom.dcmread(packaged("MR_small.dcm")).pixel_array
    assert np.array_equal(stored(as_x_ray(name)[0]).view(np.int16), known)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("SC_rgb_dcmtk_+eb+cr.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 4),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 4),
        ("SC_rgb_gdcm_KY.dcm", 12),
        ("SC_rgb_jls_lossy_line.dcm", 3),
        ("SC_rgb_jls_lossy_sample.dcm", 3),
        ("SC_rgb_jpeg_dcmtk.dcm", 4),
        ("SC_rgb_jpeg_gdcm.dcm", 0),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", 4),
        ("SC_rgb_rle.dcm", 0),
        ("SC_rgb_rle_2frame.dcm", 0),
        ("SC_rgb_rle_16bit.dcm", 0),
        ("SC_rgb_rle_16bit_2frame.dcm", 0),
        ("SC_ybr_full_422_uncompressed.dcm", 4),
    ],
)
def test_packaged_colour_bars(name: str, error: int) -> None:
    bars = [255, 0, 0, 255, 128, 128, 0, 255, 0, 128, 255, 128, 0, 0, 255, 128, 128, 255]
    known = np.array([*bars, 0, 0, 0, 64, 64, 64, 192, 192, 192, 255, 255, 255]).reshape(10, 3)
    found = stored(packaged(name).read_bytes())[5::10, 50].astype(int)
    assert np.abs(found - known).max() <= error


@pytest.mark.parametrize(
    "name",
    [
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "JPEG2000.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_jpeg_dcmd.dcm",
        "examples_jpeg2k.dcm",
        "examples_overlay.dcm",
        "examples_ybr_color.dcm",
        "ExplVR_BigEnd.dcm",
        "image_dfl.dcm",
    ],
)
def test_packaged_pictures_as_pydicom_decodes_them(name: str) -> None:
    data, dataset = as_x_ray(name)
    frame = open_dicom(data).decode()
    found = frame.stored.astype(int)
    if frame.file.signed:
        found = np.where(found >= 2 ** (frame.bits - 1), found - 2**frame.bits, found)
    known = pixel_array(dataset, index=0, raw=found.ndim == 2)
    assert np.abs(found - known).max() <= (1 if "YBR" in frame.file.photometric else 0)


def test_packaged_12_bit_jpeg() -> None:
    found = stored(as_x_ray("JPGExtended.dcm")[0])
    assert found.shape == (1024, 256)
    assert (found[420, 140], found[230, 120]) == (244, 95)  # as other decoders have it


def test_packaged_jpeg_2000_in_its_file_format() -> None:
    """Coloured letters on grey; the frame still has the boxes of a JP2 file around it."""
    found = stored(as_x_ray("GDCMJ2K_TextGBR.dcm")[0]).reshape(-1, 3)
    colours, counts = np.unique(found, axis=0, return_counts=True)
    common = {tuple(map(int, colour)) for colour in colours[np.argsort(counts)[-4:]]}
    assert common == {(128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255)}


# --- photometric interpretation ---------------------------------------------------------------------


def test_monochrome_1_is_turned_over_once() -> None:
    samples = grey(8).astype(np.uint8)
    shapes: list[dict[str, Any]] = [
        {},
        {"PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "IDENTITY"},
    ]
    for shape in shapes:
        xray = read_xray(film(samples, bits=8, photometric="MONOCHROME1", **shape))
        assert np.array_equal(xray.pixels, 255 - samples)
        assert "inverted, as the file asks" in xray.source.done
        assert xray.source.photometric == "MONOCHROME1"


def test_presentation_shape_inverse_of_monochrome_2() -> None:
    samples = grey(8).astype(np.uint8)
    inverted = read_xray(film(samples, bits=8, PresentationLUTShape="INVERSE"))
    assert np.array_equal(inverted.pixels, 255 - samples)
    assert np.array_equal(read_xray(film(samples, bits=8)).pixels, samples)


LUMA = np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize(
    ("syntax", "photometric", "error"),
    [
        (made.EXPLICIT, "RGB", 1),
        (made.BIG_ENDIAN, "RGB", 1),
        (made.RLE, "RGB", 1),
        (made.JPEG_LOSSLESS, "RGB", 1),
        (made.JPEG_LS, "RGB", 1),
        (made.JPEG_2000_LOSSLESS, "YBR_RCT", 1),
        (made.JPEG_2000, "YBR_ICT", 6),
        (made.JPEG_BASELINE, "YBR_FULL_422", 6),
        (made.JPEG_BASELINE, "YBR_FULL", 6),
    ],
)
def test_colour_becomes_luma(syntax: str, photometric: str, error: int) -> None:
    xray = read_xray(film(made.colour(), bits=8, syntax=syntax, photometric=photometric))
    assert np.abs(xray.pixels - made.colour() @ LUMA).max() <= error
    assert xray.source.colour_share > 0.5
    assert "colour turned into grey" in xray.source.done


def test_ybr_stored_as_it_is() -> None:
    samples = made.colour()
    xray = read_xray(film(samples, bits=8, photometric="YBR_FULL"))
    red, green, blue = stored(film(samples, bits=8, photometric="YBR_FULL"))[10, 20].astype(int)
    light, blueness, redness = samples[10, 20].astype(float)  # PS3.3 C.7.6.3.1.2
    assert red == pytest.approx(np.clip(light + 1.402 * (redness - 128), 0, 255), abs=1)
    assert blue == pytest.approx(np.clip(light + 1.772 * (blueness - 128), 0, 255), abs=1)
    assert xray.pixels[10, 20] == pytest.approx(np.dot(LUMA, (red, green, blue)), abs=1)


def test_planes_and_palette() -> None:
    rgb = made.colour()
    planar = film(
        rgb, bits=8, photometric="RGB", PlanarConfiguration=1, pixel_data=rgb.transpose(2, 0, 1).tobytes()
    )
    assert np.array_equal(stored(planar), rgb)
    flat = grey(8).astype(np.uint8)
    painted = read_xray(film(flat, bits=8, photometric="PALETTE COLOR", **made.palette()))
    assert np.array_equal(painted.pixels, flat)
    assert painted.source.colour_share == 0


# --- from stored values to grey ---------------------------------------------------------------------


def test_without_a_window_the_whole_range_is_shown() -> None:
    samples = grey(12) // 2 + 500
    xray = read_xray(film(samples))
    assert np.array_equal(xray.pixels, scaled(samples, 500, samples.max()))
    assert (facts(xray).lowest, facts(xray).highest) == (500, samples.max())


def test_8_bits_without_a_window_come_through_unchanged() -> None:
    samples = (grey(8) // 2 + 40).astype(np.uint8)
    xray = read_xray(film(samples, bits=8))
    assert np.array_equal(xray.pixels, samples)
    assert not xray.pixels.flags.writeable
    assert xray.source.done == ()


@pytest.mark.parametrize(
    ("shape", "function"),
    [
        ("LINEAR", lambda x: np.clip((x - 999.5) / 599 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda x: np.clip((x - 1000) / 600 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 1000) / 600))),
        (None, lambda x: np.clip((x - 999.5) / 599 + 0.5, 0, 1)),
    ],
)
def test_windows(shape: str | None, function: Any) -> None:
    given_shape: dict[str, Any] = {} if shape is None else {"VOILUTFunction": shape}
    xray = read_xray(film(WindowCenter=["1000", "7"], WindowWidth=["600", "9"], **given_shape))
    assert np.array_equal(xray.pixels, np.rint(function(grey(12).astype(float)) * 255))
    assert facts(xray).window.centre == 1000
    assert "windowed: centre 1000, width 600" in xray.source.done[0]


def test_a_window_of_width_one_parts_black_from_white() -> None:
    xray = read_xray(film(WindowCenter="1000", WindowWidth="1"))
    assert np.array_equal(xray.pixels, np.where(grey(12) > 999.5, 255, 0))


@pytest.mark.parametrize(("centre", "width"), [("1000", "0"), ("1000", "-5"), ("", "600"), ("1000", "")])
def test_a_window_that_is_none_is_passed_over(centre: str, width: str) -> None:
    assert np.array_equal(
        read_xray(film(WindowCenter=centre, WindowWidth=width)).pixels, read_xray(film()).pixels
    )


def test_a_window_set_by_hand_takes_the_place_of_the_files() -> None:
    data = film(WindowCenter="1000", WindowWidth="600")
    by_hand = read_xray(data, window=Window(2000, 1000))
    assert np.array_equal(by_hand.pixels, read_xray(film(WindowCenter="2000", WindowWidth="1000")).pixels)
    assert facts(by_hand).by_hand
    assert by_hand.source.done == ("windowed by hand: centre 2000, width 1000, linear",)
    assert not facts(read_xray(data)).by_hand


@pytest.mark.parametrize("width", [0.0, float("nan"), float("inf"), -3.0])
def test_a_window_by_hand_must_be_one(width: float) -> None:
    with pytest.raises(ImageError, match="window needs"):
        Window(100.0, width)


def test_rescaling_comes_before_the_window() -> None:
    samples = grey(12)
    data = film(samples, RescaleSlope="0.5", RescaleIntercept="-1000", WindowCenter="0.5", WindowWidth="1001")
    xray = read_xray(data)
    assert np.abs(xray.pixels - scaled(samples * 0.5 - 1000, -500, 500)).max() <= 1
    assert xray.source.done[0] == "rescaled: value × 0.5 - 1000"


def test_a_modality_table_comes_before_the_window() -> None:
    samples = grey(12)
    table = (4095 - np.arange(4096)).astype(np.uint16)
    data = film(
        samples, ModalityLUTSequence=[made.look_up_table(table)], WindowCenter="1000.5", WindowWidth="1001"
    )
    assert np.abs(read_xray(data).pixels - scaled(4095 - samples.astype(int), 500, 1500)).max() <= 1


def test_a_voi_table_ends_where_its_entries_end() -> None:
    samples = grey(12)
    table = np.linspace(0, 1023, 1000).astype(np.uint16)
    item = made.look_up_table(table, first=1000, bits=10)
    xray = read_xray(film(samples, VOILUTSequence=[item]))
    places = np.clip(samples.astype(int) - 1000, 0, 999)
    assert np.array_equal(xray.pixels, np.rint(table[places] / 1023 * 255))
    assert "VOI look-up table applied" in xray.source.done


def test_a_table_of_bytes_and_a_signed_first_value() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 2**16 - 128, 8])
    item.add_new("LUTData", "OW", np.arange(256, dtype=np.uint8).tobytes())
    samples = (grey(8).astype(np.int16) - 128).astype(np.int8)
    assert np.array_equal(read_xray(film(samples, bits=8, VOILUTSequence=[item])).pixels, grey(8))


def test_padding_is_black_and_takes_no_part() -> None:
    samples = grey(12) // 4 + 1000
    samples[:5] = 4095
    xray = read_xray(
        film(samples, photometric="MONOCHROME1", PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
    )
    assert not xray.pixels[:5].any()
    assert xray.pixels[5:].max() == 255
    assert facts(xray).highest < 4000
    assert "padding shown black" in xray.source.done


# --- frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [made.EXPLICIT, made.BIG_ENDIAN, made.RLE, made.JPEG_LS, made.JPEG_2000_LOSSLESS]
)
def test_any_frame_can_be_chosen(syntax: str) -> None:
    each = [grey(12), grey(12)[::-1], grey(12) // 2]
    native = syntax in (made.EXPLICIT, made.BIG_ENDIAN)
    data = (
        film(np.stack(each), syntax=syntax, count=3)
        if native
        else film(each[0], syntax=syntax, count=3, frames=[made.coded(syntax, one, 12) for one in each])
    )
    for number, samples in enumerate(each, 1):
        assert np.array_equal(stored(data, number), samples)
        xray = read_xray(data, frame=number)
        assert (facts(xray).frame, facts(xray).frames) == (number, 3)
        assert f"frame {number} of 3 taken" in xray.source.done
    assert np.array_equal(read_xray(data).pixels, read_xray(data, frame=1).pixels)
    for number in (0, 4, -1):
        with pytest.raises(ImageError, match="has 3 frames"):
            read_xray(data, frame=number)


def test_a_frame_in_several_fragments() -> None:
    coded = made.coded(made.JPEG_LS, grey(12), 12)
    data = film(syntax=made.JPEG_LS, pixel_data=encapsulate([coded], fragments_per_frame=3))
    assert np.array_equal(stored(data), grey(12))


def test_other_formats_have_one_frame() -> None:
    from model.samples import sample_files

    with pytest.raises(ImageError, match="no frame 2"):
        read_xray(sample_files()[0].read_bytes(), frame=2)


# --- what is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("syntax", [made.EXPLICIT, made.IMPLICIT, made.BIG_ENDIAN])
def test_with_and_without_preamble_and_header(preamble: bool, meta: bool, syntax: str) -> None:
    data = film(preamble=preamble, meta=meta, syntax=syntax)
    assert np.array_equal(read_xray(data).pixels, read_xray(film()).pixels)


def test_the_facts_that_are_told() -> None:
    source = read_xray(film(ImagerPixelSpacing=["0.2", "0.2"], BurnedInAnnotation="YES")).source
    assert (source.format, source.width, source.height, source.bit_depth) == ("DICOM", 64, 48, 12)
    told = source.dicom
    assert told is not None
    assert (told.modality, told.view, told.age, told.sex) == ("DX", "PA", 4, "F")
    assert (told.spacing, told.burned_in) == ((0.15, 0.15), True)
    assert str(told) == (
        "modality DX, view PA, age 4 years, sex F, 0.15 × 0.15 mm a pixel, stored as explicit little endian"
    )


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "004Y"}, 4),
        ({"PatientAge": "023M"}, 1),
        ({"PatientAge": "051W"}, 0),
        ({"PatientAge": "800D"}, 2),
        ({"PatientAge": "4"}, None),
        ({"PatientAge": "", "PatientBirthDate": "20190302", "StudyDate": "20240301"}, 4),
        ({"PatientAge": "", "PatientBirthDate": "20190302", "StudyDate": "20240302"}, 5),
        ({"PatientAge": "", "PatientBirthDate": "20240302", "StudyDate": "20190302"}, None),
        ({"PatientAge": "", "PatientBirthDate": "20190302"}, None),
        ({"PatientAge": "", "PatientBirthDate": "spring", "StudyDate": "20190302"}, None),
    ],
)
def test_age_in_whole_years(elements: dict[str, Any], age: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = film(**elements)
    assert facts(read_xray(data)).age == age


SECRET = "SECRETIVE"  # fits every text representation


def stuffed(**elements: Any) -> bytes:
    """A film with a marked value in every element of the dictionary that holds text, and in private ones."""
    dataset: dict[str, Any] = {}
    texts = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
    kept = {
        "Modality",
        "PhotometricInterpretation",
        "SpecificCharacterSet",
        "VOILUTFunction",
        "PresentationLUTShape",
    }
    for tag, (representation, _, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 < 8 or not keyword or retired or keyword in kept or tag >> 16 >= 0x7FE0:
            continue
        if representation in texts:
            dataset[keyword] = SECRET
        elif representation in ("DA", "DT"):
            dataset[keyword] = "19470103"
        elif representation == "UI" and keyword != "SOPClassUID":
            dataset[keyword] = "1.2.19470103"
    # Also inside sequences, of defined and of undefined length, and in the words that are told.
    item = Dataset()
    item.PatientName = SECRET
    dataset["OtherPatientIDsSequence"] = [item]
    dataset["ViewPosition"] = SECRET
    dataset["PatientSex"] = SECRET
    dataset["BurnedInAnnotation"] = SECRET
    dataset["PatientAge"] = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = film(leave_out=(), **(dataset | elements))
    assert data.count(SECRET.encode()) > 500
    return data


def with_private(data: bytes) -> bytes:
    """Private elements of groups 9 and 7FE1 around the data set."""
    start = data.index(b"\x08\x00\x16\x00")
    private = b"".join(
        struct.pack("<HH2sH", 0x0009, element, b"LO", 10) + SECRET.encode() + b" "
        for element in (0x10, 0x1001)
    )
    place = data.index(struct.pack("<HH", 0x0010, 0x0010))
    return data[:start] + data[start:place] + private + data[place:]


def everything(value: object) -> str:
    """All that an object holds, as text."""
    return repr(value) + repr(getattr(value, "__dict__", ""))


def test_nothing_personal_is_kept_told_or_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from model.inference import Evidence
    from utils.readings import Entry, read_films, readings_csv

    class Reader:
        def read(self, images: NDArray[np.uint8]) -> Evidence:
            return Evidence(np.full(len(images), 0.5), None, np.zeros((len(images), 4), np.float32))

    caplog.set_level(logging.DEBUG)
    data = with_private(stuffed())
    variants = {
        "good": data,
        "cut": data[: len(data) // 2],
        "another modality": with_private(stuffed(Modality=SECRET)),
        "another class": with_private(stuffed(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")),
        "colour": with_private(stuffed(PhotometricInterpretation=SECRET)),
        "window": with_private(stuffed(VOILUTFunction=SECRET, WindowCenter="100", WindowWidth="50")),
        "characters": with_private(stuffed(SpecificCharacterSet=SECRET)),
        "syntax": data.replace(b"1.2.840.10008.1.2.1\0", SECRET.encode() + b"SECRETIVE\0\0"),
        "mixed": data.replace(b"US\x02\x00", b"LO\x02\x00"),
    }
    found: list[str] = []
    for variant in variants.values():
        try:
            xray = read_xray(variant)
            found += [everything(xray), everything(xray.source), everything(xray.source.dicom)]
        except ImageError as refusal:
            found.append("".join(traceback.format_exception(refusal)))  # as a log would have it
    readings = read_films(list(variants.values()), reader=Reader(), version="v")
    entries = [Entry(name=name, key=reading.key) for name, reading in zip(variants, readings, strict=True)]
    found.append(readings_csv(entries, {one.key: one for one in readings}, threshold=0.5).decode())
    for reading in readings:
        found.append(everything(reading))
        if reading.dicom is not None:
            found.append(repr({**vars(reading.dicom), "pixel_data": ""}))
            assert SECRET.encode() not in reading.dicom.pixel_data
        assert SECRET.encode() not in reading.picture
    found += [record.getMessage() for record in caplog.records]
    found += list(capfd.readouterr())
    assert not readings[0].failed
    for text in found:
        assert SECRET not in text.upper()
        assert "1947" not in text


def test_an_age_from_dates_leaves_no_date() -> None:
    told = facts(read_xray(with_private(stuffed(StudyDate="19520104"))))
    assert told.age == 5
    assert "19520104" not in repr(told)


def test_the_reader_is_silent_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Outside of pytest, with Python's own filters, where a warning would reach the server's log."""
    odd = tmp_path / "odd"
    odd.write_bytes(
        stuffed(SpecificCharacterSet=SECRET, NumberOfFrames="1", WindowWidth="600", WindowCenter="700")
    )
    script = (
        "import sys; from pathlib import Path; from model.films import read_xray;"
        "read_xray(Path(sys.argv[1]).read_bytes())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", script, str(odd)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_formats_load_no_dicom_reader() -> None:
    script = (
        "import sys; from model.samples import sample_files; from model.films import read_xray; import utils.readings;"
        "read_xray(sample_files()[0].read_bytes()); print('pydicom' in sys.modules, 'imagecodecs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- what is refused --------------------------------------------------------------------------------


def inflating(megabytes: int) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = film(syntax=made.DEFLATED)
    header = start[: start.index(made.DEFLATED.encode()) + 40]
    header = start[: 132 + 12 + struct.unpack("<I", start[140:144])[0]]
    return header + b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def jpeg_of(syntax: str, height: int, width: int) -> bytes:
    """A film of 48 x 64 whose coded frame claims another size."""
    coded = bytearray(made.coded(syntax, grey(8).astype(np.uint8), 8))
    marker = {made.JPEG_BASELINE: b"\xff\xc0", made.JPEG_LOSSLESS: b"\xff\xc3", made.JPEG_LS: b"\xff\xf7"}[
        syntax
    ]
    place = coded.index(marker) + 5
    coded[place : place + 4] = struct.pack(">HH", height, width)
    return film(grey(8).astype(np.uint8), bits=8, syntax=syntax, frames=[bytes(coded)])


def jpeg_2000_of(**places: int) -> bytes:
    """A film whose SIZ segment has other numbers: width, height, tile width, tile height."""
    coded = bytearray(made.coded(made.JPEG_2000_LOSSLESS, grey(12), 12))
    for name, value in places.items():
        place = {"width": 8, "height": 12, "tile_width": 24, "tile_height": 28}[name]
        coded[place : place + 4] = struct.pack(">I", value)
    return film(syntax=made.JPEG_2000_LOSSLESS, frames=[bytes(coded)])


def coded_film(syntax: str, change: Any, bits: int = 8) -> bytes:
    samples = grey(bits).astype(np.uint8 if bits == 8 else np.uint16)
    return film(samples, bits=bits, syntax=syntax, frames=[change(made.coded(syntax, samples, bits))])


REFUSED: dict[str, tuple[Any, str]] = {
    "no pixels": (lambda: film(leave_out=("PixelData",)), "holds no picture"),
    "empty pixels": (lambda: film(pixel_data=b""), "incomplete"),
    "too few pixels": (lambda: film(pixel_data=bytes(48 * 64)), "incomplete"),
    "too many pixels": (lambda: film(pixel_data=bytes(48 * 64 * 3)), "more pixel data"),
    "fewer frames than claimed": (lambda: film(count=3, pixel_data=grey(12).tobytes()), "incomplete"),
    "fewer coded frames than claimed": (
        lambda: film(syntax=made.JPEG_LS, count=3, frames=[b"\xff\xd8" * 20]),
        "damaged|incomplete",
    ),
    "cut in the pixels": (lambda: film()[:-500], "incomplete"),
    "cut in the header": (lambda: film()[:400], "no picture|damaged"),
    "cut after the preamble": (lambda: film()[:132], "holds no picture"),
    "deflated, cut": (lambda: film(syntax=made.DEFLATED)[:-40], "incomplete"),
    "deflated bomb": (lambda: inflating(200), "unpacks to more than"),
    "no rows": (lambda: film(leave_out=("Rows",)), "damaged"),
    "rows of none": (lambda: film(Rows=0), "damaged"),
    "bomb by its rows": (lambda: film(Rows=60000, Columns=60000), "million are read"),
    "colour bomb": (
        lambda: film(made.colour(), bits=8, photometric="RGB", Rows=5000, Columns=4000),
        "too many colour pixels",
    ),
    "bomb by its frames": (lambda: film(NumberOfFrames="2000000000"), "at most 2000 are read"),
    "frames of none": (lambda: film(NumberOfFrames="0"), "0 frames"),
    "too small": (lambda: film(grey(12, 20, 20)), "too few for an X-ray"),
    "strip": (lambda: film(grey(12, 32, 200)), "too long and narrow"),
    "1 bit": (lambda: film(BitsAllocated=1, BitsStored=1, HighBit=0), "only 8 or 16"),
    "32 bits": (lambda: film(BitsAllocated=32, BitsStored=32, HighBit=31), "only 8 or 16"),
    "more bits stored than there are": (lambda: film(BitsStored=17, HighBit=16), "damaged"),
    "two samples": (lambda: film(SamplesPerPixel=2), "damaged"),
    "unknown colour": (lambda: film(PhotometricInterpretation="HSV"), "stores colour"),
    "segmented palette": (
        lambda: film(
            grey(8).astype(np.uint8),
            bits=8,
            photometric="PALETTE COLOR",
            SegmentedRedPaletteColorLookupTableData=b"\0\0",
        ),
        "segmented colour palette",
    ),
    "palette missing": (
        lambda: film(grey(8).astype(np.uint8), bits=8, photometric="PALETTE COLOR"),
        "damaged",
    ),
    "table without entries": (
        lambda: film(VOILUTSequence=[made.look_up_table(np.arange(10, dtype=np.uint16)[:0])]),
        "damaged",
    ),
    "unknown transfer syntax": (
        lambda: film().replace(b"1.2.840.10008.1.2.1\0", b"1.2.826.0.1.3680.9.1"),
        "an unknown transfer syntax",
    ),
    "video": (lambda: film(syntax="1.2.840.10008.1.2.4.102", frames=[b"video"]), "film sequence"),
    "a syntax that is not read": (
        lambda: film(syntax="1.2.840.10008.1.2.4.94", frames=[b"reference"]),
        "compression",
    ),
    "CT": (lambda: film(Modality="CT"), "is a CT"),
    "CT by its class": (lambda: film(Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "is a CT"),
    "MR": (lambda: packaged("MR_small.dcm").read_bytes(), "is an MR image"),
    "ultrasound": (lambda: film(Modality="US"), "is an ultrasound image"),
    "angiography": (lambda: film(Modality="XA"), "is an angiography"),
    "mammography": (lambda: film(Modality="MG"), "is a mammography"),
    "another modality": (lambda: film(Modality="ZZ"), "of another kind"),
    "report": (lambda: packaged("test-SR.dcm").read_bytes(), "is a report"),
    "report by its class": (
        lambda: film(leave_out=("Modality",), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22"),
        "is a structured report",
    ),
    "presentation state": (
        lambda: film(leave_out=("Modality",), SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1"),
        "presentation state",
    ),
    "contents of a disc": (
        lambda: film(leave_out=("Modality",), SOPClassUID="1.2.840.10008.1.3.10"),
        "DICOMDIR",
    ),
    "plan": (lambda: packaged("rtplan.dcm").read_bytes(), "radiotherapy plan"),
    "blank": (lambda: film(np.full((48, 64), 7, np.uint16)), "blank"),
    "blank through its window": (lambda: film(WindowCenter="9000", WindowWidth="2"), "blank"),
    "all padding": (
        lambda: film(np.full((48, 64), 7, np.uint16), PixelPaddingValue=7),
        "nothing but padding",
    ),
    "not encapsulated": (
        lambda: film(syntax=made.JPEG_LS).replace(b"\xfe\xff\x00\xe0", bytes(4)),
        "damaged|incomplete",
    ),
    "not a JPEG": (lambda: film(syntax=made.JPEG_EXTENDED, frames=[bytes(500)]), "damaged"),
    "JPEG of another size": (lambda: jpeg_of(made.JPEG_BASELINE, 60000, 60000), "damaged"),
    "lossless JPEG of another size": (lambda: jpeg_of(made.JPEG_LOSSLESS, 49, 64), "damaged"),
    "JPEG-LS of another size": (lambda: jpeg_of(made.JPEG_LS, 48, 60000), "damaged"),
    "JPEG 2000 of another size": (lambda: jpeg_2000_of(width=60000), "damaged"),
    "JPEG 2000 in many tiles": (
        lambda: film(grey(12, 400, 400), syntax=made.JPEG_2000_LOSSLESS, frames=[tiled_too_finely()]),
        "too many tiles",
    ),
    "JPEG 2000 without tiles": (lambda: jpeg_2000_of(tile_width=0), "damaged"),
    "lossless JPEG called baseline": (
        lambda: film(
            grey(8).astype(np.uint8),
            bits=8,
            syntax=made.JPEG_BASELINE,
            frames=[made.coded(made.JPEG_LOSSLESS, grey(8).astype(np.uint8), 8)],
        ),
        "damaged",
    ),
    "JPEG without its end": (lambda: coded_film(made.JPEG_BASELINE, lambda one: one[:-120]), "incomplete"),
    "JPEG cut, then closed": (
        lambda: coded_film(made.JPEG_BASELINE, lambda one: one[:-300] + b"\xff\xd9"),
        "incomplete|damaged",
    ),
    "JPEG cut in its header": (
        lambda: coded_film(made.JPEG_BASELINE, lambda one: one[:30]),
        "incomplete|damaged",
    ),
    "JPEG of many scans": (
        lambda: coded_film(made.JPEG_BASELINE, lambda one: one[:-2] + b"\xff\xda" * 9 + b"\xff\xd9"),
        "damaged",
    ),
    "JPEG-LS cut": (lambda: coded_film(made.JPEG_LS, lambda one: one[:200], 12), "incomplete|damaged"),
    "JPEG 2000 cut in its header": (
        lambda: coded_film(made.JPEG_2000_LOSSLESS, lambda one: one[:40], 12),
        "damaged",
    ),
    "RLE cut": (lambda: coded_film(made.RLE, lambda one: one[:300], 12), "incomplete"),
    "RLE of too many segments": (
        lambda: coded_film(made.RLE, lambda one: struct.pack("<L", 9) + one[4:], 12),
        "damaged",
    ),
    "RLE bomb": (
        lambda: coded_film(made.RLE, lambda one: one[:64] + b"\x81\0" * 200_000, 8),
        "incomplete",
    ),
    "millions of empty elements": (
        lambda: (
            film()[: film().index(b"\x08\x00\x16\x00")]
            + struct.pack("<HH2sH", 9, 0x1001, b"LO", 0) * 2_000_000
        ),
        "too many parts",
    ),
    "a table of very many items": (
        lambda: before_pixels(
            struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 2**32 - 1) + b"\xfe\xff\x00\xe0\0\0\0\0" * 10**5
        ),
        "too many parts",
    ),
    "a table of an item with very many elements": (
        lambda: before_pixels(
            struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 8 * 10**5 + 8)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 8 * 10**5)
            + struct.pack("<HH2sH", 0x28, 0x3002, b"US", 0) * 10**5
        ),
        "too many parts",
    ),
    "a window of very many values": (
        lambda: before_pixels(struct.pack("<HH2sH", 0x28, 0x1050, b"DS", 50_000) + b"1\\" * 25_000),
        "damaged",
    ),
    "very many fragments": (
        lambda: film(
            syntax=made.JPEG_LS,
            pixel_data=encapsulate([b"\xff\xd8"]) + b"\xfe\xff\x00\xe0\0\0\0\0" * 10**6,
        ),
        "too many parts|damaged|incomplete",
    ),
    "sequences without end": (
        lambda: (
            film()[: film().index(b"\x08\x00\x16\x00")]
            + (struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 2**32 - 1) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff")
            * 5000
        ),
        "damaged|too many parts|no picture",
    ),
}


def before_pixels(elements: bytes) -> bytes:
    """A film with these explicit elements in front of its pixels."""
    whole = film()
    place = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    return whole[:place] + elements + whole[place:]


def tiled_too_finely() -> bytes:
    coded = bytearray(made.coded(made.JPEG_2000_LOSSLESS, grey(12, 400, 400), 12))
    coded[24:32] = struct.pack(">II", 4, 4)
    return bytes(coded)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_sentence(name: str) -> None:
    make, words = REFUSED[name]
    data = make()
    with pytest.raises(ImageError, match=words) as caught:
        read_xray(data)
    message = str(caught.value)
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert ":" in message  # the second half tells what to do


@pytest.mark.parametrize("name", ["deflated bomb", "RLE bomb", "bomb by its rows", "JPEG of another size"])
def test_bombs_take_no_memory(name: str) -> None:
    data = REFUSED[name][0]()
    tracemalloc.start()
    with pytest.raises(ImageError):
        read_xray(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (3 * dicom.MAXIMUM_UNPACKED if name == "deflated bomb" else 2**23)


def test_what_other_formats_look_like_is_no_dicom() -> None:
    for data in (b"\x08\x00\x05\x00" + b"\xff" * 300, b"\x02\x00 a text", bytes(500), bytes(range(256)) * 4):
        with pytest.raises(ImageError, match="not an image"):
            read_xray(data)


# --- only ImageError escapes ------------------------------------------------------------------------


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(10**9, 2 * 10**9))
def test_mutated_files(number: int) -> None:
    """The inputs of the long run (`python -m tests.fuzz_films`), other numbers."""
    (data,) = inputs("dicom", number, 1)
    try:
        xray = read_xray(data)
    except ImageError as refusal:
        said = str(refusal)
    else:
        said = "."
        assert xray.pixels.dtype == np.uint8
        assert xray.pixels.shape == (xray.source.height, xray.source.width)
    assert said.endswith(".")


@settings(max_examples=100, deadline=None)
@given(
    start=st.sampled_from((bytes(128) + b"DICM", b"\x08\x00\x05\x00CS", b"\x00\x08\x00\x05CS")),
    rest=st.binary(),
)
def test_arbitrary_bytes(start: bytes, rest: bytes) -> None:
    with pytest.raises(ImageError):
        read_xray(start + rest)


def test_threads() -> None:
    data = [film(syntax=syntax) for syntax in LOSSLESS] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: read_xray(one).pixels.tobytes(), data))
    assert len(set(found)) == 1


def test_the_decoders_that_are_needed_are_there() -> None:
    for codec in (imagecodecs.JPEG8, imagecodecs.JPEGLS, imagecodecs.JPEG2K, imagecodecs.PACKBITS):
        assert codec.available
