from __future__ import annotations

from pathlib import Path

import pytest

from model.registry import find_version
from utils import screen_benchmark


def test_every_section_that_draws_the_films_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "")
    seconds = screen_benchmark.measure(60, rounds=1, version=find_version(None))
    assert tuple(seconds) == screen_benchmark.SECTIONS
    assert min(seconds.values()) > 0
