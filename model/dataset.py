"""A folder of class folders becomes a checked list of films, with patients, subgroups and splits.

Names of the public paediatric set (Kermany, Zhang, Goldbaum; Mendeley Data rscbjbr9sj) carry a patient number *per
series*: ``person12_bacteria_34.jpeg`` and ``person12_virus_34.jpeg`` are two patients, and so are ``IM-0012-…`` and
``NORMAL2-IM-0012-…``. The patient key is therefore the pair (series, number), never the number alone.

Films that a department has given verdicts on are called ``patient12_K7M2-QX4D.png``: the number counts its patients
from the first to the last, and films of both classes may be of one patient.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.films import is_dicom

CLASSES = ("NORMAL", "PNEUMONIA")
"""Class names; the position of a name is its label, so PNEUMONIA is 1."""

SPLITS = ("train", "val", "test")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".dcm", ".dicom")
DICOM_START = 132
"""Bytes of a file that tell whether it is DICOM."""

ValidationMethod = Literal["edges", "blocks", "patients", "films"]

_PNEUMONIA_NAME = re.compile(r"^person(?P<number>\d+)_(?P<series>bacteria|virus)_", re.IGNORECASE)
_CASE_NAME = re.compile(r"^(?P<series>patient)(?P<number>\d+)_", re.IGNORECASE)
_NORMAL_NAME = re.compile(r"^(?P<series>(?:NORMAL2-)?IM)-(?P<number>\d+)-", re.IGNORECASE)


class DatasetError(ValueError):
    """The folder cannot be used; the message says what was found and what is expected."""


@dataclass(frozen=True)
class Film:
    """One image file with what its place and its name say about it.

    ``series`` and ``number`` are empty and -1 where the name carries no patient number: the film is then a patient of
    its own. ``subgroup`` is ``bacteria``, ``virus``, ``normal`` or, where the cause is not known, ``pneumonia``.
    """

    path: Path
    split: str
    label: int
    series: str
    number: int
    subgroup: str

    @property
    def patient(self) -> str:
        """The patient key, for example ``bacteria-12``; the file's own name where no number is known."""
        return f"{self.series}-{self.number}" if self.series else f"film {self.path.name}"

    @property
    def class_name(self) -> str:
        return CLASSES[self.label]


@dataclass(frozen=True)
class Dataset:
    """The films of one folder, in a stable order (split, class, name)."""

    root: Path
    films: tuple[Film, ...]

    def split(self, name: str) -> tuple[Film, ...]:
        """The films of ``train``, ``val``, ``test`` or, for a folder without splits, ``all``."""
        return tuple(film for film in self.films if film.split == name)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(film.split for film in self.films))


def patient_key(name: str) -> tuple[str, int] | None:
    """The (series, number) that a file name carries, or None.

    >>> patient_key("person12_virus_34.jpeg")
    ('virus', 12)
    >>> patient_key("NORMAL2-IM-0381-0001.jpeg")
    ('NORMAL2-IM', 381)
    >>> patient_key("patient0012_K7M2-QX4D.png")
    ('patient', 12)
    """
    match = _PNEUMONIA_NAME.match(name)
    match = match or _CASE_NAME.match(name)
    if match:
        return match["series"].lower(), int(match["number"])
    match = _NORMAL_NAME.match(name)
    if match:
        return match["series"].upper(), int(match["number"])
    return None


