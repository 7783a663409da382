"""Do the films of today look like those that a version was made with? Pure functions of a few arrays.

Two things are looked at: the probabilities, beside those of the version's validation films, and the pooled features,
beside those of its training films (`model.neighbours`). A department has another share of pneumonia than a collection
of films, and that alone moves both; it is no fault of the network. So today's films are compared with the *mixture* of
the version's normal films and its pneumonias that comes nearest to them, and what no share of pneumonia explains is
called drift.

* Probabilities: the Kolmogorov-Smirnov distance between today's films and that mixture, the greatest difference of the
  two cumulated shares, in [0, 1].
* Features: the squared maximum mean discrepancy (MMD) with a Gaussian kernel whose width is the median distance of
  training films, in units in which two sets without anything in common have about 2. It is estimated without bias, so
  it can be a little below 0.

How often chance gives such a distance is told by the bootstrap: films are drawn from the version's own at the share
found, the classes are drawn anew, the share is found anew, and the distance taken. The two p values are corrected for
there being two (Holm). A significant distance may be small, and with many films it always becomes significant, so a
warning takes both: p below `SIGNIFICANT` and a distance of at least the limit. Films of one patient are alike: give
one film a patient.

Checked on the version that ships, see `tests/model/test_drift.py`: validation films drawn at any share of pneumonia
raise no warning.

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
"""Films of today, and of each class of the version, below which nothing is said."""
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
TIMES_USUAL = 3.0
"""Nor does a squared MMD count as large below this many times that of the version's own validation films."""


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
        The comparison, its p value not yet corrected; None with fewer than `LEAST_FILMS` of today or of a class.
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
        validation: (v, d): films not trained on lie a little apart without any drift, and these tell how far.
        validation_labels: (v,).
        draws: of the bootstrap.
        seed: of its random numbers.

    Returns:
        The comparison, its p value not yet corrected; None with fewer than `LEAST_FILMS` of today or of a class.
    """
    ill = np.asarray(labels) == 1
    if not _enough(today, ill):
        return None
    random = np.random.default_rng(seed)
    normal, pneumonia = (
        training[random.permutation(np.flatnonzero(of))[:OF_A_CLASS]].astype(np.float32) for of in (~ill, ill)
    )
    kernel = _Kernel(normal, pneumonia)
    share, distance = kernel.discrepancy(today.astype(np.float32))
    usual = [0.0]
    for label in (0, 1):
        held = validation[np.asarray(validation_labels) == label].astype(np.float32)
        if len(held) >= LEAST_FILMS:
            usual.append(kernel.discrepancy(held, share=float(label))[1])
    by_chance = kernel.by_chance(random, share, len(today), draws)
    limit = max(LARGE_DISCREPANCY, TIMES_USUAL * max(usual))
    return Drift("features", len(today), distance, limit, _p_value(distance, by_chance), share)


def corrected(found: Sequence[Drift | None]) -> tuple[Drift, ...]:
    """The comparisons that could be made, their p values corrected for how many they are (Holm)."""
    made = [each for each in found if each is not None]
    least = 0.0
    corrected_values: dict[int, float] = {}
    for rank, index in enumerate(sorted(range(len(made)), key=lambda index: made[index].p_value)):
        least = max(least, min(1.0, (len(made) - rank) * made[index].p_value))
        corrected_values[index] = least
    return tuple(replace(each, p_value=corrected_values[index]) for index, each in enumerate(made))


def mixture(labels: ArrayLike, share: float) -> FloatArray:
    """A weight for each film, (m,), that sums to 1: pneumonias have ``share`` of it together."""
    ill = np.asarray(labels) == 1
    return np.where(ill, share / max(ill.sum(), 1), (1 - share) / max((~ill).sum(), 1))


def _enough(today: NDArray[np.floating], ill: NDArray[np.bool_]) -> bool:
    return min(len(today), int(ill.sum()), int((~ill).sum())) >= LEAST_FILMS


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
    """Mean similarities of the films of a version, by class, with which those of today are compared."""

    def __init__(self, normal: NDArray[np.float32], pneumonia: NDArray[np.float32]) -> None:
        self._films = np.concatenate([normal, pneumonia])
        self._normal = len(normal)
        squared = self._squared(self._films, self._films)
        self._width = float(np.median(squared[np.triu_indices(len(squared), 1)])) or 1.0
        self._own = np.exp(-squared / self._width)

    @staticmethod
    def _squared(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
        products = 2 * left @ right.T
        return np.maximum((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - products, 0)

    def discrepancy(self, films: NDArray[np.float32], share: float | None = None) -> tuple[float, float]:
        """Share of the nearest mixture, unless it is given, and squared MMD to it."""
        across = np.exp(-self._squared(films, self._films) / self._width).mean(axis=0)
        among = np.exp(-self._squared(films, films) / self._width)
        ones = np.ones((1, len(self._films)))
        normal, pneumonia = self._by_class(ones)
        shares, distances = self._mixed(
            np.array([(among.sum() - len(films)) / (len(films) * (len(films) - 1))]),
            np.array([[across[: self._normal].mean(), across[self._normal :].mean()]]),
            self._similarity(normal, pneumonia),
            share,
        )
        return float(shares[0]), float(distances[0])

    def by_chance(self, random: np.random.Generator, share: float, films: int, draws: int) -> FloatArray:
        """Squared MMDs, (draws,), of films that are drawn from those of the version."""
        normal, pneumonia = self._by_class(np.ones(len(self._films)))
        found, normal, pneumonia = _draws(random, share, films, normal, pneumonia, draws)
        seen = found @ self._own / films
        among = np.einsum("df,df->d", seen, found) / (films - 1) - 1 / (films - 1)
        across = np.stack(
            [np.einsum("df,df->d", seen, counts) / counts.sum(axis=1) for counts in (normal, pneumonia)],
            axis=1,
        )
        return self._mixed(among, across, self._similarity(normal, pneumonia), None)[1]

    def _by_class(self, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The counts of normal films alone, and of pneumonias alone."""
        is_normal = np.arange(len(self._films)) < self._normal
        return counts * is_normal, counts * ~is_normal

    def _similarity(self, normal: FloatArray, pneumonia: FloatArray) -> FloatArray:
        """Mean similarity (draws, 3) within normal films, across, within pneumonias; of a film with itself left out."""
        zeros, ones = normal.sum(axis=1), pneumonia.sum(axis=1)
        seen = normal @ self._own
        within_normal = (np.einsum("df,df->d", seen, normal) - zeros) / (zeros * (zeros - 1))
        across = np.einsum("df,df->d", seen, pneumonia) / (zeros * ones)
        within_ill = np.einsum("df,df->d", pneumonia @ self._own, pneumonia) - ones
        return np.stack([within_normal, across, within_ill / (ones * (ones - 1))], axis=1)

    @staticmethod
    def _mixed(
        among: FloatArray, across: FloatArray, within: FloatArray, share: float | None
    ) -> tuple[FloatArray, FloatArray]:
        """Share and squared MMD (draws,) from mean similarities: among today's films (draws,), of these with normal
        films and with pneumonias (draws, 2), and those of `_similarity`."""
        normal, between, pneumonia = within.T
        if share is None:
            apart = np.maximum(normal + pneumonia - 2 * between, 1e-12)
            shares = np.clip((across[:, 1] - across[:, 0] - between + normal) / apart, 0, 1)
        else:
            shares = np.full(len(among), share)
        rest = 1 - shares
        mixed = rest**2 * normal + 2 * rest * shares * between + shares**2 * pneumonia
        return shares, among - 2 * (rest * across[:, 0] + shares * across[:, 1]) + mixed
