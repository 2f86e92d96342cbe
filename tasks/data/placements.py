"""Where photos were placed: kept in a dataset's folder, and on S3 for other machines; never forgotten."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.data.fetch import transfer_errors
from tasks.data.manifest import manifest_placements
from tasks.data.partition_state import write_table
from tasks.data.prepared_data import SPLITS, SplitName
from tasks.data.split import NOWHERE
from tasks.data.workspace import Workspace
from tasks.object_store import open_store
from training.errors import DataError

_SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("split", pa.string())])
_NAMES = pa.array(SPLITS, pa.string())
_PAIRS_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Placements:
    """The split of each photo that was ever placed, in two arrays: half a million entries of a dict take much more.

    ``ids`` are sorted, and each is there once; ``splits`` are their places in ``SPLITS``.
    """

    ids: Any
    splits: Any

    @classmethod
    def read(cls, table: pa.Table) -> "Placements":
        """Make them of a table of ids and splits; of a photo's several, train goes before valid before test.

        Raises:
            ValueError: the table has other columns, or names a split that there isn't.
        """
        table = table.cast(_SCHEMA)
        numbers = pc.index_in(table["split"], value_set=_NAMES)
        if numbers.null_count:
            raise ValueError("it names a split that there isn't")
        table = pa.table({"id": table["id"], "split": pc.cast(numbers, pa.int8())})
        table = table.sort_by([("id", "ascending"), ("split", "ascending")])
        ids = table["id"].combine_chunks()
        first = np.ones(len(ids), bool)  # not group_by, which takes 60 MB by itself
        first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        return cls(ids.filter(pa.array(first)), table["split"].to_numpy()[first])

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, SplitName]]) -> "Placements":
        """Make them of ids and splits, of which only some thousands are in memory at once."""
        left = iter(pairs)
        parts = [_SCHEMA.empty_table()]
        while some := list(islice(left, _PAIRS_AT_ONCE)):
            ids, splits = zip(*some, strict=True)
            parts.append(pa.table([pa.array(ids), pa.array(splits)], schema=_SCHEMA))
        return cls.read(pa.concat_tables(parts))

    def table(self) -> pa.Table:
        """Return them as they are written to disk: equal ones give equal bytes."""
        return pa.table([self.ids, _NAMES.take(pa.array(self.splits))], schema=_SCHEMA)

    def of(self, ids: list[str]) -> Any:
        """Return the place in ``SPLITS`` of every one of ``ids``; ``NOWHERE`` of those that were never placed."""
        rows = pc.fill_null(pc.index_in(pa.array(ids, pa.string()), value_set=self.ids), len(self.ids)).to_numpy()
        return np.append(self.splits, np.int8(NOWHERE))[rows]

    def without(self, ids: list[str]) -> "Placements":
        """Return those of all other photos."""
        others = pc.invert(pc.is_in(self.ids, value_set=pa.array(ids, pa.string())))
        return Placements(self.ids.filter(others), self.splits[others.to_numpy(zero_copy_only=False)])

    def merged(self, other: "Placements") -> "Placements":
        """Return both; where they differ (bins turned out to be one), train goes before valid before test."""
        if len(other.ids) == 0:
            return self
        return Placements.read(pa.concat_tables([self.table(), other.table()]))


NONE = Placements.of_pairs(())


def remembered_placements(workspace: Workspace, mode: str, seed: int) -> Placements:
    """Return what this folder remembers."""
    path = _path(workspace, mode, seed)
    return Placements.read(pq.read_table(path)) if path.exists() else NONE


def remember_placements(workspace: Workspace, mode: str, seed: int, placements: Placements) -> None:
    """Keep placements for later runs in this folder."""
    write_table(placements.table(), _path(workspace, mode, seed))


def published_placements(workspace: Workspace, uri: str, mode: str, seed: int) -> Placements:
    """Return every placement that the dataset's runs left on S3, and what its manifest says.

    Versions before this one left the manifest only, which names the photos of its own list.

    Raises:
        DataError: what lies there is not what a run writes.
        TransferError: it could not be read this time.
    """
    said = Placements.of_pairs(manifest_placements(workspace, uri, mode, seed))
    return _published(uri, mode, seed).merged(said)


def publish_placements(workspace: Workspace, uri: str, mode: str, seed: int) -> None:
    """Add what this folder remembers to what is on S3.

    Raises:
        DataError: what lies there is not what a run writes.
        TransferError: it could not be read or written this time.
    """
    there = _published(uri, mode, seed)
    both = there.merged(remembered_placements(workspace, mode, seed))
    if not both.table().equals(there.table()):
        body = io.BytesIO()
        pq.write_table(both.table(), body, compression="zstd")
        with transfer_errors(uri):
            obstore.put(open_store(uri), _name(mode, seed), body.getvalue())


def _published(uri: str, mode: str, seed: int) -> Placements:
    name = _name(mode, seed)
    with transfer_errors(f"{uri}/{name}"):
        try:
            body = obstore.get(open_store(uri), name).bytes()
        except FileNotFoundError:
            return NONE
    try:
        with pq.ParquetFile(pa.BufferReader(bytes(body))) as file:
            return Placements.read(file.read())
    except (ValueError, OSError, pa.ArrowException) as error:
        raise DataError(
            f"{uri}/{name} is not what a run writes, so that nobody knows which photos models have learned from: "
            f"{error}. Take it away if none matters any more, or give this run a --dataset of its own."
        ) from error


def _path(workspace: Workspace, mode: str, seed: int) -> Path:
    return workspace.state / _name(mode, seed)


def _name(mode: str, seed: int) -> str:
    return f"splits-{mode}-{seed}.parquet"
