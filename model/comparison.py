"""Versions on the very same films: which one tells pneumonia from normal better, and which films each gets right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.calibration import logit
from model.curves import AucDifference, compare_auc
from model.evaluation import Evaluation, Roc, ScoredFilms, roc, scored
from model.registry import CLASSES, Predictions, Split, Version


class ComparisonError(ValueError):
    """The versions cannot be compared; one sentence."""


@dataclass(frozen=True)
class Side:
    """One version on the films that all have: probabilities float64 (n,), decided at its own threshold."""

    name: str
    threshold: float
    films: ScoredFilms
    left_out: int
    """Stored films of this version that another one has no prediction for, or another label."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return self.films.probabilities

    @cached_property
    def result(self) -> Evaluation:
        return self.films.at(self.threshold)

    @cached_property
    def roc(self) -> Roc:
        return roc(self.films.labels, self.films.probabilities)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each film is decided as its label says, (n,)."""
        return (self.probabilities >= self.threshold) == (self.films.labels == 1)


@dataclass(frozen=True)
class Comparison:
    """Two or more versions on the same films.

    Attributes:
        files: names of the films, n of them, in the order of the first version.
        labels: int64 (n,), 1 = PNEUMONIA.
        patients: keys, (n,); None where none is known.
        sides: one a version, in the order asked for.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    patients: tuple[str, ...] | None
    sides: tuple[Side, ...]

    def pair(self, new: int, old: int = 0) -> Pair:
        """How the version at place `new` does against the one at place `old`."""
        one, two = self.sides[new], self.sides[old]
        difference = compare_auc(self.labels, one.probabilities, two.probabilities, patients=self.patients)
        return Pair(one, two, difference)

    def differing(self, pair: Pair) -> list[dict[str, object]]:
        """The films that one of a pair gets right and the other wrong, the plainest differences first."""
        here = np.flatnonzero(pair.new.right != pair.old.right)
        # In logits, each from its own threshold: scales of two versions are not the same.
        apart = np.abs(
            (logit(pair.new.probabilities) - logit(pair.new.threshold))
            - (logit(pair.old.probabilities) - logit(pair.old.threshold))
        )
        return [
            {
                "file": self.files[index],
                "label": CLASSES[int(self.labels[index])],
                "right": pair.new.name if pair.new.right[index] else pair.old.name,
                pair.new.name: float(pair.new.probabilities[index]),
                pair.old.name: float(pair.old.probabilities[index]),
            }
            for index in here[np.argsort(-apart[here], kind="stable")]
        ]


@dataclass(frozen=True)
class Pair:
    """A version against another one on the same films; `difference` is of the areas under their ROC curves."""

    new: Side
    old: Side
    difference: AucDifference

    @cached_property
    def counts(self) -> dict[str, int]:
        """Films that both get right, only one, or neither: keys both, only_new, only_old, neither."""
        new, old = self.new.right, self.old.right
        return {
            "both": int((new & old).sum()),
            "only_new": int((new & ~old).sum()),
            "only_old": int((~new & old).sum()),
            "neither": int((~new & ~old).sum()),
        }

    @cached_property
    def p_of_decisions(self) -> float:
        """McNemar's exact test of the films that only one of the two gets right (Biometrika 12:153-157, 1947).

        Two-sided; films count as independent. 1 where they decide alike.
        """
        from scipy.stats import binomtest

        one, two = self.counts["only_new"], self.counts["only_old"]
        return float(binomtest(one, one + two).pvalue) if one + two else 1.0

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "not told apart": whether the interval of the difference leaves 0 out."""
        interval = self.difference.interval
        if interval is None or interval.low <= 0 <= interval.high:
            return "not told apart"
        return "better" if self.difference.difference > 0 else "worse"

    @property
    def in_words(self) -> str:
        """The verdict in two sentences, with its figures."""
        found, interval = self.difference, self.difference.interval
        areas = f"AUC {found.first:.3f} against {found.second:.3f}"
        if interval is None:
            return f"There are too few films to tell {self.new.name} and {self.old.name} apart: {areas}."
        if interval.low == interval.high == 0:
            return f"{self.new.name} and {self.old.name} put these films into the same order: {areas}."
        figures = (
            f"{areas}, difference {signed(found.difference)} (95 % interval {signed(interval.low)} to "
            f"{signed(interval.high)}, {p_in_words(found.p_value)})"
        )
        if self.verdict == "not told apart":
            return (
                f"{self.new.name} and {self.old.name} cannot be told apart on these films: {figures}. "
                "That does not say that they are equally good: it says that these films do not show a difference."
            )
        return (
            f"{self.new.name} is {self.verdict} than {self.old.name} at telling pneumonia from normal on these films: "
            f"{figures}."
        )


def signed(value: float) -> str:
    """A difference of areas, as +0.0123 or −0.0123."""
    return f"{value:+.4f}".replace("-", "−")


def p_in_words(value: float | None) -> str:
    """As "p = 0.032" or "p < 0.001"; "p not known"."""
    if value is None:
        return "p not known"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def matched(one: Predictions, others: Sequence[Predictions]) -> list[NDArray[np.int64]]:
    """Indices into each of `one`, `*others` that bring out the films they share, in the order of `one`.

    Films are the same where their names are, and where their labels agree. A name that stands twice is left out.
    """
    places = [_places(each) for each in (one, *others)]
    shared = [
        name
        for name in one.files
        if all(name in each for each in places) and len({each[name][1] for each in places}) == 1
    ]
    return [np.array([each[name][0] for name in shared], dtype=np.int64) for each in places]


def _places(films: Predictions) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    twice: set[str] = set()
    for index, name in enumerate(films.files):
        if name in places:
            twice.add(name)
        places[name] = (index, int(films.labels[index]))
    return {name: place for name, place in places.items() if name not in twice}


def compare(
    versions: Sequence[Version], *, thresholds: Mapping[str, float], split: Split = "test"
) -> Comparison:
    """Versions on the stored predictions of the films that all of them have read.

    Args:
        versions: two or more.
        thresholds: each one's own, by its name.

    Raises:
        ComparisonError: fewer than two, or no films of both classes in common.
        VersionError: a version has no such predictions.
    """
    if len(versions) < 2:
        raise ComparisonError("Choose two versions or more to compare.")
    stored = [version.predictions(split) for version in versions]
    indices = matched(stored[0], stored[1:])
    chosen = indices[0]
    labels = stored[0].labels[chosen]
    if len(set(labels.tolist())) < 2:
        names = " and ".join(version.name for version in versions)
        raise ComparisonError(
            f"{names} have no {split} films of both classes in common; measure them on the same folder."
        )
    patients = tuple(stored[0].patients[index] for index in chosen)
    known = patients if any(patients) else None
    sides = tuple(
        Side(
            version.name,
            thresholds[version.name],
            scored(labels, films.probabilities[index], patients=known),
            len(films.files) - len(index),
        )
        for version, films, index in zip(versions, stored, indices, strict=True)
    )
    return Comparison(tuple(stored[0].files[index] for index in chosen), labels, known, sides)
