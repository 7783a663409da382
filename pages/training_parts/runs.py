"""Runs: the one under way, and those before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import plotly.graph_objects as go
import streamlit as st

from model import jobs
from model.architectures import ARCHITECTURES
from model.jobs import Job, JobError
from model.recipes import ConfigError, TrainingConfig
from pages.metrics_parts.training_history import available
from pages.training_parts.common import (
    ARCHITECTURE,
    CHOSEN,
    COMPARE,
    CURVES,
    MODELS_PAGE,
    NAME,
    NEW,
    PROBLEM,
    SCREEN,
    WHO,
    go_to,
)
from pages.training_parts.recipe import fill
from utils import charts, data_sets, film_choice, look, session, training_form, training_runs
from utils.permissions import Action
from utils.settings import get_settings


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
        actions(home, chosen)  # before the curves, which are long on a narrow screen
        (growing if chosen.active else details)(home, chosen.id)
    with st.expander("Settings of this run that are not the defaults", key="training-changed"):
        show_changes(chosen)
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
        st.caption(" → ".join(phase_mark(each, job) for each in training_runs.phases(job)))
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


@session.permitted(Action.TRAIN)
def stop(home: Path, job: str, how: Any) -> None:
    try:
        with session.on_record(
            Action.TRAIN, "training", subject=job, after={"run": "stopped", "best epoch": how}
        ):
            jobs.cancel(home, job, how)
    except (JobError, *session.REFUSALS) as error:
        st.session_state[PROBLEM] = str(error)


@session.permitted(Action.TRAIN)
def resume(home: Path, job: str) -> None:
    try:
        with session.on_record(Action.TRAIN, "training", subject=job, after={"run": "resumed"}):
            jobs.resume(home, job)
    except (JobError, *session.REFUSALS) as error:
        st.session_state[PROBLEM] = str(error)


@session.permitted(Action.TRAIN)
def delete(home: Path, job: str) -> None:
    try:
        with session.on_record(Action.TRAIN, "deletion", subject=f"run {job}"):
            jobs.delete(home, job)
    except (JobError, *session.REFUSALS) as error:
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
    st.session_state[film_choice.set_key(SCREEN)] = places.get(job.order.data, film_choice.OTHER)
    st.session_state[film_choice.folder_key(SCREEN)] = str(job.order.data)
    st.session_state[WHO] = job.order.who
    st.session_state.pop(NAME, None)
    go_to(NEW)
