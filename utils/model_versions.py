"""Versions as the Models screen shows them: a row each, a card as tables, and what changes which one is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model.registry import MODEL_FILE, RELEASED, Change, Version, is_evaluated
from model.registry_commands import Place
from utils.department import base_of
from utils.session import STANDARD_POINT, start_threshold
from utils.settings import Settings

Origin = Literal["released", "trained here", "imported"]
Row = dict[str, Any]
_FIGURES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "npv": "Negative predictive value",
    "brier": "Brier score",
}


def place_of(settings: Settings) -> Place:
    """Where the versions lie and how they are tried."""
    return Place(
        roots=(RELEASED, settings.versions),
        cache=settings.cache,
        engine=settings.engine,
        precision=settings.precision,
        pinned=settings.version or "",
    )


@dataclass(frozen=True)
class Listed:
    """A version in the list.

    Attributes:
        version: as the screens use it, with what the department put on top.
        origin: where it came from.
        in_use: whether films are read with it.
        evaluated: whether it may go into use.
    """

    version: Version
    origin: Origin
    in_use: bool
    evaluated: bool

    @property
    def name(self) -> str:
        """Of the folder's version, which the log and the terminal know."""
        return base_of(self.version).name

    @property
    def state(self) -> str:
        if self.in_use:
            return "▶ in use"
        return "" if self.evaluated else "not evaluated"

    @property
    def threshold(self) -> float:
        """Where a session would start with it."""
        return start_threshold(self.version)


def listed(versions: Sequence[Version], in_use: Version | None, changes: Sequence[Change]) -> list[Listed]:
    """The versions with what the list says of them, in the same order."""
    used = None if in_use is None else base_of(in_use).folder
    imported = {(change.to, change.sha256) for change in changes if change.action == "import"}
    found = []
    for version in versions:
        base = base_of(version)
        origin: Origin = "trained here"
        if base.folder.parent == RELEASED:
            origin = "released"
        elif (base.name, base.card.sha256) in imported or base.card.seed_configuration == "imported":
            origin = "imported"
        found.append(Listed(version, origin, base.folder == used, is_evaluated(base)))
    return found


def overview(rows: Sequence[Listed]) -> list[Row]:
    """One row a version, with the figures of the test split, or of validation films where there is none."""
    return [
        {
            "State": each.state,
            "Version": each.name,
            "From": each.origin,
            "Made": each.version.card.created.astimezone().strftime("%Y-%m-%d %H:%M"),
            "Trained by": trained_by(each),
            **_figures(each.version),
            "Network": each.version.card.architecture,
            "Parameters": each.version.card.parameters,
            "MB": round(_bytes(each.version) / 1e6, 1),
        }
        for each in rows
    ]


def trained_by(each: Listed) -> str:
    """Who trained it, as far as its card says."""
    return each.version.card.trained_by or ("the project" if each.origin == "released" else "not stated")


def _bytes(version: Version) -> int:
    try:
        return (version.folder / MODEL_FILE).stat().st_size
    except OSError:
        return 0


def _figures(version: Version) -> Row:
    split, figures = stored_figures(version)
    return {
        "Films": "" if not figures else f"{figures.get('n', 0):,} {split}",
        "AUC": _with_interval(figures, "auc", percent=False),
        "Sensitivity": _with_interval(figures, "sensitivity", percent=True),
        "Specificity": _with_interval(figures, "specificity", percent=True),
    }


def stored_figures(version: Version, point: str = STANDARD_POINT) -> tuple[str, Mapping[str, Any]]:
    """The card's figures at an operating point: of the test split, else of validation films; else of nothing."""
    for split in ("test", "validation"):
        of_split = version.card.metrics.get(split)
        if isinstance(of_split, dict) and of_split:
            figures = of_split.get(point) or next(iter(of_split.values()))
            if isinstance(figures, dict):
                return split, figures
    return "", {}


def _with_interval(figures: Mapping[str, Any], key: str, *, percent: bool) -> str:
    value, interval = figures.get(key), figures.get(f"{key}_ci")
    if not isinstance(value, int | float):
        return "–"
    shown = _number(value, percent=percent) + (" %" if percent else "")
    if isinstance(interval, list) and len(interval) == 2:
        low, high = (_number(each, percent=percent) for each in interval)
        return f"{shown} ({low} – {high})"
    return shown


def _number(value: float, *, percent: bool) -> str:
    return f"{value * 100:.1f}" if percent else f"{value:.3f}"


def facts(each: Listed) -> list[Row]:
    """The card's first page: what it is and where it comes from."""
    card = each.version.card
    counts = card.data.get("counts")
    said = {
        "Network": card.architecture,
        "Recipe": card.seed_configuration,
        "From": each.origin,
        "Made": card.created.astimezone().strftime("%d %B %Y, %H:%M"),
        "Trained by": trained_by(each),
        "Started from": card.started_from,
        "Input": f"{card.input_size[1]} × {card.input_size[0]} pixels",
        "Pixels": card.pixel_scaling,
        "Parameters": f"{card.parameters:,}, of which {card.trainable_parameters:,} trained",
        "Size": f"{_bytes(each.version) / 1e6:.1f} MB",
        "Calibration": f"{card.calibration.method}; fitted on {card.calibration.fitted_on}",
        "Films": _counts(counts) if isinstance(counts, dict) else "not stated",
        "SHA-256": f"{card.sha256[:16]}…",
    }
    return [{"": key, "Card": value} for key, value in said.items()]


def _counts(counts: Mapping[str, Any]) -> str:
    parts = []
    for split, of_class in counts.items():
        if isinstance(of_class, dict):
            parts.append(f"{split} " + ", ".join(f"{count} {name}" for name, count in of_class.items()))
    return "; ".join(parts)


def points(version: Version) -> list[Row]:
    """One row an operating point, with its figures of the test split, or of validation films."""
    rows = []
    for point in version.card.operating_points:
        _, figures = stored_figures(version, point.name)
        here = figures if figures.get("threshold") == point.threshold else {}
        rows.append(
            {
                "Operating point": point.name,
                "Threshold": f"{point.threshold:.4g}",
                "Sensitivity": _with_interval(here, "sensitivity", percent=True),
                "Specificity": _with_interval(here, "specificity", percent=True),
            }
        )
    return rows


def training(version: Version) -> list[Row]:
    """Every setting of the run, as the card has it."""
    return [
        {"Setting": key, "Value": str(value)}
        for key, value in version.card.training.items()
        if not isinstance(value, dict)
    ]


def trials(version: Version) -> list[Row]:
    """What each pixel scaling gave when the version was imported; empty for any other."""
    imported = version.card.training.get("imported")
    if not isinstance(imported, dict):
        return []
    tried = imported.get("trials")
    rows = []
    for trial in tried if isinstance(tried, list) else ():
        if isinstance(trial, dict):
            auc = trial.get("auc")
            rows.append(
                {
                    "Pixels": str(trial.get("scaling")),
                    "AUC": f"{auc:.3f}" if isinstance(auc, int | float) else "–",
                    "Chosen": "✓" if trial.get("scaling") == imported.get("scaling") else "",
                }
            )
    return rows


def log_rows(changes: Sequence[Change]) -> list[Row]:
    """The log of changes, newest first."""
    words = {"promote": "put in use", "rollback": "rolled back", "import": "imported", "delete": "deleted"}
    return [
        {
            "When": change.when.astimezone().strftime("%Y-%m-%d %H:%M"),
            "What": words[change.action],
            "From": change.before,
            "To": change.to,
            "Who": change.who,
            "Why": change.reason,
        }
        for change in changes
    ]
