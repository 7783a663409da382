"""Training: from a folder of films to a version of the network, watched while it grows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas
import plotly.graph_objects as go
import streamlit as st

from model import archive, jobs
from model.architectures import ARCHITECTURES, Architecture, weights_available
from model.dataset import CLASSES, DatasetError, Film, hold_out
from model.exploration import Exploration, ExplorationCancelled, counts
from model.jobs import Job, JobError
from model.recipes import ConfigError, TrainingConfig, default_config
from pages.metrics_parts.training_history import available
from utils import charts, data_sets, look, session, training_form, training_runs, uploads
from utils.data_sets import FilmSet
from utils.decisions import ASSISTS
from utils.settings import Settings, SettingsError, get_settings
from utils.training_form import Entry
from utils.training_runs import Estimate, EstimateError
from utils.uploads import Upload, UploadError

screen = session.enter("Training")

# Names of what a session keeps.
SECTION = "training-section"
SET = "training-set"
FOLDER = "training-folder"
LISTING = "training-listing"
CHECKED = "training-checked"
JOINED = "training-joined"
SESSION = "training-session"
UPLOADS = "training-uploads"
UPLOAD = "training-upload"
ARCHITECTURE = "training-architecture"
WEIGHTS = "training-weights"
WEIGHTS_FILE = "training-weights-file"
NAME = "training-name"
SUGGESTED = "training-name-suggested"
WHO = "training-who"
ESTIMATE = "training-estimate"
PROBLEM = "training-problem"
CHOSEN = "training-run"
COMPARE = "models-compare"

RUNS, NEW = "Runs", "New run"
OTHER, ZIP = "Another folder", "Upload a ZIP"
MOST_MEGABYTES = 1024
TILES = 8  # of each class
SHOWN_BAD_FILES = 20
FILE = "file"
CURVES: Sequence[charts.HistoryFigure] = ("loss", "accuracy", "auc", "precision", "recall", "f1")
MODELS_PAGE = Path(__file__).with_name("models.py")


def main() -> None:
    st.html(look.STYLE)
    st.title("Training")
    try:
        settings = get_settings()
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
        st.caption(ASSISTS)
        return
    jobs.advance(settings.home)
    known = jobs.list_jobs(settings.home)
    if st.session_state.get(SECTION) not in (RUNS, NEW):
        st.session_state[SECTION] = RUNS if known else NEW
    section = st.segmented_control(
        "What to do",
        [RUNS, NEW],
        required=True,
        key=SECTION,
        persist_state="session",
        label_visibility="collapsed",
    )
    if section == NEW:
        new_run(settings)
    else:
        show_runs(settings.home, known)
    st.caption(ASSISTS)


def go_to(section: str) -> None:
    st.session_state[SECTION] = section


# --- films ------------------------------------------------------------------------------------------


def new_run(settings: Settings) -> None:
    """From the films to the start."""
    with st.container(border=True):
        st.markdown("#### 1. Films")
        films = chosen_films(settings)
        found = None if films is None else checked(films)
        blocking = [] if found is None else show_check(found)
    if films is None:
        return
    with st.container(border=True):
        st.markdown("#### 2. Recipe")
        config = recipe(settings.home)
    with st.container(border=True):
        st.markdown("#### 3. Start")
        if found is None:
            blocking = ["check the films above"]
        start(settings.home, films, config, blocking)


def chosen_films(settings: Settings) -> FilmSet | None:
    """The set to train on; None, and what to do about it, where there is none yet."""
    upload = uploads.latest()
    if upload is not None and upload.running:
        watch_upload(upload)
        return None
    ended_upload(upload)
    places = {place.label: place.folder for place in data_sets.registered(settings)}
    options = [*places, OTHER, ZIP]
    if st.session_state.get(SET) not in options:
        st.session_state[SET] = options[0]
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.selectbox("Set of films", options, key=SET, persist_state="session")
    if name == ZIP:
        take_zip(settings.home)
        return None
    typed = ""
    if name == OTHER:
        typed = right.text_input(
            "Folder, as the server sees it",
            key=FOLDER,
            persist_state="session",
            placeholder="/data/films",
            help="It holds the folders NORMAL and PNEUMONIA, or train and test with these two in each.",
        )
        if not typed.strip():
            st.info(
                "Name a folder of X-rays to train on, or upload a ZIP of one. It holds the folders NORMAL and "
                "PNEUMONIA, or train and test with these two in each. Files are only read, never changed.",
                icon=":material/folder_open:",
            )
            return None
    try:
        folder = data_sets.typed_folder(typed) if name == OTHER else places[name]
        films = listed(folder)
    except DatasetError as error:
        st.session_state.pop(LISTING, None)
        st.error(look.plain(str(error)), icon=":material/error:")
        st.button("Look again", icon=":material/refresh:")
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(films.dataset.films):,} files in {look.plain(str(folder))}", width="content")
        st.button(
            "List again",
            icon=":material/refresh:",
            type="tertiary",
            on_click=lambda: st.session_state.pop(LISTING, None),
            help="Look for files that came, went or changed.",
        )
        if st.button("More in Data", icon=":material/dataset:", type="tertiary"):
            st.session_state["data-set"] = name if name in places else OTHER
            if name == OTHER:
                st.session_state["data-folder"] = typed
            st.switch_page("pages/data.py")
        if (facts := uploads.facts_of(folder)) is not None and folder in uploads.uploaded_sets(settings.home):
            delete_films(settings.home, folder, facts)
    return films


def delete_films(home: Path, folder: Path, facts: uploads.Facts) -> None:
    with st.popover("Delete", icon=":material/delete:", type="tertiary"):
        st.markdown(
            f"Delete the films of **{look.plain(folder.name)}**, uploaded by {look.plain(facts.who)} on "
            f"{facts.created.astimezone():%d %B %Y} from {look.plain(facts.source)}? Versions trained on them stay."
        )
        if st.button("Delete these films", type="primary"):
            try:
                uploads.delete_set(home, folder.name)
            except UploadError as error:
                st.error(look.plain(str(error)))
            else:
                st.session_state.pop(LISTING, None)
                st.rerun()


def listed(folder: Path) -> FilmSet:
    """The listing of a folder, kept until another is chosen: thousands of files take a second."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder} (any more): check its name, or whether it is mounted."
        )
    kept = st.session_state.get(LISTING)
    if kept is None or kept[0] != folder:
        with st.spinner("Listing the films"):
            kept = (folder, data_sets.list_films(folder))
        st.session_state[LISTING] = kept
    films: FilmSet = kept[1]
    return films


