"""What the screens of one session share: who is there, the version in use, its predictor, the threshold.

Every page calls `enter` as its first statement: it is the page's own guard. `app.py` runs before a page as a rule, but
a page must not count on it. What is done on a screen asks once more: `permitted`, `may`, `on_record`.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import streamlit as st
from streamlit import runtime
from streamlit.navigation.page import Page

from model.calibration import Calibration, OperatingPoint
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
from utils import audit_trail, department, look, people
from utils.database import DatabaseError, transaction
from utils.decisions import point_at, rates_in_words
from utils.permissions import Action, Forbidden, Person, Role, SignedOut
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
_NOTED = "threshold-noted"
_FIXED = "threshold-fixed"
_OWNER = "session-owner"
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
        person: who is there.
    """

    version: Version | None
    problem: str
    threshold: float
    person: Person


_entry_has_run = threading.Event()
_PAGES = Path(__file__).resolve().parent.parent / "pages"


@dataclass(frozen=True)
class _Listed:
    """A screen in the menu, and what it takes to open it; None: to be signed in."""

    file: str
    title: str
    icon: str
    action: Action | None


_MENU = (
    _Listed("diagnose.py", "Diagnose", "radiology", Action.READ_FILMS),
    _Listed("worklist.py", "Worklist", "checklist", Action.SEE_OPEN_CASES),
    _Listed("live.py", "Live performance", "vital_signs", Action.SEE_METRICS),
    _Listed("metrics.py", "Metrics", "monitoring", Action.SEE_METRICS),
    _Listed("own_films.py", "Own films", "fact_check", Action.EVALUATE_OWN_FILMS),
    _Listed("data.py", "Data", "dataset", Action.SEE_DATA),
    _Listed("training.py", "Training", "model_training", Action.TRAIN),
    _Listed("models.py", "Models", "deployed_code", Action.MANAGE_MODELS),
    _Listed("administration.py", "Administration", "admin_panel_settings", Action.MANAGE_ACCOUNTS),
    _Listed("account.py", "Account", "account_circle", None),
)


def pages(person: Person) -> list[Page]:
    """The screens that this person may open, in the order of the menu; the first is where one starts."""
    listed = [
        each
        for each in _MENU
        if (person.account is not None if each.action is None else person.may(each.action))
        and (_PAGES / each.file).is_file()
    ]
    return [
        st.Page(_PAGES / each.file, title=each.title, icon=f":material/{each.icon}:", default=number == 0)
        for number, each in enumerate(listed)
    ]


def prepare() -> Person:
    """Set the page up, start loading the predictor in the background, put the threshold in the sidebar.

    For `app.py`. The slider stands there, and not on each page, because Streamlit takes the query parameters of one
    page's widgets out of the link when another page is opened, but leaves those of the entry script alone.

    Returns:
        Who is there. Where nobody is, the run ends here with a sentence.
    """
    st.set_page_config(page_title="Pneumoscope", page_icon=_ICON, layout="wide")
    person = _somebody(entry=True)
    _entry_has_run.set()
    st.session_state[_THRESHOLD_OF_THIS_RUN] = _frame(person)
    return person


def enter(title: str, action: Action | None) -> Screen:
    """Guard and frame of a page, its first statement: who is there, version in use and threshold.

    The run ends here, with a sentence, where nobody is signed in or the roles do not permit the page.

    Args:
        title: name of the page, for the browser's tab.
        action: what the page is for; None: whoever is signed in may open it.
    """
    person = _somebody()
    _pass_through_entry(person)
    threshold = st.session_state.pop(_THRESHOLD_OF_THIS_RUN, None)
    st.set_page_config(page_title=f"{title} · Pneumoscope")
    if action is not None and not person.may(action):
        _say_forbidden(person, action)
        st.stop()
    if threshold is None:
        # The page runs by itself, as in a test.
        st.set_page_config(page_icon=_ICON, layout="wide")
        threshold = _frame(person)
    version, problem = current_version()
    return Screen(version=version, problem=problem, threshold=threshold, person=person)


REFUSALS = (Forbidden, SignedOut, DatabaseError, SettingsError)
"""Why something was not done that the screen offered; each is one sentence."""
_Arguments = ParamSpec("_Arguments")


