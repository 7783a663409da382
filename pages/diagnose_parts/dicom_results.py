"""Results as DICOM: the heat map and a report for the study of the opened film, made when asked for and not kept.

A session keeps a film's pixels and nothing that says whose they are. So the same file is dropped once more; its hash
tells that it is the same. The file is out of the server's memory when the two results are made. These lie behind their
buttons until the page changes next: nothing of them enters the session's state or a cache.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from model.films import ImageError
from model.registry import Version
from utils import department, evidence, session
from utils.decisions import CANNOT_TELL
from utils.dropped import let_go
from utils.readings import Reading, content_key

if TYPE_CHECKING:
    from model.dicom_results import DicomResults, Result

ROUND = "dicom-results-round"
FILES = (
    ("Heat map", "capture", "pneumoscope-heat-map.dcm", "A Secondary Capture: the film with the map on it."),
    (
        "Report",
        "report",
        "pneumoscope-report.dcm",
        "A structured report: probability, decision, threshold, network.",
    ),
)
"""Label, attribute of the results, file name without anything of the patient's, help."""


def panel(reading: Reading, version: Version, threshold: float) -> None:
    """The uploader, and the two downloads once the film's own file lies in it.

    Args:
        reading: of a DICOM film, with a probability; for another, one line says what is missing.
        version: the version in use.
        threshold: the session's, in [0, 1].
    """
    if reading.source is None or reading.source.dicom is None or reading.probability is None:
        st.caption("Results as DICOM are made for DICOM films that have been read.")
        return
    if reading.version != version.name:
        st.info(
            f"This film was read with version {reading.version}. Drop it above once more to read it with "
            f"{version.name}: the results then name the version in use.",
            icon=":material/info:",
        )
        return
    st.markdown(
        "The reading for this film's study, as two DICOM files: the heat map as a Secondary Capture and a structured "
        "report. Both say that they come from software that assists."
    )
    count = st.session_state.setdefault(ROUND, 0)
    upload = st.file_uploader("The same DICOM file once more", key=f"dicom-results-{reading.key}-{count}")
    st.caption(
        "This page keeps no patient's name, number or date. What the file you drop here says of the patient goes into "
        "the two results only and is not kept: both are gone when anything on this page changes."
    )
    if upload is None:
        return
    data = upload.getvalue()
    let_go(upload)
    if content_key(data) != reading.key:
        st.error(
            "This is another file. Choose the one that this film was read from.", icon=":material/error:"
        )
        return
    try:
        with st.spinner("Making the two files"):
            results = make(data, reading, version, threshold)
    except ImageError as error:
        st.error(str(error), icon=":material/error:")
        return
    st.session_state[ROUND] += 1  # the next run starts with an empty uploader
    with st.container(horizontal=True):
        for label, attribute, name, help_text in FILES:
            st.download_button(
                label,
                data=session.exported(partial(getattr, results, attribute), subject=f"DICOM result, {label}"),
                file_name=name,
                mime="application/dicom",
                icon=":material/download:",
                on_click="ignore",
                key=f"dicom-{attribute}",
                help=help_text,
            )


def make(data: bytes, reading: Reading, version: Version, threshold: float) -> DicomResults:
    """Both files; ImageError where the original names no study that they could be filed with."""
    from model.dicom_results import dicom_results  # highdicom takes a second to load

    return dicom_results(data, result_of(reading, version, threshold))


def result_of(reading: Reading, version: Version, threshold: float) -> Result:
    """What the results tell of a reading.

    Raises:
        ValueError: the reading is not one of a DICOM film with a probability.
    """
    from model.dicom_results import Result, meaning_of

    facts = None if reading.source is None else reading.source.dicom
    if facts is None or reading.probability is None:
        raise ValueError("only a DICOM film that has been read has a result")
    policy = department.policy_of(version)
    calibration = None if policy is None else policy.calibration
    sentences = [reading.record, *(remark.message for remark in reading.quality)]
    rule = evidence.rule(version)
    if rule is not None and rule.verdict(reading.probability) == CANNOT_TELL:
        rate = f"{rule.error_rate * 100:g} %"
        sentences.append(f"{CANNOT_TELL} at an error rate of {rate}: read this one carefully.")
    return Result(
        probability=reading.probability,
        threshold=threshold,
        version=version.name,
        sha256=version.card.sha256,
        meaning=meaning_of(version.card, threshold),
        remarks=tuple(sentence for sentence in sentences if sentence),
        heat=reading.heat,
        frame=facts.frame,
        window=facts.window if facts.by_hand else None,
        corrections=reading.offers,
        calibration="" if calibration is None else calibration.fitted_on,
    )
