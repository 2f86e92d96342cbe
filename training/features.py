"""A frozen backbone's features: its penultimate activations, computed once and stored.

As long as nothing before the last layer changes, running the backbone again in every epoch of every trial
computes the same numbers again. With them stored, a last layer is trained in seconds.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from training import model
from training.channels import Channels
from training.data import CountDataset
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters
from training.outputs import Outputs
from training.preprocessing import normalise

FILE = "features.pt"
EVERY_COUNT = Outputs((0,), (1,))
BATCH = 64


class FeatureDataset:
    """Stored features of one split, in place of its photos.

    Attributes:
        size: side of the photos that they were computed from, pixels.
        counts: int64, shape (N,).
        ids: of the photos.
        unreadable: reason by id, of the photos that were left out.
        out_of_range: how many photos had a count that the network has no output for.
        digest: fingerprint of photos, backbone, weights and size.
    """

    def __init__(self, file: Path, split: str, recipe: Hyperparameters) -> None:
        """Read what `compute` stored.

        Raises:
            TrainingError: it cannot be read, or the recipe needs the photos themselves.
        """
        try:
            stored = torch.load(file, map_location="cpu", weights_only=True)
            made_with, part = stored["made_with"], stored[split]
            values, counts, ids = part["values"], part["counts"], part["ids"]
        except model.UNREADABLE as error:
            raise TrainingError(f"the features in {file} cannot be read: {error}") from error
        _check(recipe, made_with)
        kept = torch.tensor([recipe.outputs.covers(int(count)) for count in counts])
        if not kept.any():
            raise TrainingError(f"{file} holds no photo of {split} with a count among {list(recipe.outputs.counts)}")
        self._values, self.counts = values[kept], counts[kept]
        self.ids = [photo for photo, keep in zip(ids, kept.tolist(), strict=True) if keep]
        self.size = int(made_with["image_size"])
        self.unreadable: dict[str, str] = part["unreadable"]
        self.out_of_range = int((~kept).sum())
        self.digest = hashlib.sha256(f"{part['digest']} {sorted(made_with.items())}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def resize(self, size: int) -> None:
        """Features have the size that they were computed at."""
        if size != self.size:
            raise TrainingError(f"the features were computed at {self.size} pixels, not {size}")

    def inputs(
        self, positions: Tensor, recipe: Hyperparameters, device: torch.device, draws: Tensor | None = None
    ) -> Tensor:
        """The last layer's inputs, shape (N, features); in training those of the mirror image in half of the cases."""
        side = torch.zeros(len(positions), dtype=torch.long)
        if draws is not None and recipe.augmentation == "flip":
            side = (draws[:, 0] < 0.5).long()
        chosen: Tensor = self._values[positions, side]
        return chosen.to(device)


def can_stand_for_photos(recipe: Hyperparameters) -> bool:
    """Whether training on stored features gives what training on photos would."""
    as_they_are = recipe.augmentation != "full" and not recipe.mixup and not recipe.test_flip
    return recipe.frozen and as_they_are and len(recipe.phases) == 1


def _check(recipe: Hyperparameters, made_with: dict[str, str | int]) -> None:
    if not can_stand_for_photos(recipe):
        raise TrainingError(
            "stored features stand for a frozen backbone, photos as they are and mirrored: the recipe must be frozen, "
            "of one phase, with augmentation none or flip, and without mixup and test_flip"
        )
    wanted = {"backbone": recipe.backbone, "image_size": recipe.image_size}
    for name, value in wanted.items():
        if made_with[name] != value:
            raise TrainingError(f"the features were computed with {name} {made_with[name]}, not {value}")


class _Recorder(nn.Module):
    """Stands where the last layer was and lets its input through."""

    def forward(self, activations: Tensor) -> Tensor:
        return activations


def compute(recipe: Hyperparameters, channels: Channels) -> Path:
    """Run the backbone over both splits, each photo as it is and mirrored; returns the file.

    Raises:
        TrainingError: a channel is absent or damaged, there are no pretrained weights, or the file could not be left.
        ModelError: the pretrained weights do not fit the backbone.
    """
    channels.check_writable()
    network = model.net(recipe.backbone, 2, channels.pretrained(needed=True)).eval()
    setattr(network, model.BACKBONES[recipe.backbone].head, _Recorder())
    stored: dict[str, object] = {"made_with": {"backbone": recipe.backbone, "image_size": recipe.image_size}}
    for split, folder in (("train", channels.train), ("valid", channels.valid)):
        data = CountDataset(folder, recipe.image_size, EVERY_COUNT)
        stored[split] = {
            "values": _features(network, data, recipe),
            "counts": data.counts,
            "ids": data.ids,
            "unreadable": data.unreadable,
            "digest": data.digest,
        }
        print(f"Features of {len(data)} photos in {split}", flush=True)
    torch.save(stored, channels.model / FILE)
    return channels.model / FILE


@torch.inference_mode()
def _features(network: nn.Module, data: CountDataset, recipe: Hyperparameters) -> Tensor:
    """Shape (N, 2, features): of each photo, and of its mirror image."""
    backbone, parts = model.BACKBONES[recipe.backbone], []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device)
    for pixels in data.pixels.split(BATCH):
        photos = normalise(pixels.to(device), backbone.mean, backbone.std)
        mirrored = photos.flip(3).contiguous(memory_format=torch.channels_last)
        parts.append(torch.stack((network(photos), network(mirrored)), dim=1).cpu())
    return torch.cat(parts)
