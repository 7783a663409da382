"""Diagnose: drop films, read the answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from typing import TYPE_CHECKING

import pandas
import streamlit as st

from model.films import DicomFacts, ImageError, Window
from model.inference import InferenceError
from model.registry import Version, VersionError
from model.samples import sample_files
from utils import look, session
from utils.decisions import ASSISTS, decide
from utils.readings import (
    Entry,
    Reading,
    Worklist,
    batches,
    content_key,
    data_uri,
    done_in_words,
    read_again,
    read_films,
    readings_csv,
    shown,
)

if TYPE_CHECKING:
    from model.dicom import DicomFrame

screen = session.enter("Diagnose")

# Names of what a session keeps. Films belong to one session: they never enter a shared cache.
WORKLIST = "diagnose-worklist"
OPENED = "diagnose-opened"
ROUND = "diagnose-round"
SAMPLES = "diagnose-samples-wanted"
STOP = "diagnose-stop-wanted"
TABLE = "diagnose-table"
FRAME = "diagnose-frame"  # the one decoded DICOM frame that is looked at: (content key, frame)

Pending = list[tuple[str, Callable[[], bytes], bool]]


def main() -> None:
    st.session_state.setdefault(WORKLIST, Worklist())
    st.session_state.setdefault(ROUND, 0)
    st.html(look.STYLE)
    st.title("Diagnose")
    uploads = st.file_uploader(
        "Chest X-rays from the front, as DICOM, JPG, JPEG or PNG: one or many",
        accept_multiple_files=True,
        key=f"films-{st.session_state[ROUND]}",
        disabled=screen.version is None,
    )
    with st.container(key="status"):
        if screen.version is None:
            no_version()
        else:
            pending: Pending = [(file.name, file.getvalue, False) for file in uploads]
            if st.session_state.get(SAMPLES):
                pending += [(path.name, path.read_bytes, True) for path in sample_files()]
            if pending:
                take_in(pending, screen.version)
            else:
                loading(screen.version)
    show()
    st.caption(ASSISTS)


def no_version() -> None:
    st.error(
        f"{screen.problem} Until then no film can be read. A version is a folder in model/released; "
        "PNEUMOSCOPE_VERSION names another one.",
        icon=":material/error:",
    )


def loading(version: Version) -> None:
    """One quiet line, always of the same height: is the network loaded, what to try."""
    future = session.predictor(version)
    if future.done() and (error := future.exception()) is not None:
        not_loaded(version, error)
        return
    count = len(st.session_state[WORKLIST].entries)
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


def take_in(pending: Pending, version: Version) -> None:
    """Read what is new among the pending files, then let go of their bytes.

    Readings are kept as they come and the list is changed in one step at the end: a run that is cut short (by the
    slider, say) goes on in the next one where it stopped.
    """
    worklist: Worklist = st.session_state[WORKLIST]
    keys = [content_key(load()) for _, load, _ in pending]
    loads = {key: load for key, (_, load, _) in zip(keys, pending, strict=True)}
    unread = [key for key in loads if not worklist.settled(key, version.name)]
    worklist.forget(unread)
    stopped = st.session_state.pop(STOP, False)
    if unread and not stopped:
        line, button = st.columns([5, 1], vertical_alignment="center")
        bar = line.progress(0.0, text="Waiting for the network to be loaded")
        button.button("Stop", on_click=stop, width="stretch")
        future = session.predictor(version)
        while not future.done():
            wait([future], timeout=0.25)
            bar.progress(0.0, text="Waiting for the network to be loaded")
        if (error := future.exception()) is not None:
            bar.empty()
            not_loaded(version, error)
            return
        size = version.card.input_size
        for part in batches(len(unread)):
            bar.progress(part.start / len(unread), text=f"Read {part.start} of {len(unread)}")
            files = [loads[key]() for key in unread[part]]
            worklist.keep(read_films(files, reader=future.result(), version=version.name, input_size=size))
    worklist.add(
        [(name, key, synthetic) for (name, _, synthetic), key in zip(pending, keys, strict=True)],
        version=version.name,
    )
    good = [key for key in keys if not worklist.reading(key).failed]
    if good:
        st.session_state[OPENED] = good[0]
    st.session_state[SAMPLES] = False
    # A fresh uploader makes Streamlit drop the uploaded bytes.
    st.session_state[ROUND] += 1
    st.rerun()


def stop() -> None:
    st.session_state[STOP] = True


def clear() -> None:
    st.session_state[WORKLIST] = Worklist()
    st.session_state[OPENED] = None
    st.session_state.pop(FRAME, None)


def want_samples() -> None:
    st.session_state[SAMPLES] = True


def show() -> None:
    worklist: Worklist = st.session_state[WORKLIST]
    good = [entry for entry in worklist.entries if not worklist.reading(entry.key).failed]
    bad = [entry for entry in worklist.entries if worklist.reading(entry.key).failed]
    if bad:
        st.html(look.bad_files([(entry.name, worklist.reading(entry.key).message) for entry in bad]))
    if len(good) > 1:
        table(good, worklist)
    opened = next(
        (entry for entry in good if entry.key == st.session_state.get(OPENED)), good[0] if good else None
    )
    film(opened, None if opened is None else worklist.reading(opened.key))
    if worklist.entries:
        with st.container(horizontal=True):
            st.download_button(
                "Download CSV",
                data=readings_csv(worklist.entries, worklist.readings, threshold=screen.threshold),
                file_name="pneumoscope.csv",
                mime="text/csv",
                icon=":material/download:",
                on_click="ignore",
            )
            st.button("Clear the list", icon=":material/delete:", on_click=clear)


def table(good: list[Entry], worklist: Worklist) -> None:
    """One row a film; a selected row opens its film."""
    rows = [worklist.row(entry, threshold=screen.threshold) for entry in good]
    flagged = sum(
        decide(worklist.probability(entry), threshold=screen.threshold) == "PNEUMONIA" for entry in good
    )
    st.markdown(f"**{flagged} of {len(good)}** films flagged as PNEUMONIA. Select a row to open its film.")

    def open_row() -> None:
        selected = st.session_state[TABLE]["selection"]["rows"]
        if selected:
            st.session_state[OPENED] = good[selected[0]].key

    st.dataframe(
        pandas.DataFrame(rows),
        key=TABLE,
        column_order=("film", "probability", "decision", "file", "remarks"),
        height=min(2 + 36 + 44 * len(rows), 262),
        row_height=44,
        hide_index=True,
        on_select=open_row,
        selection_mode="single-row",
        column_config={
            "film": st.column_config.ImageColumn("Film", width=60),
            "file": st.column_config.TextColumn("File", width="medium"),
            "probability": st.column_config.NumberColumn("Probability", format="%.3f", width=90),
            "decision": st.column_config.TextColumn("Decision", width=120),
            "remarks": st.column_config.TextColumn("Remarks", width="large"),
        },
    )


def film(entry: Entry | None, reading: Reading | None) -> None:
    """One film large, with its answer beside it; the same frame stands empty before the first film."""
    rates = "" if screen.version is None else session.rates_at(screen.version, screen.threshold)
    left, right = st.columns([3, 2], gap="large")
    with left:
        if entry is None or reading is None or reading.source is None:
            st.html(look.name_line("No film yet"))
            with st.container(key="viewer"):
                st.html(look.empty_viewer("The X-ray you drop above is shown here."))
        else:
            st.html(look.name_line(entry.name, synthetic=entry.synthetic))
            viewer = st.container(key="viewer")
            picture = adjusted(reading)
            viewer.image(picture, width="stretch", alt="The opened chest X-ray")
    with right:
        if entry is None or reading is None or reading.source is None:
            st.html(look.answer(None, threshold=screen.threshold, rates=rates))
        else:
            st.html(
                look.answer(
                    reading.probability,
                    threshold=screen.threshold,
                    rates=rates,
                    quality=tuple(remark.message for remark in reading.quality),
                    done=done_in_words(reading.source, input_size=reading.input_size),
                    remark=" ".join(part for part in (entry.remark, older(reading)) if part),
                )
            )


def adjusted(reading: Reading) -> bytes | str:
    """The picture to show; below it, for a DICOM film, which frame and which window (PS3.3 C.11.2)."""
    facts = None if reading.source is None else reading.source.dicom
    if facts is None or screen.version is None:
        return reading.picture
    if reading.dicom is None:
        st.caption("Frame and window cannot be changed any more: drop the file again for that.")
        return reading.picture
    number = facts.frame
    if facts.frames > 1:
        key = f"frame-{reading.key}"
        st.session_state.setdefault(key, facts.frame)
        number = int(st.number_input(f"Frame, 1 to {facts.frames}", 1, facts.frames, key=key, width=200))
        if number != facts.frame:
            read_so(reading, screen.version, frame=number, window=None)
    if facts.highest <= facts.lowest:  # colour has no window
        return reading.picture
    span = facts.highest - facts.lowest
    own = reading.dicom.window or Window((facts.lowest + facts.highest) / 2, max(span, 1.0))
    with st.expander("Window: brightness and contrast", icon=":material/contrast:"):
        window = chosen_window(f"{reading.key}-{number}", own, facts)
        use = f"window-used-{reading.key}-{number}"
        st.session_state.setdefault(use, facts.by_hand)
        used = st.toggle(
            "Use this window for the reading",
            key=use,
            disabled=window is None,
            help="Off: the window is for the eye, and the probability is that of the film as the file shows it.",
        )
        wanted = window if used else None
        if wanted != (facts.window if facts.by_hand else None):
            read_so(reading, screen.version, frame=number, window=wanted)
        if window is None or used:
            return reading.picture
        st.caption("For the eye only: the probability is that of the film as the file shows it.")
        try:
            return data_uri(shown(decoded(reading, number), window))
        except ImageError as error:
            st.caption(str(error))
            return reading.picture


def chosen_window(name: str, own: Window, facts: DicomFacts) -> Window | None:
    """The window that the sliders stand at; None where they stand at the film's own."""
    span = facts.highest - facts.lowest
    step = 1.0 if span >= 20 else span / 100
    start = facts.window if facts.by_hand and facts.window else own
    centre, width = f"window-centre-{name}", f"window-width-{name}"

    def start_over() -> None:
        st.session_state[centre], st.session_state[width] = own.centre, own.width

    st.session_state.setdefault(centre, start.centre)
    st.session_state.setdefault(width, start.width)
    lowest = min(facts.lowest, own.centre, start.centre)
    highest = max(facts.highest, own.centre, start.centre)
    form = "%.0f" if step == 1.0 else "%.2f"
    widest = 2 * max(span, own.width, start.width, 1.0)
    chosen = Window(
        st.slider("Centre", lowest, highest, step=step, format=form, key=centre),
        st.slider("Width", min(1.0, own.width), widest, step=step, format=form, key=width),
        own.shape,
    )
    st.button("As in the file", icon=":material/undo:", on_click=start_over, disabled=chosen == own)
    return None if chosen == own else chosen


def decoded(reading: Reading, number: int) -> DicomFrame:
    """The frame that is looked at, decoded once for all moves of the sliders; one a session."""
    kept = st.session_state.get(FRAME)
    if kept is None or kept[0] != (reading.key, number):
        if reading.dicom is None:
            raise ImageError("The pixels of this film are not kept any more: drop the file again.")
        kept = st.session_state[FRAME] = ((reading.key, number), reading.dicom.decode(number))
    frame: DicomFrame = kept[1]
    return frame


def read_so(reading: Reading, version: Version, *, frame: int, window: Window | None) -> None:
    """Read the film once more, another frame or through a window set by hand, and start the page over."""
    worklist: Worklist = st.session_state[WORKLIST]
    try:
        again = read_again(
            reading,
            frame=frame,
            window=window,
            reader=session.predictor(version).result(),
            version=version.name,
            input_size=version.card.input_size,
        )
    except (ImageError, InferenceError, VersionError) as error:
        st.error(str(error), icon=":material/error:")
        return
    worklist.keep([again])
    st.rerun()


def older(reading: Reading) -> str:
    if screen.version is None or reading.version == screen.version.name:
        return ""
    return f"Read with version {reading.version}; drop the file again to read it with {screen.version.name}."


main()
