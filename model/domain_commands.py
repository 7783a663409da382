"""``python -m model domain``: how often are films refused, and how often is what is no film? See `model.domain`.

Limits were chosen on training and validation films and on the ``choose`` half of the strange pictures; the films of
``test`` and the ``measure`` half are only measured. What is made of films here is made of test films, ``--films`` of
them, the same changes as while choosing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tqdm import tqdm

from model.appearance import USUAL_FILMS, learn_usual_films
from model.dataset import DatasetError, Film, read_dataset
from model.domain import DISTANCE_FACTOR, Judgement, distance_limit, judge
from model.films import ImageError, Source, XRay, prepare, read_xray
from model.inference import Predictor
from model.intervals import wilson
from model.neighbours import Reference
from model.quality import remarks
from model.registry import Version, write_report

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
FILMS = 100
PHOTOGRAPH = "photograph"
"""A kind of picture whose name holds this word counts among the photographs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=Path, metavar="DATA_DIR", help="the data set that the version was trained on"
    )
    parser.add_argument("--version", metavar="V", help="name or folder (default: the version in use)")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="pictures that are no films: what python -m tests.strange_pictures DIR writes",
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="test",
        help="the version's validation films, for choosing, or the test films (default)",
    )
    parser.add_argument(
        "--films",
        type=int,
        default=FILMS,
        metavar="N",
        help=f"films of which changed ones are made (default: {FILMS})",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="all figures")
    parser.add_argument("--write", action="store_true", help="put the report into the version's folder")
    parser.add_argument(
        "--learn",
        action="store_true",
        help="instead: learn the look of a film from afar from the version's training films (model/usual_films.json)",
    )


@dataclass
class _Count:
    """How many pictures of a kind were refused: with the version's features, and by the simple facts alone.

    ``distances``: of those that the facts let pass, as multiples of what one validation film in a hundred exceeds, as
    `DISTANCE_FACTOR` is one.
    """

    total: int = 0
    refused: int = 0
    by_facts_alone: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    distances: list[float] = field(default_factory=list)

    def add(self, judged: Judgement, facts: Judgement, limit: float | None) -> None:
        self.total += 1
        self.refused += not judged.accepted
        self.by_facts_alone += not facts.accepted
        if facts.accepted and limit is not None:
            self.distances.append(DISTANCE_FACTOR * judged.distance / limit)
        if judged.rule:
            self.rules[judged.rule] += 1

    def plus(self, other: _Count) -> _Count:
        return _Count(
            self.total + other.total,
            self.refused + other.refused,
            self.by_facts_alone + other.by_facts_alone,
            self.rules + other.rules,
            self.distances + other.distances,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            **share(self.refused, self.total),
            "by_facts_alone": self.by_facts_alone,
            "rules": dict(self.rules.most_common()),
            "distances": [round(end(self.distances), 3) for end in (min, max)] if self.distances else None,
        }


