"""Metrics: how good a version is on a set of films at this threshold, from stored predictions."""

from __future__ import annotations

import streamlit as st

from model.registry import Version, VersionError
from pages.metrics_parts import (
    audit,
    certainty,
    common,
    curve_figures,
    downloads,
    mistakes,
    operating,
    overview,
    side_by_side,
    subgroup_figures,
    training_history,
)
from utils import look, session
from utils.decisions import ASSISTS
from utils.own_films import OwnFilmsError
from utils.permissions import Action
from utils.settings import get_settings

screen = session.enter("Metrics", Action.SEE_METRICS)

VERSION = "metrics-version"
DATA = "metrics-data"
SECTION = "section"
OF_FILMS = {
    "Overview": overview.show,
    "Curves": curve_figures.show,
    "In practice": curve_figures.show_in_practice,
    "Operating points": operating.show,
    "How sure": certainty.show,
    "Subgroups": subgroup_figures.show,
    "Mistakes": mistakes.show,
}
# These do not draw the chosen films and go on without them. No docstring: Streamlit would show it.
OF_VERSION = {"Shortcuts": audit.show, "Training": training_history.show}
SECTIONS = (*OF_FILMS, *OF_VERSION, "Versions")


def main() -> None:
    st.html(look.STYLE)
    st.title("Metrics")
    if screen.version is None:
        st.error(
            f"{screen.problem} Figures appear here as soon as there is a version.", icon=":material/error:"
        )
    else:
        show(screen.version)
    st.caption(ASSISTS)


def show(in_use: Version) -> None:
    settings = get_settings()
    versions = available(in_use)
    version_column, data_column = st.columns([1, 1])
    with version_column:
        names = {version.name: version for version in versions}
        name = st.selectbox(
            "Version",
            options=list(names),
            index=list(names).index(in_use.name),
            format_func=lambda each: f"{each} (in use)" if each == in_use.name else each,
            key=VERSION,
            persist_state="session",
        )
    version = names[name]
    choices = {source.key: source for source in common.sources(version, settings)}
    with data_column:
        key = st.selectbox(
            "Data",
            options=list(choices),
            format_func=lambda each: choices[each].title,
            key=DATA,
            persist_state="session",
            help="The site's own labelled films are scored on the screen Own films.",
        )
    source = choices[key]
    context: common.Context | None = None
    try:
        films = common.measure(source)
    except (VersionError, OwnFilmsError, ValueError) as error:
        st.info(str(error), icon=":material/info:")
    else:
        context = common.Context(
            source=source,
            measured=films,
            result=films.scored.at(screen.threshold),
            versions=versions,
            in_use=in_use,
            threshold=screen.threshold,
            picture=downloads.picture(),
            settings=settings,
        )
        st.markdown(measured_in_words(context))
    section = st.segmented_control(
        "Section",
        options=SECTIONS,
        default=SECTIONS[0],
        required=True,
        key=SECTION,
        persist_state="session",
        label_visibility="collapsed",
    )
    if section in OF_VERSION:
        try:
            OF_VERSION[section](version, picture=downloads.picture())
        except VersionError as error:
            st.info(str(error), icon=":material/info:")
    elif section == "Versions":
        side_by_side.show(
            source, versions, threshold=screen.threshold, picture=downloads.picture(), settings=settings
        )
    elif context is not None:
        OF_FILMS[section](context)
    if context is not None:
        downloads.show(context)
        st.caption(protocol(context))


def available(in_use: Version) -> tuple[Version, ...]:
    """All versions, newest first; the one in use is among them wherever its folder lies."""
    others = [version for version in session.all_versions() if version.name != in_use.name]
    return (in_use, *others)


def measured_in_words(context: common.Context) -> str:
    """What is measured, in one line."""
    result, films = context.result, context.measured
    patients = "" if result.by_patient is None else f" of {result.by_patient.patients:,} patients"
    kind = {"test": "test films", "validation": "validation films", "own": "own films"}[context.source.kind]
    return (
        f"**{result.n:,} {kind}**{patients}: {films.normal:,} NORMAL, {films.pneumonia:,} PNEUMONIA. Version "
        f"**{context.version.name}**, {context.version.card.created:%d %B %Y}. Threshold **{context.threshold:.3f}**."
    )


def protocol(context: common.Context) -> str:
    """Where the films come from, and how far the figures go."""
    fitted_on = context.version.card.calibration.fitted_on
    if context.source.kind == "validation":
        return (
            "Validation films took part in every choice: when to stop, the calibration, the operating points. "
            "Figures on them flatter; those of the test split and of your own films count."
        )
    if context.source.own is not None:
        own = context.source.own
        left_out = f" {len(own.unreadable)} files could not be read." if own.unreadable else ""
        return (
            f"Own films from {own.source}, scored by {own.who} on {own.created:%d %B %Y} with the labels of their "
            f"folders.{left_out} A threshold or calibration chosen on these films flatters the figures on them."
        )
    return (
        "Measured on the data set's own test split, once, after training: by the data set's design no patient of it is "
        "among those trained on (`python -m model data` checks that). Calibration and operating points were chosen "
        f"before, on other films ({fitted_on}). Films from another hospital can give other figures."
    )


main()
