"""Shards: what training reads."""

import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tasks.data import shards
from tasks.data.catalog import CATALOG_SCHEMA
from tasks.data.contact_sheet import write_contact_sheets
from tasks.data.jpeg import check_jpeg
from tasks.data.partition_state import write_table
from tasks.data.shards import plan_shards, resize_photo, shard_files, write_pack
from tasks.data.workspace import Workspace
from training.data import samples
from training.errors import PhotoError, TrainingError
from training.picture import decode, squash
from training.preprocessing import to_pixels


def a_photo(width: int, height: int) -> bytes:
    picture = Image.radial_gradient("L").resize((width, height))
    body = io.BytesIO()
    Image.merge("RGB", (picture, picture.rotate(90), picture.rotate(180))).save(body, "JPEG")
    return body.getvalue()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(shards, "PHOTOS_A_SHARD", 8)
    monkeypatch.setattr(shards, "PHOTOS_A_ROW_GROUP", 3)
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    catalog(workspace, 20)
    return workspace


def catalog(workspace: Workspace, photos: int, size: tuple[int, int] = (60, 40)) -> None:
    rows = []
    for n in range(photos):
        body, path = a_photo(*size), workspace.photo(f"{n:05d}", n % 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        split = "test" if n % 5 == 0 else "train"
        digest = hashlib.sha256(body).hexdigest()
        rows.append(
            {
                "id": f"{n:05d}",
                "count": n % 3,
                "bin_group": f"{n:05d}",
                "status": "ok",
                "split": split,
                "sha256": digest,
            }
        )
    rows.append({"id": "bad", "count": 1, "bin_group": "bad", "status": "corrupt"})
    write_table(pa.Table.from_pylist(rows, schema=CATALOG_SCHEMA), workspace.catalog)


def pack(workspace: Workspace, size: int = 32) -> tuple[int, int]:
    done = [write_pack(part) for part in plan_shards(workspace, size)]
    return sum(d.written for d in done), sum(d.reused for d in done)


def test_every_usable_photo_is_in_one_shard_of_its_split(workspace: Workspace) -> None:
    assert pack(workspace) == (3, 0)
    files = {file.key: file.photos for file in shard_files(workspace)}
    assert files == {
        "shards/train/train-00000.parquet": 8,
        "shards/train/train-00001.parquet": 8,
        "shards/test/test-00000.parquet": 4,
    }
    rows = pq.read_table(workspace.shards / "test").to_pylist()
    assert sorted(row["id"] for row in rows) == ["00000", "00005", "00010", "00015"]
    assert {(row["id"], row["count"]) for row in rows} == {(f"{n:05d}", n % 3) for n in (0, 5, 10, 15)}


def test_shards_stream_and_are_shuffled(workspace: Workspace) -> None:
    pack(workspace)
    shard = pq.ParquetFile(workspace.shards / "train/train-00000.parquet")
    assert shard.num_row_groups == 3
    ids = shard.read(columns=["id"])["id"].to_pylist()
    assert ids != sorted(ids)


def test_unchanged_shards_are_left_alone_and_changed_ones_are_not(workspace: Workspace) -> None:
    pack(workspace)
    before = {file.key: file.sha256 for file in shard_files(workspace)}
    assert pack(workspace) == (0, 3)
    (workspace.shards / "test/test-00000.parquet").unlink()
    assert pack(workspace) == (1, 2)
    assert {file.key: file.sha256 for file in shard_files(workspace)} == before
    assert pack(workspace, size=48) == (3, 0)


def test_shards_of_no_plan_go(workspace: Workspace) -> None:
    pack(workspace)
    catalog(workspace, 6)
    pack(workspace)
    assert sorted(p.name for p in workspace.shards.rglob("*.parquet")) == ["test-00000.parquet", "train-00000.parquet"]


def test_a_half_written_shard_is_written_again(workspace: Workspace) -> None:
    pack(workspace)
    shard = workspace.shards / "test/test-00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert pack(workspace) == (1, 2)
    assert shard.read_bytes() == whole


def test_a_flipped_bit_in_a_photo_is_noticed(workspace: Workspace) -> None:
    pack(workspace)
    shard = workspace.shards / "test/test-00000.parquet"
    whole, photos = shard.read_bytes(), list(samples(shard.parent))
    assert len(photos) == 4
    for bit, (_, _, photo) in enumerate(photos):
        damaged = bytearray(whole)
        damaged[whole.index(photo) + len(photo) // 2] ^= 1 << bit
        shard.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"test-00000\.parquet cannot be read.*checksum"):
            list(samples(shard.parent))


def test_shards_of_an_older_format_are_packed_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(shards, "FORMAT_VERSION", 1)
        pack(workspace)
    assert pack(workspace) == (3, 0)
    assert pack(workspace) == (0, 3)


def exif_with_odd_tag(orientation: int, kind: int) -> bytes:
    """EXIF data whose XResolution is declared as a ``kind`` that it cannot have: 1 BYTE, 2 ASCII, 7 UNDEFINED."""
    tags = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack("<HHI4s", 0x011A, kind, 4, b"72\0\0")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + bytes(4)


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_a_photo_with_broken_exif_is_packed(workspace: Workspace, kind: int) -> None:
    """By its orientation, which can be read: its left side comes to the top."""
    picture, body = Image.new("RGB", (60, 60), "black"), io.BytesIO()
    picture.paste("white", (0, 0, 30, 60))
    picture.save(body, "JPEG", exif=exif_with_odd_tag(6, kind))
    check_jpeg(body.getvalue())
    workspace.photo("00000", 0).write_bytes(body.getvalue())
    pack(workspace)
    [packed] = [row["image"] for row in pq.read_table(workspace.shards / "test").to_pylist() if row["id"] == "00000"]
    seen = np.array(decode(packed, 32)).mean(axis=2)
    assert seen[:12].min() > 200
    assert seen[20:].max() < 60


@pytest.mark.parametrize("step", [pack, write_contact_sheets])
def test_a_photo_that_cannot_be_packed_or_shown_is_named(
    workspace: Workspace, step: Callable[[Workspace], object]
) -> None:
    workspace.photo("00005", 2).write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"train_data/2/00005\.jpg cannot be used: .* Leave 00005 out"):
        step(workspace)


def test_a_photo_of_the_right_size_keeps_its_bytes() -> None:
    body = a_photo(224, 224)
    assert resize_photo(body, 224) == body


def test_shards_show_what_training_and_serving_see() -> None:
    body = a_photo(457, 343)
    assert torch.equal(
        to_pixels(body, 224),
        torch.from_numpy(np.array(squash(decode(body, 224), 224))).permute(2, 0, 1),
    )
    packed = to_pixels(resize_photo(body, 224), 224).float()
    assert (packed - to_pixels(body, 224).float()).abs().mean() < 2  # JPEG at quality 95, and nothing else
