from __future__ import annotations

from pathlib import Path

import pytest

from model.recipes import ConfigError, default_config, read_config


def test_the_learning_rate_is_constant_and_then_falls() -> None:
    config = default_config("vgg16_scratch", learning_rate=0.1, constant_epochs=2, decay=0.5)
    assert [config.learning_rate_of(epoch) for epoch in range(4)] == [0.1, 0.1, 0.05, 0.025]
    config = default_config("vgg16_scratch", learning_rate=0.1, decay=0.5)
    assert [config.learning_rate_of(epoch) for epoch in range(3)] == [0.1, 0.05, 0.025]


def test_settings_from_file_and_command_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"architecture": "vgg16_scratch", "learning_rate": 0.001, "stages": [[64, 2]]}')
    config = read_config(file, ["learning_rate=0.002", "starting_weights=none"])
    assert (config.learning_rate, config.starting_weights, config.total_epochs) == (0.002, "none", 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rate", "key=value"),
        ("learning_rate=-1", "learning_rate: .*greater than 0"),
        ("stages=[[50,1]]", "multiples of 16"),
        ("augmentation=wild", "must be one of films, "),
        ("colour=red", "colour: Extra inputs"),
    ],
)
def test_wrong_settings_are_named(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(None, [change])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(Path("missing.json"), [])
