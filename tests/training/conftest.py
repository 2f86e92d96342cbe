"""A tiny set of photos whose count is told by their brightness, so that a few steps learn it."""

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.hyperparameters import Channels

CLASSES = (1, 2, 3)


def photo(count: int, seed: int) -> bytes:
    level = 40 + 60 * count + random.Random(seed).randint(-12, 12)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (level, level, level)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_folders(folder: Path, each: int, seed: int) -> None:
    for count in CLASSES:
        (folder / str(count)).mkdir(parents=True)
        for index in range(each):
            (folder / str(count) / f"{count}{index:04}.jpg").write_bytes(photo(count, seed + index))


def write_shard(folders: Path, shard: Path) -> None:
    photos = sorted(folders.glob("*/*.jpg"))
    shard.parent.mkdir(parents=True)
    table = pa.table(
        {
            "id": [path.stem for path in photos],
            "count": pa.array([int(path.parent.name) for path in photos], pa.int32()),
            "bin_group": [path.stem for path in photos],
            "image": [path.read_bytes() for path in photos],
        }
    )
    pq.write_table(table, shard, row_group_size=16)


@pytest.fixture
def channels(tmp_path: Path) -> Channels:
    write_folders(tmp_path / "train", 24, seed=0)
    write_folders(tmp_path / "valid", 8, seed=1000)
    return Channels(
        train=tmp_path / "train",
        valid=tmp_path / "valid",
        weights=None,
        model=tmp_path / "model",
        output=tmp_path / "output",
    )
