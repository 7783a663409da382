"""From a stored probability and a threshold to a decision and to the words that explain it. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from model.calibration import OperatingPoint
from model.evaluation import OperatingRates, operating_rates
from model.registry import Predictions
from utils.texts import Language, listed, text

NORMAL = "NORMAL"
PNEUMONIA = "PNEUMONIA"
NOT_JUDGED = "NOT JUDGED"
"""Of a picture that is no film the network can judge: it has no probability, and so no decision."""
CANNOT_TELL = "CANNOT TELL"
"""The verdict of `model.conformal` on a film that could be either at the department's error rate."""
SHAPES = {PNEUMONIA: "▲", NORMAL: "○", CANNOT_TELL: "◇", NOT_JUDGED: "□"}
"""A shape beside each word, so that a decision never hangs on its colour."""

ASSISTS = text("assists", "en")


def decide(probability: float, *, threshold: float) -> str:
    """PNEUMONIA where `probability >= threshold`, else NORMAL; the same rule as in `model.evaluation`."""
    return PNEUMONIA if probability >= threshold else NORMAL


def point_at(points: Sequence[OperatingPoint], threshold: float) -> OperatingPoint | None:
    """The first named operating point that lies exactly at `threshold`, or None between the points."""
    return next((point for point in points if point.threshold == threshold), None)


def format_probability(probability: float, *, threshold: float | None = None) -> str:
    """A probability with three decimals, and more where three would hide on which side of the threshold it lies.

    Certainty is never printed: 0.99996 reads ">0.999" and 0.0002 reads "<0.001".

    >>> format_probability(0.87312)
    '0.873'
    >>> format_probability(0.49996, threshold=0.5)
    '0.49996'
    """
    if threshold is not None:
        # A threshold set by hand has three decimals; one from a card has them all.
        for digits in range(3, 10):
            if (probability >= threshold) == (round(probability, digits) >= round(threshold, digits)):
                break
        if digits > 3:
            return f"{probability:.{digits}f}"
    if probability > 0.9995:
        return ">0.999"
    if probability < 0.0005:
        return "<0.001"
    return f"{probability:.3f}"


def of_hundred(share: float, language: Language = "en") -> str:
    """A share in [0, 1] as "97 of 100"; "all" and "none" are said only where they are exact.

    >>> of_hundred(0.974)
    '97 of 100'
    >>> of_hundred(0.998)
    'more than 99 of 100'
    """
    count = round(share * 100)
    if count == 100 and share < 1:
        return text("nearly all", language)
    if count == 0 and share > 0:
        return text("nearly none", language)
    return text("of hundred", language, count=count)


def rates_in_words(predictions: Predictions, *, threshold: float) -> str:
    """What a threshold costs and gains, in one English sentence, measured on stored test predictions.

    A class without any film in the test set is left out and named.
    """
    return what_is_flagged(operating_rates(predictions.labels, predictions.probabilities, threshold))


def what_is_flagged(rates: OperatingRates, language: Language = "en") -> str:
    """The same of rates that are known already, in the reader's language."""
    found, missing = [], []
    if rates.sensitivity.value is None:
        missing.append(text("pneumonias", language))
    else:
        share = of_hundred(rates.sensitivity.value, language)
        found.append(text("flagged pneumonias", language, share=share))
    if rates.specificity.value is None:
        missing.append(text("healthy", language))
    else:
        share = of_hundred(1 - rates.specificity.value, language)
        found.append(text("flagged healthy", language, share=share))
    if not found:
        return text("rates of nothing", language)
    sentence = text("rates", language, flagged=listed(found, language))
    return sentence + (text("rates lack", language, missing=missing[0]) if missing else "")
