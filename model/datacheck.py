"""Is a data set fit to train and to measure with? Every film is read once, and what is found is put into words.

Copies are found in three ways, from certain to likely: equal bytes (SHA-256), equal pixels, and nearly equal pictures.
For the last, a perceptual hash (64 bits, from the low frequencies of a cosine transform) proposes pairs and the
correlation of the two pictures, reduced to 64 x 64, has to confirm them, because chest films look alike by nature.
Measured on the 5,216 training films of Kermany's children's set: the hash (at most 8 bits apart) proposes 8,620 of 13.6
million pairs; the highest correlation among those that are not pixel for pixel the same is 0.959. Sixty films saved
again as JPEG (quality 30), resized, or changed in brightness or gamma stay at most 6 bits and at least 0.995 near.
The limits lie between. A crop of 2 % a side falls to 0.92 and is not found.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.dataset import CLASSES, Dataset, Film, read_dataset
from model.films import ImageError, XRay, read_xray
from model.quality import NARROWEST, SMALLEST_SIDE, WIDEST

T = TypeVar("T")

HASH_DISTANCE = 8
CORRELATION = 0.98
_THUMBNAIL = (64, 64)
_ODD_AREA = 5  # times the median area of the set; the 60 films at hand as published stay within 3
_AHEAD = 64  # films handed to the threads before the first is asked for: keeps them busy and memory small
_SHOWN = 10  # of a long list, the text names this many; the JSON names all


@dataclass(frozen=True)
class Unreadable:
    """A file that is no readable film, and why, in one sentence."""

    file: str
    message: str


@dataclass(frozen=True)
class Copies:
    """Files that show one film.

    Attributes:
        kind: "identical" (equal bytes), or "near-identical" (a pair that looks the same).
        files: relative to the data set's folder.
        splits: the splits they lie in.
        labels: the classes they are filed under.
        patients: the patient keys their names carry.
        correlation: of the two pictures, for a pair; 1 for equal bytes.
    """

    kind: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    correlation: float


@dataclass(frozen=True)
class SharedPatient:
    """A patient with films in more than one split."""

    patient: str
    splits: tuple[str, ...]
    films: int


@dataclass(frozen=True)
class Sizes:
    """Widths and heights in pixels as stored, and how many different sizes there are."""

    smallest: tuple[int, int]
    largest: tuple[int, int]
    different: int
    commonest: tuple[int, int]
    commonest_share: float


@dataclass(frozen=True)
class OddSize:
    """A film whose size is out of the ordinary, and in what, in one sentence."""

    file: str
    width: int
    height: int
    message: str


@dataclass(frozen=True)
class DataReport:
    """What was found in a data set; :attr:`problems` spoil training or figures, :attr:`remarks` are good to know."""

    folder: str
    films: dict[str, dict[str, int]]
    patients: dict[str, int]
    subgroups: dict[str, dict[str, int]]
    without_number: int
    unreadable: tuple[Unreadable, ...]
    copies: tuple[Copies, ...]
    shared_patients: tuple[SharedPatient, ...]
    sizes: Sizes | None
    width_auc: float | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    odd_sizes: tuple[OddSize, ...] = ()

    @property
    def disagreeing(self) -> tuple[Copies, ...]:
        """The copies that are filed under both classes."""
        return tuple(each for each in self.copies if len(each.labels) > 1)

    @property
    def fit(self) -> bool:
        """Whether nothing was found that spoils training or figures."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.fit and not self.remarks:
            return "Fit for training and for measuring: nothing was found wrong."
        if self.fit:
            return "Fit for training and for measuring, with the remarks above."
        count = len(self.problems)
        named = "problem" if count == 1 else f"{count} problems"
        return f"Not yet fit: mend the {named} named above, then check again."

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings, for ``json.dumps``."""
        return {**asdict(self), "fit": self.fit, "verdict": self.verdict}

    def as_text(self) -> str:
        """The report as a person reads it in a terminal, ending with the verdict."""
        return "\n".join(_text(self)) + "\n"


@dataclass(frozen=True)
class Look:
    """What one look at one file leaves behind; the film itself is dropped.

    Attributes:
        sha256: of the file's bytes; empty where it could not be opened.
        message: why it is no readable film; empty where it is one.
        size: width and height as stored; (0, 0) where unreadable.
        perceptual_hash: 64 bits.
        thumbnail: uint8 (64, 64), box averages; None where unreadable.
    """

    sha256: str
    message: str
    size: tuple[int, int]
    perceptual_hash: int
    thumbnail: NDArray[np.uint8] | None


def check_folder(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Read the data set in ``folder`` and check it; see :func:`check_dataset`.

    Raises:
        DatasetError: for a wrong folder, a missing or an empty class.
    """
    return check_dataset(read_dataset(folder), progress=progress)


