"""Packs each split into Parquet shards of pre-resized photos, which is what training reads."""

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from tasks.atomic_file import write_atomically
from tasks.data.catalog import read_usable
from tasks.data.jpeg import photo_errors
from tasks.data.partition_state import write_batches
from tasks.data.prepared_data import SPLITS
from tasks.data.workspace import Workspace, explain_disk_errors
from training.picture import decode, squash

SHARD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("count", pa.int32(), nullable=False),
        pa.field("bin_group", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)
PHOTOS_A_SHARD = 4096
PHOTOS_A_ROW_GROUP = 256
JPEG_QUALITY = 95
FORMAT_VERSION = 2
MOST_PACKS = 12

_PLAN_SCHEMA = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("shard", pa.int32()),
        pa.field("id", pa.string()),
        pa.field("count", pa.int32()),
        pa.field("bin_group", pa.string()),
        pa.field("sha256", pa.string()),
    ]
)
_FINGERPRINT = b"binventory.fingerprint"
_RESIZERS = 2


@dataclass(frozen=True)
class Pack:
    """Some shards, by their numbers in the plan: what one task run writes."""

    folder: Path
    number: int
    of: int
    shards: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class PackCounts:
    """Shards written, and shards found as they should be."""

    written: int
    reused: int


def plan_shards(workspace: Workspace, size: int) -> list[Pack]:
    """Decide which photo goes into which shard, delete shards of no plan, and cut the work into packs.

    Within a split, photos are in the order of their ids' SHA-256: shuffled, and the same for everyone.
    """
    with explain_disk_errors(workspace.folder):
        names: list[Path] = []
        write_batches(_plan(workspace, names), _plan_path(workspace), _PLAN_SCHEMA)
        for path in workspace.shards.glob("*/*"):
            if path not in names:
                path.unlink()
    packs = min(MOST_PACKS, len(names))
    return [Pack(workspace.folder, n + 1, packs, tuple(range(len(names)))[n::packs], size) for n in range(packs)]


def write_pack(pack: Pack) -> PackCounts:
    """Write a pack's shards, each only if it isn't there as it would be written.

    Raises:
        PhotoError: a photo that was whole when it was fetched cannot be read as training reads it.
        WorkspaceError: the disk is full or read-only.
    """
    workspace = Workspace(pack.folder)
    written = 0
    with (
        explain_disk_errors(pack.folder),
        pq.ParquetFile(_plan_path(workspace)) as plan,
        ThreadPoolExecutor(_RESIZERS, "resize-photo") as resizers,
    ):
        for number in pack.shards:
            rows = plan.read_row_group(number)
            path = shard_path(workspace, str(rows["split"][0]), rows["shard"][0].as_py())
            fingerprint = _fingerprint(rows, pack.size)
            if _fingerprint_of(path) != fingerprint:
                path.parent.mkdir(parents=True, exist_ok=True)
                schema = SHARD_SCHEMA.with_metadata({_FINGERPRINT: fingerprint})
                _write_shard(path, schema, _row_groups(workspace, rows, pack.size, resizers))
                written += 1
    return PackCounts(written, len(pack.shards) - written)


def shard_path(workspace: Workspace, split: str, number: int) -> Path:
    """Return where a shard lies; on S3 its key ends alike."""
    return workspace.shards / split / f"{split}-{number:05d}.parquet"


@dataclass(frozen=True)
class ShardFile:
    """A shard as it lies here; ``key`` is relative to the dataset's prefix on S3."""

    key: str
    path: Path
    photos: int
    bytes: int
    sha256: str


def shard_files(workspace: Workspace) -> list[ShardFile]:
    """Return the planned shards with their digests, which are remembered as long as a file stays as it was."""
    memory = workspace.state / "shard-digests.json"
    known: dict[str, list[Any]] = json.loads(memory.read_bytes()) if memory.exists() else {}
    digests: dict[str, list[Any]] = {}
    files = []
    with explain_disk_errors(workspace.folder), pq.ParquetFile(_plan_path(workspace)) as plan:
        for number in range(plan.num_row_groups):
            rows = plan.read_row_group(number, columns=["split", "shard"])
            path = shard_path(workspace, str(rows["split"][0]), rows["shard"][0].as_py())
            found = path.stat()
            entry = known.get(path.name, [])
            if entry[:2] != [found.st_size, found.st_mtime_ns]:
                with path.open("rb") as file:
                    entry = [
                        found.st_size,
                        found.st_mtime_ns,
                        hashlib.file_digest(file, "sha256").hexdigest(),
                    ]
            digests[path.name] = entry
            key = f"shards/{path.parent.name}/{path.name}"
            files.append(ShardFile(key, path, rows.num_rows, found.st_size, entry[2]))
        write_atomically(memory, json.dumps(digests).encode())
    return files


