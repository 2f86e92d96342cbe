"""The ledger as Parquet: for notebooks, for the warehouse's own tables, and as labels for training."""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import ColumnElement

from tasks.ledger.ledger import LOOKUP, Ledger, chunked
from tasks.ledger.models import Answer, Count
from training.errors import LedgerError

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
_Answers = dict[str, list[dict[str, Any]]]
"""Of each photo, what reviewers answered."""


def export_ledger(ledger: Ledger, path: Path) -> int:
    """Write every count, with what reviewers answered of its photo, to Parquet in the order of the key.

    Returns:
        How many there are.
    """
    total = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal total
        for some in chunked(ledger.rows(Count), _ROWS):
            total += len(some)
            yield _table(some, _answers(ledger, Answer.photo >= some[0].photo, Answer.photo <= some[-1].photo))

    write_parquet(path, COUNTS_SCHEMA, tables())
    return total


def export_rows(ledger: Ledger, rows: Iterable[Any], path: Path) -> None:
    """Write these rows of `Count`, in their order and with their answers, and read no others."""

    def tables() -> Iterator[pa.Table]:
        for some in chunked(rows, _ROWS):
            answers: _Answers = {}
            for photos in chunked((row.photo for row in some), LOOKUP):
                answers |= _answers(ledger, Answer.photo.in_(photos))
            yield _table(some, answers)

    write_parquet(path, COUNTS_SCHEMA, tables())


def _table(rows: Iterable[Any], answers: _Answers) -> pa.Table:
    plain = [_plain(row._mapping) | {"answers": answers.get(row.photo, [])} for row in rows]
    return pa.Table.from_pylist(plain, COUNTS_SCHEMA)


def _answers(ledger: Ledger, *photos: ColumnElement[bool]) -> _Answers:
    """Answers that were not undone, oldest first, of the photos of which the conditions hold."""
    found: _Answers = {}
    for row in sorted(ledger.rows(Answer, *photos, Answer.withdrawn_at.is_(None)), key=lambda row: row.answered_at):
        said = {"reviewer": row.reviewer, "answer": row.answer, "answered_at": row.answered_at}
        found.setdefault(row.photo, []).append(said)
    return found


def _plain(row: Any) -> dict[str, Any]:
    shares = row["probabilities"]
    return dict(row) | {"probabilities": sorted((int(k), v) for k, v in shares.items()) if shares else None}


def write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Write tables to one file; whoever reads it sees the old or the new one, whole.

    Raises:
        LedgerError: the file cannot be written; nothing is left of it.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, schema, tables)
    except LedgerError:  # from reading the tables; one that may pass is an OSError too
        raise
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be written: {error.strerror or error}. Name a file in a folder that you may write to, on a "
            "disk with room."
        ) from error


def _write_whole(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