def take_zip(home: Path) -> None:
    archive_file = st.file_uploader(
        "ZIP of a folder of labelled films",
        type=["zip"],
        max_upload_size=MOST_MEGABYTES,
        key=f"training-zip-{st.session_state.setdefault(UPLOADS, 0)}",
    )
    st.caption(
        "With NORMAL and PNEUMONIA in it, or train and test with these. It is unpacked under this installation's own "
        f"folder and stays there until it is deleted here. Limits: {MOST_MEGABYTES // 1024} GB, {archive.LIMITS}."
    )
    one, two, three = st.columns([2, 2, 1], vertical_alignment="bottom")
    name = one.text_input(
        "Name of the set",
        key="training-set-name",
        max_chars=60,
        placeholder="ward-3-2026",
        help=f"{uploads.NAME_RULE[0].upper()}{uploads.NAME_RULE[1:]}.",
    )
    who = two.text_input("Your name", key=WHO, persist_state="session", max_chars=100)
    if three.button(
        "Unpack and keep",
        type="primary",
        icon=":material/unarchive:",
        disabled=archive_file is None,
        width="stretch",
    ):
        assert archive_file is not None
        try:
            upload = uploads.keep(home, name=name, who=who, source=archive_file.name, archive=archive_file)
        except (UploadError, archive.ArchiveError) as error:
            st.error(look.plain(str(error)), icon=":material/error:")
        else:
            st.session_state[UPLOAD] = upload
            # A fresh uploader makes Streamlit drop the uploaded bytes.
            st.session_state[UPLOADS] += 1
            st.rerun()


@st.fragment(run_every=0.7)
def watch_upload(upload: Upload) -> None:
    if not upload.running:
        st.rerun()
    line, button = st.columns([5, 1], vertical_alignment="center")
    words = f"Unpacked {upload.done:,} of {upload.total:,} films of {upload.name}"
    line.progress(upload.done / upload.total if upload.total else 0.0, text=words)
    button.button("Cancel", on_click=upload.cancel, width="stretch")
    st.caption(f"Started by {look.plain(upload.who)}. It goes on when you leave this page.")


