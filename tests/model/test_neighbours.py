"""Films that are alike: found as plain comparison finds them, kept with the version, refused where they do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import __main__ as command_line
from model.inference import Predictor
from model.neighbours import (
    INDEX_FILE,
    NEAREST,
    Part,
    PooledFilms,
    Reference,
    reduced,
    write_features,
    write_index,
)
from model.neighbours_commands import parts_of, pooled_films
from model.registry import FEATURES_FILE, Version, VersionError, read_version, write_predictions


def made_up(count: int = 400, channels: int = 24, *, seed: int = 0) -> PooledFilms:
    """Films of two classes in features of different spread; every fifth validates, every tenth tests."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    spread = np.geomspace(5, 0.05, channels)
    pooled = random.normal(size=(count, channels)) * spread + labels[:, None] * spread
    parts: list[Part] = [
        "test" if number % 10 == 9 else "validation" if number % 5 == 0 else "training"
        for number in range(count)
    ]
    return PooledFilms(
        files=tuple(f"train/film-{number}.jpeg" for number in range(count)),
        labels=labels.astype(np.int64),
        subgroups=tuple("virus" if label else "normal" for label in labels),
        parts=tuple(parts),
        pooled=pooled.astype(np.float32),
    )


def compared(films: PooledFilms, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mahalanobis distances to the training films by the textbook, and their indices in ``films``, both in order."""
    training = np.array([part == "training" for part in films.parts])
    known = films.pooled[training].astype(np.float64)
    inverse = np.linalg.inv(np.cov(known.T, bias=True))
    apart = known - wanted
    distances = np.sqrt(np.einsum("nc,cd,nd->n", apart, inverse, apart))
    order = np.argsort(distances)
    return distances[order], np.flatnonzero(training)[order]


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path) -> Version:
    folder = tmp_path / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    return read_version(folder)


def test_the_nearest_are_those_of_plain_comparison() -> None:
    films = made_up()
    reference = reduced(films)  # all 24 axes are kept
    for index in range(0, 40, 5):
        distances, order = compared(films, films.pooled[index])
        found = reference.nearest(films.pooled[index], k=7)
        assert [neighbour.file for neighbour in found] == [films.files[each] for each in order[:7]]
        np.testing.assert_allclose([each.distance for each in found], distances[:7], rtol=0.02, atol=0.02)
        assert [each.label for each in found] == films.labels[order[:7]].tolist()
        assert {each.subgroup for each in found} <= {"virus", "normal"}


def test_only_training_films_are_found() -> None:
    films = made_up()
    reference = reduced(films)
    training = {name for name, part in zip(films.files, films.parts, strict=True) if part == "training"}
    assert len(reference) == len(training)
    for pooled in films.pooled[:20]:
        assert {each.file for each in reference.nearest(pooled)} <= training
    index = films.parts.index("training")
    itself, second = reference.nearest(films.pooled[index], k=2)
    assert itself.file == films.files[index]
    assert itself.distance < 0.05 < second.distance


def test_few_films_give_few_neighbours() -> None:
    films = made_up(6)
    reference = reduced(films)
    assert len(reference.nearest(films.pooled[0], k=10)) == len(reference) == 4
    assert np.isfinite(reference.distance(films.pooled)).all()
    alone = reduced(made_up(2))
    assert len(alone.nearest(films.pooled[0])) == 1


def test_distance_is_the_mean_of_the_nearest_and_grows_away_from_the_films() -> None:
    films = made_up()
    reference = reduced(films, axes=8)
    found = [
        np.mean([each.distance for each in reference.nearest(pooled, NEAREST)])
        for pooled in films.pooled[:30]
    ]
    # float32 products of thirty films at once and of one are rounded differently, as the processor has it.
    np.testing.assert_allclose(reference.distance(films.pooled[:30]), found, rtol=1e-5)
    assert reference.distance(films.pooled[:3]).dtype == np.float64
    # Also off the axes that are kept: along a direction in which the training films hardly differ.
    off = films.pooled[:5].copy()
    off[:, -1] += 50
    assert (reference.distance(off) > 3 * reference.distance(films.pooled).max()).all()
    far = np.full((1, 24), 1e9, np.float32)
    assert np.isfinite(reference.distance(far)).all()
    assert reference.distance(far)[0] > reference.distance(off).max()


def test_what_is_said_of_a_part_is_what_its_films_give() -> None:
    films = made_up()
    reference = reduced(films)
    validation = reference.of("validation")
    np.testing.assert_allclose(
        reference.distances("validation"), reference.distance(films.pooled[validation]), rtol=0.02
    )
    counts = [sum(each.label for each in reference.nearest(films.pooled[index])) for index in validation]
    assert (
        np.mean(reference.pneumonias("validation") != counts) < 0.05
    )  # float16 may exchange two that are as near
    assert reference.prevalence == films.labels[reference.of("training")].mean()


def test_films_of_another_network_are_refused() -> None:
    reference = reduced(made_up())
    with pytest.raises(ValueError, match="24 channels"):
        reference.nearest(np.zeros(512, np.float32))
    with pytest.raises(ValueError, match="24 channels"):
        reference.distance(np.zeros((3, 512), np.float32))


def test_no_training_film_is_no_reference() -> None:
    films = made_up(10)
    with pytest.raises(ValueError, match="no training film"):
        reduced(PooledFilms(films.files, films.labels, films.subgroups, ("validation",) * 10, films.pooled))


def test_channels_that_never_differ_do_no_harm() -> None:
    films = made_up()
    still = np.concatenate([films.pooled, np.zeros((400, 8), np.float32)], axis=1)
    reference = reduced(PooledFilms(films.files, films.labels, films.subgroups, films.parts, still))
    assert np.isfinite(reference.distance(still)).all()
    same = np.ones_like(films.pooled)
    reference = reduced(PooledFilms(films.files, films.labels, films.subgroups, films.parts, same))
    assert reference.distance(same).max() == 0


def test_what_is_written_is_what_is_read(version: Version) -> None:
    assert Reference.load(version) is None
    films = made_up()
    reference = reduced(films)
    write_features(version.folder / FEATURES_FILE, reference, sha256=version.card.sha256)
    read = Reference.load(version)
    assert read is not None
    assert read.files == films.files
    assert read.subgroups == films.subgroups
    assert read.channels == 24
    for pooled in films.pooled[:10]:
        assert read.nearest(pooled) == reference.nearest(pooled)
    assert not [path for path in version.folder.iterdir() if path.name.startswith(".")]


def test_features_of_another_network_are_named(version: Version) -> None:
    write_features(version.folder / FEATURES_FILE, reduced(made_up()), sha256="0" * 64)
    with pytest.raises(VersionError, match="another network"):
        Reference.load(version)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "missing", "short", "nan", "labels"])
def test_damaged_features_are_named(version: Version, damage: str) -> None:
    file = version.folder / FEATURES_FILE
    write_features(file, reduced(made_up()), sha256=version.card.sha256)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "text":
        file.write_text("no archive", encoding="utf-8")
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        with np.load(file) as stored:
            values = {name: stored[name] for name in stored.files}
        if damage == "missing":
            del values["coordinates"]
        elif damage == "short":
            values["coordinates"] = values["coordinates"][:-1]
        elif damage == "nan":
            values["coordinates"][3] = np.nan
        else:
            values["labels"][0] = 7
        np.savez(file, allow_pickle=False, **values)
    with pytest.raises(VersionError, match="damaged"):
        Reference.load(version)


def test_an_index_finds_what_comparison_finds(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch", reason="needs usearch: pip install -r requirements-index.txt")
    films = made_up(4000)
    reference = reduced(films)
    write_features(version.folder / FEATURES_FILE, reference, sha256=version.card.sha256)
    assert not write_index(version.folder / INDEX_FILE, reference)  # too few films to be worth it
    assert write_index(version.folder / INDEX_FILE, reference, least=1000)
    indexed = Reference.load(version)
    assert indexed is not None
    assert indexed._index is not None
    wanted = made_up(100, seed=9).pooled
    same = [
        len(
            {each.file for each in indexed.nearest(pooled)}
            & {each.file for each in reference.nearest(pooled)}
        )
        for pooled in wanted
    ]
    assert np.mean(same) > 9.9
    # The index is approximate and built by several threads: which film it misses now and then is chance.
    apart = np.abs(indexed.distance(wanted) / reference.distance(wanted) - 1)
    assert (apart < 0.01).mean() >= 0.95 and apart.max() < 0.1


def test_an_index_of_other_films_is_left_alone(version: Version) -> None:
    pytest.importorskip("usearch", reason="needs usearch: pip install -r requirements-index.txt")
    write_index(version.folder / INDEX_FILE, reduced(made_up(300, seed=1)), least=1)
    write_features(version.folder / FEATURES_FILE, reduced(made_up(300)), sha256=version.card.sha256)
    read = Reference.load(version)
    assert read is not None
    assert read._index is None
    (version.folder / INDEX_FILE).write_bytes(b"no index")
    assert Reference.load(version) is not None


def write_films(root: Path, names: dict[str, list[str]]) -> None:
    random = np.random.default_rng(0)
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for name in files:
            Image.fromarray(random.integers(0, 256, (40, 40), dtype=np.uint8)).save(root / folder / name)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    write_films(
        root,
        {
            "train/NORMAL": [f"IM-{number:04d}-0001.png" for number in range(4)],
            "train/PNEUMONIA": [f"person{number}_virus_1.png" for number in range(4)],
            "val/NORMAL": ["IM-0900-0001.png"],
            "val/PNEUMONIA": ["person900_virus_1.png"],
            "test/NORMAL": ["IM-0500-0001.png"],
            "test/PNEUMONIA": ["person500_bacteria_1.png"],
        },
    )
    return root


def hold(version: Version, split: str, files: list[str]) -> None:
    stored = version.predictions("validation")
    write_predictions(
        version.folder / "predictions" / f"{split}.csv",
        type(stored)(
            files=tuple(files),
            patients=stored.patients[: len(files)],
            labels=stored.labels[: len(files)],
            subgroups=stored.subgroups[: len(files)],
            probabilities=stored.probabilities[: len(files)],
        ),
    )


def test_what_was_held_out_is_not_taken_for_trained_on(version: Version, films: Path) -> None:
    hold(version, "validation", ["train/NORMAL/IM-0001-0001.png", "train/PNEUMONIA/person2_virus_1.png"])
    hold(version, "held-out", ["train/NORMAL/IM-0003-0001.png"])
    parts = {film.path.relative_to(films).as_posix(): part for film, part in parts_of(films, version)}
    assert parts["train/NORMAL/IM-0001-0001.png"] == "validation"
    assert parts["train/PNEUMONIA/person2_virus_1.png"] == "validation"
    assert parts["train/NORMAL/IM-0000-0001.png"] == "training"
    assert parts["test/NORMAL/IM-0500-0001.png"] == "test"
    assert "train/NORMAL/IM-0003-0001.png" not in parts
    assert not any(name.startswith("val/") for name in parts)


def test_the_command_writes_them_beside_the_model(
    version: Version,
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    hold(version, "validation", ["train/NORMAL/IM-0001-0001.png"])
    assert command_line.main(["features", str(films), "--version", str(version.folder)]) == 0
    reference = Reference.load(version)
    assert reference is not None
    assert len(reference) == 7
    assert len(reference.of("test")) == 2
    broken = films / "train" / "NORMAL" / "IM-0002-0001.png"
    broken.write_bytes(b"no film")
    assert command_line.main(["features", str(films), "--version", str(version.folder)]) == 1
    assert "IM-0002-0001.png" in capsys.readouterr().err
    again = Reference.load(version)
    assert again is not None
    assert len(again) == 6
    assert command_line.main(["features", str(tmp_path / "nowhere"), "--version", str(version.folder)]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_a_film_is_nearest_to_itself(version: Version, films: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(version, cache=tmp_path / "cache")
    pooled, unreadable = pooled_films(films, version, predictor)
    assert not unreadable
    reference = reduced(pooled)
    for index in reference.of("training"):
        assert reference.nearest(pooled.pooled[index])[0].file == pooled.files[index]


def test_the_released_version_comes_with_its_films() -> None:
    from model.registry import find_version, version_in_use

    version = find_version(version_in_use().name)
    reference = Reference.load(version)
    assert reference is not None
    assert len(reference) == sum(version.card.data["counts"]["training"].values())
    validation = version.predictions("validation")
    assert {reference.files[index] for index in reference.of("validation")} == set(validation.files)
    assert reference.labels[reference.of("validation")].sum() == validation.labels.sum()
    assert (version.folder / FEATURES_FILE).stat().st_size < 2 * 2**20
