"""What the sections of the Metrics screen share: the films measured, their curves, tables and downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st

from model import curves
from model.calibration import Calibration, logit, sigmoid
from model.evaluation import Confusion, Evaluation, Interval, OperatingRates, Roc, ScoredFilms, roc, scored
from model.registry import PREDICTION_COLUMNS, PREDICTIONS_FOLDER, Version, as_predictions
from utils import charts, people
from utils.department import current_policy
from utils.own_films import PREDICTIONS_FILE, EvaluatedSet, list_sets
from utils.permissions import Action
from utils.reports import table_csv
from utils.settings import Settings

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go

Kind = Literal["test", "validation", "own"]
Picture = Literal["svg", "png"]
Row = Mapping[str, object]

MOST_GROUPS = 20
"""A column of more different values than this is no grouping: a patient's key, a date."""
MOST_ROWS = 500
"""Rows of a list of films that are drawn; the download holds all of them."""
FINE_THRESHOLDS = np.linspace(0, 1, 401)
_FOLDED = re.compile(r"\(slope ([0-9.]+), intercept (-?[0-9.]+)\), folded")


@dataclass(frozen=True)
class Source:
    """A set of films with stored predictions of one version.

    Attributes:
        key: unique among a version's sources: "test", "validation", "own:<name>".
        title: for the choice on top.
        file: of the predictions.
        films: folder that the names of the films are relative to; None where it is not known.
        own: the evaluated set, where it is one of the site's.
    """

    key: str
    kind: Kind
    title: str
    version: Version
    file: Path
    films: Path | None
    own: EvaluatedSet | None = None

    def table(self) -> pandas.DataFrame:
        """The whole predictions file.

        Raises:
            VersionError, OwnFilmsError: it is missing or damaged.
        """
        if self.own is not None:
            return self.own.table()
        return self.version.table("test" if self.kind == "test" else "validation")

    @property
    def stamp(self) -> str:
        """Changes with everything that the probabilities hang on."""
        try:
            status = self.file.stat()
            changed = f"{status.st_mtime_ns} {status.st_size}"
        except OSError:
            changed = "missing"
        policy = (
            None if self.own is None else current_policy(self.own.folder.parent.parent, self.version.card)
        )
        return f"{self.file} {changed} {self.version.name} {self.version.card.calibration!r} {policy!r}"

    @property
    def slug(self) -> str:
        """For names of downloaded files: letters, digits, dashes."""
        return re.sub(r"[^\w.-]+", "-", f"{self.version.name}-{self.key}").lower()


