"""Cases: saved once a film, changed by whoever has seen the last change, deleted with all that belongs to them."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from tests.made_cases import ADAM, CARL, CLARA, NETWORK, TINA, TOM, film, reading, save
from tests.postgresql import Server
from utils import audit_trail, cases, database, film_store, retention
from utils.cases import CaseError, Conflict, NoSuchCase
from utils.choices import change_choices
from utils.database import DatabaseError, snapshot, transaction
from utils.decisions import CANNOT_TELL, NORMAL, NOT_JUDGED, PNEUMONIA
from utils.film_store import FilmStoreError
from utils.permissions import LOCAL, Forbidden
from utils.readings import Reading
from utils.settings import PROJECT
from utils.tables import AuditLine, Case, CaseReading


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNEUMOSCOPE_DATABASE_URL", raising=False)
    yield tmp_path / "home"
    database.close()


def lines() -> list[tuple[str, str, str]]:
    """Event, who and subject of each line of the audit trail."""
    with snapshot() as session:
        found = session.execute(
            select(AuditLine.event, AuditLine.who, AuditLine.subject).order_by(AuditLine.id)
        )
        return [(line.event, line.who, line.subject) for line in found]


def count() -> int:
    with snapshot() as session:
        return session.scalar(select(func.count()).select_from(Case)) or 0


def test_a_case_has_all_that_the_screen_shows(department_database: str, tmp_path: Path) -> None:
    saved = save(pixels=film(), heat=True, patient=" P-17 ")
    assert saved.new and saved.film and saved.heat and saved.problem == ""
    assert len(saved.pseudonym) == 9 and saved.pseudonym[4] == "-"
    case = cases.open_case(saved.pseudonym.lower(), who=CLARA)
    assert (case.patient, case.by, case.version, case.network) == ("P-17", "tina", "v1", NETWORK)
    assert (case.probability, case.threshold, case.decision) == (0.8, 0.5, PNEUMONIA)
    assert (case.certainty, case.view, case.age, case.sex) == (PNEUMONIA, "PA", 4, "F")
    assert case.quality == ("The film is dark.",)
    assert case.done == ("DICOM, 80 × 60 pixels, 12 bit", "windowed: centre 40, width 80, linear")
    assert case.pooled is not None and case.pooled.tolist() == [0, 1, 2, 3]
    assert case.heat is not None and case.heat.shape == (7, 7)
    assert datetime.now(UTC) - case.created < timedelta(minutes=5)
    assert [each.decision for each in case.readings] == [PNEUMONIA]
    assert case.changes == () and case.verdict is None and case.record == ""
    found = cases.film(saved.pseudonym, who=CLARA)
    assert found is not None
    np.testing.assert_array_equal(found, film())
    assert lines() == [("reading", "tina", saved.pseudonym)]
    assert cases.stored().cases == cases.stored().films == cases.stored().heats == 1
    with pytest.raises(NoSuchCase, match="mistyped, or the case has been deleted"):
        cases.open_case("AAAA-AAAA", who=CLARA)
    with pytest.raises(CaseError, match="no name, no blanks"):
        save(patient="Anna Müller")
    with pytest.raises(Forbidden):
        save(who=ADAM)
    with pytest.raises(ValueError, match="could be read"):
        save(Reading(key="0" * 64, version="v1", message="No film."))


def test_the_same_film_is_one_case(department_database: str) -> None:
    first = save(patient="P-1")
    again = save(who=CLARA, patient="P-2", pixels=film())
    assert (again.pseudonym, again.new, again.by) == (first.pseudonym, False, "tina")
    assert again.patient == "P-1", "another patient's pseudonym is not taken over silently"
    assert again.film, "the department keeps films by now"
    other = save(reading(probability=0.3, version="v2"), network="2" * 64, threshold=0.4)
    case = cases.open_case(other.pseudonym, who=CLARA)
    assert (case.version, case.probability, case.threshold, case.decision) == ("v2", 0.3, 0.4, NORMAL)
    assert [each.version for each in case.readings] == ["v1", "v2"]
    assert count() == 1
    assert [event for event, _, _ in lines()] == ["reading"] * 3


def test_what_somebody_had_read_otherwise_is_recorded(department_database: str) -> None:
    refused = reading(probability=None, refusal="No lungs are seen.")
    saved = save(refused, pixels=film(1), certainty="")
    case = cases.open_case(saved.pseudonym, who=TINA)
    assert (case.decision, case.record) == (NOT_JUDGED, "Not judged: No lungs are seen.")
    overruled = reading(probability=0.6, refusal="No lungs are seen.", overruled=True)
    save(overruled, anew=True, heat=True)
    case = cases.open_case(saved.pseudonym, who=TINA)
    assert case.overruled and "read nevertheless" in case.record
    assert case.film, "it is the same film"
    turned = replace(
        reading(probability=0.7, done=("turned by 180° on request",)), offers=("turn-180",), heat=None
    )
    save(turned, anew=True, pixels=film(2))
    case = cases.open_case(saved.pseudonym, who=TINA)
    assert case.corrections == ("turn-180",)
    assert case.record == "Corrected on request before reading: turned by 180°."
    assert case.heat is None, "the map of another picture is no map of this one"
    found = cases.film(saved.pseudonym, who=TINA)
    assert found is not None
    np.testing.assert_array_equal(found, film(2))
    save(refused, pixels=film(1))
    assert cases.open_case(saved.pseudonym, who=TINA).corrections == ("turn-180",), "dropped again: no change"
    assert len(case.readings) == 3
    assert [event for event, _, _ in lines()].count("overruled") == 1
    save(reading(probability=0.5), anew=True)  # films are kept no more
    assert cases.film(saved.pseudonym, who=TINA) is None, (
        "a film that the record does not go with is not shown"
    )
    assert cases.sweep() == 1


def test_a_verdict_is_given_by_who_has_seen_the_last_change(department_database: str) -> None:
    name = save().pseudonym
    seen = cases.open_case(name, who=CARL)
    mine = cases.give_verdict(name, revision=seen.revision, verdict=NORMAL, note=" Anna is well ", who=CLARA)
    assert (mine.verdict, mine.note, mine.verdict_by) == (NORMAL, "Anna is well", "clara")
    with pytest.raises(Conflict, match=r"clara gave the verdict NORMAL at .* Nothing of yours was saved"):
        cases.give_verdict(name, revision=seen.revision, verdict=PNEUMONIA, note="", who=CARL)
    same = cases.give_verdict(name, revision=mine.revision, verdict=NORMAL, note="Anna is well", who=CARL)
    assert same.revision == mine.revision and same.verdict_by == "clara", "nothing was changed"
    cases.give_verdict(name, revision=mine.revision, verdict=CANNOT_TELL, note="", who=CARL)
    with pytest.raises(Conflict, match="You yourself, elsewhere, gave the verdict CANNOT TELL"):
        cases.give_verdict(name, revision=mine.revision, verdict=NORMAL, note="", who=CARL)
    save(reading(version="v2"), network="2" * 64)
    last = cases.open_case(name, who=CARL)
    with pytest.raises(Conflict, match="tina had the film read again"):
        cases.give_verdict(name, revision=last.revision - 1, verdict=None, note="", who=CARL)
    open_again = cases.give_verdict(name, revision=last.revision, verdict=None, note="", who=CARL)
    assert open_again.verdict is None
    assert [
        (change.by, change.before["verdict"], change.after["verdict"]) for change in open_again.changes
    ] == [
        ("clara", None, NORMAL),
        ("carl", NORMAL, CANNOT_TELL),
        ("carl", CANNOT_TELL, None),
    ]
    with pytest.raises(Forbidden, match="role of clinician"):
        cases.give_verdict(name, revision=open_again.revision, verdict=NORMAL, note="", who=TINA)
    with pytest.raises(CaseError, match="shorten it"):
        cases.give_verdict(name, revision=open_again.revision, verdict=NORMAL, note="x" * 4001, who=CARL)
    told = json.dumps([(line.before, line.after) for line in audit_trail.search().lines])
    assert "Anna" not in told, "the audit trail is never deleted: what a note says is not in it"
    assert [event for event, _, _ in lines()].count("verdict") == 3


def test_a_technician_sees_own_and_open_cases(department_database: str) -> None:
    own, open_, closed = (
        save(reading(number), who=who).pseudonym for number, who in enumerate((TINA, TOM, TOM))
    )
    for name in (own, closed):
        revision = cases.open_case(name, who=CLARA).revision
        cases.give_verdict(name, revision=revision, verdict=NORMAL, note="", who=CLARA)
    assert cases.open_case(own, who=TINA).verdict == NORMAL
    assert cases.open_case(open_, who=TINA).verdict is None
    for look in (cases.open_case, cases.film):
        with pytest.raises(Forbidden, match="role of clinician"):
            look(closed, who=TINA)
        with pytest.raises(Forbidden):
            look(own, who=ADAM)
    with snapshot() as session:
        found = set(session.scalars(select(Case.pseudonym).where(cases.visible(TINA))))
        assert found == {own, open_}
        assert len(list(session.scalars(select(Case.id).where(cases.visible(CLARA))))) == 3
    with pytest.raises(Forbidden):
        cases.visible(ADAM)


def test_a_heat_map_is_kept_on_request(department_database: str) -> None:
    name = save().pseudonym
    assert cases.open_case(name, who=TINA).heat is None
    map_ = np.ones((14, 14), dtype=np.float32)
    kept = cases.keep_heat(name, heat=map_, probability=0.8, who=TINA).heat
    assert kept is not None and kept.shape == (14, 14)
    with pytest.raises(Conflict, match="of the earlier reading was not kept"):
        cases.keep_heat(name, heat=map_, probability=0.7, who=TINA)
    assert [event for event, _, _ in lines()] == ["reading", "heat map kept"]


def test_a_case_goes_with_all_that_belongs_to_it(
    department_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save(reading(number), pixels=film(number)).pseudonym for number in range(5)]
    revision = cases.open_case(names[0], who=CLARA).revision
    cases.give_verdict(names[0], revision=revision, verdict=NORMAL, note="", who=CLARA)
    with pytest.raises(Forbidden):
        cases.delete(names[0], who=CLARA)
    assert cases.delete(names[0], who=ADAM) == cases.Deleted(1, 1)
    with pytest.raises(NoSuchCase):
        cases.delete(names[0], who=ADAM)
    monkeypatch.setattr(cases, "_AT_ONCE", 2)
    now = datetime.now(UTC)
    with transaction() as session:
        for name in names[1:4]:
            session.scalars(select(Case).where(Case.pseudonym == name)).one().created = now - timedelta(
                days=31
            )
    assert retention.once(now) == cases.Deleted(0, 0), "nobody has chosen days"
    change_choices(who=LOCAL, retention_days=30)
    assert cases.older_than(30, now=now) == 3
    assert retention.once(now) == cases.Deleted(3, 3)
    with snapshot() as session:
        assert list(session.scalars(select(Case.pseudonym))) == names[4:]
        assert session.scalar(select(func.count()).select_from(CaseReading)) == 1
    assert list(film_store.images()) == [f"{4:064x}"]
    deleted = [(who, subject) for event, who, subject in lines() if event == "deletion"]
    assert sorted(deleted) == sorted([("adam", names[0]), *(("retention", name) for name in names[1:4])])


# --- many at once, and what goes wrong ---

CHILD = """
import sys
import numpy as np
from sqlalchemy import event
from sqlalchemy.orm import Session
from tests import made_cases as made
from utils import cases

