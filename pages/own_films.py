"""Own films: how good the network is on the films of this site, and what the department makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from model import archive
from model.calibration import Calibration
from model.curves import films_needed
from model.dataset import CLASSES, DatasetError
from model.evaluation import Interval, ScoredFilms, proportion, scored
from model.registry import Version, VersionError
from model.scoring import chosen_films, count_films
from model.site import Recalibration, Rule, SiteThreshold, compare, recalibrate, threshold_for_site, too_few
from utils import data_sets, department, look, own_films, session
from utils.decisions import ASSISTS
from utils.dropped import let_go
from utils.own_films import EvaluatedSet, Job, OwnFilmsError
from utils.permissions import Action
from utils.settings import get_settings

screen = session.enter("Own films", Action.EVALUATE_OWN_FILMS)

HOW = "own-how"
SET = "own-set"
OTHER = "Another folder"
FOLDER = "own-folder"
NAME = "own-name"
WHO = "own-who"
PART = "own-part"
CHOSEN = "own-chosen"
UPLOADS = "own-uploads"
LISTED = "own-zip-listed"
JOB = "own-job"
METRICS_DATA = "metrics-data"

MOST_MEGABYTES = 1024
EXPECTED_RATE = 0.90
HALF_WIDTH = 0.05
SHOWN_BAD_FILES = 30
ALL = "all films"
RULES: dict[Rule | Literal["slider"], str] = {
    "sensitivity": "Sensitivity of at least …",
    "specificity": "Specificity of at least …",
    "youden": "Highest sensitivity + specificity (Youden)",
    "slider": "The threshold in the sidebar",
}
SHARES = ("As here", "Half and half", "Other")


@dataclass(frozen=True)
class Source:
    """Films that could be scored: a folder or an uploaded ZIP, what to call it, and its films by part and class."""

    folder: Path | None
    archive: UploadedFile | None
    title: str
    counts: dict[str, dict[str, int]]


def main() -> None:
    st.html(look.STYLE)
    st.title("Validate on your own films")
    version = screen.version
    if version is None:
        st.error(f"{screen.problem} Until then no film can be scored.", icon=":material/error:")
        st.caption(ASSISTS)
        return
    home = get_settings().home
    st.markdown(
        "How good is the network on the films of **this** site? Give it films whose diagnosis is known, and never "
        "films it was trained on. The films are read once and not kept: only their file names, labels and "
        "probabilities are."
    )
    job = own_films.latest_job()
    with st.container(border=True, key="own-new"):
        if job is not None and job.running:
            watch(job)
        else:
            ended(job)
            new_set(version, home)
    kept = own_films.list_sets(home)
    if kept:
        results(kept, version, home)
    else:
        st.info("No set has been scored yet. What you score is listed here.", icon=":material/info:")
    agreed(version, home)
    st.caption(ASSISTS)


# --- a new set ---


def new_set(version: Version, home: Path) -> None:
    st.markdown("#### Score a set of films")
    how = st.segmented_control(
        "Where are the films?",
        options=["Folder", "ZIP"],
        default="Folder",
        required=True,
        key=HOW,
        persist_state="session",
    )
    try:
        source = from_folder() if how == "Folder" else from_zip()
    except (DatasetError, archive.ArchiveError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        source = None
    part: str | None = None
    if source is not None:
        part = which_part(source)
        preview(source, part)
    one, two = st.columns(2)
    name = one.text_input(
        "Name of the set",
        key=NAME,
        persist_state="session",
        max_chars=60,
        placeholder="Ward 3, spring",
        help=f"For the list below: {own_films.NAME_RULE}.",
    )
    with two:
        who = session.who_field("Your name", key=WHO, persist_state="session", max_chars=100)
    if st.button("Score these films", type="primary", icon=":material/play_arrow:", disabled=source is None):
        assert source is not None
        begin(source, part, name=name, who=who, version=version, home=home)


def from_folder() -> Source | None:
    places = {place.label: place.folder for place in data_sets.registered(get_settings())}
    # What the server can read is more than a department's films: whoever looks after it may name any folder.
    may_type = screen.person.may(Action.SEE_DATA)
    if not places and not may_type:
        st.info("There is no registered set of films: upload a ZIP.", icon=":material/info:")
        return None
    if places:
        options = [OTHER, *places] if may_type else list(places)
        if st.session_state.get(SET) not in options:
            st.session_state[SET] = options[0]
        name = st.selectbox("Set of films", options, key=SET, persist_state="session")
        if name != OTHER:
            folder = places[name]
            st.caption(f"In {look.plain(str(folder))}. The films stay where they are.")
            return Source(folder=folder, archive=None, title=str(folder), counts=counted(str(folder)))
    text = st.text_input(
        "Folder on the computer that runs Pneumoscope",
        key=FOLDER,
        persist_state="session",
        placeholder="/films/ward-3",
        help="A folder with NORMAL and PNEUMONIA in it, or with train and test that hold these two.",
    ).strip()
    st.caption(
        "With NORMAL and PNEUMONIA in it, or train and test with these. The films stay where they are."
    )
    if not text:
        return None
    folder = Path(text).expanduser().absolute()
    return Source(folder=folder, archive=None, title=text, counts=counted(str(folder)))


@st.cache_data(max_entries=8, ttl=20, show_spinner="Counting the films")
def counted(folder: str) -> dict[str, dict[str, int]]:
    films = chosen_films(Path(folder))
    splits = dict.fromkeys(film.split for film in films)
    return {split: count_films([film for film in films if film.split == split]) for split in splits}


def from_zip() -> Source | None:
    upload = st.file_uploader(
        "ZIP of a folder of labelled films",
        type=["zip"],
        max_upload_size=MOST_MEGABYTES,
        key=f"own-zip-{st.session_state.setdefault(UPLOADS, 0)}",
    )
    st.caption(
        "With NORMAL and PNEUMONIA in it, or train and test with these. It is unpacked under this installation's own "
        "folder for as long as the scoring takes, then removed. Limits: "
        f"{MOST_MEGABYTES // 1024} GB, {archive.LIMITS}."
    )
    if upload is None:
        st.session_state.pop(LISTED, None)
        return None
    identity, counts = st.session_state.get(LISTED, ("", {}))
    if identity != upload.file_id:
        counts = archive.contents(upload).counts
        st.session_state[LISTED] = (upload.file_id, counts)
    return Source(folder=None, archive=upload, title=upload.name, counts=counts)


def which_part(source: Source) -> str | None:
    """The part of the folder to score; None: all of it."""
    if len(source.counts) == 1:
        return None
    options = [*source.counts, ALL]
    part = st.segmented_control(
        "Which part?",
        options=options,
        default="test" if "test" in options else options[0],
        required=True,
        key=PART,
    )
    return None if part == ALL else part


def preview(source: Source, part: str | None) -> None:
    """How many films there are, and how many are needed."""
    parts = [part] if part is not None else list(source.counts)
    counts = {name: sum(source.counts[each][name] for each in parts) for name in CLASSES}
    needed = films_needed(EXPECTED_RATE, HALF_WIDTH)
    st.table(
        [
            {
                "Class": name,
                "Films": f"{count:,}",
                f"± {HALF_WIDTH * 100:.0f} points need": f"{needed:,} films",
                f"A rate of {EXPECTED_RATE:.0%} would be known to".replace("%", " %"): _known_to(count),
            }
            for name, count in counts.items()
        ],
        hide_index=True,
        border="horizontal",
    )
    short = [name for name, count in counts.items() if count < needed]
    if short:
        st.caption(
            f":material/warning: Few films of {' and '.join(short)}: the result will be rough, as its intervals will "
            "show."
        )
    else:
        st.caption(":material/check: Enough films of both classes for a meaningful result.")
    if "train" in parts:
        st.warning(
            "A folder called train may hold films that a network was trained on. These flatter it: score films that "
            "it has never seen.",
            icon=":material/warning:",
        )


def _known_to(count: int) -> str:
    interval = proportion(round(EXPECTED_RATE * count), count).interval
    return "–" if interval is None else f"± {(interval.high - interval.low) * 50:.0f} points"


def begin(source: Source, part: str | None, *, name: str, who: str, version: Version, home: Path) -> None:
    base = department.base_of(version)
    if not session.may(Action.EVALUATE_OWN_FILMS):
        return
    try:
        if not name.strip():
            raise OwnFilmsError("Give the set a name, for the list below.")
        job = own_films.start(
            home,
            name=name,
            who=who,
            version=base,
            predictor=session.predictor(base),
            folder=source.folder,
            archive=None if source.archive is None else source.archive.getvalue(),
            source=source.title,
            split=part,
        )
    except OwnFilmsError as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    st.session_state[JOB] = job
    if source.archive is not None:
        let_go(source.archive)
    st.session_state[UPLOADS] = st.session_state.get(UPLOADS, 0) + 1
    st.rerun()


@st.fragment(run_every=1.0)
def watch(job: Job) -> None:
    """Progress of the running job, whoever started it."""
    if not job.running:
        st.rerun()
    what = {
        "waiting": "Waiting for the network to be loaded",
        "unpacking": f"Unpacked {job.done:,} of {job.total:,} films",
    }.get(job.phase, f"Read {job.done:,} of {job.total:,} films")
    st.markdown(f"#### Scoring {look.plain(job.name)}")
    line, button = st.columns([5, 1], vertical_alignment="center")
    text = "Stopping" if job.cancelling else what
    line.progress(job.done / job.total if job.total else 0.0, text=text)
    button.button(
        "Cancel",
        on_click=session.permitted(Action.EVALUATE_OWN_FILMS)(job.cancel),
        disabled=job.cancelling,
        width="stretch",
    )
    st.caption(f"Started by {look.plain(job.who)}. It goes on when you leave this page or close the browser.")


def ended(job: Job | None) -> None:
    """How this session's last job ended."""
    if job is None or id(st.session_state.get(JOB)) != id(job):
        return
    if job.phase == "done":
        st.success(f"The set {look.plain(job.name)} is scored and kept below.", icon=":material/check:")
        if st.session_state.get("own-shown") is not job:
            st.session_state["own-shown"] = job
            st.session_state[CHOSEN] = job.name
    elif job.phase == "cancelled":
        st.info(f"Scoring of {look.plain(job.name)} was cancelled; nothing was kept.", icon=":material/info:")
    elif job.phase == "failed":
        st.error(look.plain(job.message), icon=":material/error:")


