"""How long the worklist takes: ``python -m utils.worklist_benchmark``.

Fills an empty database with cases that never were, each as wide as a real one (pooled features; every third with its
heat map; one reading; two in five with a verdict), asks what the screen asks, and prints the best of several rounds in
milliseconds; the best, because whatever else the machine does only adds. Beside it the same with a hundredth of the
cases, and how many times quicker than the last line it is: all cases fetched, then filtered and sorted in Python.

Without ``--database`` it uses SQLite in a folder of its own. ``--database`` must name an empty PostgreSQL database; it
is left filled.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select

from utils import openings, worklist
from utils.database import close, snapshot, transaction
from utils.decisions import CANNOT_TELL, NORMAL, PNEUMONIA
from utils.permissions import Person, Role
from utils.tables import Case, CaseReading
from utils.worklist import OPEN, Filter, Sort

CLINICIAN = Person("clinician-3", "A clinician", frozenset({Role.CLINICIAN}))
TECHNICIAN = Person("technician-7", "A technician", frozenset({Role.TECHNICIAN}))
THRESHOLD = 0.37
PAGE = 50
IN_PYTHON = "for comparison: to do, filtered and sorted in Python"
MINUTES_BETWEEN = 5
_AT_ONCE = 1000
_CHANNELS = 512
_MAP = (7, 7)


def fill(count: int, *, seed: int = 0) -> None:
    """Put `count` made-up cases into the database."""
    random = np.random.default_rng(seed)
    now = datetime.now(UTC)
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        rows = []
        for number in numbers:
            probability = None if number % 50 == 0 else float(random.beta(0.4, 0.4))
            verdict = (
                None
                if random.random() < 0.6
                else str(random.choice([NORMAL, PNEUMONIA, PNEUMONIA, CANNOT_TELL]))
            )
            created = now - timedelta(minutes=MINUTES_BETWEEN * (count - number))
            unsure = probability is not None and 0.3 < probability < 0.5
            rows.append(
                {
                    "id": number + 1,
                    "pseudonym": f"{number:08X}"[:4] + "-" + f"{number:08X}"[4:],
                    "image": f"{number:064x}",
                    "created": created,
                    "by": f"technician-{number % 20}",
                    "version": f"version-{5 * number // count}",
                    "network": "0" * 64,
                    "probability": probability,
                    "threshold": THRESHOLD,
                    "certainty": CANNOT_TELL if unsure else "",
                    "refusal": "" if probability is not None else "It does not look like a chest film.",
                    "overruled": False,
                    "corrections": [],
                    "quality": ["It is very dark."] if number % 4 == 0 else [],
                    "done": ["DICOM, 2048 × 1536 pixels, 12 bit", "window from the file"],
                    "pooled": _array(random.random(_CHANNELS)),
                    "heat": _array(random.random(_MAP)) if number % 3 == 0 else None,
                    "film": False,
                    "verdict": verdict,
                    "note": "Seen with the film of last week." if verdict and number % 2 else "",
                    "verdict_by": None if verdict is None else f"clinician-{number % 4}",
                    "verdict_at": None if verdict is None else created + timedelta(hours=1),
                    "revision": 1,
                }
            )
        kept = ("version", "network", "probability", "threshold", "by")
        readings = [
            {"case_id": row["id"], "when": row["created"]} | {name: row[name] for name in kept}
            for row in rows
        ]
        with transaction() as session:
            session.execute(insert(Case), rows)
            session.execute(insert(CaseReading), readings)


def _array(values: NDArray[np.float64]) -> bytes:
    """As `utils.cases` keeps features and maps."""
    target = io.BytesIO()
    np.save(target, values.astype(np.float16))
    return target.getvalue()


def questions(count: int) -> dict[str, Callable[[], object]]:
    """What the screen asks of `count` cases."""

    def page(wanted: Filter, sort: Sort, *, who: Person = CLINICIAN, offset: int = 0) -> Callable[[], object]:
        return lambda: worklist.page(wanted, sort, threshold=THRESHOLD, who=who, offset=offset, limit=PAGE)

    todo = Filter(verdict=OPEN)
    today = datetime.now().astimezone().date()
    rare = Filter(
        decision=NORMAL, verdict=CANNOT_TELL, person="clinician-3", version="version-2", cannot_tell=True
    )
    middle = f"{count // 2:08X}"[:4] + "-" + f"{count // 2:08X}"[4:]
    return {
        "to do, likeliest first": page(todo, Sort.LIKELIEST),
        "to do, oldest first": page(todo, Sort.OLDEST),
        "all, likeliest first, last page": page(Filter(), Sort.LIKELIEST, offset=count - PAGE),
        "all, oldest first, in the middle": page(Filter(), Sort.OLDEST, offset=count // 2),
        "flagged of the last 30 days": page(
            Filter(decision=PNEUMONIA, since=today - timedelta(days=30)), Sort.LIKELIEST
        ),
        "five filters at once": page(rare, Sort.NEWEST),
        "a part of a name": page(Filter(search=middle[-4:]), Sort.LIKELIEST),
        "a technician's": page(Filter(), Sort.LIKELIEST, who=TECHNICIAN),
        "next case": lambda: worklist.next_after(
            middle, todo, Sort.LIKELIEST, threshold=THRESHOLD, who=CLINICIAN, browser="other"
        ),
        "one look at who has a case open": lambda: openings.look(middle, browser="this", who=CLINICIAN),
        "names to filter by": lambda: worklist.names(who=CLINICIAN),
        "all as CSV": lambda: sum(
            map(len, worklist.export_csv(Filter(), Sort.LIKELIEST, threshold=THRESHOLD, who=CLINICIAN))
        ),
        IN_PYTHON: in_python,
    }


def in_python() -> object:
    """What the first question would cost without the database's help."""
    with snapshot() as session:
        found = session.scalars(select(Case)).all()
        todo = [case for case in found if case.verdict is None]
        todo.sort(key=lambda case: -1 if case.probability is None else case.probability, reverse=True)
        return todo[:PAGE]


