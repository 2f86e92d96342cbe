"""Whether the record that a night read is one of the photos that it counted."""

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.nightly.entry import lacks_entry
from tasks.nightly.parameters import record_kind


class RecordRead(BaseModel):
    """A record that was read."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(description="A snapshot, or the prefix of ABID's metadata.")
    given: bool = Field(description="Somebody named it; else it was looked for beside the photos.")
    example: str | None = Field(None, description="How a snapshot's first row names its photo.")


class Coverage(BaseModel):
    """How many of a night's counted photos the record has an entry for."""

    model_config = ConfigDict(frozen=True)

    without_entry: int = 0
    remark: str | None = Field(None, description="What a person should know where that is fewer than half, in words.")
    needs_a_person: bool = Field(
        False, description="A record that somebody named has no entry for any photo: it is of others, or names them so."
    )


KEPT = "{:,} photos have no entry in a record of tonight, and are judged by the one that the ledger had of them"


def measure_coverage(
    record: RecordRead | None,
    counted: Sequence[Any],
    *,
    names_others: bool = False,
    known: Collection[str] = (),
) -> Coverage:
    """Look for the entries of counted photos.

    Args:
        record: that was read; None where there is none.
        counted: rows of the ledger.
        names_others: whether it has entries for photos of nights before, so that tonight's may be yet to come.
        known: photos whose entry is not of this record, but what the ledger had.
    """
    without = [row for row in counted if lacks_entry(row) or row.photo in known]
    if record is None or 2 * len(without) <= len(counted):
        return Coverage(without_entry=len(without))
    some = f"{len(without):,} of {len(counted):,}" if len(without) < len(counted) else f"none of {len(counted):,}"
    have = "have no" if len(without) < len(counted) else "has an"
    return Coverage(
        without_entry=len(without),
        remark=f"{some} counted photos {have} entry in the record {record.source}: {_why(record, without[0])}",
        needs_a_person=record.given and not names_others and len(without) == len(counted),
    )


def _why(record: RecordRead, row: Any) -> str:
    if record_kind(record.source) == "metadata":
        return f"{record.source.rstrip('/')}/{row.photo_id}.json, for one, is not there, or may not be read"
    if record.example is None:
        return "it has no rows"
    return (
        f"a photo is named {row.key!r}, a row {record.example!r}, and zeros in front are never guessed, "
        "as 523 and 00523 may be two photos"
    )
