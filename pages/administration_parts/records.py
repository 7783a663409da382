"""Records: what is saved of the films that are read, for how long, what is stored now, and deleting."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from utils import cases, choices, film_store, look, people, retention, session
from utils.cases import NoSuchCase
from utils.choices import ChoiceError, Choices, Saving
from utils.database import DatabaseError
from utils.film_store import FilmStoreError
from utils.permissions import Action, Forbidden, SignedOut
from utils.session import Screen
from utils.settings import SettingsError

SAVING = "records-saving"
LIMITED = "records-limited"
DAYS = "records-days"
HEAT = "records-heat"
PSEUDONYM = "records-pseudonym"
SEEN = "records-seen"  # the choices in force when the screen was last drawn
ASKED = "records-asked"  # the case that is to be deleted, until it is confirmed
SAID = "records-said"  # what came of the last action, said once: (words, whether it went well)
STANDARD_DAYS = 365

MODES: dict[Saving, tuple[str, str]] = {
    "off": (
        "Nothing",
        "A reading is gone when its page is closed. There is no worklist and there are no verdicts.",
    ),
    "records": ("Records without films", "Probability, decision, remarks and verdict, under a pseudonym."),
    "films": ("Records with films", "The film too, encrypted: verdicts can be given later, and trained on."),
}

_REASONS = (
    DatabaseError,
    FilmStoreError,
    SettingsError,
    ChoiceError,
    NoSuchCase,
    SignedOut,
    Forbidden,
)


def show(screen: Screen) -> None:
    """The section, for whoever may change settings."""
    screen.person.require(Action.CHANGE_SETTINGS)
    said()
    try:
        made = choices.get_choices()
        now = datetime.now(UTC)
        kept = cases.stored()
    except _REASONS as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        what_is_saved(made, now)
    with right:
        stored_now(kept, made, now)
        delete_one()


def said() -> None:
    """What came of the last action, once."""
    if (found := st.session_state.pop(SAID, None)) is not None:
        words, well = found
        show_it = st.success if well else st.error
        show_it(look.plain(words), icon=":material/check:" if well else ":material/error:")


# --- what is saved ---


def what_is_saved(made: Choices, now: datetime) -> None:
    st.markdown("#### What is saved")
    st.caption("Holds for everybody from their next film on. Cases that are stored stay as they are.")
    state = st.session_state
    in_force = {
        SAVING: made.saving,
        LIMITED: made.retention_days is not None,
        DAYS: made.retention_days or STANDARD_DAYS,
        HEAT: made.keep_heat,
    }
    changed = state.get(SEEN, in_force) != in_force  # by somebody else, or on this very screen
    state[SEEN] = in_force
    for name, value in in_force.items():
        if changed or name not in state:
            state[name] = value
    saving = st.radio(
        "Of a film that is read on Diagnose",
        options=list(MODES),
        format_func=lambda mode: MODES[mode][0],
        captions=[caption for _, caption in MODES.values()],
        key=SAVING,
    )
    if saving == "films" and (problem := film_store.problem()):
        st.warning(look.plain(problem), icon=":material/key:")
    st.toggle(
        "Keep the heat map with every case",
        key=HEAT,
        disabled=saving == "off",
        help="Off: only where somebody asks for it, film by film.",
    )
    limited = st.toggle("Delete cases automatically", key=LIMITED)
    if limited:
        days = int(st.number_input("Days since the first reading", 1, 36_500, key=DAYS, width=220))
        if days != made.retention_days:
            try:
                older = cases.older_than(days, now=now)
            except DatabaseError:
                older = 0
            st.caption(
                f"{older:,} of the stored cases {'is' if older == 1 else 'are'} older, and deleted with the next daily "
                "round."
                if older
                else "No stored case is older."
            )
    st.button("Save these choices", icon=":material/save:", type="primary", on_click=_choose)


@session.permitted(Action.CHANGE_SETTINGS)
def _choose() -> None:
    state = st.session_state
    try:
        choices.change_choices(
            who=people.current(),
            saving=state[SAVING],
            retention_days=int(state.get(DAYS, STANDARD_DAYS)) if state[LIMITED] else None,
            keep_heat=bool(state[HEAT]),
        )
    except _REASONS as error:
        state[SAID] = (str(error), False)
        return
    state[SAID] = ("The choices hold from now on.", True)


# --- what is stored ---


def stored_now(kept: cases.Stored, made: Choices, now: datetime) -> None:
    st.markdown("#### What is stored now")
    rows = {
        "Cases": f"{kept.cases:,}",
        "With a verdict": f"{kept.verified:,}",
        "With a heat map": f"{kept.heats:,}",
        "Films, encrypted": f"{kept.films:,}, {_bytes(kept.film_bytes)}",
        "Oldest case": "–" if kept.oldest is None else f"{kept.oldest.astimezone():%d %B %Y}",
    }
    st.table(rows, border="horizontal")
    if made.retention_days is not None:
        older = cases.older_than(made.retention_days, now=now)
        st.caption(
            f"Kept for {made.retention_days} days; {older:,} past that. The server deletes them when it starts and "
            "every day."
        )
        st.button(
            "Delete what is past its days now",
            icon=":material/auto_delete:",
            on_click=_expire,
            disabled=not older,
        )


@session.permitted(Action.DELETE_CASE)
def _expire() -> None:
    try:
        done = retention.once(datetime.now(UTC), who=people.current())
    except _REASONS as error:
        st.session_state[SAID] = (str(error), False)
        return
    words = f"Deleted: {_count(done.cases, 'case')}, {_count(done.films, 'film')}."
    st.session_state[SAID] = (f"{words} {done.problem}".strip(), not done.problem)


# --- deleting one case ---


def delete_one() -> None:
    st.markdown("#### Delete a case")
    asked = st.session_state.get(ASKED)
    if asked is None:
        with st.form("records-delete", border=False):
            st.text_input("Pseudonym", key=PSEUDONYM, placeholder="K7M2-QX4D", max_chars=20)
            st.form_submit_button("Delete this case", icon=":material/delete:", on_click=_ask)
        return
    st.warning(
        f"Delete case {look.plain(asked)} for good, with its readings, its verdict and its film? A backup may still "
        "hold it.",
        icon=":material/warning:",
    )
    with st.container(horizontal=True):
        st.button("Delete for good", type="primary", icon=":material/delete_forever:", on_click=_delete)
        st.button("Keep it", on_click=_keep)


@session.permitted(Action.DELETE_CASE)
def _ask() -> None:
    pseudonym = str(st.session_state[PSEUDONYM]).strip().upper()
    try:
        found = cases.exists(pseudonym)
    except DatabaseError as error:
        st.session_state[SAID] = (str(error), False)
        return
    if found:
        st.session_state[ASKED] = pseudonym
    else:
        st.session_state[SAID] = (str(NoSuchCase()), False)


@session.permitted(Action.DELETE_CASE)
def _delete() -> None:
    pseudonym = st.session_state.pop(ASKED, "")
    try:
        done = cases.delete(pseudonym, who=people.current())
    except _REASONS as error:
        st.session_state[SAID] = (str(error), False)
        return
    film = " and its film" if done.films else ""
    st.session_state[SAID] = (
        f"Case {pseudonym}{film} deleted. {done.problem}".strip(),
        not done.problem,
    )


def _keep() -> None:
    st.session_state.pop(ASKED, None)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    """A size in the largest unit that leaves a number of at least 1: "1.5 GB"; powers of 1000."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
