"""How sure: verdicts that keep an error rate, and what they hold; risk where films are left open; the films alike."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from model import conformal
from model.conformal import ClassCoverage, Coverage, Rule
from model.evaluation import Interval, auc
from model.neighbours import NEAREST, Reference
from model.registry import VersionError
from pages.metrics_parts import common
from pages.metrics_parts.common import Context, Row, Source
from utils import certainty, charts
from utils.own_films import OwnFilmsError

IN_WORDS = {"test": "test films", "validation": "validation films", "own": "own films"}


def show(context: Context) -> None:
    st.markdown("#### Verdicts that keep an error rate")
    verdicts(context)
    st.markdown("#### Risk where films are left open")
    risk(context)
    st.markdown("#### The films alike, alone")
    alone(context)


# ---------------------------------------------------------------- verdicts


def verdicts(context: Context) -> None:
    error_rate = certainty.error_rate_slider()
    try:
        rule = certainty.rule(context.version, error_rate)
    except (VersionError, ValueError) as error:
        st.info(f"{error} Verdicts are fitted to validation films.", icon=":material/info:")
        return
    st.markdown(rule_in_words(rule))
    held = {
        IN_WORDS[source.kind]: found
        for source in shown_sources(context)
        if (found := _held(source, error_rate, rule)) is not None
    }
    for films, found in held.items():
        for part in (found.normal, found.pneumonia):
            if part.misses:
                st.warning(missed(part, films, error_rate=error_rate), icon=":material/warning:")
    st.table(
        [row for films, found in held.items() for row in class_rows(found, films)],
        hide_index=True,
        border="horizontal",
    )
    st.caption(
        f"Fitted to {rule.normal:,} NORMAL and {rule.pneumonia:,} PNEUMONIA validation films, each class by itself "
        "(split-conformal by class). The promise: of films like these, at most the error rate of each class is given "
        "the verdict of the other. On the validation films it holds by construction; other films are the test of it. "
        f"From {common.share(certainty.meeting(context.version))} on, a larger rate leaves more films open, not fewer: "
        "what is left open is then like few films of either class."
    )
    st.markdown("##### What each verdict holds")
    st.table(
        [row for films, found in held.items() for row in verdict_rows(found, films)],
        hide_index=True,
        border="horizontal",
    )
    common.csv_button(
        lambda: [row for films, found in held.items() for row in coverage_rows(rule, found, films)],
        name=f"verdicts-{context.source.slug}",
    )


def shown_sources(context: Context) -> tuple[Source, ...]:
    """The version's validation and test films, and the site's own where these are chosen on top."""
    sources = {source.key: source for source in common.sources(context.version, context.settings)}
    keys = dict.fromkeys(("validation", "test", context.source.key))
    return tuple(sources[key] for key in keys if key in sources)


def _held(source: Source, error_rate: float, rule: Rule) -> Coverage | None:
    try:
        return _coverage(source.stamp, error_rate, source, rule)
    except (VersionError, OwnFilmsError, ValueError):
        return None


@st.cache_resource(max_entries=200, show_spinner=False)
def _coverage(stamp: str, error_rate: float, _source: Source, _rule: Rule) -> Coverage:
    films = common.measure(_source)
    return conformal.coverage(_rule, films.labels, films.probabilities)


def rule_in_words(rule: Rule) -> str:
    """The rule as one line."""
    none = [
        f"no film is called {verdict}: too few {other} validation films for so small an error rate"
        for verdict, other, missing in (
            ("NORMAL", "PNEUMONIA", rule.normal_below == 0),
            ("PNEUMONIA", "NORMAL", rule.pneumonia_from > 1),
        )
        if missing
    ]
    if none:
        return f"At this rate {'; '.join(none)}."
    between = "these could be either" if rule.either else "these are like few films of either class"
    return (
        f"**NORMAL** below {rule.normal_below:.3f}, **PNEUMONIA** from {rule.pneumonia_from:.3f}, between them "
        f"**CANNOT TELL**: {between}."
    )


def missed(part: ClassCoverage, films: str, *, error_rate: float) -> str:
    """Where films are not like the validation films: by how much, and whether the promise is kept all the same."""
    assert part.covered.value is not None
    assert part.by_chance is not None
    assert part.wrong.value is not None
    wrong = f"{common.share(part.wrong.value)} are given the other verdict"
    unlike = (
        f"{common.share(1 - part.covered.value)} are unlike the validation films of their class, where chance allows "
        f"at most {common.share(part.by_chance.high)}"
    )
    if part.wrong.value > error_rate:
        return f"The promise is not kept on the {part.name} {films}: {wrong}. {unlike}: these films differ."
    return f"The {part.name} {films} differ: {unlike}. {wrong}, which is no more than promised."


def class_rows(held: Coverage, films: str) -> list[Row]:
    """What becomes of the films of each class."""
    return [
        {
            "Films": f"{part.name}, {films}",
            "Number": f"{part.wrong.total:,}",
            "Right verdict": _with_interval(part.right.value, part.right.interval),
            "CANNOT TELL": _with_interval(part.open.value, part.open.interval),
            "Wrong verdict": _with_interval(part.wrong.value, part.wrong.interval),
        }
        for part in (held.normal, held.pneumonia)
        if part.wrong.total
    ]


def verdict_rows(held: Coverage, films: str) -> list[Row]:
    """How many films of each class have a verdict."""
    rows: list[Row] = []
    for index, verdict in enumerate(conformal.VERDICTS):
        normal, pneumonia = held.normal.verdicts[index], held.pneumonia.verdicts[index]
        total = normal + pneumonia
        rows.append(
            {
                "Verdict": f"{verdict}, {films}",
                "Films": f"{total:,}",
                "of them NORMAL": f"{normal:,}",
                "of them PNEUMONIA": f"{pneumonia:,}",
                "Share of pneumonia": common.share(pneumonia / total if total else None),
            }
        )
    return rows


def coverage_rows(rule: Rule, held: Coverage, films: str) -> list[Row]:
    """The same as numbers, for a CSV."""
    return [
        {
            "films": films,
            "class": part.name,
            "error_rate": rule.error_rate,
            "normal_below": common.plain(rule.normal_below),
            "pneumonia_from": common.plain(rule.pneumonia_from),
            "number": part.wrong.total,
            **{
                verdict.lower().replace(" ", "_"): count
                for verdict, count in zip(conformal.VERDICTS, part.verdicts, strict=True)
            },
            "wrong": part.wrong.value,
            **common.ends("wrong", part.wrong.interval),
            "covered": part.covered.value,
            **common.ends("covered", part.covered.interval),
            **common.ends("not_covered_by_chance", part.by_chance),
        }
        for part in (held.normal, held.pneumonia)
    ]


# ---------------------------------------------------------------- risk and coverage


def risk(context: Context) -> None:
    films = context.measured
    curve = conformal.risk_coverage(films.labels, films.probabilities, threshold=context.threshold)
    common.figure(
        charts.risk_coverage_figure(curve),
        key="risk-coverage",
        context=context,
        alt=f"Share of wrong decisions against the share of films read, the surest first: {common.share(curve.error)} "
        f"where all are read, {common.share(curve.at(0.8))} where the least sure fifth is left open.",
    )
    st.caption(
        f"The {IN_WORDS[context.source.kind]}, decided at the threshold {context.threshold:.3f}; surest is what lies "
        f"farthest from it. Area under the curve **{curve.area:.4f}** (best order {curve.best:.4f}, any order "
        f"{curve.error:.4f}). With the least sure tenth left open, {common.share(curve.at(0.9))} of the rest are wrong."
    )
    common.csv_button(
        lambda: [
            {"films_read": float(covered), "risk": float(share)}
            for covered, share in zip(curve.covered, curve.risk, strict=True)
        ],
        name=f"risk-{context.source.slug}",
    )


# ---------------------------------------------------------------- films alike


def alone(context: Context) -> None:
    """How well the share of pneumonia among the nearest training films tells the classes apart by itself."""
    try:
        reference = certainty.reference(context.version)
    except VersionError as error:
        st.warning(str(error), icon=":material/warning:")
        return
    if reference is None:
        st.info(
            f"Version {context.version.name} came without the features of its films: none can be shown as alike. "
            "`python -m model features DATA_DIR` computes them from the data set that it was trained on.",
            icon=":material/info:",
        )
        return
    rows = alone_rows(context, reference)
    if not rows:
        st.info("The features hold no validation or test films to measure this on.", icon=":material/info:")
    else:
        st.table(rows, hide_index=True, border="horizontal")
    st.caption(
        f"Each film by how many of its {NEAREST} nearest are pneumonia, among the {len(reference):,} films that the "
        f"version was trained on ({common.share(reference.prevalence)} pneumonia). Films alike explain a probability; "
        "they do not replace it."
    )


def alone_rows(context: Context, reference: Reference) -> list[Row]:
    sources = {source.key: source for source in common.sources(context.version, context.settings)}
    rows: list[Row] = []
    for part in ("validation", "test"):
        measured = _measured_alone(certainty.features_stamp(context.version), part, reference)
        if measured is None:
            continue
        films, neighbours = measured
        try:
            figures = common.measure(sources[part]).scored.at(context.threshold)
            network = charts.interval_in_words(figures.auc, figures.auc_interval)
        except (VersionError, ValueError):
            network = "–"
        rows.append(
            {
                "Films": f"{films:,} {IN_WORDS[part]}",
                f"AUC of the nearest {NEAREST} alone": charts.interval_in_words(*neighbours),
                "AUC of the network": network,
            }
        )
    return rows


@st.cache_resource(max_entries=12, show_spinner=False)
def _measured_alone(
    stamp: str, part: Literal["validation", "test"], _reference: Reference
) -> tuple[int, tuple[float, Interval]] | None:
    """Number of films, and the AUC of the share of pneumonia among the nearest; None where there is none."""
    labels = _reference.labels[_reference.of(part)]
    if not labels.size or labels.min() == labels.max():
        return None
    found = auc(labels, _reference.pneumonias(part) / NEAREST)
    return None if found is None else (int(labels.size), found)


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{common.share(value)} ({common.bounds(interval, percent=True)})"