class Measured:
    """The films of a source and their curves: nothing here moves with the threshold, each is computed at most once."""

    def __init__(self, table: pandas.DataFrame, calibration: Calibration) -> None:
        """
        Raises:
            ValueError: the table holds no film.
        """
        films = as_predictions(table)
        self.table = table
        self.files = films.files
        self.labels = films.labels
        self.probabilities = films.probabilities
        known = any(films.patients)
        self.scored = scored(films.labels, films.probabilities, patients=films.patients if known else None)
        self.normal = int((films.labels == 0).sum())
        self.pneumonia = int(films.labels.sum())
        self._calibration = calibration
        self._groups: dict[str, tuple[tuple[curves.Subgroup, ScoredFilms], ...]] = {}

    @property
    def both(self) -> bool:
        """Are there films of both classes?"""
        return self.normal > 0 and self.pneumonia > 0

    @property
    def base_rate(self) -> float:
        """Share of pneumonia among the films."""
        return self.pneumonia / (self.normal + self.pneumonia)

    @cached_property
    def groupings(self) -> dict[str, tuple[str, ...]]:
        """Columns by which the films can be grouped: the subgroup, and every further column of few values."""
        found = {}
        for name in self.table.columns:
            if name in PREDICTION_COLUMNS and name != "subgroup":
                continue
            groups = tuple(value.strip() or curves.NOT_STATED for value in self.table[name].astype(str))
            if 1 < len(set(groups)) <= MOST_GROUPS:
                found[str(name)] = groups
        return found

    def subgroups(self, column: str, *, threshold: float) -> tuple[curves.Subgroup, ...]:
        """The groups of a column of `groupings`; their areas are computed once, only the rates follow the threshold."""
        if column not in self._groups:
            names = self.groupings[column]
            found = curves.subgroups(self.labels, self.probabilities, names, threshold=threshold)
            mine = {group.name: np.asarray(names) == group.name for group in found}
            self._groups[column] = tuple(
                (group, scored(self.labels[mine[group.name]], self.probabilities[mine[group.name]]))
                for group in found
            )
        groups = []
        for group, films in self._groups[column]:
            counts = films.confusion(threshold)
            groups.append(replace(group, sensitivity=counts.sensitivity, specificity=counts.specificity))
        return tuple(groups)

    @cached_property
    def roc(self) -> Roc:
        return roc(self.labels, self.probabilities)

    @cached_property
    def precision_recall(self) -> curves.PrecisionRecall:
        return curves.precision_recall(self.labels, self.probabilities)

    @cached_property
    def reliability(self) -> curves.Reliability:
        return curves.reliability(self.labels, self.probabilities)

    @cached_property
    def reliability_before(self) -> curves.Reliability | None:
        """The same for the network's output before it was calibrated; None where it was not, or this is not known."""
        before = uncalibrated(self.probabilities, self._calibration)
        return None if before is None else curves.reliability(self.labels, before)

    @cached_property
    def distribution(self) -> curves.Distribution:
        return curves.distribution(self.labels, self.probabilities)

    @cached_property
    def sweep(self) -> curves.Sweep:
        return curves.sweep(self.labels, self.probabilities, FINE_THRESHOLDS)

    @cached_property
    def threshold_table(self) -> curves.Sweep:
        return curves.sweep(self.labels, self.probabilities, curves.TABLE_THRESHOLDS)

    @cached_property
    def decision(self) -> curves.DecisionCurve:
        return curves.decision_curve(self.labels, self.probabilities)

    def chosen(self, cell: str, *, threshold: float) -> np.ndarray:
        """Indices of the films of a cell of the confusion matrix ("tn", "fp", "fn", "tp"), worst first.

        Worst is the probability that speaks most against the film's label; among right ones, the nearest miss.
        """
        flagged = self.probabilities >= threshold
        positive = self.labels == 1
        inside = {
            "tn": ~positive & ~flagged,
            "fp": ~positive & flagged,
            "fn": positive & ~flagged,
            "tp": positive & flagged,
        }[cell]
        indices = np.flatnonzero(inside)
        order = np.argsort(self.probabilities[indices], kind="stable")
        return indices[order if cell in ("fn", "tp") else order[::-1]]

    def film_rows(self, indices: Sequence[int] | np.ndarray) -> list[Row]:
        """Rows of a list of films, for the screen and as CSV."""
        chosen = self.table.iloc[np.asarray(indices, dtype=np.int64)]
        further = [name for name in chosen.columns if name not in _SHOWN]
        return records(chosen[[*_SHOWN, *further]])


_SHOWN = ("file", "probability", "label")


@dataclass(frozen=True)
class Context:
    """What a section draws.

    Attributes:
        source: the films chosen on top.
        versions: all versions, newest first.
        in_use: the version that films are read with; the threshold in the sidebar belongs to it.
        threshold: the session's.
        picture: format of downloaded figures.
    """

    source: Source
    measured: Measured
    result: Evaluation
    versions: tuple[Version, ...]
    in_use: Version
    threshold: float
    picture: Picture
    settings: Settings

    @property
    def version(self) -> Version:
        return self.source.version

    def points(self) -> dict[str, OperatingRates]:
        """What the version's named operating points cost and gain on these films."""
        return {
            point.name: _rates(self.measured.scored.confusion(point.threshold), point.threshold)
            for point in self.version.card.operating_points
        }

    def current(self) -> OperatingRates:
        return _rates(self.result.confusion, self.result.threshold)


def _rates(counts: Confusion, threshold: float) -> OperatingRates:
    return OperatingRates(threshold, counts.sensitivity, counts.specificity)


