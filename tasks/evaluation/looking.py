"""A model looks at the photos of a split, through the handlers that will serve it."""

import io
import tarfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from serving import inference
from serving.batching import LARGEST
from serving.prediction import Prediction
from tasks.data.prepared_data import PreparedData, SplitName
from tasks.data.split_photos import Photo, fetch_photos, list_photos
from training.errors import ModelError, PhotoError
from training.outputs import Outputs

BATCH = 64
AGREEMENT, GAIN = 0.995, 0.85
_LARGEST_TRIAL, _RACED = 1024, 128


@dataclass(frozen=True)
class Looked:
    """What a model said to each photo, before calibration.

    Attributes:
        photos: those that could be read.
        groups: the bin of each.
        raw: probability of every output, shape (N, outputs).
        unreadable: why a photo could not be read, by id.
    """

    photos: list[Photo]
    groups: list[str]
    raw: Tensor
    unreadable: dict[str, str]

    @property
    def counts(self) -> Tensor:
        """The true counts, shape (N,)."""
        return torch.tensor([photo.count for photo in self.photos], dtype=torch.long)

    def where(self, chosen: Tensor) -> "Looked":
        """Those photos only; ``chosen`` is a boolean for each."""
        kept = chosen.nonzero()[:, 0].tolist()
        return replace(
            self,
            photos=[self.photos[place] for place in kept],
            groups=[self.groups[place] for place in kept],
            raw=self.raw[chosen],
        )

    def of(self, ids: Collection[str]) -> "Looked":
        """The photos with these ids only."""
        return self.where(torch.tensor([photo.photo_id in ids for photo in self.photos], dtype=torch.bool))

    def in_range(self, outputs: Outputs) -> "Looked":
        """Photos whose true count is one that is answered."""
        return self.where(outputs.in_range(self.counts))

    def predictions(self, model: inference.Model) -> dict[str, Prediction]:
        """Calibrated answers by photo id, as the endpoint gives them."""
        ids = [photo.photo_id for photo in self.photos]
        return dict(zip(ids, model.answers(self.raw), strict=True)) if ids else {}


def look(model: inference.Model, data: PreparedData, split: SplitName) -> Looked:
    """Run the network over a split.

    Raises:
        DataError: the split is empty.
    """
    seen: list[Photo] = []
    raw: list[Tensor] = []
    unreadable: dict[str, str] = {}
    for photos, pixels, bad in _batches(model, data, list_photos(data, split)):
        unreadable |= bad
        if photos:
            seen += photos
            raw.append(_probabilities(model, pixels))
    groups = _bin_groups(data, [photo.photo_id for photo in seen])
    return Looked(seen, groups, torch.cat(raw) if raw else torch.empty(0, len(model.card.outputs.counts)), unreadable)


def choose_precision(model: inference.Model, data: PreparedData) -> tuple[str, float]:
    """Whether bfloat16 is faster here and gives the same counts; measured on up to 1,024 validation photos.

    The race is over the first 128 of them, as serving computes: in its batches, on one thread.

    Returns:
        the precision, and the share of photos to which bfloat16 gives float32's count.
    """
    seconds = {"float32": 0.0, "bfloat16": 0.0}
    same = total = 0
    for photos, pixels, _ in _batches(model, data, list_photos(data, "valid")[:_LARGEST_TRIAL]):
        if not photos:
            continue
        answers = {}
        for precision in seconds:
            if total < _RACED:
                seconds[precision] += _seconds_as_served(model, pixels, precision)
            raw = _probabilities(model, pixels, precision)
            answers[precision] = model.card.outputs.answers(raw)[0].argmax(dim=1)
        same += int((answers["float32"] == answers["bfloat16"]).sum())
        total += len(photos)
    agreement = same / max(1, total)
    faster = seconds["bfloat16"] < GAIN * seconds["float32"]
    return "bfloat16" if faster and agreement >= AGREEMENT else "float32", agreement


def _seconds_as_served(model: inference.Model, pixels: Tensor, precision: str) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model.probabilities(pixels[:LARGEST], precision)  # what is made ready once is not part of the race
        began = time.perf_counter()
        for batch in pixels.split(LARGEST):
            model.probabilities(batch, precision)
        return time.perf_counter() - began
    finally:
        torch.set_num_threads(threads)


def load_archive(content: bytes, folder: Path) -> inference.Model:
    """Unpack a ``model.tar.gz`` into ``folder`` and load it.

    Raises:
        ModelError: it is no such archive, or does not hold a model of ours.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelError(f"the model archive cannot be unpacked: {error}") from error
    return inference.model_fn(str(folder))


def _probabilities(model: inference.Model, pixels: Tensor, precision: str | None = None) -> Tensor:
    """What the network says, in serving's batches: larger ones take longer, as their memory is cleared anew."""
    return torch.cat([model.probabilities(part, precision) for part in pixels.split(LARGEST)])


def _batches(
    model: inference.Model, data: PreparedData, photos: list[Photo]
) -> Iterator[tuple[list[Photo], Tensor, dict[str, str]]]:
    """Photos that can be read with their pixels, and why others cannot."""
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        readable, pixels, bad = [], [], {}
        for photo, content in zip(batch, fetch_photos(data, batch), strict=True):
            try:
                pixels.append(model.pixels(content))
                readable.append(photo)
            except PhotoError as error:
                bad[photo.photo_id] = str(error)
        yield readable, torch.stack(pixels) if pixels else torch.empty(0), bad


def _bin_groups(data: PreparedData, ids: list[str]) -> list[str]:
    """The bin of each photo, as the catalog has it."""
    table = pq.read_table(data.catalog, columns=["id", "bin_group"])
    known = dict(zip(table["id"].to_pylist(), table["bin_group"].to_pylist(), strict=True))
    return [str(known.get(photo_id) or photo_id) for photo_id in ids]
