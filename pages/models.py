"""Models: all versions, which one is in use, compared on the same films, put in use, taken back, in and out."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from model.comparison import Comparison, ComparisonError, Pair, compare, p_in_words, signed
from model.dataset import CLASSES
from model.exchange import export_version
from model.figures import figures
from model.importing import AUTO, SCALINGS
from model.registry import Version, VersionError, activate, delete, history, rollback, rollback_target
from model.registry_commands import Place
from pages.metrics_parts import common
from pages.metrics_parts.overview import in_words
from utils import charts, imports, look, model_versions, sections, session
from utils.decisions import ASSISTS
from utils.department import base_of
from utils.dropped import let_go
from utils.imports import ImportingRefused, ImportJob
from utils.model_versions import Listed
from utils.permissions import Action
from utils.settings import Settings, SettingsError, get_settings

screen = session.enter("Models", Action.MANAGE_MODELS)

# Names of what a session keeps.
SECTION = "models-section"
OPENED = "models-opened"
COMPARED = "models-compared"
COMPARE = "models-compare"  # another screen may name a version here, to be compared with the one in use
WHO = "models-who"
DONE = "models-done"
UPLOADS = "models-uploads"
SEEN = "models-import-seen"

CARD, COMPARISON, IN_USE, IMPORT, LOG = "Card", "Compare", "Put in use", "Import", "Log"
MOST_VERSIONS = 4
MOST_MEGABYTES = 1024
SHOWN_FILMS = 200
FIGURES = ("auc", "sensitivity", "specificity", "accuracy", "precision", "npv", "f1_pneumonia", "brier")


def main() -> None:
    st.html(look.STYLE)
    st.title("Models")
    try:
        settings = get_settings()
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
        st.caption(ASSISTS)
        return
    place = model_versions.place_of(settings)
    changes = history(place.site)
    rows = model_versions.listed(session.all_versions(), screen.version, changes)
    in_use(rows)
    if rows:
        table(rows)
    else:
        st.info("There is no version yet. Train one, or import one below.", icon=":material/info:")
    if (wanted := st.session_state.pop(COMPARE, None)) is not None:
        show_comparison_with(rows, str(wanted))
    section = sections.choose(
        SECTION, [CARD, COMPARISON, IN_USE, IMPORT, LOG], first=CARD, label="What to look at"
    )
    if section == CARD:
        card(rows, place)
    elif section == COMPARISON:
        comparison(rows, settings)
    elif section == IN_USE:
        put_in_use(rows, place)
    elif section == IMPORT:
        bring_in(settings)
    else:
        show_log(place)
    st.caption(ASSISTS)


def in_use(rows: list[Listed]) -> None:
    """Which version reads the films, and what was done last."""
    if (done := st.session_state.pop(DONE, None)) is not None:
        st.success(done, icon=":material/check:")
    if screen.version is None:
        st.error(
            f"{screen.problem} No film can be read until another version is put in use.",
            icon=":material/error:",
        )
        return
    used = next((each for each in rows if each.in_use), None)
    name = base_of(screen.version).name if used is None else used.name
    st.markdown(f"▶ Films are read with **{look.plain(name)}**.")
    if session.pinned():
        st.info(
            f"PNEUMOSCOPE_VERSION names {look.plain(session.pinned())}, and that goes before what is chosen here: "
            "versions can be put in use again when it is no longer set.",
            icon=":material/keep:",
        )


def table(rows: list[Listed]) -> None:
    st.dataframe(
        model_versions.overview(rows),
        hide_index=True,
        height="content" if len(rows) <= 6 else 250,
        column_config={
            "State": st.column_config.TextColumn("State", width=100, pinned=True),
            "Version": st.column_config.TextColumn("Version", width=170),
            "Parameters": st.column_config.NumberColumn("Parameters", format="localized"),
            "MB": st.column_config.NumberColumn("MB", format="%.1f"),
        },
        alt="All versions, newest first",
    )
    st.caption(
        "Figures of the test films at each version's balanced point, with 95 % intervals; of validation films where a "
        "version has no test films."
    )


def names_of(rows: list[Listed]) -> list[str]:
    return [each.name for each in rows]


def shown(rows: list[Listed]) -> Callable[[str], str]:
    states = {each.name: each.state for each in rows}
    return lambda name: f"{name} ({states[name]})" if states.get(name) else name


# --- one version ---


def card(rows: list[Listed], place: Place) -> None:
    if not rows:
        return
    if st.session_state.get(OPENED) not in names_of(rows):
        used = next((each.name for each in rows if each.in_use), rows[0].name)
        st.session_state[OPENED] = used
    name = st.selectbox(
        "Version", options=names_of(rows), key=OPENED, format_func=shown(rows), persist_state="session"
    )
    each = next(each for each in rows if each.name == name)
    version = each.version
    if not each.evaluated:
        st.warning(
            "This version was not evaluated on labelled films: it cannot be put in use. Import it once more with a "
            "folder of them.",
            icon=":material/warning:",
        )
    for note in version.card.notes:
        st.markdown(f"- {look.plain(note)}")
    if points := model_versions.points(version):
        st.table(points, hide_index=True, border="horizontal")
        st.caption(
            ". ".join(
                f"**{look.plain(point.name)}**: {look.plain(point.rule)}"
                for point in version.card.operating_points
            )
            + "."
        )
    if tried := model_versions.trials(version):
        st.markdown("**Pixel scalings tried when it was imported**")
        st.table(tried, hide_index=True, border="horizontal")
    st.table(model_versions.facts(each), hide_index=True, border="horizontal")
    if version.card.training:
        with st.expander("Settings of its training"):
            st.table(model_versions.training(version), hide_index=True, border="horizontal")
    with st.container(horizontal=True):
        base = base_of(version)
        st.download_button(
            "Card (JSON)",
            data=base.card.model_dump_json(indent=2),
            file_name=f"{base.name}.json",
            mime="application/json",
            icon=":material/description:",
            on_click="ignore",
        )
        st.download_button(
            "Version as ZIP",
            data=session.exported(lambda: packed(each), subject=base.name),
            file_name=f"{base.name}.zip",
            mime="application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
            help="Network, card, history and predictions in one file, for Import elsewhere.",
        )
        if each.origin != "released":
            remove(each, place)


def packed(each: Listed) -> bytes:
    target = io.BytesIO()
    export_version(base_of(each.version), target)
    return target.getvalue()


def remove(each: Listed, place: Place) -> None:
    with st.popover("Delete", icon=":material/delete:", disabled=each.in_use):
        st.markdown(f"Delete **{look.plain(each.name)}** for good? The log keeps that it was there.")
        who = name_field("models-who-delete")
        if st.button("Delete this version", type="primary"):
            try:
                with session.on_record(Action.MANAGE_MODELS, "deletion", subject=f"version {each.name}"):
                    delete(each.name, *place.roots, who=who, keep=[place.pinned])
            except (VersionError, *session.REFUSALS) as error:
                st.error(look.plain(str(error)), icon=":material/error:")
            else:
                finish(f"Version {look.plain(each.name)} was deleted.")


def name_field(key: str) -> str:
    """Who does it; a name given once stands in all of these fields."""
    if key not in st.session_state:
        st.session_state[key] = st.session_state.get(WHO, "")
    who = session.who_field("Your name", key=key, max_chars=100)
    st.session_state[WHO] = who
    return who


def finish(sentence: str) -> None:
    st.session_state[DONE] = sentence
    st.rerun()


# --- several versions on the same films ---


def show_comparison_with(rows: list[Listed], name: str) -> None:
    """Open the comparison of a version with the one in use."""
    used = next((each.name for each in rows if each.in_use), None)
    if name not in names_of(rows):
        st.warning(f"There is no version {look.plain(name)} to compare.", icon=":material/warning:")
        return
    sections.go_to(SECTION, COMPARISON)
    st.session_state[COMPARED] = [each for each in (used, name) if each is not None]


def comparison(rows: list[Listed], settings: Settings) -> None:
    ready = [each for each in rows if (each.version.folder / "predictions" / "test.csv").is_file()]
    if len(ready) < 2:
        st.info(
            "Two versions with stored predictions of test films are needed to compare. Train one, or import one with a "
            "folder that has a test split.",
            icon=":material/info:",
        )
        return
    names = names_of(ready)
    used = next((each.name for each in ready if each.in_use), names[0])
    others = [name for name in names if name != used]
    kept = [name for name in st.session_state.get(COMPARED, [used, others[0]]) if name in names]
    st.session_state[COMPARED] = kept
    wanted = st.multiselect(
        "Versions to compare: each with the first",
        options=names,
        key=COMPARED,
        format_func=shown(rows),
        max_selections=MOST_VERSIONS,
        persist_state="session",
    )
    if len(wanted) < 2:
        st.info("Choose two versions or more.", icon=":material/info:")
        return
    # The one in use is what the others are measured against.
    chosen = sorted((each for each in ready if each.name in wanted), key=lambda each: wanted.index(each.name))
    chosen.sort(key=lambda each: not each.in_use)
    try:
        found = compared("|".join(map(stamp, chosen)), tuple(chosen))
    except (ComparisonError, VersionError, OSError) as error:
        st.error(look.plain(str(error)), icon=":material/error:")
        return
    films(found)
    for number in range(1, len(found.sides)):
        pair = found.pair(number)
        icon = {"better": "trending_up", "worse": "trending_down", "not told apart": "drag_handle"}[
            pair.verdict
        ]
        box = {"better": st.success, "worse": st.error, "not told apart": st.info}[pair.verdict]
        box(look.plain(pair.in_words), icon=f":material/{icon}:")
    st.caption(
        "Paired test of DeLong on the same films, several films of one patient allowed for; not corrected for the "
        "number of comparisons. Whoever picks the best of many versions by their test films flatters it: let "
        "validation films choose, and look here once."
    )
    left, right = st.columns(2, gap="large")
    with left:
        curves = {side.name: side.roc for side in found.sides}
        st.plotly_chart(
            charts.comparison_roc_figure(curves),
            key="models-roc",
            theme="streamlit",
            config=charts.config("models-roc"),
            alt="ROC curves of "
            + ", ".join(f"{name} (AUC {curve.auc:.3f})" for name, curve in curves.items())
            + ".",
        )
    with right:
        st.markdown("**Each at its own threshold**")
        st.table(figure_rows(found), hide_index=True, border="horizontal")
    for number in range(1, len(found.sides)):
        decisions(found, found.pair(number))


def stamp(each: Listed) -> str:
    """What a comparison hangs on."""
    try:
        status = (each.version.folder / "predictions" / "test.csv").stat()
    except OSError:
        return each.name
    changed = f"{status.st_mtime_ns} {status.st_size}"
    return f"{each.version.folder} {each.version.name} {each.threshold} {changed}"


@st.cache_resource(max_entries=4, show_spinner="Measuring on the same films")
def compared(stamps: str, _rows: tuple[Listed, ...]) -> Comparison:
    thresholds = {each.version.name: each.threshold for each in _rows}
    return compare([each.version for each in _rows], thresholds=thresholds)


def films(found: Comparison) -> None:
    pneumonia = int(found.labels.sum())
    left_out = [f"{side.name} {side.left_out}" for side in found.sides if side.left_out]
    st.markdown(
        f"**{len(found.files):,} test films** that all of them have read: {len(found.files) - pneumonia:,} "
        f"{CLASSES[0]}, {pneumonia:,} {CLASSES[1]}."
        + (f" Left out because not all have them: {look.plain(', '.join(left_out))}." if left_out else "")
    )


def figure_rows(found: Comparison) -> list[dict[str, str]]:
    """One row a figure, one column a version."""
    rows = [{"Figure": "Threshold"} | {side.name: f"{side.threshold:.3f}" for side in found.sides}]
    for each in zip(*(figures(side.result) for side in found.sides), strict=True):
        if each[0].key not in FIGURES:
            continue
        row = {"Figure": each[0].name}
        for side, figure in zip(found.sides, each, strict=True):
            interval = common.bounds(figure.interval, percent=figure.kind == "share")
            row[side.name] = f"{in_words(figure)} ({interval})" if interval else in_words(figure)
        rows.append(row)
    return rows


def decisions(found: Comparison, pair: Pair) -> None:
    """Who gets which film right."""
    new, old, counts = pair.new.name, pair.old.name, pair.counts
    st.markdown(f"#### Which films {look.plain(new)} and {look.plain(old)} get right")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.table(
            [
                {"": f"{old} right", f"{new} right": counts["both"], f"{new} wrong": counts["only_old"]},
                {"": f"{old} wrong", f"{new} right": counts["only_new"], f"{new} wrong": counts["neither"]},
            ],
            hide_index=True,
            border="horizontal",
        )
        st.caption(
            f"Each at its own threshold. {counts['only_new']} films only {look.plain(new)} gets right, "
            f"{counts['only_old']} only {look.plain(old)} (McNemar's exact test: {p_in_words(pair.p_of_decisions)}). "
            f"Difference of the AUC {signed(pair.difference.difference)}."
        )
    with right:
        rows = found.differing(pair)
        if not rows:
            st.info("They decide every film alike.", icon=":material/info:")
            return
        st.dataframe(
            [
                {
                    "Film": row["file"],
                    "Label": row["label"],
                    "Right": row["right"],
                    new: row[new],
                    old: row[old],
                }
                for row in rows[:SHOWN_FILMS]
            ],
            hide_index=True,
            height="content" if len(rows) <= 7 else 290,
            column_config={
                "Film": st.column_config.TextColumn("Film", width=200),
                new: st.column_config.NumberColumn(new, format="%.3f"),
                old: st.column_config.NumberColumn(old, format="%.3f"),
            },
            alt=f"Films that only one of {new} and {old} gets right",
        )
        if len(rows) > SHOWN_FILMS:
            st.caption(f"The first {SHOWN_FILMS} of {len(rows):,}.")


# --- which one is in use ---


def put_in_use(rows: list[Listed], place: Place) -> None:
    if place.pinned:
        st.info("Nothing can be put in use here while PNEUMOSCOPE_VERSION is set.", icon=":material/keep:")
        return
    target = rollback_target(*place.roots)
    ready = [each for each in rows if each.evaluated and not each.in_use]
    left, right = st.columns(2, gap="large")
    with left, st.container(border=True):
        st.markdown("#### Put another version in use")
        if ready:
            promote(ready, rows, place)
        else:
            st.info(
                "There is no other version that was evaluated. Train one, or import one with labelled films.",
                icon=":material/info:",
            )
    with right, st.container(border=True):
        st.markdown("#### Roll back")
        if target is None:
            st.info("No other version was in use before.", icon=":material/info:")
            return
        st.markdown(f"Before this one, **{look.plain(target.name)}** was in use.")
        who, reason = who_and_why("rollback")
        with st.popover("Roll back …", icon=":material/undo:"):
            st.markdown(
                f"Read every film with **{look.plain(target.name)}** again, from now on and for everyone?"
            )
            if st.button("Yes, roll back", type="primary"):
                change(partial(rollback, *place.roots, who=who, reason=reason), place)


def promote(ready: list[Listed], rows: list[Listed], place: Place) -> None:
    names = names_of(ready)
    if st.session_state.get("models-promote") not in names:
        st.session_state["models-promote"] = names[0]
    name = st.selectbox("Version", options=names, key="models-promote", format_func=shown(rows))
    who, reason = who_and_why("promote")
    with st.popover("Put in use …", icon=":material/deployed_code_update:"):
        st.markdown(
            f"Read every film with **{look.plain(name)}** from now on, for everyone? It is tried on the sample films "
            "first. Films that are being read end with the version they began with."
        )
        if st.button("Yes, put it in use", type="primary"):
            change(partial(activate, name, *place.roots, who=who, reason=reason), place)


def who_and_why(kind: str) -> tuple[str, str]:
    who = name_field(f"models-who-{kind}")
    reason = st.text_input("Why, in one sentence", key=f"models-why-{kind}", max_chars=300)
    return who, reason


def change(act: Callable[..., object], place: Place) -> None:
    """Promote or roll back; what failed is said, and what was in use stays."""
    if not session.may(Action.MANAGE_MODELS):
        return
    before = None if screen.version is None else base_of(screen.version).name
    try:
        with st.spinner("Trying the version on the sample films"), ExitStack() as record:

            def check(version: Version) -> None:
                place.check(version)  # takes seconds, in which nobody could write to an open record
                record.enter_context(
                    session.on_record(
                        Action.MANAGE_MODELS,
                        "promotion",
                        subject=f"version {version.name}",
                        before={"in use": before},
                        after={"in use": version.name},
                    )
                )

            act(check=check)
    except (VersionError, *session.REFUSALS) as error:
        st.error(f"{look.plain(str(error))} Nothing was changed.", icon=":material/error:")
        return
    now, _ = session.current_version()
    finish("Done." if now is None else f"In use is now {look.plain(base_of(now).name)}, for everyone.")


# --- in from elsewhere ---


def bring_in(settings: Settings) -> None:
    job = imports.latest()
    if job is not None and job.running:
        watch(job)
        return
    ended(job)
    with st.container(border=True):
        st.markdown("#### Import a model")
        st.markdown(
            "A Keras **.h5** with layers and weights, as a fine-tuned VGG16 is saved, or the **ZIP** of a version. A "
            "file is looked into before anything in it is built."
        )
        how = st.segmented_control(
            "Where is the file?",
            options=["Upload", "On this computer"],
            default="Upload",
            required=True,
            key="models-import-how",
        )
        source: Path | UploadedFile | None = None
        title = ""
        if how == "Upload":
            upload = st.file_uploader(
                f"Network (.h5) or version (.zip), at most {MOST_MEGABYTES} MB",
                type=["h5", "hdf5", "zip"],
                max_upload_size=MOST_MEGABYTES,
                key=f"models-upload-{st.session_state.setdefault(UPLOADS, 0)}",
            )
            if upload is not None:
                source, title = upload, upload.name
        else:
            text = st.text_input(
                "File on the computer that runs Pneumoscope",
                key="models-import-path",
                placeholder="/models/vgg16.h5",
            ).strip()
            if text:
                source, title = Path(text).expanduser().absolute(), Path(text).name
        one, two = st.columns(2)
        name = one.text_input(
            "Name of the version",
            key="models-import-name",
            max_chars=100,
            help="Letters, digits, points, dashes and underscores. Empty: the file's own.",
        )
        with two:
            who = session.who_field("Your name", key="models-import-who", max_chars=100)
        folder = one.text_input(
            "Folder of labelled films",
            key="models-import-data",
            value="" if settings.data is None else str(settings.data),
            help="Its training films give validation films, which calibrate the model and find its thresholds; its "
            "test films measure it. Without a folder the model cannot be put in use.",
        ).strip()
        scaling = two.selectbox(
            "How its pixels were scaled",
            options=[AUTO, *SCALINGS],
            format_func=lambda key: "Find out by trying" if key == AUTO else f"{key}: {SCALINGS[key]}",
            key="models-import-scaling",
        )
        reason = st.text_input("Why, in one sentence", key="models-import-why", max_chars=300)
        if st.button("Import", type="primary", icon=":material/upload:", disabled=source is None):
            assert source is not None
            try:
                if folder and not Path(folder).expanduser().is_dir():
                    raise ImportingRefused(f"There is no folder {folder}.")
                with session.on_record(Action.MANAGE_MODELS, "import", subject=f"version {name}".strip()):
                    imports.start(
                        settings.home,
                        source=source,
                        title=title,
                        name=name,
                        data=Path(folder).expanduser().absolute() if folder else None,
                        scaling=scaling,
                        who=who,
                        reason=reason,
                    )
            except (ImportingRefused, *session.REFUSALS) as error:
                st.error(look.plain(str(error)), icon=":material/error:")
                return
            if not isinstance(source, Path):
                let_go(source)
            st.session_state[UPLOADS] += 1
            st.rerun()


@st.fragment(run_every=1.0)
def watch(job: ImportJob) -> None:
    """Progress of the running import, whoever started it."""
    if not job.running:
        st.rerun()
    st.markdown(f"#### Importing {look.plain(job.title)}")
    line, button = st.columns([5, 1], vertical_alignment="center")
    share = job.done / job.total if job.total else 0.0
    count = f": {job.done:,} of {job.total:,}" if job.total else ""
    line.progress(min(share, 1.0), text=look.plain(f"{job.words}{count}"))
    button.button("Stop", on_click=session.permitted(Action.MANAGE_MODELS)(job.stop), width="stretch")
    st.caption("It goes on when you leave this page or close the browser.")


def ended(job: ImportJob | None) -> None:
    """How the last import ended, once in each session."""
    if job is None or st.session_state.get(SEEN) == id(job):
        return
    if job.result is not None:
        name = str(job.result["version"])
        st.success(f"{look.plain(name)} is imported.", icon=":material/check:")
        for note in job.result["notes"]:
            st.markdown(f"- {look.plain(str(note))}")
        st.button("Open its card", on_click=open_card, args=(name, id(job)))
    elif job.problem:
        st.error(look.plain(job.problem), icon=":material/error:")


def open_card(name: str, job: int) -> None:
    st.session_state[OPENED] = name
    sections.go_to(SECTION, CARD)
    st.session_state[SEEN] = job


# --- what was changed ---


def show_log(place: Place) -> None:
    changes = history(place.site)
    if not changes:
        st.info("Nothing was changed yet: the newest released version is in use.", icon=":material/info:")
        return
    st.dataframe(
        model_versions.log_rows(changes),
        hide_index=True,
        height="content" if len(changes) <= 10 else 420,
        column_config={"Why": st.column_config.TextColumn("Why", width="large")},
        alt="What was promoted, rolled back, imported and deleted, newest first",
    )


main()
