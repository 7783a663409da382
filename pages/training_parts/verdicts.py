"""Films with verdicts: the department's own cases become a set to train on."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.training_parts.common import UPLOAD
from utils import data_sets, look, people, session, uploads, verdict_set
from utils.database import DatabaseError
from utils.decisions import CANNOT_TELL
from utils.permissions import Action
from utils.settings import Settings, SettingsError
from utils.uploads import UploadError

NAME = "training-verdicts-name"
BESIDE = "training-verdicts-beside"
FAILED = "training-verdicts-problem"
ALONE = "These films alone"


def take(settings: Settings) -> None:
    """What there is, and the button that makes a set of it."""
    try:
        found = verdict_set.available()
    except (DatabaseError, SettingsError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    places = _sets_to_stand_beside(settings)
    if st.session_state.get(BESIDE) not in (ALONE, *places):  # sets can be deleted
        st.session_state[BESIDE] = ALONE
    if not found.total:
        st.info(verdict_set.problem(found), icon=":material/info:")
        return
    with st.container(horizontal=True, gap="large"):
        for name, films in found.films.items():
            st.metric(f"Films with verdict {name}", f"{films:,}", width="content")
        st.metric("Patients", f"{found.patients:,}", width="content")
    st.caption(" ".join(_what_to_know(found)))
    one, two, three = st.columns([2, 2, 1], vertical_alignment="bottom")
    one.text_input(
        "Name of the set",
        key=NAME,
        persist_state="session",
        max_chars=60,
        placeholder="verdicts-2026",
        help=f"{uploads.NAME_RULE[0].upper()}{uploads.NAME_RULE[1:]}.",
    )
    beside = two.selectbox(
        "Train on",
        [ALONE, *places],
        format_func=lambda each: each if each == ALONE else f"These films and those of {each}",
        key=BESIDE,
        persist_state="session",
        help="Beside another set its training films are used too, and its test films, unchanged, to measure on.",
    )
    folder = places.get(beside)
    problem = verdict_set.problem(found, alone=folder is None)
    three.button(
        "Make the set",
        type="primary",
        icon=":material/fact_check:",
        disabled=bool(problem),
        width="stretch",
        on_click=session.permitted(Action.TRAIN)(_make),
        args=(settings, folder),
    )
    if problem:
        st.info(problem, icon=":material/info:")
    if sentence := st.session_state.pop(FAILED, ""):
        st.error(look.plain(sentence), icon=":material/error:")


def forget() -> None:
    """The set is made: the next one has another name."""
    st.session_state.pop(NAME, None)


def _sets_to_stand_beside(settings: Settings) -> dict[str, Path]:
    """Registered sets by their names in the list; sets of cases hold the same films."""
    sets = {place.label: place.folder for place in data_sets.registered(settings)}
    facts = {label: uploads.facts_of(folder) for label, folder in sets.items()}
    return {
        label: folder
        for label, folder in sets.items()
        if (known := facts[label]) is None or known.source != verdict_set.SOURCE
    }


def _what_to_know(found: verdict_set.Available) -> list[str]:
    lines = []
    if found.without_patient:
        lines.append(
            f"{found.without_patient:,} of them without a patient's pseudonym: each counts as a patient of its own."
        )
    left_out = {
        "with a verdict whose film was not kept": found.without_film,
        "of refused pictures": found.refused,
        f"with the verdict {CANNOT_TELL}": found.cannot_tell,
    }
    words = [f"{count:,} {which}" for which, count in left_out.items() if count]
    if words:
        lines.append(f"Not among them are cases: {', '.join(words)}.")
    lines.append(
        "Copies are left out, and so are films of a test split. The films lie decrypted under this installation's own "
        "folder until the set is deleted here; a case that is deleted takes its film along."
    )
    return lines


def _make(settings: Settings, beside: Path | None) -> None:
    try:
        upload = verdict_set.make(
            settings.home,
            name=st.session_state[NAME],
            who=people.current(),
            tests=[place.folder for place in data_sets.registered(settings)],
            with_set=beside,
        )
    except (UploadError, DatabaseError, SettingsError) as error:
        st.session_state[FAILED] = str(error)
    else:
        st.session_state[UPLOAD] = upload
