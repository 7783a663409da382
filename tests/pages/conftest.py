"""What the tests of several screens share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.registry import Version, read_version


@pytest.fixture
def version(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A version of this test's own, in use."""
    folder = tmp_path / "home" / "versions" / tiny_version.name
    shutil.copytree(tiny_version.folder, folder)
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", tiny_version.name)
    monkeypatch.delenv("PNEUMOSCOPE_DATA", raising=False)
    return read_version(folder)
