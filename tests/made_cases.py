"""Readings, films and people for the tests of cases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.films import DicomFacts, Source
from model.quality import Remark
from utils import cases
from utils.cases import Saved
from utils.decisions import PNEUMONIA
from utils.permissions import Person, Role
from utils.readings import Reading

TINA = Person("tina", "Tina", frozenset({Role.TECHNICIAN}), address="10.0.0.7")
TOM = Person("tom", "Tom", frozenset({Role.TECHNICIAN}))
CLARA = Person("clara", "Dr Clara", frozenset({Role.CLINICIAN}))
CARL = Person("carl", "Dr Carl", frozenset({Role.CLINICIAN}))
ADAM = Person("adam", "Adam", frozenset({Role.ADMIN}))
NETWORK = "1" * 64


def film(seed: int = 1, size: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def reading(
    number: int = 1, *, probability: float | None = 0.8, done: tuple[str, ...] = (), **more: Any
) -> Reading:
    source = Source(
        format="DICOM",
        width=80,
        height=60,
        bit_depth=12,
        photometric="MONOCHROME2",
        done=("windowed: centre 40, width 80, linear", *done),
        colour_share=0.0,
        dicom=DicomFacts(modality="DX", view="PA", age=4, sex="F"),
    )
    values: dict[str, Any] = {
        "version": "v1",
        "source": source,
        "quality": (Remark("dark", "The film is dark."),) if probability is not None else (),
        "heat": None if probability is None else np.full((7, 7), probability, dtype=np.float32),
        "pooled": np.arange(4, dtype=np.float16),
    }
    return Reading(key=f"{number:064x}", probability=probability, **(values | more))


def save(
    one: Reading | None = None,
    *,
    who: Person = TINA,
    network: str = NETWORK,
    pixels: NDArray[np.uint8] | None = None,
    **more: Any,
) -> Saved:
    standard: dict[str, Any] = {"threshold": 0.5, "certainty": PNEUMONIA}
    return cases.save(
        reading() if one is None else one,
        network=network,
        pixels=pixels,
        who=who,
        **(standard | more),
    )