def ended_upload(upload: Upload | None) -> None:
    """How this session's ZIP ended, once."""
    if upload is None or id(st.session_state.get(UPLOAD)) != id(upload):
        return
    if upload.phase == "done" and upload.folder is not None:
        st.success(
            f"{look.plain(upload.name)} is unpacked and kept as a set of films.", icon=":material/check:"
        )
        if upload.folder.is_dir():
            st.session_state[SET] = data_sets.Place(data_sets.UPLOADED, upload.folder).label
            st.session_state[CHECKED] = str(upload.folder)
        facts = uploads.facts_of(upload.folder)
        if facts is not None and facts.damaged:
            shown = facts.damaged[:SHOWN_BAD_FILES]
            st.html(look.bad_files(list(shown), count=len(facts.damaged)))
    elif upload.phase == "cancelled":
        st.info("Unpacking was cancelled; nothing was kept.", icon=":material/info:")
    elif upload.phase == "failed":
        st.error(look.plain(upload.message), icon=":material/error:")
    st.session_state.pop(UPLOAD)


# --- the check --------------------------------------------------------------------------------------


def checked(films: FilmSet) -> Exploration | None:
    """What is in the films. None until every one was opened, with what to do or how far it is on the screen."""
    folder = str(films.dataset.root)
    name = st.session_state.setdefault(SESSION, uuid4().hex)
    before: data_sets.Pass | None = st.session_state.get(JOINED)
    if st.session_state.get(CHECKED) != folder:
        if before is not None:
            before.leave(name)
            st.session_state.pop(JOINED)
        st.button(
            "Check the films",
            type="primary",
            icon=":material/fact_check:",
            on_click=lambda: st.session_state.update({CHECKED: folder}),
            help="Opens every film once: nothing is written.",
        )
        return None
    current = data_sets.pass_over(films, name)
    if before is not None and before is not current:
        before.leave(name)
    st.session_state[JOINED] = current
    if not current.result.done():
        wait_for(films, current, name)
        return None
    error = current.result.exception()
    if error is None:
        return current.result.result()
    data_sets.forget_pass(films)
    st.session_state.pop(CHECKED)
    if isinstance(error, ExplorationCancelled):
        st.rerun()
    sentence = str(error) if isinstance(error, DatasetError) else "The films could not be read to the end."
    st.error(look.plain(sentence), icon=":material/error:")
    return None


@st.fragment(run_every=0.7)
def wait_for(films: FilmSet, current: data_sets.Pass, name: str) -> None:
    if current.result.done():
        st.rerun()
    line, button = st.columns([5, 1], vertical_alignment="center")
    done, total = current.done, current.total
    words = f"Read {done:,} of {total:,} films" if done < total else "Comparing the films with each other"
    line.progress(done / total, text=words)
    button.button("Cancel", on_click=cancel_check, args=(current, name), width="stretch")


def cancel_check(current: data_sets.Pass, name: str) -> None:
    current.leave(name)
    st.session_state.pop(CHECKED, None)


def show_check(found: Exploration) -> list[str]:
    """The report of the check; what has to be mended before a run can start."""
    report, dataset = found.report, found.dataset
    left, right = st.columns(2, gap="large")
    with left:
        st.table(
            [
                {
                    "Films of": look.plain(each.split),
                    "NORMAL": f"{each.normal:,}",
                    "PNEUMONIA": f"{each.pneumonia:,}",
                    "Share of PNEUMONIA": charts.percent(each.pneumonia / each.films),
                    "Patients": f"{each.patients:,}",
                }
                for each in counts(dataset)
            ],
            hide_index=True,
            border="horizontal",
        )
        if report.fit:
            st.success(report.verdict.replace("above", "below"), icon=":material/check_circle:")
        else:
            st.warning(report.verdict.replace("above", "below"), icon=":material/warning:")
        lines = [f"- **{look.plain(sentence)}**" for sentence in report.problems]
        lines += [f"- {look.plain(sentence)}" for sentence in report.remarks]
        if lines:
            st.markdown("\n".join(lines))
        identical = sum(each.kind == "identical" for each in report.copies)
        alike = len(report.copies) - identical
        st.caption(
            f"Unreadable files: {len(report.unreadable):,}. Groups of identical films: {identical:,}; of nearly "
            f"identical ones: {alike:,}. Patients in more than one split: {len(report.shared_patients):,}. The lists "
            "are in Data, under Quality."
        )
        if report.unreadable:
            bad = [(each.file, each.message) for each in report.unreadable[:SHOWN_BAD_FILES]]
            st.html(look.bad_files(bad, count=len(report.unreadable)))
    with right:
        for label, class_name in enumerate(CLASSES):
            samples(class_name, [film for film in dataset.films if film.label == label])
    if report.unreadable:
        return ["take out or replace the files that cannot be read, then list the films again"]
    return []


