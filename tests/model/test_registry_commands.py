"""The terminal's way to change versions, through the same `main` that `python -m model` runs."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from model.__main__ import main
from model.registry import (
    CARD_FILE,
    MODEL_FILE,
    RELEASED,
    Change,
    Version,
    find_version,
    journal,
    sha256_of,
)


@pytest.fixture
def home(tiny_version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of the site beside the released one; no setting names any."""
    home = tmp_path / "home"
    for name in ("one", "two"):
        folder = Path(shutil.copytree(tiny_version.folder, home / "versions" / name))
        card = json.loads((folder / CARD_FILE).read_text())
        (folder / CARD_FILE).write_text(json.dumps(card | {"name": name}))
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(home))
    monkeypatch.delenv("PNEUMOSCOPE_VERSION", raising=False)
    return home


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def in_use(capsys: pytest.CaptureFixture[str]) -> str:
    _, out, _ = run(capsys, "list")
    return next(line.split()[1] for line in out.splitlines() if line.startswith("▶"))


def test_promote_roll_back_and_delete(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = in_use(capsys)
    assert released not in ("one", "two")
    with journal(home / "versions").locked() as add:  # the released one is large, and its smoke test slow
        version = find_version("two", RELEASED, home / "versions")
        who = {"who": "Dr Z", "when": datetime.now(UTC), "from": released}
        add(Change.model_validate({"action": "promote", "to": "two", "sha256": version.card.sha256, **who}))
    status, out, _ = run(capsys, "activate", "one", "--who", "Dr A", "--reason", "try it")
    assert status == 0 and out == "In use: one (before: two).\n"
    assert in_use(capsys) == "one"
    assert json.loads(run(capsys, "card")[1])["name"] == "one"
    assert run(capsys, "delete", "one")[0] == 1
    assert run(capsys, "activate", "one")[2].endswith("Version one is in use already.\n")
    assert run(capsys, "rollback", "--who", "Dr B")[1] == "In use again: two (before: one).\n"
    assert in_use(capsys) == "two"
    assert run(capsys, "delete", "one", "--who", "Dr B")[0] == 0
    log = run(capsys, "list", "--log")[1].splitlines()
    assert [line.split()[2] for line in log] == ["delete", "rollback", "promote", "promote"]
    assert "by Dr A: try it" in log[2]
    monkeypatch.setenv("PNEUMOSCOPE_VERSION", released)
    assert in_use(capsys) == released
    assert run(capsys, "delete", "two")[0] == 1


def test_what_fails_the_smoke_test_stays_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "versions" / "one"
    card = json.loads((folder / CARD_FILE).read_text())
    samples = {"synthetic-normal-1.png": 0.0, "synthetic-normal-2.png": 1.0}
    (folder / CARD_FILE).write_text(json.dumps(card | {"samples": samples}))
    before = in_use(capsys)
    status, _, error = run(capsys, "activate", "one")
    assert status == 1 and "failed its smoke test" in error and error.count("\n") == 1
    assert in_use(capsys) == before


def test_out_of_one_place_and_into_another(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "one.zip"
    assert run(capsys, "export", "one", "--out", str(packed))[0] == 0
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "other"))
    status, out, _ = run(capsys, "import", str(packed), "--name", "theirs")
    assert status == 0 and "theirs: written to" in out
    assert sha256_of(tmp_path / "other/versions/theirs" / MODEL_FILE) == sha256_of(
        home / "versions/one" / MODEL_FILE
    )
    assert run(capsys, "import", str(packed), "--name", "theirs")[2].count("\n") == 1


def test_a_network_from_elsewhere(
    home: Path, tiny_network: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_network.save(tmp_path / "theirs.h5")
    status, out, _ = run(capsys, "import", str(tmp_path / "theirs.h5"), "--json", "--scaling", "0 to 255")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and lines[-1]["version"] == "theirs" and len(lines[-1]["trials"]) == 1
    assert any(line.get("progress", "").startswith("Trying pixels") and line["total"] for line in lines)
    status, _, error = run(capsys, "activate", "theirs")
    assert status == 1 and "not evaluated" in error
    (tmp_path / "bad.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    status, out, _ = run(capsys, "import", str(tmp_path / "bad.h5"), "--json")
    assert status == 1 and "Git LFS pointer" in json.loads(out.splitlines()[-1])["error"]
    assert run(capsys, "import", str(tmp_path / "nowhere.h5"))[2].endswith("nowhere.h5.\n")
