"""Versions: the same figures for several versions, tested against each other, and beside published results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import streamlit as st

from model import curves
from model.comparison import signed
from model.evaluation import Evaluation
from model.figures import figures
from model.registry import Version, VersionError
from pages.metrics_parts import common
from pages.metrics_parts.common import Measured, Row, Source
from pages.metrics_parts.overview import in_words
from utils import charts
from utils.own_films import OwnFilmsError
from utils.published import PUBLISHED, Published
from utils.session import STANDARD_POINT
from utils.settings import Settings

MOST_VERSIONS = 4
AT = {"current": "All at the threshold in use", "own": f"Each at its own point “{STANDARD_POINT}”"}


@dataclass(frozen=True)
class Side:
    """One column: a version on a set of films at a threshold."""

    name: str
    source: Source
    measured: Measured
    result: Evaluation


def show(
    source: Source,
    versions: tuple[Version, ...],
    *,
    threshold: float,
    picture: common.Picture,
    settings: Settings,
) -> None:
    """`source`: the choice on top; its films are measured with each version that has stored predictions of them."""
    st.markdown("#### Versions side by side")
    sides, problems = chosen(source, versions, threshold=threshold, settings=settings)
    for problem in problems:
        st.info(problem, icon=":material/info:")
    if sides:
        compare(sides, source, picture=picture)
    st.markdown("#### Beside published results")
    published(source.version, threshold=threshold, settings=settings)


def chosen(
    source: Source, versions: tuple[Version, ...], *, threshold: float, settings: Settings
) -> tuple[list[Side], list[str]]:
    """The columns that the choices ask for, and a sentence for each that has none."""
    names = [version.name for version in versions]
    first = [source.version.name, *(name for name in names if name != source.version.name)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.multiselect(
            "Versions",
            options=names,
            default=first[:2],
            max_selections=MOST_VERSIONS,
            key="metrics-versions",
            persist_state="session",
            width=480,
        )
        at = st.segmented_control(
            "Threshold",
            options=list(AT),
            format_func=lambda key: AT[key],
            default="current",
            required=True,
            key="metrics-versions-at",
            wrap=True,
            persist_state="session",
        )
    return measured(
        source,
        tuple(version for version in versions if version.name in wanted),
        threshold=threshold,
        at_own_point=at == "own",
        settings=settings,
    )


def measured(
    source: Source,
    versions: tuple[Version, ...],
    *,
    threshold: float,
    settings: Settings,
    at_own_point: bool = False,
    measure: Callable[[Source], Measured] = common.measure,
) -> tuple[list[Side], list[str]]:
    """A column a version, at this threshold or at its own standard point; a sentence for each that has no films."""
    sides: list[Side] = []
    problems: list[str] = []
    for version in versions:
        own = [point.threshold for point in version.card.operating_points if point.name == STANDARD_POINT]
        here = own[0] if at_own_point and own else threshold
        for each in counterparts(source, version, settings):
            title = version.name if each.kind == source.kind == "test" else f"{version.name}, {each.title}"
            try:
                films = measure(each)
            except (VersionError, OwnFilmsError, ValueError) as error:
                problems.append(str(error))
            else:
                sides.append(Side(title, each, films, films.scored.at(here)))
    return sides, problems


def counterparts(source: Source, version: Version, settings: Settings) -> list[Source]:
    """The same films with another version. Beside the site's own films stands the test split."""
    found = {each.key: each for each in common.sources(version, settings)}
    if source.own is None:
        return [found[source.key]]
    same = [
        each
        for each in found.values()
        if each.own is not None
        and (
            each.key == source.key
            or (each.own.fingerprint and each.own.fingerprint == source.own.fingerprint)
        )
    ]
    return [*same[:1], found["test"]]


def compare(sides: list[Side], source: Source, *, picture: common.Picture) -> None:
    st.table(figure_rows(sides), hide_index=True, border="horizontal")
    common.csv_button(lambda: numbers(sides), name=f"versions-{source.slug}")
    differences(sides)
    drawn = {side.name: side.measured.roc for side in sides if side.measured.both}
    if drawn:
        left, _ = st.columns([3, 1])
        left.plotly_chart(
            charts.comparison_roc_figure(drawn),
            key="versions-roc",
            theme="streamlit",
            config=charts.config(f"versions-roc-{source.slug}", picture=picture),
            alt="ROC curves of "
            + ", ".join(f"{name} (AUC {common.number(curve.auc)})" for name, curve in drawn.items())
            + ".",
        )