def resize_photo(body: bytes, size: int) -> bytes:
    """Return the photo squashed to ``size`` x ``size`` as a JPEG; unchanged if that is its size already."""
    picture = decode(body, size)
    with Image.open(io.BytesIO(body)) as original:
        if original.size == (size, size):
            return body
    squashed = io.BytesIO()
    squash(picture, size).save(squashed, "JPEG", quality=JPEG_QUALITY)
    return squashed.getvalue()


def _plan_path(workspace: Workspace) -> Path:
    return workspace.state / "shards.parquet"


def _plan(workspace: Workspace, names: list[Path]) -> Iterator[pa.Table]:
    """Yield one table per shard, and note the shards' paths."""
    light = pa.concat_tables(read_usable(workspace, ["split", "id", "count", "bin_group", "sha256"]))
    keys = [hashlib.sha256(str(i).encode()).digest()[:8] for i in light["id"].to_pylist()]
    light = light.append_column("key", pa.array(keys, pa.binary(8)))
    for split in SPLITS:
        rows = light.filter(pc.equal(light["split"], split)).sort_by("key")
        for number, start in enumerate(range(0, rows.num_rows, PHOTOS_A_SHARD)):
            part = rows.slice(start, PHOTOS_A_SHARD)
            numbers = pa.array([number] * part.num_rows, pa.int32())
            names.append(shard_path(workspace, split, number))
            yield part.append_column("shard", numbers).select(_PLAN_SCHEMA.names)


def _fingerprint(rows: pa.Table, size: int) -> bytes:
    """Return a digest of everything that decides a shard's bytes."""
    digest = hashlib.sha256(
        f"{FORMAT_VERSION} {size} {JPEG_QUALITY} {PHOTOS_A_ROW_GROUP} {pa.__version__} {PIL.__version__}\n".encode()
    )
    names = ("id", "count", "bin_group", "sha256")
    for row in zip(*(rows[name].to_pylist() for name in names), strict=True):
        digest.update("\t".join(map(str, row)).encode() + b"\n")
    return digest.hexdigest().encode()


def _fingerprint_of(path: Path) -> bytes | None:
    try:
        return (pq.read_schema(path).metadata or {}).get(_FINGERPRINT)
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _row_groups(workspace: Workspace, rows: pa.Table, size: int, resizers: ThreadPoolExecutor) -> Iterator[pa.Table]:
    def image(photo_id: Any, count: Any) -> bytes:
        path = workspace.photo(photo_id, count)
        with photo_errors(path):
            return resize_photo(path.read_bytes(), size)

    for start in range(0, rows.num_rows, PHOTOS_A_ROW_GROUP):
        part = rows.slice(start, PHOTOS_A_ROW_GROUP)
        images = list(resizers.map(image, part["id"].to_pylist(), part["count"].to_pylist()))
        columns: dict[str, Any] = {name: part[name] for name in ("id", "count", "bin_group")}
        yield pa.table(columns | {"image": pa.array(images, pa.binary())}, schema=SHARD_SCHEMA)


def _write_shard(path: Path, schema: pa.Schema, row_groups: Iterator[pa.Table]) -> None:
    scratch = path.with_name(f".{path.name}.part")
    # JPEGs don't compress, and their minimum and maximum tell nothing.
    codecs = {"id": "zstd", "count": "zstd", "bin_group": "zstd", "image": "none"}
    with pq.ParquetWriter(
        scratch,
        schema,
        compression=codecs,
        use_dictionary=False,
        write_statistics=["id", "count"],
        write_page_checksum=True,  # a flipped bit in a JPEG still decodes, to another photo
    ) as writer:
        for rows in row_groups:
            writer.write_table(rows.replace_schema_metadata(schema.metadata))
    scratch.replace(path)
