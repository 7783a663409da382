"""Pieces of HTML: what they say, and that nothing from outside becomes markup."""

from __future__ import annotations

import pytest

from utils import look


def test_a_refusal_says_why_and_shows_no_number() -> None:
    html = look.refusal("No <film>.", quality=("Too <dark>.",), done="PNG", remark="Twice.")
    assert "NOT JUDGED" in html
    assert "No &lt;film&gt;." in html
    assert "Too &lt;dark&gt;." in html
    assert "<film>" not in html
    assert "0." not in html


def test_the_answer_says_how_sure_and_what_was_overruled() -> None:
    html = look.answer(
        0.4, threshold=0.5, rates="", certainty=("CANNOT TELL", 0.05), record="Refused <at> first."
    )
    assert "◇ <strong>CANNOT TELL</strong> at an error rate of 5 %: read this one carefully." in html
    assert "Refused &lt;at&gt; first." in html
    sure = look.answer(0.4, threshold=0.5, rates="", certainty=("NORMAL", 0.025))
    assert "Sure of NORMAL at an error rate of 2.5 %." in sure
    assert "error rate" not in look.answer(0.4, threshold=0.5, rates="")


@pytest.mark.parametrize(
    ("normal_below", "pneumonia_from", "bands"),
    [(0.2, 0.6, 3), (0.0, 0.6, 2), (0.2, float("inf"), 2), (0.0, float("inf"), 1), (0.4, 0.4, 2)],
)
def test_bands_that_nothing_can_fall_in_are_not_drawn(
    normal_below: float, pneumonia_from: float, bands: int
) -> None:
    html = look.verdict(
        "CANNOT TELL", probability=0.3, normal_below=normal_below, pneumonia_from=pneumonia_from
    )
    assert html.count("<i ") == bands
    assert "left:30.00%" in html
    assert "read this one carefully" in html


def test_the_scale_of_a_map_is_in_words_and_numbers() -> None:
    colours = look.heat_scale(0.18, colours=True, levels=(0.25, 0.5, 0.75))
    assert "0: nothing" in colours
    assert "0.18 log-odds for pneumonia" in colours
    assert "linear-gradient" in colours
    lines = look.heat_scale(0.2, colours=False, levels=(0.25, 0.5, 0.75))
    assert "lines at 0.05, 0.10, 0.15" in lines
    assert lines.count("<b ") == 3
