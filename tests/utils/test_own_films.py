"""Own films from a folder or a ZIP to a kept set: nothing is lost, nothing half, nothing personal in the log."""

from __future__ import annotations

import io
import json
import logging
import threading
import zipfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.calibration import Calibration
from model.dataset import DatasetError, fingerprint, read_dataset
from model.inference import Predictor
from model.registry import Card, Version
from model.scoring import ScoringCancelled, score_folder
from utils import own_films
from utils.department import Policy, adopt, recalibrated
from utils.own_films import Job, OwnFilmsError, delete_set, free_name, list_sets, read_set, start

BAD = "PNEUMONIA/MUELLER_Hans_person3_virus_9.jpeg"


def picture(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    pixels = np.linspace(20, 220, 260)[None, :] + random.normal(0, 12, (240, 260))
    target = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target, format="PNG")
    return target.getvalue()


def films() -> dict[str, bytes]:
    good = {f"NORMAL/IM-{number:04d}-0001.png": picture(number) for number in range(3)}
    good |= {f"PNEUMONIA/siemens/person{number}_virus_1.png": picture(10 + number) for number in range(2)}
    return good | {BAD: picture(20)[:400]}


@pytest.fixture(scope="module")
def predictor(tiny_version: Version, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(tiny_version, cache=tmp_path_factory.mktemp("cache"), engine="keras")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    for name, data in films().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def ready(predictor: Predictor) -> Future[Predictor]:
    future: Future[Predictor] = Future()
    future.set_result(predictor)
    return future


def scored(home: Path, folder: Path, version: Version, predictor: Predictor, name: str = "Ward 3") -> Job:
    job = start(
        home,
        name=name,
        who="Dr A",
        version=version,
        predictor=ready(predictor),
        folder=folder,
        source=str(folder),
    )
    job.wait(120)
    return job


def left_over(home: Path) -> list[str]:
    return [path.name for path in own_films.sets_folder(home).iterdir() if path.name.startswith(".")]


def test_a_folder_becomes_a_set_and_the_bad_file_is_listed(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = scored(home, folder, tiny_version, predictor)
    assert (job.phase, job.message, job.done, job.total) == ("done", "", 6, 6)
    (kept,) = list_sets(home)
    assert (kept.name, kept.who, kept.source) == ("Ward 3", "Dr A", str(folder))
    assert (kept.version, kept.sha256) == (tiny_version.name, tiny_version.card.sha256)
    assert kept.films == folder
    assert kept.counts == {"NORMAL": 3, "PNEUMONIA": 2}
    assert kept.created.utcoffset() is not None
    assert [each.file for each in kept.unreadable] == [BAD]
    assert kept.unreadable[0].reason.endswith(".")
    found = kept.predictions()
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.patients[-1] == "virus-1"
    assert all((folder / name).is_file() for name in found.files)
    images = [(folder / name).read_bytes() for name in found.files]
    assert len(images) == 5
    table = kept.table()
    assert list(table["folder"]) == ["", "", "", "siemens", "siemens"]
    assert kept.fingerprint == fingerprint(read_dataset(folder).films, folder)
    assert "MUELLER" not in caplog.text and "person" not in caplog.text
    assert left_over(home) == []


def test_scoring_again_gives_the_same_to_the_last_bit(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    name = free_name(home, "Ward 3")
    assert name == "Ward 3 (2)"
    scored(home, folder, tiny_version, predictor, name)
    second, first = list_sets(home)
    assert free_name(home, name) == "Ward 3 (3)"
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.predictions().probabilities, second.predictions().probabilities)
    delete_set(home, "Ward 3")
    delete_set(home, "Ward 3")
    assert [kept.name for kept in list_sets(home)] == [name]
    assert left_over(home) == []


def test_a_zip_gives_the_same_and_leaves_no_film_behind(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in films().items():
            archive.writestr(f"ward/{name}", data)
    job = start(
        home,
        name="zipped",
        who="Dr A",
        version=tiny_version,
        predictor=ready(predictor),
        archive=target.getvalue(),
        source="ward.zip",
    )
    job.wait(120)
    assert job.phase == "done", job.message
    zipped, plain = read_set(home, "zipped"), read_set(home, "Ward 3")
    assert zipped.films is None
    assert zipped.source == "ward.zip"
    assert zipped.fingerprint == plain.fingerprint
    assert [each.file for each in zipped.unreadable] == [BAD]
    assert np.array_equal(zipped.predictions().probabilities, plain.predictions().probabilities)
    assert left_over(home) == []
    assert not [path for path in home.rglob("*") if path.suffix in (".png", ".jpeg")]


class Waiting:
    """A network that reads a batch only when it is let, to stop a job in the middle for certain."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.reading = threading.Event()
        self.go_on = threading.Event()

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.reading.set()
        assert self.go_on.wait(60)
        return np.full(len(images), 0.5)


def test_cancelled_in_the_middle_nothing_is_kept_and_one_job_runs_at_a_time(
    home: Path, folder: Path, tiny_version: Version
) -> None:
    for number in range(20):
        (folder / "NORMAL" / f"more-{number}.png").write_bytes(picture(number))
    network = Waiting(tiny_version.card)
    future: Future[Any] = Future()
    future.set_result(network)

    def begin(name: str) -> Job:
        return start(
            home, name=name, who="Dr A", version=tiny_version, predictor=future, folder=folder, source="x"
        )

    job = begin("one")
    assert network.reading.wait(60)
    assert own_films.latest_job() is job and job.running
    with pytest.raises(OwnFilmsError, match="The set one is being scored"):
        begin("two")
    job.cancel()
    assert job.cancelling
    network.go_on.set()
    job.wait(60)
    assert job.phase == "cancelled"
    assert list_sets(home) == ()
    assert left_over(home) == [] if own_films.sets_folder(home).exists() else True


def test_a_network_that_is_never_loaded_can_be_cancelled(
    home: Path, folder: Path, tiny_version: Version
) -> None:
    job = start(
        home, name="one", who="Dr A", version=tiny_version, predictor=Future(), folder=folder, source="x"
    )
    job.cancel()
    job.wait(60)
    assert job.phase == "cancelled"


def test_a_network_that_fails_to_load_is_said(home: Path, folder: Path, tiny_version: Version) -> None:
    future: Future[Predictor] = Future()
    future.set_exception(RuntimeError("no memory"))
    job = start(
        home, name="one", who="Dr A", version=tiny_version, predictor=future, folder=folder, source="x"
    )
    job.wait(60)
    assert job.phase == "failed"
    assert job.message == "The network could not be loaded."


def test_a_folder_without_a_readable_film_fails_with_a_sentence(
    home: Path, tmp_path: Path, tiny_version: Version, predictor: Predictor
) -> None:
    for name in ("NORMAL/a.png", "PNEUMONIA/b.png"):
        (tmp_path / "bad" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(b"Dear colleague")
    job = scored(home, tmp_path / "bad", tiny_version, predictor)
    assert job.phase == "failed"
    assert job.message.startswith("None of the 2 films could be read. The first says:")
    assert list_sets(home) == ()


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "x" * 61, "-a", "a\nb", "a."])
def test_names_that_are_none(name: str, home: Path, folder: Path, tiny_version: Version) -> None:
    with pytest.raises(OwnFilmsError, match="another name"):
        start(
            home, name=name, who="Dr A", version=tiny_version, predictor=Future(), folder=folder, source="x"
        )
    with pytest.raises(OwnFilmsError, match="another name"):
        read_set(home, name)
    assert not home.exists()


def test_a_taken_name_and_a_nameless_user_are_refused(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    with pytest.raises(OwnFilmsError, match="called Ward 3 already"):
        scored(home, folder, tiny_version, predictor)
    with pytest.raises(OwnFilmsError, match="Say who"):
        start(home, name="b", who=" ", version=tiny_version, predictor=Future(), folder=folder, source="x")


def test_a_half_written_or_damaged_set_is_never_listed(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    root = own_films.sets_folder(home)
    for name in (".writing-1-abc", ".scoring-999999999-abc"):
        (root / name).mkdir()
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    (root / "broken" / "set.json").write_text("{")
    assert [kept.name for kept in list_sets(home)] == ["Ward 3"]
    own_films.sweep(home)
    assert left_over(home) == [".writing-1-abc"]  # process 1 lives: it may be writing
    with pytest.raises(OwnFilmsError, match="is damaged"):
        read_set(home, "broken")
    with pytest.raises(OwnFilmsError, match="no evaluated set"):
        read_set(home, "empty")
    (root / "Ward 3" / "predictions.csv").write_text("file,patient\n")
    with pytest.raises(OwnFilmsError, match="are damaged"):
        read_set(home, "Ward 3").predictions()
    (root / "Ward 3" / "predictions.csv").unlink()
    with pytest.raises(OwnFilmsError, match="no predictions any more"):
        read_set(home, "Ward 3").predictions()


def test_probabilities_follow_the_departments_calibration(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    kept = read_set(home, "Ward 3")
    before = kept.predictions().probabilities
    site = Calibration(method="Platt", slope=2.0, intercept=-1.0, fitted_on="films")
    adopt(
        home,
        Policy(
            version=tiny_version.name,
            sha256=tiny_version.card.sha256,
            threshold=0.5,
            calibration=site,
            who="Dr A",
            when=kept.created,
        ),
    )
    assert np.array_equal(kept.predictions().probabilities, recalibrated(before, site))
    assert np.array_equal(kept.stored_table()["probability"].to_numpy(), before)


def test_films_that_went_away_are_said_to_be(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    folder.rename(folder.with_name("moved"))
    assert read_set(home, "Ward 3").films is None


def test_what_is_kept_holds_nothing_but_what_it_says(
    home: Path, folder: Path, tiny_version: Version, predictor: Predictor
) -> None:
    scored(home, folder, tiny_version, predictor)
    kept = own_films.sets_folder(home) / "Ward 3"
    assert sorted(path.name for path in kept.iterdir()) == ["predictions.csv", "set.json"]
    facts = json.loads((kept / "set.json").read_text())
    assert set(facts) == {
        "created", "who", "source", "version", "sha256", "split", "films", "fingerprint", "counts", "unreadable",
    }  # fmt: skip


def test_one_part_of_a_folder_alone(tmp_path: Path, predictor: Predictor) -> None:
    for split in ("train", "test"):
        for name, data in films().items():
            (tmp_path / split / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / split / name).write_bytes(data)
    part = score_folder(tmp_path, predictor, split="test")
    assert set(part.extra["split"]) == {"test"} and len(part.predictions.files) == 5
    assert len(score_folder(tmp_path, predictor).predictions.files) == 10
    with pytest.raises(DatasetError, match="no folder val; it has: train, test"):
        score_folder(tmp_path, predictor, split="val")
    with pytest.raises(ScoringCancelled):
        score_folder(tmp_path, predictor, cancelled=lambda: True)
