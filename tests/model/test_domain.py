from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model import domain_commands
from model.domain import DISTANCE_FACTOR, distance_limit, distances, judge
from model.films import Source, XRay, prepare, read_xray
from model.inference import Predictor
from model.neighbours import Part, PooledFilms, Reference, reduced, write_features
from model.registry import FEATURES_FILE, Version, find_version, read_version
from model.samples import sample_files
from tests.model.chest_films import chequered_film, chest_film
from tests.strange_pictures import SIDES, strange_pictures, write_strange

CHANNELS = 12
NOTHING = np.zeros(CHANNELS, np.float32)


def as_xray(pixels: NDArray[np.uint8], *, colour_share: float = 0) -> XRay:
    height, width = pixels.shape
    return XRay(pixels, Source("PNG", width, height, 8, "grey", colour_share=colour_share))


def reference(*, scale: float = 1, validation: int = 100) -> Reference:
    """Training films whose pooled features differ a thousand times more along one channel than along another."""
    random = np.random.default_rng(0)
    training = 400
    spreads = np.logspace(0, -3, CHANNELS) * scale
    names: tuple[Part, Part] = ("training", "validation")
    parts = (names[0],) * training + (names[1],) * validation
    count = len(parts)
    return reduced(
        PooledFilms(
            files=tuple(f"{number}.png" for number in range(count)),
            labels=np.arange(count, dtype=np.int64) % 2,
            subgroups=("",) * count,
            parts=parts,
            pooled=(5 * scale + random.standard_normal((count, CHANNELS)) * spreads).astype(np.float32),
        ),
    )


def blank(level: int = 90) -> NDArray[np.uint8]:
    return (level + np.random.default_rng(0).integers(0, 5, (256, 256))).astype(np.uint8)


def page() -> NDArray[np.uint8]:
    """A film small on a white sheet with lines of text: most of it one shade."""
    sheet = np.full((600, 600), 250, dtype=np.uint8)
    sheet[5:595:40, 5:595:3] = 0
    sheet[100:300, 100:300] = chest_film(height=200, width=200)
    return sheet


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)


def slope() -> NDArray[np.uint8]:
    return np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1))


@pytest.mark.parametrize(
    ("picture", "rule"),
    [
        (chest_film, ""),
        (blank, "blank"),
        (page, "even"),
        (noise, "steep"),
        (slope, "unlike"),
        (lambda: chequered_film(90), "unlike"),
        (lambda: 255 - chest_film(), "turned"),
        (lambda: np.ascontiguousarray(np.rot90(chest_film(), 1)), "turned"),
        (lambda: np.ascontiguousarray(np.rot90(chest_film(), 2)), "turned"),
        (lambda: np.ascontiguousarray(np.rot90(chest_film(), 3)), "turned"),
        (lambda: chest_film(height=2000, width=1800), ""),
        (lambda: np.ascontiguousarray(chest_film()[:, ::-1]), ""),
        (lambda: np.pad(chest_film(), 40), ""),
    ],
)
def test_each_simple_fact(picture: Callable[[], NDArray[np.uint8]], rule: str) -> None:
    judged = judge(as_xray(picture()), NOTHING, None)
    assert judged.rule == rule
    assert judged.accepted == (rule == "")
    assert math.isnan(judged.distance)
    assert bool(judged.reason) == bool(rule) and judged.reason.count(".") == bool(rule)


def test_colour_is_no_x_ray_but_a_little_of_it_may_be() -> None:
    assert judge(as_xray(chest_film(), colour_share=0.6), NOTHING, None).rule == "colour"
    assert judge(as_xray(chest_film(), colour_share=0.05), NOTHING, None).accepted


