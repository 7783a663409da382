"""Do the films of today look like those that a version was made with? Pure functions of a few arrays.

Two things are looked at: the probabilities, beside those of the version's validation films, and the pooled features,
beside those of its training films (`model.neighbours`). A department has another share of pneumonia than a collection
of films, and that alone moves both; it is no fault of the network. So today's films are compared with the *mixture* of
the version's normal films and its pneumonias that comes nearest to them, and what no share of pneumonia explains is
called drift.

* Probabilities: the Kolmogorov-Smirnov distance between today's films and that mixture, the greatest difference of the
  two cumulated shares, in [0, 1].
* Features: the squared maximum mean discrepancy (MMD) with a Gaussian kernel whose width is the median distance of
  training films, in units in which two sets without anything in common have about 2, less that of validation films:
  these lie a little apart from the training films too, because the network was fitted to the latter. It is estimated
  without bias, so it can be a little below 0.

How often chance gives such a distance is told by the bootstrap: films are drawn from the validation films at the share
found, these are drawn anew themselves, the share is found anew, and the distance taken. The two p values are corrected
for there being two (Holm). A significant distance may be small, and with many films it always becomes significant, so a
warning takes both: p below `SIGNIFICANT` and a distance of at least the limit. Films of one patient are alike: give
one film a patient, on both sides (`one_a_patient`).

SciPy has the Kolmogorov-Smirnov test of two samples, but none beside a mixture whose share has to be found.

Sources
-------
* MMD: Gretton, Borgwardt, Rasch, Schölkopf & Smola (2012), J Mach Learn Res 13:723-773.
* Bootstrap of Kolmogorov-Smirnov distances of two samples: Præstgaard (1995), Scand J Stat 22:305-322.
* The share from the nearest mixture: Iyer, Nath & Sarawagi (2014), ICML, PMLR 32(1):530-538.
* Several tests: Holm (1979), Scand J Stat 6:65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Kind = Literal["probabilities", "features"]

LEAST_FILMS = 50
"""Films of today below which nothing is said."""
LEAST_OF_A_CLASS = 20
"""Films of each class of the version below which nothing is said."""
MOST_FILMS = 1000
"""Films of today that are looked at, the newest; more say little more and take longer."""
OF_A_CLASS = 500
"""Films of each class of the version that features are compared with, drawn at random."""
DRAWS = 999
SIGNIFICANT = 0.01
LARGE_SHIFT = 0.1
"""Least Kolmogorov-Smirnov distance that counts as large: one film in ten lies elsewhere."""
LARGE_DISCREPANCY = 0.008
"""Least squared MMD that counts as large; a third of what lies between normal films and pneumonias of the version that
ships."""


@dataclass(frozen=True)
class Drift:
    """One comparison of today's films with those of a version.

    Attributes:
        kind: what was compared.
        films: of today.
        distance: see the module.
        limit: what counts as large.
        p_value: corrected for there being several.
        share: of pneumonia, in [0, 1], of the mixture that comes nearest.
    """

    kind: Kind
    films: int
    distance: float
    limit: float
    p_value: float
    share: float

    @property
    def significant(self) -> bool:
        return self.p_value < SIGNIFICANT

    @property
    def large(self) -> bool:
        return self.distance >= self.limit

    @property
    def warns(self) -> bool:
        """Whether it is both significant and large."""
        return self.significant and self.large


def drift_of_probabilities(
    today: ArrayLike, reference: ArrayLike, labels: ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Drift | None:
    """Compare probabilities of today's films with those of validation films, on one scale.

    Args:
        today: (n,) in [0, 1].
        reference: (m,) in [0, 1], of films that the version was not fitted to.
        labels: (m,), 1 PNEUMONIA, of the reference.
        draws: of the bootstrap.
        seed: of its random numbers.

    Returns:
        The comparison, its p value not yet corrected; None with too few films.
    """
    now, before = np.asarray(today, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    ill = np.asarray(labels) == 1
    if not _enough(now, ill):
        return None
    places = np.unique(np.concatenate([now, before]))
    normal, pneumonia, found = (_counts(values, places)[None] for values in (before[~ill], before[ill], now))
    share, distance = _shift(found, normal, pneumonia)
    drawn = _draws(np.random.default_rng(seed), share[0], len(now), normal[0], pneumonia[0], draws)
    _, by_chance = _shift(*drawn)
    return Drift(
        "probabilities",
        len(now),
        float(distance[0]),
        LARGE_SHIFT,
        _p_value(distance[0], by_chance),
        float(share[0]),
    )


def drift_of_features(
    today: NDArray[np.floating],
    training: NDArray[np.floating],
    labels: ArrayLike,
    validation: NDArray[np.floating],
    validation_labels: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Drift | None:
    """Compare where today's films lie among the training films, in the coordinates of `model.neighbours.Reference`.

    Args:
        today: (n, d).
        training: (m, d); at most `OF_A_CLASS` of each class are drawn from them.
        labels: (m,), 1 PNEUMONIA, of the training films.
        validation: (v, d): of films not trained on; they tell how far such films lie apart without any drift.
        validation_labels: (v,).
        draws: of the bootstrap.
        seed: of its random numbers.

    Returns:
        The comparison, its p value not yet corrected; None with too few films.
    """
    held_ill = np.asarray(validation_labels) == 1
    if not _enough(today, np.asarray(labels) == 1) or not _enough(today, held_ill):
        return None
    random = np.random.default_rng(seed)
    kernel = _Kernel(
        *(
            training[random.permutation(np.flatnonzero(np.asarray(labels) == label))[:OF_A_CLASS]]
            for label in (0, 1)
        )
    )
    share, distance = kernel.discrepancy(today)
    held = [validation[~held_ill], validation[held_ill]]
    by_chance = kernel.by_chance(random, share, len(today), held, draws)
    p_value = _p_value(distance, by_chance)
    return Drift(
        "features", len(today), distance - float(by_chance.mean()), LARGE_DISCREPANCY, p_value, share
    )


def corrected(found: Sequence[Drift | None]) -> tuple[Drift, ...]:
    """The comparisons that could be made, their p values corrected for how many they are (Holm)."""
    made = [each for each in found if each is not None]
    least = 0.0
    corrected_values: dict[int, float] = {}
    for rank, index in enumerate(sorted(range(len(made)), key=lambda index: made[index].p_value)):
        least = max(least, min(1.0, (len(made) - rank) * made[index].p_value))
        corrected_values[index] = least
    return tuple(replace(each, p_value=corrected_values[index]) for index, each in enumerate(made))


def one_a_patient(patients: Sequence[str]) -> NDArray[np.int64]:
    """Indices of the first film of each patient, in their order."""
    first: dict[str, int] = {}
    for index, patient in enumerate(patients):
        first.setdefault(patient, index)
    return np.array(list(first.values()), dtype=np.int64)


def mixture(labels: ArrayLike, share: float) -> FloatArray:
    """A weight for each film, (m,), that sums to 1: pneumonias have ``share`` of it together."""
    ill = np.asarray(labels) == 1
    return np.where(ill, share / max(ill.sum(), 1), (1 - share) / max((~ill).sum(), 1))


def _enough(today: NDArray[np.floating], ill: NDArray[np.bool_]) -> bool:
    return len(today) >= LEAST_FILMS and min(int(ill.sum()), int((~ill).sum())) >= LEAST_OF_A_CLASS


def _p_value(distance: float, by_chance: FloatArray) -> float:
    """Share of draws at least as far; the films themselves count as one draw, so that it is never 0."""
    return float((1 + (by_chance >= distance).sum()) / (1 + by_chance.size))


def _counts(values: FloatArray, places: FloatArray) -> FloatArray:
    return np.bincount(np.searchsorted(places, values), minlength=places.size).astype(np.float64)


def _draws(
    random: np.random.Generator,
    share: float,
    films: int,
    normal: FloatArray,
    pneumonia: FloatArray,
    draws: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How often each place is drawn, (draws, places): as today's films, as normal ones, as pneumonias."""
    classes = [counts / counts.sum() for counts in (normal, pneumonia)]
    mixed = (1 - share) * classes[0] + share * classes[1]
    found = random.multinomial(films, mixed / mixed.sum(), size=draws)
    again = [
        random.multinomial(int(counts.sum()), shares, size=draws)
        for counts, shares in zip((normal, pneumonia), classes, strict=True)
    ]
    return found.astype(np.float64), again[0].astype(np.float64), again[1].astype(np.float64)


