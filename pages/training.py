"""Training: from a folder of films to a version of the network, watched while it grows."""

from __future__ import annotations

import streamlit as st

from utils import look, session
from utils.decisions import ASSISTS

screen = session.enter("Training")

st.html(look.STYLE)
st.title("Training")
st.caption(ASSISTS)
