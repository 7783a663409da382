"""The table of readings that the command line and the Diagnose screen both write as CSV."""

from __future__ import annotations

COLUMNS = ("file", "probability", "decision", "threshold", "version", "quality", "message")
"""One row a file; a file that could not be read has a message and no probability."""


def harmless(cell: str) -> str:
    """The cell's text, with an apostrophe in front where a spreadsheet would run it as a formula.

    Source: OWASP, *CSV Injection*.
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell
