"""Pages for printing and archiving: PDF/A-2u, A4, black on white, with the fonts in the file. No case, no words.

DejaVu Sans Condensed lies in `fonts`, as Debian's fonts-dejavu-core has it: free to pass on, narrow, legible when
small, with Latin, Greek, Cyrillic, Hebrew and Arabic letters. It is part of the project, so that every machine makes
the same bytes.
"""

from __future__ import annotations

import io
import logging
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.bidi import BidiParagraph
from fpdf.enums import DocumentCompliance, MethodReturnValue
from numpy.typing import NDArray
from PIL import Image

from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA

# On its way into the file a font is logged glyph by glyph, which would be the letters of somebody's note.
logging.getLogger("fontTools").setLevel(logging.WARNING)

LEFT, RIGHT, TOP, BOTTOM = 16.0, 194.0, 12.0, 277.0
"""Edges of what stands between head and foot of a page; mm from its top left corner, as all lengths here."""
WIDTH = RIGHT - LEFT
GREY = 85
"""Of labels, 0 is black: dark enough for any printer."""
_FONTS = Path(__file__).resolve().parent / "fonts"
_FILES: dict[Literal["", "B"], Path] = {
    "": _FONTS / "DejaVuSansCondensed.ttf",
    "B": _FONTS / "DejaVuSansCondensed-Bold.ttf",
}
_POINT = 25.4 / 72
_LEADING = 1.28

Pixels = NDArray[np.uint8]
Align = Literal["L", "C", "R"]


def line_height(size: float) -> float:
    """From line to line of a text of `size` points."""
    return size * _POINT * _LEADING


def plain(words: str) -> str:
    """Text from people as the fonts can set it, whatever it holds.

    Control characters and those that turn the direction of writing go; what the fonts lack becomes a replacement
    character; of blank lines one is left.
    """
    known = _known_characters()
    kept = []
    for letter in unicodedata.normalize("NFC", words.replace("\r\n", "\n")):
        kind = unicodedata.category(letter)
        if letter in "\n\r\v\f\x85\u2028\u2029":
            kept.append("\n")
        elif letter == "\t" or (kind == "Zs" and letter != "\N{NO-BREAK SPACE}"):
            kept.append(" ")
        elif kind in ("Cc", "Cf") or "\ufe00" <= letter <= "\ufe0f":  # the last choose how an emoji looks
            continue
        else:
            kept.append(letter if ord(letter) in known else "\N{REPLACEMENT CHARACTER}")
    lines = [line.rstrip() for line in "".join(kept).split("\n")]
    few = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(few).strip("\n")


@cache
def _known_characters() -> frozenset[int]:
    """What both fonts have."""
    regular, bold = (set(TTFont(file, lazy=True).getBestCmap()) for file in _FILES.values())
    return frozenset(regular & bold)


def _as_seen(line: str) -> str:
    """A line as it stands on paper: words that are read from the right are turned round."""
    if not any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in line):
        return line
    return BidiParagraph(line).get_reordered_string()


class Paper(FPDF):
    """The pages of one document. Text is made `plain` by whoever brings it from outside.

    The same calls with the same `made` give the same bytes.
    """

    def __init__(self, *, title: str, language: str, made: datetime) -> None:
        super().__init__(enforce_compliance=DocumentCompliance.PDFA_2U)
        self.alias_nb_pages("")  # or "{nb}" in a note would become the number of pages
        for style, file in _FILES.items():
            self.add_font("paper", style, file)
        self.set_margin(0)
        self.c_margin = 0
        self.set_auto_page_break(False)
        self.set_creation_date(made.astimezone(UTC).replace(microsecond=0))
        self.set_title(title)
        self.set_lang(language)
        self.set_xmp_metadata(_metadata(title, language, made))

    def begin(self) -> None:
        """A new page."""
        self.add_page()
        self.set_line_width(0.2)
        self.set_draw_color(0)
        self.set_fill_color(0)

    def face(self, size: float, *, bold: bool = False, grey: bool = False) -> None:
        """The font from here on; `size` in points."""
        self.set_font("paper", "B" if bold else "", size)
        self.set_text_color(GREY if grey else 0)

    def wrapped(self, sentences: Sequence[str], width: float, size: float) -> list[str]:
        """The lines of plain texts, each of which starts a line. Needs a page to measure on."""
        self.face(size)
        lines: list[str] = []
        for sentence in sentences:
            found: Any = self.multi_cell(
                width, text=sentence, align="L", dry_run=True, output=MethodReturnValue.LINES
            )
            lines += found
        return lines

    def one_line(self, words: str, width: float, size: float, *, bold: bool = False) -> str:
        """A text made plain and cut to one line."""
        line = " ".join(plain(words).split("\n"))
        self.face(size, bold=bold)
        if self.get_string_width(line) <= width:
            return line
        fitting = bisect_left(
            range(len(line)), width, key=lambda count: self.get_string_width(f"{line[: count + 1]}…")
        )
        return f"{line[:fitting]}…"

    def put(
        self,
        line: str,
        x: float,
        y: float,
        size: float,
        *,
        bold: bool = False,
        grey: bool = False,
        align: Align = "L",
        width: float = 0,
    ) -> float:
        """Set one line with its top at y, in a column of `width` where it is not to the left; gives where the next
        one starts."""
        self.face(size, bold=bold, grey=grey)
        self.set_xy(x, y)
        self.cell(width or RIGHT - x, line_height(size), _as_seen(line), align=align)
        return y + line_height(size)

    def picture(self, pixels: Pixels, x: float, y: float, width: float, height: float, *, words: str) -> None:
        """A picture, grey (height, width) or in colours (height, width, 3); `words` for whoever does not see it."""
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, format="JPEG", quality=85)
        self.image(jpeg, x, y, width, height, alt_text=words)

    def shape(self, decision: str, x: float, y: float, side: float) -> None:
        """The shape that stands for a decision on the screens too, in a square of `side`."""
        middle, line = side / 2, side * 0.14
        self.set_line_width(line)
        if decision == PNEUMONIA:
            self.polygon([(x + middle, y), (x + side, y + side), (x, y + side)], style="F")
        elif decision == NORMAL:
            self.circle(x + middle, y + middle, middle, style="F")
            self.set_fill_color(255)
            self.circle(x + middle, y + middle, middle - line, style="F")
            self.set_fill_color(0)
        elif decision == CANNOT_TELL:
            self.polygon(
                [(x + middle, y), (x + side, y + middle), (x + middle, y + side), (x, y + middle)], style="D"
            )
        else:
            self.rect(x + line / 2, y + line / 2, side - line, side - line)
        self.set_line_width(0.2)

    def rule(self, y: float) -> None:
        """A thin line across the page."""
        self.line(LEFT, y, RIGHT, y)


def _metadata(title: str, language: str, made: datetime) -> str:
    """XMP, which PDF/A asks for. fpdf2's own would hold the time of writing, and so differ each time."""
    stamp = made.astimezone(UTC).isoformat(timespec="seconds")
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" xmp:CreatorTool="Pneumoscope" xmp:CreateDate="{stamp}"
 xmp:ModifyDate="{stamp}" xmp:MetadataDate="{stamp}">
<pdfaid:part>2</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt></dc:title>
<dc:language><rdf:Bag><rdf:li>{escape(language)}</rdf:li></rdf:Bag></dc:language>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>"""
