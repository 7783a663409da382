"""Worklist: the saved cases, likeliest pneumonia first; open one, look at it, give the verdict, go on to the next."""

from __future__ import annotations

import streamlit as st

from pages.worklist_parts import case, common, listing
from utils import look, session
from utils.decisions import ASSISTS
from utils.permissions import Action

screen = session.enter("Worklist", Action.SEE_OPEN_CASES)


def main() -> None:
    st.html(look.STYLE)
    if pseudonym := common.opened():
        case.show(pseudonym, screen)
    else:
        listing.show(screen)
    st.caption(ASSISTS)


main()
