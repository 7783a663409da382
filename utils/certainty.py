"""What the screens share of how sure a version is: the error rate of the session, the rule that keeps it, and the films
that a version was trained on."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from model.conformal import ERROR_RATE as STANDARD_RATE
from model.conformal import Rule, fit, meeting_rate
from model.neighbours import Reference
from model.registry import FEATURES_FILE, PREDICTIONS_FOLDER, Predictions, Version

ERROR_RATE = "error-rate"
"""Key of the slider: percent, one for all screens of a session."""
LOWEST, HIGHEST, STEP = 0.5, 10.0, 0.5


def error_rate_slider() -> float:
    """The slider of the error rate; gives the rate as a share in (0, 1)."""
    percent = st.slider(
        "Error rate",
        min_value=LOWEST,
        max_value=HIGHEST,
        value=STANDARD_RATE * 100,
        step=STEP,
        format="%.1f %%",
        key=ERROR_RATE,
        persist_state="session",
        width=420,
        help="Of the films of each class, at most this share is given the verdict of the other class. What the network "
        "cannot tell at this rate is left open: read it carefully.",
    )
    return float(percent) / 100


def rule(version: Version, error_rate: float) -> Rule:
    """The rule of an error rate, fitted to the version's validation films once for all sessions.

    Raises:
        VersionError: the version has no validation predictions, or they are damaged.
        ValueError: they hold films of one class only.
    """
    return _rule(_validation_stamp(version), error_rate, version)


@st.cache_resource(max_entries=200, show_spinner=False)
def _rule(stamp: str, error_rate: float, _version: Version) -> Rule:
    films = _validation(stamp, _version)
    return fit(films.labels, films.probabilities, error_rate=error_rate)


def meeting(version: Version) -> float:
    """The error rate from which on no validation film could be either class; errors as :func:`rule`."""
    return _meeting(_validation_stamp(version), version)


@st.cache_resource(max_entries=12, show_spinner=False)
def _meeting(stamp: str, _version: Version) -> float:
    films = _validation(stamp, _version)
    return meeting_rate(films.labels, films.probabilities)


@st.cache_resource(max_entries=3, show_spinner=False)
def _validation(stamp: str, _version: Version) -> Predictions:
    return _version.predictions("validation")


def _validation_stamp(version: Version) -> str:
    """Changes with the films' probabilities, which a site's own calibration moves too."""
    file = version.folder / PREDICTIONS_FOLDER / "validation.csv"
    return f"{_stamp(file)} {version.name} {version.card.calibration!r}"


def reference(version: Version) -> Reference | None:
    """The films that the version was trained on, read once for all sessions; None where it came without features.

    Raises:
        VersionError: its features are damaged or of another network.
    """
    return _reference(features_stamp(version), version)


def features_stamp(version: Version) -> str:
    """Changes with what :func:`reference` gives."""
    return f"{_stamp(version.folder / FEATURES_FILE)} {version.card.sha256}"


@st.cache_resource(max_entries=3, show_spinner=False)
def _reference(stamp: str, _version: Version) -> Reference | None:
    return Reference.load(_version)


def _stamp(file: Path) -> str:
    """Changes with the file."""
    try:
        status = file.stat()
    except OSError:
        return f"{file} missing"
    return f"{file} {status.st_mtime_ns} {status.st_size}"
