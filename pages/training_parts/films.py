"""The films that a run learns from: a registered set, a typed folder, an uploaded ZIP."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from model import archive
from model.dataset import DatasetError
from pages.training_parts.common import (
    CHECKED,
    FOLDER,
    LISTING,
    MOST_MEGABYTES,
    OTHER,
    SET,
    SHOWN_BAD_FILES,
    UPLOAD,
    UPLOADS,
    WHO,
    ZIP,
)
from utils import data_sets, look, uploads
from utils.data_sets import FilmSet
from utils.settings import Settings
from utils.uploads import Upload, UploadError


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