def samples(class_name: str, films: Sequence[Film]) -> None:
    """A few films of a class, always the same ones."""
    st.markdown(f"**{class_name}**")
    if not films:
        st.info(f"There is no film of {class_name}.", icon=":material/info:")
        return
    places = np.random.default_rng(0).permutation(len(films))[:TILES]
    with st.container(horizontal=True, gap="small"):
        for film in (films[place] for place in places):
            small, _ = data_sets.tile(str(film.path), *data_sets.version_of(film.path))
            with st.container(width=84):
                if small:
                    st.image(small, width=84, alt=f"Chest X-ray, {class_name}")
                else:
                    st.html(f'<div class="data-tile">{look.empty_viewer("cannot be read")}</div>')


# --- the recipe -------------------------------------------------------------------------------------


def recipe(home: Path) -> tuple[TrainingConfig | None, list[str]]:
    """The configuration that was entered, and what is wrong with it."""
    names = list(ARCHITECTURES)
    if st.session_state.get(ARCHITECTURE) not in names:
        st.session_state[ARCHITECTURE] = names[0]
    left, right = st.columns(2, gap="large")
    with left:
        name = st.selectbox(
            "Network",
            names,
            format_func=lambda each: ARCHITECTURES[each].title,
            key=ARCHITECTURE,
            persist_state="session",
        )
        architecture = ARCHITECTURES[name]
        st.markdown(f"**What the seed did.** {look.plain(architecture.seed)}")
        if architecture.remark:
            st.warning(look.plain(architecture.remark), icon=":material/warning:")
        st.caption(
            f"{architecture.parameters:,} parameters, {architecture.trainable:,} of them trained with the defaults."
        )
    default = default_config(name)
    with right:
        weights, available = starting_weights(home, architecture, default)
    problems = [] if available else ["choose starting weights that can be had here"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Main settings**", width="content")
        st.button(
            "Back to the defaults",
            icon=":material/undo:",
            type="tertiary",
            on_click=fill,
            args=(name, default),
        )
    entered = fields(training_form.MAIN, architecture, default)
    with st.expander("All other settings", key="training-rest"):
        for title, entries in training_form.REST.items():
            mine = [entry for entry in entries if entry.staged in (None, default.staged)]
            if mine:
                st.markdown(f"**{title}**")
                entered |= fields(mine, architecture, default)
    try:
        return training_form.configuration(name, weights, entered), problems
    except ConfigError as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return None, [*problems, "mend the setting named above"]


def starting_weights(home: Path, architecture: Architecture, default: TrainingConfig) -> tuple[str, bool]:
    """What the network starts from, and whether that can be had here: said before a run, not after."""
    versions = {version.name: str(version.model_file) for version in session.all_versions()}
    options = ["none", *versions, FILE]
    if architecture.weights_file is not None:
        options.insert(0, "imagenet")
    words = {
        "imagenet": "ImageNet weights",
        "none": "None: train from scratch",
        FILE: "A weights file",
        **{name: f"Version {name}" for name in versions},
    }
    key = f"{WEIGHTS}-{architecture.name}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = default.starting_weights if default.starting_weights in options else "none"
    wanted = st.selectbox(
        "Starting weights",
        options,
        format_func=lambda each: words[each],
        key=key,
        persist_state="session",
    )
    if wanted == FILE:
        wanted = st.text_input(
            "Weights file, as the server sees it",
            key=WEIGHTS_FILE,
            persist_state="session",
            placeholder="/data/vgg16_notop.h5",
            help="An .h5 of Keras, or an .npz of kernels by layer name.",
        ).strip()
        if not wanted:
            st.caption("Type the file's path.")
            return wanted, False
    possible, sentence = weights_available(architecture, versions.get(wanted, wanted))
    if possible:
        st.caption(f":material/check: {look.plain(sentence)}")
    else:
        st.warning(look.plain(sentence), icon=":material/warning:")
    return wanted, possible


def fields(entries: Sequence[Entry], architecture: Architecture, default: TrainingConfig) -> dict[str, Any]:
    """Widgets for settings; what was entered by name."""
    entered = {}
    grid = st.grid(4, min_column_width=220, gap="small")
    for entry in entries:
        if entry.staged in (None, default.staged):
            with grid.cell():
                entered[entry.name] = widget(entry, architecture, default)
    return entered


def widget(entry: Entry, architecture: Architecture, default: TrainingConfig) -> Any:
    key = key_of(architecture.name, entry.name)
    if key not in st.session_state:
        st.session_state[key] = training_form.shown(entry, default)
    common: dict[str, Any] = {"key": key, "help": entry.help, "persist_state": "session"}
    if entry.kind == "choice":
        words = dict(entry.words or {})
        return st.selectbox(
            entry.label, list(words), format_func=lambda each: words.get(each, each), **common
        )
    if entry.kind == "bool":
        return st.checkbox(entry.label, **common)
    if entry.kind == "text":
        return st.text_input(entry.label, max_chars=200, **common)
    high = architecture.blocks if entry.name == "unfrozen_blocks" else entry.high
    if entry.kind == "int":
        return st.number_input(
            entry.label,
            min_value=int(entry.low),
            max_value=None if high is None else int(high),
            step=int(entry.step),
            disabled=high == 0,
            **common,
        )
    return st.number_input(
        entry.label,
        min_value=float(entry.low),
        max_value=None if high is None else float(high),
        step=float(entry.step),
        format="%g",
        **common,
    )


def key_of(architecture: str, name: str) -> str:
    return f"training-{architecture}-{name}"


def fill(architecture: str, config: TrainingConfig) -> None:
    """Put a configuration into the form."""
    for entry in training_form.all_entries():
        st.session_state[key_of(architecture, entry.name)] = training_form.shown(entry, config)
    wanted = config.starting_weights
    known = ("imagenet", "none", *(version.name for version in session.all_versions()))
    st.session_state[f"{WEIGHTS}-{architecture}"] = wanted if wanted in known else FILE
    if wanted not in known:
        st.session_state[WEIGHTS_FILE] = wanted


# --- cost and start ---------------------------------------------------------------------------------


def start(
    home: Path, films: FilmSet, recipe: tuple[TrainingConfig | None, list[str]], blocking: list[str]
) -> None:
    config, problems = recipe
    blocking = [*blocking, *problems]
    if config is not None:
        try:
            parts(films, config)
        except DatasetError as error:
            st.error(look.plain(str(error)), icon=":material/error:")
            blocking.append("give films of both classes to train on")
        show_cost(films.dataset.root, config, possible=not problems)
    one, two = st.columns(2)
    name_for(home, st.session_state[ARCHITECTURE])
    one.text_input(
        "Name of the new version",
        key=NAME,
        persist_state="session",
        max_chars=100,
        help=f"{jobs.NAME_RULE[0].upper()}{jobs.NAME_RULE[1:]}.",
    )
    two.text_input("Your name", key=WHO, persist_state="session", max_chars=100)
    if not str(st.session_state.get(WHO, "")).strip():
        blocking.append("say who orders the run")
    if (problem := st.session_state.pop(PROBLEM, "")) != "":
        st.error(look.plain(problem), icon=":material/error:")
    busy = any(job.active for job in jobs.list_jobs(home))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Put into the queue" if busy else "Start the run",
            type="primary",
            icon=":material/play_arrow:",
            disabled=bool(blocking),
            on_click=begin,
            args=(home, films.dataset.root, config),
        )
        if blocking:
            st.caption(f"Before it can start: {'; '.join(blocking)}.", width="content")
        elif busy:
            st.caption("One run at a time: this one waits for those before it.", width="content")


