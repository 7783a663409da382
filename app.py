"""Entry of Pneumoscope: page set-up and navigation. Nothing else."""

from __future__ import annotations

import streamlit as st

from utils import session

session.prepare()
st.navigation(
    [
        st.Page("pages/diagnose.py", title="Diagnose", icon=":material/radiology:", default=True),
        st.Page("pages/metrics.py", title="Metrics", icon=":material/monitoring:"),
    ]
).run()
