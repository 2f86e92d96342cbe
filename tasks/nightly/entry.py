"""What the inventory record says about one photo."""

import dataclasses
from typing import Any

NO_RECORD = "no record was given"
NO_ENTRY = "the record has no entry for it"
NOT_OURS = "its metadata may not be read, or is not there and S3 does not say so"


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of the record; ``expected`` is None where it has no usable quantity, and ``problem`` says why."""

    expected: int | None
    problem: str | None = None
    bin: str | None = None
    products: list[str] | None = None


def lacks_entry(row: Any) -> bool:
    """Whether no entry was found for a photo, or a row of the ledger; one that is found may still be unusable."""
    return row.record_problem in (NO_RECORD, NO_ENTRY, NOT_OURS)
