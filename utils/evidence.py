"""What the evidence for a reading needs beyond the reading: whether a picture is a film at all, how sure the network
may call itself, and the pictures of training films.

Everything here belongs to a version and is shared by all sessions. Nothing of a dropped film is kept here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from model import conformal, domain
from model.conformal import Coverage, Rule
from model.neighbours import Reference
from model.registry import Version, VersionError
from utils import certainty, data_sets
from utils.readings import Certainty
from utils.settings import Settings

if TYPE_CHECKING:
    from utils.readings import Judge


def judge(version: Version) -> Judge:
    """Whether a picture is a film that this version can judge, from its training films where it has them.

    Without them, or where they are damaged, the simple facts of a picture decide alone.
    """
    try:
        films = certainty.reference(version)
    except VersionError:
        films = None
    return partial(domain.judge, reference=films)


def error_rate() -> float:
    """The error rate that this session asks for, in (0, 1), whether or not its slider is on the screen."""
    return float(st.session_state.get(certainty.ERROR_RATE, conformal.ERROR_RATE * 100)) / 100


def rule(version: Version) -> Rule | None:
    """When the network may call itself sure at the session's error rate; None where the version's validation films
    cannot say."""
    try:
        return certainty.rule(version, error_rate())
    except (VersionError, ValueError):
        return None


def certainty_of(version: Version) -> Certainty | None:
    """The same, with the version whose readings it holds for."""
    found = rule(version)
    return None if found is None else Certainty(found, version.name)


def held(version: Version, rule: Rule) -> Coverage | None:
    """What the rule holds on the version's test films; None where it has none."""
    calibration = version.card.calibration
    identity = (str(version.folder), version.card.sha256, calibration.slope, calibration.intercept)
    try:
        return _held(identity, rule.error_rate, rule, version)
    except (VersionError, ValueError):
        return None


def usual_distance(version: Version, films: Reference) -> float | None:
    """Median over the validation films of the mean distance to the training films nearest to them; None without any."""
    return _usual_distance(certainty.features_stamp(version), films)


def picture_of(name: str, settings: Settings) -> str:
    """A training film by its name in the version, small, as a data: address; empty where it is not at hand.

    Looked for in the registered folders alone; only files inside them are opened, whatever the name says.
    """
    for place in data_sets.registered(settings):
        root = place.folder.resolve()
        path = (root / name).resolve()
        if path.is_relative_to(root) and path.is_file():
            picture, _ = data_sets.tile(str(path), *data_sets.version_of(path))
            if picture:
                return picture
    return ""


@st.cache_resource(max_entries=3, show_spinner=False)
def _usual_distance(stamp: str, _films: Reference) -> float | None:
    found = _films.distances("validation")
    return float(np.median(found)) if found.size else None


@st.cache_resource(max_entries=100, show_spinner=False)
def _held(identity: tuple[str, str, float, float], rate: float, _rule: Rule, _version: Version) -> Coverage:
    films = _version.predictions("test")
    return conformal.coverage(_rule, films.labels, films.probabilities)
