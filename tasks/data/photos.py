"""Fetches photos into count folders, whole or not at all; what can't be used is quarantined by reason."""

import asyncio
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import NotModifiedError
from obstore.store import ObjectStore

from tasks.atomic_file import write_atomically
from tasks.data.chunks import Chunk, read_listing
from tasks.data.fetch import Reader, TooLargeError, for_each
from tasks.data.jpeg import BadPhotoError, check_jpeg
from tasks.data.metadata_stage import effective_counts
from tasks.data.partition_state import PartitionState
from tasks.data.sources import Source, photo_key
from tasks.data.workspace import Workspace, explain_disk_errors
from training.errors import ForbiddenObjectError, TransferError

PHOTO_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "status": pa.string(),
        "reason": pa.string(),
        "etag": pa.string(),
        "bytes": pa.int64(),
        "sha256": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "mtime_ns": pa.int64(),
    }
)
"""One row per photo. ``status`` is ok, missing (or forbidden, by its reason), corrupt or unreachable; ``mtime_ns`` is
the local file's."""
_PUT_ASIDE = {"missing": "vanished", "unreachable": "unreachable"}
"""Folder of quarantine by status, where a row gives no reason."""


@dataclass
class PhotoCounts:
    """What became of a chunk's photos; ``corrupt`` by reason."""

    downloaded: int = 0
    reused: int = 0
    missing: int = 0
    given_up: int = 0
    corrupt: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Wanted:
    partition: int
    id: str
    path: str
    known: dict[str, Any] | None


def photo_state(workspace: Workspace, partition: int) -> PartitionState:
    """Open what is known of one partition's photos."""
    return PartitionState(workspace.state / "photos", partition, PHOTO_SCHEMA)


def fetch_photos(chunk: Chunk, source: Source, *, refresh: bool = False) -> PhotoCounts:
    """Fetch a chunk's photos that aren't here yet, for every id whose count is known.

    A file that is here, as big and as old as remembered, is left alone; one that isn't remembered (its writer was
    killed) is checked, not fetched. What was missing is asked for again, and what is quarantined is fetched
    again only if it has changed at the source.

    Args:
        chunk: What to fetch.
        source: Where from.
        refresh: Ask also whether good photos have changed.

    Raises:
        TransferError: the source is out of reach for now.
        SourceError: the source may not be read at all.
        WorkspaceError: the disk is full or read-only.
    """
    with explain_disk_errors(chunk.folder):
        return asyncio.run(_ChunkOfPhotos(chunk, source.open(), refresh).run())


