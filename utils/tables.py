"""The tables of the database: accounts, cases, the audit trail, what the department chose.

Nothing here names a patient: a case has a pseudonym, and what it keeps of a DICOM file are the few words and numbers
of `model.films.Source`. Times are UTC, with their zone. A change of these tables needs a migration in
`utils/migrations`; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Moment(TypeDecorator[datetime]):
    """A time with its zone; SQLite keeps none, so that all are kept in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time needs its zone.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class Account(Table):
    """Somebody who may sign in.

    Attributes:
        name: what is typed to sign in, lower case; for OpenID Connect the address or subject.
        title: the name that others see.
        roles: values of `utils.permissions.Role`.
        password: argon2 hash; None for an account that signs in elsewhere.
        issuer: OpenID Connect issuer and subject, joined by a space; None for a local account.
        failures: sign-ins that failed since the last one that did not.
        locked_until: no sign-in before.
    """

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    roles: Mapped[list[str]]
    password: Mapped[str | None] = mapped_column(String(300))
    issuer: Mapped[str | None] = mapped_column(String(500), unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    must_change: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime]
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]


class SignIn(Table):
    """A browser that is signed in. The cookie holds the token, the table its SHA-256 only."""

    __tablename__ = "sign_ins"

    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime]
    seen: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(64), default="")


_FILTERED = ("verdict", "by", "version", "certainty", "verdict_by")


class Case(Table):
    """One X-ray with its latest reading and the clinician's verdict.

    Attributes:
        pseudonym: what people call the case, such as ``K7M2-QX4D``; drawn at random.
        patient: pseudonym of the patient, where the department gave one; films of one child stay together in training.
        image: SHA-256 of the film's file: the same film is one case.
        created, by: when and by whom it was first read; `by` is `Account.name`.
        version, network: name and SHA-256 of the version of the latest reading.
        probability: of PNEUMONIA; None where the picture was refused.
        threshold: that of the person who read it, at that time.
        certainty: NORMAL, PNEUMONIA, CANNOT TELL or nothing, at that time's error rate.
        refusal, overruled, corrections, quality, done: as `utils.readings.Reading` has them, as text and lists of text.
        view, age, sex: from DICOM's closed sets; None where unknown.
        pooled: float16 features of the latest reading, for films alike and for drift.
        heat: float16 heat map as written by `numpy.save`; None unless somebody asked to keep it.
        film: whether the film itself is kept, encrypted, under the hash `image`.
        verdict: NORMAL, PNEUMONIA, CANNOT TELL or None.
        revision: goes up by one at each change; who saves has to have seen the last one.
    """

    __tablename__ = "cases"
    # Both hold all that the worklist filters by, so that it is counted and paged without a look at the rows, which
    # are wide. An index on one of these columns alone would lead SQLite to the rows again, and take ten times as long.
    __table_args__ = (
        Index("ix_cases_likeliest", "probability", "id", "created", *_FILTERED),
        Index("ix_cases_age", "created", "id", "probability", *_FILTERED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(20), unique=True)
    patient: Mapped[str | None] = mapped_column(String(64), index=True)
    image: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(200))
    network: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float | None] = mapped_column(Float)
    threshold: Mapped[float] = mapped_column(Float)
    certainty: Mapped[str] = mapped_column(String(20), default="")
    refusal: Mapped[str] = mapped_column(Text, default="")
    overruled: Mapped[bool] = mapped_column(default=False)
    corrections: Mapped[list[str]] = mapped_column(default=list)
    quality: Mapped[list[str]] = mapped_column(default=list)
    done: Mapped[list[str]] = mapped_column(default=list)
    view: Mapped[str | None] = mapped_column(String(20))
    age: Mapped[int | None]
    sex: Mapped[str | None] = mapped_column(String(1))
    pooled: Mapped[bytes | None] = mapped_column(LargeBinary)
    heat: Mapped[bytes | None] = mapped_column(LargeBinary)
    film: Mapped[bool] = mapped_column(default=False)
    verdict: Mapped[str | None] = mapped_column(String(20))
    note: Mapped[str] = mapped_column(Text, default="")
    verdict_by: Mapped[str | None] = mapped_column(String(200))
    verdict_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=1)

    readings: Mapped[list[CaseReading]] = relationship(
        back_populates="case", cascade="all, delete-orphan", passive_deletes=True, order_by="CaseReading.id"
    )
    changes: Mapped[list[CaseChange]] = relationship(
        back_populates="case", cascade="all, delete-orphan", passive_deletes=True, order_by="CaseChange.id"
    )

    __mapper_args__ = {"version_id_col": revision}  # noqa: RUF012


class CaseReading(Table):
    """One reading of a case's film by one version; the case has the latest of them."""

    __tablename__ = "case_readings"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    when: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(200))
    version: Mapped[str] = mapped_column(String(200))
    network: Mapped[str] = mapped_column(String(64))
    probability: Mapped[float | None] = mapped_column(Float)
    threshold: Mapped[float] = mapped_column(Float)

    case: Mapped[Case] = relationship(back_populates="readings")


class CaseChange(Table):
    """One change of a case's verdict or note."""

    __tablename__ = "case_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), index=True)
    when: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(200))
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]

    case: Mapped[Case] = relationship(back_populates="changes")


class CaseOpening(Table):
    """A browser that has a case open, so that others see it. Counts as long as it was `seen` a moment ago.

    Attributes:
        browser: drawn at random for each session.
        who, title: of the person, as `utils.permissions.Person` has them.
    """

    __tablename__ = "case_openings"

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    browser: Mapped[str] = mapped_column(String(32), primary_key=True)
    who: Mapped[str] = mapped_column(String(200))
    title: Mapped[str] = mapped_column(String(200))
    seen: Mapped[datetime] = mapped_column(index=True)


class AuditLine(Table):
    """One line of the audit trail; `hash` is that of the line and of `previous`, the hash of the line before."""

    __tablename__ = "audit_lines"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    when: Mapped[datetime] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(String(200), index=True)
    address: Mapped[str] = mapped_column(String(64), default="")
    event: Mapped[str] = mapped_column(String(60), index=True)
    subject: Mapped[str] = mapped_column(String(300), default="")
    before: Mapped[dict[str, Any]] = mapped_column(default=dict)
    after: Mapped[dict[str, Any]] = mapped_column(default=dict)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class Choice(Table):
    """One choice of the department, such as how long cases are kept."""

    __tablename__ = "choices"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[dict[str, Any]]
