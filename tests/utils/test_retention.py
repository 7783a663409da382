"""What the server deletes by itself, from its start on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from utils import film_store
from utils.settings import PROJECT

SERVER = """
import sys, threading
from datetime import UTC, datetime, timedelta
from sqlalchemy import select
from tests import made_cases as made
from utils import cases, film_store, retention
from utils.choices import change_choices
from utils.database import transaction
from utils.permissions import LOCAL
from utils.tables import Case

old = made.save(made.reading(1), pixels=made.film(1)).pseudonym
made.save(made.reading(2), pixels=made.film(2))
with film_store.adding():
    film_store.put("e" * 64, film_store.sealed(made.film(3)))  # of a process that was killed
with transaction() as session:
    session.scalars(select(Case).where(Case.pseudonym == old)).one().created -= timedelta(days=8)
change_choices(who=LOCAL, retention_days=7)
retention.start()
retention.start()
while cases.stored().films > 1:
    threading.Event().wait(0.02)
print(cases.stored().cases, sum(thread.name == "retention" for thread in threading.enumerate()))
"""


def test_a_server_deletes_what_is_past_its_days_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    done = subprocess.run(
        [sys.executable, "-c", SERVER], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "1 1\n", done.stderr
