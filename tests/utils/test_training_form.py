from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from model.architectures import ARCHITECTURES
from model.recipes import ConfigError, TrainingConfig, default_config
from utils import training_form
from utils.training_form import all_entries, changed, configuration, shown, suggested_name


def test_every_setting_is_in_the_form() -> None:
    elsewhere = {"architecture", "starting_weights"}
    assert {entry.name for entry in all_entries()} | elsewhere == set(TrainingConfig.model_fields)
    assert len(all_entries()) == len({entry.name for entry in all_entries()})
    assert all(entry.help.endswith(".") for entry in all_entries())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_form_gives_back_what_it_was_filled_with(name: str) -> None:
    default = default_config(name)
    entered = {entry.name: shown(entry, default) for entry in all_entries()}
    assert configuration(name, default.starting_weights, entered) == default
    assert changed(default.model_dump(mode="json")) == {}
    for entry in all_entries():
        if entry.kind in ("int", "float"):
            value = getattr(default, entry.name)
            assert entry.low <= value and (entry.high is None or value <= entry.high), entry.name
        if entry.kind == "choice":
            assert entry.words is not None and entered[entry.name] in entry.words, entry.name


def test_changes_are_told_in_words() -> None:
    config = default_config("vgg16_finetuned", epochs=3, patience=0, class_weights=False, watch="val_auc")
    assert changed(config.model_dump(mode="json")) == {
        "Epochs, at most": ("3", "20"),
        "Weigh the classes so that each counts the same": ("no", "yes"),
        "Patience, epochs": ("0", "5"),
        "Getting better at": ("validation AUC", "validation accuracy"),
    }


@pytest.mark.parametrize(
    ("entered", "words"),
    [
        ({"stages": "64 6"}, "pairs of side and epochs"),
        ({"stages": "60: 6"}, "multiples of 16"),
        ({"learning_rate": 0.0}, "Learning rate"),
        ({"batch_size": 1}, "Batch size"),
    ],
)
def test_what_cannot_be_used_is_named(entered: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configuration("vgg16_scratch", "none", entered)


def test_a_suggested_name_is_free(tmp_path: Path) -> None:
    day = date(2026, 11, 21)
    assert suggested_name(tmp_path, "vgg16_finetuned", day) == "vgg16-finetuned-2026-11-21"
    (tmp_path / "versions" / "vgg16-finetuned-2026-11-21").mkdir(parents=True)
    assert suggested_name(tmp_path, "vgg16_finetuned", day) == "vgg16-finetuned-2026-11-21-2"


def test_stages_are_read_as_they_are_written() -> None:
    assert training_form.parse_stages("64: 6,112:12") == ((64, 6), (112, 12))
