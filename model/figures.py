"""Every figure of an evaluation with its name, meaning and formula, the formula also with this threshold's counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from model.evaluation import FIGURE_NAMES, Confusion, Evaluation
from model.intervals import Interval

Kind = Literal["share", "number"]


@dataclass(frozen=True)
class Figure:
    """One figure, ready to be shown.

    ``kind``: a ``share`` is between 0 and 1 and shown as a percentage, a ``number`` is shown as it is. ``interval``
    takes every film as independent; ``by_patient`` allows for several films of one patient, None where patients are
    not known. ``worked`` is the formula with counts, empty where the formula has none or the figure no value;
    ``unavailable`` says why there is no value, empty where there is one.
    """

    key: str
    name: str
    value: float | None
    interval: Interval | None
    by_patient: Interval | None
    kind: Kind
    definition: str
    formula: str
    worked: str
    unavailable: str


@dataclass(frozen=True)
class _Meaning:
    name: str
    kind: Kind
    definition: str
    formula: str
    worked: str = ""
    """With the names of counts in braces."""


_MEANINGS: Mapping[str, _Meaning] = {
    "auc": _Meaning(
        "AUC",
        "number",
        "The chance that a film of pneumonia, drawn at random, has a higher probability than a normal film; 0.5 is "
        "guessing, 1 is perfect.",
        "share of pairs (pneumonia, normal) in the right order, ties one half",
    ),
    "average_precision": _Meaning(
        "Average precision",
        "number",
        "The area under the precision-recall curve: the precision, averaged over the films of pneumonia from the most "
        "to the least suspicious; guessing gives the share of pneumonia in the set.",
        "sum of (recall - recall before) x precision over all thresholds",
    ),
    "accuracy": _Meaning(
        "Accuracy",
        "share",
        "Of all films, those called rightly; it depends on how many films of each class the set holds.",
        "(TP + TN) / (TP + TN + FP + FN)",
        "({tp} + {tn}) / ({tp} + {tn} + {fp} + {fn})",
    ),
    "balanced_accuracy": _Meaning(
        "Balanced accuracy",
        "share",
        "The mean of sensitivity and specificity: the accuracy if both classes were equally frequent; guessing gives "
        "50 %.",
        "(TP / (TP + FN) + TN / (TN + FP)) / 2",
        "({tp} / ({tp} + {fn}) + {tn} / ({tn} + {fp})) / 2",
    ),
    "sensitivity": _Meaning(
        "Sensitivity (recall)",
        "share",
        "Of the films of pneumonia, those called pneumonia: what is missing to 100 % are missed pneumonias.",
        "TP / (TP + FN)",
        "{tp} / ({tp} + {fn})",
    ),
    "specificity": _Meaning(
        "Specificity",
        "share",
        "Of the normal films, those called normal: what is missing to 100 % are false alarms.",
        "TN / (TN + FP)",
        "{tn} / ({tn} + {fp})",
    ),
    "precision": _Meaning(
        "Precision (PPV)",
        "share",
        "Of the films called pneumonia, those with pneumonia, at the share of pneumonia that this set has.",
        "TP / (TP + FP)",
        "{tp} / ({tp} + {fp})",
    ),
    "npv": _Meaning(
        "NPV",
        "share",
        "Negative predictive value: of the films called normal, those that are normal, at the share of pneumonia that "
        "this set has.",
        "TN / (TN + FN)",
        "{tn} / ({tn} + {fn})",
    ),
    "f1_pneumonia": _Meaning(
        "F1, pneumonia",
        "number",
        "The harmonic mean of precision and sensitivity; 1 is perfect.",
        "2 TP / (2 TP + FP + FN)",
        "2 x {tp} / (2 x {tp} + {fp} + {fn})",
    ),
    "f1_normal": _Meaning(
        "F1, normal",
        "number",
        "The harmonic mean of NPV and specificity: the same figure with the normal films as those looked for.",
        "2 TN / (2 TN + FP + FN)",
        "2 x {tn} / (2 x {tn} + {fp} + {fn})",
    ),
    "mcc": _Meaning(
        "Matthews correlation",
        "number",
        "The correlation of label and decision, from -1 over 0 (guessing) to 1; high only where all four counts are "
        "good.",
        "(TP x TN - FP x FN) / √((TP + FP) (TP + FN) (TN + FP) (TN + FN))",
        "({tp} x {tn} - {fp} x {fn}) / √(({tp} + {fp}) ({tp} + {fn}) ({tn} + {fp}) ({tn} + {fn}))",
    ),
    "lr_positive": _Meaning(
        "Likelihood ratio +",
        "number",
        "How many times likelier the call pneumonia is on a film of pneumonia than on a normal film; it multiplies "
        "the odds before the film.",
        "(TP / (TP + FN)) / (FP / (FP + TN))",
        "({tp} / ({tp} + {fn})) / ({fp} / ({fp} + {tn}))",
    ),
    "lr_negative": _Meaning(
        "Likelihood ratio −",
        "number",
        "How many times likelier the call normal is on a film of pneumonia than on a normal film; the smaller, the "
        "more a normal call rules out.",
        "(FN / (TP + FN)) / (TN / (FP + TN))",
        "({fn} / ({tp} + {fn})) / ({tn} / ({fp} + {tn}))",
    ),
    "brier": _Meaning(
        "Brier score",
        "number",
        "The mean squared distance of the probability from the truth, 1 for pneumonia and 0 for normal; 0 is perfect.",
        "mean of (probability - label)²",
    ),
    "log_loss": _Meaning(
        "Log loss",
        "number",
        "The mean of minus the logarithm of the probability given to the true class; 0 is perfect, and a film that is "
        "certain and wrong costs most.",
        "mean of -ln(probability of the true class)",
    ),
    "ece": _Meaning(
        "Calibration error",
        "number",
        "How far the probabilities are from the shares of pneumonia that they promise, in ten bins of equal width; 0 "
        "is perfect.",
        "sum over bins of films in the bin / n x |mean probability - share of pneumonia|",
    ),
}


def figures(result: Evaluation) -> tuple[Figure, ...]:
    """All figures of an evaluation in the order of :data:`model.evaluation.FIGURE_NAMES`."""
    return tuple(_figure(result, key) for key in FIGURE_NAMES)


def _figure(result: Evaluation, key: str) -> Figure:
    meaning, value = _MEANINGS[key], result.value(key)
    by_patient: Interval | None = None
    if result.by_patient is not None:
        by_patient = getattr(result.by_patient, key)
    return Figure(
        key=key,
        name=meaning.name,
        value=value,
        interval=result.interval(key),
        by_patient=by_patient,
        kind=meaning.kind,
        definition=meaning.definition,
        formula=meaning.formula,
        worked="" if value is None else _worked(meaning.worked, result.confusion, value),
        unavailable=result.unavailable.get(key, "") if value is None else "",
    )


def _worked(pattern: str, counts: Confusion, value: float) -> str:
    if not pattern:
        return ""
    filled = pattern.format(tn=counts.tn, fp=counts.fp, fn=counts.fn, tp=counts.tp)
    return f"{filled} = {value:.3f}"
