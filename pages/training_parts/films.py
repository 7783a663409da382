"""The films that a run learns from: a registered set, a typed folder, an uploaded ZIP, cases with verdicts."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from model import archive
from pages.training_parts import verdicts
from pages.training_parts.common import (
    CHECKED,
    DATA_SCREEN,
    MOST_MEGABYTES,
    SCREEN,
    SHOWN_BAD_FILES,
    UPLOAD,
    UPLOADS,
    VERDICTS,
    WHO,
    ZIP,
)
from utils import data_sets, film_choice, look, session, uploads
from utils.data_sets import FilmSet
from utils.dropped import let_go
from utils.permissions import Action
from utils.settings import Settings
from utils.uploads import Upload, UploadError


def chosen_films(settings: Settings) -> FilmSet | None:
    """The set to train on; None, and what to do about it, where there is none yet."""
    upload = uploads.latest()
    if upload is not None and upload.running:
        watch_upload(upload)
        return None
    ended_upload(upload)
    chosen = film_choice.choose(
        SCREEN,
        {place.label: place.folder for place in data_sets.registered(settings)},
        also=(ZIP, VERDICTS),
        invitation="Name a folder of X-rays to train on, or upload a ZIP of one.",
    )
    if chosen == ZIP:
        take_zip(settings.home)
    elif chosen == VERDICTS:
        verdicts.take(settings)
    if not isinstance(chosen, film_choice.Chosen):
        return None
    with chosen.line:
        if st.button("More in Data", icon=":material/dataset:", type="tertiary"):
            for key in (film_choice.set_key, film_choice.folder_key):
                st.session_state[key(DATA_SCREEN)] = st.session_state.get(key(SCREEN), "")
            st.switch_page("pages/data.py")
        folder = chosen.folder
        if (facts := uploads.facts_of(folder)) is not None and folder in uploads.uploaded_sets(settings.home):
            delete_films(settings.home, folder, facts)
            if facts.remarks:
                st.caption(look.plain(" ".join(facts.remarks)))
    return chosen.films


def delete_films(home: Path, folder: Path, facts: uploads.Facts) -> None:
    with st.popover("Delete", icon=":material/delete:", type="tertiary"):
        st.markdown(
            f"Delete the films of **{look.plain(folder.name)}**, made by {look.plain(facts.who)} on "
            f"{facts.created.astimezone():%d %B %Y} from {look.plain(facts.source)}? Versions trained on them stay."
        )
        if st.button("Delete these films", type="primary"):
            try:
                with session.on_record(Action.TRAIN, "deletion", subject=f"set of films {folder.name}"):
                    uploads.delete_set(home, folder.name)
            except (UploadError, *session.REFUSALS) as error:
                st.error(look.plain(str(error)))
            else:
                film_choice.forget_listing(SCREEN)
                st.rerun()


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
    with two:
        who = session.who_field("Your name", key=WHO, persist_state="session", max_chars=100)
    if three.button(
        "Unpack and keep",
        type="primary",
        icon=":material/unarchive:",
        disabled=archive_file is None,
        width="stretch",
    ):
        assert archive_file is not None
        try:
            with session.on_record(Action.TRAIN, "import", subject=f"set of films {name}"):
                upload = uploads.keep(
                    home, name=name, who=who, source=archive_file.name, archive=archive_file
                )
        except (UploadError, archive.ArchiveError, *session.REFUSALS) as error:
            st.error(look.plain(str(error)), icon=":material/error:")
        else:
            st.session_state[UPLOAD] = upload
            let_go(archive_file)  # the thread that unpacks has bytes of its own
            st.session_state[UPLOADS] += 1
            st.rerun()


@st.fragment(run_every=0.7)
def watch_upload(upload: Upload) -> None:
    if not upload.running:
        st.rerun()
    line, button = st.columns([5, 1], vertical_alignment="center")
    words = f"{upload.words} {upload.done:,} of {upload.total:,} films of {upload.name}"
    line.progress(upload.done / upload.total if upload.total else 0.0, text=words)
    button.button("Cancel", on_click=session.permitted(Action.TRAIN)(upload.cancel), width="stretch")
    st.caption(f"Started by {look.plain(upload.who)}. It goes on when you leave this page.")


def ended_upload(upload: Upload | None) -> None:
    """How this session's ZIP ended, once."""
    if upload is None or id(st.session_state.get(UPLOAD)) != id(upload):
        return
    if upload.phase == "done" and upload.folder is not None:
        verdicts.forget()
        st.success(f"{look.plain(upload.name)} is kept as a set of films.", icon=":material/check:")
        if upload.folder.is_dir():
            st.session_state[film_choice.set_key(SCREEN)] = data_sets.Place(
                data_sets.UPLOADED, upload.folder
            ).label
            st.session_state[CHECKED] = str(upload.folder)
        facts = uploads.facts_of(upload.folder)
        if facts is not None and facts.damaged:
            shown = facts.damaged[:SHOWN_BAD_FILES]
            st.html(look.bad_files(list(shown), count=len(facts.damaged)))
    elif upload.phase == "cancelled":
        st.info("That was cancelled; nothing was kept.", icon=":material/info:")
    elif upload.phase == "failed":
        st.error(look.plain(upload.message), icon=":material/error:")
    st.session_state.pop(UPLOAD)