def sources(version: Version, settings: Settings) -> tuple[Source, ...]:
    """The films that a version can be measured on: its own two splits, then the site's sets, newest first.

    The site's sets are left out for those who may not evaluate own films: their files may have patients' names.
    """
    folder = version.folder / PREDICTIONS_FOLDER
    may_see_own = people.current().may(Action.EVALUATE_OWN_FILMS)
    own = tuple(
        Source(
            key=f"own:{kept.name}",
            kind="own",
            title=f"Own films: {kept.name}",
            version=version,
            file=kept.folder / PREDICTIONS_FILE,
            films=kept.films,
            own=kept,
        )
        for kept in (list_sets(settings.home) if may_see_own else ())
        if kept.sha256 == version.card.sha256
    )
    return (
        Source("test", "test", "Test split", version, folder / "test.csv", settings.data),
        Source(
            "validation", "validation", "Validation films", version, folder / "validation.csv", settings.data
        ),
        *own,
    )


def measure(source: Source) -> Measured:
    """The films of a source, read and sorted once for all sessions as long as the file stays as it is.

    Raises:
        VersionError, OwnFilmsError, ValueError: one sentence that says why there is nothing to measure.
    """
    return _measure(source.stamp, source)


def measure_anew(source: Source) -> Measured:
    """As `measure`, where there is no session: Streamlit's cache would speak to one."""
    return Measured(source.table(), source.version.card.calibration)


@st.cache_resource(max_entries=6, show_spinner="Measuring the stored predictions")
def _measure(stamp: str, _source: Source) -> Measured:
    return measure_anew(_source)


def uncalibrated(probabilities: np.ndarray, calibration: Calibration) -> np.ndarray | None:
    """What the network gave before the calibration; None where there was none.

    A calibration that was folded into the network's last layer is named, with its numbers, by the card's `method`.
    """
    slope, intercept = calibration.slope, calibration.intercept
    if slope == 1 and intercept == 0:
        folded = _FOLDED.search(calibration.method)
        if folded is None:
            return None
        slope, intercept = float(folded[1]), float(folded[2])
    return sigmoid((logit(probabilities) - intercept) / slope)


def figure(figure: go.Figure, *, key: str, context: Context, alt: str) -> None:
    """A figure on the page, downloadable from its own bar."""
    st.plotly_chart(
        figure,
        key=key,
        theme="streamlit",
        config=charts.config(f"{key}-{context.source.slug}", picture=context.picture),
        alt=alt,
    )


def csv_button(rows: Callable[[], Sequence[Row]], *, name: str, label: str = "Download CSV") -> None:
    """A table as CSV, made when it is asked for; `name` is the file's, without its ending, and the widget's key."""
    st.download_button(
        label,
        data=lambda: table_csv(rows()),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"csv-{name}",
    )


def records(table: pandas.DataFrame) -> list[Row]:
    """The rows of a table, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def share(value: float | None) -> str:
    """A share as percent; a dash where there is none."""
    return "–" if value is None or np.isnan(value) else charts.percent(float(value))


def number(value: float | None) -> str:
    """Three decimals; a dash where there is none, the sign of infinity where it is without bound."""
    if value is None or np.isnan(value):
        return "–"
    return "∞" if np.isinf(value) else f"{value:.3f}"


def bounds(interval: Interval | None, *, percent: bool) -> str:
    """A 95 % interval as "0.981 – 0.993" or "98.1 – 99.3 %"; empty where there is none."""
    if interval is None:
        return ""
    if percent:
        return f"{interval.low * 100:.1f} – {interval.high * 100:.1f} %"
    return f"{number(interval.low)} – {number(interval.high)}"


def ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """An interval as two cells of a CSV."""
    return {
        f"{name}_low": None if interval is None else interval.low,
        f"{name}_high": None if interval is None else interval.high,
    }


def plain(value: Any) -> float | None:
    """A number for JSON and CSV: NaN and infinity become None."""
    return None if value is None or not np.isfinite(value) else float(value)
