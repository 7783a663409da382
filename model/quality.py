"""Remarks on a film that a technician can act on: is it large enough, well exposed, upright, a grey picture?

The thresholds were chosen on the 5,216 films of the official training split of Kermany's children's chest
X-rays (224 x 224 pixels) so that each remark is rare there, and measured by running :func:`remarks` over
those films:

==================  =========================================================  =============================
remark              said where                                                 false alarms on training films
==================  =========================================================  =============================
``too-dark``        mean grey level below 65 of 255                            0.06 %
``too-bright``      mean grey level above 180                                  0.21 %
``low-contrast``    95th less 5th percentile of grey levels below 80           0.13 %
``inverted``        correlation with the mean film below -0.3                  0 (smallest correlation: +0.27)
``on-its-side``     a quarter turn correlates better, by more than 0.1         0
``upside-down``     a half turn correlates better, by more than 0.1            0
``colour``          channels differ in more than 1 % of the pixels             0
==================  =========================================================  =============================

0.36 % of the training films get any of these remarks. Of the same films inverted 99.9 % are found, of those
laid on their side 99.9 %, of those upside down 88 % (a small correlation gap is left unsaid rather than said
wrongly).

What a DICOM file says of itself is taken at its word: text burned in, an age or a view outside what the network was
trained on (children of one to five years, from the front), several frames, a window set by hand.

The size remarks cannot be measured at 224 x 224. The thresholds for the shape come from the 60 training films
at hand as published: width to height 0.98 to 1.81, so 0.7 to 2.2 is let pass, which none of the 60 leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.films import DicomFacts, XRay

SMALLEST_SIDE = 224  # the network's own input: anything smaller has to be enlarged
NARROWEST, WIDEST = 0.7, 2.2
DARKEST, BRIGHTEST = 65.0, 180.0
LOWEST_CONTRAST = 80.0
INVERTED_CORRELATION = -0.3
TURNED_GAIN = 0.1
TURNED_CORRELATION = 0.4  # below it the picture does not look like a turned chest film either
COLOUR_SHARE = 0.01
TRAINING_AGES = range(1, 6)  # whole years: children of one to five
TRAINING_VIEWS = ("PA", "AP")

# The mean of 8 x 8 box-averaged training films, each film standardised, both classes weighing the same; in
# hundredths of a standard deviation. It shows dark margins, two dark lungs, bright spine and shoulders, and
# the brighter abdomen.
_MEAN_FILM = (
    (-103, -49, 0, 87, 86, -1, -53, -109),
    (-104, 14, 35, 69, 71, 38, 13, -105),
    (-136, 28, -17, 62, 77, -6, 28, -137),
    (-154, 9, -40, 87, 116, 0, 13, -154),
    (-159, -23, -37, 106, 136, 42, -16, -160),
    (-167, -48, -33, 100, 137, 61, -40, -166),
    (-165, 15, 87, 137, 144, 90, -8, -168),
    (-151, 93, 154, 168, 162, 129, 70, -153),
)


@dataclass(frozen=True)
class Remark:
    """One remark: a stable ``code`` for tables and tests, and a sentence that says what to do."""

    code: str
    message: str


def remarks(xray: XRay) -> tuple[Remark, ...]:
    """Judge one film.

    Args:
        xray: a film as :func:`model.films.read_xray` returns it.

    Returns:
        The remarks, the gravest for the reading first; empty for an ordinary chest film. A remark never stops
        the
        reading: it says why a probability may not hold.
    """
    pixels = xray.pixels
    height, width = pixels.shape
    low, high = np.percentile(pixels, [5, 95])
    mean = float(pixels.mean())
    found = [*_dicom_remarks(xray.source.dicom), *_orientation_remarks(pixels)]
    if xray.source.colour_share > COLOUR_SHARE:
        found.append(
            Remark(
                "colour", "A colour picture, though X-rays are grey: check that the right file was chosen."
            )
        )
    if min(height, width) < SMALLEST_SIDE:
        found.append(
            Remark(
                "too-small",
                f"The picture has only {width} x {height} pixels: "
                f"use the original file rather than a thumbnail (at least {SMALLEST_SIDE} a side).",
            )
        )
    if not NARROWEST <= width / height <= WIDEST:
        found.append(
            Remark(
                "unusual-shape",
                f"The picture of {width} x {height} pixels has an unusual shape for a chest film: "
                "check that the whole chest is on it and nothing else.",
            )
        )
    exposure = "check the exposure or the window it was exported with."
    if mean < DARKEST:
        found.append(Remark("too-dark", f"The film is very dark: {exposure}"))
    if mean > BRIGHTEST:
        found.append(Remark("too-bright", f"The film is very bright: {exposure}"))
    if high - low < LOWEST_CONTRAST:
        found.append(Remark("low-contrast", f"The film has little contrast: {exposure}"))
    return tuple(found)


def _dicom_remarks(facts: DicomFacts | None) -> Iterator[Remark]:
    if facts is None:
        return
    if facts.view and facts.view not in TRAINING_VIEWS:
        yield Remark(
            "view",
            f"The file says view {facts.view}, and the network knows films from the front (PA, AP) only: "
            "the probability does not hold.",
        )
    if facts.age is not None and facts.age not in TRAINING_AGES:
        yield Remark(
            "age",
            f"The patient's age is {facts.age}, and the network was trained on children of one to five years: "
            "read this film without it.",
        )
    if facts.by_hand:
        yield Remark("window-by-hand", f"Read through a window set by hand: {facts.window}.")
    if facts.frames > 1:
        yield Remark(
            "frames",
            f"The file holds {facts.frames} frames and frame {facts.frame} was read: check that it is the film meant.",
        )
    if facts.burned_in:
        yield Remark(
            "burned-in-text",
            "The file says that text is burned into the picture: it may name the patient, so do not pass it on.",
        )


def _orientation_remarks(pixels: NDArray[np.uint8]) -> tuple[Remark, ...]:
    upright, quarter, half, three_quarters = _correlations(pixels)
    best = max(quarter, half, three_quarters)
    # A film on its side correlates a little negatively too: the better of the two explanations is taken.
    if upright < INVERTED_CORRELATION and -upright > best:
        message = "The film looks inverted: export it again with white bones on black air."
        return (Remark("inverted", message),)
    if best < TURNED_CORRELATION or best - upright <= TURNED_GAIN:
        return ()
    if best == half:
        return (Remark("upside-down", "The film looks upside down: turn it upright and choose it again."),)
    return (Remark("on-its-side", "The film looks turned on its side: turn it upright and choose it again."),)


def _correlations(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Pearson correlation of the film, reduced to 8 x 8, with the mean film turned by 0, 90, 180 and 270
    degrees."""
    template = np.asarray(_MEAN_FILM, dtype=np.float64)
    template = (template - template.mean()) / template.std()
    small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX), dtype=np.float64)
    spread = small.std()
    if spread == 0:  # a fine pattern on an even ground
        return 0.0, 0.0, 0.0, 0.0
    small = (small - small.mean()) / spread
    zero, one, two, three = (float((small * np.rot90(template, turns)).mean()) for turns in range(4))
    return zero, one, two, three
