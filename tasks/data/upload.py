"""Puts a dataset on S3 by split and count folder; only what changed travels."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from obstore.store import ObjectStore
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tasks.data.catalog import read_usable
from tasks.data.fetch import for_each, listing, transfer_errors
from tasks.data.partition_state import PartitionState, write_batches
from tasks.data.photo_ids import PARTITIONS, partition_of
from tasks.data.prepared_data import SPLITS
from tasks.data.shards import ShardFile
from tasks.data.workspace import Workspace, explain_disk_errors
from tasks.large_objects import PART, PARTS_AT_ONCE
from tasks.object_store import LARGE_TRANSFER, open_store
from training.errors import TransferError

MOST_UPLOADS = 12
_OBJECTS_AN_UPLOAD = 500
_PUTS_IN_FLIGHT = 32
_LARGEST_READ_WHOLE = 2**20
_LARGE_AT_ONCE = 2
"""Large objects of one upload on their way at once, each in a few parts: all share the line, and the time limit."""
_OURS = tuple(f"{prefix}/" for prefix in (*SPLITS, "shards"))
_UPLOADED = pa.schema([pa.field(name, pa.string()) for name in ("id", "sha256", "etag")])
_LISTED = pa.schema(
    [
        pa.field("partition", pa.int16()),
        pa.field("key", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("etag", pa.string()),
    ]
)
_PLAN = pa.schema(
    [
        pa.field("partition", pa.int16()),
        pa.field("key", pa.string()),
        pa.field("path", pa.string()),
        pa.field("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Upload:
    """The objects to put of some partitions: what one task run does."""

    folder: Path
    uri: str
    number: int
    of: int
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class UploadPlan:
    """What must change at the destination."""

    uploads: list[Upload]
    to_put: int
    unchanged: int
    to_delete: list[str]


@dataclass(frozen=True)
class _Wanted:
    key: str
    path: Path
    sha256: str
    bytes: int


def plan_upload(workspace: Workspace, uri: str, shards: list[ShardFile]) -> UploadPlan:
    """Compare what the dataset should be on S3 with what is there.

    An object is left alone if its size and ETag are those that were seen when these very bytes were put; or, when
    nothing is remembered about it, if its ETag is the one that S3 gives these bytes.
    """
    with explain_disk_errors(workspace.folder):
        there = asyncio.run(_list_ours(open_store(uri)))
        found = _Found()
        write_batches(_puts(workspace, shards, there, found), _plan_path(workspace), _PLAN)
    return UploadPlan(
        _uploads(workspace, uri, found.partitions, found.to_put),
        to_put=found.to_put,
        unchanged=found.wanted - found.to_put,
        to_delete=sorted(found.to_delete),
    )


@dataclass
class _Found:
    """What a comparison came to."""

    wanted: int = 0
    to_put: int = 0
    partitions: list[int] = field(default_factory=list)
    to_delete: list[str] = field(default_factory=list)


def _puts(workspace: Workspace, shards: list[ShardFile], there: pa.Table, found: _Found) -> Iterator[pa.Table]:
    """Yield what to put, a partition at a time."""
    for partition, wanted in _wanted(workspace, shards):
        mine = there.filter(pc.equal(there["partition"], partition))
        put, delete = _compare(workspace, partition, wanted, mine)
        found.wanted += len(wanted)
        found.to_put += len(put)
        found.to_delete += delete
        if put:
            found.partitions.append(partition)
            rows = [{"partition": partition, "key": w.key, "path": str(w.path), "sha256": w.sha256} for w in put]
            yield pa.Table.from_pylist(rows, schema=_PLAN)


def put_objects(upload: Upload) -> int:
    """Put the objects of one upload that were not put since it was planned; return how many.

    Raises:
        TransferError: the destination is out of reach for now.
    """
    with explain_disk_errors(upload.folder):
        return asyncio.run(_put_objects(upload))


def delete_objects(uri: str, keys: list[str]) -> None:
    """Delete what the dataset doesn't have any more."""
    with transfer_errors(uri):
        obstore.delete(open_store(uri), keys)


async def _list_ours(store: ObjectStore) -> pa.Table:
    pages = []
    for prefix in _OURS:
        async for page in listing(store, prefix):
            columns = {
                "partition": [partition_of(Path(entry["path"]).stem) for entry in page],
                "key": [entry["path"] for entry in page],
                "bytes": [entry["size"] for entry in page],
                "etag": [(entry["e_tag"] or "").strip('"') for entry in page],
            }
            pages.append(pa.table(columns, schema=_LISTED))
    return pa.concat_tables([*pages, _LISTED.empty_table()])


