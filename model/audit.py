"""Can it cheat? How well a version still tells the classes apart on films from which something was taken away.

Each film is read again with its lungs painted over, with everything but its lungs painted over, without its borders,
and so on (`CHANGES`). What is left of the AUC says where the network's knowledge comes from: with the lungs gone it
should fall far; without borders, letters or its own exposure it should stay. Differences are paired, on the same films
(DeLong, DeLong & Clarke-Pearson 1988, by :func:`model.curves.compare_auc`).

Where something is painted over, it is done twice, in black and in the mean grey of what is left: what holds for one
fill alone would be a reaction to the paint. A network was not trained on painted films, so its AUC on them says what
*this* network makes of the rest, not what could be learnt from it.

Last, films are given the lungs of other films, drawn at random (`Exchange`): whose label the network then gives, that
of the lungs or that of what surrounds them, needs no paint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from model.curves import compare_auc
from model.dataset import DatasetError, Film, labels, read_dataset
from model.evaluation import Interval, auc
from model.films import ImageError, prepare, read_xray
from model.lungs import Grey, Lungs, Mask, dice, find_lungs, grown, hull, stability
from model.registry import Version
from model.scoring import Reader

Fill = Literal["", "black", "mean"]

FILLS: tuple[Fill, ...] = ("black", "mean")
NO_FILL: tuple[Fill, ...] = ("",)
TARGET = 0.15
"""With the lungs painted over, the AUC is to lie at least this far below that of the full film, with either fill."""
BORDER = 1 / 8
"""Of the side, on each of the four."""
CROP_MARGIN = 0.08
"""Of the box around the lungs."""
STABILITY_FILMS = 60
EXCHANGED_FILMS = 1000
"""At most so many films get the lungs of others: they are held in memory, 50 kB each."""
EXCHANGED_AT_ONCE = 32
VALIDATION: Literal["validation"] = "validation"
FULL = "full"
LUNGS_OUT = "lungs-out"


@dataclass(frozen=True)
class Change:
    """One thing that is done to every film.

    Attributes:
        key: as in the report.
        name: as on screen; ``short``: beside a figure.
        done: what is done, one sentence.
        question: what its AUC answers, one sentence.
        apply: (film, lungs, fill) -> changed film, uint8 of the same shape.
        painted: whether a fill is used.
    """

    key: str
    name: str
    short: str
    done: str
    question: str
    apply: Callable[[Grey, Lungs, Fill], Grey]
    painted: bool = False


@dataclass(frozen=True)
class View:
    """What one change, with one fill, leaves of the AUC.

    Attributes:
        key: of the `Change`.
        fill: "black", "mean" (the mean grey of what is left of the film), or "" where nothing is painted.
        auc: area under the ROC, with its 95 % interval (DeLong).
        difference: AUC of the full films less this one, paired; with its 95 % interval, None where the films say
            nothing of the spread.
    """

    key: str
    fill: Fill
    auc: float
    interval: Interval
    difference: float
    difference_interval: Interval | None
    p_value: float | None


@dataclass(frozen=True)
class Exchange:
    """Films whose lungs are those of another film of the split (`model.transplant.exchange`).

    Attributes:
        films: of that kind, read.
        lungs: AUC towards the label of the film that the lungs are from, with its 95 % interval (DeLong); 1 is best.
        surroundings: AUC towards the label of the film that they were put into; 0.5 is best.
    """

    films: int
    lungs: float
    lungs_interval: Interval
    surroundings: float
    surroundings_interval: Interval


@dataclass(frozen=True)
class Steadiness:
    """Dice of a change of :func:`model.lungs.stability`: mean and 5th percentile over films."""

    mean: float
    low: float


@dataclass(frozen=True)
class Masks:
    """What can be said of the masks without true ones.

    Attributes:
        from_film: masks fitted to their film; ``from_atlas``: films whose lungs were not found.
        area: share of the film: 5th, 50th and 95th percentile.
        symmetry: median Dice of a mask with its own mirror image.
        marks: films on which a letter or mark was found.
        stability_films: films on which ``stability`` was measured, by the name of the change.
    """

    from_film: int
    from_atlas: int
    area: tuple[float, float, float]
    symmetry: float
    marks: int
    stability_films: int
    stability: dict[str, Steadiness]


@dataclass(frozen=True)
class Audit:
    """What one audit found.

    Attributes:
        films: read; ``normal`` and ``pneumonia`` are those of each class.
        split: of the data set, or "validation": the films that the version was validated on.
        views: in the order of `CHANGES`; the first is of the full films.
        size: how well the width alone tells the classes apart; None where all films have one size.
        size_words: one sentence on it.
        left_out: files that could not be read.
        exchange: films with the lungs of others; None where no two films have lungs that were found, and in reports
            of before it was measured.
    """

    version: str
    split: str
    films: int
    normal: int
    pneumonia: int
    views: tuple[View, ...]
    size: View | None
    size_words: str
    masks: Masks
    engine: str
    left_out: int
    exchange: Exchange | None = None

    @property
    def all_views(self) -> tuple[View, ...]:
        """The views, the width's last where there is one."""
        return self.views if self.size is None else (*self.views, self.size)

    def as_json(self, *, command: str) -> dict[str, Any]:
        """The report of the version folder (``audit.json``)."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        figures = TypeAdapter(Audit).dump_python(self, mode="json")
        return {"created": created, "command": command, "target": TARGET, **figures}


def read_audit(report: Mapping[str, Any]) -> Audit:
    """The audit of a report that :meth:`Audit.as_json` made; ValueError, one sentence, where it is none."""
    known = {change.key for change in CHANGES}
    try:
        found = TypeAdapter(Audit).validate_python(report)
    except ValidationError:
        found = None
    if (
        found is None
        or not known >= {view.key for view in found.views} >= {FULL, LUNGS_OUT}
        or found.views[0].key != FULL
    ):
        raise ValueError("The audit report does not hold what an audit finds; run it again.")
    return found


# --- what is done to the films ----------------------------------------------------------------------


def painted(film: Grey, mask: Mask, fill: Fill) -> Grey:
    """The film with one grey level where the mask says: black, or the mean of what is left.

    The mean of the whole film would give away how bright the part was that is painted over.
    """
    left = film[~mask]
    level = round(float(left.mean())) if fill == "mean" and left.size else 0
    return np.where(mask, np.uint8(level), film)


def _lungs_out(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    return painted(film, lungs.with_edge, fill)


def _chest_out(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    return painted(film, hull(lungs.with_edge), fill)


def _lungs_out_cropped(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    return cropped(painted(film, lungs.with_edge, fill), lungs)


def _lungs_only(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    return painted(film, ~lungs.with_edge, fill)


def _outline(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    return np.where(lungs.with_edge, np.uint8(60), np.full_like(film, 200))


def border_mask(shape: tuple[int, int]) -> Mask:
    """The outer eighth of a film (height, width), on each side."""
    mask = np.ones(shape, dtype=np.bool_)
    rows, columns = (round(BORDER * side) for side in shape)
    mask[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return mask


def _borders_out(film: Grey, lungs: Lungs, fill: Fill) -> Grey:
    height, width = film.shape
    return painted(film, border_mask((height, width)), fill)


def cropped(film: Grey, lungs: Lungs) -> Grey:
    """The box around both lungs with a small margin, stretched to the film's size."""
    height, width = film.shape
    rows, columns = (np.flatnonzero(lungs.mask.any(axis=axis)) for axis in (1, 0))
    down, across = CROP_MARGIN * (rows[-1] - rows[0]), CROP_MARGIN * (columns[-1] - columns[0])
    box = (
        max(0.0, columns[0] - across),
        max(0.0, rows[0] - down),
        min(float(width), columns[-1] + 1 + across),
        min(float(height), rows[-1] + 1 + down),
    )
    return np.asarray(Image.fromarray(film).resize((width, height), Image.Resampling.BILINEAR, box=box))


