"""The audit takes away what it says, tells a network that reads letters from one that reads lungs, and keeps it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from model.__main__ import main
from model.audit import (
    CHANGE,
    CHANGES,
    FILLS,
    FULL,
    LUNGS_OUT,
    TARGET,
    Audit,
    View,
    _donors,
    as_text,
    audit,
    blotted,
    border_mask,
    in_words,
    marks,
    read_audit,
    same_histogram,
    variants,
    verdict,
)
from model.dataset import DatasetError
from model.evaluation import Interval
from model.films import prepare, read_xray
from model.lungs import Lungs, find_lungs, hull
from model.registry import Card, Predictions, Version, read_version, write_predictions
from model.samples import sample_files

SAMPLES = sample_files()


def film_of(file: Path) -> np.ndarray:
    return np.ascontiguousarray(prepare(read_xray(file.read_bytes()).pixels)[:, :, 0])


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    return film_of(SAMPLES[0])


@pytest.fixture(scope="module")
def lungs(film: np.ndarray) -> Lungs:
    return find_lungs(film)


def lettered(film: np.ndarray, words: str = "R", *, size: int = 20) -> np.ndarray:
    """The film with a bright letter in its upper left corner."""
    picture = Image.fromarray(film)
    ImageDraw.Draw(picture).text((8, 6), words, fill=250, font=ImageFont.load_default(size))
    return np.asarray(picture)


# ---------------------------------------------------------------- what is done to the films


def test_every_change_paints_what_it_says_in_both_fills(film: np.ndarray, lungs: Lungs) -> None:
    found = {(key, fill): changed for key, fill, changed in variants(film, lungs)}
    assert next(iter(found)) == (FULL, "") and np.array_equal(found[FULL, ""], film)
    where = {
        LUNGS_OUT: lungs.with_edge,
        "chest-out": hull(lungs.with_edge),
        "lungs-only": ~lungs.with_edge,
        "borders-out": border_mask((224, 224)),
    }
    for key, mask in where.items():
        for fill, level in zip(FILLS, (0, round(film[~mask].mean())), strict=True):
            assert (found[key, fill][mask] == level).all()
            assert np.array_equal(found[key, fill][~mask], film[~mask])
    assert {key for key, _ in found} == {change.key for change in CHANGES}
    assert all(each.shape == film.shape and each.dtype == np.uint8 for each in found.values())
    assert set(np.unique(found["outline", ""])) == {60, 200}


def test_the_border_is_an_eighth_on_each_side() -> None:
    mask = border_mask((80, 160))
    assert not mask[10:70, 20:140].any() and mask.sum() == 80 * 160 - 60 * 120


def test_cropping_leaves_the_lungs_and_little_else(film: np.ndarray, lungs: Lungs) -> None:
    cropped = CHANGE["cropped"].apply(film, lungs, "")
    again = find_lungs(cropped)
    rows, columns = (np.flatnonzero(again.mask.any(axis=axis)) for axis in (1, 0))
    assert rows[0] < 45 and rows[-1] > 180 and columns[0] < 45 and columns[-1] > 180


def test_one_histogram_for_all_exposures(film: np.ndarray) -> None:
    usual = same_histogram(film)
    assert usual.mean() == pytest.approx(128, abs=4) and usual.std() == pytest.approx(56, abs=5)
    brighter = (film // 2 + 90).astype(np.uint8)
    dimmer = (film // 2 + 10).astype(np.uint8)
    assert np.array_equal(same_histogram(brighter), same_histogram(dimmer))
    order = np.argsort(film, axis=None, kind="stable")
    assert (np.diff(usual.ravel()[order].astype(int)) >= 0).all()
    assert np.unique(same_histogram(np.full((20, 20), 7, np.uint8))).size == 1


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_letters_are_found_and_blotted_out(file: Path) -> None:
    film = film_of(file)
    lungs = find_lungs(film)
    assert marks(film, lungs).mean() < 0.01  # synthetic films bear none
    with_letters = lettered(film, "R A-P")
    letters = with_letters != film
    found = marks(with_letters, lungs)
    assert found[letters].mean() > 0.9
    clean = blotted(with_letters, found)
    assert np.array_equal(clean[~found], with_letters[~found])
    before, after = (np.abs(each.astype(int) - film)[letters].mean() for each in (with_letters, clean))
    assert after < 0.25 * before


def test_what_lies_in_a_lung_is_no_letter(film: np.ndarray, lungs: Lungs) -> None:
    inside = np.argwhere(lungs.mask)
    y, x = inside[len(inside) // 2]
    marked = film.copy()
    marked[y - 4 : y + 4, x - 4 : x + 4] = 255
    assert not marks(marked, lungs)[y - 4 : y + 4, x - 4 : x + 4].any()


def test_blotting_a_whole_film_has_no_surroundings(film: np.ndarray) -> None:
    assert (blotted(film, np.ones_like(film, dtype=np.bool_)) == 0).all()
    assert np.array_equal(blotted(film, np.zeros_like(film, dtype=np.bool_)), film)


# ---------------------------------------------------------------- the audit


def squashed(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(values, dtype=np.float64) / 20))


@dataclass
class LetterReader:
    """A network that cheats: it reads the corner where the letter stands."""

    card: Card

    def predict(self, images: np.ndarray) -> np.ndarray:
        corner = images[:, 6:30, 6:30, 0].astype(np.float64)
        return squashed((corner > np.median(corner, axis=(1, 2), keepdims=True) + 100).sum(axis=(1, 2)) - 20)


@dataclass
class LungReader:
    """A network that looks where the lung on the left of the picture lies."""

    card: Card

    def predict(self, images: np.ndarray) -> np.ndarray:
        return squashed(
            images[:, 90:130, 55:80, 0].mean(axis=(1, 2)) - images[:, :, 112, 0].mean(axis=1) + 40
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 films of each class: those of pneumonia have a brighter lung, and a letter in the corner."""
    folder = tmp_path_factory.mktemp("data")
    base = film_of(SAMPLES[0])
    mask = find_lungs(base).mask
    soft = np.asarray(Image.fromarray(mask).convert("L").resize((224, 224)), np.float32) / 255
    random = np.random.default_rng(5)
    for number in range(12):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            film = base + soft * (random.normal(10 + 45 * label, 14)) + random.normal(0, 3)
            pixels = np.clip(film, 0, 240).astype(np.uint8)
            file = f"person{number}_virus_1.png" if label else f"IM-{number:04d}-0001.png"
            path = folder / "test" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(lettered(pixels) if label else pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def cheater(data: Path, tiny_version: Version) -> Audit:
    return audit(data, tiny_version, LetterReader(tiny_version.card))


def by_key(found: Audit, key: str) -> list[View]:
    return [view for view in found.views if view.key == key]


def test_a_reader_of_letters_is_found_out(cheater: Audit) -> None:
    assert (cheater.films, cheater.normal, cheater.pneumonia, cheater.left_out) == (24, 12, 12, 0)
    assert cheater.views[0].key == FULL and cheater.views[0].auc == 1
    for view in (*by_key(cheater, LUNGS_OUT), *by_key(cheater, "chest-out")):
        assert view.auc == 1 and view.difference == 0
    for view in (
        *by_key(cheater, "borders-out"),
        *by_key(cheater, "markers"),
        *by_key(cheater, "lungs-only"),
    ):
        assert view.auc < 0.85, view
    assert not verdict(cheater.views).reached
    assert cheater.masks.marks == 12
    assert "NOT REACHED" in as_text(cheater)


def test_a_reader_of_lungs_passes(data: Path, tiny_version: Version) -> None:
    seen: list[tuple[int, int]] = []
    found = audit(
        data, tiny_version, LungReader(tiny_version.card), progress=lambda done, of: seen.append((done, of))
    )
    assert found.views[0].auc > 0.85
    for view in by_key(found, LUNGS_OUT):
        assert view.difference > TARGET
    for view in by_key(found, "markers"):
        assert view.difference == pytest.approx(0, abs=0.01)
    assert verdict(found.views).reached
    assert found.masks.from_film + found.masks.from_atlas == 24
    assert set(found.masks.stability) == {"shift", "zoom", "exposure", "mirror", "opacity"}
    assert seen[0] == (0, 24) and seen[-1] == (24, 24)


def test_with_the_lungs_of_others_a_reader_of_letters_follows_the_letters(
    cheater: Audit, data: Path, tiny_version: Version
) -> None:
    letters = cheater.exchange
    lungs = audit(data, tiny_version, LungReader(tiny_version.card)).exchange
    assert letters is not None and lungs is not None
    assert letters.films == lungs.films == cheater.masks.from_film
    assert letters.surroundings == 1 and letters.lungs < 0.8
    assert lungs.lungs > 0.85 and lungs.surroundings < 0.8
    assert re.search(r"label of the surroundings +1\.000", as_text(cheater))


@pytest.mark.parametrize(("normal", "films"), [(202, 788), (3, 10), (1, 2)])
def test_lungs_are_exchanged_so_that_one_label_tells_nothing_of_the_other(normal: int, films: int) -> None:
    truth = (np.arange(films) >= normal).astype(np.int64)
    donors = _donors(truth)
    assert sorted(donors) == list(range(films)), "each film's lungs are given once"
    assert (donors != np.arange(films)).all(), "and to another film"
    if films > 100:
        assert abs(np.corrcoef(truth, truth[donors])[0, 1]) < 0.01


def test_films_of_one_size_say_so(cheater: Audit) -> None:
    assert cheater.size is None and "cannot be measured" in cheater.size_words
    assert cheater.all_views == cheater.views


def test_the_width_alone_is_measured_where_it_differs(
    data: Path, tiny_version: Version, tmp_path: Path
) -> None:
    folder = tmp_path / "sizes"
    shutil.copytree(data, folder)
    for number, path in enumerate(sorted((folder / "test" / "NORMAL").iterdir())):
        Image.open(path).resize((300 + number, 224)).save(path)
    found = audit(folder, tiny_version, LetterReader(tiny_version.card), most=12)
    assert found.films == 12
    assert found.size is not None and found.size.auc == 1
    assert "films of normal are wider" in found.size_words
    assert found.all_views[-1].key == "size"


def test_what_cannot_be_read_is_told_and_left_out(data: Path, tiny_version: Version, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(data, folder)
    (folder / "test" / "NORMAL" / "IM-0000-0001.png").write_bytes(b"nothing")
    told: list[str] = []
    found = audit(
        folder,
        tiny_version,
        LetterReader(tiny_version.card),
        unreadable=lambda path, reason: told.append(path.name),
    )
    assert found.left_out == 1 and found.films == 23 and told == ["IM-0000-0001.png"]
    for path in (folder / "test" / "NORMAL").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="both classes"):
        audit(folder, tiny_version, LetterReader(tiny_version.card))


def test_validation_films_are_those_of_the_version(data: Path, tiny_version: Version, tmp_path: Path) -> None:
    shutil.copytree(tiny_version.folder, tmp_path / "version")
    shutil.copytree(data / "test", tmp_path / "data" / "train")
    names = ["NORMAL/IM-0001-0001.png", "NORMAL/IM-0002-0001.png", "PNEUMONIA/person3_virus_1.png"]
    files = tuple(f"train/{name}" for name in names)
    films = Predictions(files, ("a", "b", "c"), np.array([0, 0, 1]), ("", "", ""), np.array([0.1, 0.2, 0.9]))
    write_predictions(tmp_path / "version" / "predictions" / "validation.csv", films)
    version = read_version(tmp_path / "version", verify=False)
    reader = LetterReader(version.card)
    found = audit(tmp_path / "data", version, reader, split="validation")
    assert (found.normal, found.pneumonia) == (2, 1)
    (tmp_path / "data" / files[2]).unlink()
    with pytest.raises(DatasetError, match="2 of the 3 films"):
        audit(tmp_path / "data", version, reader, split="validation")
    with pytest.raises(DatasetError, match="it has: train.*'validation' takes"):
        audit(tmp_path / "data", version, reader)


# ---------------------------------------------------------------- kept and told


def test_a_report_comes_back(cheater: Audit) -> None:
    report = json.loads(json.dumps(cheater.as_json(command="python -m model audit"), allow_nan=False))
    assert {"created", "command", "films", "split", "target"} <= set(report)
    assert read_audit(report) == cheater


@pytest.mark.parametrize(
    "change",
    [
        {"views": []},
        {"views": None},
        {"masks": {}},
        {"films": "many"},
        {"split": 3},
        {"views": [{"key": FULL}]},
    ],
)
def test_a_report_of_something_else_has_one_sentence(cheater: Audit, change: dict[str, object]) -> None:
    report = cheater.as_json(command="python -m model audit") | change
    with pytest.raises(ValueError, match="run it again"):
        read_audit(report)


def test_a_report_with_a_change_of_tomorrow_is_refused(cheater: Audit) -> None:
    report = replace(cheater, views=(*cheater.views, replace(cheater.views[1], key="upside-down"))).as_json(
        command="python -m model audit"
    )
    with pytest.raises(ValueError, match="run it again"):
        read_audit(report)


def view(key: str, auc: float, *, less: float = 0.0, half: float = 0.02, fill: str = "") -> View:
    around = Interval(auc - half, min(auc + half, 1.0))
    return View(key, fill, auc, around, less, Interval(less - half, less + half), 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("black", "mean", "reached", "words"),
    [
        (0.4, 0.3, True, "0.300 (in mean grey) to 0.400 (in black)"),
        (0.05, 0.1, False, "0.050 (in black)"),
        (0.1, 0.3, False, "hangs on the paint"),
        (0.16, 0.3, True, "reaches below"),
    ],
)
def test_the_verdict_takes_the_smaller_fall(black: float, mean: float, reached: bool, words: str) -> None:
    views = [
        view(FULL, 0.98),
        view(LUNGS_OUT, 0.98 - black, less=black, fill="black"),
        view(LUNGS_OUT, 0.98 - mean, less=mean, fill="mean"),
    ]
    found = verdict(views)
    assert found.reached is reached and words in found.words
    with pytest.raises(ValueError, match="without lungs"):
        verdict(views[:1])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (view(LUNGS_OUT, 0.51), "No better than chance."),
        (view(LUNGS_OUT, 0.65), "Tells the classes apart a little."),
        (view(LUNGS_OUT, 0.2), "Clearly tells the classes apart, the wrong way round."),
        (view("size", 0.9), "Tells the classes apart well."),
        (view("markers", 0.97, less=0.01), "No difference that these films show."),
        (view("markers", 0.97, less=0.005, half=0.001), "All but the same as on full films."),
        (view("markers", 0.9, less=0.08), "Clearly lower than on full films."),
        (view("markers", 0.7, less=0.28), "Far lower than on full films."),
        (view("markers", 0.99, less=-0.05), "Better than on full films."),
    ],
)
def test_figures_in_words(given: View, expected: str) -> None:
    assert in_words(given) == expected


def test_the_command_writes_the_report_of_the_version(
    data: Path,
    tiny_version: Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    monkeypatch.setenv("PNEUMOSCOPE_ENGINE", "keras")
    out = tmp_path / "audit.json"
    assert main(["audit", str(data), "--films", "4", "--json", str(out)]) == 0
    assert read_version(folder, verify=False).report("audit") is None
    assert main(["audit", str(data), "--films", "4", "--json", str(out), "--write"]) == 0
    report = read_version(folder, verify=False).report("audit")
    assert report is not None and report["films"] == 4 and report["split"] == "test"
    wanted = f"python -m model audit DATA_DIR --version {tiny_version.name} --split test --films 4 --write"
    assert report["command"] == wanted and str(data) not in json.dumps(report)
    assert json.loads(out.read_text())["views"] == report["views"]
    printed = capsys.readouterr().out
    assert "Lungs painted over, black" in printed and "REACHED" in printed
    assert main(["audit", str(data), "--split", "val"]) == 1
    assert "it has: test" in capsys.readouterr().err
