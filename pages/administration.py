"""Administration: who may sign in, what is kept of the films, and what was done."""

from __future__ import annotations

import streamlit as st

from pages.administration_parts import audit, people, records
from utils import look, sections, session
from utils.decisions import ASSISTS
from utils.permissions import Action

screen = session.enter("Administration", Action.MANAGE_ACCOUNTS)

SECTION = "administration-section"
PARTS = {"People": people, "Records": records, "Audit trail": audit}


def main() -> None:
    st.html(look.STYLE)
    st.title("Administration")
    section = sections.choose(SECTION, list(PARTS), first="People", label="What to look after")
    PARTS[section].show(screen)
    st.caption(ASSISTS)


main()