def _bells() -> NDArray[np.float64]:
    return np.array([NormalDist(128, 56).inv_cdf((rank + 0.5) / 1024) for rank in range(1024)])


_BELL = _bells()


def same_histogram(film: Grey) -> Grey:
    """The film's grey levels by their ranks, so that every film has the same bell-shaped histogram."""
    counts = np.bincount(film.ravel(), minlength=256)
    ranks = (np.cumsum(counts) - counts / 2) / film.size  # films of equal grey levels share a rank
    levels = _BELL[np.minimum((ranks * 1024).astype(np.int64), 1023)]
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[film]


def marks(film: Grey, lungs: Lungs) -> Mask:
    """Letters, electrodes and other bright compact marks outside the lungs, bool (height, width).

    What is brighter than its surroundings by a fifth of the range, at most a sixth of the side wide and high, outside
    the lungs, and as steep at its edge as no bone is: a tenth of the range a pixel of a film of 224.
    """
    from scipy import ndimage

    side = float(np.mean(film.shape))
    reach = max(3, round(0.07 * side) | 1)
    bright = (film.astype(np.int16) - ndimage.grey_opening(film, size=(reach, reach))) > 50
    slope = ndimage.gaussian_gradient_magnitude(film.astype(np.float32), max(0.5, side / 320)) * side / 224
    pieces, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    inside = grown(lungs.mask, 0.01)
    found = np.zeros(film.shape, dtype=np.bool_)
    for number, place in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[place] == number
        if max(piece.shape) > side / 6 or piece.sum() < 6 or inside[place][piece].any():
            continue
        if np.percentile(slope[place][piece], 75) >= 26:
            found[place] |= piece
    return grown(found, 0.01)


