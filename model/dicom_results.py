"""The result of one reading as two DICOM files of the film's own study: a Secondary Capture and a structured report.

The capture is the film with the heat map burned in, and a band of text below it; no pixel of it says who the patient
is. The report is TID 1500 (PS3.16) in an Enhanced SR: probability, decision, threshold, algorithm, and references to
the film and to the capture. Both are new series of the same study.

Who the patient is passes from the original file into these two alone, for as long as they are made: an allow-list of
elements (`PASSED`), value by value, in the character set of the original. highdicom, which builds the two, never sees
them; they are put in behind it. Words of our own are ASCII, which every character set of DICOM holds.

Imported when results are asked for, because highdicom takes a second to load.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
import uuid
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from model.dicom import MAKER, open_dicom, read_elements
from model.films import ImageError, Window
from model.quality import corrected
from model.registry import CLASSES, Card

if TYPE_CHECKING:
    from collections.abc import Iterator

# Both warn and log with the values that they stumble over, and these may be a name.
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"(highdicom|model\.dicom|model\.dicom_results)(\.|$)")

ASSISTS = "It assists: a professional gives the verdict."
LONGEST_SIDE = 1600
"""Of the film in the capture, in pixels; the heat map has a few places only, and the original is in the study."""
NARROWEST = 720
"""Width of the capture at least, in pixels, so that the text below the film can be read."""
OPACITY = 0.45

_IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1 and C.7.2.1): empty where the original has none."""
_IF_THERE = (
    "IssuerOfPatientID",
    "StudyDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "TimezoneOffsetFromUTC",
)
PASSED = (*_IDENTITY, *_IF_THERE)
"""All that passes from the original into the results, besides the study's UID and the references to the film."""
_REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_ABOUT_THE_PICTURE = (
    "PatientOrientation",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)

# SNOMED CT codes that pydicom's dictionary does not hold.
_PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
_CHEST_X_RAY = Code("399208008", "SCT", "Plain chest X-ray")


@dataclass(frozen=True)
class Result:
    """What the network said of one film.

    Attributes:
        probability: calibrated probability of PNEUMONIA in [0, 1].
        threshold: in [0, 1]; flagged where the probability is at or above it.
        version: name of the version that read the film.
        sha256: of the version's network file, 64 hexadecimal digits.
        meaning: what the threshold is, as "balanced: highest sensitivity + specificity"; empty where set by hand.
        remarks: sentences that whoever sees the result must know: on the film's quality, overruled, corrected.
        heat: float32 (h, w), what speaks for pneumonia in calibrated log-odds, at least 0, over what the network saw of
            the film; None where the network's head has no closed form.
        time: when the result was made; with a time zone.
        frame: which frame of the original was read; the first is 1.
        window: set by hand for the reading; None: the file's own.
        corrections: what was done to the film on request before it was read, in order: see `model.quality.corrected`.
        calibration: what a site's own calibration was fitted on; empty where the version's own holds.
    """

    probability: float
    threshold: float
    version: str
    sha256: str
    meaning: str = ""
    remarks: tuple[str, ...] = ()
    heat: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    frame: int = 1
    window: Window | None = None
    corrections: tuple[str, ...] = ()
    calibration: str = ""

    @property
    def flagged(self) -> bool:
        return self.probability >= self.threshold

    @property
    def decision(self) -> str:
        """ "NORMAL" or "PNEUMONIA"."""
        return CLASSES[int(self.flagged)]

    @property
    def in_words(self) -> str:
        """Decision, probability and threshold in one sentence; more digits where three would hide the decision."""
        digits = next(
            (
                digits
                for digits in range(3, 10)
                if (round(self.probability, digits) >= round(self.threshold, digits)) == self.flagged
            ),
            16,
        )
        probability = f"{self.probability:.{digits}f}"
        if digits == 3 and not 0.0005 <= self.probability <= 0.9995:
            probability = ">0.999" if self.probability > 0.5 else "<0.001"
        side = "at or above" if self.flagged else "below"
        threshold = f"{self.threshold:.{digits}f}"
        return f"{self.decision}: probability of pneumonia {probability}, {side} the threshold {threshold}."


@dataclass(frozen=True)
class DicomResults:
    """Two whole DICOM files with the patient's data: give them to who asked, and keep them nowhere."""

    capture: bytes = field(repr=False)
    report: bytes = field(repr=False)


def meaning_of(card: Card, threshold: float) -> str:
    """What the card says of this threshold: the operating point's name and rule; empty between the points."""
    points = (point for point in card.operating_points if point.threshold == threshold)
    return next((f"{point.name}: {point.rule}" for point in points), "")


