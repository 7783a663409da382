from __future__ import annotations

from pathlib import Path

import pytest

from model.dataset import (
    DatasetError,
    Film,
    fingerprint,
    hold_out,
    is_film,
    labels,
    patient_key,
    read_dataset,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def numbered(count: int) -> list[Film]:
    """``count`` patients in each of four series; every third patient has two films."""
    patterns = {
        "bacteria": "person{}_bacteria_{}.jpeg",
        "virus": "person{}_virus_{}.jpeg",
        "IM": "IM-{:04d}-000{}.jpeg",
        "NORMAL2-IM": "NORMAL2-IM-{:04d}-000{}.jpeg",
    }
    return [
        Film(
            Path(pattern.format(number, film)),
            "train",
            int(series in ("bacteria", "virus")),
            series,
            number,
            "",
        )
        for series, pattern in patterns.items()
        for number in range(1, count + 1)
        for film in range(1, 2 + (number % 3 == 0))
    ]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("person12_bacteria_34.jpeg", ("bacteria", 12)),
        ("person12_virus_34.jpeg", ("virus", 12)),
        ("person1372_virus_2365_1.jpeg", ("virus", 1372)),
        ("IM-0011-0001-0002.jpeg", ("IM", 11)),
        ("NORMAL2-IM-0011-0001.jpeg", ("NORMAL2-IM", 11)),
        ("chest.jpeg", None),
        ("person_bacteria_1.jpeg", None),
    ],
)
def test_patient_key_is_series_and_number(name: str, key: tuple[str, int] | None) -> None:
    assert patient_key(name) == key


def test_both_folder_shapes_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "a", "train/NORMAL/IM-0001-0001.jpeg", "train/PNEUMONIA/person1_virus_1.JPG")
    touch(tmp_path / "a", "test/NORMAL/IM-0002-0001.png", "test/PNEUMONIA/person1_bacteria_1.jpeg")
    split = read_dataset(tmp_path / "a")
    assert split.splits == ("train", "test")
    assert labels(split.split("train")).tolist() == [0, 1]
    assert [film.subgroup for film in split.films] == ["normal", "virus", "normal", "bacteria"]
    touch(
        tmp_path / "b", "NORMAL/x.png", "PNEUMONIA/deep/y.png", "PNEUMONIA/notes.txt", "PNEUMONIA/.hidden.png"
    )
    flat = read_dataset(tmp_path / "b")
    assert flat.splits == ("all",)
    assert [film.patient for film in flat.films] == ["film x.png", "film y.png"]
    assert flat.films[1].subgroup == "pneumonia"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "neither class folders"),
        (["photos/x.png"], "neither class folders"),
        (["train/NORMAL/x.png"], "no folder PNEUMONIA"),
        (["NORMAL/x.png", "PNEUMONIA/readme.txt"], "holds no image"),
    ],
)
def test_wrong_folders_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="There is no folder"):
        read_dataset(tmp_path / "missing")


@pytest.mark.parametrize("method", ["edges", "blocks", "patients"])
def test_no_patient_stands_on_both_sides(method: str) -> None:
    films = numbered(100)
    training, validation = hold_out(films, method=method, fraction=0.15, seed=3)  # type: ignore[arg-type]
    assert {film.patient for film in training}.isdisjoint(film.patient for film in validation)
    assert len(training) + len(validation) == len(films)
    assert len(validation) / len(films) == pytest.approx(0.15, abs=0.02)
    assert {film.split for film in validation} == {"validation"}


def test_blocks_are_contiguous_runs_in_each_series() -> None:
    for seed in range(20):
        _, validation = hold_out(numbered(100), seed=seed)
        for series in ("bacteria", "virus", "IM", "NORMAL2-IM"):
            numbers = {film.number for film in validation if film.series == series}
            assert max(numbers) - min(numbers) + 1 == len(numbers)


def test_edges_lie_outside_the_numbers_trained_on() -> None:
    training, validation = hold_out(numbered(100), method="edges", fraction=0.2)
    for series in ("bacteria", "virus", "IM", "NORMAL2-IM"):
        inside = [film.number for film in training if film.series == series]
        outside = [film.number for film in validation if film.series == series]
        assert not [number for number in outside if min(inside) <= number <= max(inside)]
        below = [number for number in outside if number < min(inside)]
        assert len(below) == pytest.approx(len(outside) / 2, abs=2)


def test_split_is_stored_by_its_seed() -> None:
    films = numbered(60)
    assert hold_out(films, seed=1) == hold_out(films, seed=1)
    assert hold_out(films, seed=1) != hold_out(films, seed=2)


def test_random_films_keep_the_class_ratio() -> None:
    _, validation = hold_out(numbered(100), method="films", fraction=0.2)
    assert labels(validation).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", ["edges", "blocks", "patients"])
def test_a_series_of_both_classes_has_both_on_both_sides(method: str) -> None:
    """The department's own cases: patients by number, of either class or of both, the ill ones all came last."""
    films = [
        Film(Path(f"patient{number:05d}_{letter}.png"), "train", int(ill), "patient", number, "")
        for number in range(40)
        for letter, ill in (("A", number >= 30), ("B", number >= 30 or number == 3))
    ]
    training, validation = hold_out(films, method=method)  # type: ignore[arg-type]
    assert {film.label for film in training} == {film.label for film in validation} == {0, 1}
    assert not {film.patient for film in training} & {film.patient for film in validation}


def test_a_whole_series_can_be_held_out() -> None:
    training, validation = hold_out(numbered(40), series="NORMAL2-IM")
    assert "NORMAL2-IM" not in {film.series for film in training}
    assert {"NORMAL2-IM", "bacteria"} <= {film.series for film in validation}
    with pytest.raises(DatasetError, match="no series X; the names hold IM, NORMAL2-IM"):
        hold_out(numbered(40), series="X")


def test_too_few_films_for_two_sides_are_refused() -> None:
    with pytest.raises(DatasetError, match="lack a class"):
        hold_out([film for film in numbered(1) if film.series in ("IM", "virus")])
    with pytest.raises(DatasetError, match="between 0 and 1"):
        hold_out(numbered(10), fraction=1.5)


def test_films_are_known_by_their_ending_or_as_dicom_without_one(tmp_path: Path) -> None:
    dicom = bytes(128) + b"DICM"
    bare = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"  # as older machines write it, without the 128 bytes before
    named = {"a.PNG": b"", "b.dcm": b"", "c.DICOM": b"", "IM1": dicom, "1.2.840.113619.2": dicom, "IM2": bare}
    others = {"README": b"text", "DICOMDIR": dicom, "short": b"DICM", "d.txt": dicom, ".hidden.dcm": dicom}
    for name, content in (named | others).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    assert {path.name for path in tmp_path.iterdir() if is_film(path)} == set(named)


def test_labelled_folders_may_hold_dicom(tmp_path: Path) -> None:
    touch(tmp_path, "NORMAL/a.dcm", "PNEUMONIA/person1_virus_1.DICOM")
    (tmp_path / "PNEUMONIA" / "IM000001").write_bytes(bytes(128) + b"DICM")
    films = read_dataset(tmp_path).films
    assert {(film.path.name, film.label, film.subgroup) for film in films} == {
        ("a.dcm", 0, "normal"),
        ("person1_virus_1.DICOM", 1, "virus"),
        ("IM000001", 1, "pneumonia"),
    }


def test_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    touch(tmp_path, "NORMAL/x.png", "PNEUMONIA/y.png")
    dataset = read_dataset(tmp_path)
    before = fingerprint(dataset.films, tmp_path)
    assert before == fingerprint(reversed(dataset.films), tmp_path)
    (tmp_path / "NORMAL/x.png").write_bytes(b"other")
    assert fingerprint(dataset.films, tmp_path) != before


@pytest.mark.data
def test_public_set_has_its_published_counts(data_folder: Path) -> None:
    dataset = read_dataset(data_folder)
    training, test = dataset.split("train"), dataset.split("test")
    assert [int((labels(part) == label).sum()) for part in (training, test) for label in (0, 1)] == [
        1341,
        3875,
        234,
        390,
    ]
    patients = {film.patient for film in training}, {film.patient for film in test}
    assert [len(part) for part in patients] == [3654, 428]
    assert patients[0].isdisjoint(patients[1])