def blotted(film: Grey, mask: Mask) -> Grey:
    """The film with what surrounds the masked places in their stead."""
    from scipy import ndimage

    spread = 0.02 * float(np.mean(film.shape))
    known = (~mask).astype(np.float32)
    weight = ndimage.gaussian_filter(known, spread)
    around = ndimage.gaussian_filter(film * known, spread) / np.maximum(weight, 1e-6)
    around = np.where(weight > 1e-4, around, film[~mask].mean() if (~mask).any() else 0.0)
    return np.where(mask, np.clip(np.rint(around), 0, 255), film).astype(np.uint8)


CHANGES: tuple[Change, ...] = (
    Change(FULL, "Full film", "Full film",
        "Nothing is changed.", "The network as it is used.", lambda film, *_: film),
    Change(
        LUNGS_OUT, "Lungs painted over", "No lungs",
        "Both lung fields and a narrow edge around them are painted over.",
        "What it tells without lungs: 0.5 would be nothing.",
        _lungs_out, painted=True,
    ),
    Change(
        "chest-out", "Lungs and all between them painted over", "No chest",
        "The convex hull of both lungs is painted over: lungs, heart, spine, the domes of the diaphragm.",
        "What it tells from neck, arms, belly and borders, where pneumonia cannot be seen.",
        _chest_out, painted=True,
    ),
    Change(
        "cropped-lungs-out", "Lungs painted over, cropped to them", "No lungs, cropped",
        "The lungs are painted over, then the box around them is cut out and stretched to a whole film.",
        "What it tells from the heart and the outline alone, without position and surroundings.",
        _lungs_out_cropped, painted=True,
    ),
    Change(
        "outline", "Outline of the lungs alone",
        "Outline", "Nothing but the shape and place of the mask, in two greys.",
        "What the shape of the hole gives away, whatever was in it.",
        _outline,
    ),
    Change(
        "lungs-only", "Only the lungs",
        "Only lungs", "Everything but the lung fields is painted over.",
        "What it tells from the lungs alone.", _lungs_only, painted=True,
    ),
    Change(
        "borders-out", "Borders painted over", "No borders",
        "The outer eighth of the film on each side is painted over.",
        "Whether it needs what stands at the edges: letters, collimator, arms.",
        _borders_out, painted=True,
    ),
    Change(
        "cropped", "Cropped to the lungs",
        "Cropped", "The box around both lungs is cut out and stretched to a whole film.",
        "Whether it needs to see how the film was cropped and the child placed.",
        lambda film, lungs, _: cropped(film, lungs),
    ),
    Change(
        "exposure", "Same brightness and contrast", "One exposure",
        "Grey levels are replaced by ranks: all films have one histogram.",
        "Whether it needs the exposure.", lambda film, *_: same_histogram(film),
    ),
    Change(
        "markers", "Letters and marks blotted out", "No letters",
        "Bright compact marks outside the lungs are replaced by what surrounds them.",
        "Whether it reads letters, electrodes and clips.",
        lambda film, lungs, _: blotted(film, marks(film, lungs)),
    ),
)  # fmt: skip
CHANGE = {change.key: change for change in CHANGES}
SIZE = Change(
    "size", "Width of the file alone", "Width alone", "No picture: only how many pixels wide the file is.",
    "What a network could know that sees how large a film was.", lambda film, *_: film,
)  # fmt: skip


