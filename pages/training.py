"""Training: from a folder of films to a version of the network, watched while it grows."""

from __future__ import annotations

import streamlit as st

from model import jobs
from pages.training_parts.check import checked, show_check
from pages.training_parts.common import NEW, RUNS, SECTION
from pages.training_parts.films import chosen_films
from pages.training_parts.order import start
from pages.training_parts.recipe import recipe
from pages.training_parts.runs import show_runs
from utils import look, sections, session
from utils.decisions import ASSISTS
from utils.permissions import Action
from utils.settings import Settings, SettingsError, get_settings

screen = session.enter("Training", Action.TRAIN)


def main() -> None:
    st.html(look.STYLE)
    st.title("Training")
    try:
        settings = get_settings()
    except SettingsError as error:
        st.error(str(error), icon=":material/error:")
        st.caption(ASSISTS)
        return
    jobs.advance(settings.home)
    known = jobs.list_jobs(settings.home)
    section = sections.choose(SECTION, [RUNS, NEW], first=RUNS if known else NEW, label="What to do")
    if section == NEW:
        new_run(settings)
    else:
        show_runs(settings.home, known)
    st.caption(ASSISTS)


def new_run(settings: Settings) -> None:
    """From the films to the start."""
    with st.container(border=True):
        st.markdown("#### 1. Films")
        films = chosen_films(settings)
        found = None if films is None else checked(films)
        blocking = [] if found is None else show_check(found)
    if films is None:
        return
    with st.container(border=True):
        st.markdown("#### 2. Recipe")
        config = recipe(settings.home)
    with st.container(border=True):
        st.markdown("#### 3. Start")
        if found is None:
            blocking = ["check the films above"]
        start(settings.home, films, config, blocking)


main()