def _wanted(workspace: Workspace, shards: list[ShardFile]) -> Iterator[tuple[int, list[_Wanted]]]:
    """Yield, for each partition, the objects that the dataset consists of."""
    packed: dict[int, list[_Wanted]] = {}
    for shard in shards:
        one = _Wanted(shard.key, shard.path, shard.sha256, shard.bytes)
        packed.setdefault(partition_of(shard.path.stem), []).append(one)
    seen = set()
    for rows in read_usable(workspace, ["id", "split", "count", "sha256", "bytes"]):
        entries: list[Any] = rows.to_pylist()
        if not entries:
            continue
        partition = partition_of(entries[0]["id"])
        seen.add(partition)
        photos = [
            _Wanted(
                photo_object_key(row["split"], row["count"], row["id"]),
                workspace.photo(row["id"], row["count"]),
                row["sha256"],
                row["bytes"],
            )
            for row in entries
        ]
        yield partition, photos + packed.get(partition, [])
    for partition in range(PARTITIONS):
        if partition not in seen:
            yield partition, packed.get(partition, [])


def photo_object_key(split: str, count: int, photo_id: str) -> str:
    """Return the key of a photo, relative to the dataset's prefix."""
    return f"{split}/{count}/{photo_id}.jpg"


def _uploaded(workspace: Workspace, partition: int) -> PartitionState:
    return PartitionState(workspace.state / "uploaded", partition, _UPLOADED)


def _compare(
    workspace: Workspace, partition: int, wanted: list[_Wanted], there: pa.Table
) -> tuple[list[_Wanted], list[str]]:
    """Return what to put and which keys to delete in one partition."""
    listed: dict[Any, dict[str, Any]] = {row["key"]: row for row in there.to_pylist()}
    with _uploaded(workspace, partition) as state:
        remembered: dict[Any, dict[str, Any]] = {row["id"]: row for row in state.table().to_pylist()}
        put = []
        for one in wanted:
            found = listed.pop(one.key, None)
            if found is None or found["bytes"] != one.bytes:
                put.append(one)
                continue
            known = remembered.get(one.key)
            if known is not None and known["etag"] == found["etag"]:
                same = known["sha256"] == one.sha256
            else:
                same = _is_etag_of(found["etag"], one.path)
                if same:
                    state.append({"id": one.key, "sha256": one.sha256, "etag": found["etag"]})
            if not same:
                put.append(one)
        for one in put:
            if one.key in remembered:  # what is remembered of it from now on was put by this plan
                state.append({"id": one.key, "sha256": "", "etag": ""})
    return put, list(listed)


def _is_etag_of(etag: str, path: Path) -> bool:
    """Whether S3 gives a file this ETag: its MD5, or if it came in parts the MD5 of their MD5s, and their number."""
    with path.open("rb") as file:
        if "-" not in etag:
            return hashlib.file_digest(file, _md5).hexdigest() == etag
        digests = [_md5(part).digest() for part in iter(lambda: file.read(PART), b"")]
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}" == etag


def _md5(body: bytes = b"") -> Any:
    return hashlib.md5(body, usedforsecurity=False)


def _uploads(workspace: Workspace, uri: str, partitions: list[int], objects: int) -> list[Upload]:
    groups = max(1, min(MOST_UPLOADS, objects // _OBJECTS_AN_UPLOAD))
    distinct = sorted(partitions)
    parts = [tuple(distinct[n::groups]) for n in range(groups)]
    parts = [part for part in parts if part]
    return [Upload(workspace.folder, uri, n, len(parts), part) for n, part in enumerate(parts, 1)]


def _plan_path(workspace: Workspace) -> Path:
    return workspace.state / "upload.parquet"


async def _put_objects(upload: Upload) -> int:
    workspace = Workspace(upload.folder)
    store, patient = open_store(upload.uri), open_store(upload.uri, timeout=LARGE_TRANSFER)
    large = asyncio.Semaphore(_LARGE_AT_ONCE)
    only_mine = [("partition", "in", upload.partitions)]  # of a file with a row group for each partition
    rows: list[Any] = pq.read_table(_plan_path(workspace), schema=_PLAN, filters=only_mine).to_pylist()
    with contextlib.ExitStack() as stack:
        states = {p: stack.enter_context(_uploaded(workspace, p)) for p in upload.partitions}
        known: list[Any] = [row for state in states.values() for row in state.table().to_pylist()]
        already = {(row["id"], row["sha256"]) for row in known}
        rows = [row for row in rows if (row["key"], row["sha256"]) not in already]

        async def work(row: dict[str, Any]) -> bool:
            path = Path(row["path"])
            if path.stat().st_size > _LARGEST_READ_WHOLE:
                async with large:
                    etag = await _put(patient, row["key"], path)
            else:
                etag = await _put(store, row["key"], path.read_bytes())
            states[row["partition"]].append({"id": row["key"], "sha256": row["sha256"], "etag": etag})
            return True

        await for_each(rows, work, _PUTS_IN_FLIGHT)
    return len(rows)


@retry(
    retry=retry_if_exception_type(TransferError),
    stop=stop_after_attempt(4),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)
async def _put(store: ObjectStore, key: str, body: Path | bytes) -> str:
    # obstore reads a path on threads of its own, some hundred of them for many small files; a shard it sends in parts.
    with transfer_errors(key):
        result = await obstore.put_async(store, key, body, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)
    return (result["e_tag"] or "").strip('"')
