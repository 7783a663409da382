from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.__main__ import main
from model.datacheck import check_folder, width_auc
from model.dataset import DatasetError


def picture(seed: int, *, height: int = 72, width: int = 72) -> NDArray[np.uint8]:
    """A smooth picture of its own for each seed, unlike every other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve sound films of twelve patients in two splits."""
    seed = 0
    for split, first in (("train", 1), ("test", 11)):
        for number in range(first, first + 2):
            for name in (
                f"NORMAL/IM-{number:04}-0001.png",
                f"PNEUMONIA/person{number}_bacteria_{number}.png",
                f"PNEUMONIA/person{number}_virus_{number}.png",
            ):
                seed += 1
                save(picture(seed), tmp_path / split / name)
    return tmp_path


def test_a_sound_data_set(folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = check_folder(folder, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 12) for done in range(1, 13)]
    assert report.films == {"train": {"NORMAL": 2, "PNEUMONIA": 4}, "test": {"NORMAL": 2, "PNEUMONIA": 4}}
    assert report.patients == {"train": 6, "test": 6}
    assert report.subgroups["train"] == {"bacteria": 2, "normal": 2, "virus": 2}
    assert (report.unreadable, report.copies, report.shared_patients) == ((), (), ())
    assert report.sizes is not None
    assert (report.sizes.commonest, report.sizes.different, report.width_auc) == ((72, 72), 1, None)
    assert (report.problems, report.remarks, report.fit) == ((), (), True)
    assert report.as_text().endswith("\n\nFit for training and for measuring: nothing was found wrong.\n")
    assert "all 72 x 72" in report.as_text()


def test_unreadable_files_are_named_with_their_reason(folder: Path) -> None:
    (folder / "train/NORMAL/IM-0003-0001.png").write_bytes(b"")
    (folder / "test/PNEUMONIA/person12_virus_13.jpeg").write_text("patient,age")
    report = check_folder(folder)
    assert [each.file for each in report.unreadable] == [
        "train/NORMAL/IM-0003-0001.png",
        "test/PNEUMONIA/person12_virus_13.jpeg",
    ]
    assert "empty" in report.unreadable[0].message
    assert all(each.file in report.as_text() for each in report.unreadable)
    assert not report.fit
    assert "2 files cannot be read" in report.problems[0]
    assert report.copies == ()


def test_identical_files_in_one_split_are_only_a_remark(folder: Path) -> None:
    shutil.copy(folder / "train/NORMAL/IM-0001-0001.png", folder / "train/NORMAL/IM-0007-0001.png")
    report = check_folder(folder)
    (copies,) = report.copies
    assert copies.kind == "identical"
    assert copies.files == ("train/NORMAL/IM-0001-0001.png", "train/NORMAL/IM-0007-0001.png")
    assert copies.patients == ("IM-1", "IM-7")
    assert report.fit
    assert "1 group of identical films lies within one split" in report.remarks[0]
    assert "different patient numbers" in report.remarks[1]
    assert "with the remarks above" in report.verdict


def test_copies_across_splits_and_across_labels_are_problems(folder: Path) -> None:
    shutil.copy(folder / "train/NORMAL/IM-0001-0001.png", folder / "test/PNEUMONIA/person30_virus_1.png")
    report = check_folder(folder)
    (copies,) = report.copies
    assert copies.splits == ("train", "test")
    assert copies.labels == ("NORMAL", "PNEUMONIA")
    assert len(report.problems) == 2
    assert "LABELS DISAGREE" in report.as_text()
    assert report.as_text().endswith("mend the 2 problems named above, then check again.\n")


@pytest.mark.parametrize("change", ["recompressed", "resized", "brighter"])
def test_nearly_identical_films_are_found(folder: Path, change: str) -> None:
    pixels = picture(1)
    if change == "recompressed":
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=40)
        pixels = np.asarray(Image.open(stream))
    elif change == "resized":
        pixels = np.asarray(Image.fromarray(pixels).resize((144, 120), Image.Resampling.BICUBIC))
    else:
        pixels = np.clip(pixels * 0.9 + 12, 0, 255).astype(np.uint8)
    save(pixels, folder / "test/NORMAL/IM-0099-0001.png")
    report = check_folder(folder)
    (copies,) = report.copies
    assert copies.kind == "near-identical"
    assert copies.files == ("train/NORMAL/IM-0001-0001.png", "test/NORMAL/IM-0099-0001.png")
    assert 0.98 < copies.correlation <= 1
    assert "copies" in report.problems[0]