def _shift(found: FloatArray, normal: FloatArray, pneumonia: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of the nearest mixture and Kolmogorov-Smirnov distance to it, (draws,), from counts (draws, places)."""
    now, low, high = (
        np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True) for counts in (found, normal, pneumonia)
    )
    between = high - low
    squares = np.einsum("dp,dp->d", between, between)
    share = np.einsum("dp,dp->d", now - low, between) / np.maximum(squares, 1e-12)
    share = np.clip(share, 0, 1)
    return share, np.abs(now - low - share[:, None] * between).max(axis=1)


class _Kernel:
    """Mean similarities of the training films, by class, with which other films are compared."""

    def __init__(self, normal: NDArray[np.floating], pneumonia: NDArray[np.floating]) -> None:
        self._classes = [normal.astype(np.float32), pneumonia.astype(np.float32)]
        squared = _squared(*(2 * [np.concatenate(self._classes)]))
        self._width = float(np.median(squared[np.triu_indices(len(squared), 1)])) or 1.0
        own = np.exp(-squared / self._width)
        zeros = len(normal)
        self._normal = _without_itself(own[:zeros, :zeros])
        self._between = float(own[:zeros, zeros:].mean())
        self._pneumonia = _without_itself(own[zeros:, zeros:])

    def _similar(self, left: NDArray[np.floating], right: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.exp(-_squared(left.astype(np.float32), right) / self._width)

    def _to_classes(self, films: NDArray[np.floating]) -> FloatArray:
        """Mean similarity of each film with the normal ones and with the pneumonias, (n, 2)."""
        return np.stack(
            [self._similar(films, each).mean(axis=1, dtype=np.float64) for each in self._classes], axis=1
        )

    def discrepancy(self, films: NDArray[np.floating]) -> tuple[float, float]:
        """Share of the nearest mixture, and squared MMD to it."""
        among = _without_itself(self._similar(films, films.astype(np.float32)))
        across = self._to_classes(films).mean(axis=0, keepdims=True)
        shares, distances = self._mixed(np.array([among]), across)
        return float(shares[0]), float(distances[0])

    def by_chance(
        self,
        random: np.random.Generator,
        share: float,
        films: int,
        held: Sequence[NDArray[np.floating]],
        draws: int,
    ) -> FloatArray:
        """Squared MMDs, (draws,), of films drawn from the validation films of each class.

        The validation films are drawn anew each time, for they are a sample themselves. Each of the two samples adds to
        a squared MMD what its size makes of the spread; that is taken off again.
        """
        both = np.concatenate(held)
        own = self._similar(both, both.astype(np.float32))
        weights, excess, start = [], 0.0, 0
        for part, each in zip((1 - share, share), held, strict=True):
            counts = random.multinomial(len(each), np.full(len(each), 1 / len(each)), size=draws)
            weights.append(part * counts / len(each))
            within = _without_itself(own[start : start + len(each), start : start + len(each)])
            excess += 2 * part**2 * (1 - within) / len(each)
            start += len(each)
        mixed = np.concatenate(weights, axis=1)
        found = random.multinomial(films, mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float64)
        pairs = np.einsum("df,df->d", found @ own, found)
        among = (pairs - films) / (films * (films - 1))
        return self._mixed(among, found @ self._to_classes(both) / films)[1] - excess

    def _mixed(self, among: FloatArray, across: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share and squared MMD (draws,) from mean similarities: among films (draws,), and of these with the normal
        training films and with the pneumonias (draws, 2)."""
        apart = max(self._normal + self._pneumonia - 2 * self._between, 1e-12)
        shares = np.clip((across[:, 1] - across[:, 0] - self._between + self._normal) / apart, 0, 1)
        rest = 1 - shares
        mixed = rest**2 * self._normal + 2 * rest * shares * self._between + shares**2 * self._pneumonia
        return shares, among - 2 * (rest * across[:, 0] + shares * across[:, 1]) + mixed


def _squared(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared distances (n, m) of films (n, d) and (m, d)."""
    return np.maximum((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T, 0)


def _without_itself(similarities: NDArray[np.float32]) -> float:
    """Mean similarity (n, n) of two different films."""
    films = len(similarities)
    return float((similarities.sum(dtype=np.float64) - np.trace(similarities)) / (films * (films - 1)))
