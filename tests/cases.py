"""Cases for tests: rows of the database as `utils.cases` writes them, with made films."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils import film_store
from utils.database import transaction
from utils.decisions import PNEUMONIA
from utils.tables import Case, CaseReading

BEGAN = datetime(2026, 1, 5, 12, tzinfo=UTC)
NETWORK = "a" * 64


def picture(seed: int, *, side: int = 96) -> NDArray[np.uint8]:
    """Soft shadows, uint8 (side, side): each seed is another picture, also to a perceptual hash."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6)).astype(np.uint8)
    return np.asarray(Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC))


def pseudonym(number: int) -> str:
    return f"CASE-{number:04d}"


def add_cases(*given: dict[str, Any]) -> None:
    """Cases number 1, 2, … with one day between them; each has the given columns, and `pixels` where its film is kept.

    `readings` are further readings, (version, probability, days after the first), the latest of which the case has.
    """
    with film_store.adding(), transaction() as session:
        for number, columns in enumerate(given, start=1):
            values: dict[str, Any] = {
                "pseudonym": pseudonym(number),
                "image": hashlib.sha256(str(number).encode()).hexdigest(),
                "created": BEGAN + timedelta(days=number),
                "by": "tina",
                "version": "first",
                "network": NETWORK,
                "probability": 0.9 if columns.get("verdict") == PNEUMONIA else 0.1,
                "threshold": 0.5,
            } | columns
            pixels, more = values.pop("pixels", None), values.pop("readings", ())
            if (features := values.pop("features", None)) is not None:
                packed = io.BytesIO()
                np.save(packed, np.asarray(features, dtype=np.float16))
                values["pooled"] = packed.getvalue()
            if values.get("verdict") is not None:
                values.setdefault("verdict_by", "clara")
                values.setdefault("verdict_at", values["created"] + timedelta(hours=2))
            if pixels is not None:
                film_store.put(values["image"], film_store.sealed(pixels))
            case = Case(film=pixels is not None, **values)
            readings = [(case.version, case.probability, 0.0), *more]
            for version, probability, days in readings:
                case.readings.append(
                    CaseReading(
                        when=case.created + timedelta(days=days),
                        by=case.by,
                        version=version,
                        network=NETWORK,
                        probability=probability,
                        threshold=case.threshold,
                    )
                )
            case.version, case.probability = readings[-1][:2]
            session.add(case)
