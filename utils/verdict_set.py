"""Cases with a verdict become a set of films to train on.

The kept films of the cases that somebody called NORMAL or PNEUMONIA are decrypted into a folder as `utils.uploads`
keeps them, so that every screen that takes a set takes this one too::

    <home>/data/<name>/train/NORMAL/patient00012_K7M2-QX4D.png
                       upload.json

The number counts the patients by their first film, and `model.dataset` keeps the films of one patient on one side;
after it stands the case's pseudonym. There is never a test split of cases: films to measure on must be the same for
all versions. A film that is a copy of one in the test split of a registered set is left out, too, because somebody may
have dropped test films on Diagnose.

On request the training films of a registered set stand beside them, as links, with its test split: cases of a few
months are too few to train on alone.

The films lie decrypted until the set is deleted; the folder is readable by the server's user alone. A case that is
deleted takes its film out of the sets, see `sweep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from PIL import Image
from sqlalchemy import func, select

from model.datacheck import Look, copies_among, look_at
from model.dataset import CLASSES, DatasetError, Film, read_dataset
from model.scoring import ScoringCancelled
from utils import audit_trail, database, film_store, uploads
from utils.decisions import CANNOT_TELL
from utils.film_store import FilmStoreError
from utils.permissions import Action, Person
from utils.settings import SettingsError
from utils.tables import Case
from utils.uploads import Facts, Upload, UploadError

SOURCE = "cases with a verdict"
LEAST = 10
"""Films of each class, where no other set stands beside them."""
_TRAIN, _TEST = "train", "test"
_MINE = "case"


class VerdictSetError(UploadError):
    """A set of cases that cannot be made; one sentence."""


@dataclass(frozen=True)
class Available:
    """The cases that a set can be made of at the moment.

    Attributes:
        films: with the verdict NORMAL or PNEUMONIA and a kept film, by class.
        patients: pseudonyms of patients among them; a case without one counts as a patient of its own.
        without_patient: how many have none.
        without_film: cases with such a verdict whose film was not kept.
        refused: with such a verdict, of a picture that was refused and not overruled.
        cannot_tell: cases whose verdict is CANNOT TELL.
    """

    films: dict[str, int]
    patients: int
    without_patient: int
    without_film: int
    refused: int
    cannot_tell: int

    @property
    def total(self) -> int:
        return sum(self.films.values())


@dataclass(frozen=True)
class _Row:
    pseudonym: str
    patient: str | None
    image: str
    verdict: str


def available() -> Available:
    """What there is.

    Raises:
        DatabaseError, SettingsError: the database cannot be read.
    """
    judged = Case.probability.is_not(None)
    labelled = Case.verdict.in_(CLASSES)
    query = select(
        func.count().filter(Case.verdict == CLASSES[0], Case.film, judged),
        func.count().filter(Case.verdict == CLASSES[1], Case.film, judged),
        func.count(Case.patient.distinct()).filter(labelled, Case.film, judged),
        func.count().filter(labelled, Case.film, judged, Case.patient.is_(None)),
        func.count().filter(labelled, ~Case.film, judged),
        func.count().filter(labelled, ~judged),
        func.count().filter(Case.verdict == CANNOT_TELL),
    )
    with database.snapshot() as session:
        normal, pneumonia, named, without_patient, without_film, refused, cannot_tell = session.execute(
            query
        ).one()
    return Available(
        films={CLASSES[0]: normal, CLASSES[1]: pneumonia},
        patients=named + without_patient,
        without_patient=without_patient,
        without_film=without_film,
        refused=refused,
        cannot_tell=cannot_tell,
    )


def problem(found: Available, *, alone: bool = True) -> str:
    """Why no set can be made of these, in one sentence; empty where it can.

    Args:
        found: what there is.
        alone: whether no other set stands beside them.
    """
    if not found.total and found.without_film:
        return (
            f"{_cases(found.without_film)} a verdict, but no film is kept of them: have films kept under "
            "Administration, Records; it holds for films read from then on."
        )
    if not found.total:
        return (
            "No case has the verdict NORMAL or PNEUMONIA yet: save the films that are read, and give verdicts in the "
            "Worklist."
        )
    return _too_few(found.films, alone=alone)


def _too_few(films: dict[str, int], *, alone: bool) -> str:
    if not alone:
        return "" if any(films.values()) else "No film of a case is left to add."
    for name, other in (CLASSES, CLASSES[::-1]):
        if not films[name]:
            return (
                f"All {films[other]:,} films have the verdict {other}: a network needs films of {name} too, from more "
                "verdicts or from a set beside them."
            )
    if min(films.values()) < LEAST:
        return (
            f"There are {films[CLASSES[0]]:,} films of NORMAL and {films[CLASSES[1]]:,} of PNEUMONIA, and {LEAST} of "
            "each are needed: wait for more verdicts, or put a set beside them."
        )
    return ""


def make(
    home: Path, *, name: str, who: Person, tests: Sequence[Path] = (), with_set: Path | None = None
) -> Upload:
    """Make a set in the background; `utils.uploads.latest` is it from then on.

    Args:
        home: of the installation.
        name: of the set, as `utils.uploads.checked_name` takes it.
        who: must be permitted to train.
        tests: folders whose test splits must stay unseen.
        with_set: folder of a set whose training films, and test split, stand beside the cases.

    Raises:
        Forbidden: `who` may not.
        UploadError: the name cannot be used, there are too few cases, another set is being made, or the disk is full.
        DatabaseError, SettingsError: the database cannot be read.
    """
    who.require(Action.TRAIN)
    name = uploads.checked_name(home, name)
    if sentence := problem(available(), alone=with_set is None):
        raise VerdictSetError(sentence)
    if sentence := film_store.problem():
        raise VerdictSetError(sentence)
    upload = Upload(name=name, who=who.title, words="Decrypted and compared")
    return uploads.begin(
        home,
        upload,
        size=film_store.size()[1],
        make=lambda upload, root: _make(root, upload, who=who, tests=tests, with_set=with_set),
    )


def sweep(home: Path) -> int:
    """Take films out of all sets whose case is gone, or keeps its film no more, and what a killed server left.

    Call it within `film_store.removing`, so that no set is put in place meanwhile.

    Returns:
        How many films went.

    Raises:
        DatabaseError, SettingsError: the database cannot be read.
        VerdictSetError: a film cannot be removed.
    """
    uploads.tidy(home)
    files = [
        file
        for folder in uploads.uploaded_sets(home)
        if (facts := uploads.facts_of(folder)) is not None and facts.source == SOURCE
        for file in folder.glob(f"{_TRAIN}/*/patient*_*.png")
        if not file.is_symlink()  # a link is a film of the set beside
    ]
    there = _there(_pseudonym(file) for file in files)
    gone = [file for file in files if _pseudonym(file) not in there]
    try:
        for file in gone:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise VerdictSetError(
            f"A film in a set of cases cannot be removed ({error.strerror}): tell your administrator."
        ) from error
    return len(gone)


def _pseudonym(file: Path) -> str:
    return file.stem.partition("_")[2]


# --- making ---


def _make(root: Path, upload: Upload, *, who: Person, tests: Sequence[Path], with_set: Path | None) -> Path:
    with uploads.beside(root) as folder, _in_a_sentence():
        others = [*_test_films(tests), *_beside(with_set)]
        rows = _rows()
        files = _decrypted(rows, folder, upload, more=len(rows) + len(others))
        kept, remarks = _sorted_out(files, others, upload)
        films = {name: sum(row.verdict == name for row in kept) for name in CLASSES}
        if sentence := _too_few(films, alone=with_set is None):
            raise VerdictSetError(f"{sentence} {' '.join(remarks)}".strip())
        if with_set is not None:
            _link(with_set, folder)
            remarks.insert(
                0, f"Beside the cases stand the training films of {with_set.name}, and its test films."
            )
        facts = Facts(created=datetime.now(UTC), who=upload.who, source=SOURCE, remarks=tuple(remarks))
        audit_trail.record(
            "export",
            who=who,
            subject=f"set of films {upload.name}",
            after={**films, "with": "" if with_set is None else with_set.name},
        )
        with film_store.adding():  # no case can be deleted here, or its film would be left behind
            there = _there(row.pseudonym for row in kept)
            for row, file in files.items():
                if row.pseudonym not in there:
                    file.unlink(missing_ok=True)
            return uploads.put_in_place(root, upload, folder, facts)


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except (database.DatabaseError, FilmStoreError, SettingsError, DatasetError) as error:
        raise VerdictSetError(str(error)) from error


def _rows() -> tuple[_Row, ...]:
    """The cases that have a verdict and a film, the oldest first."""
    query = (
        select(Case.pseudonym, Case.patient, Case.image, Case.verdict)
        .where(Case.verdict.in_(CLASSES), Case.film, Case.probability.is_not(None))
        .order_by(Case.created, Case.id)
    )
    with database.snapshot() as session:
        return tuple(
            _Row(pseudonym, patient, image, str(verdict))
            for pseudonym, patient, image, verdict in session.execute(query)
        )


def _there(pseudonyms: Iterable[str]) -> set[str]:
    wanted, found = list(pseudonyms), set[str]()
    with database.snapshot() as session:
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            found.update(session.scalars(select(Case.pseudonym).where(Case.pseudonym.in_(part), Case.film)))
    return found


def _test_films(folders: Sequence[Path]) -> list[Film]:
    """The films of all test splits. A folder that is no set of films has none."""
    found: list[Film] = []
    for folder in folders:
        try:
            found += read_dataset(folder, both_classes=False).split(_TEST)
        except (DatasetError, OSError):
            continue
    return found


def _beside(folder: Path | None) -> list[Film]:
    """The training films of a set, as `model.training` takes them, and its test split."""
    if folder is None:
        return []
    dataset = read_dataset(folder, both_classes=False)
    training = dataset.split(_TRAIN) or dataset.split("all")
    return [replace(film, split=_TRAIN) for film in training] + list(dataset.split(_TEST))


def _decrypted(rows: Sequence[_Row], folder: Path, upload: Upload, *, more: int) -> dict[_Row, Path]:
    """Write the films as PNG; one that is not where it was kept is left out."""
    folder.chmod(0o700)
    for name in CLASSES:
        (folder / _TRAIN / name).mkdir(parents=True)
    files = {}
    for index, row in enumerate(rows, start=1):
        if upload.cancelled:
            raise ScoringCancelled
        pixels = film_store.get(row.image)
        if pixels is not None:
            files[row] = folder / _TRAIN / row.verdict / f"{row.pseudonym}.png"
            Image.fromarray(pixels).save(files[row], compress_level=1)
            files[row].chmod(0o600)
        upload.progress(index, len(rows) + more)
    return files


def _sorted_out(
    files: dict[_Row, Path], others: Sequence[Film], upload: Upload
) -> tuple[list[_Row], list[str]]:
    """Remove films that must not be trained on, give the others the names of their patients.

    Returns:
        What is kept, the oldest first, and sentences on what is not and why.
    """
    rows = list(files)
    films = [Film(files[row], _MINE, CLASSES.index(row.verdict), "", -1, "") for row in rows]
    everything = [*films, *others]
    seen: list[Look] = []
    start = upload.done
    for look, _ in look_at(everything, workers=1):
        if upload.cancelled:
            raise ScoringCancelled
        seen.append(look)
        upload.progress(start + len(seen), upload.total)
    copies = copies_among(everything, [str(index) for index in range(len(everything))], seen)
    # A film that was corrected when it was read differs from its file, whose hash tells all the same.
    of_file: dict[str, list[int]] = {}
    for index, look in enumerate(seen[len(rows) :], start=len(rows)):
        of_file.setdefault(look.sha256, []).append(index)
    groups = [[int(name) for name in each.files] for each in copies]
    groups += [[index, *of_file[row.image]] for index, row in enumerate(rows) if row.image in of_file]
    return _chosen(files, rows, everything, groups)


def _chosen(
    files: dict[_Row, Path], rows: Sequence[_Row], films: Sequence[Film], groups: Sequence[Sequence[int]]
) -> tuple[list[_Row], list[str]]:
    families, patients = _Families(), _Families()
    for group in groups:
        for one, other in pairwise(group):
            families.join(str(one), str(other))
    members: dict[str, list[int]] = {}
    for index in sorted({index for group in groups for index in group}.union(range(len(rows)))):
        members.setdefault(families.head(str(index)), []).append(index)
    gone: Counter[str] = Counter()
    kept: set[int] = set()
    for family in members.values():
        mine = [index for index in family if index < len(rows)]
        for one, other in pairwise(mine):  # one film under two pseudonyms: one patient
            patients.join(_patient(rows[one]), _patient(rows[other]))
        splits = {films[index].split for index in family}
        if _TEST in splits:
            gone[_TEST] += len(mine)
        elif len({films[index].label for index in family}) > 1:
            gone["disagree"] += len(mine)
        elif _TRAIN in splits:
            gone["copies"] += len(mine)
        else:
            gone["copies"] += len(mine[1:])
            kept.update(mine[:1])
    numbers: dict[str, int] = {}
    # A set beside them may have patients by number, too.
    taken = max((film.number for film in films if film.series == "patient"), default=0)
    for index, row in enumerate(rows):
        if index not in kept:
            files.pop(row).unlink()
            continue
        number = numbers.setdefault(patients.head(_patient(row)), taken + len(numbers) + 1)
        files[row] = files[row].rename(files[row].with_name(f"patient{number:05d}_{row.pseudonym}.png"))
    return list(files), list(_in_words(gone))


def _patient(row: _Row) -> str:
    return f"patient {row.patient}" if row.patient else f"case {row.pseudonym}"


class _Families:
    """Names that belong together: a union-find forest."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def head(self, name: str) -> str:
        while (above := self._above.get(name, name)) != name:
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        self._above[self.head(other)] = self.head(one)


def _link(source: Path, folder: Path) -> None:
    """Links to the films of a set: to train on, and to measure on."""
    for film in _beside(source):
        parts = film.path.relative_to(source).parts
        below = parts[parts.index(film.class_name) + 1 :]
        place = folder.joinpath(film.split, film.class_name, *below)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(film.path.absolute())


def _in_words(gone: Counter[str]) -> Iterator[str]:
    if gone["copies"]:
        yield f"{_films(gone['copies'])} left out as copies of others."
    if gone["disagree"]:
        yield f"{_films(gone['disagree'])} left out because copies of them have another verdict or label."
    if gone[_TEST]:
        yield f"{_films(gone[_TEST])} left out because they are in a test split."


def _films(count: int) -> str:
    return "1 film was" if count == 1 else f"{count:,} films were"


def _cases(count: int) -> str:
    return "1 case has" if count == 1 else f"{count:,} cases have"
