"""The ledger's tables, and what makes a photo the same photo.

A new column goes into a migration, is filled in `tasks.nightly.remember`, and is exported by `tasks.ledger.export`.
``alembic.command.revision(alembic_config(), "what it is for")`` makes an empty migration in ``migrations/versions``;
SQLite changes tables in batch mode only.
"""

import datetime as dt
import hashlib
from typing import Any

from sqlalchemy import JSON, BigInteger, Date, DateTime, Float, Index, Integer, MetaData, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {"ix": "ix_%(column_0_label)s", "pk": "pk_%(table_name)s"}


class UTCDateTime(TypeDecorator[dt.datetime]):
    """A moment, always aware and in UTC: SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse a moment without a zone; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """The tables' common ground."""

    metadata = MetaData(naming_convention=NAMING)


class Count(Base):
    """One photo as one model counted it; a photo that nobody could read has a row too, with no model."""

    __tablename__ = "counts"
    # Looked up by photo and nothing else: the rows live in that key's own tree.
    __table_args__ = (
        Index("ix_counts_bucket_bin_taken_at", "bucket", "bin", "taken_at"),
        Index("ix_counts_bucket_photo", "bucket", "photo_id", "key"),
        Index("ix_counts_verdict_score", "verdict", "score"),
        Index("ix_counts_night", "night"),
        Index("ix_counts_run", "run"),
        {"sqlite_with_rowid": False},
    )

    photo: Mapped[str] = mapped_column(String(32), primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    bucket: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(Text)
    etag: Mapped[str] = mapped_column(String(200))
    bytes: Mapped[int] = mapped_column(BigInteger)
    photo_id: Mapped[str] = mapped_column(Text)
    bin: Mapped[str] = mapped_column(Text)
    taken_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    products: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    expected: Mapped[int | None] = mapped_column(Integer)
    record_problem: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    count: Mapped[int | None] = mapped_column(Integer)
    confidence: Mapped[float | None] = mapped_column(Float)
    out_of_range: Mapped[float | None] = mapped_column(Float)
    probabilities: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))
    verdict: Mapped[str | None] = mapped_column(String(20))
    verdict_reason: Mapped[str | None] = mapped_column(Text)
    mismatch: Mapped[float | None] = mapped_column(Float)
    size: Mapped[float | None] = mapped_column(Float)
    score: Mapped[float | None] = mapped_column(Float)
    before: Mapped[str | None] = mapped_column(String(32))
    night: Mapped[dt.date] = mapped_column(Date)
    run: Mapped[str] = mapped_column(String(40))
    counted_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


class Answer(Base):
    """What one reviewer counted in one photo; undone answers stay, marked."""

    __tablename__ = "answers"

    photo: Mapped[str] = mapped_column(String(32), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(80), primary_key=True)
    answer: Mapped[str] = mapped_column(String(10))
    answered_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    withdrawn_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)


class Night(Base):
    """One run of the nightly count, in numbers."""

    __tablename__ = "nights"

    run: Mapped[str] = mapped_column(String(40), primary_key=True)
    night: Mapped[dt.date] = mapped_column(Date, index=True)
    prefix: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(200))
    finished_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    totals: Mapped[dict[str, Any]] = mapped_column(JSON(none_as_null=True))
    mix: Mapped[dict[str, float]] = mapped_column(JSON(none_as_null=True))
    confidence: Mapped[float | None] = mapped_column(Float)


class Lease(Base):
    """Who is at something that only one may be at: a night over a bucket, or the review of a photo."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    holder: Mapped[str] = mapped_column(String(300))
    expires_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


def photo_key(bucket: str, key: str, etag: str) -> str:
    """Return 32 hexadecimal digits that stand for these bytes at this place: another ETag is another photo."""
    return hashlib.sha256("\0".join((bucket, key, etag)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def now() -> dt.datetime:
    """Return this moment, in UTC."""
    return dt.datetime.now(dt.UTC)
