"""Entry of Pneumoscope. Run by Streamlit it draws the screens; imported by the server it is the server's application.

`streamlit run app.py` finds `app`, which has the sign-in in front of everything and runs this file anew for each look
at a screen.
"""

from __future__ import annotations

import streamlit as st
from streamlit.starlette import App

from utils import server, session

if __name__ == "__main__":
    st.navigation(session.pages(session.prepare())).run()
else:
    server.make_ready()
    app = App(__file__, routes=server.routes(), middleware=server.middleware())
