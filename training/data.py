"""Photos and counts for training: packed shards, or plain count folders, behind one dataset."""

import hashlib
import itertools
import mmap
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.augmentation import augment
from training.errors import PhotoError, TrainingError
from training.hyperparameters import Hyperparameters
from training.model import BACKBONES
from training.outputs import Outputs
from training.picture import SUFFIXES
from training.preprocessing import normalise, to_pixels

Sample = tuple[str, int, bytes]

CHUNK = 256
"""Photos that are decoded at a time; their encoded bytes are in memory meanwhile."""


class Split(Protocol):
    """What the loop needs of one split: photos here, stored features in `training.features`."""

    counts: Tensor
    ids: list[str]
    unreadable: dict[str, str]
    out_of_range: int
    digest: str

    def __len__(self) -> int: ...

    def resize(self, size: int) -> None:
        """Be ready for photos of this size."""

    def inputs(
        self, positions: Tensor, recipe: Hyperparameters, device: torch.device, draws: Tensor | None = None
    ) -> Tensor:
        """What the network is given for the photos at these positions; augmented by ``draws``, if given."""


class CountDataset(Dataset[tuple[Tensor, int]]):
    """Decoded photos of one split at one size, as uint8: decoding is paid once a size, not every epoch.

    Each process of a host holds all of them. Where together they would take more than half of the memory that is free,
    they lie in files that are mapped into memory.

    Attributes:
        size: side of the photos, pixels.
        pixels: uint8, shape (N, 3, size, size).
        counts: int64, shape (N,).
        ids: of the photos, in the same order.
        unreadable: reason by id, of the photos that were left out.
        out_of_range: how many photos had a count that the network has no output for.
        digest: fingerprint of ids, counts and photos.
    """

    def __init__(self, folder: Path, size: int, outputs: Outputs) -> None:
        """Read a channel.

        Raises:
            TrainingError: it is absent, damaged, or holds no photo to learn from.
        """
        self._folder = folder
        self.ids: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.out_of_range = 0
        self._digest = hashlib.sha256()
        counts: list[int] = []
        most = _photos_in(folder)
        if not most:
            raise TrainingError(
                f"{folder} holds no photo: it takes shards (.parquet), or photos ({', '.join(SUFFIXES)}) in folders "
                "that are named by their count"
            )
        pixels = _room(most, size)
        for photo, count, decoded in self._decoded(size, outputs):
            if isinstance(decoded, PhotoError):
                self.unreadable[photo] = str(decoded)
                continue
            pixels[len(counts)] = decoded
            counts.append(count)
            self.ids.append(photo)
        if not counts:
            raise TrainingError(f"{folder} holds no readable photo with a count among {list(outputs.counts)}")
        self.size, self.pixels, self.counts = size, pixels[: len(counts)], torch.tensor(counts)
        self.digest = self._digest.hexdigest()

    def _decoded(self, size: int, outputs: Outputs) -> Iterator[tuple[str, int, Tensor | PhotoError]]:
        def covered() -> Iterator[Sample]:
            for photo, count, data in samples(self._folder):
                self._digest.update(f"{photo} {count} {len(data)}\n".encode())
                self._digest.update(data)
                if outputs.covers(count):
                    yield photo, count, data
                else:
                    self.out_of_range += 1

        for chunk, decoded in _decode_all(covered(), size):
            yield from ((photo, count, result) for (photo, count, _), result in zip(chunk, decoded, strict=True))

    def resize(self, size: int) -> None:
        """Decode the same photos at another size; those of the old size are let go first.

        Raises:
            TrainingError: the channel is no longer what it was.
        """
        if size == self.size:
            return
        self.pixels = torch.empty(0, dtype=torch.uint8)
        wanted, position = set(self.ids), 0
        pixels = _room(len(self.ids), size)
        kept = (sample for sample in samples(self._folder) if sample[0] in wanted)
        for chunk, decoded in _decode_all(kept, size):
            for (photo, _, _), result in zip(chunk, decoded, strict=True):
                if isinstance(result, PhotoError) or position >= len(self.ids) or self.ids[position] != photo:
                    raise TrainingError(f"{self._folder} has changed since the training began: photo {photo}")
                pixels[position] = result
                position += 1
        if position != len(self.ids):
            raise TrainingError(f"{self._folder} has changed since the training began: it has fewer photos")
        self.size, self.pixels = size, pixels

    def inputs(
        self, positions: Tensor, recipe: Hyperparameters, device: torch.device, draws: Tensor | None = None
    ) -> Tensor:
        """Normalised photos at these positions, float32 (N, 3, size, size); augmented by ``draws``, if given."""
        backbone = BACKBONES[recipe.backbone]
        photos = normalise(self.pixels[positions].to(device), backbone.mean, backbone.std)
        return photos if draws is None else augment(photos, draws, recipe.augmentation, recipe.strength)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index], int(self.counts[index])


