"""Metrics: how good the network is at this threshold, measured on the stored test predictions."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import streamlit as st

from model.evaluation import Evaluation, Interval, Proportion, Roc, evaluate, operating_rates, roc
from model.registry import Predictions, Version, VersionError
from utils import charts, look, session
from utils.decisions import ASSISTS

screen = session.enter("Metrics")

DEFINITIONS = {
    "AUC": "Area under the ROC curve: how often a film of pneumonia gets a higher probability than a normal one. It "
    "does not depend on the threshold.",
    "Sensitivity": "Of the films of pneumonia, the share that is flagged (recall).",
    "Specificity": "Of the normal films, the share that is not flagged.",
    "Accuracy": "Of all films, the share decided as the reference label says.",
    "Precision": "Of the flagged films, the share with pneumonia (positive predictive value). It depends on how "
    "common pneumonia is among the films.",
    "NPV": "Of the films not flagged, the share that is normal (negative predictive value). It depends on how "
    "common pneumonia is among the films.",
    "F1, pneumonia": "Harmonic mean of precision and sensitivity.",
    "F1, normal": "The same with NORMAL as the class looked for.",
    "Average precision": "Area under the precision-recall curve.",
    "Brier score": "Mean squared difference of probability and reference label; 0 is best.",
    "Calibration error": "Mean gap between the probability and the share of pneumonia, in ten bins of equal width "
    "(ECE); 0 is best.",
}
Row = tuple[str, float | None, Interval | None, Interval | None, str]


@st.cache_data(max_entries=4, show_spinner="Measuring the stored predictions")
def measured(folder: str, modified_ns: int, _version: Version) -> tuple[Predictions, Roc | None]:
    """The stored test predictions and their ROC curve, None where a class has no film."""
    predictions = _version.predictions("test")
    both = 0 < predictions.labels.sum() < predictions.labels.size
    return predictions, roc(predictions.labels, predictions.probabilities) if both else None


def main() -> None:
    st.html(look.STYLE)
    st.title("Metrics")
    version = screen.version
    if version is None:
        st.error(
            f"{screen.problem} Figures appear here as soon as there is a version.", icon=":material/error:"
        )
    else:
        try:
            file = version.folder / "predictions" / "test.csv"
            modified = file.stat().st_mtime_ns if file.exists() else 0
            predictions, curve = measured(str(version.folder), modified, version)
            result = evaluate(
                predictions.labels,
                predictions.probabilities,
                threshold=screen.threshold,
                patients=predictions.patients,
            )
        except (VersionError, ValueError) as error:
            st.info(str(error), icon=":material/info:")
        else:
            show(version, predictions, curve, result)
    st.caption(ASSISTS)


def show(version: Version, predictions: Predictions, curve: Roc | None, result: Evaluation) -> None:
    normal = result.confusion.tn + result.confusion.fp
    patients = "" if result.by_patient is None else f" of {result.by_patient.patients:,} patients"
    st.markdown(
        f"**{result.n:,} test films**{patients}: {normal:,} NORMAL, {result.n - normal:,} PNEUMONIA. Version "
        f"**{version.name}**, {version.card.created:%d %B %Y}. Threshold **{screen.threshold:.3f}**."
    )
    tiles(result)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### Confusion matrix")
        counts = result.confusion
        st.plotly_chart(
            charts.confusion_figure(counts),
            key="confusion",
            theme="streamlit",
            config=charts.config(f"confusion-{version.name}"),
            alt=f"Confusion matrix: {counts.tn} true negatives, {counts.fp} false positives, "
            f"{counts.fn} false negatives, {counts.tp} true positives.",
        )
    with right:
        st.markdown("#### ROC curve")
        if curve is None:
            st.info(f"There is no ROC curve: {result.unavailable.get('auc', '')}.", icon=":material/info:")
        else:
            rates = {
                point.name: operating_rates(predictions.labels, predictions.probabilities, point.threshold)
                for point in version.card.operating_points
            }
            current = operating_rates(predictions.labels, predictions.probabilities, screen.threshold)
            st.plotly_chart(
                charts.roc_figure(curve, current=current, operating_points=rates),
                key="roc",
                theme="streamlit",
                config=charts.config(f"roc-{version.name}"),
                alt=f"ROC curve with an area of {charts.interval_in_words(curve.auc, curve.auc_interval)}; at the "
                f"current threshold sensitivity {charts.share_in_words(current.sensitivity)}, specificity "
                f"{charts.share_in_words(current.specificity)}.",
            )
    figures(result)
    downloads(version, result)
    protocol(version)


def tiles(result: Evaluation) -> None:
    """The main figures, each with its interval below; they wrap on a narrow screen."""
    shown: list[tuple[str, str, Interval | None]] = [
        ("AUC", "–" if result.auc is None else f"{result.auc:.3f}", result.auc_interval)
    ]
    shown += [
        (name, charts.percent(share.value), share.interval) for name, share in proportions(result).items()
    ]
    with st.container(horizontal=True, gap="small", key="tiles"):
        for name, value, interval in shown:
            st.metric(
                name,
                value,
                delta=_interval(interval, decimals=name == "AUC"),
                delta_color="off",
                delta_arrow="off",
                help=f"{DEFINITIONS[name]} Below: 95 % interval.",
                border=True,
                width=150,
            )


def proportions(result: Evaluation) -> dict[str, Proportion]:
    return {
        "Sensitivity": result.sensitivity,
        "Specificity": result.specificity,
        "Accuracy": result.accuracy,
        "Precision": result.precision,
        "NPV": result.npv,
    }


def rows(result: Evaluation) -> list[Row]:
    """Every figure: name, value, interval, interval that allows for several films of a patient, counts."""
    grouped = result.by_patient
    by_patient: dict[str, Interval | None] = {}
    if grouped is not None:
        by_patient = {
            "Sensitivity": grouped.sensitivity,
            "Specificity": grouped.specificity,
            "Accuracy": grouped.accuracy,
        }
    table: list[Row] = [("AUC", result.auc, result.auc_interval, grouped.auc if grouped else None, "")]
    table += [
        (name, share.value, share.interval, by_patient.get(name), f"{share.count} of {share.total}")
        for name, share in proportions(result).items()
    ]
    plain = {
        "F1, pneumonia": result.f1_pneumonia,
        "F1, normal": result.f1_normal,
        "Average precision": result.average_precision,
        "Brier score": result.brier,
        "Calibration error": result.ece,
    }
    return table + [(name, value, None, None, "") for name, value in plain.items()]


def figures(result: Evaluation) -> None:
    with st.expander("All figures and what they mean"):
        st.table(
            [
                {
                    "Figure": name,
                    "Value": "–" if value is None else f"{value:.3f}",
                    "95 % interval": _interval(interval, decimals=True) or "",
                    "… by patient": _interval(grouped, decimals=True) or "",
                    "Films": counts,
                    "Meaning": DEFINITIONS[name],
                }
                for name, value, interval, grouped, counts in rows(result)
            ],
            hide_index=True,
            border="horizontal",
        )
        st.caption(
            "Intervals: Wilson for shares, DeLong for the AUC. They take every film as independent; those by patient "
            "allow for several films of one patient."
        )
        for name, reason in result.unavailable.items():
            st.caption(f"No {name.replace('_', ' ')}: {reason}.")


def downloads(version: Version, result: Evaluation) -> None:
    told: dict[str, Any] = {
        "version": version.name,
        "created": version.card.created.isoformat(),
        "split": "test",
        **result.as_json(),
    }
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(
        ["figure", "value", "ci_low", "ci_high", "by_patient_ci_low", "by_patient_ci_high", "films"]
    )
    for name, value, interval, grouped, counts in rows(result):
        bounds = [
            bound
            for each in (interval, grouped)
            for bound in (("", "") if each is None else (each.low, each.high))
        ]
        writer.writerow([name, "" if value is None else value, *bounds, counts])
    with st.container(horizontal=True):
        for label, data, suffix, mime in (
            ("Download JSON", json.dumps(told, indent=2), "json", "application/json"),
            ("Download CSV", table.getvalue(), "csv", "text/csv"),
        ):
            st.download_button(
                label,
                data=data,
                file_name=f"metrics-{version.name}.{suffix}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
            )


def protocol(version: Version) -> None:
    calibration = version.card.calibration.fitted_on
    st.caption(
        "Measured on the data set's own test split, once, after training: by the data set's design no patient of it is "
        "among those trained on (`python -m model data` checks that). Calibration and operating points were chosen "
        f"before, on other films ({calibration}). Films from another hospital can give other figures."
    )


def _interval(interval: Interval | None, *, decimals: bool) -> str | None:
    if interval is None:
        return None
    if decimals:
        return f"{interval.low:.3f} – {interval.high:.3f}"
    return f"{interval.low * 100:.1f} – {interval.high * 100:.1f} %"


main()