def test_a_film_unlike_those_trained_on_is_refused() -> None:
    known = reference()
    film = as_xray(chest_film())
    centre = np.full(CHANNELS, 5, np.float32)
    judged = judge(film, centre, known)
    assert judged.accepted and judged.distance < distance_limit(known)
    # A step that is nothing along the widest channel is far along the narrowest.
    wide, narrow = centre.copy(), centre.copy()
    wide[0] += 1
    narrow[-1] += 1
    assert judge(film, wide, known).accepted
    refused = judge(film, narrow, known)
    assert (refused.accepted, refused.rule) == (False, "far")
    assert refused.distance > distance_limit(known)
    # Simple facts come first: they say better what to do.
    assert judge(as_xray(noise()), narrow, known).rule == "steep"


def test_what_is_no_number_is_refused() -> None:
    assert judge(as_xray(chest_film()), np.full(CHANNELS, np.nan, np.float32), reference()).rule == "far"


def test_the_limit_is_the_versions_own_and_follows_its_validation_films() -> None:
    known = reference()
    random = np.random.default_rng(1)
    fresh = (5 + random.standard_normal((500, CHANNELS)) * np.logspace(0, -3, CHANNELS)).astype(np.float32)
    found = distances(known, fresh)
    assert np.median(found) == pytest.approx(math.sqrt(CHANNELS), rel=0.15)
    assert (found <= distance_limit(known)).mean() > 0.99
    assert distance_limit(known) == pytest.approx(DISTANCE_FACTOR * np.quantile(found, 0.99), rel=0.1)
    # Another network's features have another scale; the distance in standard deviations does not.
    assert distance_limit(reference(scale=0.01)) == pytest.approx(distance_limit(known), rel=0.05)
    assert distance_limit(reference(validation=0)) == pytest.approx(distance_limit(known), rel=0.2)


def test_features_of_another_network_are_an_error() -> None:
    with pytest.raises(ValueError, match="channels"):
        judge(as_xray(chest_film()), np.zeros(CHANNELS + 1, np.float32), reference())


def test_strange_pictures_have_two_sides_without_a_picture_in_common() -> None:
    pytest.importorskip("skimage")
    names: dict[str, set[tuple[str, str]]] = {side: set() for side in SIDES}
    photographs: dict[str, set[str]] = {side: set() for side in SIDES}
    for picture in strange_pictures(count=2):
        assert (picture.kind, picture.name) not in names[picture.side]
        names[picture.side].add((picture.kind, picture.name))
        if picture.kind.startswith("photograph"):
            stem = picture.name.removesuffix("-negative")
            photographs[picture.side].add(stem if "lfw" in stem else stem.split("-")[0])
    assert not photographs["choose"] & photographs["measure"]
    assert len(names["choose"]) > 100 and len(names["measure"]) > 100


