"""The result as DICOM: that it files into the study, says what was read, and the patient's data go nowhere else."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom import sr
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from model.dicom import open_dicom
from model.dicom_results import (
    ASSISTS,
    LONGEST_SIDE,
    NARROWEST,
    OPACITY,
    DicomResults,
    Result,
    capture_picture,
    dicom_results,
    shown_film,
)
from model.explanation import overlay_image, scale_of, with_scale
from model.films import ImageError, Window
from model.quality import corrected
from tests.model.dicom_films import BIG_ENDIAN, DEFLATED, IMPLICIT, JPEG_LS, film, grey

SHA256 = "79629d4d" * 8
HEAT = np.array([[0, 1, 2], [3, 0.5, 0], [0, 0, 4]], np.float32)
RESULT = Result(
    probability=0.87312,
    threshold=0.2633,
    version="vgg16-2026-11h",
    sha256=SHA256,
    meaning="balanced: highest sensitivity + specificity",
    remarks=("The film is very dark: take it again.",),
    heat=HEAT,
    time=datetime(2026, 11, 21, 14, 7, 44, tzinfo=UTC),
)
STUDY: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyInstanceUID": "1.2.3.9",
    "SeriesInstanceUID": "1.2.3.9.1",
    "SOPInstanceUID": "1.2.3.9.1.1",
    "PatientName": "Häßlich^Jörg",
    "PatientID": "SECRET-4711",
    "IssuerOfPatientID": "SECRET-HOSPITAL",
    "PatientBirthDate": "20160203",
    "StudyDate": "20200305",
    "StudyTime": "101112.5",
    "StudyID": "SECRET-S1",
    "AccessionNumber": "SECRET-A77",
    "ReferringPhysicianName": "Secret^Doctor",
    "StudyDescription": "SECRET chest",
    "PatientAddress": "SECRET street",
    "OperatorsName": "Secret^Operator",
    "PatientOrientation": ["L", "F"],
    "BurnedInAnnotation": "NO",
}
VALUES = ("Häßlich", "Jörg", "SECRET", "Secret", "4711", "20160203", "20200305", "101112")
"""What no log, no warning, no error and no pixel may show."""


def original(**changes: Any) -> bytes:
    """A DICOM film with a patient; a change to None takes an element out."""
    elements = STUDY | changes
    left_out = tuple(keyword for keyword, value in elements.items() if value is None)
    syntax = elements.pop("syntax", "1.2.840.10008.1.2.1")
    return film(grey(12, 60, 80), syntax=syntax, leave_out=left_out, **elements)


def both(results: DicomResults) -> tuple[Any, Any]:
    return pydicom.dcmread(io.BytesIO(results.capture)), pydicom.dcmread(io.BytesIO(results.report))


def group_of(report: Dataset) -> list[Any]:
    """The content items of the one measurement group."""
    content = sr.EnhancedSR.from_dataset(report).content
    measurements = content[0].ContentSequence[-1]
    assert measurements.name == codes.DCM.ImagingMeasurements
    return list(measurements.ContentSequence[0].ContentSequence)


def values_of(items: list[Any], name: Any) -> list[Any]:
    return [item.value for item in items if item.name == name]


@pytest.fixture(scope="module")
def made() -> DicomResults:
    return dicom_results(original(), RESULT)


# --- filing -----------------------------------------------------------------------------------------


def test_both_file_into_the_study_of_the_film(made: DicomResults) -> None:
    capture, report = both(made)
    for result in (capture, report):
        for keyword in (
            "StudyInstanceUID",
            "PatientID",
            "IssuerOfPatientID",
            "PatientBirthDate",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDescription",
            "SpecificCharacterSet",
        ):
            assert result[keyword].value == STUDY[keyword], keyword
        assert str(result.PatientName) == "Häßlich^Jörg"
        assert result.PatientSex == "F"
        assert "Häßlich^Jörg".encode("latin-1") in (made.capture if result is capture else made.report), (
            "the bytes of the original"
        )
        assert "PatientAddress" not in result and "OperatorsName" not in result and "PatientAge" not in result
        assert result.SeriesDescription.endswith("(AI, assists only)")
        assert (result.Manufacturer, result.SoftwareVersions) == ("Pneumoscope", RESULT.version)
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7" and capture.Modality == "OT"
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22" and report.Modality == "SR"


def test_series_and_instances_are_new_each_time(made: DicomResults) -> None:
    found = [
        result[keyword].value
        for results in (made, dicom_results(original(), RESULT))
        for result in both(results)
        for keyword in ("SeriesInstanceUID", "SOPInstanceUID")
    ]
    found += [STUDY["SeriesInstanceUID"], STUDY["SOPInstanceUID"]]
    assert len(set(found)) == len(found)
    assert all(UID(uid).is_valid for uid in found)


def test_both_refer_to_the_film(made: DicomResults) -> None:
    capture, report = both(made)
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == STUDY["SOPInstanceUID"]
    assert source.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.1.1"
    assert "ReferencedFrameNumber" not in source
    evidence = sr.EnhancedSR.from_dataset(report).get_evidence()
    assert {entry[2] for entry in evidence} == {STUDY["SOPInstanceUID"], capture.SOPInstanceUID}
    assert {entry[0] for entry in evidence} == {STUDY["StudyInstanceUID"]}
    images = [item for item in group_of(report) if item.ValueType == "IMAGE"]
    assert [(item.name, item.referenced_sop_instance_uid) for item in images] == [
        (codes.DCM.SourceOfMeasurement, STUDY["SOPInstanceUID"]),
        (codes.DCM.VisualExplanation, capture.SOPInstanceUID),
    ]


def test_the_frame_that_was_read_is_named() -> None:
    frames = np.stack([grey(12), grey(12)[::-1]])
    capture, report = both(dicom_results(film(frames, count=2, **STUDY), replace(RESULT, frame=2)))
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 2
    (source,) = (item for item in group_of(report) if item.name == codes.DCM.SourceOfMeasurement)
    assert source.referenced_frame_numbers == [2]


@pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED, BIG_ENDIAN])
def test_whatever_the_film_is_stored_as_the_results_are_plain(syntax: str) -> None:
    for result in both(dicom_results(original(syntax=syntax), RESULT)):
        assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert str(result.PatientName) == "Häßlich^Jörg"


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 192", "王^小明"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 144", "Люкceмбypг"),
    ],
)
def test_names_stay_as_they_are_written(terms: Any, name: str) -> None:
    data = original(SpecificCharacterSet=terms, PatientName=name)
    for result in both(dicom_results(data, RESULT)):
        assert result.PatientName == pydicom.dcmread(io.BytesIO(data)).PatientName
        assert str(result.PatientName) == name
        assert result.SpecificCharacterSet == terms


def test_a_character_set_that_no_standard_knows_becomes_unicode() -> None:
    # Pydicom's own writer would not write it: the term is put in behind it.
    data = original(PatientName="Muster^Eva").replace(b"ISO_IR 100", b"MY_CODE 99")
    for result in both(dicom_results(data, RESULT)):
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert result.PatientName == "Muster^Eva"


def test_the_time_is_told_in_the_zone_of_the_study() -> None:
    capture, report = both(dicom_results(original(TimezoneOffsetFromUTC="-0530"), RESULT))
    for result in (capture, report):
        assert result.TimezoneOffsetFromUTC == "-0530"
        assert (result.ContentDate, result.ContentTime) == ("20261121", "083744")
    assert (capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture) == ("20261121", "083744")


# --- what is missing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
@pytest.mark.parametrize("value", [None, "", "SECRET"])
def test_without_a_study_there_is_a_sentence(keyword: str, value: str | None) -> None:
    data = original()
    if value is None:
        data = film(grey(12, 60, 80), meta=False, leave_out=(keyword,), **STUDY)
    else:
        data = film(grey(12, 60, 80), meta=False, **STUDY | {keyword: value})
    with pytest.raises(ImageError, match="which study it belongs to") as caught:
        dicom_results(data, RESULT)
    assert not any(text in str(caught.value) for text in VALUES)


def test_an_anonymised_file_gets_empty_values() -> None:
    kept = {key: STUDY[key] for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    data = film(
        grey(12, 60, 80), leave_out=("PatientSex", "PatientAge"), PatientIdentityRemoved="YES", **kept
    )
    for result in both(dicom_results(data, RESULT)):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID"):
            assert keyword in result and not result[keyword].value
        assert "SpecificCharacterSet" not in result
        assert (result.PatientIdentityRemoved, result.DeidentificationMethod) == (
            "YES",
            "Not stated in the original",
        )


def test_values_that_are_none_are_left_empty() -> None:
    data = film(grey(12, 60, 80), **STUDY | {"StudyTime": "101112", "PatientBirthDate": "20160203"})
    data = data.replace(b"20160203", b"2016-2-3").replace(b"101112", b"about1")
    for result in both(dicom_results(data, RESULT)):
        assert result.PatientBirthDate == "" and result.StudyTime == ""
        assert result.PatientID == STUDY["PatientID"]


def test_a_kind_that_nothing_refers_to_is_refused_in_a_sentence() -> None:
    with pytest.raises(ImageError, match="no result can be made") as caught:
        dicom_results(original(SOPClassUID=UID("1.2.3.4.5.6")), RESULT)
    with pytest.raises(ImageError, match="no result can be made"):
        dicom_results(original(), replace(RESULT, corrections=("nonsense",)))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize("data", [b"", b"no film", b"\0" * 128 + b"DICM", original()[:700]])
def test_what_is_no_film_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        dicom_results(data, RESULT)


# --- the capture ------------------------------------------------------------------------------------


def test_pixels_are_the_overlay_with_a_band_below(made: DicomResults) -> None:
    capture, _ = both(made)
    pixels = shown_film(open_dicom(original()).decode().film().pixels)
    expected = with_scale(overlay_image(pixels, HEAT, opacity=OPACITY), scale_of(HEAT))
    stored = capture.pixel_array
    assert stored.shape[1] == NARROWEST and stored.dtype == np.uint8
    assert np.array_equal(stored[: len(expected)], expected)
    band = stored[len(expected) :]
    assert band.min() == 0 and band.max() > 180, "light words on black"
    assert (band == band[:, :, :1]).all(), "no colour that could pass for heat"
    assert capture.PhotometricInterpretation == "RGB" and capture.SamplesPerPixel == 3


def test_capture_says_what_it_is(made: DicomResults) -> None:
    capture, _ = both(made)
    assert list(capture.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert "assists" in capture.DerivationDescription and SHA256 in capture.DerivationDescription
    assert (
        "PNEUMONIA: probability of pneumonia 0.873, at or above the threshold 0.263."
        in capture.DerivationDescription
    )
    assert list(capture.PatientOrientation) == ["L", "F"]


@pytest.mark.parametrize(("stated", "told"), [("NO", "NO"), ("YES", "YES"), (None, "YES")])
def test_burned_in_text_is_ruled_out_only_where_the_film_does(stated: str | None, told: str) -> None:
    elements = {key: value for key, value in STUDY.items() if key != "BurnedInAnnotation"}
    if stated:
        elements["BurnedInAnnotation"] = stated
    capture, _ = both(dicom_results(film(grey(12, 60, 80), **elements), RESULT))
    assert capture.BurnedInAnnotation == told


def test_what_was_lossy_once_stays_so() -> None:
    data = original(
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_10918_1",
    )
    capture, _ = both(dicom_results(data, RESULT))
    assert capture.LossyImageCompression == "01"
    assert float(capture.LossyImageCompressionRatio) == 12.5
    assert capture.LossyImageCompressionMethod == "ISO_10918_1"


def test_nothing_of_the_patient_is_in_the_pixels() -> None:
    other = original(PatientName="Another^Name", PatientID="0", AccessionNumber="1", StudyDate="19990101")
    first, second = (both(dicom_results(data, RESULT))[0] for data in (original(), other))
    assert np.array_equal(first.pixel_array, second.pixel_array)


@pytest.mark.parametrize("shape", [(40, 160), (3000, 900), (2000, 4000), (160, 40)])
def test_every_shape_of_film_keeps_its_proportions(shape: tuple[int, int]) -> None:
    pixels = (np.indices(shape).sum(axis=0) % 256).astype(np.uint8)
    shown = shown_film(pixels)
    assert max(shown.shape) <= LONGEST_SIDE
    assert shown.shape[0] / shown.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.02)
    picture = capture_picture(pixels, RESULT)
    assert picture.shape[1] == max(shown.shape[1], NARROWEST)
    assert picture.shape[0] > shown.shape[0]


def test_a_result_is_not_read_as_a_film(made: DicomResults) -> None:
    with pytest.raises(ImageError, match="a result that Pneumoscope made"):
        open_dicom(made.capture)


def test_without_heat_the_film_stands_alone_and_is_not_named_an_explanation() -> None:
    capture, report = both(dicom_results(original(), replace(RESULT, heat=None)))
    pixels = shown_film(open_dicom(original()).decode().film().pixels)
    shown = capture.pixel_array[: len(pixels)]
    assert all(np.array_equal(shown[:, :, channel], pixels) for channel in range(3))
    assert not [item for item in group_of(report) if item.name == codes.DCM.VisualExplanation]


def test_remarks_stand_in_the_picture() -> None:
    few = capture_picture(grey(8).astype(np.uint8), replace(RESULT, remarks=()))
    many = capture_picture(
        grey(8).astype(np.uint8), replace(RESULT, remarks=("A remark of some words.",) * 3)
    )
    assert many.shape[0] > few.shape[0]


@pytest.mark.parametrize("turn", ["turn-90", "turn-180", "turn-270"])
def test_a_window_and_a_turn_are_those_of_the_reading(turn: str) -> None:
    window = Window(2000, 500)
    turned = replace(RESULT, window=window, corrections=(turn,))
    capture, report = both(dicom_results(original(), turned))
    pixels = open_dicom(original()).decode().film(window).pixels
    expected = overlay_image(shown_film(corrected(pixels, turn)), HEAT, opacity=OPACITY)
    assert np.array_equal(capture.pixel_array[: expected.shape[0], : expected.shape[1]], expected)
    assert not capture.PatientOrientation, "that of the original does not hold any more"
    parameters = values_of(group_of(report), codes.DCM.AlgorithmParameters)
    assert any("window set by hand" in text for text in parameters)
    assert any(turn in text for text in parameters)


# --- the report -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "found", "word"),
    [
        (0.87312, codes.DCM.AllAlgorithmsSucceededWithFindings, "PNEUMONIA"),
        (0.2633, codes.DCM.AllAlgorithmsSucceededWithFindings, "PNEUMONIA"),
        (0.0123, codes.DCM.AllAlgorithmsSucceededWithoutFindings, "NORMAL"),
    ],
)
def test_report_holds_the_reading(probability: float, found: Any, word: str) -> None:
    _, report = both(dicom_results(original(), replace(RESULT, probability=probability)))
    items = group_of(report)
    (certainty,) = (item for item in items if item.name == codes.DCM.CertaintyOfFinding)
    assert certainty.value == pytest.approx(100 * probability, rel=1e-12)
    assert certainty.unit == codes.UCUM.Percent
    assert values_of(items, codes.DCM.CADProcessingAndFindingsSummary) == [found]
    (finding,) = values_of(items, codes.DCM.Finding)
    assert (finding.value, finding.scheme_designator) == ("233604007", "SCT")
    assert values_of(items, codes.DCM.AlgorithmName) == ["Pneumoscope"]
    assert values_of(items, codes.DCM.AlgorithmVersion) == [RESULT.version]
    assert values_of(items, codes.DCM.AlgorithmParameters) == [
        "threshold 0.2633",
        f"network SHA-256 {SHA256}",
    ]
    assert values_of(items, codes.DCM.CADOperatingPointDescription) == [RESULT.meaning]
    (summary,) = values_of(items, codes.DCM.Summary)
    assert summary.startswith(f"{word}: probability")
    comments = values_of(items, codes.DCM.Comment)
    assert RESULT.remarks[0] in comments and comments[-1].endswith(ASSISTS)


def test_report_is_marked_as_verified_by_nobody(made: DicomResults) -> None:
    _, report = both(made)
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_highdicom_takes_the_report_for_a_measurement_report(made: DicomResults) -> None:
    report = sr.EnhancedSR.from_dataset(both(made)[1])
    content = sr.MeasurementReport.from_sequence(report.content)
    (group,) = content.get_image_measurement_groups()
    assert group.finding_type is not None and group.finding_type.value == "233604007"
    (context,) = content.get_observer_contexts(observer_type=codes.DCM.Device)
    assert context.observer_identifying_attributes.name == "Pneumoscope"


def test_one_network_is_one_device() -> None:
    uids = []
    for sha256 in (SHA256, SHA256, "0" * 64):
        _, report = both(dicom_results(original(), replace(RESULT, sha256=sha256)))
        content = sr.MeasurementReport.from_sequence(sr.EnhancedSR.from_dataset(report).content)
        attributes = content.get_observer_contexts()[0].observer_identifying_attributes
        assert isinstance(attributes, sr.DeviceObserverIdentifyingAttributes)
        uids.append(attributes.uid)
    assert uids[0] == uids[1] != uids[2]


def test_words_of_our_own_fit_every_character_set() -> None:
    result = replace(
        RESULT, remarks=("Größe 512 × 512 – zu klein \\ “quoted”",), meaning="at least 98 % ≥ all"
    )
    _, report = both(dicom_results(original(), result))
    assert values_of(group_of(report), codes.DCM.CADOperatingPointDescription) == ["at least 98 % >= all"]
    assert "Groe 512 x 512 - zu klein / quoted" in values_of(group_of(report), codes.DCM.Comment)


@pytest.mark.parametrize(
    ("probability", "threshold", "words"),
    [
        (0.87312, 0.2633, "PNEUMONIA: probability of pneumonia 0.873, at or above the threshold 0.263."),
        (0.5, 0.5, "PNEUMONIA: probability of pneumonia 0.500, at or above the threshold 0.500."),
        (0.49996, 0.5, "NORMAL: probability of pneumonia 0.49996, below the threshold 0.50000."),
        (0.99999, 0.5, "PNEUMONIA: probability of pneumonia >0.999, at or above the threshold 0.500."),
        (0.00001, 0.5, "NORMAL: probability of pneumonia <0.001, below the threshold 0.500."),
    ],
)
def test_the_decision_in_words(probability: float, threshold: float, words: str) -> None:
    assert replace(RESULT, probability=probability, threshold=threshold).in_words == words


# --- what the standard asks -------------------------------------------------------------------------


def missing(dataset: Dataset) -> list[str]:
    """Attributes of mandatory modules that are missing (type 1 and 2) or empty (type 1): PS3.3, as highdicom has it."""
    attributes = get_module_attribute_map()
    found = []
    for module in get_iod_module_map()[get_sop_class_iod_map()[dataset.SOPClassUID]]:
        # What an item of a report's content needs hangs on its kind; highdicom builds and checks them.
        if module["usage"] != "M" or module["key"] == "sr-document-content":
            continue
        for attribute in attributes[module["key"]]:
            keyword = str(attribute["keyword"])
            if attribute["path"] or attribute["type"] not in ("1", "2"):
                continue
            if keyword not in dataset or (attribute["type"] == "1" and dataset[keyword].is_empty):
                found.append(f"{module['key']}: {keyword} (type {attribute['type']})")
    return found


def test_required_attributes_exist(made: DicomResults) -> None:
    for result in both(made):
        assert not missing(result)
        assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID


def test_the_check_of_attributes_finds_what_is_missing(made: DicomResults) -> None:
    capture, report = both(made)
    del capture.PatientID
    report.StudyInstanceUID = ""
    assert any("PatientID" in line for line in missing(capture))
    assert any("StudyInstanceUID" in line for line in missing(report))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize(
    "changes",
    [{}, {"PatientName": None, "PatientID": None, "StudyDate": None}, {"syntax": JPEG_LS}],
    ids=["whole", "anonymised", "compressed"],
)
def test_an_independent_validator_finds_no_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    elements = {key: value for key, value in (STUDY | changes).items() if value is not None}
    results = dicom_results(film(grey(12, 60, 80), **elements), RESULT)
    for name, data in (("capture", results.capture), ("report", results.report)):
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr, done.stderr


# --- where the patient's data go --------------------------------------------------------------------


def test_no_log_and_no_warning_tells_of_the_patient(caplog: pytest.LogCaptureFixture) -> None:
    damaged = original().replace(b"20160203", b"2016-2-3")
    single = original(PatientName="Secret", ReferringPhysicianName="Secret" * 15)
    long = original(PatientID="SECRET" * 40, AccessionNumber="SECRET-A77" * 9)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        for data in (original(), damaged, single, long):
            dicom_results(data, RESULT)
        for changes in ({"StudyInstanceUID": "SECRET"}, {"SOPClassUID": UID("1.2.3.4.5.6")}):
            with pytest.raises(ImageError) as caught:
                dicom_results(film(grey(12, 60, 80), **STUDY | changes), RESULT)
            assert not any(value in str(caught.value) for value in VALUES)
    told = caplog.text + "".join(str(warning.message) for warning in warned)
    assert not [value for value in VALUES if value in told]


def test_results_do_not_show_what_they_hold(made: DicomResults) -> None:
    assert repr(made) == "DicomResults()"
    assert not any(value in repr(RESULT) for value in VALUES)


def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    dicom_results(original(), RESULT)
    assert not list(tmp_path.iterdir())


def test_highdicom_is_loaded_only_when_results_are_asked_for() -> None:
    code = (
        "import sys, model.__main__, model.dicom, pages.diagnose_parts.dicom_results\n"
        "print([name for name in sys.modules if name.startswith(('highdicom', 'model.dicom_results'))])"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
