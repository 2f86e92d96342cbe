"""The manifest: what a dataset consists of, object by object, and what made it."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import obstore
import PIL
import pyarrow as pa

from tasks.data.catalog import read_usable
from tasks.data.fetch import transfer_errors
from tasks.data.prepared_data import SPLITS
from tasks.data.shards import FORMAT_VERSION, JPEG_QUALITY, ShardFile
from tasks.data.upload import photo_object_key
from tasks.data.workspace import Workspace, explain_disk_errors
from tasks.object_store import open_store

MANIFEST_KEY = "manifest.json"
_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """The parameters that decide what a dataset holds."""

    dataset: str
    source: str
    seed: int
    split: str
    shard_size: int


def write_manifest(workspace: Workspace, recipe: Recipe, shards: list[ShardFile]) -> str:
    """Write ``manifest.json`` and return its SHA-256.

    It has no times and no hosts: the same data made in the same way has the same manifest.
    """
    digest = hashlib.sha256()
    scratch = workspace.manifest.with_name(f".{workspace.manifest.name}.{os.getpid()}.part")
    with explain_disk_errors(workspace.folder):
        with scratch.open("wb") as file:
            for piece in _pieces(workspace, recipe, shards):
                content = piece.encode()
                digest.update(content)
                file.write(content)
        scratch.replace(workspace.manifest)
    return digest.hexdigest()


def upload_manifest(workspace: Workspace, uri: str) -> bool:
    """Put the manifest on S3, after everything that it names; return whether it had changed."""
    store = open_store(uri)
    with workspace.manifest.open("rb") as file:
        mine = hashlib.file_digest(file, "sha256").digest()
    with transfer_errors(f"{uri}/{MANIFEST_KEY}"):
        try:
            there = hashlib.sha256()
            for part in obstore.get(store, MANIFEST_KEY).stream():
                there.update(part)
            if there.digest() == mine:
                return False
        except FileNotFoundError:
            pass
        obstore.put(store, MANIFEST_KEY, workspace.manifest)
    return True


def _pieces(workspace: Workspace, recipe: Recipe, shards: list[ShardFile]) -> Iterator[str]:
    """Yield the manifest line by line; half a million photos never stand in memory at once."""
    counts: dict[str, Counter[int]] = {split: Counter() for split in SPLITS}
    placed = hashlib.sha256()
    for rows in read_usable(workspace, ["id", "split", "count"]):
        columns: Any = zip(*(rows[name].to_pylist() for name in ("id", "split", "count")), strict=True)
        for photo_id, split, count in columns:
            counts[split][count] += 1
            placed.update(f"{photo_id}\t{split}\n".encode())
    head = {
        "version": _VERSION,
        "dataset": recipe.dataset,
        "source": recipe.source,
        "seed": recipe.seed,
        "split": {"mode": recipe.split, "sha256": placed.hexdigest()},
        "counts": {split: {str(count): found[count] for count in sorted(found)} for split, found in counts.items()},
        "shard_format": {"version": FORMAT_VERSION, "size": recipe.shard_size, "jpeg_quality": JPEG_QUALITY},
        "made_with": {"pyarrow": pa.__version__, "pillow": PIL.__version__},
    }
    yield json.dumps(head, indent=1)[:-2] + ',\n "shards": [\n'
    yield ",\n".join(
        json.dumps({"key": s.key, "photos": s.photos, "bytes": s.bytes, "sha256": s.sha256}) for s in shards
    )
    yield '\n ],\n "photos": [\n'
    separator = ""
    for rows in read_usable(workspace, ["id", "split", "count", "bytes", "sha256"]):
        entries: list[Any] = rows.to_pylist()
        for row in entries:
            key = photo_object_key(row["split"], row["count"], row["id"])
            yield separator + json.dumps({"key": key, "bytes": row["bytes"], "sha256": row["sha256"]})
            separator = ",\n"
    yield "\n ]\n}\n"