def variants(film: Grey, lungs: Lungs) -> list[tuple[str, Fill, Grey]]:
    """A film, uint8 (height, width), in all changes and fills, in the order of `CHANGES`."""
    return [
        (change.key, fill, change.apply(film, lungs, fill))
        for change in CHANGES
        for fill in (FILLS if change.painted else NO_FILL)
    ]


# --- the audit --------------------------------------------------------------------------------------


def films_of(folder: Path, version: Version, split: str) -> tuple[Film, ...]:
    """The films of a split, or those that the version was validated on ("validation").

    Raises:
        DatasetError: there are none, or not all.
        VersionError: the version has no validation predictions.
    """
    dataset = read_dataset(folder)
    if split != VALIDATION or VALIDATION in dataset.splits:
        films = dataset.split(split)
        if not films:
            raise DatasetError(
                f"{folder} has no folder {split}; it has: {', '.join(dataset.splits)}. '{VALIDATION}' takes the "
                "films that the version was validated on."
            )
        return films
    wanted = set(version.predictions(VALIDATION).files)
    films = tuple(film for film in dataset.films if film.path.relative_to(folder).as_posix() in wanted)
    if len(films) < len(wanted):
        raise DatasetError(
            f"{folder} holds {len(films)} of the {len(wanted)} films that version {version.name} was validated on; "
            "give the data set that it was trained on."
        )
    return films


