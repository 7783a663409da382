"""A ZIP of films becomes a registered set, or nothing; and goes when it is deleted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import jobs
from model.archive import ArchiveError
from model.dataset import read_dataset
from tests.model.test_jobs import as_if
from utils import data_sets, uploads
from utils.settings import Settings
from utils.uploads import UploadError


def png(seed: int) -> bytes:
    target = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(target, format="PNG")
    return target.getvalue()


def zipped(**files: bytes) -> io.BytesIO:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/") + ".png", data)
    target.seek(0)
    return target


def good() -> io.BytesIO:
    return zipped(ward__NORMAL__one=png(1), ward__NORMAL__two=png(2), ward__PNEUMONIA__three=png(3))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    upload = uploads.latest()
    if upload is not None:
        upload.cancel()
        upload.wait(60)


def kept(home: Path, name: str = "ward-3") -> Path:
    upload = uploads.keep(home, name=name, who="Dr A", source="ward.zip", archive=good())
    upload.wait(60)
    assert upload.phase == "done", upload.message
    assert upload.folder is not None
    return upload.folder


def test_a_zip_becomes_a_registered_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PNEUMOSCOPE_DATA", "PNEUMOSCOPE_DATA_FULL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    folder = kept(home)
    assert folder == home / "data" / "ward-3"
    assert len(read_dataset(folder).films) == 3
    facts = uploads.facts_of(folder)
    assert facts is not None
    assert (facts.who, facts.source, facts.damaged) == ("Dr A", "ward.zip", ())
    (place,) = data_sets.registered(Settings(home=home))
    assert place.label == "ward-3 (uploaded)"
    assert place.folder == folder
    assert [each.name for each in (home / "data").iterdir()] == ["ward-3"]


def test_a_damaged_film_is_named(home: Path) -> None:
    archive = good()
    data = bytearray(archive.getvalue())
    start = data.find(png(2))
    data[start + 20] ^= 0xFF
    upload = uploads.keep(home, name="ward-3", who="Dr A", source="ward.zip", archive=io.BytesIO(bytes(data)))
    upload.wait(60)
    assert upload.folder is not None
    facts = uploads.facts_of(upload.folder)
    assert facts is not None
    assert facts.damaged == (("NORMAL/two.png", "It is damaged inside the ZIP; pack it again."),)


@pytest.mark.parametrize(
    ("name", "who", "words"),
    [("../up", "Dr A", "a name"), ("", "Dr A", "a name"), ("ward-3", " ", "Say who")],
)
def test_what_is_not_said_rightly_is_asked_for(home: Path, name: str, who: str, words: str) -> None:
    with pytest.raises(UploadError, match=words):
        uploads.keep(home, name=name, who=who, source="ward.zip", archive=good())
    assert uploads.uploaded_sets(home) == ()


def test_a_zip_that_leads_out_of_its_folder_leaves_nothing(home: Path) -> None:
    with pytest.raises(ArchiveError, match="leads out"):
        uploads.keep(
            home, name="bad", who="Dr A", source="bad.zip", archive=zipped(**{"..__..__NORMAL__a": png(1)})
        )
    assert not list(home.rglob("*.png"))


def test_a_name_is_used_once(home: Path) -> None:
    kept(home)
    with pytest.raises(UploadError, match="already"):
        uploads.keep(home, name="ward-3", who="Dr A", source="ward.zip", archive=good())


def test_a_disk_too_full_is_said_before(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LEAST_FREE", 2**60)
    with pytest.raises(UploadError, match="make room"):
        uploads.keep(home, name="ward-3", who="Dr A", source="ward.zip", archive=good())


def test_a_set_is_deleted_unless_a_run_needs_it(home: Path) -> None:
    folder = kept(home)
    home_jobs = as_if(home, "queued")
    order = home_jobs.folder / "job.json"
    order.write_text(order.read_text().replace("/films", str(folder)))
    with pytest.raises(UploadError, match="training run needs"):
        uploads.delete_set(home, "ward-3")
    jobs.cancel(home, home_jobs.id, "discard")
    uploads.delete_set(home, "ward-3")
    assert uploads.uploaded_sets(home) == ()
    assert not folder.exists()
    with pytest.raises(UploadError, match="no uploaded set"):
        uploads.delete_set(home, "../jobs")
