"""The command of the long fuzz run: short runs of it, and that any of its inputs can be made again."""

from __future__ import annotations

import pytest

from tests.fuzz_films import inputs, run, seeds


@pytest.mark.parametrize("kind", ["dicom", "jpeg", "png"])
def test_a_short_run(kind: str) -> None:
    said: list[str] = []
    counts = run(kind, 60, 7_000_000, None, said.append)
    assert counts["bad"] == []
    assert counts["film"] + counts["refused"] == counts["inputs"] == 60
    assert counts["film"] and counts["refused"]
    assert counts["different_sentences"] > 2


@pytest.mark.parametrize("kind", ["dicom", "jpeg", "png"])
def test_an_input_hangs_on_its_number_alone(kind: str) -> None:
    assert inputs(kind, 12, 1) == inputs(kind, 10, 5)[2:3]
    assert not set(inputs(kind, 0, 20)) & set(seeds(kind))