def name_for(home: Path, architecture: str) -> None:
    """Suggest a name for the new version, as long as nobody has written one."""
    before = st.session_state.get(SUGGESTED, "")
    if st.session_state.get(NAME, "") in ("", before):
        if before and st.session_state.get(NAME) and before.startswith(training_form.stem_of(architecture)):
            return
        suggested = training_form.suggested_name(home, architecture, date.today())
        st.session_state[NAME] = st.session_state[SUGGESTED] = suggested


def parts(films: FilmSet, config: TrainingConfig) -> None:
    """How the films are parted with this configuration, as the run will do it.

    Raises:
        DatasetError: they cannot be.
    """
    dataset = films.dataset
    source = dataset.split("train") or dataset.split("all")
    if not source:
        raise DatasetError("There is no part called train: a run needs train/NORMAL and train/PNEUMONIA.")
    training, validation = hold_out(
        source,
        method=config.validation,
        fraction=config.validation_fraction,
        seed=config.validation_seed,
        series=config.validation_series,
    )
    test = len(dataset.split("test"))
    words = f"{len(training):,} films to train on, {len(validation):,} held out for validation"
    end = f", {test:,} of test to measure on once, at the end" if test else "; no test films to measure on"
    st.markdown(f"{words}{end}.")


def show_cost(data: Path, config: TrainingConfig, *, possible: bool) -> None:
    """What the run would cost, measured on this machine when asked."""
    key = training_runs.estimate_key(data, config)
    estimate: Estimate | None = st.session_state.get(ESTIMATE)
    if estimate is not None and estimate.key != key:
        estimate.cancel()
        st.session_state.pop(ESTIMATE)
        estimate = None
    if estimate is None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Estimate what it costs",
                icon=":material/timer:",
                disabled=not possible,
                on_click=begin_estimate,
                args=(data, config),
            )
            st.caption("Measures a few steps on this machine; nothing is kept.", width="content")
        return
    if not estimate.result.done():
        wait_for_estimate(estimate)
        return
    error = estimate.result.exception()
    if error is not None:
        words = str(error) if isinstance(error, EstimateError) else "The measurement failed."
        st.warning(look.plain(words), icon=":material/warning:")
        st.button("Measure again", icon=":material/timer:", on_click=begin_estimate, args=(data, config))
        return
    cost = estimate.result.result()
    with st.container(horizontal=True, gap="large"):
        st.metric("Parameters", f"{cost.parameters:,}", width="content")
        st.metric("Of these trained", f"{cost.trainable_parameters:,}", width="content")
        st.metric("An epoch", training_runs.time_in_words(cost.seconds_per_epoch), width="content")
        st.metric("The whole run, about", training_runs.time_in_words(cost.seconds), width="content")
    features = (
        f" {training_runs.time_in_words(cost.features_seconds)} of it for the features of the frozen part, once."
        if cost.features_seconds
        else ""
    )
    st.caption(
        f"Measured on this machine from {cost.measured_steps} steps.{features} With early stopping it may end sooner; "
        "beside other work it takes longer."
    )