# --- kept sets ---


def results(kept: tuple[EvaluatedSet, ...], version: Version, home: Path) -> None:
    st.markdown("#### Scored sets")
    st.dataframe(
        [
            {
                "Name": each.name,
                "Scored": each.created.astimezone().strftime("%Y-%m-%d %H:%M"),
                "By": each.who,
                "Version": each.version,
                **{name: each.counts.get(name, 0) for name in CLASSES},
                "Not read": len(each.unreadable),
                "From": each.source,
            }
            for each in kept
        ],
        hide_index=True,
        height="content" if len(kept) <= 5 else 220,
        alt="The sets scored so far, newest first",
    )
    names = [each.name for each in kept]
    if st.session_state.get(CHOSEN) not in names:
        st.session_state[CHOSEN] = names[0]
    name = st.selectbox("Open a set", options=names, key=CHOSEN)
    chosen = next(each for each in kept if each.name == name)
    actions(chosen, version, home)
    if chosen.unreadable:
        shown = chosen.unreadable[:SHOWN_BAD_FILES]
        st.html(look.bad_files([(each.file, each.reason) for each in shown], count=len(chosen.unreadable)))
    if chosen.sha256 != version.card.sha256:
        st.info(
            f"These films were scored with version {chosen.version}; in use is {version.name}. Score them again to "
            "compare and to choose a threshold.",
            icon=":material/info:",
        )
        return
    try:
        site = measured(*_stamp(chosen, version, home), chosen)
    except (OwnFilmsError, ValueError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    left, right = st.columns(2, gap="large")
    with left:
        beside(site, version)
    with right:
        for_this_site(chosen, site, version, home)


def _stamp(chosen: EvaluatedSet, version: Version, home: Path) -> tuple[str, str]:
    return str(chosen.folder), f"{chosen.created.isoformat()} {version.name} {home}"


@st.cache_resource(max_entries=4, show_spinner=False)
def measured(folder: str, stamp: str, _chosen: EvaluatedSet) -> ScoredFilms:
    films = _chosen.predictions()
    return scored(films.labels, films.probabilities, patients=films.patients)


@st.cache_resource(max_entries=2, show_spinner=False)
def of_test(name: str, folder: str, _version: Version) -> ScoredFilms:
    films = _version.predictions("test")
    return scored(films.labels, films.probabilities, patients=films.patients)


def actions(chosen: EvaluatedSet, version: Version, home: Path) -> None:
    part = "" if chosen.split is None else f", part {chosen.split}"
    st.caption(
        f"Scored on {chosen.created.astimezone():%d %B %Y, %H:%M} by {look.plain(chosen.who)} with version "
        f"{chosen.version} from {look.plain(chosen.source)}{part}."
    )
    job = own_films.latest_job()
    running = job is not None and job.running
    with st.container(horizontal=True):
        if st.button("Open in Metrics", icon=":material/monitoring:"):
            st.session_state[METRICS_DATA] = f"own:{chosen.name}"
            st.switch_page("pages/metrics.py")
        again = st.button(
            "Score again",
            icon=":material/replay:",
            disabled=chosen.films is None or running,
            help="Reads the same folder once more with the version in use, as a set of its own."
            if chosen.films is not None
            else "The films are not kept: upload the ZIP again, or name the folder anew.",
        )
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown(
                f"Delete **{look.plain(chosen.name)}**? Its probabilities are lost; the films are not touched."
            )
            if st.button("Delete this set", type="primary"):
                try:
                    with session.on_record(
                        Action.EVALUATE_OWN_FILMS, "deletion", subject=f"own films {chosen.name}"
                    ):
                        own_films.delete_set(home, chosen.name)
                except (OwnFilmsError, *session.REFUSALS) as error:
                    st.error(look.plain(str(error)))
                else:
                    st.rerun()
    if again and chosen.films is not None:
        source = Source(folder=chosen.films, archive=None, title=chosen.source, counts={})
        name = own_films.free_name(home, chosen.name)
        who = session.who(st.session_state.get(WHO) or chosen.who)
        begin(source, chosen.split, name=name, who=who, version=version, home=home)


def beside(site: ScoredFilms, version: Version) -> None:
    st.markdown("#### Beside the test set")
    try:
        test = of_test(version.name, str(version.folder), version)
    except (VersionError, ValueError) as error:
        st.info(look.plain(str(error)), icon=":material/info:")
        return
    found = compare(site.at(screen.threshold), test.at(screen.threshold))
    st.table(
        [
            {
                "Figure": row.name,
                "This site": _figure(row.site, row.site_interval),
                "Test set": _figure(row.test, row.test_interval),
                "Difference": "–" if row.difference is None else _signed(row.difference),
            }
            for row in found.rows
        ],
        hide_index=True,
        border="horizontal",
    )
    st.markdown(found.words)
    st.caption(
        f"At threshold {screen.threshold:.3f}, with 95 % intervals; those that allow for several films of a patient, "
        "where patients are known from the file names."
    )


def _figure(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + ("" if interval is None else f" ({interval.low:.3f} – {interval.high:.3f})")


def _signed(interval: Interval) -> str:
    return f"{interval.low:+.3f} to {interval.high:+.3f}".replace("-", "−")


# --- what suits this site ---


def for_this_site(chosen: EvaluatedSet, site: ScoredFilms, version: Version, home: Path) -> None:
    st.markdown("#### For this site")
    reason = too_few(site.labels)
    if reason:
        st.info(reason, icon=":material/info:")
        return
    policy = department.policy_of(version)
    in_force = None if policy is None else policy.calibration
    calibration = in_force
    try:
        stamp = _stamp(chosen, version, home)
        if st.toggle("Recalibrate the probabilities on these films", key="own-recalibrate"):
            share = which_share(site)
            fitted = fitted_to(*stamp, share, chosen)
            show_errors(
                fitted, flattered=in_force is not None and in_force.fitted_on == fitted.calibration.fitted_on
            )
            calibration = fitted.calibration
        elif in_force is not None:
            st.caption(f"The calibration in force stays: {look.plain(in_force.fitted_on)}.")
        threshold = which_threshold(chosen, stamp, before=in_force, after=calibration)
    except (OwnFilmsError, ValueError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    if not screen.person.may(Action.SET_DEPARTMENT_THRESHOLD):
        st.info("An administrator makes it the department's threshold.", icon=":material/info:")
        return
    who = session.who_field(
        "Who decides", key="own-adopt-who", value=st.session_state.get(WHO, ""), max_chars=100
    )
    why = st.text_input(
        "Reason", key="own-adopt-reason", max_chars=200, placeholder="Fewer missed pneumonias"
    )
    if st.button(f"Make {threshold:.3f} the department's threshold", icon=":material/flag:"):
        try:
            session.adopt_threshold(
                version,
                threshold,
                who=who,
                reason=why.strip() or f"Chosen on the set {chosen.name}",
                calibration=calibration,
            )
        except (department.DepartmentError, *session.REFUSALS) as error:
            st.error(look.plain(str(error)), icon=":material/error:")
        else:
            st.rerun()


def which_share(site: ScoredFilms) -> float | None:
    """The share of pneumonia at which the probabilities shall be right; None: that of these films."""
    own = float(site.labels.mean())
    choice = st.segmented_control(
        "Share of pneumonia for which the probabilities shall be right",
        options=SHARES,
        format_func=lambda text: f"{text} ({own:.0%})".replace("%)", " %)") if text == SHARES[0] else text,
        default=SHARES[0],
        required=True,
        key="own-share",
    )
    if choice == SHARES[1]:
        return 0.5
    if choice == SHARES[2]:
        return (
            float(st.number_input("Percent", 0.1, 99.9, 20.0, 1.0, format="%.1f", key="own-share-percent"))
            / 100
        )
    return None


@st.cache_data(max_entries=8, show_spinner=False)
def fitted_to(folder: str, stamp: str, share: float | None, _chosen: EvaluatedSet) -> Recalibration:
    stored, now = _chosen.stored_table(), _chosen.predictions()
    return recalibrate(
        now.labels,
        stored["probability"].to_numpy(),
        patients=now.patients,
        in_use=now.probabilities,
        prevalence=share,
        fitted_on=f"{len(now.files):,} films of the set {_chosen.name}",
    )


@st.cache_data(max_entries=16, show_spinner=False)
def chosen_on(
    folder: str,
    stamp: str,
    rule: Rule,
    target: float | None,
    scale: str,
    _chosen: EvaluatedSet,
    _scale: Calibration | None,
) -> SiteThreshold:
    stored = _chosen.stored_table()
    return threshold_for_site(
        (stored["label"] == CLASSES[1]).to_numpy(dtype="int64"),
        department.recalibrated(stored["probability"], _scale),
        patients=tuple(stored["patient"]),
        rule=rule,
        target=target,
    )


def show_errors(fitted: Recalibration, *, flattered: bool) -> None:
    st.table(
        [
            {
                "": "Calibration error",
                "In use": f"{fitted.before.ece:.3f}",
                "Recalibrated": f"{fitted.after.ece:.3f}",
            },
            {
                "": "Brier score",
                "In use": f"{fitted.before.brier:.3f}",
                "Recalibrated": f"{fitted.after.brier:.3f}",
            },
        ],
        hide_index=True,
        border="horizontal",
    )
    if flattered:
        verdict = "The calibration in use was fitted to these very films, so its own errors flatter it."
    elif fitted.after.brier < fitted.before.brier:
        verdict = "Recalibrating helps here."
    else:
        verdict = "Recalibrating does not help here."
    st.caption(
        f"{verdict} Recalibrated: judged on films that were not "
        "fitted to: five parts in turn, all films of a patient in one part, at "
        f"{fitted.prevalence * 100:.0f} % pneumonia. Lower is better. The order of films, and so the AUC, stays."
    )


def which_threshold(
    chosen: EvaluatedSet, stamp: tuple[str, str], *, before: Calibration | None, after: Calibration | None
) -> float:
    rule = st.selectbox(
        "Threshold", options=list(RULES), format_func=lambda name: RULES[name], key="own-rule"
    )
    if rule == "slider":
        return (
            screen.threshold
            if before == after
            else department.moved(screen.threshold, before=before, after=after)
        )
    target = None
    if rule != "youden":
        target = (
            st.number_input("Percent", 50.0, 100.0, 95.0, 0.5, format="%.1f", key=f"own-target-{rule}") / 100
        )
    found = chosen_on(*stamp, rule, target, repr(after), chosen, after)
    st.markdown(
        f"Threshold **{found.point.threshold:.3f}**: sensitivity "
        f"{_figure(found.sensitivity.value, found.sensitivity.interval)}, specificity "
        f"{_figure(found.specificity.value, found.specificity.interval)}."
    )
    st.caption("Both rates are of films that the threshold was not chosen on: cross-validated by patient.")
    return found.point.threshold


# --- what is in force ---


def agreed(version: Version, home: Path) -> None:
    st.markdown("#### The department's threshold")
    policy = department.policy_of(version)
    if policy is None:
        st.markdown(
            f"None is set: sessions start at the version's own threshold, {session.start_threshold(version):.3f}."
        )
    else:
        words = (
            f"{look.plain(policy.in_words)}. Reason: {look.plain(policy.reason.rstrip('.')) or 'none given'}."
        )
        if policy.calibration is not None:
            words += f" Probabilities are recalibrated on {look.plain(policy.calibration.fitted_on)}."
        st.markdown(words)
        may = screen.person.may(Action.SET_DEPARTMENT_THRESHOLD)
        with st.popover("Withdraw it", icon=":material/undo:", disabled=not may):
            who = session.who_field(
                "Who withdraws it", key="own-withdraw-who", value=st.session_state.get(WHO, "")
            )
            if st.button("Withdraw", type="primary"):
                try:
                    session.withdraw_threshold(version, who=who)
                except (department.DepartmentError, *session.REFUSALS) as error:
                    st.error(look.plain(str(error)))
                else:
                    st.rerun()
    entries = department.log(home)
    if entries:
        with st.expander(f"Log ({len(entries)})"):
            st.table(
                [
                    {
                        "When": entry.when.astimezone().strftime("%Y-%m-%d %H:%M"),
                        "Who": look.plain(entry.who),
                        "What": look.plain(entry.what),
                    }
                    for entry in entries[:100]
                ],
                hide_index=True,
                border="horizontal",
            )


main()
