"""Kept films: encrypted, whole or not at all, and never lost to a wrong key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from utils import film_store
from utils.film_store import FilmKeyError, FilmStoreError
from utils.settings import get_settings

HASH = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    return tmp_path / "films"


def film(seed: int = 1, size: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def keep(image: str, pixels: NDArray[np.uint8]) -> None:
    with film_store.adding():
        film_store.put(image, film_store.sealed(pixels))


def test_a_film_comes_back_as_it_was_and_lies_encrypted(folder: Path) -> None:
    assert film_store.get(HASH) is None and not film_store.has(HASH)
    keep(HASH, film())
    found = film_store.get(HASH)
    assert found is not None
    np.testing.assert_array_equal(found, film())
    written = (folder / "ab" / HASH).read_bytes()
    assert b"PNG" not in written and b"IHDR" not in written
    assert (folder / "ab" / HASH).stat().st_mode & 0o077 == 0, "nobody else on the computer reads it"
    assert film_store.size() == (1, len(written))
    keep(HASH, film(2))
    again = film_store.get(HASH)
    assert again is not None
    np.testing.assert_array_equal(again, film(2))
    with film_store.removing():
        assert film_store.delete(HASH)
        assert not film_store.delete(HASH)
    assert film_store.size() == (0, 0)
    with pytest.raises(ValueError, match="SHA-256"):
        film_store.get("../../etc/passwd")


def test_without_the_right_key_nothing_is_written_and_nothing_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(HASH, film())
    right, wrong = get_settings().film_key, film_store.make_key()
    assert right is not None
    for value, sentence in (
        ("", "no key is set: make one with `python -m utils.film_store make-key`"),
        ("secret words", "holds no key"),
        (wrong, "is not the key"),
    ):
        monkeypatch.setenv(film_store.VARIABLE, value)
        assert sentence in film_store.problem()
        for action in (lambda: film_store.sealed(film()), lambda: film_store.get(HASH)):
            with pytest.raises(FilmKeyError, match=sentence) as found:
                action()
            assert "secret words" not in str(found.value) and wrong not in str(found.value)
    monkeypatch.setenv(film_store.VARIABLE, right.get_secret_value())
    assert film_store.problem() == ""
    assert film_store.check() == (1, 0)
    file = folder / "ab" / HASH
    file.write_bytes(file.read_bytes()[:-9] + b"tampering")
    with pytest.raises(FilmKeyError, match="lies untouched"):
        film_store.get(HASH)


def test_a_key_is_exchanged_with_the_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(HASH, film(1))
    keep(OTHER, film(2))
    old = get_settings().film_key
    assert old is not None
    assert film_store.main(["make-key"]) == 0
    new = capsys.readouterr().out.strip()
    monkeypatch.setenv(film_store.VARIABLE, f"{new}, {old.get_secret_value()}")
    assert film_store.check() == (2, 0), "both keys decrypt"
    strange = folder / "ef" / ("ef" * 32)
    strange.parent.mkdir()
    strange.write_bytes(b"encrypted with a key that nobody has")
    assert film_store.main(["rotate"]) == 1, "one film could not be"
    assert "2 films are encrypted with the first key, 1 could not" in capsys.readouterr().out
    assert strange.read_bytes() == b"encrypted with a key that nobody has"
    strange.unlink()
    assert film_store.main(["rotate"]) == 0
    monkeypatch.setenv(film_store.VARIABLE, new)
    capsys.readouterr()
    assert film_store.main(["check"]) == 0
    assert capsys.readouterr().out == "2 films can be read, 0 cannot.\n"
    found = film_store.get(OTHER)
    assert found is not None
    np.testing.assert_array_equal(found, film(2))
    keep(HASH, film(3))
    monkeypatch.setenv(film_store.VARIABLE, old.get_secret_value())
    assert film_store.main(["check"]) == 1, "the old key has had its time"
    monkeypatch.delenv(film_store.VARIABLE)
    assert film_store.main(["rotate"]) == 1
    assert "no key is set" in capsys.readouterr().err


def test_the_sweep_takes_what_no_record_names(folder: Path) -> None:
    assert film_store.sweep(lambda images: images) == 0
    assert not folder.exists(), "it makes no folder"
    keep(HASH, film(1))
    keep(OTHER, film(2))
    half = folder / "ab" / "tmpk1ll3d.part"
    half.write_bytes(b"half a film")
    assert film_store.sweep(lambda images: [image for image in images if image == OTHER]) == 1
    assert list(film_store.images()) == [OTHER]
    assert not half.exists()
    assert film_store.check() == (1, 0), "the file that tells the key stays"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    (tmp_path / "films").write_text("a file where the folder should be")
    with pytest.raises(FilmStoreError, match="make room or have the folder"), film_store.adding():
        pass
    assert "films" in film_store.problem()
