from __future__ import annotations

import ast
from pathlib import Path

import pytest

from model.registry import find_version
from utils import screen_benchmark


def sections_of_films() -> list[str]:
    """Sections that the Metrics screen draws films in, from its source: importing a page would run it."""
    page = Path(screen_benchmark.APP).parent / "pages" / "metrics.py"
    for node in ast.parse(page.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OF_FILMS":
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    raise AssertionError("pages/metrics.py names its sections of films otherwise now")


def test_every_section_that_draws_the_films_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", "")
    seconds = screen_benchmark.measure(60, rounds=1, version=find_version(None))
    assert list(seconds) == sections_of_films()
    assert min(seconds.values()) > 0