def dicom_results(original: bytes, result: Result) -> DicomResults:
    """Make both files for one reading.

    Args:
        original: the whole DICOM file that was read.
        result: what the network said of it.

    Raises:
        ImageError: the original is no DICOM film that can be read, or names no study that results could be filed with.
            One sentence, which quotes nothing of the file. No other exception escapes.
    """
    film = open_dicom(original).decode(result.frame).film(result.window)
    elements = read_elements(original, (*_REFERENCE, *PASSED, *_ABOUT_THE_PICTURE))
    frames = 1 if film.source.dicom is None else film.source.dicom.frames
    try:
        pixels = film.pixels
        for correction in result.corrections:
            pixels = corrected(pixels, correction)
        source = _source(elements, frames=frames, frame=result.frame)
        picture = capture_picture(pixels, result)
        capture = _capture(elements, source, picture, result)
        report = _report(elements, source, capture, result)
        return DicomResults(_written(capture), _written(report))
    except ImageError:
        raise
    except Exception:  # whatever the libraries raise quotes what they stumbled over
        raise ImageError(
            "The DICOM file holds data that no result can be made with: export the X-ray again from the PACS."
        ) from None


# --- what comes from the original -------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """The film that the results refer to; ``frames`` empty where the file has one frame."""

    study: str
    series: str
    instance: str
    kind: str
    frames: tuple[int, ...]

    def reference(self) -> Dataset:
        """An item that refers to the film (PS3.3 10.3 and 10.8)."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.kind
        item.ReferencedSOPInstanceUID = self.instance
        if self.frames:
            item.ReferencedFrameNumber = list(self.frames)
        return item

    def evidence(self) -> Dataset:
        """The film as highdicom asks for it, with nothing of the patient's."""
        item = _empty()
        item.StudyInstanceUID = self.study
        item.SeriesInstanceUID = self.series
        item.SOPInstanceUID = self.instance
        item.SOPClassUID = self.kind
        return item


def _source(elements: Dataset, *, frames: int, frame: int) -> _Source:
    uids = [_text_of(elements, keyword) for keyword in _REFERENCE]
    if not all(re.fullmatch(r"[0-9][0-9.]{0,63}", uid) for uid in uids):
        raise ImageError(
            "The DICOM file does not say which study it belongs to, so no result can be filed with it: export the "
            "X-ray again from the PACS, with its study, series and instance UIDs."
        )
    study, series, instance, kind = uids
    return _Source(study, series, instance, kind, (frame,) if frames > 1 else ())


def _value(elements: Dataset, keyword: str) -> Any:
    """A value of the original; None where it is missing or damaged."""
    try:
        return elements.get(keyword)
    except Exception:  # pydicom raises what it stumbles over
        return None


def _text_of(elements: Dataset, keyword: str) -> str:
    return str(_value(elements, keyword) or "").strip(" \0")


def _empty() -> Dataset:
    dataset = Dataset()
    for keyword in _IDENTITY:
        setattr(dataset, keyword, None)
    return dataset


_SHAPES = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": r"[FMO]",
    "PatientIdentityRemoved": r"YES|NO",
    "TimezoneOffsetFromUTC": r"[+-]\d{4}",
}
"""Value representations (PS3.5 6.2) and closed sets; a value that has none of these shapes is left empty."""


def _file_with(dataset: Dataset, elements: Dataset) -> None:
    """Put the patient's and the study's identity from the original into a result."""
    stated = _value(elements, "SpecificCharacterSet")
    terms = [stated] if isinstance(stated, str) else list(stated or ())
    if terms and all(term in python_encoding for term in terms):
        dataset.SpecificCharacterSet = stated
    elif terms:  # a name that no standard knows: what was made out of the text is written so that it stays
        dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in PASSED:
        value = _value(elements, keyword)
        if keyword in _SHAPES:
            text = _text_of(elements, keyword)
            if keyword.endswith("Date"):
                text = text.replace(".", "")  # as ACR-NEMA wrote dates
            value = text if re.fullmatch(_SHAPES[keyword], text) else None
        if keyword in _IDENTITY or value not in (None, ""):
            # Not by attribute: that would look into the value and warn with it.
            dataset.add(
                DataElement(_tag(keyword), dictionary_VR(_tag(keyword)), value, already_converted=True)
            )
    if dataset.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in dataset:
        dataset.DeidentificationMethod = "Not stated in the original"


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return tag


def _local(time: datetime, elements: Dataset) -> datetime:
    """The time in the zone that the original states (PS3.3 C.12.1.1.8), else in that of this computer."""
    stated = re.fullmatch(_SHAPES["TimezoneOffsetFromUTC"], _text_of(elements, "TimezoneOffsetFromUTC"))
    if stated is None:
        return time.astimezone()
    sign, text = (-1 if stated[0][0] == "-" else 1), stated[0]
    return time.astimezone(timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:]))))


