"""Administration, People: what is not covered by the test of permissions and the one in a browser."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from streamlit.testing.v1 import AppTest

from utils import audit_trail, sign_ins


def _section() -> None:
    from pages.administration_parts import people
    from utils.permissions import LOCAL
    from utils.session import Screen

    people.show(Screen(version=None, problem="", threshold=0.5, person=LOCAL))


def test_the_time_after_which_somebody_is_signed_out(home: Path) -> None:
    app = AppTest.from_function(_section, default_timeout=30).run()
    assert not app.exception and app.number_input[0].value == 30
    app.number_input[0].set_value(60).run()
    assert [each.value for each in app.success] == ["Whoever touches nothing for 60 minutes is signed out."]
    assert app.number_input[0].value == 60 and sign_ins.idle_time() == timedelta(hours=1)
    line = audit_trail.search().lines[0]
    assert (line.event, line.subject, line.before, line.after) == (
        "setting",
        "idle_minutes",
        {"value": 30},
        {"value": 60},
    )
