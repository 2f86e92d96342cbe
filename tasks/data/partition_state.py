"""What a stage has learned about each id, kept so that a killed run loses nothing but what was in flight.

Ids fall into 64 fixed partitions. A partition has a Parquet file, and beside it a journal: lines of JSON that
are appended as facts arrive and folded into the Parquet file when a chunk is done. A line torn by ``kill -9`` is
dropped; the last line about an id wins.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class PartitionState:
    """The rows of one partition. Opened by one chunk at a time; a context manager that folds the journal in."""

    def __init__(self, folder: Path, partition: int, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._parquet = folder / f"{partition:02d}.parquet"
        self._journal = folder / f"{partition:02d}.jsonl"
        self._schema = schema
        self._file: int | None = None
        self._fold()

    def __enter__(self) -> "PartitionState":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if kind is None:
            self._fold()

    def table(self) -> pa.Table:
        """Return what is known, without what was appended since the state was opened."""
        if not self._parquet.exists():
            return self._schema.empty_table()
        return pq.read_table(self._parquet, schema=self._schema)

    def forget_others(self, ids: pa.ChunkedArray) -> None:
        """Forget every row but those of ``ids``."""
        known = self.table()
        kept = known.filter(pc.is_in(known["id"], value_set=ids.combine_chunks()))
        if kept.num_rows < known.num_rows:
            write_table(kept, self._parquet)

    def append(self, row: Mapping[str, Any]) -> None:
        """Remember one row; it survives the death of this process from here on."""
        if self._file is None:
            self._file = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(28, "No space left on device", str(self._journal))

    def _fold(self) -> None:
        """Fold the journal into the Parquet file; the journal goes last, so that nothing is lost in between."""
        rows = _read_journal(self._journal)
        if rows is None:
            return
        if rows:
            new = pa.Table.from_pylist(list(rows.values()), schema=self._schema)
            old = self.table()
            kept = old.filter(pc.invert(pc.is_in(old["id"], value_set=new["id"].combine_chunks())))
            write_table(pa.concat_tables([kept, new]).sort_by("id"), self._parquet)
        self._journal.unlink()


def _read_journal(journal: Path) -> dict[str, dict[str, Any]] | None:
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return None
    rows = {}
    for line in content.split(b"\n"):
        try:
            row = json.loads(line)
            if b"\\ud" in line:  # half a surrogate pair, perhaps, which no Parquet file can hold
                row = json.loads(json.dumps(row, ensure_ascii=False).encode(errors="replace"))
        except ValueError:
            continue  # torn: its writer was killed
        rows[row["id"]] = row
    return rows


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file atomically; equal tables give equal bytes."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    pq.write_table(table, scratch, compression="zstd")
    scratch.replace(path)


def write_batches(batches: Iterable[pa.Table], path: Path, schema: pa.Schema) -> None:
    """Write tables one after another into one Parquet file, atomically and without holding them all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for table in batches:
            if table.num_rows:
                writer.write_table(table.cast(schema))
    scratch.replace(path)
