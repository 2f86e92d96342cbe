"""Photos and counts for training: packed shards, or plain count folders, behind one dataset."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.errors import PhotoError, TrainingError
from training.outputs import Outputs
from training.preprocessing import to_pixels

Sample = tuple[str, int, bytes]


class CountDataset(Dataset[tuple[Tensor, int]]):
    """Decoded photos of one split, held in memory as uint8: decoding is paid once, not every epoch.

    Attributes:
        pixels: uint8, shape (N, 3, size, size).
        counts: int64, shape (N,).
        ids: of the photos, in the same order.
        unreadable: reason by id, of the photos that were left out.
        out_of_range: how many photos had a count that the network has no output for.
        digest: fingerprint of ids, counts and photos.
    """

    def __init__(self, folder: Path, size: int, outputs: Outputs) -> None:
        pixels, counts, self.ids = [], [], list[str]()
        self.unreadable: dict[str, str] = {}
        self.out_of_range = 0
        digest = hashlib.sha256()
        for photo, count, data in samples(folder):
            digest.update(f"{photo} {count} {len(data)}\n".encode())
            digest.update(data)
            if not outputs.covers(count):
                self.out_of_range += 1
                continue
            try:
                pixels.append(to_pixels(data, size))
            except PhotoError as error:
                self.unreadable[photo] = str(error)
                continue
            counts.append(count)
            self.ids.append(photo)
        if not pixels:
            raise TrainingError(f"{folder} holds no readable photo with a count among {list(outputs.counts)}")
        self.pixels = torch.stack(pixels)
        self.counts = torch.tensor(counts)
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index], int(self.counts[index])


def samples(folder: Path) -> Iterator[Sample]:
    """Every photo in a channel, as (id, count, bytes), in a fixed order.

    Raises:
        TrainingError: the channel is absent, or a shard is damaged.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no channel folder {folder}; was the channel given to the job?")
    shards = sorted(folder.rglob("*.parquet"))
    return _from_shards(shards) if shards else _from_folders(folder)


def _from_shards(shards: list[Path]) -> Iterator[Sample]:
    for shard in shards:
        try:
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(64, columns=["id", "count", "image"]):
                    for row in batch.to_pylist():
                        yield row["id"], row["count"], row["image"]
        except (OSError, KeyError, ValueError) as error:  # Arrow's own errors are among these
            raise TrainingError(f"the shard {shard.name} cannot be read: {error}") from error


def _from_folders(folder: Path) -> Iterator[Sample]:
    for photo in sorted(folder.glob("*/*.jpg")):
        if not photo.parent.name.isdigit():
            raise TrainingError(f"{photo.parent} is not a count folder: its name should be a number")
        yield photo.stem, int(photo.parent.name), photo.read_bytes()
