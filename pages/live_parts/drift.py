"""Drift: do the films of today look like those that the version in use was made with?"""

from __future__ import annotations

import hashlib
from pathlib import PurePath

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from model.dataset import patient_key
from model.drift import (
    LEAST_FILMS,
    MOST_FILMS,
    SIGNIFICANT,
    Drift,
    corrected,
    drift_of_features,
    drift_of_probabilities,
    one_a_patient,
)
from model.neighbours import Part, Reference
from model.registry import Predictions, Version, VersionError
from pages.live_parts import common
from pages.live_parts.agreement import figure
from utils import certainty, charts, live, live_charts, look
from utils.live import Recent
from utils.session import Screen

_NAMES = {"probabilities": "Probabilities", "features": "Features"}
_BESIDE = {"probabilities": "the validation films", "features": "the training films"}


def show(screen: Screen) -> None:
    """What is found, with a plain warning where it is both significant and large."""
    chosen = common.choose(screen, decisions=False)
    version = screen.version
    if version is None:
        st.error(look.plain(screen.problem), icon=":material/error:")
        return
    recent = live.recent(network=version.card.sha256, version=version.name, since=chosen.wanted.since)
    films = max(len(recent.probabilities), len(recent.pooled))
    st.markdown(
        f"Films {chosen.period} that version **{look.plain(version.name)}** read, beside those it was made with. One "
        f"film of each patient, where patients are told apart, the newest {MOST_FILMS:,} at most: **{films:,}**."
    )
    if films < LEAST_FILMS:
        st.info(
            f"Drift can be told from {LEAST_FILMS} films on: take a longer period, or come back later.",
            icon=":material/hourglass_empty:",
        )
        return
    validation, features, problems = _made_with(version)
    found = _compared(_stamp(version, recent), recent, validation, features)
    for problem in problems:
        st.info(look.plain(problem), icon=":material/info:")
    verdict(found)
    if found:
        st.table([_row(each) for each in found], hide_index=True, border="horizontal")
    by_kind = {each.kind: each for each in found}
    if validation is not None and (of_scores := by_kind.get("probabilities")) is not None:
        there = float(np.mean(validation.labels))
        st.markdown(
            f"By their probabilities, about **{charts.percent(of_scores.share)}** of the films here are pneumonia; of "
            f"the validation films {charts.percent(there)} are. That alone moves the curve and is no drift: drift is "
            "what no share of pneumonia explains, the gap between the two thick lines."
        )
        figure(
            live_charts.probabilities_figure(
                recent.probabilities, validation.probabilities, validation.labels, share=of_scores.share
            ),
            key="live-probabilities",
            alt="Share of films up to each probability, here and among validation films.",
        )
    st.caption(
        "Features are what the network makes of a film before it decides. Distances: Kolmogorov-Smirnov for "
        "probabilities, squared maximum mean discrepancy for features. A difference counts where chance gives it "
        f"less often than {SIGNIFICANT:.0%} of the time (p corrected for looking at two things) and where it is as "
        "large as the limit. Looked at every day, one of these warnings may still come by chance once in a while. No "
        "drift does not mean that the network is right: that is what verdicts are for."
    )


def verdict(found: tuple[Drift, ...]) -> None:
    """The plain sentence."""
    warned = [each for each in found if each.warns]
    if warned:
        what = " and ".join(_NAMES[each.kind].lower() for each in warned)
        beside = " and ".join(_BESIDE[each.kind] for each in warned)
        st.warning(
            f"**The films here differ from those the network was made with.** Their {what} lie apart from {beside} by "
            "more than chance and more than another share of pneumonia explains. A new machine, other borders or "
            "cropping, another age of the patients can be the reason. Look at recent films and at the "
            "disagreements, and have more of the films verified before you rely on the figures.",
            icon=":material/warning:",
        )
    elif found:
        st.success("No drift to warn of.", icon=":material/check:")
    else:
        st.info("There are too few films to compare with.", icon=":material/info:")


def _row(each: Drift) -> dict[str, str]:
    if each.warns:
        words = "▲ drift"
    elif each.significant:
        words = "○ differs, but little"
    else:
        words = "○ no sign of drift"
    p_value = f"{each.p_value:.3f}" if each.p_value >= 0.001 else "<0.001"
    return {
        "What": f"{_NAMES[each.kind]}, beside {_BESIDE[each.kind]}",
        "Films": f"{each.films:,}",
        "Found": words,
        "Distance": f"{each.distance:.3f}, limit {each.limit:.3f}",
        "p": p_value,
    }


def _made_with(version: Version) -> tuple[Predictions | None, Reference | None, list[str]]:
    problems = []
    validation, features = None, None
    try:
        validation = version.predictions("validation")
    except VersionError as error:
        problems.append(str(error))
    try:
        features = certainty.reference(version)
        if features is None:
            problems.append(
                f"Version {version.name} holds no features of its training films: 'python -m model features' writes "
                "them."
            )
    except VersionError as error:
        problems.append(str(error))
    return validation, features, problems


def _stamp(version: Version, recent: Recent) -> str:
    digest = hashlib.sha256(f"{version.name} {certainty.features_stamp(version)}".encode())
    for array in (recent.probabilities, recent.pooled):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@st.cache_data(max_entries=16, show_spinner="Comparing the films")
def _compared(
    stamp: str, _recent: Recent, _validation: Predictions | None, _features: Reference | None
) -> tuple[Drift, ...]:
    """Numbers only; shared by the sessions, for all of them see the same."""
    of_scores, of_features = None, None
    if _validation is not None:
        chosen = one_a_patient(_validation.patients)
        of_scores = drift_of_probabilities(
            _recent.probabilities, _validation.probabilities[chosen], _validation.labels[chosen]
        )
    if _features is not None and _recent.pooled.shape[1] == _features.channels:
        of_features = drift_of_features(
            _features.place(_recent.pooled.astype(np.float32)),
            *_of_part(_features, "training"),
            *_of_part(_features, "validation"),
        )
    return corrected([of_scores, of_features])


def _of_part(features: Reference, part: Part) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Coordinates and labels of a part, one film a patient."""
    films = features.of(part)
    names = [PurePath(features.files[film]).name for film in films]
    chosen = one_a_patient([str(patient_key(name) or name) for name in names])
    return features.places(part)[chosen], features.labels[films][chosen]
