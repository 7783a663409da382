"""Names and choices that the sections of the Training screen share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils import charts, sections

# Names of what a session keeps.
SECTION = "training-section"
SCREEN = "training"
DATA_SCREEN = "data"
CHECKED = "training-checked"
JOINED = "training-joined"
SESSION = "training-session"
UPLOADS = "training-uploads"
UPLOAD = "training-upload"
ARCHITECTURE = "training-architecture"
WEIGHTS = "training-weights"
WEIGHTS_FILE = "training-weights-file"
NAME = "training-name"
SUGGESTED = "training-name-suggested"
WHO = "training-who"
ESTIMATE = "training-estimate"
PROBLEM = "training-problem"
CHOSEN = "training-run"
COMPARE = "models-compare"

RUNS, NEW = "Runs", "New run"
ZIP = "Upload a ZIP"
VERDICTS = "Films with verdicts"
MOST_MEGABYTES = 1024
TILES = 8  # of each class
SHOWN_BAD_FILES = 20
FILE = "file"
CURVES: Sequence[charts.HistoryFigure] = ("loss", "accuracy", "auc", "precision", "recall", "f1")
MODELS_PAGE = Path(__file__).parent.with_name("models.py")


def go_to(section: str) -> None:
    sections.go_to(SECTION, section)