def _decode_all(photos: Iterator[Sample], size: int) -> Iterator[tuple[list[Sample], list[Tensor | PhotoError]]]:
    def decode(sample: Sample) -> Tensor | PhotoError:
        try:
            return to_pixels(sample[2], size)
        except PhotoError as error:
            return error

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # Pillow decodes outside the interpreter's lock
        while chunk := list(itertools.islice(photos, CHUNK)):
            yield chunk, list(pool.map(decode, chunk))


def _room(photos: int, size: int) -> Tensor:
    """An uninitialised tensor for so many photos: in memory, or else in an unnamed file."""
    shape = (photos, 3, size, size)
    needed = photos * 3 * size * size
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= free // (2 * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):  # the others on this host need as much
        # Not the allocator's: it may keep what it has, and at the next size these go back to the system.
        return torch.frombuffer(mmap.mmap(-1, needed), dtype=torch.uint8).view(shape)
    with tempfile.NamedTemporaryFile(prefix="photos-") as file:  # its name goes at once, its content with the tensor
        return torch.from_file(file.name, shared=True, size=needed, dtype=torch.uint8).view(shape)


def samples(folder: Path) -> Iterator[Sample]:
    """Every photo in a channel, as (id, count, bytes), in a fixed order.

    Raises:
        TrainingError: the channel is absent, or a shard is damaged.
    """
    shards = _shards_in(folder)
    return _from_shards(shards) if shards else _from_folders(folder)


def _shards_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TrainingError(f"there is no channel folder {folder}; was the channel given to the job?")
    return sorted(folder.rglob("*.parquet"))


def _photos_in(folder: Path) -> int:
    """How many photos there are at most."""
    if not (shards := _shards_in(folder)):
        return len(_photo_files(folder))
    return sum(_rows(shard) for shard in shards)


def _rows(shard: Path) -> int:
    try:
        return int(pq.read_metadata(shard).num_rows)
    except (OSError, ValueError) as error:
        raise TrainingError(f"the shard {shard.name} cannot be read: {error}") from error


def _from_shards(shards: list[Path]) -> Iterator[Sample]:
    for shard in shards:
        try:
            with pq.ParquetFile(shard, page_checksum_verification=True) as file:
                for batch in file.iter_batches(64, columns=["id", "count", "image"]):
                    for row in batch.to_pylist():
                        if None in row.values():
                            raise TrainingError(f"the shard {shard.name} has a row without an id, a count or a photo")
                        yield row["id"], row["count"], row["image"]
        except (OSError, KeyError, ValueError) as error:  # Arrow's own errors are among these
            raise TrainingError(f"the shard {shard.name} cannot be read: {error}") from error


def _from_folders(folder: Path) -> Iterator[Sample]:
    for photo in _photo_files(folder):
        if not photo.parent.name.isdigit():
            raise TrainingError(f"{photo.parent} is not a count folder: its name should be a number")
        # The folder is part of the id: 1/000.jpg and 2/000.jpg are two photos.
        yield f"{photo.parent.name}/{photo.name}", int(photo.parent.name), photo.read_bytes()


def _photo_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
