"""What a model might have said to photos, without a network."""

import torch
from torch import nn

from serving import inference
from tasks.data.split_photos import Photo
from tasks.evaluation.looking import Looked
from tasks.evaluation.measure import measure
from tasks.evaluation.results import Answer, Comparison, EvaluatedModel
from tasks.nightly.judge import Policy
from training.model import ModelCard

CLASSES = (1, 2, 3, 4, 5)


def model(extra: tuple[int, ...] = (), temperature: float = 1.0, tilt: float = 0.0) -> inference.Model:
    """A model whose network is never asked."""
    half = (0.5, 0.5, 0.5)
    card = ModelCard("resnet18", CLASSES, 32, half, half, "v1", extra_classes=extra, temperature=temperature, tilt=tilt)
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


def evaluated_model() -> EvaluatedModel:
    """An evaluation of 640 photos, beside a deployed model."""
    counts, inside = noisy(600, sharpness=1.6)
    raw = torch.cat([inside * 0.8, torch.full((600, 2), 0.1)], dim=1)[:, [5, 0, 1, 2, 3, 4, 6]]
    beyond = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.7]]).repeat(40, 1)
    counter = model(extra=(0, 6), temperature=1.5)
    seen = looked([*counts, *([6, 8] * 20)], torch.cat([raw, beyond]))
    found = measure(seen, counter, Policy())
    rival = Comparison(
        deployed="s3://b/m/model.tar.gz", version="261101-020000", accuracy=0.4, rmse=1.2, within_one=0.8, loss=1.4,
        ece=0.05, n=600, accuracy_gain=0.02, accuracy_gain_interval=(-0.01, 0.05),
    )  # fmt: skip
    answers = [
        Answer(photo_id=photo.photo_id, key=photo.key, split="test", count=photo.count, bin_group="g", prediction=said)
        for photo, said in zip(seen.photos, seen.predictions(counter).values(), strict=True)
    ]
    return EvaluatedModel(evaluation=found, comparison=rival, answers=answers)