def permitted(action: Action) -> Callable[[Callable[_Arguments, object]], Callable[_Arguments, None]]:
    """Make a callback ask first: whoever may not do it reads a sentence instead, and nothing is done.

    What a screen hides or disables may still be asked for, by an old screen or by hand.
    """

    def ask_first(callback: Callable[_Arguments, object]) -> Callable[_Arguments, None]:
        @functools.wraps(callback)
        def asked(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
            if may(action):
                callback(*arguments, **named)

        return asked

    return ask_first


def may(action: Action) -> bool:
    """Whether the person of this run may do it, asked at the moment of doing it; says so where not."""
    try:
        person = people.current()
        person.require(action)
        people.still_there()
    except REFUSALS as error:
        st.error(str(error), icon=":material/block:")
        return False
    return True


@contextmanager
def on_record(
    action: Action,
    event: audit_trail.Event,
    *,
    subject: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Iterator[Person]:
    """Do something that the audit trail has to tell: the block runs where its line can be kept, or not at all.

    The line is there when the block ends, and taken back where the block fails.

    Args:
        action: what it takes to do it.
        event: what `utils.audit_trail` calls it.
        subject: what it is done to.
        before: how it was.
        after: how it is then.

    Raises:
        Forbidden: the person may not; nothing was done.
        SignedOut: nobody is signed in; nothing was done.
        DatabaseError: the line cannot be kept; nothing was done.
    """
    person = people.current()
    person.require(action)
    people.still_there()
    with transaction() as database:
        audit_trail.add(database, event, who=person, subject=subject, before=before or {}, after=after or {})
        yield person


def exported(
    make: Callable[[], bytes], *, subject: str, after: Mapping[str, Any] | None = None
) -> Callable[[], bytes]:
    """What a download button takes where the audit trail has to tell who took it: first the line, then the bytes.

    Args:
        make: makes the bytes, when the button is pressed, in a thread of its own.
        subject: what is taken.
        after: more of it.
    """
    person = people.later()

    def data() -> bytes:
        audit_trail.record("export", who=person(), subject=subject, after=after)
        return make()

    return data


def who_field(label: str, **options: Any) -> str:
    """A field for the name of whoever does something; filled in and closed where somebody is signed in.

    Args:
        label: of the field.
        options: of `st.text_input`.
    """
    person = people.current()
    if person.account is None:
        return str(st.text_input(label, **options))
    if (key := options.get("key")) is not None:
        st.session_state[key] = person.signature
        options.pop("value", None)
    else:
        options["value"] = person.signature
    st.text_input(label, **options | {"disabled": True})
    return person.signature


def who(typed: str) -> str:
    """The name to keep: what was typed, or where somebody is signed in, whoever that is."""
    person = people.current()
    return typed if person.account is None else person.signature


def _somebody(*, entry: bool = False) -> Person:
    """Who is there; ends the run with a sentence where nobody is."""
    try:
        if people.sign_in_required() and runtime.exists() and not people.guarded.is_set():
            raise SettingsError(
                "The server can be reached from elsewhere and does not ask for a sign-in: start it with "
                "`streamlit run app.py`."
            )
        person = people.current()
        people.still_there()
    except (SignedOut, DatabaseError, SettingsError) as error:
        if entry:
            # Or the menu of the run before would stay.
            st.navigation([st.Page(_nothing, title="Pneumoscope")], position="hidden")
        _end_with(str(error), link=("sign-in", "Sign in") if isinstance(error, SignedOut) else None)
    owner = st.session_state.setdefault(_OWNER, person.name)
    if owner != person.name:
        # A browser that lost its connection brings its old session along, whoever has signed in there since.
        _end_with("Somebody else has signed in here since.", link=("", "Load the page anew"))
    return person


def _end_with(sentence: str, *, link: tuple[str, str] | None) -> NoReturn:
    """End the run with a sentence; where a link leads on, nothing of the session is left behind it."""
    st.html(look.STYLE)
    st.error(sentence, icon=":material/lock:")
    if link is not None:
        owner = st.session_state.get(_OWNER)
        st.session_state.clear()
        if owner is not None:
            st.session_state[_OWNER] = owner
        st.html(f'<p class="pneu"><a href="{link[0]}">{link[1]}</a></p>')
    st.stop()


def _nothing() -> None:
    """A page without anything."""


def _say_forbidden(person: Person, action: Action) -> None:
    try:
        person.require(action)
    except Forbidden as error:
        st.error(str(error), icon=":material/block:")


def _frame(person: Person) -> float:
    version, _ = current_version()
    if version is not None:
        predictor(version)
    with st.sidebar:
        threshold = _threshold_controls(version, person)
        _who_is_there(person)
    return threshold


def _who_is_there(person: Person) -> None:
    """Foot of the sidebar."""
    if person.account is None:
        st.caption(
            ":material/lock_open: No sign-in is needed: the server listens to this computer only.",
            help="Where it can be reached from elsewhere, it asks everybody to sign in.",
        )
    else:
        _signed_in_as(person)


@st.fragment(run_every=_LOOK_EVERY)
def _signed_in_as(person: Person) -> None:
    """Who is signed in; a screen that lies open goes blank when nobody is any more, and its own look is no touch."""
    try:
        now = people.current()
    except SignedOut:
        now = None
    except (DatabaseError, SettingsError):
        now = person  # what is asked for next says so
    if now is None or now.roles != person.roles:
        st.rerun()
    roles = ", ".join(role.value for role in Role if role in person.roles)
    st.html(
        f'<div class="pneu pneu-quiet">Signed in as <strong>{escape(person.title)}</strong> ({escape(roles)}). '
        '<a href="sign-out">Sign out</a></div>'
    )


def _pass_through_entry(person: Person) -> None:
    """Run `app.py` first where a page was asked for before any session has run it.

    Until `st.navigation` has been called once in a server's life, Streamlit takes a `pages` folder for its older kind
    of app, whose pages run without the entry script (checked on 1.67). Calling it ends that; the same request is
    then run again, by way of `app.py`.
    """
    if not _entry_has_run.is_set():
        _entry_has_run.set()
        st.set_page_config(page_icon=_ICON)  # or the page's own would be fetched from the internet
        st.navigation(pages(person))
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
        Forbidden, SignedOut, DatabaseError: as `on_record`; nothing was done.
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
    with on_record(
        Action.SET_DEPARTMENT_THRESHOLD,
        "department threshold",
        subject=base.name,
        before=_told(department.policy_of(version)),
        after=_told(policy),
    ):
        department.adopt(get_settings().home, policy)
    st.session_state[_NEXT_THRESHOLD] = threshold
    st.session_state[_SCALE] = calibration
    return policy


def withdraw_threshold(version: Version, *, who: str) -> None:
    """Let the version's own threshold and calibration hold again; the slider goes back to where a session starts.

    Raises:
        DepartmentError: nobody is named, or the log cannot be written; one sentence.
        Forbidden, SignedOut, DatabaseError: as `on_record`; nothing was done.
    """
    base = department.base_of(version)
    with on_record(
        Action.SET_DEPARTMENT_THRESHOLD,
        "department threshold",
        subject=base.name,
        before=_told(department.policy_of(version)),
        after=_told(None),
    ):
        department.withdraw(get_settings().home, base.card, who=who)
    st.session_state[_NEXT_THRESHOLD] = start_threshold(base)
    st.session_state[_SCALE] = None


def _told(policy: department.Policy | None) -> dict[str, Any]:
    """What the audit trail keeps of the department's threshold."""
    if policy is None:
        return {"threshold": None}
    return {
        "threshold": policy.threshold,
        "calibrated": policy.calibration is not None,
        "reason": policy.reason,
    }


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


def _threshold_controls(version: Version | None, person: Person) -> float:
    points = () if version is None else version.card.operating_points
    _follow(version)
    if not person.may(Action.SET_THRESHOLD):
        return _fixed_threshold(version)
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
    _note_threshold(version, threshold, person)
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
    _tell_point(version, current)
    return threshold


def _tell_point(version: Version, current: OperatingPoint | None) -> None:
    """Where the threshold comes from, what the department has set, which version reads."""
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


def _fixed_threshold(version: Version | None) -> float:
    """The slider for those who may not move it: whatever the link or an old screen says, it stays at the start."""
    threshold = start_threshold(version)
    st.session_state[_FIXED] = threshold
    st.slider(
        "Threshold",
        min_value=0.0,
        max_value=1.0,
        step=0.001,
        format="%.3f",
        key=_FIXED,
        disabled=True,
        help="A film whose probability of pneumonia is at or above the threshold is flagged as PNEUMONIA. Clinicians "
        "may move it.",
    )
    if version is not None:
        _tell_point(version, point_at(version.card.operating_points, threshold))
    return threshold


def _note_threshold(version: Version, threshold: float, person: Person) -> None:
    """Each change of the session's threshold is a line of the audit trail, by whatever way it came."""
    name = department.base_of(version).name
    before = st.session_state.get(_NOTED, (name, start_threshold(version)))
    st.session_state[_NOTED] = (name, threshold)
    if before == (name, threshold) or before[0] != name:
        return
    try:
        audit_trail.record(
            "threshold",
            who=person,
            subject=name,
            before={"threshold": before[1]},
            after={"threshold": threshold},
        )
    except DatabaseError as error:
        st.session_state[_NOTED] = before  # told at the next run
        st.warning(f"The new threshold is not in the audit trail yet. {error}", icon=":material/warning:")


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


@permitted(Action.SET_THRESHOLD)
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
