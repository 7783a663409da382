"""Whether a heat map tells what moved the network: measures for any reader of images and any maps. Pure functions.

* **Deletion and insertion** (Petsiuk, Das & Saenko 2018, RISE, arXiv:1806.07421). Places of a film are replaced in the
  order of their heat, the hottest first, by those of another film that the network calls normal; or put into that
  normal film in the same order. A map that tells the truth makes the answer fall early (a small area under the deletion
  curve) and rise early (a large one under the insertion curve). The same is done with maps that know nothing of the
  film. RISE blurs instead; but a chest film without vessels and edges looks like pneumonia, and is read so
  (``blurred`` in the result), so that blurring takes nothing away that speaks for pneumonia.
* **Pointing** (after Zhang et al. 2018, Excitation Backprop, Int J Comput Vis 126:1084-1102): an opacity is pasted into
  one lung, so the right answer is known; does the hottest place lie there?
* **Model randomisation** (Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv:1810.03292): a map of a network
  with random weights that looks like the true one was never about what the network has learnt.

`model.faithfulness_commands` runs all this on a version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import logit
from model.dataset import DatasetError
from model.explanation import upsample
from model.intervals import proportion
from model.opacities import (
    CONTRASTS,
    FOCAL,
    LOBAR,
    VEIL,
    Lungs,
    Opacity,
    brightness_step,
    draw_opacity,
    moved_outside,
    paste,
)

FloatArray = NDArray[np.float64]
Heat = NDArray[np.float32]
Predict = Callable[[NDArray[np.uint8]], FloatArray]
"""Images uint8 (n, h, w, 3), raw 0..255, to probabilities float64 (n,)."""
Read = Callable[[NDArray[np.uint8]], tuple[FloatArray, Heat]]
"""Such images to probabilities and to what each place adds to their logit: (n, h', w') at the network's own resolution.

Of either sign. Its positive part is the heat map that is shown."""
Progress = Callable[[str, int, int], None]
"""What is measured, how much of it is done, and of how much."""

STEPS = 10
"""Between the whole film and the one put in its place: each changes a tenth of the pixels."""
FEATHER = 0.02
"""Standard deviation of the soft edge between the two, as a share of the film's height: 4.5 of 224 pixels."""
BLUR = 0.1
"""The same of the blur that is tried on whole films: 22 of 224 pixels."""
DRAWS = 2_000
"""Of the bootstrap."""
TRUTH = "heat map"


# ---------------------------------------------------------------- figures over films


@dataclass(frozen=True)
class Mean:
    """A mean over films with its 95 % bootstrap interval (percentiles); the interval is None for one film."""

    value: float
    low: float | None
    high: float | None
    films: int

    def as_json(self) -> dict[str, float | int | None]:
        return {"value": self.value, "low": self.low, "high": self.high, "films": self.films}

    def __str__(self) -> str:
        interval = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{interval}"


def mean_of(values: ArrayLike, *, seed: int = 0) -> Mean:
    """Mean over independent films, values (n,), n >= 1; of differences film by film it is the paired bootstrap."""
    array = np.asarray(values, dtype=np.float64)
    value = float(array.mean())
    if array.size < 2:
        return Mean(value, None, None, int(array.size))
    random = np.random.default_rng(seed)
    means = array[random.integers(0, array.size, (DRAWS, array.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(value, float(low), float(high), int(array.size))


# ---------------------------------------------------------------- maps to compare with


def surrogate(heat: NDArray[np.floating], random: np.random.Generator) -> FloatArray:
    """A random map (h, w) exactly as smooth as `heat`: the same power spectrum, the phases of white noise.

    Theiler et al. (1992), Physica D 58:77-94. It is taken at the network's own resolution, before any enlarging.
    """
    spectrum = np.abs(np.fft.fft2(heat))
    noise = np.fft.fft2(random.standard_normal(heat.shape))
    return np.asarray(np.fft.ifft2(spectrum * noise / np.abs(noise)).real)


def enlarged(heat: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h', w') at the size of the images (h, w), as the screen enlarges it."""
    return upsample(np.asarray(heat, np.float32), size)


def centre_map(height: int, width: int) -> FloatArray:
    """Hot in the middle of the image, falling with the distance from it, whatever the film shows: (height, width)."""
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * 0.25**2)))


# ---------------------------------------------------------------- deletion and insertion


@dataclass(frozen=True)
class Curves:
    """Answers on the way: float64 (steps + 1,), the share of the film changed running from 0 to 1.

    ``deletion`` begins with the film itself, ``insertion`` with the one that stands for nothing found.
    """

    deletion: FloatArray
    insertion: FloatArray

    @property
    def deletion_area(self) -> float:
        """Small where the map tells the truth; the mean answer along the way."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        return area(self.insertion)

    def in_logits(self) -> Curves:
        return Curves(logit(self.deletion), logit(self.insertion))


def area(curve: FloatArray) -> float:
    """Area under answers at evenly spaced shares from 0 to 1 (trapezoids)."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def blurred(image: NDArray[np.uint8], *, blur: float = BLUR) -> NDArray[np.uint8]:
    """The image (h, w, 3) without anything much smaller than `blur` times its height."""
    from scipy.ndimage import gaussian_filter

    sigma = blur * image.shape[0]
    smooth = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="nearest")
    return np.asarray(np.clip(np.rint(smooth), 0, 255), dtype=np.uint8)


def matched(fill: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`fill` with the mean and standard deviation of `image`, so that no patch of another exposure is put in."""
    spread = max(float(fill.std()), 1.0)
    values = (fill - fill.mean()) / spread * image.std() + image.mean()
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def ranks(heat: NDArray[np.floating], *, ties: NDArray[np.floating]) -> NDArray[np.int64]:
    """Place of each pixel in the order of heat, int64 (h, w): 0 is the hottest.

    ``ties`` (h, w) decides between pixels of equal heat: a heat map is exactly 0 over much of a film, and in the order
    of rows those places would not be taken at random.
    """
    order = np.lexsort((-ties.ravel(), -heat.ravel()))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    return place.reshape(heat.shape)


def curves(
    image: NDArray[np.uint8],
    fill: NDArray[np.uint8],
    rankings: Sequence[NDArray[np.int64]],
    predict: Predict,
    *,
    steps: int = STEPS,
    feather: float = FEATHER,
) -> tuple[Curves, ...]:
    """Deletion and insertion curves of one image (h, w, 3) with `fill` of the same shape in place of what is hidden.

    One pair a ranking (h, w) as :func:`ranks` gives it.
    """
    from scipy.ndimage import gaussian_filter

    height, width = image.shape[:2]
    # Where they begin and end is the same for all rankings, and read once.
    whole, empty = predict(np.stack([image, fill])).tolist()
    cuts = np.rint(np.arange(1, steps) / steps * height * width)
    difference = fill.astype(np.float32) - image
    found = []
    for ranking in rankings:
        taken = (ranking[None] < cuts[:, None, None]).astype(np.float32)
        soft = gaussian_filter(taken, (0, feather * height, feather * height), mode="nearest")[..., None]
        mixed = np.concatenate([image + soft * difference, fill - soft * difference])
        between = predict(np.asarray(np.rint(mixed), dtype=np.uint8))
        half = len(cuts)
        found.append(
            Curves(
                np.concatenate([[whole], between[:half], [empty]]),
                np.concatenate([[empty], between[half:], [whole]]),
            )
        )
    return tuple(found)


def compared(found: Mapping[str, Sequence[Curves]], *, truth: str, seed: int = 0) -> dict[str, object]:
    """Areas of each kind of map over films, and how much better `truth` does than each other one, film by film.

    ``found``: for each kind of map its curves, film by film in one order. A ``gain`` above 0 is in favour of `truth`.
    """
    result: dict[str, object] = {}
    deletions = {name: np.array([film.deletion_area for film in films]) for name, films in found.items()}
    insertions = {name: np.array([film.insertion_area for film in films]) for name, films in found.items()}
    for name, films in found.items():
        entry: dict[str, object] = {
            "deletion_area": mean_of(deletions[name], seed=seed).as_json(),
            "insertion_area": mean_of(insertions[name], seed=seed).as_json(),
            "deletion_curve": np.mean([film.deletion for film in films], axis=0).round(4).tolist(),
            "insertion_curve": np.mean([film.insertion for film in films], axis=0).round(4).tolist(),
        }
        if name != truth:
            deletion_gain = deletions[name] - deletions[truth]
            insertion_gain = insertions[truth] - insertions[name]
            entry |= {
                "deletion_gain": mean_of(deletion_gain, seed=seed).as_json(),
                "insertion_gain": mean_of(insertion_gain, seed=seed).as_json(),
                "films_better_deletion": float(np.mean(deletion_gain > 0)),
                "films_better_insertion": float(np.mean(insertion_gain > 0)),
            }
        result[name] = entry
    return result


def measure_curves(
    images: NDArray[np.uint8],
    normal: NDArray[np.bool_],
    read: Read,
    predict: Predict,
    *,
    threshold: float,
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> dict[str, object]:
    """Deletion and insertion over those of the films (n, h, w, 3) that are flagged at `threshold`.

    ``normal`` (n,): which films are labelled normal; those of them that are not flagged stand, drawn at random, in
    place of what is hidden. Against the film's own heat map stand a random map as smooth as it, the heat map of the
    next flagged film, and the middle of the image. A film without any heat has no order of places; such films are
    counted and left out.

    Raises:
        DatasetError: no film is flagged and warm, or no normal film is passed.
    """
    probabilities, shares = read(images)
    heat = np.maximum(shares, 0)
    random = np.random.default_rng(seed)
    size = images.shape[1:3]
    warm = heat.max(axis=(1, 2)) > 0
    flagged = probabilities >= threshold
    members, fills = np.flatnonzero(warm & flagged), np.flatnonzero(normal & ~flagged)
    if not len(members) or not len(fills):
        raise DatasetError(
            "Deletion and insertion need films that are flagged, and normal ones that are not; give more films."
        )
    found: dict[str, list[Curves]] = {}
    for place, index in enumerate(members):
        maps = {
            TRUTH: heat[index],
            "random map": surrogate(heat[index], random),
            "heat map of another film": heat[members[(place + 1) % len(members)]],
            "middle of the image": centre_map(*heat.shape[1:]),
        }
        ties = enlarged(random.standard_normal(heat.shape[1:]), size)
        rankings = [ranks(enlarged(values, size), ties=ties) for values in maps.values()]
        fill = matched(images[random.choice(fills)], images[index])
        for kind, pair in zip(maps, curves(images[index], fill, rankings, predict, steps=steps), strict=True):
            found.setdefault(kind, []).append(pair)
        if progress is not None:
            progress("deletion and insertion", place + 1, len(members))
    in_logits = {kind: [pair.in_logits() for pair in pairs] for kind, pairs in found.items()}
    smooth = np.concatenate([predict(blurred(image)[None]) for image in images])
    return {
        "films": len(members),
        "steps": steps,
        "fill": "a normal film that is not flagged, with the mean and spread of brightness of the film",
        "films_without_heat": {
            "flagged": int((flagged & ~warm).sum()),
            "not_flagged": int((~flagged & ~warm).sum()),
        },
        "films_not_flagged": int((~flagged).sum()),
        "blurred": {
            "blur": BLUR,
            "probability_of_flagged": mean_of(smooth[flagged], seed=seed).as_json(),
            "probability_of_not_flagged": mean_of(smooth[~flagged], seed=seed).as_json(),
        },
        "probability": compared(found, truth=TRUTH, seed=seed),
        "logit": compared(in_logits, truth=TRUTH, seed=seed),
    }


# ---------------------------------------------------------------- pointing


def peak(heat: NDArray[np.floating]) -> tuple[int, int] | None:
    """Row and column of the strongest place of a map (h, w); None where nothing is above 0.

    Several places of the same heat: their middle.
    """
    most = float(heat.max())
    if not most > 0:
        return None
    rows, columns = np.nonzero(heat == most)
    return int(np.rint(rows.mean())), int(np.rint(columns.mean()))


def widened(region: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """The region (h, w) and all places no further than `pixels` from it."""
    from scipy.ndimage import distance_transform_edt

    if not region.any():
        return region.copy()
    return np.asarray(distance_transform_edt(~region) <= pixels)


def measure_pointing(
    images: NDArray[np.uint8],
    read: Read,
    find_lungs: Callable[[NDArray[np.uint8]], Lungs],
    *,
    threshold: float,
    contrasts: Sequence[float] = CONTRASTS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, object]:
    """An opacity pasted into one lung of each of these normal films (n, h, w, 3): is it found, and what does it change?

    Each film has one focal and one lobar opacity, each at one place for all contrasts, and the focal one at a place
    outside the lungs as a control. `find_lungs` gives two masks for a film uint8 (h, w); a film where one is empty is
    left out. It is told how often the hottest place lies in the opacity (``within``), no further from it than
    half a place of the feature map (``near``), and nearer to that lung than to the other one and no further from it
    than that (``lung``): for the heat map that is shown, and for what has risen beside the untouched film, also
    beneath zero (``change``). A map without heat points nowhere.
    """
    random = np.random.default_rng(seed)
    size = images.shape[1:3]
    rows: dict[tuple[str, float], list[_Pointed]] = {}
    chance: dict[str, list[_Chance]] = {}
    done = 0
    for index, image in enumerate(images):
        film = np.ascontiguousarray(image[:, :, 0])
        lungs = find_lungs(film)
        if progress is not None:
            progress("pointing", index + 1, len(images))
        if not (lungs[0].any() and lungs[1].any()):
            continue
        done += 1
        side = int(random.integers(2))
        focal = draw_opacity(lungs, side, random)
        places = {"focal": focal, "lobar": draw_opacity(lungs, side, random, radii=LOBAR)}
        outside = moved_outside(focal, lungs, random)
        if outside is not None:
            places["outside the lungs"] = outside
        # Outside the lungs the same brightness is added as in them.
        steps = {name: brightness_step(film, places[name], lungs) for name in ("focal", "lobar")}
        variants = [(name, contrast) for name in places for contrast in contrasts]
        pasted = [
            paste(film, places[name], contrast=contrast, step=steps.get(name, steps["focal"]))
            for name, contrast in variants
        ]
        probabilities, shares = read(np.stack([image, *(np.repeat(one[..., None], 3, 2) for one in pasted)]))
        reach = 0.5 * size[0] / shares.shape[1]
        targets = {name: _target(place, lungs, reach) for name, place in places.items()}
        untouched = enlarged(np.maximum(shares[0], 0), size)
        for name, target in targets.items():
            chance.setdefault(name, []).append(_Chance.of(target, lungs[0] | lungs[1], untouched))
        for number, variant in enumerate(variants, start=1):
            heat = enlarged(np.maximum(shares[number], 0), size)
            change = enlarged(np.maximum(shares[number] - shares[0], 0), size)
            rows.setdefault(variant, []).append(
                _Pointed(
                    float(probabilities[0]),
                    float(probabilities[number]),
                    _hits(heat, targets[variant[0]]),
                    _hits(change, targets[variant[0]]),
                )
            )
    return {
        "films": done,
        "veil": VEIL,
        "radii": {"focal": list(FOCAL), "lobar": list(LOBAR)},
        "opacities": [
            {
                "opacity": name,
                "chance": _chance_summary(found),
                "contrasts": [
                    {"contrast": contrast, **_summary(rows[name, contrast], threshold, seed)}
                    for contrast in contrasts
                ],
            }
            for name, found in chance.items()
        ],
    }


Target = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
Hits = tuple[bool, bool, bool] | None
"""Whether the hottest place lies within the opacity, near it, at its lung; None without any heat."""


@dataclass(frozen=True)
class _Chance:
    film: tuple[float, float]
    """Share of the film's places that lie within the opacity, and near it."""
    lungs: tuple[float, float]
    untouched: Hits

    @classmethod
    def of(cls, target: Target, lungs: NDArray[np.bool_], heat: NDArray[np.floating]) -> _Chance:
        within, near, _ = target
        return cls(
            (float(within.mean()), float(near.mean())),
            (float(within[lungs].mean()), float(near[lungs].mean())),
            _hits(heat, target),
        )


def _chance_summary(films: Sequence[_Chance]) -> dict[str, object]:
    film, lungs = (
        np.mean([getattr(one, name) for one in films], axis=0).tolist() for name in ("film", "lungs")
    )
    return {
        "anywhere in the film": {"within": film[0], "near": film[1]},
        "anywhere in the lungs": {"within": lungs[0], "near": lungs[1], "lung": 0.5},
        "hottest place of the untouched film": _shares([one.untouched for one in films]),
    }


@dataclass(frozen=True)
class _Pointed:
    before: float
    after: float
    heat: Hits
    change: Hits


def _target(opacity: Opacity, lungs: Lungs, reach: float) -> Target:
    from scipy.ndimage import distance_transform_edt

    own, other = (distance_transform_edt(~lungs[side]) for side in (opacity.lung, 1 - opacity.lung))
    return opacity.region, widened(opacity.region, reach), (own <= reach) & (own < other)


def _hits(values: NDArray[np.floating], target: Target) -> Hits:
    place = peak(values)
    if place is None:
        return None
    within, near, lung = (bool(region[place]) for region in target)
    return within, near, lung


def _shares(hits: Sequence[Hits]) -> dict[str, object]:
    result: dict[str, object] = {"films_without_heat": sum(film is None for film in hits)}
    for number, name in enumerate(("within", "near", "lung")):
        share = proportion(sum(film is not None and film[number] for film in hits), len(hits))
        interval = share.interval
        result[name] = {
            "value": share.value,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "films": share.total,
        }
    return result


def _summary(films: Sequence[_Pointed], threshold: float, seed: int) -> dict[str, object]:
    before = np.array([film.before for film in films])
    after = np.array([film.after for film in films])
    passed = before < threshold
    flagged = proportion(int((passed & (after >= threshold)).sum()), int(passed.sum()))
    return {
        "films": len(films),
        "probability_before": mean_of(before, seed=seed).as_json(),
        "probability_after": mean_of(after, seed=seed).as_json(),
        "probability_rise": mean_of(after - before, seed=seed).as_json(),
        "logit_rise": mean_of(logit(after) - logit(before), seed=seed).as_json(),
        "films_that_rise": float((after > before).mean()),
        "newly_flagged": {
            "value": flagged.value,
            "low": flagged.interval and flagged.interval.low,
            "high": flagged.interval and flagged.interval.high,
            "films": flagged.total,
        },
        "heat": _shares([film.heat for film in films]),
        "change": _shares([film.change for film in films]),
    }


# ---------------------------------------------------------------- likeness of two maps


def rank_correlation(one: NDArray[np.floating], two: NDArray[np.floating]) -> float | None:
    """Spearman's correlation of two maps of one shape, -1 to 1; None where one of them is the same everywhere."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(spearmanr(one.ravel(), two.ravel()).statistic)


def likeness(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    """Structural similarity of two maps >= 0 of one shape (Wang et al. 2004, IEEE Trans Image Process 13:600-612).

    One window, the whole map: a feature map has few places. Each is scaled to a maximum of 1; constants as published.
    1: the same map; about 0: nothing in common.
    """
    a, b = (
        np.asarray(heat, dtype=np.float64) / (float(heat.max()) if heat.max() > 0 else 1.0)
        for heat in (one, two)
    )
    first, second = 0.01**2, 0.03**2
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    brightness = (2 * a.mean() * b.mean() + first) / (a.mean() ** 2 + b.mean() ** 2 + first)
    return float(brightness * (2 * covariance + second) / (a.var() + b.var() + second))


def measure_likeness(truth: Heat, others: Sequence[Heat], *, seed: int = 0) -> dict[str, object]:
    """How alike the true maps (n, h, w) are to those of `others`, one array of the same films a draw of weights.

    Means over films of each film's mean over draws. A map without heat has nothing in common with any: it counts as 0,
    and how many there are is told.
    """
    correlations = np.array(
        [[rank_correlation(*pair) or 0.0 for pair in zip(truth, other, strict=True)] for other in others]
    )
    alike = np.array([[_alike(*pair) for pair in zip(truth, other, strict=True)] for other in others])
    return {
        "films": len(truth),
        "draws": len(others),
        "rank_correlation": mean_of(correlations.mean(axis=0), seed=seed).as_json(),
        "rank_correlation_by_draw": correlations.mean(axis=1).round(4).tolist(),
        "size_of_rank_correlation": mean_of(np.abs(correlations).mean(axis=0), seed=seed).as_json(),
        "structural_similarity": mean_of(alike.mean(axis=0), seed=seed).as_json(),
        "maps_without_heat": float(np.mean([(other.max(axis=(1, 2)) <= 0).mean() for other in others])),
    }


def _alike(one: Heat, two: Heat) -> float:
    return likeness(one, two) if one.max() > 0 and two.max() > 0 else 0.0
