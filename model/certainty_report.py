"""``python -m model certainty``: what `model.conformal` and `model.neighbours` hold for a version, in figures.

From the version's stored predictions and features alone; with a data set also what a few views of a film cost and say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np

from model.conformal import changed, coverage, fit, meeting_rate, risk_coverage, views
from model.dataset import DatasetError
from model.evaluation import auc
from model.films import ImageError, prepare, read_xray
from model.inference import Predictor
from model.neighbours import NEAREST, PARTS, PooledFilms, Reference, reduced
from model.registry import Version, VersionError

ERROR_RATES = (0.01, 0.02, 0.05, 0.1)
SEARCHES = 200
SIZES = (5_000, 100_000)
"""Films of the made-up sets that a search is timed on."""


def measure(version: Version) -> dict[str, Any]:
    """Verdicts, risk and films alike on the version's validation and test films.

    Raises:
        VersionError, ValueError: there are no validation predictions, or of one class only.
    """
    validation = version.predictions("validation")
    stored = {"validation": validation}
    with suppress(VersionError):
        stored["test"] = version.predictions("test")
    fitted = validation.labels, validation.probabilities
    rules = []
    for error_rate in ERROR_RATES:
        rule = fit(*fitted, error_rate=error_rate)
        held = {
            split: coverage(rule, films.labels, films.probabilities).as_json()
            for split, films in stored.items()
        }
        pair = (rule.normal_below, rule.pneumonia_from)
        limits = [value if np.isfinite(value) else None for value in pair]
        rules.append(
            {"error_rate": error_rate, "normal_below": limits[0], "pneumonia_from": limits[1], **held}
        )
    threshold = next(
        (point.threshold for point in version.card.operating_points if point.name == "balanced"), 0.5
    )
    risk = {}
    for split, films in stored.items():
        curve = risk_coverage(films.labels, films.probabilities, threshold=threshold)
        risk[split] = {
            "area": curve.area,
            "best": curve.best,
            "error": curve.error,
            "at_90_percent": curve.at(0.9),
        }
    return {
        "version": version.name,
        "meeting_rate": meeting_rate(*fitted),
        "rules": rules,
        "threshold": threshold,
        "risk": risk,
        "alike": _alike(version),
    }


def _alike(version: Version) -> dict[str, Any] | None:
    """How good the share of pneumonia among the nearest is by itself."""
    reference = Reference.load(version)
    if reference is None:
        return None
    found: dict[str, Any] = {"films": len(reference)}
    parts: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    for part in parts:
        labels = reference.labels[reference.of(part)]
        if labels.size and labels.min() != labels.max():
            area = auc(labels, reference.pneumonias(part) / NEAREST)
            assert area is not None
            found[part] = {"films": int(labels.size), "auc": area[0], "auc_ci": [area[1].low, area[1].high]}
    return found


def measure_search(version: Version) -> dict[str, float]:
    """Median milliseconds of one search: among the version's own films and among made-up ones, and of loading."""
    found: dict[str, float] = {}
    reference = Reference.load(version)
    if reference is not None:
        started = perf_counter()
        Reference.load(version)
        found["load"] = (perf_counter() - started) * 1000
        found[f"own {len(reference)}"] = _search(reference)
    random = np.random.default_rng(0)
    for films in SIZES:
        labels = random.integers(0, 2, films)
        pooled = random.normal(size=(films, 512)).astype(np.float32) + labels[:, None].astype(np.float32)
        made = PooledFilms(
            files=("",) * films,
            labels=labels.astype(np.int64),
            subgroups=("",) * films,
            parts=PARTS[:1] * films,
            pooled=pooled,
        )
        found[f"made up {films}"] = _search(reduced(made))
    return found


def _search(reference: Reference) -> float:
    random = np.random.default_rng(1)
    times = []
    for pooled in random.normal(size=(SEARCHES, reference.channels)).astype(np.float32):
        started = perf_counter()
        reference.nearest(pooled)
        times.append(perf_counter() - started)
    return median(times) * 1000


