"""What a model might have said to photos, without a network."""

import torch
from torch import nn

from serving import inference
from tasks.data.split_photos import Photo
from tasks.evaluation.looking import Looked
from training.model import ModelCard

CLASSES = (1, 2, 3, 4, 5)


def model(extra: tuple[int, ...] = (), temperature: float = 1.0) -> inference.Model:
    """A model whose network is never asked."""
    half = (0.5, 0.5, 0.5)
    card = ModelCard("resnet18", CLASSES, 32, half, half, "v1", extra_classes=extra, temperature=temperature)
    return inference.Model(nn.Identity(), card)


def looked(counts: list[int], raw: torch.Tensor, groups: list[str] | None = None) -> Looked:
    photos = [
        Photo(photo_id=f"{place:05}", count=count, key=f"test/{count}/{place:05}.jpg")
        for place, count in enumerate(counts)
    ]
    return Looked(photos, groups or [photo.photo_id for photo in photos], raw, {})


def noisy(size: int = 2000, sharpness: float = 1.0, seed: int = 0) -> tuple[list[int], torch.Tensor]:
    """Counts drawn from probabilities that are right; ``sharpness`` then makes the model surer than it may be."""
    random = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(size, len(CLASSES), generator=random)
    places = torch.multinomial(logits.softmax(dim=1), 1, generator=random)[:, 0]
    return (places + 1).tolist(), (sharpness * logits).softmax(dim=1)
