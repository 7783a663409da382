"""Cases with verdicts become a set of films: patients together, no copies, nothing of a test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from model.dataset import hold_out, read_dataset
from tests.cases import add_cases, picture, pseudonym
from utils import data_sets, film_store, uploads, verdict_set
from utils.cases import delete
from utils.database import snapshot
from utils.permissions import LOCAL, Forbidden, Person, Role
from utils.settings import get_settings
from utils.tables import AuditLine
from utils.uploads import Upload, UploadError
from utils.verdict_set import VerdictSetError

N, P = "NORMAL", "PNEUMONIA"


@pytest.fixture
def home(department_database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PNEUMOSCOPE_FILM_KEY", film_store.make_key())
    for name in ("PNEUMOSCOPE_DATA", "PNEUMOSCOPE_DATA_FULL_SIZE"):
        monkeypatch.delenv(name, raising=False)  # registered sets, whose test splits would be looked through
    return get_settings().home


def cases(normal: int, pneumonia: int, **columns: Any) -> list[dict[str, Any]]:
    """Cases with kept films, NORMAL and PNEUMONIA in turn as long as there are both; two films a patient."""
    verdicts = sorted([(place, N) for place in range(normal)] + [(place, P) for place in range(pneumonia)])
    return [
        {"verdict": verdict, "pixels": picture(seed), "patient": f"child-{seed // 2}", **columns}
        for seed, (_, verdict) in enumerate(verdicts)
    ]


def made(home: Path, name: str = "verdicts", **options: Any) -> Upload:
    upload = verdict_set.make(home, name=name, who=LOCAL, **options)
    upload.wait(60)
    return upload


def kept(upload: Upload) -> dict[str, Path]:
    """Files of the cases by pseudonym."""
    assert upload.phase == "done", upload.message
    assert upload.folder is not None
    return {file.stem.partition("_")[2]: file for file in upload.folder.glob("train/*/patient*")}


def write(folder: Path, pixels: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{len(list(folder.iterdir()))}.png")


def test_cases_with_a_verdict_become_a_set_by_patient_without_copies(home: Path, tmp_path: Path) -> None:
    official = tmp_path / "official"
    for seed in (900, 901):
        write(official / "train" / (N, P)[seed % 2], picture(seed))
    write(official / "test" / N, picture(6, side=224))  # what case 7 shows, in another size
    write(official / "test" / P, picture(902))
    films = cases(14, 14)
    same = films[10]["pixels"]
    films += [
        {"verdict": films[10]["verdict"], "pixels": same, "patient": "another-name"},  # 29, a copy of 11
        {"verdict": N, "pixels": picture(903), "patient": "another-name"},  # 30, so of the patient of 11
        {"verdict": N, "pixels": picture(904)},  # 31 and 32 disagree
        {"verdict": P, "pixels": picture(904)},
        {"verdict": P, "pixels": picture(901)},  # 33: the official set has it, too
        {"verdict": "CANNOT TELL", "pixels": picture(905)},
        {"verdict": N, "pixels": picture(906), "probability": None, "refusal": "no film"},
        {"verdict": N},  # its film was not kept
        {"pixels": picture(907)},  # nobody has looked at it yet
    ]
    add_cases(*films)

    found = verdict_set.available()
    assert (found.films, found.patients, found.without_patient) == ({N: 17, P: 16}, 18, 3)
    assert (found.without_film, found.refused, found.cannot_tell) == (1, 1, 1)

    upload = made(home, tests=[official, tmp_path / "none"])
    files = kept(upload)
    assert set(files) == {pseudonym(each) for each in (*range(1, 29), 30, 33)} - {pseudonym(7)}
    assert np.array_equal(np.asarray(Image.open(files[pseudonym(1)])), picture(0))
    assert files[pseudonym(1)].parent.name == films[0]["verdict"]
    assert upload.folder is not None
    assert (upload.folder.stat().st_mode & 0o077, files[pseudonym(1)].stat().st_mode & 0o077) == (0, 0)

    dataset = read_dataset(upload.folder)
    assert dataset.splits == ("train",)
    patients = {film.path.stem.partition("_")[2]: film.patient for film in dataset.films}
    assert patients[pseudonym(1)] == patients[pseudonym(2)] == "patient-1"
    assert patients[pseudonym(11)] == patients[pseudonym(12)] == patients[pseudonym(30)]
    assert len(set(patients.values())) == 15
    for method in ("edges", "blocks", "patients"):
        training, validation = hold_out(dataset.films, method=method)
        assert not {film.patient for film in training} & {film.patient for film in validation}

    facts = uploads.facts_of(upload.folder)
    assert facts is not None and facts.source == verdict_set.SOURCE and facts.who == LOCAL.title
    assert " ".join(facts.remarks) == (
        "1 film was left out as copies of others. 2 films were left out because copies of them have another verdict "
        "or label. 1 film was left out because they are in a test split."
    )
    assert [place.folder for place in data_sets.registered(get_settings())] == [upload.folder]
    with snapshot() as session:
        line = session.scalars(select(AuditLine).where(AuditLine.event == "export")).one()
        assert (line.subject, line.after) == ("set of films verdicts", {N: 14, P: 15, "with": ""})

    # A case that goes takes its film along, and what a killed server left goes too; films of a ZIP stay.
    left = home / "data" / ".unpacking-999999999-x"
    write(left / "train" / N, picture(1))
    write(home / "data" / "zip" / "train" / N, picture(1))
    (home / "data" / "zip" / "train" / N / "0.png").rename(
        home / "data" / "zip" / "train" / N / "patient1_A.png"
    )
    delete(pseudonym(3), who=LOCAL)
    assert not files[pseudonym(3)].exists() and files[pseudonym(4)].exists()
    assert not left.exists()
    assert len(read_dataset(home / "data" / "zip", both_classes=False).films) == 1
    uploads.delete_set(home, "zip")

    both = made(home, "both", tests=[official], with_set=official)
    assert both.folder is not None and both.phase == "done", both.message
    assert pseudonym(33) not in kept(both)  # the official set has it
    dataset = read_dataset(both.folder)
    official_set = read_dataset(official)
    assert [each.path.resolve() for each in dataset.split("test")] == [
        each.path.resolve() for each in official_set.split("test")
    ]
    assert len(dataset.split("train")) == len(kept(both)) + 2

    for name in ("verdicts", "both"):
        uploads.delete_set(home, name)
    assert list((home / "data").iterdir()) == []
    assert len(read_dataset(official).films) == 4  # only the links went


def test_too_little_for_a_set_is_said_in_a_sentence(home: Path) -> None:
    with pytest.raises(VerdictSetError, match="No case has the verdict NORMAL or PNEUMONIA yet"):
        made(home)
    add_cases(*cases(0, 12))
    with pytest.raises(VerdictSetError, match="All 12 films have the verdict PNEUMONIA"):
        made(home)
    assert verdict_set.problem(verdict_set.available(), alone=False) == ""
    with pytest.raises(UploadError, match="Give the set a name"):
        made(home, "../out")
    with pytest.raises(Forbidden):
        verdict_set.make(home, name="x", who=Person("clara", "Clara", frozenset({Role.CLINICIAN})))


def test_few_cases_and_films_that_were_not_kept(home: Path) -> None:
    add_cases({"verdict": N}, {"verdict": P})
    assert "2 cases have a verdict, but no film is kept" in verdict_set.problem(verdict_set.available())


def test_a_set_that_shrinks_below_the_least_is_not_kept(home: Path) -> None:
    films = cases(10, 10)
    films[0]["pixels"] = films[2]["pixels"]
    add_cases(*films)
    upload = made(home)
    assert upload.phase == "failed"
    assert upload.message.startswith(
        "There are 9 films of NORMAL and 10 of PNEUMONIA, and 10 of each are needed"
    )
    assert list((home / "data").iterdir()) == []
