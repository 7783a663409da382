from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.dataset import DatasetError
from model.films import read_xray
from model.quality import remarks
from model.samples import make_samples, sample_files


def folder_of_films(root: Path, *, per_class: int = 14) -> Path:
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[0:64, 0:64]
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for number in range(per_class):
            waves = np.sin(rows / random.uniform(5, 20)) + np.cos(columns / random.uniform(5, 20))
            film = np.clip(110 + 40 * label + 30 * waves + random.normal(0, 3, (64, 64)), 0, 255)
            Image.fromarray(film.astype(np.uint8)).save(folder / f"film-{number}.png")
    return root


def test_the_samples_that_ship_are_ordinary_films() -> None:
    files = sample_files()
    assert len(files) == 6
    assert sum(file.stat().st_size for file in files) < 600_000
    for file in files:
        assert file.name.startswith("synthetic-")
        film = read_xray(file.read_bytes())
        assert film.source.format == "PNG"
        assert 224 <= min(film.pixels.shape) <= max(film.pixels.shape) <= 512
        assert remarks(film) == ()
        with Image.open(file) as image:
            assert image.info["Description"].startswith("SYNTHETIC")


def test_make_samples_is_repeatable_and_keeps_away_from_real_films(tmp_path: Path) -> None:
    data = folder_of_films(tmp_path / "data")
    first = make_samples(data, tmp_path / "first", per_class=2, components=8)
    second = make_samples(data, tmp_path / "second", per_class=2, components=8)
    names = ["synthetic-normal-1", "synthetic-normal-2", "synthetic-pneumonia-1", "synthetic-pneumonia-2"]
    assert [sample.file.stem for sample in first] == names
    assert [sample.label for sample in first] == ["NORMAL"] * 2 + ["PNEUMONIA"] * 2
    for one, other in zip(first, second, strict=True):
        assert one.file.read_bytes() == other.file.read_bytes()
        assert one.nearest < 0.999
        assert f"{one.nearest:.3f}" in str(one)
        assert f"{one.typical:.3f}" in str(one)
    brightness = [read_xray(sample.file.read_bytes()).pixels.mean() for sample in first]
    assert max(brightness[:2]) < min(brightness[2:])


def test_an_unreadable_film_is_left_out_and_too_few_are_refused(tmp_path: Path) -> None:
    data = folder_of_films(tmp_path / "data", per_class=11)
    normal = data / "train" / "NORMAL"
    (normal / "film-0.png").write_bytes(b"no image")
    assert len(make_samples(data, tmp_path / "made", per_class=1)) == 2
    (normal / "film-1.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="at least 10"):
        make_samples(data, tmp_path / "made", per_class=1)
