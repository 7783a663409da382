"""The form of a training run: what each setting is called, what it does, and what may be entered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from model.augmentation import RECIPES
from model.jobs import JobError, free_name
from model.recipes import UNCHANGED, ConfigError, TrainingConfig, default_config

WATCHED = {
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "val_auc": "validation AUC",
    "val_pr_auc": "validation precision-recall area",
}
ARITHMETIC = {"None": "where the processor has it", "True": "always", "False": "never (float32)"}
VALIDATION = {
    "edges": "patients at the edges of the numbers",
    "blocks": "one block of neighbouring patients",
    "patients": "patients at random",
    "films": "films at random (flatters)",
}


@dataclass(frozen=True)
class Entry:
    """One setting of `model.recipes.TrainingConfig` in the form.

    Attributes:
        name: of the field.
        label: what it is called on the screen.
        help: what it does.
        kind: how it is entered.
        low, high, step: of a number.
        words: options of a choice with what they are called; a choice's values are texts.
        staged: True for what only vgg16_scratch has, False for what it has not.
    """

    name: str
    label: str
    help: str
    kind: Literal["int", "float", "choice", "bool", "text"]
    low: float = 0
    high: float | None = None
    step: float = 1
    words: Mapping[str, str] | None = None
    staged: bool | None = None


_RECIPE_WORDS = {name: name for name in RECIPES}
_AUGMENTATION_WORDS = {UNCHANGED: "none", **_RECIPE_WORDS}

MAIN = (
    Entry("epochs", "Epochs, at most", "How often each film is seen.", "int", 1, 1000, staged=False),
    Entry(
        "stages",
        "Stages (side: epochs)",
        "Small films first, because an epoch's time goes with the square of the side. Sides are multiples of 16.",
        "text",
        staged=True,
    ),
    Entry("batch_size", "Batch size", "Films a step. Smaller needs less memory.", "int", 2, 512),
    Entry(
        "learning_rate",
        "Learning rate",
        "How far a step goes. Too high does not settle, too low takes for ever.",
        "float",
        1e-7,
        1.0,
        1e-4,
    ),
    Entry(
        "augmentation",
        "Augmentation",
        "How a film is changed each time it is seen: the Data screen shows each recipe.",
        "choice",
        words=_AUGMENTATION_WORDS,
    ),
    Entry(
        "input_side",
        "Side of the films, pixels",
        "Height and width at which the network sees a film.",
        "int",
        16,
        512,
        16,
        staged=False,
    ),
    Entry(
        "unfrozen_blocks",
        "Unfrozen blocks",
        "Top blocks of the base that train with the head; 0: the head alone.",
        "int",
        0,
        staged=False,
    ),
)
REST = {
    "Steps": (
        Entry(
            "optimizer",
            "Optimiser",
            "Adam suits most; SGD goes with a momentum; AdamW with a weight decay.",
            "choice",
            words={"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum"},
            staged=False,
        ),
        Entry("momentum", "Momentum", "Of SGD.", "float", 0, 0.999, 0.05, staged=False),
        Entry(
            "constant_epochs",
            "Epochs with a constant learning rate",
            "Afterwards it falls by the factor beside.",
            "int",
            0,
            1000,
            staged=False,
        ),
        Entry(
            "decay",
            "Factor of the learning rate an epoch",
            "1: it stays constant.",
            "float",
            0.01,
            1.0,
            0.05,
            staged=False,
        ),
        Entry("weight_decay", "Weight decay", "Of AdamW: keeps weights small.", "float", 0, 1.0, 0.01),
        Entry(
            "warmup",
            "Share of steps with a rising learning rate",
            "It falls along a cosine afterwards.",
            "float",
            0,
            0.9,
            0.05,
            staged=True,
        ),
        Entry(
            "average",
            "Momentum of the moving average of the weights",
            "0: none.",
            "float",
            0,
            0.9999,
            0.005,
            staged=True,
        ),
    ),
    "What is learnt from": (
        Entry(
            "class_weights",
            "Weigh the classes so that each counts the same",
            "Where one class has more films.",
            "bool",
        ),
        Entry(
            "label_smoothing",
            "Label smoothing",
            "Keeps the network from being too sure; 0: none.",
            "float",
            0,
            0.9,
            0.05,
        ),
        Entry(
            "transplanted",
            "Share of films with another film's lungs",
            "The label goes with the lungs: what lies around them then tells little. Where the whole network trains.",
            "float",
            0,
            1.0,
            0.05,
        ),
        Entry(
            "views",
            "Changed views of each film",
            "With a frozen base, so many are computed once and kept; each epoch sees one.",
            "int",
            1,
            64,
            staged=False,
        ),
    ),
    "The network": (
        Entry("head_units", "Units of the head's dense layer", "0: none.", "int", 0, 8192, 64, staged=False),
        Entry(
            "dropout",
            "Dropout",
            "Share of the units left out at random while training.",
            "float",
            0,
            0.95,
            0.05,
            staged=False,
        ),
        Entry(
            "settle_epochs",
            "Epochs of the head alone",
            "Before any block of the base trains with it.",
            "int",
            0,
            1000,
            staged=False,
        ),
        Entry(
            "unfrozen_rate",
            "Factor of the learning rate with blocks of the base",
            "What they know is to be changed with care.",
            "float",
            0.001,
            1.0,
            0.05,
            staged=False,
        ),
    ),
    "Which epoch is kept": (
        Entry(
            "patience",
            "Patience, epochs",
            "Stop after so many without getting better; 0: never.",
            "int",
            0,
            1000,
        ),
        Entry("watch", "Getting better at", "What the patience watches.", "choice", words=WATCHED),
        Entry(
            "keep",
            "Kept is the epoch with the best",
            "Its weights become the version.",
            "choice",
            words=WATCHED,
            staged=False,
        ),
    ),
    "Films held out for validation": (
        Entry(
            "validation",
            "Chosen by",
            "No patient is on both sides, except with films at random.",
            "choice",
            words=VALIDATION,
        ),
        Entry(
            "validation_fraction",
            "Share of the films",
            "Calibration and thresholds are chosen on them.",
            "float",
            0.02,
            0.9,
            0.05,
        ),
        Entry("validation_seed", "Seed of the draw", "Another number draws others.", "int", 0, 2**31 - 1),
        Entry(
            "validation_series",
            "A series to hold out whole",
            "The series of a file name, for example NORMAL2-IM; empty: none.",
            "text",
        ),
    ),
    "Probabilities": (
        Entry(
            "calibration_recipe",
            "Calibrated on films changed by",
            "Films from elsewhere differ from those at hand.",
            "choice",
            words=_RECIPE_WORDS,
        ),
        Entry(
            "calibration_views",
            "Changed views of each validation film",
            "0: calibrated on the films as they are.",
            "int",
            0,
            64,
        ),
        Entry(
            "prevalence",
            "Share of pneumonia they shall be right for",
            "0.5: half of the films.",
            "float",
            0.01,
            0.99,
            0.05,
        ),
    ),
    "The run": (
        Entry(
            "seed",
            "Seed",
            "The same seed on the same machine gives nearly the same run.",
            "int",
            0,
            2**31 - 1,
        ),
        Entry(
            "mixed_precision",
            "bf16 arithmetic",
            "Faster on processors that have it.",
            "choice",
            words=ARITHMETIC,
        ),
    ),
}


def shown(entry: Entry, config: TrainingConfig) -> Any:
    """A setting's value as the form has it."""
    value = getattr(config, entry.name)
    if entry.name == "stages":
        return ", ".join(f"{side}: {epochs}" for side, epochs in value)
    if entry.kind == "choice":
        return str(value)
    if entry.kind == "text":
        return value or ""
    return float(value) if entry.kind == "float" else value


