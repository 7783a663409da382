"""Versions on disk: what is written comes back, and every kind of damage has its own sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.network_file import NetworkFileError, check_configuration, check_network_file
from model.registry import (
    CARD_FILE,
    MODEL_FILE,
    Version,
    VersionError,
    find_version,
    list_versions,
    read_version,
    scan_versions,
    sha256_of,
    write_version,
)


@pytest.fixture
def copied(tiny_version: Version, tmp_path: Path) -> Path:
    """A copy of the tiny version that a test may damage."""
    return Path(shutil.copytree(tiny_version.folder, tmp_path / "copy"))


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    card.update(changes)
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_what_is_written_comes_back(tiny_version: Version) -> None:
    version = read_version(tiny_version.folder)
    assert version.card == tiny_version.card
    assert version.card.sha256 == sha256_of(version.model_file)
    assert version.card.created.utcoffset() is not None
    assert version.card.operating_point("balanced").name == "balanced"
    assert list(version.history()["epoch"]) == [1, 2]
    films = version.predictions("test")
    assert len(films.files) == len(films.labels) == len(films.probabilities) == 120
    assert films.probabilities.dtype == np.float64
    assert films.labels.sum() == 72
    assert set(films.subgroups) == {"", "bacteria", "virus"}


def test_probabilities_survive_the_csv_bit_by_bit(tiny_version: Version, tmp_path: Path) -> None:
    films = tiny_version.predictions("validation")
    again = write_version(
        tmp_path / "again",
        model_file=tiny_version.model_file,
        card=tiny_version.card,
        history=None,
        predictions={"validation": films},
    )
    assert np.array_equal(again.predictions("validation").probabilities, films.probabilities)
    assert again.history().empty
    with pytest.raises(VersionError, match="no stored test predictions"):
        again.predictions("test")


def test_unknown_operating_point_names_those_there_are(tiny_version: Version) -> None:
    with pytest.raises(VersionError, match="it has: .*balanced"):
        tiny_version.card.operating_point("lucky")


def test_an_existing_folder_is_never_overwritten(tiny_version: Version) -> None:
    with pytest.raises(VersionError, match="exists already"):
        write_version(
            tiny_version.folder,
            model_file=tiny_version.model_file,
            card=tiny_version.card,
            history=None,
            predictions={},
        )


def test_a_failed_write_leaves_nothing_behind(tiny_version: Version, tmp_path: Path) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"not a network")
    with pytest.raises(VersionError, match="not an HDF5 file"):
        write_version(tmp_path / "new", model_file=bad, card=tiny_version.card, history=None, predictions={})
    assert [path.name for path in tmp_path.iterdir()] == ["bad.h5"]


def truncate(folder: Path) -> None:
    data = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(data[: len(data) // 2])


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[-1] ^= 0xFF
    (folder / MODEL_FILE).write_bytes(bytes(data))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (lambda folder: (folder / MODEL_FILE).unlink(), "has no model.h5"),
    "no card": (lambda folder: (folder / CARD_FILE).unlink(), "no readable card.json"),
    "card is no JSON": (lambda folder: (folder / CARD_FILE).write_text("{"), "card .* is damaged"),
    "card lacks a field": (lambda folder: edit_card(folder, calibration=None), "see calibration"),
    "card with an evil name": (lambda folder: edit_card(folder, name="../evil"), "see name"),
    "naive time": (lambda folder: edit_card(folder, created="2026-01-02T03:04:05"), "see created"),
    "another network": (lambda folder: edit_card(folder, sha256="0" * 64), "checksum differs"),
    "flipped byte": (flip_a_byte, "checksum differs|truncated or damaged"),
    "truncated": (truncate, "truncated or damaged"),
    "pointer": (
        lambda folder: (folder / MODEL_FILE).write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        ),
        "git lfs pull",
    ),
    "empty": (lambda folder: (folder / MODEL_FILE).write_bytes(b""), "not an HDF5 file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_has_one_sentence(copied: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    damage(copied)
    with pytest.raises(VersionError, match=expected) as caught:
        read_version(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "file,patient\na,b\n",
        "file,patient,label,subgroup,probability\na,b,SICK,,0.5\n",
        "",
        "file,patient,label,subgroup,probability\na,b,NORMAL,,1.5\n",
    ],
)
def test_damaged_predictions(copied: Path, text: str) -> None:
    (copied / "predictions" / "test.csv").write_text(text)
    with pytest.raises(VersionError, match="test predictions of version .* are damaged"):
        read_version(copied).predictions("test")


def test_listing_is_newest_first_and_skips_damage(tiny_version: Version, tmp_path: Path) -> None:
    for name, created in (("old", "2025-01-01T00:00:00Z"), ("new", "2026-06-01T00:00:00Z"), ("bad", "never")):
        shutil.copytree(tiny_version.folder, tmp_path / name)
        edit_card(tmp_path / name, name=name, created=created)
    shutil.copytree(tiny_version.folder, tmp_path / ".unfinished")
    (tmp_path / "empty").mkdir()
    assert [version.name for version in list_versions(tmp_path, tmp_path / "missing")] == ["new", "old"]
    versions, damaged = scan_versions(tmp_path)
    assert len(versions) == 2 and len(damaged) == 1
    assert find_version(None, tmp_path).name == "new"
    assert find_version("old", tmp_path).name == "old"
    assert find_version(tmp_path / "old").name == "old"
    with pytest.raises(VersionError, match="card .* is damaged"):
        find_version("bad", tmp_path)
    with pytest.raises(VersionError, match="known versions: new, old"):
        find_version("newest", tmp_path)
    with pytest.raises(VersionError, match="no model version"):
        find_version(None, tmp_path / "empty")


def test_the_first_root_with_versions_wins(tiny_version: Version, tmp_path: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "trained" / "later")
    edit_card(tmp_path / "trained" / "later", name="later", created="2027-01-01T00:00:00Z")
    root = tiny_version.folder.parent
    assert find_version(None, root, tmp_path / "trained").name == tiny_version.name
    assert find_version(None, tmp_path / "missing", tmp_path / "trained").name == "later"


def test_every_class_of_the_tiny_network_is_plain(tiny_version: Version) -> None:
    assert check_network_file(tiny_version.model_file)["class_name"] == "Functional"


@pytest.mark.parametrize(
    "part",
    [
        {"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}},
        {"class_name": "Dense", "module": "os", "registered_name": None},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "Custom>Dense"},
        {
            "class_name": "Dense",
            "config": {"activation": {"class_name": "__lambda__", "config": {"value": "x"}}},
        },
        {"class_name": "function", "module": "builtins", "config": "exec", "registered_name": "function"},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}},
        {"class_name": "TFOpLambda", "config": {}},
        {"module": "subprocess", "config": {}},
        {"class_name": ["Lambda"], "config": {}},
    ],
)
def test_code_in_a_network_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(NetworkFileError, match="refused"):
        check_configuration({"class_name": "Functional", "config": {"layers": [part]}})


def test_a_lambda_file_is_refused_before_it_is_built(copied: Path) -> None:
    with h5py.File(copied / MODEL_FILE, "r+") as file:
        configuration = json.loads(file.attrs["model_config"])
        configuration["config"]["layers"][1]["class_name"] = "Lambda"
        file.attrs["model_config"] = json.dumps(configuration)
    edit_card(copied, sha256=sha256_of(copied / MODEL_FILE))
    with pytest.raises(VersionError, match="'Lambda'"):
        read_version(copied)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    with pytest.raises(NetworkFileError, match="weights without the network's layers"):
        check_network_file(tmp_path / "weights.h5")
