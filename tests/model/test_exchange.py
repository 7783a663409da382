"""A version goes out as a ZIP and comes in again whole; what else is in a ZIP does not."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.exchange import export_version, import_version
from model.importing import ImportingError
from model.registry import (
    CARD_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    REPORTS,
    Version,
    VersionError,
    history,
    read_version,
    write_report,
)


def passes(version: Version) -> None:
    """A check that finds nothing wrong."""


@pytest.fixture
def packed(tiny_version: Version, tmp_path: Path) -> Path:
    export_version(tiny_version, tmp_path / "tiny.zip")
    return tmp_path / "tiny.zip"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def take(packed: Path, site: Path, *, name: str = "", check: Callable[[Version], None] = passes) -> Version:
    return import_version(packed, site, check=check, name=name, who="Dr A", reason="from there", roots=[site])


def rewrite(packed: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """The same ZIP with other contents."""
    with zipfile.ZipFile(packed) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    change(files)
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_out_and_in_again(tiny_version: Version, packed: Path, site: Path) -> None:
    tried: list[str] = []
    version = take(packed, site, check=lambda version: tried.append(version.name))
    assert tried == [tiny_version.name]
    assert version.folder == site / tiny_version.name
    assert version.model_file.read_bytes() == tiny_version.model_file.read_bytes()
    assert version.history().equals(tiny_version.history())
    for split in ("validation", "test"):
        ours, theirs = version.predictions(split), tiny_version.predictions(split)
        assert ours.files == theirs.files
        assert np.array_equal(ours.probabilities, theirs.probabilities)
    notes = version.card.notes
    assert notes[:-1] == tiny_version.card.notes and "figures are those it came with" in notes[-1]
    assert version.card.model_copy(update={"notes": ()}) == tiny_version.card.model_copy(update={"notes": ()})
    assert [(each.action, each.to, each.reason) for each in history(site)] == [
        ("import", version.name, "from there")
    ]
    assert sorted(path.name for path in site.iterdir()) == ["log.jsonl", tiny_version.name]


def test_reports_and_features_go_along(tiny_version: Version, tmp_path: Path, site: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "with")
    version = read_version(tmp_path / "with", verify=False)
    report = {"created": "2026-05-01", "command": "python -m model audit", "films": 3, "split": "test"}
    for name in REPORTS:
        write_report(version, name, report | {"name": name})
    (version.folder / FEATURES_FILE).write_bytes(b"features")
    export_version(version, tmp_path / "with.zip")
    taken = take(tmp_path / "with.zip", site, name="second")
    for name in REPORTS:
        found = taken.report(name)
        assert found is not None and found == version.report(name) and found["name"] == name
    assert (taken.folder / FEATURES_FILE).read_bytes() == b"features"

    (version.folder / "domain.json").write_text("{}")
    export_version(version, tmp_path / "damaged.zip")
    with pytest.raises(VersionError, match="domain report of version third is damaged"):
        take(tmp_path / "damaged.zip", site, name="third")
    assert not (site / "third").exists()


def test_another_name_where_its_own_is_taken(tiny_version: Version, packed: Path, site: Path) -> None:
    take(packed, site)
    with pytest.raises(ImportingError, match="a version tiny-2026-01 already"):
        take(packed, site)
    version = take(packed, site, name="second")
    assert version.name == "second" and "the ZIP of version tiny-2026-01" in version.card.notes[-1]


def test_a_zip_packed_by_hand_without_its_folder(tiny_version: Version, tmp_path: Path, site: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "hand")
    (tmp_path / "hand" / ".DS_Store").write_bytes(b"x")
    made = shutil.make_archive(str(tmp_path / "hand"), "zip", tmp_path / "hand")
    assert take(Path(made), site).name == tiny_version.name


def card(files: dict[str, bytes], **changes: object) -> None:
    name = next(name for name in files if name.endswith(CARD_FILE))
    files[name] = json.dumps(json.loads(files[name]) | changes).encode()


def edited(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], None]:
    return lambda packed: rewrite(packed, change)


def with_entry(name: str, *, mode: int = stat.S_IFREG | 0o644, data: bytes = b"x") -> Callable[[Path], None]:
    def add(packed: Path) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr(entry, data)

    return add


def flip(packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[2000] ^= 0xFF  # inside the first file, the network
    packed.write_bytes(bytes(data))


def lying_size(packed: Path) -> None:
    """A card of 200 MB of spaces that says it has a few bytes."""
    rewrite(packed, lambda files: files.pop("tiny-2026-01/card.json"))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("tiny-2026-01/card.json", b" " * (200 * 2**20), zipfile.ZIP_DEFLATED)
        size = archive.getinfo("tiny-2026-01/card.json").file_size
    data = packed.read_bytes()
    packed.write_bytes(data.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little")))


MODEL = f"tiny-2026-01/{MODEL_FILE}"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no ZIP": (lambda packed: packed.write_bytes(b"x" * 100), "no ZIP"),
    "cut short": (lambda packed: packed.write_bytes(packed.read_bytes()[:-200]), "cut short"),
    "traversal": (with_entry("tiny-2026-01/../../evil"), "leads out of its folder"),
    "an absolute name": (with_entry("/etc/evil"), "leads out of its folder"),
    "a drive": (with_entry("C:\\evil"), "leads out of its folder"),
    "a link": (with_entry("tiny-2026-01/history.csv2", mode=stat.S_IFLNK | 0o777), "a link"),
    "a program": (with_entry("tiny-2026-01/setup.py"), "no part of a version"),
    "a stray table": (with_entry("tiny-2026-01/predictions/a b.csv"), "no part of a version"),
    "two versions": (with_entry("other/predictions/other.csv"), "several folders"),
    "a file twice": (with_entry(f"./{MODEL}"), "twice"),
    "no network": (edited(lambda files: files.pop(MODEL)), "holds no model.h5"),
    "no card": (edited(lambda files: files.pop("tiny-2026-01/card.json")), "holds no card.json"),
    "a damaged network": (flip, "damaged inside the ZIP"),
    "a bomb": (with_entry("tiny-2026-01/predictions/x.csv", data=b" " * (65 * 2**20)), "too large"),
    "a bomb that lies": (lying_size, "damaged inside the ZIP|more than it says"),
    "a damaged card": (edited(lambda files: card(files, calibration=None)), "see calibration"),
    "an evil name": (edited(lambda files: card(files, name="../../evil")), "see name"),
    "another network": (
        edited(lambda files: files.update({MODEL: files[MODEL] + b"\0"})),
        "checksum differs",
    ),
    "damaged predictions": (
        edited(lambda files: files.update({"tiny-2026-01/predictions/test.csv": b"file,patient\n"})),
        "test predictions in the ZIP are damaged",
    ),
    "samples that are no numbers": (edited(lambda files: card(files, samples={"a": "x"})), "see samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing_behind(packed: Path, site: Path, name: str) -> None:
    change, expected = REFUSED[name]
    change(packed)
    with pytest.raises((ImportingError, VersionError), match=expected) as caught:
        take(packed, site)
    assert "\n" not in str(caught.value)
    assert list(site.iterdir()) == []
    assert not (site.parent / "evil").exists()


def test_what_fails_the_smoke_test_is_not_taken_in(packed: Path, site: Path) -> None:
    def fails(version: Version) -> None:
        raise VersionError("It failed its smoke test.")

    with pytest.raises(VersionError, match="failed its smoke test"):
        take(packed, site, check=fails)
    assert list(site.iterdir()) == []


def test_only_the_files_of_a_version_go_out(tiny_version: Version, tmp_path: Path, site: Path) -> None:
    folder = Path(shutil.copytree(tiny_version.folder, tmp_path / "copy"))
    (folder / "notes.txt").write_text("about a patient")
    export_version(read_version(folder), tmp_path / "copy.zip")
    assert "copy/notes.txt" not in zipfile.ZipFile(tmp_path / "copy.zip").namelist()
    take(tmp_path / "copy.zip", site)
