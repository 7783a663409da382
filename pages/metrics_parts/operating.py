"""Operating points: find a threshold by what it must achieve, compare thresholds, make one the department's."""

from __future__ import annotations

import streamlit as st

from model.calibration import OperatingPoint, Rule, choose_threshold
from model.evaluation import Evaluation, Interval
from model.registry import VersionError
from pages.metrics_parts import common
from pages.metrics_parts.common import Context, Row, Source
from pages.metrics_parts.curve_figures import sweep_rows
from utils import people, session
from utils.department import DepartmentError
from utils.own_films import OwnFilmsError
from utils.permissions import Action

RULES: dict[Rule, str] = {
    "sensitivity": "Target sensitivity",
    "specificity": "Target specificity",
    "youden": "Youden",
    "cost": "Cost ratio",
}


def show(context: Context) -> None:
    pair = st.grid(2, min_column_width=340, gap="medium")
    with pair.cell():
        st.markdown("#### Find a threshold")
        find(context)
    with pair.cell():
        st.markdown("#### The department's threshold")
        adopt(context)
    st.markdown("#### Thresholds compared")
    st.caption(f"Measured on: {context.source.title}. The first row is the threshold in use.")
    st.table(threshold_rows(context), hide_index=True, border="horizontal")
    common.csv_button(
        lambda: sweep_rows(context.measured.threshold_table), name=f"thresholds-{context.source.slug}"
    )


def find(context: Context) -> None:
    """A threshold chosen on films that nothing is measured on afterwards."""
    choices = {
        source.key: source
        for source in common.sources(context.version, context.settings)
        if source.kind != "test"
    }
    key = st.selectbox(
        "Chosen on",
        options=list(choices),
        format_func=lambda name: choices[name].title,
        key="metrics-chosen-on",
        persist_state="session",
        help="Never on the test split: a threshold that was chosen on the test films would flatter the figures "
        "measured on them.",
    )
    rule = st.segmented_control(
        "Rule",
        options=list(RULES),
        format_func=lambda name: RULES[name],
        default="sensitivity",
        required=True,
        key="metrics-rule",
        wrap=True,
        persist_state="session",
    )
    target = cost_ratio = prevalence = None
    if rule in ("sensitivity", "specificity"):
        target = (
            st.number_input(
                f"{RULES[rule]}, percent",
                min_value=50.0,
                max_value=100.0,
                value=95.0,
                step=0.5,
                format="%.1f",
                key=f"metrics-target-{rule}",
                persist_state="session",
            )
            / 100
        )
    elif rule == "cost":
        one, two = st.columns(2)
        cost_ratio = one.number_input(
            "A missed pneumonia costs as much as this many false alarms",
            min_value=0.1,
            max_value=1000.0,
            value=5.0,
            step=0.5,
            key="metrics-cost",
            persist_state="session",
        )
        prevalence = (
            two.number_input(
                "Share of pneumonia among your films, percent",
                min_value=0.1,
                max_value=99.9,
                value=20.0,
                step=1.0,
                key="metrics-cost-prevalence",
                persist_state="session",
            )
            / 100
        )
    source = choices[key]
    try:
        films = common.measure(source)
        point = choose_threshold(
            films.labels,
            films.probabilities,
            rule=rule,
            target=target,
            cost_ratio=cost_ratio,
            prevalence=prevalence,
        )
    except (VersionError, OwnFilmsError, ValueError) as error:
        st.info(str(error), icon=":material/info:")
        return
    found(context, source, point, films.scored.at(point.threshold))


def found(context: Context, source: Source, point: OperatingPoint, there: Evaluation) -> None:
    st.markdown(f"Threshold **{point.threshold:.3f}**: {point.rule}.")
    here = context.measured.scored.at(point.threshold)
    rows = [_rates_row(f"{source.title} (chosen on)", there)]
    if source.key != context.source.key:
        rows.append(_rates_row(context.source.title, here))
    st.table(rows, hide_index=True, border="horizontal")
    if source.key == context.source.key:
        st.caption("Measured on the films it was chosen on: expect a little less on others.")
    st.button(
        "Use this threshold",
        icon=":material/tune:",
        on_click=_use,
        args=(point.threshold,),
        disabled=not people.current().may(Action.SET_THRESHOLD),
        help="Moves the slider in the sidebar.",
    )


