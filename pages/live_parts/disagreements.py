"""Cases whose verdict is not what the network decided, each with a way to it."""

from __future__ import annotations

import pandas
import streamlit as st

from pages.live_parts import common
from utils import live, look
from utils.decisions import SHAPES, format_probability
from utils.permissions import Action
from utils.session import Screen

TABLE = "live-disagreements"
PAGE = "live-disagreements-page"
ROWS = 20


def show(screen: Screen) -> None:
    """The list, or why there is none."""
    chosen = common.choose(screen, decisions=True)
    wanted = chosen.wanted
    if not screen.person.may(Action.SEE_ALL_CASES):
        counted = live.performance(live.tallies(wanted))
        st.info(
            f"{counted.fp + counted.fn:,} of {counted.cases:,} verified cases disagree. The cases themselves are for "
            "clinicians.",
            icon=":material/lock:",
        )
        return
    number = int(st.session_state.get(PAGE, 1))
    found, total = live.disagreements(wanted, who=screen.person, offset=(number - 1) * ROWS, limit=ROWS)
    if not found and number > 1:  # the list got shorter
        number = st.session_state[PAGE] = 1
        found, total = live.disagreements(wanted, who=screen.person, limit=ROWS)
    if not total:
        st.success(
            f"No verdict on the cases {chosen.period} disagrees with the decision.", icon=":material/check:"
        )
        return
    cases = "1 case" if total == 1 else f"{total:,} cases"
    st.markdown(
        f"**{cases}** whose verdict is not what was decided, the newest verdict first. Choose one to open it."
    )
    table = pandas.DataFrame(
        [
            {
                "Case": each.pseudonym,
                "Verdict": f"{SHAPES[each.verdict]} {each.verdict}",
                "Decision": f"{SHAPES[each.decision]} {each.decision}",
                "Probability": format_probability(each.probability, threshold=each.threshold),
                "Threshold": f"{each.threshold:.3f}",
                "Read": f"{each.read.astimezone():%d %b %Y}",
                "Version": each.version,
                "Verdict by": each.verdict_by,
            }
            for each in found
        ]
    )
    selected = st.dataframe(
        table,
        key=f"{TABLE}-{number}",
        hide_index=True,
        width="stretch",
        on_select="rerun",
        selection_mode="single-row",
    )
    if selected["selection"]["rows"]:
        pseudonym = found[selected["selection"]["rows"][0]].pseudonym
        st.page_link(
            "pages/worklist.py",
            label=f"Open case {look.plain(pseudonym)}",
            icon=":material/open_in_new:",
            query_params={"case": pseudonym},
        )
    if total > ROWS:
        st.pagination(-(-total // ROWS), key=PAGE, persist_state="session")
    st.caption(
        "A disagreement is a mistake of the network, a hard film, or a verdict to look at again. Cases with a verdict "
        "and a kept film can be trained on: Training, New run, Films with verdicts."
    )