name, pseudonym = sys.argv[1:]
if pseudonym:
    for number in range(5):
        made.save(made.reading(number), pixels=made.film(number))
        made.save(made.reading(1000 * int(name) + number), pixels=made.film(number))
    done = 0
    while done < 4:
        seen = cases.open_case(pseudonym, who=made.CLARA)
        try:
            cases.give_verdict(
                pseudonym, revision=seen.revision, verdict="NORMAL", note=seen.note + name, who=made.CLARA
            )
        except cases.Conflict:
            continue
        done += 1
else:
    def wait(session):
        print("film written", flush=True)
        sys.stdin.read()
    event.listen(Session, "before_commit", wait)
    made.save(made.reading(1), pixels=made.film(1))
"""


def start(name: str, pseudonym: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, name, pseudonym],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_save_and_edit_at_once(department_database: str) -> None:
    edited = save(reading(999_999)).pseudonym
    children = [start(str(number), edited) for number in (1, 2, 3)]
    for child in children:
        child.communicate()
        assert child.returncode == 0
    assert count() == 1 + 5 + 3 * 5, "the films that all of them saved are one case each"
    with snapshot() as session:
        assert session.scalar(select(func.count()).select_from(CaseReading)) == count()
        assert set(session.scalars(select(Case.film).where(Case.pseudonym != edited))) == {True}
    assert film_store.check() == (20, 0)
    case = cases.open_case(edited, who=CLARA)
    assert sorted(case.note) == sorted("123" * 4), "no edit was lost"
    assert len(case.changes) == 12
    assert [event for event, _, _ in lines()].count("reading") == 1 + 3 * 10
    assert audit_trail.verify().whole


def test_a_process_killed_between_film_and_record_leaves_no_film_that_stays(department_database: str) -> None:
    save(reading(2), pixels=film(2))
    child = start("0")
    assert child.stdout is not None
    assert child.stdout.readline() == "film written\n"
    assert film_store.size()[0] == 2
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert count() == 1
    assert cases.sweep() == 1
    assert list(film_store.images()) == [f"{2:064x}"]
    assert save(reading(1), pixels=film(1)).new, "and it can be saved after all"
    assert cases.sweep() == 0


def test_a_full_disk_takes_the_record_first_and_never_half_of_anything(sqlite: Path) -> None:
    before = save(reading(1), pixels=film(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = film(2, (1300, 1300))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))  # no file gets larger, in bytes
        saved = save(reading(2), pixels=large)
        assert not saved.film and "The film cannot be kept (File too large)" in saved.problem
        assert cases.film(saved.pseudonym, who=TINA) is None
        with pytest.raises(FilmStoreError, match="cannot be kept"):
            save(reading(1, done=("cropped on request",)), pixels=large, anew=True)
        sizes = [path.stat().st_size for path in sqlite.iterdir() if path.is_file()]
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes), hard))
        with pytest.raises(DatabaseError, match="nothing was saved"):
            save(reading(3, pooled=np.zeros(500_000, np.float16)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    whole = count()
    assert whole == len([line for line in lines() if line[0] == "reading"]), "each with its line, or neither"
    assert cases.open_case(before.pseudonym, who=TINA).done[-1].startswith("windowed"), "left as it was"
    again = save(reading(2), pixels=large)
    assert again.film and not again.problem
    assert not list((sqlite / "films").glob("*/*.part"))
    assert count() == whole


def test_a_database_that_goes_away_while_a_case_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: Server
) -> None:
    monkeypatch.setenv("PNEUMOSCOPE_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCOPE_DATABASE_URL", postgresql_server.new_database())
    save(reading(1), pixels=film(1))

    def stop(session: Session) -> None:
        postgresql_server.stop()

    event.listen(Session, "before_commit", stop)
    try:
        with pytest.raises(DatabaseError):
            save(reading(2), pixels=film(2))
        event.remove(Session, "before_commit", stop)
        with pytest.raises(DatabaseError, match="cannot be reached"):
            save(reading(3), pixels=film(3))
        assert not film_store.has(f"{3:064x}"), "no film is written for a database that is not there"
        postgresql_server.start()
        assert (count(), film_store.size()[0]) == (1, 2)
        assert cases.sweep() == 1
        assert save(reading(2), pixels=film(2)).film
        assert film_store.check() == (2, 0)
    finally:
        if event.contains(Session, "before_commit", stop):
            event.remove(Session, "before_commit", stop)
        postgresql_server.start()
        database.close()


def test_a_missing_key_costs_no_record_and_no_film(
    department_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = save(reading(1), pixels=film(1))
    monkeypatch.setenv(film_store.VARIABLE, film_store.make_key())
    saved = save(reading(2), pixels=film(2))
    assert saved.new and not saved.film and "is not the key of the films that are kept" in saved.problem
    assert save(reading(1), pixels=film(1)).problem == "", "its film lies there already"
    with pytest.raises(FilmStoreError, match="set that key again. The film lies untouched"):
        cases.film(kept.pseudonym, who=TINA)
    assert cases.open_case(kept.pseudonym, who=TINA).film
