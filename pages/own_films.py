"""Own films: how good the network is on the films of this site, and what the department makes of it."""

from __future__ import annotations

import streamlit as st

from utils import look, session
from utils.decisions import ASSISTS

screen = session.enter("Own films")

st.html(look.STYLE)
st.title("Validate on your own films")
st.caption(ASSISTS)