# --- the picture ------------------------------------------------------------------------------------


def shown_film(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The film, uint8 (h, w), in the size that the capture shows it."""
    height, width = pixels.shape
    scale = min(max(1.0, NARROWEST / width), LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def capture_picture(pixels: NDArray[np.uint8], result: Result) -> NDArray[np.uint8]:
    """The capture's pixels, uint8 (rows, columns, 3): the film with its heat, its scale, and a band of text.

    Args:
        pixels: the film as it was read, uint8 (h, w).
        result: what the network said of it.
    """
    from model.explanation import overlay_image, scale_of, with_scale

    film = shown_film(pixels)
    if result.heat is None:
        colour = np.repeat(film[:, :, None], 3, axis=2)
        legend = "This network gives no heat map; the film is shown alone."
    else:
        colour = with_scale(overlay_image(film, result.heat, opacity=OPACITY), scale_of(result.heat))
        legend = "Colour: what speaks for pneumonia, whatever the decision."
        if not result.heat.any():
            legend = "No colour: no place of this film speaks for pneumonia."
    lines = [result.in_words, *result.remarks, legend, f"{MAKER} {result.version}. {ASSISTS}"]
    band = _band([_ascii(line) for line in lines], width=max(colour.shape[1], NARROWEST))
    if colour.shape[1] < band.shape[1]:  # a film so high that it stays narrow
        spare = band.shape[1] - colour.shape[1]
        colour = np.pad(colour, ((0, 0), (0, spare), (0, 0)))
    return np.concatenate([colour, band])


def _band(lines: list[str], *, width: int) -> NDArray[np.uint8]:
    """Lines of text, broken into the width, light grey on black; the first one larger. uint8 (rows, width, 3)."""
    size = max(16, width // 56)
    margin = size // 2
    broken: list[tuple[str, Any, int]] = []
    for number, line in enumerate(lines):
        own = round(size * 1.3) if number == 0 else size
        font = ImageFont.load_default(own)
        broken += [(part, font, own) for part in _broken(line, font, width - 2 * margin)]
    height = 2 * margin + sum(round(own * 1.35) for _, _, own in broken)
    band = Image.new("L", (width, height))
    draw = ImageDraw.Draw(band)
    top = margin
    for part, font, own in broken:
        draw.text((margin, top), part, fill=210, font=font)
        top += round(own * 1.35)
    return np.repeat(np.array(band)[:, :, None], 3, axis=2)


def _broken(line: str, font: Any, width: int) -> Iterator[str]:
    kept = ""
    for word in line.split():
        longer = f"{kept} {word}".strip()
        if kept and font.getlength(longer) > width:
            yield kept
            kept = word
        else:
            kept = longer
    if kept:
        yield kept


def _ascii(text: str, most: int = 1000) -> str:
    """Text in the letters that every character set of DICOM holds (PS3.5 6.1), without its delimiter."""
    plain = text.translate({0x2013: "-", 0x2014: "-", 0x2212: "-", 0xD7: "x", 0x2265: ">=", 0x2264: "<="})
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode("ascii")
    return " ".join(plain.replace("\\", "/").split())[:most]


# --- the two files ----------------------------------------------------------------------------------


def _capture(elements: Dataset, source: _Source, picture: NDArray[np.uint8], result: Result) -> Dataset:
    """PS3.3 A.8.1, Secondary Capture Image."""
    time = _local(result.time, elements)
    capture: Any = highdicom.sc.SCImage(
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # Replaced below: highdicom asks for one, and it is not always known.
        patient_orientation=("L", "F"),
        study_instance_uid=source.study,
        series_instance_uid=generate_uid(prefix=None),
        series_number=9101,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        series_description=f"{MAKER} heat map (AI, assists only)",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_equipment(result),
    )
    capture.ImageType = ["DERIVED", "SECONDARY"]
    turned = any(correction.startswith("turn") for correction in result.corrections)
    capture.PatientOrientation = None if turned else (_value(elements, "PatientOrientation") or None)
    capture.BodyPartExamined = "CHEST"
    capture.ConversionType = "WSD"
    # YES also where the original says nothing: then nobody has looked whether a name is burned in.
    capture.BurnedInAnnotation = "NO" if _text_of(elements, "BurnedInAnnotation") == "NO" else "YES"
    if _text_of(elements, "LossyImageCompression") == "01":  # once lossy, always (PS3.3 C.7.6.1.1.5)
        for keyword in _ABOUT_THE_PICTURE[2:]:
            if _value(elements, keyword):
                setattr(capture, keyword, _value(elements, keyword))
    capture.DerivationDescription = _ascii(
        f"Made by software (AI) that assists, not verified by anybody. {result.in_words} Network {result.version}, "
        f"SHA-256 {result.sha256}.",
        1024,
    )
    item = source.reference()
    item.PurposeOfReferenceCodeSequence = [_coded(codes.DCM.SourceImageForImageProcessingOperation)]
    capture.SourceImageSequence = [item]
    _stamp(capture, time)
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = capture.ContentDate, capture.ContentTime
    _file_with(capture, elements)
    return capture


def _report(elements: Dataset, source: _Source, capture: Dataset, result: Result) -> Dataset:
    """PS3.3 A.35.2, Enhanced SR, with the content of TID 1500 (PS3.16)."""
    parameters = [f"threshold {result.threshold!r}", f"network SHA-256 {result.sha256}"]
    if result.window is not None:
        parameters.append(f"window set by hand: {result.window}")
    parameters += [f"corrected before reading: {correction}" for correction in result.corrections]
    if result.calibration:
        parameters.append(f"calibrated for the site: {result.calibration}")
    found = codes.DCM.AllAlgorithmsSucceededWithFindings
    if not result.flagged:
        found = codes.DCM.AllAlgorithmsSucceededWithoutFindings
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=generate_uid(prefix=None), identifier=f"{MAKER} reading of one film"
        ),
        finding_type=_coded(_PNEUMONIA),
        finding_sites=[sr.FindingSite(_coded(codes.SCT.LungStructure))],
        algorithm_id=sr.AlgorithmIdentification(
            name=MAKER,
            version=_ascii(result.version),
            parameters=[_ascii(text) for text in parameters],
            family=codes.cid7162.ArtificialIntelligence,
            manufacturer=MAKER,
        ),
        measurements=[
            sr.Measurement(
                name=codes.DCM.CertaintyOfFinding, value=100 * result.probability, unit=codes.UCUM.Percent
            )
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=codes.DCM.CADProcessingAndFindingsSummary, value=found)
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(source.kind, source.instance, list(source.frames) or None)
        ],
    )
    content = group[0].ContentSequence
    content.append(_text(codes.DCM.Summary, result.in_words))
    if result.meaning:
        content.append(_text(codes.DCM.CADOperatingPointDescription, result.meaning))
    for remark in (*result.remarks, f"Made by software (AI), not verified by anybody. {ASSISTS}"):
        content.append(_text(codes.DCM.Comment, remark))
    if result.heat is not None:
        content.append(
            sr.ImageContentItem(
                name=codes.DCM.VisualExplanation,
                referenced_sop_class_uid=capture.SOPClassUID,
                referenced_sop_instance_uid=capture.SOPInstanceUID,
                relationship_type="CONTAINS",
            )
        )
    device = sr.DeviceObserverIdentifyingAttributes(
        # One and the same network is one and the same device, wherever it runs.
        uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, result.sha256).int}",
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=_ascii(result.version, 64),
    )
    document = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=_coded(_CHEST_X_RAY),
        imaging_measurements=[group],
    )
    shown = _empty()
    for keyword in _REFERENCE:
        setattr(shown, keyword, getattr(capture, keyword))
    report: Any = sr.EnhancedSR(
        evidence=[source.evidence(), shown],
        content=document,
        series_instance_uid=generate_uid(prefix=None),
        series_number=9102,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"{MAKER} report (AI, assists only)",
        **_equipment(result),
    )
    _stamp(report, _local(result.time, elements))
    _file_with(report, elements)
    return report


def _equipment(result: Result) -> dict[str, Any]:
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": _ascii(result.version, 64),
    }


def _coded(code: Code) -> sr.CodedConcept:
    return sr.CodedConcept(code.value, code.scheme_designator, code.meaning[:64])


def _text(name: Code, value: str) -> sr.TextContentItem:
    return sr.TextContentItem(name=name, value=_ascii(value), relationship_type="CONTAINS")


def _stamp(dataset: Dataset, time: datetime) -> None:
    """One time for all that highdicom stamps with its own clock."""
    for kind in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{kind}Date", time.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", time.strftime("%H%M%S"))
    for equipment in dataset.ContributingEquipmentSequence:
        equipment.ContributionDateTime = time.strftime("%Y%m%d%H%M%S")


def _written(dataset: Dataset) -> bytes:
    dataset.file_meta.ImplementationClassUID = UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, MAKER).int}")
    dataset.file_meta.ImplementationVersionName = MAKER.upper()
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
