"""Sections of a screen: kept, and gone to by the program for good."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.conftest import section_of


def screen() -> None:
    import streamlit as st

    from utils import sections

    chosen = sections.choose("room", ["one", "two", "three"], first="two", label="Room")
    st.button("On", on_click=sections.go_to, args=("room", "three"))
    st.text(chosen)


def test_a_section_is_chosen_and_gone_to() -> None:
    app = AppTest.from_function(screen).run()
    assert app.text[0].value == "two"
    before = section_of(app, "room").set_value("one").run().button_group[0].key
    assert app.text[0].value == "one"
    app.button[0].click().run()
    assert app.text[0].value == "three"
    assert app.button_group[0].key != before, "the browser may still send the old one's value"
    assert app.run().text[0].value == "three"
    section_of(app, "room").set_value("two").run()
    assert app.text[0].value == "two"
    assert not app.exception
