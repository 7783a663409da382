"""Agreement with the verdicts: over time, by version, with what has to be kept in mind."""

from __future__ import annotations

import streamlit as st

from model.intervals import Interval, Proportion
from model.verification import corrected_rates
from pages.live_parts import common
from utils import charts, live, live_charts, look
from utils.live import Coverage, Performance, Wanted
from utils.session import Screen

FEW = 30
"""Cases of a class below which a rate says little."""


def show(screen: Screen) -> None:
    """The figures, or why there are none."""
    chosen = common.choose(screen, decisions=True)
    wanted = chosen.wanted
    found = live.tallies(wanted)
    counted = live.performance(found)
    if not counted.cases:
        st.info(
            f"No case {chosen.period} has a verdict that came after the reading. Verdicts are given in the Worklist.",
            icon=":material/info:",
        )
        return
    covered = live.coverage(wanted)
    figures(counted, covered, wanted)
    remarks(counted, covered)
    months = live.grouped(found, live.month_of)
    st.markdown("#### Over time")
    figure(
        live_charts.over_time_figure(months),
        key="live-over-time",
        alt="Agreement, sensitivity and specificity of each month, as in the table below.",
    )
    with st.expander("The figures by month"):
        st.table(
            [{"Month": f"{month:%B %Y}", **row(each)} for month, each in reversed(months.items())],
            hide_index=True,
            border="horizontal",
        )
    versions = live.grouped(live.tallies(wanted, each_version=True), live.version_of)
    if len(versions) > 1:
        st.markdown("#### By version")
        figure(
            charts.subgroup_figure(live_charts.as_groups(versions)),
            key="live-by-version",
            alt="Sensitivity and specificity of each version with 95 % intervals, as in the table below.",
        )
        st.table(
            [{"Version": look.plain(name), **row(each)} for name, each in versions.items()],
            hide_index=True,
            border="horizontal",
        )
        st.caption(
            "Versions that read other films, at other thresholds, cannot be compared here: Metrics, Versions has them "
            "on the same films."
        )


def figures(counted: Performance, covered: Coverage, wanted: Wanted) -> None:
    at = (
        "each at the threshold of its time"
        if wanted.threshold is None
        else f"at threshold {wanted.threshold:.3f}"
    )
    normal, ill = counted.tn + counted.fp, counted.fn + counted.tp
    cases = "1 verified case" if counted.cases == 1 else f"{counted.cases:,} verified cases"
    st.markdown(f"**{cases}**: {normal:,} NORMAL, {ill:,} PNEUMONIA, {at}.")
    corrected = corrected_rates(live.with_coverage(counted, covered))
    shares = {
        "Agreement": counted.agreement,
        "Sensitivity": counted.sensitivity,
        "Specificity": counted.specificity,
    }
    with st.container(horizontal=True):
        for name, share in shares.items():
            with st.container(width=260, gap=None):
                st.metric(name, charts.percent(share.value), width="content")
                st.caption(_counted(share))
    if corrected is not None:
        sensitivity, specificity = corrected
        st.markdown(
            f"Corrected for who gets a verdict: sensitivity **{charts.percent(sensitivity.value)}** "
            f"({_bounds(sensitivity.interval)}), specificity **{charts.percent(specificity.value)}** "
            f"({_bounds(specificity.interval)}).",
            help="Begg and Greenes (1983): the predictive values of the verified cases, weighed with the decisions on "
            "all cases. Right where the decision alone, and nothing else about a film, has a say in whether it is "
            "verified.",
        )


def remarks(counted: Performance, covered: Coverage) -> None:
    """What the figures cannot tell."""
    lines = [
        f"**Verified cases are a selection.** A verdict was given on {_of(covered.flagged)} of the flagged cases and "
        f"on {_of(covered.passed)} of the others. Where flagged films are verified more often, sensitivity looks "
        "higher than it is, and specificity lower. Who gives a verdict has usually seen the network's answer, which "
        "makes both agree more often."
    ]
    if covered.cannot_tell:
        lines.append(
            f"{covered.cannot_tell:,} with the verdict CANNOT TELL count as not verified: they are the hard ones."
        )
    if min(counted.tn + counted.fp, counted.fn + counted.tp) < FEW:
        lines.append(f"With fewer than {FEW} cases of a class the figures say little: look at the intervals.")
    st.caption(" ".join(lines))


def row(each: Performance) -> dict[str, str]:
    return {
        "Cases": f"{each.cases:,}",
        "Agreement": charts.percent(each.agreement.value),
        "Sensitivity": _with_bounds(each.sensitivity),
        "Specificity": _with_bounds(each.specificity),
    }


def figure(drawn: object, *, key: str, alt: str) -> None:
    st.plotly_chart(drawn, key=key, theme="streamlit", config=charts.config(key), alt=alt)


def _counted(share: Proportion) -> str:
    if share.interval is None:
        return "No such case."
    return f"{share.count:,} of {share.total:,}; 95 % interval {_bounds(share.interval)}"


def _with_bounds(share: Proportion) -> str:
    if share.interval is None:
        return "–"
    return f"{charts.percent(share.value)} ({_bounds(share.interval)})"


def _bounds(interval: Interval) -> str:
    return f"{charts.percent(interval.low)} to {charts.percent(interval.high)}"


def _of(share: Proportion) -> str:
    return f"{share.count:,} of {share.total:,}" if share.total else "none"
