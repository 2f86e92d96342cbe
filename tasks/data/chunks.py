"""The list of a run on disk, and the chunks that tasks work on: tens, however long the list is."""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.data.partition_state import write_table
from tasks.data.photo_ids import PARTITIONS, partition_of
from tasks.data.workspace import Workspace

MOST_CHUNKS = 24
PHOTOS_A_CHUNK = 500
"""A chunk has at least so many photos, so that it is worth a second or more, unless the list is shorter."""

_SCHEMA = pa.schema({"partition": pa.int16(), "id": pa.string(), "listed_count": pa.int32()})


@dataclass(frozen=True)
class Chunk:
    """Some of a dataset's partitions: what one task run works on. Small, so that any runner can ship it."""

    folder: Path
    number: int
    of: int
    partitions: tuple[int, ...]

    @property
    def workspace(self) -> Workspace:
        """The workspace that the chunk belongs to."""
        return Workspace(self.folder)


def write_listing(workspace: Workspace, listing: pa.Table) -> None:
    """Keep a run's list, a table of ``tasks.data.file_list.SCHEMA``, sorted by partition and id."""
    partitions = pa.array([partition_of(str(photo_id)) for photo_id in listing["id"].to_pylist()], pa.int16())
    table = listing.add_column(0, _SCHEMA.field("partition"), partitions)
    write_table(table.sort_by([("partition", "ascending"), ("id", "ascending")]), _path(workspace))


def read_listing(workspace: Workspace, partitions: tuple[int, ...] | None = None) -> pa.Table:
    """Return the run's list, or what of it is in ``partitions``: columns partition, id, listed_count."""
    table = pq.read_table(_path(workspace), schema=_SCHEMA)
    if partitions is None:
        return table
    return table.filter(pc.is_in(table["partition"], value_set=pa.array(partitions, pa.int16())))


def length(workspace: Workspace) -> int:
    """How many photos the run's list has."""
    return int(pq.read_metadata(_path(workspace)).num_rows)


def split_into_chunks(workspace: Workspace, *, least: int = PHOTOS_A_CHUNK) -> list[Chunk]:
    """Cut the run's list into chunks of about the same size, at most ``MOST_CHUNKS``."""
    column = pq.read_table(_path(workspace), columns=["partition"])["partition"]
    sizes = [0] * PARTITIONS
    for entry in pc.value_counts(column).to_pylist():
        sizes[entry["values"]] = entry["counts"]
    total = sum(sizes)
    chunks = max(1, min(MOST_CHUNKS, total // least))
    groups: list[list[int]] = [[] for _ in range(chunks)]
    for partition, end in enumerate(accumulate(sizes)):
        if sizes[partition]:
            groups[min(chunks - 1, (end - 1) * chunks // total)].append(partition)
    groups = [group for group in groups if group]
    return [Chunk(workspace.folder, number, len(groups), tuple(group)) for number, group in enumerate(groups, 1)]


def _path(workspace: Workspace) -> Path:
    return workspace.state / "listing.parquet"