@pytest.mark.slow
def test_the_released_version_refuses_strange_pictures_and_reads_films(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pytest.importorskip("skimage")
    version = find_version(None)
    known = Reference.load(version)
    assert known is not None, "the released version has its features"
    predictor = Predictor.load(version, cache=tmp_path_factory.mktemp("cache"))
    folder = tmp_path_factory.mktemp("strange")
    write_strange(folder, count=2)
    accepted = []
    pictures = sorted(folder.rglob("*.png"))[::4]
    for path in pictures:
        xray = read_xray(path.read_bytes())
        pooled = predictor.read(prepare(xray.pixels)[None]).pooled[0]
        if judge(xray, pooled, known).accepted:
            accepted.append(path.relative_to(folder).as_posix())
    assert len(pictures) > 40
    assert accepted == [
        "measure/drawing/color-grey.png",
        "measure/photograph, tiny/lfw-23.png",
    ], "the model card tells of them"
    for file in sample_files():
        xray = read_xray(file.read_bytes())
        assert judge(xray, predictor.read(prepare(xray.pixels)[None]).pooled[0], known).accepted


def test_the_command_counts_and_writes_a_report(
    tiny_version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "version"
    shutil.copytree(tiny_version.folder, folder)
    version = read_version(folder)
    data = tmp_path / "data" / "test"
    for number in range(2):
        for class_name in ("NORMAL", "PNEUMONIA"):
            (data / class_name).mkdir(parents=True, exist_ok=True)
            film = chest_film(number, height=224, width=224, texture=60)
            Image.fromarray(film).save(data / class_name / f"{number}.png")
    (data / "NORMAL" / "broken.png").write_bytes(b"no picture")
    pictures = tmp_path / "pictures" / "measure" / "photograph, grey"
    pictures.mkdir(parents=True)
    Image.fromarray(noise()).save(pictures / "noise.png")
    Image.fromarray(chest_film(5)).save(pictures / "film.png")
    predictor = Predictor.load(version, cache=tmp_path, engine="keras")
    arguments = argparse.Namespace(
        data=tmp_path / "data",
        pictures=tmp_path / "pictures",
        split="test",
        films=1,
        json=None,
        write=True,
        learn=False,
    )
    errors: list[object] = []
    assert domain_commands.run(arguments, version, predictor, report=errors.append) == 1
    assert len(errors) == 1 and "broken.png" in str(errors[0])
    report = version.report("domain")
    assert report is not None
    assert report["films"] == 4 and report["split"] == "test" and report["distance_limit"] is None
    assert (report["refused_films"]["count"], report["refused_films"]["total"]) == (0, 4)
    measured = report["refused_pictures"]["measure"]
    assert (measured["photographs"]["count"], measured["photographs"]["total"]) == (1, 2)
    assert measured["photograph, grey"]["rules"] == {"steep": 1}
    assert report["refused_no_films"]["turned by 90 degrees"]["count"] == 1
    assert report["refused_changed_films"]["mirrored"]["count"] == 0
    assert report["faults_found"]["white borders of 15 %"]["count"] == 1
    low, high = report["remarks"]["blurred"]["interval"]
    assert low == 0 < high < 1
    assert report["refused_films"]["distances"] is None
    assert str(tmp_path) not in json.dumps(report)
    assert "films as they are" in capsys.readouterr().out


def test_the_command_tells_how_far_those_lie_that_the_facts_let_pass(
    tiny_version: Version, tmp_path: Path
) -> None:
    folder = tmp_path / "version"
    shutil.copytree(tiny_version.folder, folder)
    version = read_version(folder)
    predictor = Predictor.load(version, cache=tmp_path, engine="keras")
    size = version.card.input_size
    pooled = predictor.read(
        np.stack([prepare(chest_film(number, texture=60), size=size) for number in range(60)])
    ).pooled
    known = reduced(
        PooledFilms(
            files=tuple(f"{number}.png" for number in range(60)),
            labels=np.arange(60, dtype=np.int64) % 2,
            subgroups=("",) * 60,
            parts=("training",) * 60,
            pooled=pooled,
        ),
        axes=2,  # of four: off all of them nothing but rounding would be left
    )
    write_features(folder / FEATURES_FILE, known, sha256=version.card.sha256)
    normal, pneumonia = (tmp_path / "test" / name for name in ("NORMAL", "PNEUMONIA"))
    for class_folder in (normal, pneumonia):
        class_folder.mkdir(parents=True)
    for number in (70, 71, 72):
        Image.fromarray(chest_film(number, texture=60)).save(normal / f"{number}.png")
    Image.fromarray(noise()).save(pneumonia / "noise.png")  # which the facts refuse: its distance is not told
    found, _ = domain_commands.measure(tmp_path, version, predictor, films=1)
    kept = Reference.load(version)
    assert kept is not None
    seen = predictor.read(
        np.stack([prepare(chest_film(number, texture=60), size=size) for number in (70, 71, 72)])
    ).pooled
    apart = DISTANCE_FACTOR * distances(kept, seen) / distance_limit(kept)
    films = found["refused_films"]
    assert films["distances"] == pytest.approx([apart.min(), apart.max()], abs=1e-3)
    assert films["count"] == 1 + int((apart > DISTANCE_FACTOR).sum())
    text = domain_commands.as_text(found)
    assert f"; {apart.min():.2f} to {apart.max():.2f}" in text and f"more than {DISTANCE_FACTOR}" in text
