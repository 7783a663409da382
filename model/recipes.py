"""Every choice of a training run, and what each network's seed chose.

One flat class serves all networks; a field that a network has no use for is ignored by it. Light: nothing of Keras
or TensorFlow is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from model.architectures import ARCHITECTURES
from model.augmentation import RECIPES
from model.dataset import ValidationMethod

DEFAULT_ARCHITECTURE = "vgg16_finetuned"
STAGED = "vgg16_scratch"
"""The one network that trains in stages of growing films, with a moving average of its weights."""
UNCHANGED = "none"
"""The augmentation that changes nothing."""

Watched = Literal["val_loss", "val_accuracy", "val_auc", "val_pr_auc"]


class ConfigError(ValueError):
    """Settings of a run that cannot be used; one sentence that names the setting."""


class TrainingConfig(BaseModel):
    """Every choice of a run. Its own defaults are neutral; `default_config` has each network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = DEFAULT_ARCHITECTURE
    starting_weights: str = "imagenet"
    """A weights file (.h5, or .npz of kernels), ``imagenet`` (Keras' cache or download) or ``none``."""
    input_side: int = Field(default=224, ge=16)
    """Height and width of the films in pixels; vgg16_scratch takes its `stages` instead."""

    # how long, how fast
    epochs: int = Field(default=10, ge=1)
    """At most; vgg16_scratch takes its `stages` instead."""
    batch_size: int = Field(default=32, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of ``sgd``."""
    constant_epochs: int = Field(default=0, ge=0)
    """The learning rate stays for so many epochs, and is multiplied by `decay` at the start of each later one."""
    decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    """Of ``adamw``."""

    # what is learnt from
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: bool = False
    """Weigh the classes so that each counts the same."""
    augmentation: str = UNCHANGED
    """A recipe of `model.augmentation.RECIPES`, or ``none``."""
    transplanted: float = Field(default=0.0, ge=0, le=1)
    """Share of the films that get the lungs of another one, with its label: what lies around the lungs then tells
    little. For networks that train whole."""
    views: int = Field(default=2, ge=1)
    """Changed views of each film whose features are kept; each epoch sees one of them. Without augmentation: 1."""

    # the network
    unfrozen_blocks: int = Field(default=0, ge=0)
    """Top blocks of the base that train with the head; 0: the head alone."""
    settle_epochs: int = Field(default=0, ge=0)
    """Epochs of the head alone before any block of the base trains with it."""
    unfrozen_rate: float = Field(default=0.1, gt=0, le=1)
    """Factor on the learning rate while blocks of the base train: what they know is to be changed with care."""
    head_units: int = Field(default=1024, ge=0)
    """Of each hidden layer of the head; 0: none."""
    dropout: float = Field(default=0.3, ge=0, lt=1)

    # which epoch is kept
    patience: int = Field(default=0, ge=0)
    """Stop after this many epochs in which `watch` did not get better; 0: never."""
    watch: Watched = "val_auc"
    keep: Watched = "val_loss"
    """The epoch that is best by this is the one that becomes the version."""

    # vgg16_scratch alone
    stages: tuple[tuple[int, int], ...] = ((64, 6), (112, 12))
    """(side in pixels, epochs): small films first, because an epoch's time goes with the square of the side."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    average: float = Field(default=0.995, ge=0, lt=1)
    """Momentum of the moving average of the weights; 0: none."""

    # films held out, and what is fitted on them
    validation: ValidationMethod = "edges"
    validation_fraction: float = Field(default=0.15, gt=0, lt=1)
    validation_seed: int = 0
    validation_series: str | None = None
    """A series of names to hold out whole, for judging how a recipe does on films from elsewhere."""
    calibration_recipe: str = "departments"
    calibration_views: int = Field(default=4, ge=0)
    """Calibration and operating points are fitted on this many changed views of each validation film, because films
    from elsewhere differ from those at hand; 0: on the validation films as they are."""
    prevalence: float = Field(default=0.5, gt=0, lt=1)
    """Share of pneumonia for which the probabilities are made right."""

    seed: int = 0
    mixed_precision: bool | None = None
    """bf16 arithmetic; None: where the processor has it."""

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, name: str) -> str:
        return _one_of(ARCHITECTURES, name)

    @field_validator("augmentation")
    @classmethod
    def _known_augmentation(cls, name: str) -> str:
        return name if name == UNCHANGED else _one_of(RECIPES, name)

    @field_validator("calibration_recipe")
    @classmethod
    def _known_recipe(cls, name: str) -> str:
        return _one_of(RECIPES, name)

    @field_validator("stages")
    @classmethod
    def _sides(cls, stages: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if not stages or any(side < 16 or side % 16 or epochs < 1 for side, epochs in stages):
            raise ValueError(
                "needs (side, epochs) pairs with sides that are multiples of 16 and at least one epoch"
            )
        return stages

    @model_validator(mode="after")
    def _blocks(self) -> TrainingConfig:
        known = ARCHITECTURES[self.architecture]
        if self.unfrozen_blocks > known.blocks:
            raise ValueError(f"{known.title} has {known.blocks} blocks that can be unfrozen")
        if self.transplanted and not (self.staged or self.unfrozen_blocks == known.blocks):
            raise ValueError(
                "lungs can be exchanged only where the whole network trains: unfreeze all blocks"
            )
        return self

    @property
    def staged(self) -> bool:
        """Whether `stages` say how long the run is, and not `epochs`."""
        return self.architecture == STAGED

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run, at most."""
        return sum(epochs for _, epochs in self.stages) if self.staged else self.epochs

    @property
    def kept_views(self) -> int:
        """Views of each training film whose features are computed."""
        return 1 if self.augmentation == UNCHANGED else self.views

    def stage_of(self, epoch: int) -> tuple[int, int]:
        """(side, first epoch after this stage) of a zero-based epoch."""
        end = 0
        for side, epochs in self.stages:
            end += epochs
            if epoch < end:
                return side, end
        raise IndexError(epoch)

    def learning_rate_of(self, epoch: int) -> float:
        """The learning rate of a zero-based epoch: constant, then falling by `decay` an epoch."""
        return self.learning_rate * self.decay ** max(epoch + 1 - max(self.constant_epochs, 1), 0)


def _one_of(known: Mapping[str, object], name: str) -> str:
    if name not in known:
        raise ValueError(f"must be one of {', '.join(known)}, not {name!r}")
    return name


def default_config(architecture: str = DEFAULT_ARCHITECTURE, **changes: Any) -> TrainingConfig:
    """What the network's seed chose, with ``changes`` on top.

    Raises:
        ConfigError: no such architecture, no such setting, or a value out of range.
    """
    known = ARCHITECTURES.get(architecture)
    settings = dict(known.settings) if known else {}
    try:
        return TrainingConfig.model_validate({**settings, "architecture": architecture, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the settings"
        raise ConfigError(f"{where}: {first['msg']} (got {first['input']!r}).") from None


def read_config(
    file: Path | None, changes: Sequence[str], *, architecture: str | None = None
) -> TrainingConfig:
    """The settings of a JSON file with ``key=value`` changes on top; what neither names is the network's default.

    Raises:
        ConfigError: says what is wrong.
    """
    values: dict[str, Any] = {}
    try:
        if file is not None:
            values = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ConfigError(f"The settings file {file} must hold one JSON object.")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The settings file {file} cannot be read.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"The settings file {file} is not JSON: {error}.") from None
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator:
            raise ConfigError(f"--set takes key=value, not {change!r}.")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    wanted = architecture or values.pop("architecture", DEFAULT_ARCHITECTURE)
    return default_config(**{**values, "architecture": wanted})
