"""The morning's page, the CSV for the warehouse's system, and the table in Prefect."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.home import write_at_home
from tasks.ledger.ledger import Ledger
from tasks.nightly.bins import overtaken, short_name
from tasks.nightly.coverage import Coverage
from tasks.nightly.judge import Policy
from tasks.nightly.summary import Drift, NightTotals
from tasks.nightly.thumbnails import thumbnails
from tasks.pages import render

CSV_COLUMNS: dict[str, Callable[[Any], Any]] = {
    "bin": lambda row: row.bin,
    "bucket": lambda row: row.bucket,
    "key": lambda row: row.key,
    "taken_at": lambda row: row.taken_at.isoformat(),
    "expected": lambda row: row.expected,
    "counted": lambda row: row.count,
    "probability_of_mismatch": lambda row: f"{row.mismatch:.4f}",
    "likely_off_by": lambda row: f"{row.size:.2f}",
    "score": lambda row: f"{row.score:.4f}",
    "verdict": lambda row: row.verdict,
    "reason": lambda row: row.verdict_reason,
    "confidence": lambda row: f"{row.confidence:.4f}",
    "model": lambda row: row.model,
    "night": lambda row: row.night.isoformat(),
}
"""After the rank, what the warehouse's system reads of a row of the ledger: docs/nightly.md lists it for them."""
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEMPLATE = Path(__file__).parent / "templates" / "report.html"


class Report(BaseModel):
    """Everything that the page says."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    night: str
    prefix: str
    run: str
    model: str
    totals: NightTotals
    policy: Policy | None
    drift: Drift
    coverage: Coverage = Coverage()
    late: set[str] = set()
    mix: dict[str, float]
    confidence: float | None
    exceptions: list[Any]
    left_out: int
    earlier: dict[str, Any]
    unjudged: list[Any] = []
    unreadable: list[Any]
    uncounted: list[tuple[str, str]]
    remarks: list[str] = []


def exceptions(rows: Sequence[Any]) -> list[Any]:
    """Return the bins that a person may want to check, best bets first: whatever has a score and is no match.

    A bin is there once, by the newest of its photos that could be judged.
    """
    return [row for row in newest_of_bins(rows) if row.verdict in ("mismatch", "uncertain") and row.score is not None]


def unjudged(rows: Sequence[Any]) -> list[Any]:
    """Return the counted bins that are uncertain without a score: nothing ranks them, so they are no exceptions."""
    return [row for row in newest_of_bins(rows) if row.verdict == "uncertain" and row.score is None]


def newest_of_bins(rows: Sequence[Any]) -> list[Any]:
    """Return a night's rows in their order, less those whose bin a newer photo among them was judged by."""
    gone = overtaken(rows)
    return [row for row in rows if row.photo not in gone]


def before_photos(rows: Sequence[Any], ledger: Ledger) -> dict[str, Any]:
    """Return the rows of the photos before these, by photo."""
    return ledger.latest({row.before for row in rows if row.before})


def as_csv(rows: Sequence[Any]) -> str:
    """Return exceptions as CSV; a text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    body = io.StringIO()
    writer = csv.writer(body, lineterminator="\r\n")
    writer.writerow(("rank", *CSV_COLUMNS))
    for rank, row in enumerate(rows, 1):
        writer.writerow((rank, *(_safe(value(row)) for value in CSV_COLUMNS.values())))
    return body.getvalue()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_STARTS_A_FORMULA) else value


def as_rows(rows: Sequence[Any], most: int = 200) -> list[dict[str, Any]]:
    """Return the first exceptions as Prefect's table artifact takes them."""
    return [
        {
            "rank": rank,
            "bin": row.bin,
            "photo": row.key,
            "expected": row.expected,
            "counted": row.count,
            "mismatch": f"{row.mismatch:.0%}",
            "off by": f"{row.size:.1f}",
            "verdict": row.verdict,
        }
        for rank, row in enumerate(rows[:most], 1)
    ]


def write_page(report: Report, path: Path) -> None:
    """Write the page: one file, pictures included, that asks no server for anything."""
    shown = [*report.exceptions, *report.earlier.values()]
    pictures = thumbnails({row.photo: row for row in shown}.values())
    write_at_home(path, render(_TEMPLATE, report=report, totals=report.totals, bin_of=short_name, pictures=pictures))
