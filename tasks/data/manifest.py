"""The manifest: what a dataset consists of, object by object, and what made it."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import Any

import obstore
import PIL
import pyarrow as pa

from tasks.data.catalog import read_usable
from tasks.data.fetch import transfer_errors
from tasks.data.prepared_data import SPLITS, SplitName
from tasks.data.shards import FORMAT_VERSION, JPEG_QUALITY, ShardFile
from tasks.data.upload import photo_object_key
from tasks.data.workspace import Workspace, explain_disk_errors
from tasks.large_objects import put_large
from tasks.object_store import open_store
from training.errors import DataError

MANIFEST_KEY = "manifest.json"
_VERSION = 1
_SHARDS, _PHOTOS, _END = b' "shards": [', b' "photos": [', b" ]"
_PHOTO = re.compile(rb'\{"key": "(train|valid|test)/\d+/([A-Za-z0-9._-]+)\.jpg", ')


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
    with workspace.manifest.open("rb") as file:
        mine = hashlib.file_digest(file, "sha256").digest()
    with transfer_errors(f"{uri}/{MANIFEST_KEY}"):
        try:
            there = hashlib.sha256()
            for part in obstore.get(open_store(uri), MANIFEST_KEY).stream():
                there.update(part)
            if there.digest() == mine:
                return False
        except FileNotFoundError:
            pass
    put_large(f"{uri}/{MANIFEST_KEY}", workspace.manifest)
    return True


def manifest_placements(workspace: Workspace, uri: str, mode: str, seed: int) -> Iterator[tuple[str, SplitName]]:
    """Yield id and split of every photo that the dataset's manifest places: the one on S3, else the one here.

    A manifest of another kind of split, or of another seed, places nothing.

    Raises:
        DataError: what lies there is no manifest that this version wrote.
        TransferError: it could not be read this time.
    """
    placed = False
    where = f"{uri}/{MANIFEST_KEY}"
    with transfer_errors(where):
        try:
            parts = obstore.get(open_store(uri), MANIFEST_KEY).stream()
            for entry in _placements(_lines(map(bytes, parts)), where, mode, seed):
                placed = True
                yield entry
        except FileNotFoundError:
            pass
    if not placed and workspace.manifest.exists():
        with workspace.manifest.open("rb") as file:
            yield from _placements((line.rstrip(b"\n") for line in file), str(workspace.manifest), mode, seed)


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    yield rest


def _placements(lines: Iterator[bytes], where: str, mode: str, seed: int) -> Iterator[tuple[str, SplitName]]:
    """Read a manifest as ``_pieces`` wrote it: line by line, since half a million photos may be in it."""
    refusal = DataError(
        f"{where} is no manifest that this version wrote, so that nobody knows which photos models have learned from. "
        "Take it away if none matters any more, or give this run a --dataset of its own."
    )
    try:
        head = json.loads(b"\n".join(takewhile(lambda line: line != _SHARDS, lines)).removesuffix(b",") + b"}")
        made = head["version"], head["split"]["mode"], head["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise refusal from error
    if made[0] != _VERSION:
        raise refusal
    if made[1:] != (mode, seed):
        return
    for line in dropwhile(lambda line: line != _PHOTOS, lines):
        if photo := _PHOTO.match(line):
            yield photo[2].decode(), SPLITS[SPLITS.index(photo[1].decode())]
        elif line == _END:
            return
        elif line not in (_PHOTOS, b""):  # an empty line is where no photo is
            raise refusal
    raise refusal  # it ends too soon


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
    yield f"{json.dumps(head, indent=1)[:-2]},\n{_SHARDS.decode()}\n"
    yield ",\n".join(
        json.dumps({"key": s.key, "photos": s.photos, "bytes": s.bytes, "sha256": s.sha256}) for s in shards
    )
    yield f"\n ],\n{_PHOTOS.decode()}\n"
    separator = ""
    for rows in read_usable(workspace, ["id", "split", "count", "bytes", "sha256"]):
        entries: list[Any] = rows.to_pylist()
        for row in entries:
            key = photo_object_key(row["split"], row["count"], row["id"])
            yield separator + json.dumps({"key": key, "bytes": row["bytes"], "sha256": row["sha256"]})
            separator = ",\n"
    yield f"\n{_END.decode()}\n}}\n"
