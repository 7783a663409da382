"""The answer beside the film: the probability and the decision, or why there is none; corrections that are offered."""

from __future__ import annotations

import streamlit as st

from model.registry import Version
from pages.diagnose_parts import common
from pages.diagnose_parts.common import Opened
from utils import look, session
from utils.readings import OFFERS, Certainty, Reading, corrections_in_words, done_in_words

ICONS = {
    "invert": ":material/invert_colors:",
    "turn-90": ":material/rotate_90_degrees_cw:",
    "turn-180": ":material/rotate_right:",
    "turn-270": ":material/rotate_90_degrees_ccw:",
    "crop": ":material/crop:",
}


def empty(version: Version | None, *, threshold: float) -> None:
    """The same panel before the first film."""
    rates = "" if version is None else session.rates_at(version, threshold)
    st.html(look.answer(None, threshold=threshold, rates=rates))


def show(opened: Opened, *, certain: Certainty | None) -> None:
    """The answer, and the buttons that follow from it."""
    reading = opened.reading
    assert reading.source is not None
    quality = tuple(remark.message for remark in reading.quality)
    done = done_in_words(reading.source, input_size=reading.input_size)
    remark = " ".join(part for part in (opened.entry.remark, older(opened)) if part)
    verdict = reading.verdict(certain)
    if reading.probability is None:
        st.html(look.refusal(reading.refusal, quality=quality, done=done, remark=remark))
        corrections(opened)
        st.button(
            "Read it nevertheless",
            icon=":material/gavel:",
            help="The probability will mean little. The record will say that you had it read.",
            on_click=common.nevertheless,
            args=(reading, opened.version),
        )
    else:
        st.html(
            look.answer(
                reading.probability,
                threshold=opened.threshold,
                rates=session.rates_at(opened.version, opened.threshold),
                certainty=(verdict, certain.rule.error_rate) if certain and verdict else None,
                record=reading.record,
                quality=quality,
                done=done,
                remark=remark,
            )
        )
        corrections(opened)
    common.problem()


def corrections(opened: Opened) -> None:
    """A button for each correction that a remark offers, and one that takes the last one back."""
    reading = opened.reading
    offered = [offer for offer in dict.fromkeys(one.offer for one in reading.quality) if offer]
    if not (offered or reading.offers):
        return
    if not reading.correctable:
        st.caption("The film cannot be corrected here any more: drop the file again for that.")
        return
    with st.container(horizontal=True, key="corrections"):
        for offer in offered:
            _button(opened, OFFERS[offer][0], ICONS[offer], (*reading.offers, offer))
        if reading.offers:
            last = corrections_in_words(reading.offers[-1:])
            _button(opened, f"Undo: {last}", ":material/undo:", reading.offers[:-1])


def _button(opened: Opened, label: str, icon: str, offers: tuple[str, ...]) -> None:
    st.button(
        label,
        icon=icon,
        help="Reads the film again so. The file itself is not changed, and the record says what was done.",
        on_click=_correct,
        args=(opened.reading, opened.version, offers),
    )


def _correct(reading: Reading, version: Version, offers: tuple[str, ...]) -> None:
    common.again(reading, version, offers=offers)


def older(opened: Opened) -> str:
    """What to say where another version read the film than the one in use."""
    if opened.reading.version == opened.version.name:
        return ""
    return f"Read with version {opened.reading.version}; drop the file again to read it with {opened.version.name}."
