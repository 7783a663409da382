"""Latency, throughput and memory of this machine: plain Keras, the bare OpenVINO engine and our whole path.

All in one run and interleaved, round by round, so that whatever else the machine does hits all alike; of single films
medians are reported, of batches the rate over all films that were read. What needs a process without TensorFlow (cold
start, memory) runs in one of its own: ``python -m model.benchmark cold|memory VERSION_FOLDER CACHE FILMS_FILE [N]``
prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.dataset import EXTENSIONS
from model.films import ImageError, prepare, read_xray
from model.inference import ENGINE_BATCH, InferenceError, Predictor, converted
from model.registry import Version, read_version

BATCH = 64
"""Films in a batch, as a technician might drop them."""
BATCHES = 5
"""Batches of other films each, taken in turn: how many of a batch are read again in float32 is chance."""
HEAT_PAIRS = 4
"""How often a round reads a film with heat and without: their ratio is near 1, so that it needs more of them."""
PREDICT_SHARE = 0.25
"""Target: one film, bytes to probability, in at most this share of ``model.predict``'s time."""
OVERHEAD = 1.3
"""Target: one film in at most this many times the bare engine's pass plus decoding."""
BATCH_SHARE = 0.9
"""Target: prepared films of a batch at no less than this share of the bare engine's rate."""

HEAT = 1.15
"""Target: a prepared film read with heat and features in at most this many times the time of its probability alone."""

Measured = Callable[[int], object]
"""One way to do the work; the argument is the number of the film, or of the batch, to do it on."""

LABELS = {
    "model.predict": "Keras model.predict",
    "model(x)": "Keras model(x)",
    "tf.function": "Keras in tf.function",
    "openvino_f32": "OpenVINO float32, bare",
    "openvino_bf16": "OpenVINO bfloat16, bare",
    "decode": "decoding and resizing only",
    "bytes_to_probability": "ours, bytes to probability",
    "prepared": "ours, prepared film",
    "heat": "ours, prepared film, with heat",
}


@dataclass(frozen=True)
class Target:
    """A stated goal and what was measured; ``reached`` compares them."""

    words: str
    value: float
    goal: float
    reached: bool