def audit(
    folder: Path,
    version: Version,
    predictor: Reader,
    *,
    split: str = "test",
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    unreadable: Callable[[Path, str], None] | None = None,
) -> Audit:
    """Read every film of a split in all `variants`; about 0.3 s a film.

    Args:
        folder: a labelled data set.
        split: as :func:`films_of`.
        most: audit no more films than this, evenly from the whole split; None: all.
        progress: called with the number of films done and of all films.
        unreadable: called with each file that cannot be read, and why.

    Raises:
        DatasetError: no films, none that can be read, or only one class.
        VersionError: as :func:`films_of`.
    """
    films = films_of(folder, version, split)
    if most is not None and most < len(films):
        films = tuple(films[place] for place in np.linspace(0, len(films) - 1, most).round().astype(int))
    read: list[Film] = []
    left_out = 0
    widths: list[tuple[int, int]] = []
    scores: list[NDArray[np.float64]] = []
    masks: list[Lungs] = []
    steady: list[Mapping[str, float]] = []
    marked = 0
    order: list[tuple[str, Fill]] = []
    every = max(1, len(films) // STABILITY_FILMS)
    kept: list[tuple[Grey, Mask, int]] = []
    keep_every = -(-len(films) // EXCHANGED_FILMS)
    for number, film in enumerate(films):
        if progress is not None:
            progress(number, len(films))
        try:
            pixels = read_xray(film.path.read_bytes()).pixels
        except (OSError, ImageError) as error:
            left_out += 1
            if unreadable is not None:
                unreadable(film.path, str(error) if isinstance(error, ImageError) else "It cannot be read.")
            continue
        seen = np.ascontiguousarray(prepare(pixels, size=predictor.card.input_size)[:, :, 0])
        lungs = find_lungs(seen)
        changed = variants(seen, lungs)
        order = [(key, fill) for key, fill, _ in changed]
        images = np.stack([np.repeat(each[:, :, None], 3, axis=2) for _, _, each in changed])
        scores.append(predictor.predict(images))
        read.append(film)
        widths.append((pixels.shape[1], pixels.shape[0]))
        masks.append(lungs)
        marked += bool(marks(seen, lungs).any())
        if number % every == 0:
            steady.append(stability(seen))
        if number % keep_every == 0 and lungs.found == "film":
            kept.append((seen, lungs.mask, film.label))
    if progress is not None:
        progress(len(films), len(films))
    truth = labels(read)
    if not read or truth.min() == truth.max():
        raise DatasetError(f"An audit needs readable films of both classes; {folder} has none in {split}.")
    table = np.stack(scores)
    full = table[:, 0]
    views = tuple(_view(key, fill, truth, full, table[:, column]) for column, (key, fill) in enumerate(order))
    size, size_words = _size(widths, truth, full)
    return Audit(
        version=version.name,
        split=split,
        films=len(read),
        normal=int((truth == 0).sum()),
        pneumonia=int(truth.sum()),
        views=views,
        size=size,
        size_words=size_words,
        masks=_of_masks(masks, steady, marked),
        engine=str(getattr(getattr(predictor, "description", None), "words", "")),
        left_out=left_out,
        exchange=_exchange(kept, predictor),
    )


def _exchange(films: Sequence[tuple[Grey, Mask, int]], predictor: Reader) -> Exchange | None:
    """Each film, (pixels, lungs, label), with the lungs of another one, each film's lungs in one other film."""
    from model.transplant import exchange

    truth = np.array([label for *_, label in films], dtype=np.int64)
    if len(set(truth.tolist())) < 2:
        return None
    donors = _donors(truth)
    scores = []
    for start in range(0, len(films), EXCHANGED_AT_ONCE):
        places = np.arange(start, min(start + EXCHANGED_AT_ONCE, len(films)))
        parts = (
            np.stack([films[place][part] for place in which])[..., None]
            for which in (places, donors[places])
            for part in (0, 1)
        )
        changed, _ = exchange(*parts)
        scores.append(predictor.predict(np.repeat(np.rint(changed).astype(np.uint8), 3, axis=-1)))
    found = [auc(each, np.concatenate(scores)) for each in (truth[donors], truth)]
    assert found[0] is not None and found[1] is not None  # both classes are there
    return Exchange(len(films), *found[0], *found[1])


def _donors(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whose lungs each film gets: those of another one, each film's lungs once.

    Of random orders the first in which both labels are as good as uncorrelated: otherwise whoever knows one of them
    would know something of the other.
    """
    random = np.random.default_rng(0)
    best, least = np.roll(np.arange(len(truth)), 1), np.inf
    for _ in range(200):
        order = random.permutation(len(truth))
        donors = np.empty_like(order)
        donors[order] = np.roll(order, 1)
        together = abs(float(np.corrcoef(truth, truth[donors])[0, 1]))
        if together < least:
            best, least = donors, together
        if least < 0.01:
            break
    return best


def _view(
    key: str, fill: Fill, truth: NDArray[np.int64], full: NDArray[np.float64], scores: NDArray[np.float64]
) -> View:
    found = auc(truth, scores)
    assert found is not None  # both classes are there
    compared = compare_auc(truth, full, scores)
    return View(key, fill, *found, compared.difference, compared.interval, compared.p_value)


def _size(
    sizes: Sequence[tuple[int, int]], truth: NDArray[np.int64], full: NDArray[np.float64]
) -> tuple[View | None, str]:
    different = len(set(sizes))
    if different == 1:
        width, height = sizes[0]
        return None, (
            f"All films are {width} × {height} pixels: what their first sizes would tell cannot be measured here, and "
            "the network cannot know it as a number."
        )
    widths = np.array([width for width, _ in sizes], dtype=np.float64)
    ranks = np.unique(widths, return_inverse=True)[1] / max(1, len(set(widths.tolist())) - 1)
    # In the direction that makes it 0.5 or more: a cue is a cue whichever class has the wider files.
    found = auc(truth, ranks)
    assert found is not None
    wider = "pneumonia" if found[0] >= 0.5 else "normal"
    view = _view("size", "", truth, full, ranks if found[0] >= 0.5 else 1 - ranks)
    return view, (
        f"{different:,} different sizes; films of {wider} are wider. All are stretched to one square before the "
        "network sees them."
    )


def _of_masks(masks: Sequence[Lungs], steady: Sequence[Mapping[str, float]], marked: int) -> Masks:
    low, middle, high = np.percentile([each.mask.mean() for each in masks], (5, 50, 95)).tolist()
    return Masks(
        from_film=sum(each.found == "film" for each in masks),
        from_atlas=sum(each.found == "atlas" for each in masks),
        area=(low, middle, high),
        symmetry=float(np.median([dice(each.mask, each.mask[:, ::-1]) for each in masks])),
        marks=marked,
        stability_films=len(steady),
        stability={
            name: _steadiness([each[name] for each in steady]) for name in (steady[0] if steady else ())
        },
    )


def _steadiness(values: Sequence[float]) -> Steadiness:
    return Steadiness(float(np.mean(values)), float(np.percentile(values, 5)))


# --- in words ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """``reached``: with either fill the AUC falls by at least `TARGET` where the lungs are painted over; ``words``:
    one or two sentences."""

    reached: bool
    words: str


def verdict(views: Sequence[View]) -> Verdict:
    """What the audit says of the target. ValueError where the lungs were not painted over."""
    found = [view for view in views if view.key == LUNGS_OUT]
    if not found:
        raise ValueError("These views have none without lungs.")
    ordered = sorted(found, key=lambda view: view.difference)
    least, most = ordered[0], ordered[-1]
    reached = least.difference >= TARGET
    words = (
        f"With the lungs painted over the AUC falls by {least.difference:.3f} ({fill_words(least.fill)}) to "
        f"{most.difference:.3f} ({fill_words(most.fill)}); {TARGET:.2f} or more is asked for."
    )
    if reached != (most.difference >= TARGET):
        words += " The answer hangs on the paint, so it counts as not reached."
    elif reached and least.difference_interval is not None and least.difference_interval.low < TARGET:
        words += " The interval of the smaller one reaches below that."
    return Verdict(reached, words)


ALONE = (LUNGS_OUT, "chest-out", "cropped-lungs-out", "outline", "size")
"""Views without lungs: here the AUC itself counts, and 0.5 is best. In the others it should stay."""


def in_words(view: View) -> str:
    """What the figure says, one sentence."""
    if view.key in ALONE:
        if view.interval.low <= 0.5 <= view.interval.high:
            return "No better than chance."
        strengths = (
            (0.6, "Hardly tells the classes apart"),
            (0.7, "Tells the classes apart a little"),
            (0.85, "Clearly tells the classes apart"),
            (np.inf, "Tells the classes apart well"),
        )
        words = next(words for limit, words in strengths if max(view.auc, 1 - view.auc) < limit)
        return f"{words}{', the wrong way round' if view.auc < 0.5 else ''}."
    if view.key == FULL:
        return "What the others are compared with."
    interval = view.difference_interval
    if interval is None or interval.low <= 0 <= interval.high:
        return "No difference that these films show."
    if view.difference < 0:
        return "Better than on full films."
    steps = (
        (0.01, "All but the same as on full films."),
        (0.05, "A little lower than on full films."),
        (TARGET, "Clearly lower than on full films."),
        (np.inf, "Far lower than on full films."),
    )
    return next(words for limit, words in steps if view.difference < limit)


def fill_words(fill: Fill) -> str:
    return {"": "", "black": "in black", "mean": "in mean grey"}[fill]


def name_of(view: View) -> str:
    """The change and its fill, as on screen."""
    change = SIZE if view.key == SIZE.key else CHANGE[view.key]
    return f"{change.name}, {fill_words(view.fill).removeprefix('in ')}" if view.fill else change.name


def exchange_rows(found: Exchange | None) -> list[tuple[str, float, Interval]]:
    """Name, AUC and interval of both questions that films with the lungs of others answer; empty without any."""
    if found is None:
        return []
    return [
        ("Lungs of another film: label of the lungs", found.lungs, found.lungs_interval),
        ("Lungs of another film: label of the surroundings", found.surroundings, found.surroundings_interval),
    ]


def as_text(found: Audit) -> str:
    """Lines for a terminal."""
    lines = [
        f"{found.version} on {found.films} films of split {found.split} "
        f"({found.normal} NORMAL, {found.pneumonia} PNEUMONIA):",
        f"  {'':<52} {'AUC (95 % interval)':<26} full film less this one",
    ]
    for view in found.all_views:
        area = f"{view.auc:.3f}  ({view.interval.low:.3f} to {view.interval.high:.3f})"
        less = ""
        if view.key != FULL:
            less = f"{view.difference:+.3f}"
            if view.difference_interval is not None:
                less += f"  ({view.difference_interval.low:+.3f} to {view.difference_interval.high:+.3f})"
        lines.append(f"  {name_of(view):<52} {area:<26} {less}".rstrip())
    for name, value, interval in exchange_rows(found.exchange):
        lines.append(f"  {name:<52} {value:.3f}  ({interval.low:.3f} to {interval.high:.3f})")
    lines.append(f"  {found.size_words}")
    lines.append(
        f"  Lungs: {found.masks.from_film} masks fitted to their film, {found.masks.from_atlas} from the atlas."
    )
    stated = verdict(found.views)
    lines.append(f"  {'REACHED' if stated.reached else 'NOT REACHED'}: {stated.words}")
    return "\n".join(lines)