def configuration(architecture: str, starting_weights: str, entered: Mapping[str, Any]) -> TrainingConfig:
    """The configuration that was entered; what was not is the network's default.

    Args:
        architecture: name of the network.
        starting_weights: as in `model.recipes.TrainingConfig`.
        entered: values by name, as `shown` gives them.

    Raises:
        ConfigError: a value cannot be used; one sentence that names the setting.
    """
    changes = {name: _meant(name, value) for name, value in entered.items()}
    try:
        default_config(architecture)  # what is wrong with the network itself keeps its own words
        return TrainingConfig.model_validate(
            {
                **default_config(architecture).model_dump(),
                "starting_weights": starting_weights,
                **changes,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        label = next((entry.label for entry in all_entries() if entry.name == name), name)
        raise ConfigError(f"{label}: {first['msg'].removeprefix('Value error, ')}.") from None


def _meant(name: str, value: Any) -> Any:
    if name == "stages":
        return parse_stages(str(value))
    if name == "mixed_precision":
        return {"None": None, "True": True, "False": False}[str(value)]
    if name == "validation_series":
        return str(value).strip() or None
    return value


def all_entries() -> tuple[Entry, ...]:
    """Every setting of the form, from its top to its bottom."""
    return (*MAIN, *(entry for group in REST.values() for entry in group))


def parse_stages(text: str) -> tuple[tuple[int, int], ...]:
    """
    >>> parse_stages("64: 6, 112: 12")
    ((64, 6), (112, 12))

    Raises:
        ConfigError: it is not pairs of numbers.
    """
    pairs = [re.fullmatch(r"\s*(\d{1,4})\s*:\s*(\d{1,4})\s*", part) for part in text.split(",")]
    if not all(pairs):
        raise ConfigError("Write the stages as pairs of side and epochs: for example 64: 6, 112: 12.")
    return tuple((int(pair[1]), int(pair[2])) for pair in pairs if pair)


def suggested_name(home: Path, architecture: str, today: date) -> str:
    """A name for a new version that is free: the network and the day, with a number where there are several."""
    stem = f"{stem_of(architecture)}{today:%Y-%m-%d}"
    for ending in ("", *(f"-{number}" for number in range(2, 1000))):
        try:
            return free_name(home, stem + ending)
        except JobError:
            continue
    return ""


def stem_of(architecture: str) -> str:
    """What a suggested name begins with."""
    return f"{architecture.replace('_', '-')}-"


def changed(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The settings of a run that differ from its network's defaults: label to (value, default).

    Raises:
        ConfigError: the network is not known any more.
    """
    default = default_config(str(config.get("architecture", "")))
    run = default.model_copy(
        update={key: value for key, value in config.items() if key in type(default).model_fields}
    )
    found = {}
    for entry in all_entries():
        if entry.staged in (None, default.staged):
            now, before = shown(entry, run), shown(entry, default)
            if now != before:
                found[entry.label] = (_in_words(entry, now), _in_words(entry, before))
    return found


def _in_words(entry: Entry, value: Any) -> str:
    if entry.kind == "choice" and entry.words:
        return entry.words.get(value, str(value))
    if entry.kind == "bool":
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
