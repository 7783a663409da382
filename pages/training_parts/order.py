"""What a run will cost, its name, and its start."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import streamlit as st

from model import jobs
from model.dataset import DatasetError, hold_out
from model.jobs import JobError
from model.recipes import TrainingConfig
from pages.training_parts.common import (
    ARCHITECTURE,
    CHOSEN,
    ESTIMATE,
    NAME,
    PROBLEM,
    RUNS,
    SUGGESTED,
    WHO,
    go_to,
)
from utils import look, session, training_form, training_runs
from utils.data_sets import FilmSet
from utils.permissions import Action
from utils.training_runs import Estimate, EstimateError


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
    with two:
        session.who_field("Your name", key=WHO, persist_state="session", max_chars=100)
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


@session.permitted(Action.TRAIN)
def begin_estimate(data: Path, config: TrainingConfig) -> None:
    st.session_state[ESTIMATE] = training_runs.estimate(data, config, weights=resolved(config))


def resolved(config: TrainingConfig) -> str:
    """The starting weights, a version's name as its file."""
    versions = {version.name: str(version.model_file) for version in session.all_versions()}
    return versions.get(config.starting_weights, config.starting_weights)


def cancel_estimate(estimate: Estimate) -> None:
    estimate.cancel()
    st.session_state.pop(ESTIMATE, None)


@session.permitted(Action.TRAIN)
def begin(home: Path, data: Path, config: TrainingConfig) -> None:
    name, who = st.session_state[NAME], session.who(st.session_state[WHO])
    estimate = st.session_state.pop(ESTIMATE, None)
    if estimate is not None:
        estimate.cancel()
    try:
        with session.on_record(
            Action.TRAIN, "training", subject=name, after={"run": "ordered", "network": config.architecture}
        ):
            job = jobs.submit(home, name=name, who=who, data=data, config=config)
    except (JobError, *session.REFUSALS) as error:
        st.session_state[PROBLEM] = str(error)
        return
    st.session_state.pop(NAME)
    st.session_state[CHOSEN] = job.id
    go_to(RUNS)
