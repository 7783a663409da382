"""What the tests of several screens share."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.registry import Version, read_version


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """Streamlit collects garbage at the end of each run of a page; what is there already is left out of that.

    By the time these tests run a process holds TensorFlow and all that others have left: a third of a second a run.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A version of this test's own, in use."""
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)
    return read_version(folder)
