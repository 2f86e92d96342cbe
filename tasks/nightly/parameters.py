"""What a night takes. Prefect's UI and the command line are made from this model."""

import datetime as dt
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.names import ENDPOINT, LOOKS_LIKE_A_MODEL, LOOKS_LIKE_AN_ENDPOINT, MODEL

_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", re.DOTALL)


class NightParameters(BaseModel):
    """Count the new photos under a prefix, audit the record by them, and report the exceptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(title="Prefix", description="Where the photos are: s3://bucket/prefix.")
    record: str | None = Field(
        None,
        title="Record",
        description="What the inventory record expects: a CSV or Parquet file (a path or s3://) with a row for each "
        "photo, by its key or file name, or an s3:// prefix with ABID's <id>.json. Default: metadata/ beside the "
        "prefix's bin-images/.",
    )
    limit: int | None = Field(
        None, ge=1, title="Limit", description="Count at most so many photos, those first that were put on S3 first."
    )
    since: dt.date | None = Field(
        None, title="Since", description="Only photos put on S3 on this day or later (UTC), like 2026-11-20."
    )
    until: dt.date | None = Field(
        None, title="Until", description="Only photos put on S3 on this day or earlier (UTC), like 2026-11-20."
    )
    recount: bool = Field(
        False, title="Recount", description="Count photos that the ledger has already, with today's model."
    )
    model: str = Field(
        "newest",
        title="Model",
        description='"newest" approved, a version number, or an ARN of the registry.',
        pattern=MODEL,
        json_schema_extra=LOOKS_LIKE_A_MODEL,
    )
    endpoint: str | None = Field(
        None,
        title="Endpoint",
        description="Count through this endpoint instead of batch transform jobs.",
        pattern=ENDPOINT,
        json_schema_extra=LOOKS_LIKE_AN_ENDPOINT,
    )
    photos_per_job: int = Field(
        20_000, ge=1, le=100_000, title="Photos per job", description="A transform job counts at most so many photos."
    )
    instances: int = Field(1, ge=1, le=100, title="Instances", description="Instances of each transform job.")
    wait_minutes: float = Field(
        60,
        ge=0,
        title="Wait",
        description="How long to wait for another run over the same bucket; then yield to it if it has this prefix, "
        "else fail.",
    )
    most_exceptions: int = Field(
        2000,
        ge=1,
        le=10_000,
        title="Exceptions",
        description="The page shows at most so many, best bets first; the CSV has all.",
    )

    @field_validator("prefix")
    @classmethod
    def _prefix_is_a_uri(cls, prefix: str) -> str:
        return checked_prefix(prefix)

    @field_validator("record")
    @classmethod
    def _record_is_readable(cls, record: str | None) -> str | None:
        if record is None or record_kind(record) != "metadata" or _URI.fullmatch(record):
            return record
        raise ValueError(f"record is a .csv or .parquet file, or an s3:// prefix with <id>.json, not {record!r}")

    @model_validator(mode="after")
    def _dates_in_order(self) -> "NightParameters":
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}: no photo is in between")
        return self


def checked_prefix(prefix: str) -> str:
    """Return a prefix as it is.

    Raises:
        ValueError: it is no S3 URI.
    """
    if not _URI.fullmatch(prefix):
        raise ValueError(f"prefix looks like s3://bucket/prefix, not {prefix!r}")
    return prefix


def record_kind(record: str) -> Literal["csv", "parquet", "metadata"]:
    """Return what kind of record a path or URI names."""
    suffix = Path(record).suffix.lower()
    return "csv" if suffix == ".csv" else "parquet" if suffix in (".parquet", ".pq") else "metadata"