def share(count: int, total: int) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson), for a report; without a value where nothing was counted."""
    if not total:
        return {"count": 0, "total": 0, "share": None, "interval": None}
    low, high = wilson(count, total)
    return {
        "count": count,
        "total": total,
        "share": count / total,
        "interval": [round(float(low), 5), round(float(high), 5)],
    }


def run(
    arguments: argparse.Namespace, version: Version, predictor: Predictor, *, report: Callable[[object], None]
) -> int:
    """Measure (or ``--learn``) and print; the exit status is 1 where a file could not be read.

    Raises:
        DatasetError, VersionError: one sentence.
    """
    if arguments.learn:
        return _learn(arguments.data, version)
    found, unreadable = measure(
        arguments.data,
        version,
        predictor,
        split=arguments.split,
        pictures=arguments.pictures,
        films=arguments.films,
    )
    for file, reason in unreadable:
        report(f"{file}: {reason}")
    pictures = " --pictures DIR" if arguments.pictures else ""
    result = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m model domain DATA_DIR{pictures} --version {version.name} --split {arguments.split} "
        f"--films {arguments.films} --write",
        **found,
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.write:
        write_report(version, "domain", result)
    sys.stdout.write(as_text(result) + "\n")
    return 1 if unreadable else 0


def measure(
    data: Path,
    version: Version,
    predictor: Predictor,
    *,
    split: str = "test",
    pictures: Path | None = None,
    films: int = FILMS,
) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """All figures of the report, and the files that could not be read, each with its reason.

    Raises:
        DatasetError: there are no films of that split.
        VersionError: the version's features or predictions are damaged.
    """
    reference = Reference.load(version)
    chosen = _films(data, version, split)
    read: list[Pixels] = []
    unreadable: list[tuple[str, str]] = []
    as_they_are = _Count()
    alarms: Counter[str] = Counter()
    for film in tqdm(chosen, desc="films", unit="film", disable=None):
        try:
            xray = read_xray(film.path.read_bytes())
        except (ImageError, OSError) as error:
            unreadable.append((film.path.name, str(error)))
            continue
        read.append(xray.pixels)
        _judge(xray, predictor, reference, as_they_are)
        alarms.update({remark.code for remark in remarks(xray)})
    if not read:
        raise DatasetError(f"None of the films of split {split} can be read.")
    some = [read[place] for place in np.linspace(0, len(read) - 1, min(films, len(read))).astype(int)]
    still_films = _judge_changed(CHANGED, some, predictor, reference)
    no_films = _judge_changed(SPOILT, some, predictor, reference)
    strange: dict[str, dict[str, _Count]] = {}
    for side, kind, path in tqdm(list(_pictures(pictures)), desc="pictures", unit="", disable=None):
        try:
            xray = read_xray(path.read_bytes())
        except ImageError:
            continue  # refused already: nothing is read of it at all
        _judge(xray, predictor, reference, strange.setdefault(side, {}).setdefault(kind, _Count()))
    detected = {
        name: {"code": code, **share(sum(code in _codes(change(pixels)) for pixels in some), len(some))}
        for name, (code, change) in FAULTS.items()
    }
    return {
        "films": len(read),
        "split": split,
        "distance_limit": None if reference is None else distance_limit(reference),
        "refused_films": as_they_are.as_json(),
        "refused_changed_films": {name: count.as_json() for name, count in still_films.items()},
        "refused_no_films": {name: count.as_json() for name, count in no_films.items()},
        "refused_pictures": {
            side: {
                "all": _sum(kinds.values()).as_json(),
                "photographs": _sum(
                    count for kind, count in kinds.items() if PHOTOGRAPH in kind.lower()
                ).as_json(),
                **{kind: count.as_json() for kind, count in sorted(kinds.items())},
            }
            for side, kinds in sorted(strange.items())
        },
        "remarks": {
            code: share(alarms[code], len(read)) for code in sorted(set(alarms) | set(MEASURED_REMARKS))
        },
        "faults_found": detected,
    }, tuple(unreadable)


def _films(data: Path, version: Version, split: str) -> tuple[Film, ...]:
    films = read_dataset(data).films
    if split == "validation":
        held = set(version.predictions("validation").files)
        films = tuple(film for film in films if film.path.relative_to(data).as_posix() in held)
    else:
        films = tuple(film for film in films if film.split == split)
    if not films:
        raise DatasetError(f"{data} holds no film of split {split}; give the version's data set.")
    return films


def _pictures(folder: Path | None) -> Iterator[tuple[str, str, Path]]:
    if folder is None:
        return
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}: make it with 'python -m tests.strange_pictures'.")
    for path in sorted(folder.glob("*/*/*.*")):
        yield path.parent.parent.name, path.parent.name, path


def _judge(xray: XRay, predictor: Predictor, reference: Reference | None, count: _Count) -> None:
    pooled = predictor.read(prepare(xray.pixels, size=predictor.card.input_size)[None]).pooled[0]
    facts = judge(xray, pooled, None)
    if reference is None:
        count.add(facts, facts, None)
    else:
        count.add(judge(xray, pooled, reference), facts, distance_limit(reference))


def _judge_changed(
    changes: Mapping[str, Change],
    films: Sequence[Pixels],
    predictor: Predictor,
    reference: Reference | None,
) -> dict[str, _Count]:
    counts = {name: _Count() for name in changes}
    for pixels in tqdm(films, desc="changed films", unit="film", disable=None):
        for name, change in changes.items():
            _judge(_as_film(change(pixels)), predictor, reference, counts[name])
    return counts


def _as_film(pixels: Pixels) -> XRay:
    return XRay(pixels, Source("PNG", pixels.shape[1], pixels.shape[0], 8, "grey"))


def _codes(pixels: Pixels) -> set[str]:
    return {remark.code for remark in remarks(_as_film(pixels))}


def _sum(counts: Iterable[_Count]) -> _Count:
    total = _Count()
    for count in counts:
        total = total.plus(count)
    return total


# --- changes of a film --------------------------------------------------------------------------------------------


def _part(left: float, top: float, side: float) -> Change:
    """A part of a film, by shares of its width and height."""

    def cut(pixels: Pixels) -> Pixels:
        height, width = pixels.shape
        rows, columns = max(32, round(side * height)), max(32, round(side * width))
        first_row, first_column = round(top * (height - rows)), round(left * (width - columns))
        return np.ascontiguousarray(
            pixels[first_row : first_row + rows, first_column : first_column + columns]
        )

    return cut


def _shifted(across: float, down: float) -> Change:
    """Moved by shares of the width and the height; black comes in."""

    def move(pixels: Pixels) -> Pixels:
        height, width = pixels.shape
        image = Image.fromarray(pixels)
        matrix = (1, 0, across * width, 0, 1, down * height)
        return np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix))

    return move


def _framed(share_of_side: float, level: int = 0) -> Change:
    """With a plain border of a share of the side all around."""

    def frame(pixels: Pixels) -> Pixels:
        return np.pad(pixels, round(share_of_side * min(pixels.shape)), constant_values=level)

    return frame


def _rotated(degrees: float) -> Change:
    return lambda pixels: np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR))


def _levels(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    """Grey levels changed one by one, as a function of 0 to 1."""

    def apply(pixels: Pixels) -> Pixels:
        table = np.clip(np.rint(255 * change(np.arange(256) / 255)), 0, 255).astype(np.uint8)
        return np.asarray(table[pixels])

    return apply


def _blurred(share_of_side: float) -> Change:
    """Gaussian blur whose deviation is a share of the side."""
    return lambda pixels: np.asarray(
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(share_of_side * min(pixels.shape)))
    )


def _thumbnail(side: int) -> Change:
    return lambda pixels: np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def _enlarged(side: int) -> Change:
    return lambda pixels: np.asarray(
        Image.fromarray(pixels)
        .resize((side, side), Image.Resampling.BILINEAR)
        .resize(pixels.shape[::-1], Image.Resampling.BICUBIC)
    )


def _half(right: bool) -> Change:
    """One half of the film, stretched to its width: a rough stand-in for a lateral view, which nobody has here."""

    def cut(pixels: Pixels) -> Pixels:
        width = pixels.shape[1]
        half = pixels[:, width // 2 :] if right else pixels[:, : width // 2]
        return np.asarray(Image.fromarray(half).resize(pixels.shape[::-1], Image.Resampling.BILINEAR))

    return cut


def _scrambled(pixels: Pixels) -> Pixels:
    """Noise with the film's own frequencies: its Fourier phases drawn anew, for each film others."""
    values = pixels.astype(np.float64)
    random = np.random.default_rng(int(pixels.sum()))
    phases = np.angle(np.fft.fft2(random.standard_normal(values.shape)))
    spectrum = np.abs(np.fft.fft2(values)) * np.exp(1j * phases)
    spectrum[0, 0] = values.sum()
    return np.clip(np.rint(np.real(np.fft.ifft2(spectrum))), 0, 255).astype(np.uint8)


