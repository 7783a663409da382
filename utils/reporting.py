"""Making a report: the cases as they are now, what is known of their versions, names, and a line in the audit trail."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from model.evaluation import OperatingRates, operating_rates
from model.registry import Version, VersionError
from utils import audit_trail, cases, session, worklist
from utils.case_report import WORDS, Edition, Measured, Progress, case_pdf, cases_pdf
from utils.cases import CaseView, NoSuchCase
from utils.database import snapshot
from utils.decisions import point_at
from utils.film_store import FilmStoreError
from utils.paper import Pixels
from utils.permissions import LOCAL, Action, Person
from utils.tables import Account
from utils.texts import Language, day, text
from utils.worklist import GIVEN, OPEN, Filter, Sort

MOST = 200
"""Cases of one report: about 20 seconds of work and 40 MB. The CSV has no such end."""


@dataclass(frozen=True)
class Report:
    """A report that was made.

    Attributes:
        pdf: the file.
        cases: how many it holds.
        films_missing: of how many the film is kept and could not be shown.
    """

    pdf: bytes
    cases: int
    films_missing: int = 0


class NothingToReport(LookupError):  # noqa: N818 - it is no error of the program
    """There is no case of the kind that was asked for; one sentence."""


def of_case(pseudonym: str, *, language: Language, threshold: float, who: Person) -> Report:
    """The report of one case, as it is now; a line of the audit trail.

    Args:
        pseudonym: of the case.
        language: of the report.
        threshold: in [0, 1]; the decision is the one at it.
        who: must be permitted to make reports.

    Raises:
        NoSuchCase: there is none.
        Forbidden: `who` may not.
        DatabaseError: the case cannot be read, or the line not be kept: there is no report then.
    """
    who.require(Action.MAKE_REPORT)
    case = cases.open_case(pseudonym, who=who)
    films = _Films(who)
    edition = edition_of([case], language=language, threshold=threshold, who=who)
    pdf = case_pdf(case, film=films(case), edition=edition)
    after = {"language": language, "threshold": threshold, "version": case.version}
    audit_trail.record("report", who=who, subject=case.pseudonym, after=after)
    return Report(pdf, 1, films.missing)


def of_list(
    wanted: Filter,
    sort: Sort,
    *,
    language: Language,
    threshold: float,
    who: Person,
    progress: Progress | None = None,
) -> Report:
    """The reports of all cases of a list, `MOST` at most, with a summary in front; one line of the audit trail.

    Args:
        wanted: which cases.
        sort: the order of the pages.
        language: of the report.
        threshold: in [0, 1]; the decisions are those at it.
        who: must be permitted to make reports and to export cases.
        progress: told after each case.

    Raises:
        NothingToReport: there is no such case.
        Forbidden, DatabaseError: as `of_case`.
    """
    who.require(Action.MAKE_REPORT)
    who.require(Action.EXPORT_CASES)
    page = worklist.page(wanted, sort, threshold=threshold, who=who, limit=MOST)
    found = []
    for row in page.rows:
        try:
            found.append(cases.open_case(row.pseudonym, who=who))
        except NoSuchCase:  # deleted in the meantime
            continue
    if not found:
        raise NothingToReport("There is no such case any more: look at the list again.")
    films = _Films(who)
    edition = edition_of(found, language=language, threshold=threshold, who=who)
    pdf = cases_pdf(
        found, film_of=films, edition=edition, chosen=chosen_in_words(wanted, edition), progress=progress
    )
    after = {"cases": len(found), "as": "PDF", "language": language, "threshold": threshold} | wanted.chosen
    audit_trail.record("report", who=who, after=after)
    return Report(pdf, len(found), films.missing)


def chosen_in_words(wanted: Filter, edition: Edition) -> list[str]:
    """What a list was chosen by, in the report's language; empty where it holds all cases."""
    words: list[str] = []

    def say(key: str, **values: str) -> None:
        words.append(edition.text(key, **values))

    if wanted.decision:
        say("chosen decision", word=edition.word(wanted.decision))
    if wanted.verdict == OPEN:
        say("chosen open")
    elif wanted.verdict == GIVEN:
        say("chosen given")
    elif wanted.verdict in WORDS:
        say("chosen verdict", word=edition.word(wanted.verdict))
    if wanted.since is not None:
        say("chosen since", day=day(wanted.since, edition.language))
    if wanted.until is not None:
        say("chosen until", day=day(wanted.until, edition.language))
    if wanted.person:
        say("chosen person", who=edition.name(wanted.person))
    if wanted.version:
        say("chosen version", version=wanted.version)
    if wanted.cannot_tell:
        say("chosen unsure")
    if wanted.search:
        say("chosen part", part=wanted.search)
    return words


class _Films:
    """Gives the films of cases, and counts those that are kept and cannot be shown."""

    def __init__(self, who: Person) -> None:
        self._who = who
        self.missing = 0

    def __call__(self, case: CaseView) -> Pixels | None:
        if not case.film:
            return None
        try:
            return cases.film(case.pseudonym, who=self._who)
        except (FilmStoreError, NoSuchCase):
            self.missing += 1
            return None


def edition_of(found: Collection[CaseView], *, language: Language, threshold: float, who: Person) -> Edition:
    """What the pages of a report on these cases share, as it is now."""
    networks = {case.network for case in found}
    versions = {
        version.card.sha256: _measured(version, threshold)
        for version in reversed(session.all_versions())  # the newest of two that share a network comes last
        if version.card.sha256 in networks
    }
    accounts = {name for case in found for name in (case.by, case.verdict_by) if name}
    names = _titles(accounts) | {who.name: who.title, LOCAL.name: text("nobody", language)}
    return Edition(
        language=language,
        threshold=threshold,
        maker=names[who.name],
        made=datetime.now(UTC),
        versions=versions,
        names=names,
    )


def _measured(version: Version, threshold: float) -> Measured:
    point = point_at(version.card.operating_points, threshold)
    return Measured(version.card.created, "" if point is None else point.name, _rates(version, threshold))


def _rates(version: Version, threshold: float) -> OperatingRates | None:
    try:
        films = version.predictions("test")
        return operating_rates(films.labels, films.probabilities, threshold)
    except (OSError, VersionError, KeyError, ValueError):
        return None


def _titles(names: Collection[str]) -> dict[str, str]:
    """What others see, by the accounts' names."""
    with snapshot() as database:
        rows = database.execute(select(Account.name, Account.title).where(Account.name.in_(names)))
        return {row.name: row.title for row in rows}
