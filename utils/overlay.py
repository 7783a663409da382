"""Where the network looked, drawn on the film: as colours or as contour lines, with its scale; and the finer map, which
is computed in the background for whoever asks for it.

A map is float32 (h, w) in calibrated log-odds, as `model.explanation` makes them. Pictures are made in memory and hold
no metadata.
"""

from __future__ import annotations

import io
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.explanation import COLOURS, LEAST_SCALE, occlusion, overlay_image, scale_of, upsample, with_scale
from model.inference import InferenceError

if TYPE_CHECKING:
    from model.inference import Predictor

log = logging.getLogger(__name__)

Style = Literal["Colours", "Contours"]
NOTHING = LEAST_SCALE / 10
"""A map that nowhere reaches this, in log-odds, has nothing that an eye could see."""
LEVELS = (0.25, 0.5, 0.75)
"""Contour lines, as shares of the scale."""
LINE = 0.002
"""Half the width of a contour line, as a share of the picture's shorter side."""


def pixels_of(jpeg: bytes) -> NDArray[np.uint8]:
    """The pixels of a picture that is kept for the screen, uint8 (height, width)."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture.convert("L"))


def is_nothing(heat: NDArray[np.float32]) -> bool:
    """Whether a map has nothing to show."""
    return float(heat.max(initial=0.0)) < NOTHING


def drawn(
    pixels: NDArray[np.uint8],
    heat: NDArray[np.float32],
    *,
    opacity: float,
    style: Style,
    line_width: float = LINE,
) -> NDArray[np.uint8]:
    """The film with its map.

    Args:
        pixels: uint8 (height, width).
        heat: float32 (h, w), calibrated log-odds; what lies below 0 is left out.
        opacity: of the map, in [0, 1]; 0 shows the film alone.
        style: "Colours" or "Contours".
        line_width: half the width of a contour line, as a share of the shorter side.

    Returns:
        uint8 (height, width, 3).
    """
    if style == "Colours":
        return overlay_image(pixels, heat, opacity=opacity)
    height, width = pixels.shape
    shares = upsample(heat, (height, width)) / scale_of(heat)
    painted = np.repeat(pixels[:, :, None], 3, axis=2)
    line = max(1, round(min(height, width) * line_width))
    for level in LEVELS:
        inside = shares >= level
        # A dark rim keeps the line visible on bright bone.
        painted[_edge(inside, line + 1)] = 0
        painted[_edge(inside, line)] = COLOURS[-1]
    grey = pixels[:, :, None].astype(np.float32)
    return np.asarray(np.rint(grey + np.float32(opacity) * (painted - grey)), np.uint8)


def _edge(inside: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Pixels within `reach` of where a region ends; the picture's own border is no end."""
    edge = np.zeros_like(inside)
    across = inside[:, 1:] != inside[:, :-1]
    down = inside[1:] != inside[:-1]
    edge[:, 1:] |= across
    edge[1:] |= down
    for _ in range(reach - 1):
        wider = edge.copy()
        wider[1:] |= edge[:-1]
        wider[:-1] |= edge[1:]
        wider[:, 1:] |= edge[:, :-1]
        wider[:, :-1] |= edge[:, 1:]
        edge = wider
    return edge


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture for the screen, uint8 (height, width, 3)."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, format="JPEG", quality=90)
    return target.getvalue()


def png(picture: NDArray[np.uint8], *, heat: NDArray[np.float32]) -> bytes:
    """A picture to take away, uint8 (height, width, 3), with the scale of its map below; lossless, no metadata."""
    target = io.BytesIO()
    Image.fromarray(with_scale(picture, scale_of(heat))).save(target, format="PNG")
    return target.getvalue()


class FinerMap:
    """The finer map of one film, computed in a thread of its own since it was made. It belongs to one session."""

    def __init__(self, predictor: Predictor, seen: NDArray[np.uint8]) -> None:
        """`seen`: one channel of what the network saw, uint8 (h, w)."""
        self.share = 0.0
        """How much of it is done, in [0, 1]."""
        self.result: Future[NDArray[np.float32]] = Future()
        self._stop = threading.Event()
        threading.Thread(target=self._work, args=(predictor, seen), name="finer-map", daemon=True).start()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """End it; what was computed is lost."""
        self._stop.set()

    def _work(self, predictor: Predictor, seen: NDArray[np.uint8]) -> None:
        try:
            image = np.repeat(seen[:, :, None], 3, axis=2)
            found = occlusion(predictor, image, progress=self._progress, cancelled=self._stop.is_set)
            self.result.set_result(found)
        except Exception as error:
            # Whatever goes wrong must reach the waiting page.
            if not self.stopped:
                log.error("the finer map failed: %s", error)
            self.result.set_exception(InferenceError("The finer map could not be computed: try once more."))

    def _progress(self, done: int, total: int) -> None:
        self.share = done / total
