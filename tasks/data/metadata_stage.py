"""Fetches the metadata of listed ids, remembering each record as it arrives."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import NotModifiedError
from obstore.store import ObjectStore

from tasks.data.bin_metadata import FORBIDDEN, METADATA_SCHEMA, UNREACHABLE, absent_record, read_record
from tasks.data.chunks import Chunk, read_listing
from tasks.data.fetch import Reader, TooLargeError, for_each
from tasks.data.labels import overruled
from tasks.data.partition_state import PartitionState
from tasks.data.sources import Source, metadata_key
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import ForbiddenObjectError, TransferError


@dataclass(frozen=True)
class MetadataCounts:
    """What became of a chunk's metadata; ``missing`` is absent or forbidden."""

    listed: int
    fetched: int
    reused: int
    missing: int
    given_up: int


def metadata_state(workspace: Workspace, partition: int) -> PartitionState:
    """Open what is known of one partition's metadata."""
    return PartitionState(workspace.state / "metadata", partition, METADATA_SCHEMA)


def fetch_metadata(chunk: Chunk, source: Source, *, refresh: bool = False) -> MetadataCounts:
    """Fetch a chunk's metadata that isn't known yet; what was absent before is asked for again.

    A record that is known, and cannot be asked about again for now, stays as it is, unless it may be another
    source's.

    Args:
        chunk: What to fetch.
        source: Where from.
        refresh: Ask also whether known records have changed.

    Raises:
        TransferError: the source is out of reach for now.
        SourceError: the source may not be read at all.
        WorkspaceError: the disk is full or read-only.
    """
    with explain_disk_errors(chunk.folder):
        return asyncio.run(_fetch_chunk(chunk, source.open(), refresh))


def effective_counts(workspace: Workspace, partition: int, listing: pa.Table) -> pa.ChunkedArray:
    """Return the count of every row of ``listing``: a person's, else its metadata's, else the list's, else null."""
    known = align(metadata_state(workspace, partition).table().select(["id", "count"]), listing["id"])
    return overruled(workspace, listing["id"], pc.coalesce(known["count"], listing["listed_count"]))


def align(table: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """Return the rows of ``table`` in the order of ``ids``; a row of nulls for an id that it doesn't have."""
    return table.take(pc.index_in(ids, value_set=table["id"].combine_chunks()))


async def _fetch_chunk(chunk: Chunk, store: ObjectStore, refresh: bool) -> MetadataCounts:
    listing = read_listing(chunk.workspace, chunk.partitions)
    fetched = missing = 0
    changing = chunk.workspace.changing_source
    with contextlib.ExitStack() as stack:
        states = {p: stack.enter_context(metadata_state(chunk.workspace, p)) for p in chunk.partitions}
        if changing:  # what is not listed now is another source's, and is not asked about
            for state in states.values():
                state.forget_others(listing["id"])
        etags = {p: _known(state) for p, state in states.items()}
        reader = Reader(store, trusted=not refresh and any(etags.values()))

        async def work(item: tuple[int, str, str | None]) -> bool:
            nonlocal fetched, missing
            partition, photo_id, etag = item
            try:
                row = await _fetch_one(reader, photo_id, etag)
            except NotModifiedError:
                return True
            except TransferError:
                if changing or photo_id not in etags[partition]:
                    states[partition].append(absent_record(photo_id, UNREACHABLE))
                return False
            states[partition].append(row)
            fetched += row["found"]
            missing += not row["found"]
            return True

        def todo() -> Iterator[tuple[int, str, str | None]]:
            partitions: list[Any] = listing["partition"].to_pylist()
            ids: list[Any] = listing["id"].to_pylist()
            for partition, photo_id in zip(partitions, ids, strict=True):
                etag = etags[partition].get(photo_id)
                if etag is None or refresh:
                    yield partition, photo_id, etag or None

        given_up = await for_each(todo(), work)
    reused = listing.num_rows - fetched - missing - given_up
    return MetadataCounts(listing.num_rows, fetched, reused, missing, given_up)


def _known(state: PartitionState) -> dict[str, str]:
    table = state.table().select(["id", "found", "metadata_etag"])
    return {row["id"]: row["metadata_etag"] for row in table.to_pylist() if row["found"]}


async def _fetch_one(reader: Reader, photo_id: str, etag: str | None) -> dict[str, Any]:
    try:
        found = await reader.fetch(metadata_key(photo_id), etag)
    except FileNotFoundError:
        return absent_record(photo_id)
    except ForbiddenObjectError:
        return absent_record(photo_id, FORBIDDEN)
    except TooLargeError as error:
        return read_record(photo_id, b"", error.etag)
    return read_record(photo_id, found.body, found.etag)
