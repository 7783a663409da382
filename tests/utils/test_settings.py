from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from utils.settings import PROJECT, Settings, SettingsError, get_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PNEUMOSCOPE_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = get_settings()
    assert settings.home == PROJECT / "var"
    assert settings.cache == PROJECT / "var" / "cache"
    assert settings.versions == PROJECT / "var" / "versions"
    assert (settings.data, settings.data_full_size, settings.version) == (None, None, None)
    assert (settings.engine, settings.precision) == ("auto", "auto")


def test_default_home_is_the_checkout_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert get_settings().home == PROJECT / "var"
    assert (PROJECT / "utils" / "settings.py").is_file()


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "large").mkdir()
    values = {
        "HOME": tmp_path / "state",
        "DATA": tmp_path / "films",
        "DATA_FULL_SIZE": tmp_path / "large",
        "VERSION": "vgg16-2026-11",
        "ENGINE": "keras",
        "PRECISION": "f32",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"PNEUMOSCOPE_{name}", str(value))
    settings = get_settings()
    assert settings == Settings(
        home=tmp_path / "state",
        data=tmp_path / "films",
        data_full_size=tmp_path / "large",
        version="vgg16-2026-11",
        engine="keras",
        precision="f32",
    )
    assert not settings.home.exists(), "reading the settings must not write"


def test_relative_and_tilde_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    monkeypatch.setenv("PNEUMOSCOPE_HOME", "state")
    assert get_settings().home == tmp_path / "state"
    monkeypatch.setenv("PNEUMOSCOPE_HOME", "~/state")
    assert get_settings().home == tmp_path / "someone" / "state"


@pytest.mark.parametrize("name", ["HOME", "DATA", "DATA_FULL_SIZE", "VERSION", "ENGINE", "PRECISION"])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PNEUMOSCOPE_{name}", "")
    assert get_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ENGINE", "cuda", "PNEUMOSCOPE_ENGINE must be 'auto', 'openvino' or 'keras', not 'cuda'."),
        ("PRECISION", "int8", "PNEUMOSCOPE_PRECISION must be 'auto', 'bf16' or 'f32', not 'int8'."),
        (
            "DATA",
            "/no/such/folder",
            "PNEUMOSCOPE_DATA cannot be used: there is no folder /no/such/folder, "
            "name one that exists or leave the variable unset.",
        ),
        (
            "DATA_FULL_SIZE",
            "/no/such/folder",
            "PNEUMOSCOPE_DATA_FULL_SIZE cannot be used: there is no folder /no/such/folder, "
            "name one that exists or leave the variable unset.",
        ),
        (
            "HOME",
            __file__,
            f"PNEUMOSCOPE_HOME cannot be used: {__file__} is a file, name a folder that may be written to.",
        ),
        (
            "HOME",
            "~no-such-user-here/state",
            "PNEUMOSCOPE_HOME cannot be used: "
            "the home directory after '~' is not known, write the whole path.",
        ),
    ],
)
def test_an_invalid_value_is_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"PNEUMOSCOPE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        get_settings()
    assert str(caught.value) == sentence


def test_every_invalid_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "cuda")
    monkeypatch.setenv("PNEUMOSCOPE_PRECISION", "int8")
    with pytest.raises(SettingsError, match=r"PNEUMOSCOPE_ENGINE must .* PNEUMOSCOPE_PRECISION must"):
        get_settings()


def test_settings_do_not_change() -> None:
    settings = get_settings()
    with pytest.raises(ValidationError):
        settings.version = "another"  # type: ignore[misc]
