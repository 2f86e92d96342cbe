"""How quick the nightly count is: ``python -m benchmarks.bench_nightly [--rows 1000000]``.

The ledger with a million rows finds 5,000 new among 100,000 keys, finds the photo before each of them, and takes them
in. docs/nightly.md and docs/scale.md have the figures.
"""

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import make_url

from tasks.ledger.database import open_engine, writing
from tasks.ledger.ledger import Ledger, chunked
from tasks.ledger.models import Count, photo_key

NIGHT = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
KEYS, NEW, BULK = 100_000, 5_000, 10_000
BINS = NEW
"""So a night has a photo of each; with a million rows there were 200 nights."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        _ledger(Path(scratch) / "ledger.db", arguments.rows)


def _ledger(path: Path, rows: int) -> None:
    ledger = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{path}")))
    start = time.process_time()
    with writing(ledger.engine) as connection:
        for some in chunked(_rows(range(rows)), BULK):
            connection.execute(Count.__table__.insert(), some)  # type: ignore[attr-defined]
    print(f"{rows:,} rows written in {time.process_time() - start:.0f} s, {path.stat().st_size / rows:.0f} bytes each")
    ledger.engine.dispose()

    ledger = Ledger(open_engine(make_url(f"sqlite+pysqlite:///{path}")))
    first = rows - (KEYS - NEW)
    start = time.process_time()
    asked = [photo_key("bins", _key(number), "e" * 32) for number in range(first, first + KEYS)]
    known = ledger.current(asked)
    seconds = time.process_time() - start
    assert len(asked) - len(known) == NEW
    print(f"{NEW:,} new among {KEYS:,} keys found in {seconds:.2f} s of processor time, with {rows:,} rows")

    new = list(_rows(range(rows, rows + NEW)))
    start = time.process_time()
    assert len(ledger.taken_before("bins", [SimpleNamespace(**row) for row in new])) == NEW
    seconds = time.process_time() - start
    print(f"the photos before {NEW:,} found in {seconds:.2f} s, where {BINS:,} bins have {rows / BINS:.0f} each")
    start = time.process_time()
    assert ledger.upsert_counts(new) == NEW
    wrote = time.process_time() - start
    start = time.process_time()
    assert ledger.upsert_counts(new) == 0
    again = time.process_time() - start
    print(f"{NEW:,} rows upserted in {wrote:.2f} s of processor time, and again without change in {again:.2f} s")


def _rows(numbers: range) -> Iterator[dict[str, Any]]:
    for number in numbers:
        key = _key(number)
        yield {
            "photo": photo_key("bins", key, "e" * 32),
            "model": "binventory-261120-101112-ab12cd34",
            "bucket": "bins",
            "key": key,
            "etag": "e" * 32,
            "bytes": 60_000,
            "photo_id": str(number),
            "bin": f"aisle-{number % BINS:06}",
            "taken_at": NIGHT + dt.timedelta(days=number // BINS),
            "products": None,
            "expected": number % 5 + 1,
            "record_problem": None,
            "status": "counted",
            "reason": None,
            "count": number % 5 + 1,
            "confidence": 0.5,
            "out_of_range": 0.1,
            "probabilities": {"1": 0.1, "2": 0.5, "3": 0.2, "4": 0.1, "5": 0.1},
            "verdict": "match",
            "verdict_reason": None,
            "mismatch": 0.04,
            "size": 1.2,
            "score": 0.048,
            "before": None,
            "night": NIGHT.date(),
            "run": "261124-030000",
            "counted_at": NIGHT,
        }


def _key(number: int) -> str:
    return f"bin-images/{number:08}.jpg"


if __name__ == "__main__":
    main()
