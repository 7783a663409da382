"""A program that writes to the department's database, for tests that run several at once or kill one."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from utils.audit_trail import add
from utils.database import transaction
from utils.tables import Choice


@dataclass(frozen=True)
class Writer:
    """For the audit trail; `utils.people` would load all of Streamlit."""

    name: str
    address: str = ""


def write(name: str, count: int) -> None:
    """Add ``count`` choices, each with its line in the audit trail, and count them in one that all share."""
    for number in range(count):
        with transaction() as session:
            counter = session.get(Choice, "counter") or Choice(name="counter", value={"is": 0})
            counter.value = {"is": counter.value["is"] + 1}
            session.add(counter)
            session.add(Choice(name=f"{name} {number}", value={}))
            add(session, "setting", who=Writer(name), subject=f"{name} {number}")
        print(number, flush=True)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