@st.fragment(run_every=1.0)
def wait_for_estimate(estimate: Estimate) -> None:
    if estimate.result.done():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Cancel the estimate", on_click=cancel_estimate, args=(estimate,))
        st.caption(
            ":material/hourglass_top: Measuring a few steps in a process of its own: usually under a minute.",
            width="content",
        )


def begin_estimate(data: Path, config: TrainingConfig) -> None:
    st.session_state[ESTIMATE] = training_runs.estimate(data, config, weights=resolved(config))


def resolved(config: TrainingConfig) -> str:
    """The starting weights, a version's name as its file."""
    versions = {version.name: str(version.model_file) for version in session.all_versions()}
    return versions.get(config.starting_weights, config.starting_weights)


def cancel_estimate(estimate: Estimate) -> None:
    estimate.cancel()
    st.session_state.pop(ESTIMATE, None)


def begin(home: Path, data: Path, config: TrainingConfig) -> None:
    name, who = st.session_state[NAME], st.session_state[WHO]
    estimate = st.session_state.pop(ESTIMATE, None)
    if estimate is not None:
        estimate.cancel()
    try:
        job = jobs.submit(home, name=name, who=who, data=data, config=config)
    except JobError as error:
        st.session_state[PROBLEM] = str(error)
        return
    st.session_state.pop(NAME)
    st.session_state[CHOSEN] = job.id
    go_to(RUNS)


# --- runs -------------------------------------------------------------------------------------------


def show_runs(home: Path, known: tuple[Job, ...]) -> None:
    if not known:
        st.info(
            "No version has been trained here yet. Choose films and a recipe under New run; what you start is "
            "watched here.",
            icon=":material/info:",
        )
        st.button("Set up a run", type="primary", on_click=go_to, args=(NEW,))
        return
    ids = [job.id for job in known]
    if st.session_state.get(CHOSEN) not in ids:
        first = next((job for job in known if job.state == "running"), known[0])
        st.session_state[CHOSEN] = first.id
    if len(known) > 1:
        names = {job.id: f"{job.name}, {job.order.created.astimezone():%d %B %H:%M}" for job in known}
        st.selectbox(
            "Run", ids, format_func=lambda each: names.get(each, each), key=CHOSEN, persist_state="session"
        )
    chosen = next(job for job in known if job.id == st.session_state[CHOSEN])
    watch = follow if any(job.active for job in known) else glance
    with st.container(border=True):
        watch(home, chosen.id, signature(known))
        (growing if chosen.active else details)(home, chosen.id)
    actions(home, chosen)
    st.markdown("#### All runs")
    st.dataframe(
        [training_runs.as_row(job) for job in known],
        hide_index=True,
        height="content" if len(known) <= 8 else 320,
        alt="The runs so far, newest first",
    )