def test_films_alike_as_chests_are_alike_are_not_called_copies(folder: Path) -> None:
    for number in range(20, 30):
        mixed = 0.75 * picture(1) + 0.25 * picture(100 + number)
        save(mixed.astype(np.uint8), folder / f"train/NORMAL/IM-{number:04}-0001.png")
    assert check_folder(folder).copies == ()


def test_a_patient_in_two_splits(folder: Path) -> None:
    save(picture(70), folder / "test/PNEUMONIA/person1_virus_900.png")
    report = check_folder(folder)
    (shared,) = report.shared_patients
    assert (shared.patient, shared.splits, shared.films) == ("virus-1", ("train", "test"), 2)
    assert "1 patient has films in more than one split" in report.problems[0]
    assert "virus-1: 2 films in train, test" in report.as_text()


def test_one_number_in_two_series_is_two_patients(folder: Path) -> None:
    save(picture(71), folder / "test/NORMAL/NORMAL2-IM-0001-0001.png")
    assert check_folder(folder).shared_patients == ()


def test_names_without_numbers_are_patients_of_their_own(tmp_path: Path) -> None:
    for seed, name in enumerate(("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png")):
        save(picture(seed), tmp_path / name)
    report = check_folder(tmp_path)
    assert report.patients == {"all": 3}
    assert report.without_number == 3
    assert "no patient numbers" in report.remarks[0]
    assert report.subgroups == {"all": {"normal": 2, "pneumonia": 1}}
    save(picture(9), tmp_path / "PNEUMONIA/person4_virus_9.png")
    assert "3 names carry no patient number" in check_folder(tmp_path).remarks[0]


def test_sizes_that_give_the_label_away(folder: Path) -> None:
    for number in range(40, 50):
        save(picture(number, width=100), folder / f"train/NORMAL/IM-{number:04}-0001.png")
    report = check_folder(folder)
    assert report.sizes is not None
    assert (report.sizes.smallest, report.sizes.largest, report.sizes.different) == ((72, 72), (100, 72), 2)
    # 14 normals, of which 10 are wider than the 8 pneumonias and 4 are as wide: (10 + 4 / 2) / 14.
    assert report.width_auc == pytest.approx(12 / 14)
    assert "width alone" in report.remarks[-1]


def test_json_is_plain(folder: Path) -> None:
    report = json.loads(json.dumps(check_folder(folder).as_json()))
    assert report["fit"] is True
    assert report["films"]["train"]["PNEUMONIA"] == 4
    assert report["sizes"]["largest"] == [72, 72]
    assert report["verdict"].startswith("Fit")


def test_long_lists_are_cut_in_the_text_alone(folder: Path) -> None:
    for number in range(1, 14):
        for split, seed in (("train", 200), ("test", 300)):
            save(picture(seed + number), folder / split / f"NORMAL/NORMAL2-IM-{number:04}-0001.png")
    report = check_folder(folder)
    assert len(report.shared_patients) == 13
    assert "… and 3 more" in report.as_text()


def test_wrong_folders_are_refused_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder"):
        check_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="neither class folders"):
        check_folder(folder / "train" / "NORMAL")
    shutil.rmtree(folder / "test" / "NORMAL")
    with pytest.raises(DatasetError, match="has no folder NORMAL"):
        check_folder(folder)
    (folder / "test" / "NORMAL").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        check_folder(folder)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "report.json"
    assert main(["data", str(folder), "--json", str(written)]) == 0
    assert capsys.readouterr().out.endswith("nothing was found wrong.\n")
    assert json.loads(written.read_text(encoding="utf-8"))["fit"] is True
    (folder / "train/NORMAL/IM-0003-0001.png").write_bytes(b"")
    assert main(["data", str(folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fit"] is False
    assert main(["data", str(tmp_path / "nowhere")]) == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.slow
def test_the_public_data_set() -> None:
    data = os.environ.get("PNEUMOSCOPE_DATA")
    if not data:
        pytest.skip("PNEUMOSCOPE_DATA is not set")
    report = check_folder(Path(data))
    assert report.films == {
        "train": {"NORMAL": 1341, "PNEUMONIA": 3875},
        "test": {"NORMAL": 234, "PNEUMONIA": 390},
    }
    assert report.patients == {"train": 3654, "test": 428}
    assert report.shared_patients == ()
    assert [copies.kind for copies in report.copies] == ["identical"] * 30
    assert report.fit


def test_width_alone_may_tell_the_classes_apart() -> None:
    assert width_auc([0, 0, 1, 1], [900, 800, 700, 800]) == 3.5 / 4
    assert width_auc([0, 1, 1], [700, 700, 700]) is None
    assert width_auc([1, 1], [700, 800]) is None
