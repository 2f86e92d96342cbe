"""The ledger as Parquet: for notebooks, for the warehouse's own tables, and as labels for training."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.ledger.ledger import Ledger, chunked
from tasks.ledger.models import Answer, Count

COUNTS_SCHEMA = pa.schema(
    {
        "photo": pa.string(),
        "model": pa.string(),
        "bucket": pa.string(),
        "key": pa.string(),
        "etag": pa.string(),
        "bytes": pa.int64(),
        "photo_id": pa.string(),
        "bin": pa.string(),
        "taken_at": pa.timestamp("us", tz="UTC"),
        "products": pa.list_(pa.string()),
        "expected": pa.int32(),
        "record_problem": pa.string(),
        "status": pa.string(),
        "reason": pa.string(),
        "count": pa.int32(),
        "confidence": pa.float64(),
        "out_of_range": pa.float64(),
        "probabilities": pa.map_(pa.int32(), pa.float64()),
        "verdict": pa.string(),
        "verdict_reason": pa.string(),
        "mismatch": pa.float64(),
        "size": pa.float64(),
        "score": pa.float64(),
        "before": pa.string(),
        "night": pa.date32(),
        "run": pa.string(),
        "counted_at": pa.timestamp("us", tz="UTC"),
        "answers": pa.list_(
            pa.struct({"reviewer": pa.string(), "answer": pa.string(), "answered_at": pa.timestamp("us", tz="UTC")})
        ),
    }
)
_ROWS = 20_000


def export_counts(ledger: Ledger, path: Path) -> int:
    """Write every count, with what reviewers answered of its photo, to Parquet in the order of the key.

    Returns:
        How many there are.
    """
    total = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal total
        for some in chunked(ledger.rows(Count), _ROWS):
            total += len(some)
            answers = _answers(ledger, some[0].photo, some[-1].photo)
            rows = [_plain(row._mapping) | {"answers": answers.get(row.photo, [])} for row in some]
            yield pa.Table.from_pylist(rows, COUNTS_SCHEMA)

    write_parquet(path, COUNTS_SCHEMA, tables())
    return total


def _answers(ledger: Ledger, first: str, last: str) -> dict[str, list[dict[str, Any]]]:
    """Answers that were not undone, oldest first, of the photos from one to another."""
    found: dict[str, list[dict[str, Any]]] = {}
    within = (Answer.photo >= first, Answer.photo <= last, Answer.withdrawn_at.is_(None))
    for row in sorted(ledger.rows(Answer, *within), key=lambda row: row.answered_at):
        said = {"reviewer": row.reviewer, "answer": row.answer, "answered_at": row.answered_at}
        found.setdefault(row.photo, []).append(said)
    return found


def _plain(row: Any) -> dict[str, Any]:
    shares = row["probabilities"]
    return dict(row) | {"probabilities": sorted((int(k), v) for k, v in shares.items()) if shares else None}


def write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Write tables to one file; whoever reads it sees the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    scratch.replace(path)
