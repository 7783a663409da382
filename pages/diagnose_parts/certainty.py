"""How sure: the verdict at the department's error rate, what it promises, and how far a few views of the film agree."""

from __future__ import annotations

import numpy as np
import streamlit as st

from model import conformal
from model.conformal import Rule
from pages.diagnose_parts import common
from pages.diagnose_parts.common import Opened
from pages.diagnose_parts.where import VIEWS
from utils import certainty, evidence, look, session
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA, decide, format_probability, of_hundred
from utils.readings import Certainty


def show(opened: Opened, *, certain: Certainty | None) -> None:
    """The verdict with its limits, the slider of the error rate, and the views."""
    probability = opened.reading.probability
    assert probability is not None
    left, right = st.columns([3, 2], gap="large")
    with right:
        certainty.error_rate_slider()
        agreement(opened)
    with left:
        if opened.reading.version != opened.version.name:
            st.info(
                "Drop the file again to see how sure the version in use is of it.", icon=":material/info:"
            )
            return
        if certain is None:
            st.info(
                f"Version {opened.version.name} holds too few validation films to say how sure it is.",
                icon=":material/info:",
            )
            return
        rule = certain.rule
        verdict = opened.reading.verdict(certain)
        if not verdict:
            st.info(
                "Nothing can be promised for this picture: it was refused and read nevertheless, and the rule holds "
                "for chest films alone.",
                icon=":material/info:",
            )
            return
        st.html(
            look.verdict(
                verdict,
                probability=probability,
                normal_below=rule.normal_below,
                pneumonia_from=rule.pneumonia_from,
            )
        )
        st.markdown(promise(rule))
        st.caption(limits(opened, rule))
        if verdict != CANNOT_TELL and verdict != decide(probability, threshold=opened.threshold):
            st.caption(
                f"The threshold of {opened.threshold:.3f} decides otherwise: it weighs missed pneumonias against false "
                "alarms, which this verdict does not."
            )


def promise(rule: Rule) -> str:
    """What a verdict at this error rate promises."""
    share = _percent(rule.error_rate)
    return (
        f"At most **{share} of the films with pneumonia** are called NORMAL, and at most **{share} of the films "
        "without** are called PNEUMONIA. Where that cannot be kept the verdict is CANNOT TELL: "
        + ("the film could be either." if rule.either else "the film is like few of either kind.")
    )


def limits(opened: Opened, rule: Rule) -> str:
    """For which films the promise holds, and what came of it on the test films."""
    fitted = (
        f"The promise holds for films like the {rule.normal:,} NORMAL and {rule.pneumonia:,} PNEUMONIA validation "
        "films that it was fitted on."
    )
    found = evidence.held(opened.version, rule)
    if found is None:
        return f"{fitted} Other films may differ."
    wrong = [
        f"{of_hundred(part.wrong.value)} {kind} were called {other}"
        for part, kind, other in (
            (found.pneumonia, "films with pneumonia", NORMAL),
            (found.normal, "films without", PNEUMONIA),
        )
        if part.wrong.value is not None
    ]
    open_ = "" if found.open.value is None else f", and it could not tell for {of_hundred(found.open.value)}"
    broken = found.normal.misses or found.pneumonia.misses
    kept = (
        "That is more than promised: those films differ from the validation films, and yours may too."
        if broken
        else "Another hospital's films may differ."
    )
    return f"{fitted} On the test films {' and '.join(wrong)}{open_}. {kept}"


def agreement(opened: Opened) -> None:
    """The range of probabilities over a few views, on demand."""
    found = _views().get(common.seen_key(opened.reading))
    count = 1 + 4 + len(conformal.EXPOSURES)
    if found is None:
        st.button(
            "Read a few views",
            icon=":material/filter_none:",
            help=f"Reads the film {count} times, moved a little and at other exposures: as long as reading {count} "
            "films.",
            on_click=_read_views,
            args=(opened,),
        )
        return
    low, high = (format_probability(value) for value in found)
    decisions = {decide(value, threshold=opened.threshold) for value in found}
    agree = (
        f"All would be {decisions.pop()} at this threshold."
        if len(decisions) == 1
        else "They lie on both sides of the threshold: read this one carefully."
    )
    st.markdown(f"Over {count} views the probability is **{low} to {high}**. {agree}")


def _views() -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = st.session_state.setdefault(VIEWS, {})
    return found


def _read_views(opened: Opened) -> None:
    seen = opened.reading.seen
    if seen is None or opened.reading.version != opened.version.name:
        st.session_state[common.PROBLEM] = "Another version is in use by now: drop the file again."
        return
    try:
        predictor = session.predictor(opened.version).result()
        found = conformal.views(predictor, np.repeat(seen[:, :, None], 3, axis=2))
    except Exception:
        # Whatever an engine raises: no traceback may reach the user.
        st.session_state[common.PROBLEM] = "The views could not be read: try once more."
        return
    _views()[common.seen_key(opened.reading)] = found


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