def signature(known: Sequence[Job]) -> tuple[tuple[str, str, bool, str], ...]:
    """What of the runs decides how the screen is laid out."""
    return tuple((job.id, job.state, job.stalled, job.stop) for job in known)


@st.fragment(run_every=1.5)
def follow(home: Path, chosen: str, before: tuple[tuple[str, str, bool, str], ...]) -> None:
    """How far the chosen run is."""
    look_at(home, chosen, before)


@st.fragment(run_every=6.0)
def glance(home: Path, chosen: str, before: tuple[tuple[str, str, bool, str], ...]) -> None:
    """The same while no run is under way: another browser may start one."""
    look_at(home, chosen, before)


def look_at(home: Path, chosen: str, before: tuple[tuple[str, str, bool, str], ...]) -> None:
    jobs.advance(home)
    known = jobs.list_jobs(home)
    if signature(known) != before:
        st.rerun()
    show_run(next(job for job in known if job.id == chosen), known)


def show_run(job: Job, known: Sequence[Job]) -> None:
    took = training_runs.duration(job)
    st.markdown(f"#### {look.plain(job.name)}")
    title = ARCHITECTURES[network].title if (network := network_of(job)) in ARCHITECTURES else network
    since = "" if took is None else f", {training_runs.time_in_words(took)}"
    st.markdown(f"**{training_runs.state_in_words(job)}**{since}")
    st.caption(
        f"{look.plain(title)} on {look.plain(job.order.source)}, ordered by {look.plain(job.order.who)} on "
        f"{job.order.created.astimezone():%d %B %Y, %H:%M}"
    )
    if job.state == "queued":
        before = sum(other.active and other.order.created < job.order.created for other in known)
        many = {0: "It starts in a moment.", 1: "One run is before it."}
        st.markdown(many.get(before, f"{before} runs are before it."))
    elif job.state == "running":
        st.progress(training_runs.share_done(job), text=training_runs.progress_in_words(job))
        st.caption(" → ".join(phase_mark(each, job) for each in training_runs.PHASES))
        if job.stop:
            kept = "keeping the best epoch" if job.stop == "keep" else "throwing away what it did"
            st.info(f"Stopping at the next step, {kept}.", icon=":material/front_hand:")
        if job.stalled:
            st.warning(
                f"No work was done for {training_runs.time_in_words(job.silent)}: the process hangs, or the computer "
                "was asleep. It may go on by itself. To end it, cancel it and throw it away.",
                icon=":material/pause_circle:",
            )
    elif job.state == "failed":
        st.error(look.plain(job.status.message), icon=":material/error:")
    elif job.state == "cancelled":
        st.info(look.plain(job.status.message), icon=":material/block:")
    else:
        words = f" {look.plain(job.status.message)}" if job.status.message else ""
        st.success(f"The version {look.plain(job.name)} is made.{words}", icon=":material/check_circle:")


@st.fragment(run_every=4.0)
def growing(home: Path, chosen: str) -> None:
    """Curves and log of a run that is under way: a fragment of their own, as they take longer to draw."""
    details(home, chosen)


def details(home: Path, chosen: str) -> None:
    try:
        job = jobs.read_job(home, chosen)
    except JobError:
        return  # deleted in another browser: the other fragment sees to it
    curves(job)
    lines = job.log(14)
    with st.expander("Log", expanded=job.state == "failed", key=f"training-log-{job.state == 'failed'}"):
        st.code("\n".join(lines) or "Nothing yet.", language=None, wrap_lines=True)


def network_of(job: Job) -> str:
    return str(job.order.config.get("architecture", ""))


def phase_mark(phase: str, job: Job) -> str:
    words = training_runs.PHASE_WORDS[phase]
    return f"**{words}**" if phase == job.status.progress.phase else words


