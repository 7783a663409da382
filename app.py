"""Entry of Pneumoscope. Run by Streamlit it draws the screens; imported by the server it is the server's application.

`streamlit run app.py` finds `app`, which has the sign-in in front of everything and runs this file anew for each look
at a screen.
"""

from __future__ import annotations

if __name__ == "__main__":
    import streamlit as st

    from utils import session

    st.navigation(session.pages(session.prepare())).run()
else:
    from streamlit.starlette import App

    from utils import retention, server

    server.make_ready()
    retention.start()
    app = App(__file__, routes=server.routes(), middleware=server.middleware())