def measure(count: int, *, rounds: int, database: str = "") -> dict[str, float]:
    """Seconds of each question with `count` cases, the best of `rounds`."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PNEUMOSCOPE_HOME"] = folder
        os.environ["PNEUMOSCOPE_DATABASE_URL"] = database or f"sqlite:///{Path(folder) / 'cases.db'}"
        try:
            if worklist.any_case(who=CLINICIAN):
                raise SystemExit("worklist_benchmark: this database holds cases already; name an empty one.")
            fill(count)
            return {name: min(_seconds(ask) for _ in range(rounds)) for name, ask in questions(count).items()}
        finally:
            close()


def _seconds(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one line a question."""
    parser = argparse.ArgumentParser(prog="python -m utils.worklist_benchmark", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="default 100,000")
    parser.add_argument("--rounds", type=int, default=5, help="of each question (default 5)")
    parser.add_argument(
        "--database", default="", help="URL of an empty PostgreSQL database (default: SQLite)"
    )
    given = parser.parse_args(argv)
    if given.cases < 100 or given.rounds < 1:
        parser.error("--cases takes at least 100, --rounds at least 1")
    sizes = [given.cases] if given.database else [given.cases // 100, given.cases]
    found = [measure(size, rounds=given.rounds, database=given.database) for size in sizes]
    print(f"| question | {' | '.join(f'{size:,} cases' for size in sizes)} | against Python |")
    print(f"|---|{'---|' * len(sizes)}---|")
    slow = found[-1][IN_PYTHON]
    for name in found[-1]:
        times = " | ".join(f"{seconds[name] * 1e3:.1f} ms" for seconds in found)
        print(f"| {name} | {times} | {slow / found[-1][name]:,.0f} × |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
