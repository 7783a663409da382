"""What the screens of one session share: the version in use, its predictor, the threshold.

Every page calls `enter` as its first statement. `app.py` runs before a page as a rule, but a page must not count on it.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page

from model.calibration import Calibration
from model.inference import Predictor
from model.registry import (
    LOG_FILE,
    RELEASED,
    Predictions,
    Version,
    VersionError,
    find_version,
    scan_versions,
)
from utils import department, look
from utils.decisions import point_at, rates_in_words
from utils.settings import Settings, SettingsError, get_settings

log = logging.getLogger(__name__)

THRESHOLD = "threshold"
"""Key of the slider, and its name in the link: `?threshold=0.37`."""
STANDARD_POINT = "balanced"
"""Where a session starts, as `python -m model predict` does; a version without this point starts at 0.5."""
_POINT = "operating-point"
_NEXT_THRESHOLD = "threshold-next"
_SCALE = "threshold-scale"
_NETWORK = "network-seen"
_LOOK_EVERY = 5.0
"""Seconds between two looks, from an open screen, at which version is in use."""
_THRESHOLD_OF_THIS_RUN = "threshold-of-this-run"
# Drawn here: Streamlit fetches the named icons of a browser tab from an address of the internet.
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#0e1116"/>'
    '<path d="M14 6v9c-2-3-5-4-7 0-2 4-2 9-1 11 3 1 8-1 8-5zM18 6v9c2-3 5-4 7 0 2 4 2 9 1 11-3 1-8-1-8-5z" '
    'fill="#56b4e9"/></svg>'
)


@dataclass(frozen=True)
class Screen:
    """What a page works with.

    Attributes:
        version: the version in use; None where there is none that works.
        problem: why there is no version, one sentence; empty where there is one.
        threshold: the session's threshold in [0, 1].
    """

    version: Version | None
    problem: str
    threshold: float


_entry_has_run = threading.Event()
_PAGES = Path(__file__).resolve().parent.parent / "pages"


def pages() -> list[Page]:
    """The screens, in the order of the menu."""
    found = [
        st.Page(_PAGES / "diagnose.py", title="Diagnose", icon=":material/radiology:", default=True),
        st.Page(_PAGES / "metrics.py", title="Metrics", icon=":material/monitoring:"),
        st.Page(_PAGES / "own_films.py", title="Own films", icon=":material/fact_check:"),
        st.Page(_PAGES / "data.py", title="Data", icon=":material/dataset:"),
    ]
    if (_PAGES / "training.py").is_file():
        found.append(st.Page(_PAGES / "training.py", title="Training", icon=":material/model_training:"))
    if (_PAGES / "models.py").is_file():
        found.append(st.Page(_PAGES / "models.py", title="Models", icon=":material/deployed_code:"))
    return found


def prepare() -> None:
    """Set the page up, start loading the predictor in the background, put the threshold in the sidebar.

    For `app.py`. The slider stands there, and not on each page, because Streamlit takes the query parameters of one
    page's widgets out of the link when another page is opened, but leaves those of the entry script alone.
    """
    _entry_has_run.set()
    st.session_state[_THRESHOLD_OF_THIS_RUN] = _frame()


def enter(title: str) -> Screen:
    """Guard and frame of a page, its first statement: version in use and threshold.

    Args:
        title: name of the page, for the browser's tab.
    """
    _pass_through_entry()
    threshold = st.session_state.pop(_THRESHOLD_OF_THIS_RUN, None)
    if threshold is None:
        threshold = _frame()  # the page runs by itself, as in a test
    st.set_page_config(page_title=f"{title} · Pneumoscope")
    version, problem = current_version()
    return Screen(version=version, problem=problem, threshold=threshold)


def _frame() -> float:
    st.set_page_config(page_title="Pneumoscope", page_icon=_ICON, layout="wide")
    version, _ = current_version()
    if version is not None:
        predictor(version)
    with st.sidebar:
        return _threshold_controls(version)


def _pass_through_entry() -> None:
    """Run `app.py` first where a page was asked for before any session has run it.

    Until `st.navigation` has been called once in a server's life, Streamlit takes a `pages` folder for its older kind
    of app, whose pages run without the entry script (checked on 1.67). Calling it ends that; the same request is
    then run again, by way of `app.py`.
    """
    if not _entry_has_run.is_set():
        _entry_has_run.set()
        st.set_page_config(page_icon=_ICON)  # or the page's own would be fetched from the internet
        st.navigation(pages())
        st.rerun()


def current_version() -> tuple[Version | None, str]:
    """The version in use, or None and one sentence that says why not.

    The one that `PNEUMOSCOPE_VERSION` names, else the one promoted last: see `model.registry.version_in_use`. With the
    department's threshold and calibration, where one is in force: see `utils.department.adapted`. Read again only when
    a file of a version or one of the two logs changes, so that it costs next to nothing at each run of a page, and a
    promotion holds for all sessions from their next run on.
    """
    try:
        settings = get_settings()
        roots = (RELEASED, settings.versions)
        version = _find(settings.version, roots, _stamp(settings.version, roots))
        return _adapted(version, settings.home), ""
    except (SettingsError, VersionError) as error:
        return None, str(error)


def pinned() -> str:
    """What `PNEUMOSCOPE_VERSION` names, which goes before every promotion; empty where it is not set."""
    try:
        return get_settings().version or ""
    except SettingsError:
        return ""


def all_versions() -> tuple[Version, ...]:
    """All versions that can be read, newest first, each with what the department has put on top of it.

    The networks are not looked into. Empty where the settings cannot be used.
    """
    try:
        settings = get_settings()
    except SettingsError:
        return ()
    roots: tuple[Path, ...] = (RELEASED, settings.versions)
    if settings.version is not None and Path(settings.version).is_dir():
        roots += (Path(settings.version).absolute().parent,)
    return tuple(
        _adapted(version, settings.home) for version in _scan(roots, _stamp(settings.version, roots))
    )


def adopt_threshold(
    version: Version, threshold: float, *, who: str, reason: str, calibration: Calibration | None = None
) -> department.Policy:
    """Make a threshold the department's for a version, from now on and for every session; kept in its log.

    The session's slider goes to it at the next run: call it in a callback, or `st.rerun` afterwards.

    Args:
        version: as `current_version` gives it.
        threshold: in [0, 1]; on the scale of `calibration` where it is given, else on that of `version`.
        who: who adopts it.
        reason: why, in one sentence.
        calibration: a new calibration of the site, fitted to the probabilities of the version as it lies on disk; None
            leaves the one in force.

    Raises:
        DepartmentError: nobody is named, or the log cannot be written; one sentence.
        ValueError: the threshold does not lie in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"A threshold lies between 0 and 1, not {threshold}.")
    if not who.strip():
        raise department.DepartmentError("Say who sets the department's threshold: it is kept with the name.")
    if calibration is None and (in_force := department.policy_of(version)) is not None:
        calibration = in_force.calibration
    base = department.base_of(version)
    policy = department.Policy(
        version=base.name,
        sha256=base.card.sha256,
        threshold=threshold,
        calibration=calibration,
        who=who.strip()[: department.LONGEST_TEXT],
        when=datetime.now(UTC),
        reason=reason.strip()[: department.LONGEST_TEXT],
    )
    department.adopt(get_settings().home, policy)
    st.session_state[_NEXT_THRESHOLD] = threshold
    st.session_state[_SCALE] = calibration
    return policy