def measure_views(
    folder: Path, version: Version, predictor: Predictor, *, films: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """What views cost beside one reading, and how they part right decisions from wrong ones, on validation films.

    Raises:
        DatasetError: none of the validation films is in ``folder``.
        VersionError: there are no validation predictions.
    """
    stored = version.predictions("validation")
    chosen = np.unique(np.linspace(0, len(stored.files) - 1, min(films, len(stored.files))).astype(int))
    threshold = next(
        (point.threshold for point in version.card.operating_points if point.name == "balanced"), 0.5
    )
    single, several, widths, crosses, wrong = [], [], [], [], []
    for number, index in enumerate(chosen):
        progress(number, len(chosen))
        try:
            pixels = read_xray((folder / stored.files[index]).read_bytes()).pixels
        except (ImageError, OSError):
            continue
        image = prepare(pixels, size=version.card.input_size)
        started = perf_counter()
        probability = float(predictor.predict(image[None])[0])
        between = perf_counter()
        low, high = views(predictor, image)
        several.append(perf_counter() - between)
        single.append(between - started)
        widths.append(high - low)
        crosses.append(low < threshold <= high)
        wrong.append((probability >= threshold) != (stored.labels[index] == 1))
    progress(len(chosen), len(chosen))
    if not single:
        raise DatasetError(f"{folder} holds none of the films that version {version.name} was validated on.")
    apart, mistaken = np.array(crosses), np.array(wrong)
    return {
        "films": len(single),
        "views": len(changed(np.zeros((*version.card.input_size, 3), np.uint8))),
        "single_ms": median(single) * 1000,
        "views_ms": median(several) * 1000,
        "times_as_long": median(np.array(several) / np.array(single)),
        "median_width": median(widths),
        "wrong": int(mistaken.sum()),
        "wrong_and_crossing": int((mistaken & apart).sum()),
        "right_and_crossing": int((~mistaken & apart).sum()),
    }


def as_text(found: dict[str, Any]) -> str:
    """The figures as lines for a terminal."""

    def share(value: dict[str, Any]) -> str:
        low, high = value["interval"]
        return f"{100 * value['share']:5.1f} % ({100 * low:.1f} to {100 * high:.1f})"

    meeting = 100 * found["meeting_rate"]
    lines = [
        f"{found['version']}: from an error rate of {meeting:.1f} % on no validation film could be either class"
    ]
    for rule in found["rules"]:
        limits = [
            "none" if value is None else f"{value:.3f}"
            for value in (rule["normal_below"], rule["pneumonia_from"])
        ]
        lines.append(
            f"error rate {100 * rule['error_rate']:.0f} %: NORMAL below {limits[0]}, PNEUMONIA from {limits[1]}"
        )
        for split in ("validation", "test"):
            for name in ("NORMAL", "PNEUMONIA"):
                part = rule.get(split, {}).get(name)
                if part is None or part["wrong"]["share"] is None:
                    continue
                lines.append(
                    f"  {split:<10} {name:<9} right {share(part['right'])}, open {share(part['open'])}, "
                    f"wrong {share(part['wrong'])}, covered {share(part['covered'])}, "
                    f"not covered by chance up to {100 * part['not_covered_by_chance'][1]:.1f} %"
                )
    for split, risk in found["risk"].items():
        lines.append(
            f"risk and coverage, {split}, threshold {found['threshold']:.3f}: area {risk['area']:.4f} (best "
            f"{risk['best']:.4f}, any order {risk['error']:.4f}); the least sure tenth left open: "
            f"{100 * risk['at_90_percent']:.1f} % wrong"
        )
    for split in ("validation", "test"):
        alone = (found["alike"] or {}).get(split)
        if alone is not None:
            low, high = alone["auc_ci"]
            lines.append(
                f"nearest {NEAREST} alone, {alone['films']} {split} films: AUC {alone['auc']:.4f} "
                f"({low:.4f} to {high:.4f})"
            )
    if "search_ms" in found:
        times = ", ".join(f"{name} {value:.2f} ms" for name, value in found["search_ms"].items())
        lines.append(f"search, medians of {SEARCHES}: {times}")
    if "views" in found:
        each = found["views"]
        lines.append(
            f"{each['views']} views, {each['films']} validation films: {each['times_as_long']:.1f} times one reading "
            f"({each['views_ms']:.0f} ms beside {each['single_ms']:.0f}); median width {each['median_width']:.3f}; the "
            f"range crosses the threshold for {each['wrong_and_crossing']} of {each['wrong']} wrong decisions and "
            f"{each['right_and_crossing']} of {each['films'] - each['wrong']} right ones"
        )
    return "\n".join(lines)