@dataclass(frozen=True)
class Benchmark:
    """Times in seconds for one film, rates in films a second, memory in bytes."""

    machine: dict[str, Any]
    version: str
    engine: str
    rounds: int
    single_seconds: dict[str, float]
    batch_rates: dict[str, float]
    conversion_seconds: float
    cold_start: dict[str, float]
    memory: dict[str, float]
    agreement: dict[str, Any]
    targets: tuple[Target, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """A table for a terminal, with the ratio of each time to the bare engine's."""
        single = self.single_seconds
        base = single.get("openvino_bf16", single["openvino_f32"])
        lines = [
            f"{self.machine['processor']}, {self.machine['cores']} cores; {self.version}; {self.engine}; "
            f"medians of {self.rounds} rounds, batches over all of them",
            "",
            f"{'One film':<34}{'ms':>9}{'ratio to bare engine':>24}",
        ]
        lines += [
            f"  {LABELS[name]:<32}{seconds * 1e3:>9.1f}{seconds / base:>24.2f}"
            for name, seconds in single.items()
        ]
        lines += ["", f"{f'Batches of {BATCH} films':<34}{'films/s':>9}"]
        lines += [f"  {name:<32}{rate:>9.1f}" for name, rate in self.batch_rates.items()]
        lines += [
            "",
            f"Cold start, process to first probability: {self.cold_start['process_seconds']:.2f} s "
            f"(network ready {self.cold_start['load_seconds']:.2f} s after the imports)",
            f"First conversion on a machine: {self.conversion_seconds:.1f} s, once",
            f"Memory: peak {self.memory['peak'] / 2**20:.0f} MB, growth over "
            f"{self.memory['predictions']:.0f} predictions {self.memory['growth'] / 2**20:+.1f} MB",
            f"Against plain Keras float32 on {self.agreement['films']} films: largest difference "
            f"{self.agreement['largest_difference']:.2g}, decisions equal: {self.agreement['decisions_equal']}, "
            f"read again in float32: {self.agreement['read_again']}",
            "",
            "Targets",
        ]
        lines += [
            f"  {'reached ' if target.reached else 'MISSED  '} {target.words}: {target.value:.2f} "
            f"(goal {target.goal:.2f})"
            for target in self.targets
        ]
        return "\n".join(lines)


def measure(
    version: Version, *, cache: Path, rounds: int = 15, films: Path | None = None, memory: int = 2000
) -> Benchmark:
    """Measure ``version`` on this machine.

    Args:
        rounds: how often each path is measured.
        films: folder of films to read, at any depth; the project's synthetic films where None.
        memory: predictions over which memory is watched.

    Raises:
        InferenceError: OpenVINO is missing, or no film could be read.
    """
    files = film_bytes(films)
    size = version.card.input_size
    images = [prepare(read_xray(data).pixels, size=size)[None] for data in files]
    conversion = _conversion_seconds(version)
    predictor = Predictor.load(version, cache=cache, engine="openvino")
    singles, batches, reference = _paths(version, predictor, files, images)

    for path in (*singles.values(), *batches.values()):  # tracing, first touch of memory, caches
        path(0)
    single_times: dict[str, list[float]] = {name: [] for name in singles}
    batch_times: dict[str, list[float]] = {name: [] for name in batches}
    heat_ratios: list[float] = []
    for number in range(rounds):
        for name, path in singles.items():
            single_times[name].append(_timed(path, number % len(files)))
        for pair in range(number * HEAT_PAIRS, (number + 1) * HEAT_PAIRS):
            both = [_timed(singles[name], pair % len(files)) for name in ("prepared", "heat")]
            heat_ratios.append(both[1] / both[0])
        if number % 3 == 0:
            for name, path in batches.items():
                batch_times[name].append(_timed(path, number // 3))
    single = {name: median(times) for name, times in single_times.items()}
    rates = {name: BATCH / mean(times) for name, times in batch_times.items()}

    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film"
        film.write_bytes(files[0])
        started = time.perf_counter()
        cold = _in_subprocess("cold", version, cache, film)
        cold["process_seconds"] = time.perf_counter() - started
        growth = _in_subprocess("memory", version, cache, film, memory)

    ours, plain = predictor.predict(np.concatenate(images)), reference(images)
    points = version.card.operating_points
    agreement = {
        "films": len(images),
        "largest_difference": float(np.abs(ours - plain).max()),
        "decisions_equal": all(np.array_equal(ours >= p.threshold, plain >= p.threshold) for p in points),
        "read_again": sum(predictor.needs_float32(image) for image in images),
    }
    return Benchmark(
        machine={
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": platform.python_version(),
        },
        version=version.name,
        engine=predictor.description.words,
        rounds=rounds,
        single_seconds=single,
        batch_rates=rates,
        conversion_seconds=conversion,
        cold_start=cold,
        memory=growth,
        agreement=agreement,
        targets=_targets(single, rates, median(heat_ratios)),
    )


def _targets(single: dict[str, float], rates: dict[str, float], heat: float) -> tuple[Target, ...]:
    ours = single["bytes_to_probability"]
    bare = single.get("openvino_bf16", single["openvino_f32"])
    share = ours / single["model.predict"]
    overhead = ours / (bare + single["decode"])
    engine = max(rate for name, rate in rates.items() if name.startswith("bare engine"))
    batch = rates["ours, prepared films"] / engine
    return (
        Target("one film, share of model.predict's time", share, PREDICT_SHARE, share <= PREDICT_SHARE),
        Target("one film, times bare pass plus decoding", overhead, OVERHEAD, overhead <= OVERHEAD),
        Target("batch, share of the bare engine's best rate", batch, BATCH_SHARE, batch >= BATCH_SHARE),
        Target("one film with heat, times its probability alone", heat, HEAT, heat <= HEAT),
    )


def film_bytes(folder: Path | None) -> list[bytes]:
    """The bytes of ``BATCH`` times ``BATCHES`` films, spread over the folder and repeated where it has fewer.

    Args:
        folder: films at any depth, unreadable ones are passed over; the project's synthetic films where None.

    Raises:
        InferenceError: no film could be read.
    """
    if folder is None:
        from model.samples import sample_files

        paths = list(sample_files())
    else:
        paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file()
        )
    count = BATCH * BATCHES
    if len(paths) > count:
        paths = [paths[number * len(paths) // count] for number in range(count)]
    films: list[bytes] = []
    for path in paths:
        data = path.read_bytes()
        try:
            read_xray(data)
        except ImageError:
            continue
        films.append(data)
    if not films:
        raise InferenceError(
            "There is no readable film to measure with; name a folder of films with --films."
        )
    return [films[number % len(films)] for number in range(count)]


def _timed(path: Callable[[int], object], number: int) -> float:
    started = time.perf_counter()
    path(number)
    return time.perf_counter() - started


def _paths(
    version: Version, predictor: Predictor, files: list[bytes], images: list[NDArray[np.uint8]]
) -> tuple[
    dict[str, Measured], dict[str, Measured], Callable[[list[NDArray[np.uint8]]], NDArray[np.float64]]
]:
    """The single paths, the batch paths and plain Keras' calibrated probabilities."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import openvino
    import tensorflow

    network = keras.models.load_model(version.model_file, compile=False)
    size = version.card.input_size
    floats = [image.astype(np.float32) for image in images]

    @tensorflow.function(input_signature=[tensorflow.TensorSpec((1, *size, 3), tensorflow.float32)])
    def traced(image: Any) -> Any:
        return network(image, training=False)

    batched = [range(first, len(files), BATCHES) for first in range(BATCHES)]  # each spread over the folder

    def whole(numbers: range) -> NDArray[np.float64]:
        prepared = [prepare(read_xray(files[number]).pixels, size=size) for number in numbers]
        return predictor.predict(np.stack(prepared))

    core = openvino.Core()

    def bare(precision: str, *, batch: int = 1, hint: str = "LATENCY") -> Any:
        with warnings.catch_warnings(action="ignore"):  # Keras on the names of inputs
            graph = openvino.convert_model(network)
        graph.reshape([batch, *size, 3])
        kind = openvino.Type.bf16 if precision == "bf16" else openvino.Type.f32
        return core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": kind})

    def infer(request: Any) -> Measured:
        return lambda number: request.infer({0: floats[number]}, share_inputs=True, share_outputs=True)

    best = predictor.description.precision
    requests = {name: bare(name).create_infer_request() for name in dict.fromkeys(("f32", best))}
    singles: dict[str, Measured] = {
        "model.predict": lambda number: network.predict(floats[number], verbose=0),
        "model(x)": lambda number: network(floats[number], training=False).numpy(),
        "tf.function": lambda number: traced(floats[number]).numpy(),
        **{f"openvino_{name}": infer(request) for name, request in requests.items()},
        "decode": lambda number: prepare(read_xray(files[number]).pixels, size=size),
        "bytes_to_probability": lambda number: whole(range(number, number + 1)),
        "prepared": lambda number: predictor.predict(images[number]),
        "heat": lambda number: predictor.read(images[number]),
    }

    one = infer(requests[best])
    together = bare(best, batch=ENGINE_BATCH).create_infer_request()
    stacks = [
        [
            np.concatenate([floats[number] for number in numbers[start : start + ENGINE_BATCH]])
            for start in range(0, BATCH, ENGINE_BATCH)
        ]
        for numbers in batched
    ]
    queue = openvino.AsyncInferQueue(bare(best, hint="THROUGHPUT"))

    def parallel(batch: int) -> None:
        for number in batched[batch % BATCHES]:
            queue.start_async({0: floats[number]}, share_inputs=True)
        queue.wait_all()

    prepared = [np.concatenate([images[number] for number in numbers]) for numbers in batched]
    batches: dict[str, Measured] = {
        "bare engine, one by one": lambda batch: [one(number) for number in batched[batch % BATCHES]],
        f"bare engine, batches of {ENGINE_BATCH}": lambda batch: [
            together.infer({0: stack}, share_inputs=True, share_outputs=True)
            for stack in stacks[batch % BATCHES]
        ],
        "bare engine, parallel streams": parallel,
        "ours, prepared films": lambda batch: predictor.predict(prepared[batch % BATCHES]),
        "ours, bytes to probability": lambda batch: whole(batched[batch % BATCHES]),
    }

    def reference(films: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        raw = [float(traced(film.astype(np.float32)).numpy()[0, 0]) for film in films]
        return version.card.calibration.apply(np.array(raw))

    return singles, batches, reference


def _conversion_seconds(version: Version) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        converted(version, Path(folder))
        return time.perf_counter() - started


def _in_subprocess(what: str, version: Version, cache: Path, film: Path, count: int = 1) -> dict[str, float]:
    project = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, (project, os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "model.benchmark", what),
            *(str(version.folder.resolve()), str(cache.resolve()), str(film), str(count)),
        ],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise InferenceError(f"The part of the benchmark in a process of its own failed: {last}")
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def _resident() -> int:
    """Bytes of memory this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux: the peak is the best there is
        return _peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """Bytes of memory this process held at most."""
    try:
        # Not getrusage: on Linux its peak is handed on by the parent, here one with TensorFlow in it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _alone(what: str, folder: Path, cache: Path, film: Path, count: int) -> dict[str, float]:
    """What a process without TensorFlow measures of itself."""
    started = time.perf_counter()
    predictor = Predictor.load(read_version(folder), cache=cache)
    loaded = time.perf_counter() - started
    data = film.read_bytes()

    def once() -> None:
        predictor.predict(prepare(read_xray(data).pixels, size=predictor.card.input_size)[None])

    once()
    first = time.perf_counter() - started
    if what == "cold":
        return {"load_seconds": loaded, "first_probability_seconds": first}
    for _ in range(min(50, count)):
        once()
    before = _resident()
    for _ in range(count):
        once()
    return {"predictions": count, "growth": _resident() - before, "peak": _peak()}


if __name__ == "__main__":
    what, *paths, count = sys.argv[1:]
    folder, cache, film = map(Path, paths)
    sys.stdout.write(json.dumps(_alone(what, folder, cache, film, int(count))))
