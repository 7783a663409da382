"""Taking films in: the uploader's files and the samples, with progress and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait

import streamlit as st

from model.inference import InferenceError
from model.registry import Version, VersionError
from model.samples import sample_files
from pages.diagnose_parts import common, saving
from utils import evidence, session
from utils.choices import Choices
from utils.dropped import Dropped, let_go
from utils.readings import batches, content_key, read_films

ROUND = "diagnose-round"
SAMPLES = "diagnose-samples-wanted"
STOP = "diagnose-stop-wanted"

Pending = list[tuple[str, Callable[[], bytes], bool]]


def show(version: Version | None, problem: str, *, threshold: float, made: Choices | None) -> None:
    """The uploader, and below it one line of a constant height: what is being done.

    Args:
        version: the version in use.
        problem: why there is none.
        threshold: the session's, in [0, 1]: saved with what is read.
        made: the department's choices; None where they cannot be read.
    """
    st.session_state.setdefault(ROUND, 0)
    number = st.session_state[ROUND]
    patient, usable = None, True
    place = st.container()
    if made is None or made.saving != "off":
        place, beside = st.columns([3, 1])
        with beside:
            patient, usable = saving.patient_field(number)
    uploads = place.file_uploader(
        "Chest X-rays from the front, as DICOM, JPG, JPEG or PNG: one or many",
        accept_multiple_files=True,
        key=f"films-{number}",
        disabled=version is None or not usable,
    )
    with st.container(key="status"):
        if version is None:
            st.error(
                f"{problem} Until then no film can be read. A version is a folder in model/released; "
                "PNEUMOSCOPE_VERSION names another one.",
                icon=":material/error:",
            )
            return
        pending: Pending = [(file.name, file.getvalue, False) for file in uploads]
        if st.session_state.get(SAMPLES):
            pending += [(path.name, path.read_bytes, True) for path in sample_files()]
        if pending:
            take_in(pending, version, uploads, threshold=threshold, patient=patient)
        else:
            loading(version)


def loading(version: Version) -> None:
    """One quiet line, always of the same height: is the network loaded, what to try."""
    future = session.predictor(version)
    if future.done() and (error := future.exception()) is not None:
        not_loaded(version, error)
        return
    count = len(common.worklist().entries)
    with st.container(horizontal=True, vertical_alignment="center"):
        if not future.done():
            wait_for_network(version)
        elif count:
            st.caption(f"Ready. {count} {'file' if count == 1 else 'files'} in the list.", width="content")
        else:
            st.caption("Ready. No X-ray at hand?", width="content")
        if not count and sample_files():
            st.button(
                "Try the sample films",
                icon=":material/experiment:",
                help="Synthetic films made by this project: no patient's.",
                on_click=want_samples,
            )


@st.fragment(run_every=1.0)
def wait_for_network(version: Version) -> None:
    if session.predictor(version).done():
        st.rerun()
    st.caption(
        ":material/hourglass_top: The network is being loaded. You can drop films already.", width="content"
    )


def not_loaded(version: Version, error: BaseException) -> None:
    reason = f" {error}" if isinstance(error, InferenceError | VersionError) else ""
    st.error(
        f"The network of version {version.name} could not be loaded.{reason} Try again; if it fails once more, "
        "restore the folder of this version.",
        icon=":material/error:",
    )
    st.button("Try again", on_click=session.forget_predictor, args=(version,))


def take_in(
    pending: Pending,
    version: Version,
    uploads: Sequence[Dropped],
    *,
    threshold: float,
    patient: str | None,
) -> None:
    """Read what is new among the pending files and save it, then let go of the bytes of those that were dropped.

    Readings are kept as they come and the list is changed in one step at the end: a run that is cut short (by the
    slider, say) goes on in the next one where it stopped.
    """
    worklist = common.worklist()
    keys = [content_key(load()) for _, load, _ in pending]
    loads = {key: load for key, (_, load, _) in zip(keys, pending, strict=True)}
    unread = [key for key in loads if not worklist.settled(key, version.name)]
    patients = {key for key, (_, _, synthetic) in zip(keys, pending, strict=True) if not synthetic}

    def save(some: Iterable[str]) -> None:
        saving.films_read(
            [worklist.reading(key) for key in some if key in patients],
            lambda key: loads[key](),
            version,
            batch=st.session_state[ROUND],
            threshold=threshold,
            patient=patient,
        )

    save(key for key in loads if key not in unread)
    worklist.forget(unread)
    stopped = st.session_state.pop(STOP, False)
    if unread and not stopped:
        line, button = st.columns([5, 1], vertical_alignment="center")
        bar = line.progress(0.0, text="Waiting for the network to be loaded")
        button.button("Stop", on_click=stop, width="stretch")
        future = session.predictor(version)
        judge = evidence.judge(version)
        while not future.done():
            wait([future], timeout=0.25)
            bar.progress(0.0, text="Waiting for the network to be loaded")
        if (error := future.exception()) is not None:
            bar.empty()
            not_loaded(version, error)
            return
        for part in batches(len(unread)):
            bar.progress(part.start / len(unread), text=f"Read {part.start} of {len(unread)}")
            worklist.keep(
                read_films(
                    [loads[key]() for key in unread[part]],
                    reader=future.result(),
                    version=version.name,
                    judge=judge,
                    input_size=version.card.input_size,
                )
            )
            save(unread[part])
    worklist.add(
        [(name, key, synthetic) for (name, _, synthetic), key in zip(pending, keys, strict=True)],
        version=version.name,
    )
    good = [key for key in keys if not worklist.reading(key).failed]
    if good:
        st.session_state[common.OPENED] = good[0]
    st.session_state[SAMPLES] = False
    let_go(*uploads)
    st.session_state[ROUND] += 1  # a fresh uploader
    st.rerun()


def stop() -> None:
    st.session_state[STOP] = True


def want_samples() -> None:
    st.session_state[SAMPLES] = True
