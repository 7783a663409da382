"""Entry of Pneumoscope: page set-up and navigation. Nothing else."""

from __future__ import annotations

import streamlit as st

from utils import session

session.prepare()
st.navigation(session.pages()).run()
