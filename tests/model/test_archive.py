"""A ZIP from outside: what a good one gives, and a clear sentence for each kind of bad one."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model import archive
from model.archive import ArchiveError, contents, unpack
from model.dataset import read_dataset
from model.scoring import ScoringCancelled

GOOD = {"NORMAL/a.png": b"one", "PNEUMONIA/person1_virus_1.jpeg": b"two"}


def packed(files: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive_:
        for name, data in files.items():
            archive_.writestr(name, data)
    return target


@pytest.mark.parametrize(
    "prefix", ["", "films/", "a/b/films/", "test/", "films/test/", "./"], ids=lambda text: text or "bare"
)
def test_a_good_zip_gives_a_folder_that_can_be_read(prefix: str, tmp_path: Path) -> None:
    source = packed({prefix + name: data for name, data in GOOD.items()})
    split = "test" if "test" in prefix else "all"
    assert contents(source).counts == {split: {"NORMAL": 1, "PNEUMONIA": 1}}
    done: list[tuple[int, int]] = []
    found = unpack(source, tmp_path, progress=lambda *step: done.append(step))
    assert found.damaged == ()
    assert done == [(0, 2), (1, 2)]
    films = read_dataset(found.folder).films
    assert [film.path.read_bytes() for film in films] == [b"one", b"two"]
    assert {film.split for film in films} == {split}
    assert films[1].patient == "virus-1"


def test_lower_case_folders_and_backslashes_are_understood(tmp_path: Path) -> None:
    source = packed({"films\\Test\\normal\\a.PNG": b"1", "films\\Test\\Pneumonia\\deep\\b.jpg": b"2"})
    assert contents(source).splits == ("test",)
    films = read_dataset(unpack(source, tmp_path).folder).films
    assert [film.class_name for film in films] == ["NORMAL", "PNEUMONIA"]


def test_junk_and_other_files_stay_inside(tmp_path: Path) -> None:
    junk = {
        "__MACOSX/NORMAL/._a.png": b"junk",
        "NORMAL/.DS_Store": b"junk",
        "NORMAL/.hidden.png": b"junk",
        "PNEUMONIA/Thumbs.db": b"junk",
        "NORMAL/report.pdf": b"letter",
        "elsewhere.png": b"no class",
    }
    source = packed({**GOOD, **junk})
    assert contents(source).others == 2
    folder = unpack(source, tmp_path).folder
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == sorted(GOOD)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_dicom_without_an_ending_is_found_by_its_content(tmp_path: Path, compression: int) -> None:
    dicom = bytes(128) + b"DICM" + bytes(500)
    files = {
        "NORMAL/IM000001": dicom,
        "PNEUMONIA/1.2.840.113619.2": dicom,
        "NORMAL/README": b"text",
        "NORMAL/DICOMDIR": dicom,
        "IM000002": dicom,
    }
    source = packed(files, compression=compression)
    assert contents(source).counts == {"all": {"NORMAL": 1, "PNEUMONIA": 1}}
    assert contents(source).others == 3
    films = read_dataset(unpack(source, tmp_path).folder).films
    assert [film.path.name for film in films] == ["IM000001", "1.2.840.113619.2"]
    assert films[0].path.read_bytes() == dicom


def link() -> io.BytesIO:
    target = packed(GOOD)
    with zipfile.ZipFile(target, "a") as archive_:
        entry = zipfile.ZipInfo("NORMAL/passwd.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive_.writestr(entry, "/etc/passwd")
    return target


def encrypted() -> io.BytesIO:
    """The flag of encryption set in every header."""
    data = bytearray(packed(GOOD).getvalue())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(signature)
        while position >= 0:
            data[position + place] |= 1
            position = data.find(signature, position + 4)
    return io.BytesIO(bytes(data))


def huge_table() -> io.BytesIO:
    """An end record that claims a table of contents of 3 GB."""
    data = bytearray(packed(GOOD).getvalue())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 3 * 2**30)
    return io.BytesIO(bytes(data))


BAD: dict[str, tuple[Callable[[], io.BytesIO], str]] = {
    "empty": (lambda: io.BytesIO(b""), "no ZIP"),
    "text": (lambda: io.BytesIO(b"Dear colleague" * 100), "no ZIP"),
    "cut short": (lambda: io.BytesIO(packed(GOOD).getvalue()[:60]), "cut short"),
    "cut at the front": (lambda: io.BytesIO(packed(GOOD).getvalue()[-60:]), "damaged or cut short|no films"),
    "huge table": (huge_table, "more than 50,000 files"),
    "no class folders": (lambda: packed({"a.png": b"1", "b/c.png": b"2"}), "no films in folders NORMAL"),
    "one class": (lambda: packed({"NORMAL/a.png": b"1"}), "no film in a folder PNEUMONIA"),
    "one class of a split": (
        lambda: packed({**{f"test/{name}": b"1" for name in GOOD}, "train/NORMAL/a.png": b"1"}),
        "folder train .* PNEUMONIA",
    ),
    "two folders of films": (
        lambda: packed({f"{place}/{name}": b"1" for place in "ab" for name in GOOD}),
        "several folders of films",
    ),
    "upwards": (lambda: packed({**GOOD, "../NORMAL/evil.png": b"1"}), "leads out of its folder"),
    "upwards inside": (lambda: packed({**GOOD, "NORMAL/../../evil.png": b"1"}), "leads out of its folder"),
    "upwards with backslashes": (lambda: packed({**GOOD, "NORMAL\\..\\..\\evil.png": b"1"}), "leads out"),
    "absolute": (lambda: packed({**GOOD, "/tmp/NORMAL/evil.png": b"1"}), "leads out of its folder"),
    "drive": (lambda: packed({**GOOD, "C:/NORMAL/evil.png": b"1"}), "leads out of its folder"),
    "link": (link, "link or a device"),
    "encrypted": (encrypted, "encrypted"),
    "bomb": (
        lambda: packed({**GOOD, "NORMAL/bomb.png": bytes(20 * 2**20)}, compression=zipfile.ZIP_DEFLATED),
        "far more than films",
    ),
    "one huge entry": (
        lambda: packed({**GOOD, "NORMAL/huge.png": bytes(65 * 2**20)}, compression=zipfile.ZIP_DEFLATED),
        "65 MB, and at most 64 MB",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_zip_is_refused_with_one_sentence_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    build, expected = BAD[name]
    for read in (contents, lambda source: unpack(source, tmp_path / "inside")):
        (tmp_path / "inside").mkdir(exist_ok=True)
        with pytest.raises(ArchiveError, match=expected) as caught:
            read(build())
        assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAXIMUM_FILES", 1)
    with pytest.raises(ArchiveError, match="more than 1 files"):
        contents(packed(GOOD))


def test_too_much_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAXIMUM_TOTAL", 5)
    with pytest.raises(ArchiveError, match="would unpack to"):
        contents(packed(GOOD))


def test_a_size_that_is_a_lie_does_not_get_past(tmp_path: Path) -> None:
    """The table of contents says 3 bytes, a megabyte comes out: no more than said is ever written."""
    source = packed({**GOOD, "NORMAL/lie.png": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(source.getvalue())
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        position = data.find(signature)
        while position >= 0:
            if data[position + place : position + place + 4] == struct.pack("<I", 2**20):
                data[position + place : position + place + 4] = struct.pack("<I", 3)
            position = data.find(signature, position + 4)
    found = unpack(io.BytesIO(bytes(data)), tmp_path)
    assert [each.file for each in found.damaged] == ["NORMAL/lie.png"]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == 6


def test_one_damaged_film_does_not_stop_the_rest(tmp_path: Path) -> None:
    data = packed({**GOOD, "NORMAL/z.png": b"precious"}).getvalue().replace(b"precious", b"pre-ious")
    found = unpack(io.BytesIO(data), tmp_path)
    assert [(each.file, "damaged inside the ZIP" in each.reason) for each in found.damaged] == [
        ("NORMAL/z.png", True)
    ]
    assert len(read_dataset(found.folder).films) == 2


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_of_one_name_the_first_is_read(tmp_path: Path) -> None:
    source = packed(GOOD)
    with zipfile.ZipFile(source, "a") as archive_:
        archive_.writestr("NORMAL/a.png", b"another")
    found = unpack(source, tmp_path)
    assert "several files of this name" in found.damaged[0].reason
    assert (found.folder / "NORMAL" / "a.png").read_bytes() == b"one"


def test_a_name_too_long_for_a_file_is_listed(tmp_path: Path) -> None:
    found = unpack(packed({**GOOD, f"NORMAL/{'x' * 300}.png": b"1"}), tmp_path)
    assert "under this name" in found.damaged[0].reason


def test_unpacking_can_be_stopped(tmp_path: Path) -> None:
    with pytest.raises(ScoringCancelled):
        unpack(packed(GOOD), tmp_path, cancelled=lambda: True)