def check_dataset(dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Open every film and report counts, unreadable files, copies, patients, sizes, and a verdict.

    Args:
        dataset: the films to check; their splits are taken as they are.
        progress: called with (films done, films in all) after each film.

    Returns:
        The report. A file that cannot be read is part of it, not an error.
    """
    seen: list[Look] = []
    for look, _ in look_at(dataset.films):
        seen.append(look)
        if progress:
            progress(len(seen), len(dataset.films))
    return report_on(dataset, seen)


def look_at(
    films: Sequence[Film], *, also: Callable[[XRay], T] | None = None, workers: int | None = None
) -> Generator[tuple[Look, T | None]]:
    """Open each film once, several at a time, and yield what was seen, in the order of ``films``.

    Args:
        films: the films to open.
        also: called with each readable film while it is in memory, in a thread of its own; its result comes along.
        workers: threads; None: one a processor.

    Yields:
        The look, and the result of ``also``: None where the film cannot be read or ``also`` is not given. Closing the
        iterator ends the work after the films in hand.
    """
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:  # decoding leaves Python's lock
        waiting: deque[Future[tuple[Look, T | None]]] = deque()
        try:
            for film in films:
                waiting.append(pool.submit(_look, film, also))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def report_on(dataset: Dataset, seen: Sequence[Look]) -> DataReport:
    """Compare what was seen of every film and put it into words.

    Args:
        dataset: the films; a class may be missing.
        seen: one look a film, in the order of ``dataset.films``.
    """
    films = dataset.films
    names = [film.path.relative_to(dataset.root).as_posix() for film in films]
    counts = {
        split: {
            class_name: sum(film.split == split and film.class_name == class_name for film in films)
            for class_name in CLASSES
        }
        for split in dataset.splits
    }
    patients = {split: len({film.patient for film in dataset.split(split)}) for split in dataset.splits}
    subgroups = {
        split: dict(sorted(Counter(film.subgroup for film in dataset.split(split)).items()))
        for split in dataset.splits
    }
    unreadable = tuple(
        Unreadable(name, look.message) for name, look in zip(names, seen, strict=True) if look.message
    )
    copies = copies_among(films, names, seen)
    shared = _shared_patients(films)
    without_number = sum(not film.series for film in films)
    sizes = _sizes([look.size for look in seen if not look.message])
    readable = [
        (film.label, look.size[0]) for film, look in zip(films, seen, strict=True) if not look.message
    ]
    by_width = width_auc([label for label, _ in readable], [width for _, width in readable])
    return DataReport(
        folder=str(dataset.root),
        films=counts,
        patients=patients,
        subgroups=subgroups,
        without_number=without_number,
        unreadable=unreadable,
        copies=copies,
        shared_patients=shared,
        sizes=sizes,
        width_auc=by_width,
        problems=tuple(_problems(unreadable, copies, shared)),
        remarks=tuple(_remarks(copies, without_number, len(films), by_width)),
        odd_sizes=tuple(_odd_sizes(names, seen)),
    )


def _look(film: Film, also: Callable[[XRay], T] | None) -> tuple[Look, T | None]:
    import imagehash  # brings SciPy along, which serving films does without

    try:
        data = film.path.read_bytes()
    except OSError as error:
        message = f"The file cannot be opened ({error.strerror}): check its permissions or copy it again."
        return Look("", message, (0, 0), 0, None), None
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        xray = read_xray(data)
    except ImageError as error:
        return Look(sha256, str(error), (0, 0), 0, None), None
    image = Image.fromarray(xray.pixels)
    bits = np.packbits(imagehash.phash(image).hash.ravel())
    thumbnail = np.asarray(image.resize(_THUMBNAIL, Image.Resampling.BOX))
    size = (xray.source.width, xray.source.height)
    look = Look(sha256, "", size, int.from_bytes(bits.tobytes(), "big"), thumbnail)
    return look, None if also is None else also(xray)


# --- copies -----------------------------------------------------------------------------------------


def copies_among(films: Sequence[Film], names: Sequence[str], seen: Sequence[Look]) -> tuple[Copies, ...]:
    """All groups of identical films, and pairs of nearly identical ones.

    Args:
        films: of one data set or of several.
        names: one a film, by which the copies are told.
        seen: one look a film.
    """
    return (*_identical(films, names, seen), *_near_identical(films, names, seen))


def _copies(
    kind: str, members: Sequence[int], films: Sequence[Film], names: Sequence[str], correlation: float
) -> Copies:
    return Copies(
        kind=kind,
        files=tuple(names[index] for index in members),
        splits=tuple(dict.fromkeys(films[index].split for index in members)),
        labels=tuple(dict.fromkeys(films[index].class_name for index in members)),
        patients=tuple(dict.fromkeys(films[index].patient for index in members)),
        correlation=correlation,
    )


def _identical(films: Sequence[Film], names: Sequence[str], seen: Sequence[Look]) -> Iterator[Copies]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, look in enumerate(seen):
        if look.sha256:
            groups[look.sha256].append(index)
    for members in groups.values():
        if len(members) > 1:
            yield _copies("identical", members, films, names, 1.0)


def _near_identical(films: Sequence[Film], names: Sequence[str], seen: Sequence[Look]) -> Iterator[Copies]:
    """Pairs of nearly equal pictures; of files with equal bytes only the first takes part."""
    first: dict[str, int] = {}
    for index, look in enumerate(seen):
        if look.thumbnail is not None:
            first.setdefault(look.sha256, index)
    indices = list(first.values())
    hashes = np.array([seen[index].perceptual_hash for index in indices], dtype=np.uint64)
    rows: dict[int, NDArray[np.float32]] = {}
    for place, index in enumerate(indices):
        distances = np.bitwise_count(hashes[place] ^ hashes[place + 1 :])
        for other_place in np.flatnonzero(distances <= HASH_DISTANCE) + place + 1:
            other = indices[other_place]
            for each in (index, other):
                if each not in rows:
                    rows[each] = _standardised(seen[each].thumbnail)
            correlation = float(rows[index] @ rows[other])
            if correlation >= CORRELATION:
                yield _copies("near-identical", (index, other), films, names, round(correlation, 4))
        rows.pop(index, None)


def _standardised(thumbnail: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """A row of mean 0 and length 1: the product of two is their Pearson correlation."""
    assert thumbnail is not None
    row = thumbnail.ravel().astype(np.float32)
    row -= row.mean()
    standardised: NDArray[np.float32] = row / max(float(np.linalg.norm(row)), 1e-6)
    return standardised


# --- patients and sizes -----------------------------------------------------------------------------


def _shared_patients(films: Sequence[Film]) -> tuple[SharedPatient, ...]:
    """Patients with a number and films in several splits; a name without a number says nothing about its patient."""
    of_patient: dict[str, list[Film]] = defaultdict(list)
    for film in films:
        if film.series:
            of_patient[film.patient].append(film)
    return tuple(
        SharedPatient(patient, tuple(dict.fromkeys(film.split for film in members)), len(members))
        for patient, members in of_patient.items()
        if len({film.split for film in members}) > 1
    )


def _sizes(sizes: Sequence[tuple[int, int]]) -> Sizes | None:
    if not sizes:
        return None
    counted = Counter(sizes)
    commonest, count = counted.most_common(1)[0]
    by_area = sorted(counted, key=lambda size: (size[0] * size[1], size))
    return Sizes(by_area[0], by_area[-1], len(counted), commonest, count / len(sizes))


def _odd_sizes(names: Sequence[str], seen: Sequence[Look]) -> Iterator[OddSize]:
    """Films smaller than the network's input, of a shape that no chest film has, or far larger or smaller than most."""
    areas = [look.size[0] * look.size[1] for look in seen if not look.message]
    if not areas:
        return
    usual = float(np.median(areas))
    for name, look in zip(names, seen, strict=True):
        if look.message:
            continue
        width, height = look.size
        reasons = []
        if min(width, height) < SMALLEST_SIDE:
            reasons.append(f"a side is shorter than {SMALLEST_SIDE} pixels")
        if width < NARROWEST * height:
            reasons.append("it is unusually narrow")
        if width > WIDEST * height:
            reasons.append("it is unusually wide")
        if width * height > _ODD_AREA * usual:
            reasons.append(f"it has more than {_ODD_AREA} times the usual number of pixels")
        if width * height * _ODD_AREA < usual:
            reasons.append(f"it has less than a {_ODD_AREA}th of the usual number of pixels")
        if reasons:
            sentence = ", and ".join(reasons)
            yield OddSize(name, width, height, f"{sentence[0].upper()}{sentence[1:]}.")


def width_auc(labels: Sequence[int], widths: Sequence[int]) -> float | None:
    """How well image width alone tells the classes apart: area under the ROC, at least 0.5.

    The share of (normal, pneumonia) pairs that the width puts in one order, ties counting half. None where all
    widths are equal or a class has no film.

    Args:
        labels: 0 NORMAL, 1 PNEUMONIA, one a film.
        widths: in pixels, one a film.
    """
    from scipy.stats import mannwhitneyu

    normal, pneumonia = (
        [width for each, width in zip(labels, widths, strict=True) if each == label] for label in (0, 1)
    )
    if not normal or not pneumonia or len({*normal, *pneumonia}) == 1:
        return None
    area = float(mannwhitneyu(normal, pneumonia).statistic) / (len(normal) * len(pneumonia))
    return max(area, 1 - area)


# --- words ------------------------------------------------------------------------------------------


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _problems(
    unreadable: Sequence[Unreadable], copies: Sequence[Copies], shared: Sequence[SharedPatient]
) -> Iterator[str]:
    if unreadable:
        yield f"{_number(len(unreadable), 'file', 'files')} cannot be read: replace or remove what is listed."
    if shared:
        patients = _number(len(shared), "patient has", "patients have")
        yield f"{patients} films in more than one split, which flatters the figures: move each to one split."
    crossing = sum(len(each.splits) > 1 for each in copies)
    if crossing:
        groups = _number(crossing, "film lies", "films lie")
        yield f"{groups} in more than one split as copies, which flatters the figures: keep one of each."
    disagreeing = sum(len(each.labels) > 1 for each in copies)
    if disagreeing:
        groups = _number(disagreeing, "film is", "films are")
        yield f"{groups} filed under both classes as copies: decide which label is right."


def _remarks(
    copies: Sequence[Copies], without_number: int, films: int, width_auc: float | None
) -> Iterator[str]:
    inside = [each for each in copies if len(each.splits) == 1 and len(each.labels) == 1]
    for kind in ("identical", "near-identical"):
        count = sum(each.kind == kind for each in inside)
        if count:
            groups = _number(count, f"group of {kind} films lies", f"groups of {kind} films lie")
            yield f"{groups} within one split and class: harmless, but they count more than once."
    strangers = sum(len(each.patients) > 1 for each in inside if each.kind == "identical")
    if strangers:
        groups = _number(strangers, "group carries", "groups carry")
        yield f"Of the identical films, {groups} different patient numbers: one patient may count as two."
    if without_number == films:
        yield "The names carry no patient numbers: each film counts as a patient of its own, so leakage cannot be seen."
    elif without_number:
        names = _number(without_number, "name carries", "names carry")
        yield f"{names} no patient number: each of these films counts as a patient of its own."
    if width_auc is not None and width_auc >= 0.7:
        yield (
            f"Image width alone tells the classes apart (area under the ROC {width_auc:.2f}): "
            "a network may learn sizes and borders instead of lungs."
        )


def _text(report: DataReport) -> Iterator[str]:
    yield f"Data set {report.folder}"
    yield ""
    yield f"{'split':<12}{CLASSES[0]:>10}{CLASSES[1]:>12}{'films':>10}{'patients':>11}   subgroups"
    for split, counts in report.films.items():
        subgroups = ", ".join(f"{name} {count:,}" for name, count in report.subgroups[split].items())
        total = sum(counts.values())
        yield (
            f"{split:<12}{counts[CLASSES[0]]:>10,}{counts[CLASSES[1]]:>12,}{total:>10,}"
            f"{report.patients[split]:>11,}   {subgroups}"
        )
    yield ""
    if report.sizes:
        sizes = report.sizes
        if sizes.different == 1:
            yield f"Image size: all {sizes.commonest[0]} x {sizes.commonest[1]}"
        else:
            yield (
                f"Image sizes: {sizes.different:,} different, {sizes.smallest[0]} x {sizes.smallest[1]} to "
                f"{sizes.largest[0]} x {sizes.largest[1]}, most often {sizes.commonest[0]} x {sizes.commonest[1]} "
                f"({sizes.commonest_share:.0%})"
            )
    if len(report.films) > 1:
        yield f"Patients in more than one split: {len(report.shared_patients):,}"
        yield from _listed(
            f"{each.patient}: {each.films} films in {', '.join(each.splits)}"
            for each in report.shared_patients
        )
    yield f"Unreadable files: {len(report.unreadable):,}"
    yield from (
        f"  {each.file}: {each.message}" for each in report.unreadable
    )  # all of them: each needs a hand
    for kind in ("identical", "near-identical"):
        # Those across splits or labels come first: they matter most.
        found = sorted(
            (each for each in report.copies if each.kind == kind),
            key=lambda each: (-len(each.labels), -len(each.splits), -each.correlation),
        )
        yield f"{kind.capitalize()} films: {_number(len(found), 'group', 'groups')}"
        yield from _listed(_copy_line(each) for each in found)
    for title, sentences in (("Problems", report.problems), ("Remarks", report.remarks)):
        if sentences:
            yield ""
            yield title
            yield from (f"  - {sentence}" for sentence in sentences)
    yield ""
    yield report.verdict


def _copy_line(copies: Copies) -> str:
    line = " = ".join(copies.files) if copies.kind == "identical" else " ~ ".join(copies.files)
    if copies.kind != "identical":
        line += f" (correlation {copies.correlation:.3f})"
    if len(copies.labels) > 1:
        line += " LABELS DISAGREE"
    return line


def _listed(lines: Iterator[str]) -> Iterator[str]:
    every = list(lines)
    yield from (f"  {line}" for line in every[:_SHOWN])
    if len(every) > _SHOWN:
        yield f"  … and {len(every) - _SHOWN:,} more"