def _shuffled(pixels: Pixels) -> Pixels:
    """Its sixteen tiles in another order."""
    height, width = (side // 4 * 4 for side in pixels.shape)
    tiles = [tile for row in np.split(pixels[:height, :width], 4) for tile in np.split(row, 4, axis=1)]
    order = np.random.default_rng(0).permutation(16)
    return np.concatenate(
        [np.concatenate([tiles[order[4 * row + column]] for column in range(4)], axis=1) for row in range(4)]
    )


def _on_a_page(pixels: Pixels) -> Pixels:
    """Small on a white page, as in a report."""
    height, width = pixels.shape
    page = np.full((2 * height, 2 * width), 250, dtype=np.uint8)
    page[height // 4 : height // 4 + height, width // 8 : width // 8 + width] = pixels
    for line in range(6):  # lines of text below and beside it
        page[2 * height - 60 - 12 * line : 2 * height - 54 - 12 * line, width // 8 : 2 * width - 40 : 2] = 40
    return page


CHANGED: Mapping[str, Change] = {
    "part of nine tenths": _part(0.5, 0.5, 0.9),
    "part of 85 %, from a corner": _part(0.2, 0.8, 0.85),
    "moved by 6 %": _shifted(0.06, -0.05),
    "plain borders of 8 %": _framed(0.08),
    "plain borders of 15 %": _framed(0.15),
    "turned by 7 degrees": _rotated(7),
    "gamma 0.6": _levels(lambda level: level**0.6),
    "gamma 1.6": _levels(lambda level: level**1.6),
    "half the contrast": _levels(lambda level: 0.25 + 0.5 * level),
    "blurred by 1 % of the side": _blurred(0.01),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
}
"""Films that are still to be judged."""

SPOILT: Mapping[str, Change] = {
    "turned by 90 degrees": lambda pixels: np.ascontiguousarray(np.rot90(pixels)),
    "turned by 180 degrees": lambda pixels: np.ascontiguousarray(np.rot90(pixels, 2)),
    "turned by 270 degrees": lambda pixels: np.ascontiguousarray(np.rot90(pixels, 3)),
    "inverted": lambda pixels: 255 - pixels,
    "left half, stretched": _half(right=False),
    "right half, stretched": _half(right=True),
    "part of one half, from the middle": _part(0.5, 0.5, 0.5),
    "part of 40 %, from a corner": _part(0.0, 1.0, 0.4),
    "part of 35 %, from the side": _part(0.8, 0.3, 0.35),
    "phases scrambled": _scrambled,
    "tiles shuffled": _shuffled,
    "on a page of a report": _on_a_page,
}
"""Made of films, and no upright frontal chest films any more."""

FAULTS: Mapping[str, tuple[str, Change]] = {
    "grey levels halved": ("too-dark", _levels(lambda level: 0.45 * level)),
    "grey levels raised": ("too-bright", _levels(lambda level: 0.5 + 0.55 * level)),
    "a third of the contrast": ("low-contrast", _levels(lambda level: 0.33 + 0.33 * level)),
    "white clipped": ("clipped", _levels(lambda level: 1.9 * level - 0.15)),
    "black clipped": ("clipped", _levels(lambda level: 1.4 * level - 0.5)),
    "blurred by 1 % of the side": ("blurred", _blurred(0.01)),
    "enlarged from 64 pixels": ("blurred", _enlarged(64)),
    "reduced to 150 pixels": ("too-small", _thumbnail(150)),
    "inverted": ("inverted", lambda pixels: 255 - pixels),
    "turned by 90 degrees": ("on-its-side", lambda pixels: np.ascontiguousarray(np.rot90(pixels))),
    "turned by 180 degrees": ("upside-down", lambda pixels: np.ascontiguousarray(np.rot90(pixels, 2))),
    "turned by 270 degrees": ("on-its-side", lambda pixels: np.ascontiguousarray(np.rot90(pixels, 3))),
    "black borders of 15 %": ("large-borders", _framed(0.15)),
    "white borders of 15 %": ("large-borders", _framed(0.15, 255)),
    "a third of the width": (
        "unusual-shape",
        lambda pixels: np.ascontiguousarray(pixels[:, pixels.shape[1] // 3 : 2 * pixels.shape[1] // 3]),
    ),
}
"""Each fault with the remark that it should get."""

MEASURED_REMARKS = tuple(dict.fromkeys(code for code, _ in FAULTS.values()))


# --- words --------------------------------------------------------------------------------------------------------


def as_text(result: Mapping[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [
        f"{result['films']} films of split {result['split']}; refused, and how far those lie that facts let "
        f"pass, as multiples of what one validation film in a hundred exceeds (far: more than {DISTANCE_FACTOR}):"
    ]
    rows = [("films as they are", result["refused_films"])]
    rows += [(f"film, {name}", found) for name, found in result["refused_changed_films"].items()]
    rows += [(f"no film: {name}", found) for name, found in result["refused_no_films"].items()]
    for side, kinds in result["refused_pictures"].items():
        rows += [(f"{side}: {kind}", found) for kind, found in kinds.items()]
    lines += [
        f"  {name:<48} {_in_words(found)}; by facts alone {found['by_facts_alone']}; {_rules(found['rules'])}"
        f"{_apart(found['distances'])}"
        for name, found in rows
    ]
    lines.append("remarks on films as they are:")
    lines += [f"  {code:<48} {_in_words(found)}" for code, found in result["remarks"].items()]
    lines.append("faults that got their remark:")
    lines += [
        f"  {name + ' (' + found['code'] + ')':<48} {_in_words(found)}"
        for name, found in result["faults_found"].items()
    ]
    return "\n".join(lines)


def _in_words(found: Mapping[str, Any]) -> str:
    if found["share"] is None:
        return "none counted"
    low, high = found["interval"]
    return f"{found['count']} of {found['total']}, {found['share']:.1%} ({low:.1%} to {high:.1%})"


def _rules(rules: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in rules.items()) or "-"


def _apart(distances: Sequence[float] | None) -> str:
    return "" if distances is None else "; {:.2f} to {:.2f}".format(*distances)


def _learn(data: Path, version: Version) -> int:
    held = set(version.predictions("validation").files)
    films = [
        film
        for film in read_dataset(data).split("train")
        if film.path.relative_to(data).as_posix() not in held
    ]
    if not films:
        raise DatasetError(f"{data} holds no training film; give the version's data set.")
    learnt = learn_usual_films(
        read_xray(film.path.read_bytes()).pixels for film in tqdm(films, unit="film", disable=None)
    )
    USUAL_FILMS.write_text(json.dumps(learnt) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(films)} films learnt: {USUAL_FILMS}.\n")
    return 0