def figure_rows(sides: list[Side]) -> list[Row]:
    """One row a figure, one column a version."""
    rows: list[Row] = [
        {"Figure": "Films"} | {side.name: f"{side.result.n:,}" for side in sides},
        {"Figure": "Threshold"} | {side.name: f"{side.result.threshold:.3f}" for side in sides},
        {"Figure": "Network"} | {side.name: side.source.version.card.architecture for side in sides},
    ]
    for each in zip(*(figures(side.result) for side in sides), strict=True):
        row: dict[str, object] = {"Figure": each[0].name}
        for side, figure in zip(sides, each, strict=True):
            interval = common.bounds(figure.interval, percent=figure.kind == "share")
            row[side.name] = f"{in_words(figure)} ({interval})" if interval else in_words(figure)
        rows.append(row)
    return rows


def numbers(sides: list[Side]) -> list[Row]:
    """One row a version and figure, as full numbers, for CSV."""
    return [
        {
            "version": side.source.version.name,
            "data": side.source.title,
            "films": side.result.n,
            "threshold": side.result.threshold,
            "figure": figure.key,
            "value": figure.value,
            **common.ends("ci", figure.interval),
            **common.ends("by_patient_ci", figure.by_patient),
        }
        for side in sides
        for figure in figures(side.result)
    ]


def differences(sides: list[Side]) -> None:
    """Differences of the AUC where two versions read the same films, tested in pairs."""
    rows = difference_rows(sides)
    if rows:
        st.table(rows, hide_index=True, border="horizontal")
        st.caption(
            "Paired test of DeLong on the same films, several films of one patient allowed for. Not corrected for the "
            "number of comparisons."
        )


def difference_rows(sides: list[Side]) -> list[Row]:
    rows: list[Row] = []
    for one, two in combinations(sides, 2):
        if one.source.kind != two.source.kind or not one.measured.both:
            continue
        order = same_films(one.measured, two.measured)
        if order is None:
            rows.append(
                {
                    "AUC": f"{one.name} against {two.name}",
                    "Difference": "–",
                    "95 % interval": "",
                    "p": "not the same films",
                }
            )
            continue
        patients = tuple(one.measured.table["patient"])
        found = curves.compare_auc(
            one.measured.labels,
            one.measured.probabilities,
            two.measured.probabilities[order],
            patients=patients if any(patients) else None,
        )
        rows.append(
            {
                "AUC": f"{one.name} against {two.name}",
                "Difference": signed(found.difference),
                "95 % interval": common.bounds(found.interval, percent=False),
                "p": "–"
                if found.p_value is None
                else ("< 0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"),
            }
        )
    return rows


def same_films(one: Measured, two: Measured) -> np.ndarray | None:
    """Indices that put the films of `two` into the order of `one`; None where the films or labels differ."""
    if len(one.files) != len(two.files):
        return None
    place = {name: index for index, name in enumerate(two.files)}
    if len(place) != len(two.files) or any(name not in place for name in one.files):
        return None
    order = np.fromiter((place[name] for name in one.files), dtype=np.int64, count=len(one.files))
    return order if np.array_equal(one.labels, two.labels[order]) else None


def published(version: Version, *, threshold: float, settings: Settings) -> None:
    """Others' results on the same children's films; re-splits stand apart, because they flatter."""
    official = [*ours(version, threshold=threshold, settings=settings), *published_rows(comparable=True)]
    st.markdown("**Official test split**: trained on the training films, measured on the 624 test films.")
    st.table(official, hide_index=True, border="horizontal")
    st.markdown(
        "**Other protocols**: not to be compared with the above. A re-split draws test films from the same patients "
        "and series as the training films."
    )
    other = published_rows(comparable=False)
    st.table(other, hide_index=True, border="horizontal")
    common.csv_button(lambda: [*official, *other], name="published-results")


def ours(version: Version, *, threshold: float, settings: Settings) -> list[Row]:
    test = common.sources(version, settings)[0]
    try:
        result = common.measure(test).scored.at(threshold)
    except (VersionError, ValueError):
        return []
    mine = Published(
        name=f"▶ {version.name}, threshold {threshold:.3f}",
        protocol="official test split" if result.n == 624 else "this version's test films",
        films=result.n,
        auc=result.auc,
        sensitivity=result.sensitivity.value,
        specificity=result.specificity.value,
        accuracy=result.accuracy.value,
        source="measured here",
        comparable=True,
    )
    return [_published_row(mine)]


def published_rows(*, comparable: bool) -> list[Row]:
    return [_published_row(each) for each in PUBLISHED if each.comparable == comparable]


def _published_row(each: Published) -> Row:
    return {
        "Result": each.name,
        "Protocol": each.protocol,
        "Films": f"{each.films:,}",
        "AUC": common.number(each.auc),
        "Sensitivity": common.share(each.sensitivity),
        "Specificity": common.share(each.specificity),
        "Accuracy": common.share(each.accuracy),
        "Source": each.source,
    }
