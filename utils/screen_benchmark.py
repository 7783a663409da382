"""How long a move of the threshold takes on the Metrics screen: ``python -m utils.screen_benchmark``.

The real app runs in this process, without a browser: reading the slider, all figures, the charts of the section, their
encoding for the browser. What the network and the browser add is not in it. Films are made up: two overlapping bells
on the logit scale, three pneumonias to two normals, one patient in two with two films.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from model.calibration import sigmoid
from model.registry import Predictions, Version, find_version, write_version

APP = Path(__file__).resolve().parent.parent / "app.py"
SIZES = (624, 100_000)
SECTIONS = ("Overview", "Curves", "In practice", "Operating points", "How sure", "Subgroups", "Mistakes")


def made_up(films: int, *, seed: int = 0) -> Predictions:
    """Predictions of ``films`` films that never were."""
    random = np.random.default_rng(seed)
    labels = (np.arange(films) % 5 >= 2).astype(np.int64)
    subgroups = [
        ("bacteria" if number % 3 else "virus") if label else "normal" for number, label in enumerate(labels)
    ]
    return Predictions(
        files=tuple(f"test/film-{number}.jpeg" for number in range(films)),
        patients=tuple(f"{label}-{number * 2 // 3}" for number, label in enumerate(labels)),
        labels=labels,
        subgroups=tuple(subgroups),
        probabilities=np.round(sigmoid(random.normal(np.where(labels == 1, 2.5, -2.5), 1.6)), 6),
    )


def measure(films: int, *, rounds: int, version: Version) -> dict[str, float]:
    """Median seconds of a move of the threshold, a section of the Metrics screen, for ``films`` films."""
    from streamlit.testing.v1 import AppTest

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        name = f"made-up-{films}"
        write_version(
            home / "versions" / name,
            model_file=version.model_file,
            card=version.card.model_copy(update={"name": name}),
            history=None,
            predictions={"test": made_up(films), "validation": made_up(films, seed=1)},
        )
        os.environ |= {"PNEUMOSCOPE_HOME": folder, "PNEUMOSCOPE_VERSION": name}
        app = AppTest.from_file(str(APP), default_timeout=600).run()
        app.switch_page("pages/metrics.py").run()
        seconds = {}
        for section in SECTIONS:
            control = app.segmented_control(key="section")
            if section not in control.options:
                raise RuntimeError(f"The Metrics screen has no section {section!r} to measure.")
            control.set_value(section).run()
            times = []
            for number in range(rounds):
                slider = app.sidebar.slider[0].set_value(round(0.3 + 0.017 * number, 3))
                started = time.perf_counter()
                slider.run()
                times.append(time.perf_counter() - started)
                if app.exception:
                    raise RuntimeError(app.exception[0].message)
            seconds[section] = median(times)
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one line a section."""
    parser = argparse.ArgumentParser(prog="python -m utils.screen_benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="moves of the threshold a section (default 9)")
    rounds = parser.parse_args(argv).rounds
    version = find_version(None)
    results = {films: measure(films, rounds=rounds, version=version) for films in SIZES}
    print(f"A move of the threshold, medians of {rounds}, milliseconds")
    print(f"{'':20}" + "".join(f"{films:>16,} films" for films in SIZES))
    for section in SECTIONS:
        print(f"{section:20}" + "".join(f"{results[films][section] * 1000:>22.0f}" for films in SIZES))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