class _ChunkOfPhotos:
    """One chunk's work: decides per photo, fetches, checks, files, remembers.

    Photos are checked on the event loop itself: transfers go on meanwhile in obstore's own threads, decoding lets
    other chunks' loops run, and handing every photo to a thread and back would cost more than it gains.
    """

    def __init__(self, chunk: Chunk, store: ObjectStore, refresh: bool) -> None:
        self._chunk, self._store, self._refresh = chunk, store, refresh
        self._workspace = chunk.workspace
        self._changing = chunk.workspace.changing_source
        self._states: dict[int, PartitionState] = {}
        self._counts = PhotoCounts()
        self._forbidden: list[_Wanted] = []

    async def run(self) -> PhotoCounts:
        with contextlib.ExitStack() as stack:
            for partition in self._chunk.partitions:
                state = photo_state(self._workspace, partition)
                self._states[partition] = stack.enter_context(state)
                if self._changing:  # what is not listed now is another source's, and is not asked about
                    state.forget_others(read_listing(self._workspace, (partition,))["id"])
            self._reader = Reader(self._store, trusted=not self._refresh and self._knows_good_ones())
            self._counts.given_up = await for_each(self._wanted(), self._one)
            for photo in self._forbidden:  # only now: where nothing may be read at all, the run has ended before
                self._put_aside(photo, "forbidden")
                self._remember(photo, status="missing", reason="forbidden")
        return self._counts

    def _knows_good_ones(self) -> bool:
        return any("ok" in state.table()["status"].unique().to_pylist() for state in self._states.values())

    def _wanted(self) -> Iterator[_Wanted]:
        whole = read_listing(self._workspace, self._chunk.partitions)
        for partition in self._chunk.partitions:
            listing = whole.filter(pc.equal(whole["partition"], partition))
            ids: list[Any] = listing["id"].to_pylist()
            counts: list[Any] = effective_counts(self._workspace, partition, listing).to_pylist()
            known = {row["id"]: row for row in self._states[partition].table().to_pylist()}
            for photo_id, count in zip(ids, counts, strict=True):
                if count is not None:
                    path = self._workspace.photo_path(photo_id, count)
                    yield _Wanted(partition, photo_id, path, known.get(photo_id))

    async def _one(self, photo: _Wanted) -> bool:
        known = photo.known
        try:
            there = os.stat(photo.path)  # noqa: PTH116 - a string: this is done once per photo
        except FileNotFoundError:
            there = None
        good = there is not None and (_is_as_remembered(known, there) or self._recovered(photo, there))
        if good and not self._refresh:
            self._counts.reused += 1
            return True
        etag = known["etag"] if known and (good or known["status"] == "corrupt") else None
        try:
            await self._fetch(photo, etag or None)
        except NotModifiedError:
            self._count_unchanged(known or {})
        except FileNotFoundError:
            self._counts.missing += 1
            self._put_aside(photo, "vanished")
            self._remember(photo, status="missing")
        except ForbiddenObjectError:
            self._counts.missing += 1
            self._forbidden.append(photo)
        except TooLargeError as error:
            self._counts.corrupt["too_large"] += 1
            self._put_aside(photo, "too_large")  # else the next run takes what is here for it
            self._remember(photo, status="corrupt", reason="too_large", etag=error.etag, bytes=error.size)
        except TransferError:
            self._give_up(photo, good)
            return False
        return True

    def _put_aside(self, photo: _Wanted, why: str) -> None:
        """Keep what is here of a photo that can't be had, from earlier, without using it."""
        if Path(photo.path).exists():
            kept = self._quarantined(photo.id, why)
            kept.parent.mkdir(parents=True, exist_ok=True)
            Path(photo.path).replace(kept)

    def _give_up(self, photo: _Wanted, good: bool) -> None:
        """Let what is known of a photo that is out of reach stand if it is this source's, else say what it is now."""
        corrupt = photo.known is not None and photo.known["status"] == "corrupt"
        if self._changing or not (good or corrupt):
            self._put_aside(photo, "unreachable")
            self._remember(photo, status="unreachable")

    def _count_unchanged(self, known: dict[str, Any]) -> None:
        if known.get("status") == "corrupt":
            self._counts.corrupt[known["reason"]] += 1
        else:
            self._counts.reused += 1

    def _recovered(self, photo: _Wanted, there: os.stat_result) -> bool:
        """Whether a file that isn't remembered as it is now is a whole photo all the same."""
        row = _check_file(photo.path)
        if row is None or (photo.known and photo.known["sha256"] not in ("", row["sha256"])):
            return False
        etag = photo.known["etag"] if photo.known else ""
        self._remember(photo, **row | {"etag": etag, "mtime_ns": there.st_mtime_ns})
        return True

    async def _fetch(self, photo: _Wanted, etag: str | None) -> None:
        found = await self._reader.fetch(photo_key(photo.id), etag)
        try:
            row = _check_and_write(found.body, photo.path)
        except BadPhotoError as error:
            self._counts.corrupt[error.reason] += 1
            write_atomically(self._quarantined(photo.id, error.reason), found.body)
            Path(photo.path).unlink(missing_ok=True)
            self._remember(photo, status="corrupt", reason=error.reason, etag=found.etag, bytes=len(found.body))
            return
        if photo.known and photo.known["status"] != "ok":
            why = photo.known["reason"] or _PUT_ASIDE.get(photo.known["status"], "")
            self._quarantined(photo.id, why).unlink(missing_ok=True)
        self._counts.downloaded += 1
        self._remember(photo, **row | {"etag": found.etag})

    def _quarantined(self, photo_id: str, reason: str) -> Path:
        return self._workspace.quarantine / reason / f"{photo_id}.jpg"

    def _remember(self, photo: _Wanted, **row: Any) -> None:
        blank = {"reason": "", "etag": "", "bytes": 0, "sha256": "", "width": 0, "height": 0, "mtime_ns": 0}
        self._states[photo.partition].append({"id": photo.id} | blank | row)


def _is_as_remembered(known: dict[str, Any] | None, there: os.stat_result) -> bool:
    return (
        known is not None
        and known["status"] == "ok"
        and known["bytes"] == there.st_size
        and known["mtime_ns"] == there.st_mtime_ns
    )


def _check(body: bytes) -> dict[str, Any]:
    size = check_jpeg(body)
    digest = hashlib.sha256(body).hexdigest()
    return {"status": "ok", "bytes": len(body), "sha256": digest, "width": size.width, "height": size.height}


def _check_and_write(body: bytes, path: str) -> dict[str, Any]:
    row = _check(body)
    return row | {"mtime_ns": write_atomically(path, body)}


def _check_file(path: str) -> dict[str, Any] | None:
    try:
        return _check(Path(path).read_bytes())
    except BadPhotoError:
        return None
