"""Remarks on a film that a technician can act on: is it large enough, well exposed, sharp, upright, a grey picture?

Thresholds were chosen on the 4,427 films that the released version was trained on (Kermany's children's chest X-rays,
224 x 224 pixels) so that each remark is rare there. Faults are made of every fifteenth of these films
(`model.domain_commands.FAULTS`); what is found of them:

==================  ================================================  ============  ====================================
remark              said where                                        false alarms  faults found
==================  ================================================  ============  ====================================
``inverted``        see :func:`model.appearance.correction`           0             99.7 %
``on-its-side``     as above                                          0             99.7 %
``upside-down``     as above                                          0.09 %        97 %
``too-dark``        mean grey level below 65 of 255                   0             90 % of films at 45 % of levels
``too-bright``      mean grey level above 180                         0.20 %        91 % of films raised by half
``low-contrast``    95th less 5th percentile of grey levels below 80  0.14 %        99.7 % of films at a third of it
``clipped``         more than 2 % of the film white, or more than     0.07 %        99 % (white), 77 % (black)
                    5 % of its middle black
``blurred``         sharpness (:func:`sharpness`) below 0.57          0             99 % (Gaussian, 1 % of a side)
``large-borders``   plain borders take more than 20 % of the area     0.05 %        100 % of borders of 15 % of a side
``unusual-shape``   width to height below 0.7 or above 2.2            see below     100 % of films cut to a third
``too-small``       fewer than 224 pixels a side                      see below     100 % of films at 150 pixels
``colour``          channels differ in more than 1 % of the pixels    0             not measured
==================  ================================================  ============  ====================================

The figures on test films stand in the model card. Size and shape cannot be measured at 224 x 224: of the 60 training
films at hand as published, 0.98 to 1.81 times as wide as high, none gets any remark.

What a DICOM file says of itself is taken at its word: text burned in, an age or a view outside what the network was
trained on (children of one to five years, from the front), several frames, a window set by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from model.appearance import content_box, correction, overview
from model.films import DicomFacts, XRay, prepare

SMALLEST_SIDE = 224  # the network's own input: anything smaller has to be enlarged
NARROWEST, WIDEST = 0.7, 2.2
DARKEST, BRIGHTEST = 65.0, 180.0
LOWEST_CONTRAST = 80.0
CLIPPED_WHITE = 0.02
CLIPPED_BLACK = 0.05
CLIPPED_LEVELS = (1, 254)  # compression turns black and white into their neighbours
BLURRED = 0.57
LARGE_BORDERS = 0.2
FEWEST_CROPPED = 64  # pixels a side that a crop leaves
COLOUR_SHARE = 0.01
SAMPLED_SIDE = 512  # exposure is judged on about this many rows and columns; more would only cost time
TRAINING_AGES = range(1, 6)  # whole years: children of one to five
TRAINING_VIEWS = ("PA", "AP")

Offer = Literal["", "invert", "turn-90", "turn-180", "turn-270", "crop"]


@dataclass(frozen=True)
class Remark:
    """One remark: a stable ``code`` for tables and tests, a sentence that says what to do, and what :func:`corrected`
    can do about it ("" for most)."""

    code: str
    message: str
    offer: Offer = ""


def remarks(xray: XRay) -> tuple[Remark, ...]:
    """Judge one film.

    Args:
        xray: a film as :func:`model.films.read_xray` returns it.

    Returns:
        The remarks, the gravest for the reading first; empty for an ordinary chest film. A remark never stops the
        reading: it says why a probability may not hold. Whether there is a probability at all, `model.domain` says.
    """
    pixels = xray.pixels
    height, width = pixels.shape
    step = max(1, min(height, width) // SAMPLED_SIDE)
    sampled = np.ascontiguousarray(pixels[::step, ::step])
    small = overview(pixels)
    low, high = np.percentile(sampled, [5, 95])
    mean = float(sampled.mean())
    found = [*_dicom_remarks(xray.source.dicom), *_orientation_remark(small)]
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
    found.extend(_clipped_remark(sampled))
    if min(height, width) >= SMALLEST_SIDE and sharpness(small) < BLURRED:
        found.append(
            Remark(
                "blurred", "The film looks blurred: use the original file, or check whether the child moved."
            )
        )
    found.extend(_border_remark(small))
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


def _orientation_remark(pixels: NDArray[np.uint8]) -> Iterator[Remark]:
    offer = cast(Offer, correction(pixels))
    if offer == "invert":
        message = "The film looks inverted: export it again with white bones on black air, or invert it here."
        yield Remark("inverted", message, offer)
    elif offer == "turn-180":
        yield Remark("upside-down", "The film looks upside down: turn it upright.", offer)
    elif offer:
        way = "right" if offer == "turn-90" else "left"
        message = f"The film looks turned on its side: turn it by a quarter to the {way}."
        yield Remark("on-its-side", message, offer)


def _border_remark(pixels: NDArray[np.uint8]) -> Iterator[Remark]:
    box = content_box(pixels)
    if min(box.bottom - box.top, box.right - box.left) < FEWEST_CROPPED:
        return
    borders = 1 - box.share(pixels.shape)
    if borders > LARGE_BORDERS:
        message = f"Plain borders take {borders:.0%} of the picture: crop it to the film."
        yield Remark("large-borders", message, "crop")


def _clipped_remark(pixels: NDArray[np.uint8]) -> Iterator[Remark]:
    height, width = pixels.shape
    # Air around the child is black on many films: only what lies in the middle is lost by being so.
    middle = pixels[height // 6 : height - height // 6, width // 6 : width - width // 6]
    black, white = CLIPPED_LEVELS
    if (middle <= black).mean() > CLIPPED_BLACK or (pixels >= white).mean() > CLIPPED_WHITE:
        yield Remark(
            "clipped",
            "Parts of the film are pure black or pure white and show nothing any more: check the window it was "
            "exported with.",
        )


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """How fast grey levels change their slope beside how fast they change, at the network's size: mean absolute
    Laplacian by mean gradient. Films have 0.8 to 1.1, blurred ones 0.3 to 0.5."""
    values = prepare(pixels)[:, :, 0].astype(np.float32)
    centre = values[1:-1, 1:-1]
    bends = 4 * centre - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]
    slopes = np.hypot(np.diff(values, axis=0)[:, :-1], np.diff(values, axis=1)[:-1])
    return float(np.abs(bends).mean() / max(float(slopes.mean()), 1e-6))


def corrected(pixels: NDArray[np.uint8], offer: str) -> NDArray[np.uint8]:
    """The film with a remark's offer carried out.

    Args:
        pixels: uint8 (height, width); left as they are.
        offer: of a :class:`Remark`; turns are clockwise, in degrees.

    Returns:
        A new uint8 array, read-only like those of :func:`model.films.read_xray`; "" gives a copy.

    Raises:
        ValueError: an offer that there is not.
    """
    match offer:
        case "":
            made = pixels
        case "invert":
            made = 255 - pixels
        case "turn-90" | "turn-180" | "turn-270":
            made = np.rot90(pixels, -int(offer.removeprefix("turn-")) // 90)
        case "crop":
            box = content_box(pixels)
            made = pixels[box.top : box.bottom, box.left : box.right]
        case _:
            raise ValueError(f"There is no correction {offer!r}.")
    result = np.array(made, dtype=np.uint8, order="C")
    result.setflags(write=False)
    return result
