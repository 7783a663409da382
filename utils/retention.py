"""What is done by itself, at the start of the server and every day: cases past their days go, and films without a case.

A thread of the server does it; several servers on one database do no harm, since each case is deleted once.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from utils import cases
from utils.cases import Deleted
from utils.choices import get_choices
from utils.database import DatabaseError
from utils.film_store import FilmStoreError
from utils.permissions import Person
from utils.settings import SettingsError
from utils.uploads import UploadError

log = logging.getLogger(__name__)

EVERY = 24 * 3600.0
"""Seconds between two rounds."""
AFTER_A_FAILURE = 15 * 60.0
"""Seconds until a round that failed is tried again."""

_one = threading.Lock()
_thread: threading.Thread | None = None


def start() -> None:
    """Begin, once a process: at once and then every day, for as long as the process lives."""
    global _thread
    with _one:
        if _thread is None:
            _thread = threading.Thread(target=_for_ever, name="retention", daemon=True)
            _thread.start()


def once(now: datetime, *, who: Person = cases.RETENTION) -> Deleted:
    """One round: delete the cases past the department's days, then films that no case names.

    Raises:
        DatabaseError, FilmStoreError, SettingsError, UploadError: it could not be done, or not all of it.
    """
    deleted = cases.expire(now, retention_days=get_choices().retention_days, who=who)
    orphans = cases.sweep()
    if deleted.cases or orphans:
        log.info(
            "retention: %d cases deleted with %d films, %d films without a case removed",
            deleted.cases,
            deleted.films,
            orphans,
        )
    return deleted


def _for_ever() -> None:
    pause = threading.Event()
    while True:
        try:
            once(datetime.now(UTC))
            wait = EVERY
        except (DatabaseError, FilmStoreError, SettingsError, UploadError) as error:
            log.error("retention: %s", error)
            wait = AFTER_A_FAILURE
        except Exception:
            # Whatever goes wrong: the thread must live, or nothing would ever be deleted any more.
            log.exception("retention: the round failed")
            wait = AFTER_A_FAILURE
        pause.wait(wait)