def withdraw_threshold(version: Version, *, who: str) -> None:
    """Let the version's own threshold and calibration hold again; the slider goes back to where a session starts.

    Raises:
        DepartmentError: nobody is named, or the log cannot be written; one sentence.
    """
    base = department.base_of(version)
    department.withdraw(get_settings().home, base.card, who=who)
    st.session_state[_NEXT_THRESHOLD] = start_threshold(base)
    st.session_state[_SCALE] = None


def predictor(version: Version) -> Future[Predictor]:
    """The predictor of a version, loading in a thread of its own since the first call of any session."""
    return _load(_identity(version), version, get_settings())


def forget_predictor(version: Version) -> None:
    """Drop a predictor that failed to load, so that the next call tries again."""
    _load.clear(_identity(version), version, get_settings())


def _identity(version: Version) -> str:
    """What decides a version's probabilities and which of them are read again in float32."""
    card = version.card
    points = sorted(point.threshold for point in card.operating_points)
    return repr((card.sha256, card.calibration.slope, card.calibration.intercept, points))


def _adapted(version: Version, home: Path) -> Version:
    log_file = department.log_file(home)
    try:
        stamp = log_file.stat()
    except OSError:
        return version
    return _adapt(
        str(version.folder), _identity(version), str(home), stamp.st_mtime_ns, stamp.st_size, version
    )


@st.cache_resource(max_entries=16, show_spinner=False)
def _adapt(folder: str, identity: str, home: str, modified_ns: int, size: int, _version: Version) -> Version:
    return department.adapted(_version, department.current_policy(Path(home), _version.card))


@st.cache_resource(max_entries=2, show_spinner=False)
def _scan(roots: tuple[Path, ...], stamp: tuple[tuple[str, int, int], ...]) -> tuple[Version, ...]:
    return scan_versions(*roots)[0]


@st.cache_resource(max_entries=4, show_spinner=False)
def _find(name: str | None, roots: tuple[Path, ...], stamp: tuple[tuple[str, int, int], ...]) -> Version:
    return find_version(name, *roots)


def _stamp(name: str | None, roots: tuple[Path, ...]) -> tuple[tuple[str, int, int], ...]:
    """Path, time and size of every file that decides which version is in use: networks, cards, log of promotions."""
    folders = [
        folder for root in roots if root.is_dir() for folder in sorted(root.iterdir()) if folder.is_dir()
    ]
    if name is not None and Path(name).is_dir():
        folders.append(Path(name))
    stamps = []
    for file in (
        *(folder / part for folder in folders for part in ("card.json", "model.h5")),
        *(root / LOG_FILE for root in roots),
    ):
        try:
            status = file.stat()
        except OSError:
            continue
        stamps.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def _in_use(name: str) -> str:
    return f"Version {name}, as PNEUMOSCOPE_VERSION says" if pinned() else f"Version {name}"


@st.fragment(run_every=_LOOK_EVERY)
def _version_line(version: Version) -> None:
    """Which version reads the films; a screen that lies open comes along when another one is promoted elsewhere."""
    now, _ = current_version()
    if now is not None and _identity(now) != _identity(version):
        st.rerun()
    st.caption(f"{_in_use(version.name)}, {version.card.created:%d %B %Y}")


@st.cache_resource(max_entries=2, show_spinner=False)
def _load(identity: str, _version: Version, _settings: Settings) -> Future[Predictor]:
    future: Future[Predictor] = Future()

    def work() -> None:
        try:
            loaded = Predictor.load(
                _version, cache=_settings.cache, precision=_settings.precision, engine=_settings.engine
            )
            future.set_result(loaded)
        except Exception as error:
            # Whatever goes wrong must reach the waiting page, or it would wait for ever.
            log.error("version %s could not be loaded: %s", _version.name, error)
            future.set_exception(error)

    threading.Thread(target=work, name=f"load-{_version.name}", daemon=True).start()
    return future


def _threshold_controls(version: Version | None) -> float:
    points = () if version is None else version.card.operating_points
    _follow(version)
    threshold = float(
        st.slider(
            "Threshold",
            min_value=0.0,
            max_value=1.0,
            value=start_threshold(version),
            step=0.001,
            format="%.3f",
            key=THRESHOLD,
            bind="query-params",
            help="A film whose probability of pneumonia is at or above the threshold is flagged as PNEUMONIA.",
        )
    )
    if version is None:
        return threshold
    # The buttons follow the slider: which of them is lit is derived, never stored.
    current = point_at(points, threshold)
    st.session_state[_POINT] = None if current is None else current.name
    labels = {point.name: f"{point.name} {point.threshold:.3f}" for point in points}
    st.pills(
        "Operating points",
        options=list(labels),
        format_func=lambda name: labels[name],
        key=_POINT,
        on_change=_take_point,
        args=({point.name: point.threshold for point in points},),
    )
    policy = department.policy_of(version)
    if current is not None and current.name == department.POINT:
        st.caption("The department's own threshold.")
    elif current is not None:
        st.caption(f"**{current.name}**: {current.rule}")
    else:
        st.caption("Set by hand, between the operating points.")
    if policy is not None:
        reason = f" Reason: {look.plain(policy.reason.rstrip('.'))}." if policy.reason else ""
        st.caption(f":material/flag: {look.plain(policy.in_words)}.{reason}")
        if policy.calibration is not None:
            st.caption(
                f"Probabilities are calibrated for this site: {look.plain(policy.calibration.fitted_on)}."
            )
    _version_line(version)
    return threshold


def start_threshold(version: Version | None) -> float:
    """Where a session starts: the department's threshold, else the standard point, else 0.5."""
    points = () if version is None else version.card.operating_points
    thresholds = {point.name: point.threshold for point in points}
    return thresholds.get(department.POINT, thresholds.get(STANDARD_POINT, 0.5))


def _follow(version: Version | None) -> None:
    """Bring the slider to what was adopted, and along when another session changed the scale of probabilities.

    A threshold means nothing to another network: where another version was put in use, the slider starts anew.
    """
    network = "" if version is None else department.base_of(version).card.sha256
    network_before = st.session_state.get(_NETWORK, network)
    st.session_state[_NETWORK] = network or network_before
    policy = department.policy_of(version)
    scale = None if policy is None else policy.calibration
    before = st.session_state.get(_SCALE, scale)
    st.session_state[_SCALE] = scale
    if (chosen := st.session_state.pop(_NEXT_THRESHOLD, None)) is not None:
        st.session_state[THRESHOLD] = chosen
    elif version is not None and network != network_before:
        st.session_state[THRESHOLD] = start_threshold(version)
        st.toast(
            f"In use is now version {version.name}. The threshold starts at {start_threshold(version):.3f}.",
            icon=":material/deployed_code:",
        )
    elif before != scale and THRESHOLD in st.session_state:
        st.session_state[THRESHOLD] = department.moved(
            st.session_state[THRESHOLD], before=before, after=scale
        )


def _take_point(thresholds: dict[str, float]) -> None:
    name = st.session_state[_POINT]
    if name is not None:
        st.session_state[THRESHOLD] = thresholds[name]


def rates_at(version: Version, threshold: float) -> str:
    """What the threshold costs and gains, from the version's stored test predictions, in one sentence."""
    try:
        return rates_in_words(_test_predictions(_identity(version), version), threshold=threshold)
    except (OSError, VersionError, KeyError, ValueError):
        return "What this threshold costs and gains is not known: this version holds no test predictions."


@st.cache_data(max_entries=4, show_spinner=False)
def _test_predictions(identity: str, _version: Version) -> Predictions:
    return _version.predictions("test")
