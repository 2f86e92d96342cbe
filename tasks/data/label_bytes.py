"""Which labels are of other bytes than the source's photo of that name: they are another photo's, and are left out."""

import asyncio
from collections.abc import Mapping

import obstore
from obstore.store import ObjectStore

from tasks.data.chunks import read_listing
from tasks.data.fetch import for_each, transfer_errors
from tasks.data.labels import drop_labels, labelled_etags
from tasks.data.photo_ids import partition_of
from tasks.data.photos import photo_state
from tasks.data.sources import Source, photo_key
from tasks.data.workspace import Workspace
from training.errors import ForbiddenObjectError


def leave_out_labels_of_other_bytes(workspace: Workspace, source: Source, *, refresh: bool) -> list[str]:
    """Drop the labels whose ETag is not that of the listed photo; return their ids.

    Buckets are not compared: a photo is often counted in one bucket, and trained on from another. What was fetched
    before is compared as it is here, unless the run refreshes it; of other photos the source is asked.

    Raises:
        TransferError: the source is out of reach for now.
        SourceError: the source refuses.
    """
    wanted = labelled_etags(workspace)
    listed = set(read_listing(workspace)["id"].to_pylist()) if wanted else set()
    wanted = {photo_id: etag for photo_id, etag in wanted.items() if photo_id in listed}
    here = {} if refresh else _etags_here(workspace, set(wanted))
    there = asyncio.run(_etags_there(source.open(), wanted.keys() - here.keys())) if wanted else {}
    known: Mapping[str, str] = here | there
    others = sorted(photo_id for photo_id, etag in wanted.items() if known.get(photo_id, etag) != etag)
    drop_labels(workspace, others)
    return others


def _etags_here(workspace: Workspace, ids: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for partition in sorted({partition_of(photo_id) for photo_id in ids}):
        rows = photo_state(workspace, partition).table().select(["id", "status", "etag"]).to_pylist()
        found |= {row["id"]: row["etag"] for row in rows if row["id"] in ids and row["status"] == "ok" and row["etag"]}
    return found


async def _etags_there(store: ObjectStore, ids: set[str]) -> dict[str, str]:
    """ETags by id; a photo that is not there, or may not be read, has none."""
    found: dict[str, str] = {}

    async def ask(photo_id: str) -> bool:
        key = photo_key(photo_id)
        try:
            with transfer_errors(key):
                found[photo_id] = ((await obstore.head_async(store, key))["e_tag"] or "").strip('"')
        except (FileNotFoundError, ForbiddenObjectError):
            pass  # fetching it says so
        return True

    await for_each(sorted(ids), ask)
    return {photo_id: etag for photo_id, etag in found.items() if etag}