def read_dataset(folder: Path, *, both_classes: bool = True) -> Dataset:
    """List the films of ``folder``: ``train/NORMAL``, ``train/PNEUMONIA``, ``test/…``, ``val/…`` or two class folders.

    No image is opened here. Raises `DatasetError` for a missing folder, a wrong layout or an empty class. With
    ``both_classes=False`` a class may be missing or empty, for looking at a set rather than training with it; one film
    at least there must be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}: give the folder that holds the class folders.")
    roots = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    if not roots and any((folder / name).is_dir() for name in CLASSES):
        roots = {"all": folder}
    if not roots:
        raise DatasetError(
            f"{folder} holds neither class folders (NORMAL, PNEUMONIA) nor split folders (train, test) with them."
        )
    films: list[Film] = []
    for split, root in roots.items():
        for label, class_name in enumerate(CLASSES):
            class_folder = root / class_name
            if not class_folder.is_dir():
                if not both_classes:
                    continue
                raise DatasetError(f"{root} has no folder {class_name}: both classes are needed.")
            found = [_film(path, split, label) for path in _image_files(class_folder)]
            if not found and both_classes:
                raise DatasetError(
                    f"{class_folder} holds no image ({', '.join(EXTENSIONS)}): both classes are needed."
                )
            films.extend(found)
    if not films:
        raise DatasetError(f"{folder} holds no image ({', '.join(EXTENSIONS)}) in its class folders.")
    return Dataset(root=folder, films=tuple(films))


def is_film(path: Path) -> bool:
    """Whether a file of a folder is taken for a film: by its ending, or by its content where its name has none."""
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.suffix.lower() in EXTENSIONS:
        return True
    if not may_be_dicom(path.name):
        return False
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(DICOM_START))
    except OSError:
        return False


def may_be_dicom(name: str) -> bool:
    """Whether a file of this name may be DICOM though it has no ending, as on discs from hospitals.

    Names there are often numbers with dots: 1.2.840.113619.2.5. Their table of contents, DICOMDIR, is no film.
    """
    ending = PurePath(name).suffix
    return name.upper() != "DICOMDIR" and (ending == "" or ending[1:].isdigit())


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_film(path))


def _film(path: Path, split: str, label: int) -> Film:
    key = patient_key(path.name)
    series, number = key if key else ("", -1)
    if label == 0:
        subgroup = "normal"
    else:
        subgroup = series if series in ("bacteria", "virus") else "pneumonia"
    return Film(path=path, split=split, label=label, series=series, number=number, subgroup=subgroup)


def labels(films: Sequence[Film]) -> NDArray[np.int64]:
    """Reference labels, int64 ``(n,)``: 0 NORMAL, 1 PNEUMONIA."""
    return np.array([film.label for film in films], dtype=np.int64)


def fingerprint(films: Iterable[Film], root: Path, *, hashes: Mapping[Path, bytes] | None = None) -> str:
    """SHA-256 over every film's relative path and content: two sets with one fingerprint are the same set.

    ``hashes``: SHA-256 digests by path, where the films have been read already; a film without one could not be read.
    """
    digest = hashlib.sha256()
    for film in sorted(films, key=lambda film: film.path):
        digest.update(film.path.relative_to(root).as_posix().encode(errors="surrogateescape"))
        if hashes is None:
            digest.update(hashlib.sha256(film.path.read_bytes()).digest())
        else:
            digest.update(hashes.get(film.path, b""))
    return digest.hexdigest()


def hold_out(
    films: Sequence[Film],
    *,
    method: ValidationMethod = "blocks",
    fraction: float = 0.15,
    seed: int = 0,
    series: str | None = None,
) -> tuple[tuple[Film, ...], tuple[Film, ...]]:
    """Part ``films`` into (training, validation); no patient is on both sides except with ``method="films"``.

    ``blocks`` takes one contiguous run of patient numbers from each series (names without numbers: patients at
    random), because neighbouring numbers were taken and processed alike and films drawn at random flatter a network.
    ``edges`` takes the lowest and the highest numbers of each series, half of the films each: their neighbours on one
    side were never trained on, as those of films from another time.
    ``patients`` draws patients at random within each series, ``films`` draws films at random within each class.
    Of a series that holds both classes, patients without pneumonia and patients with it are parted one after the other,
    so that both classes are on both sides. ``series`` names one series to hold out whole, in addition: a harder test
    than any block.

    The draw depends on the names and ``seed`` alone. Raises `DatasetError` if either side would lack a class.
    """
    if not 0 < fraction < 1:
        raise DatasetError(f"The validation fraction must lie between 0 and 1, not {fraction}.")
    random = np.random.default_rng(seed)
    if method == "films":
        groups = {(film.class_name, f"{index}"): [film] for index, film in enumerate(films)}
    else:
        groups = defaultdict(list)
        for film in films:
            groups[(film.series or film.class_name, film.patient)].append(film)
    by_series: dict[tuple[str, bool], list[list[Film]]] = defaultdict(list)
    for (name, _), members in groups.items():
        by_series[name, any(film.label for film in members)].append(members)
    held: set[Path] = set()
    for name, ill in sorted(by_series):
        patients = sorted(by_series[name, ill], key=lambda members: (members[0].number, members[0].path.name))
        if series is not None and name == series:
            chosen = patients
        elif method == "edges" and patients[0][0].number >= 0:
            chosen = _edges(patients, fraction)
        else:
            contiguous = method == "blocks" and patients[0][0].number >= 0
            chosen = _take(patients, fraction, random, contiguous=contiguous)
        held.update(film.path for members in chosen for film in members)
    known = sorted({name for name, _ in by_series})
    if series is not None and series not in known:
        raise DatasetError(f"There is no series {series}; the names hold {', '.join(known)}.")
    training = tuple(film for film in films if film.path not in held)
    validation = tuple(replace(film, split="validation") for film in films if film.path in held)
    for side, part in (("training", training), ("validation", validation)):
        if {film.label for film in part} != {0, 1}:
            raise DatasetError(f"The {side} part would lack a class: give more films or another fraction.")
    return training, validation


def _edges(patients: list[list[Film]], fraction: float) -> list[list[Film]]:
    """Patients at both ends of the numbers that hold about ``fraction`` of the films; one patient at least stays."""
    sizes = np.array([len(members) for members in patients])
    before = np.cumsum(sizes) - sizes
    wanted = fraction * sizes.sum() / 2
    outside = (before < wanted) | (before + sizes > sizes.sum() - wanted)
    if outside.all():
        outside[len(patients) // 2] = False
    return [members for members, chosen in zip(patients, outside, strict=True) if chosen]


def _take(
    patients: list[list[Film]], fraction: float, random: np.random.Generator, *, contiguous: bool
) -> list[list[Film]]:
    """Patients that hold about ``fraction`` of the films: one run of neighbours, or drawn one by one."""
    sizes = np.array([len(members) for members in patients])
    wanted = fraction * sizes.sum()
    if contiguous:
        before = np.concatenate([[0], np.cumsum(sizes)])
        last_start = int(np.searchsorted(before, before[-1] - wanted, side="right")) - 1
        start = int(random.integers(0, max(last_start, 0) + 1))
        stop = int(np.searchsorted(before, before[start] + wanted))
        return patients[start : max(stop, start + 1)]
    order = random.permutation(len(patients))
    stop = int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1
    return [patients[index] for index in order[:stop]]