def _rates_row(name: str, result: Evaluation) -> Row:
    return {
        "Films": name,
        "Sensitivity": _with_interval(result.sensitivity.value, result.sensitivity.interval),
        "Specificity": _with_interval(result.specificity.value, result.specificity.interval),
    }


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if interval is None:
        return common.share(value)
    return f"{common.share(value)} ({common.bounds(interval, percent=True)})"


@session.permitted(Action.SET_THRESHOLD)
def _use(threshold: float) -> None:
    st.session_state[session.THRESHOLD] = threshold


def adopt(context: Context) -> None:
    """Keep the threshold in use as the department's, with who and why."""
    if not people.current().may(Action.SET_DEPARTMENT_THRESHOLD):
        st.info("An administrator sets the department's threshold.", icon=":material/info:")
        return
    if context.version.name != context.in_use.name:
        st.info(
            f"The department's threshold belongs to the version in use, {context.in_use.name}; choose it on top.",
            icon=":material/info:",
        )
        return
    st.markdown(
        f"The threshold in use is **{context.threshold:.3f}**. As the department's it is where every session starts, "
        "kept with name, date and reason."
    )
    with st.form("department", border=False):
        who = session.who_field("Name", max_chars=200, autocomplete="name")
        reason = st.text_input("Reason", max_chars=500, placeholder="for example: agreed in the meeting of …")
        sent = st.form_submit_button("Make this the department's threshold", icon=":material/check:")
    if sent:
        if not who.strip() or not reason.strip():
            st.error("Give a name and a reason: both are kept with the threshold.", icon=":material/error:")
            return
        try:
            session.adopt_threshold(
                context.version, context.threshold, who=who.strip(), reason=reason.strip()
            )
        except (DepartmentError, *session.REFUSALS) as error:
            st.error(str(error), icon=":material/error:")
            return
        st.session_state["metrics-adopted"] = (
            f"{context.threshold:.3f} is the department's threshold from now on."
        )
        st.rerun()
    said = st.session_state.pop("metrics-adopted", None)
    if said is not None:
        st.success(said, icon=":material/check:")


def threshold_rows(context: Context) -> list[Row]:
    """The threshold in use, then 0.05 to 0.95."""
    table = context.measured.threshold_table
    now = context.result
    rows: list[Row] = [
        {
            "Threshold": f"▶ {context.threshold:.3f}",
            "Sensitivity": _cell(now.sensitivity.value),
            "Specificity": _cell(now.specificity.value),
            "Precision": _cell(now.precision.value),
            "NPV": _cell(now.npv.value),
            "Accuracy": _cell(now.accuracy.value),
            "F1": common.number(now.f1_pneumonia),
            "Missed": f"{now.confusion.fn:,}",
            "False alarms": f"{now.confusion.fp:,}",
        }
    ]
    for index, threshold in enumerate(table.thresholds):
        rows.append(
            {
                "Threshold": f"{threshold:.2f}",
                "Sensitivity": _cell(table.sensitivity[index]),
                "Specificity": _cell(table.specificity[index]),
                "Precision": _cell(table.precision[index]),
                "NPV": _cell(table.npv[index]),
                "Accuracy": _cell(table.accuracy[index]),
                "F1": common.number(table.f1_pneumonia[index]),
                "Missed": f"{int(table.fn[index]):,}",
                "False alarms": f"{int(table.fp[index]):,}",
            }
        )
    return rows


def _cell(value: float | None) -> str:
    """A share that a narrow column does not break before its percent sign."""
    return common.share(value).replace(" ", "\N{NO-BREAK SPACE}")