def curves(job: Job) -> None:
    """What the seed watched: six figures by epoch, on training and validation films."""
    table = job.history()
    if table is None:
        if job.active:
            st.caption("The curves begin with the end of the first epoch.")
        return
    planned = training_runs.planned_epochs(job)
    grid = st.grid(3, min_column_width=300, gap="small")
    for name in CURVES:
        if available(table, name):
            with grid.cell():
                st.markdown(f"**{charts.HISTORY_NAMES[name]}**")
                st.plotly_chart(
                    curve(job.id, len(table), name, planned, table),
                    key=f"training-{name}",
                    theme="streamlit",
                    config=charts.config(f"{job.name}-{name}"),
                    alt=f"{charts.HISTORY_NAMES[name]} by epoch, on training and on validation films.",
                )


@st.cache_resource(max_entries=60, show_spinner=False)
def curve(
    job: str, rows: int, name: charts.HistoryFigure, epochs: int, _table: pandas.DataFrame
) -> go.Figure:
    """Drawn once an epoch, for all who watch."""
    return charts.live_history_figure(_table, name, epochs=epochs)


def actions(home: Path, job: Job) -> None:
    """What can be done with a run."""
    if (problem := st.session_state.pop(PROBLEM, "")) != "":
        st.error(look.plain(problem), icon=":material/error:")
    with st.container(horizontal=True):
        comparable = job.state == "finished" and MODELS_PAGE.is_file()
        if comparable and st.button(
            "Compare with the model in use", type="primary", icon=":material/compare:"
        ):
            st.session_state[COMPARE] = job.name
            st.switch_page("pages/models.py")
        if job.can_resume:
            st.button(
                "Resume",
                type="primary",
                icon=":material/resume:",
                on_click=resume,
                args=(home, job.id),
                help="Goes on from the last whole epoch.",
            )
        if job.state == "queued":
            st.button(
                "Take out of the queue",
                icon=":material/cancel:",
                on_click=stop,
                args=(home, job.id, "discard"),
            )
        if job.state == "running":
            with st.popover("Cancel", icon=":material/cancel:"):
                st.markdown("Stop this run?")
                st.button(
                    "Keep the best epoch so far",
                    on_click=stop,
                    args=(home, job.id, "keep"),
                    disabled=job.stalled,
                    width="stretch",
                    help="A version is made of it, calibrated and measured like any other.",
                )
                st.button(
                    "Throw it away",
                    on_click=stop,
                    args=(home, job.id, "discard"),
                    type="primary",
                    width="stretch",
                )
        st.button("Run again with changes", icon=":material/replay:", on_click=again, args=(job,))
        if not job.active:
            with st.popover("Delete", icon=":material/delete:"):
                st.markdown("Delete this run with its log and curves? The version it made stays.")
                st.button("Delete this run", type="primary", on_click=delete, args=(home, job.id))
    with st.expander("Settings of this run that are not the defaults", key="training-changed"):
        show_changes(job)


def show_changes(job: Job) -> None:
    try:
        found = training_form.changed(job.order.config)
    except ConfigError as error:
        st.caption(look.plain(str(error)))
        return
    st.caption(f"Starting weights: {look.plain(str(job.order.config.get('starting_weights', '')))}")
    if not found:
        st.caption("All other settings are those of the network's seed.")
        return
    st.table(
        [
            {"Setting": label, "This run": look.plain(now), "Default": look.plain(before)}
            for label, (now, before) in found.items()
        ],
        hide_index=True,
        border="horizontal",
    )


def stop(home: Path, job: str, how: Any) -> None:
    try:
        jobs.cancel(home, job, how)
    except JobError as error:
        st.session_state[PROBLEM] = str(error)


def resume(home: Path, job: str) -> None:
    try:
        jobs.resume(home, job)
    except JobError as error:
        st.session_state[PROBLEM] = str(error)


def delete(home: Path, job: str) -> None:
    try:
        jobs.delete(home, job)
    except JobError as error:
        st.session_state[PROBLEM] = str(error)


def again(job: Job) -> None:
    """Fill the form with a run's films and settings."""
    try:
        config = TrainingConfig.model_validate(job.order.config)
    except ValueError:
        st.session_state[PROBLEM] = "The settings are those of another release: set the run up anew."
        return
    st.session_state[ARCHITECTURE] = config.architecture
    fill(config.architecture, config)
    places = {place.folder: place.label for place in data_sets.registered(get_settings())}
    st.session_state[SET] = places.get(job.order.data, OTHER)
    st.session_state[FOLDER] = str(job.order.data)
    st.session_state[WHO] = job.order.who
    st.session_state.pop(NAME, None)
    go_to(NEW)


main()
