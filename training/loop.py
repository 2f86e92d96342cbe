"""The training loop: one epoch, one evaluation, and the fit that strings them together."""

import contextlib
import copy
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training import metrics
from training.augmentation import augment
from training.data import CountDataset
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters
from training.model import BACKBONES, head, probabilities
from training.preprocessing import normalise

EVALUATION_BATCH = 64
CLIP_NORM = 5.0


class PhaseClock:
    """Adds up the seconds spent in each phase; what nobody claims is ``other``."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block as ``name``."""
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start  # type: ignore[assignment]

    def seconds(self) -> dict[str, float]:
        """Seconds by phase since the clock was made."""
        other = time.perf_counter() - self._start - sum(self._seconds.values())
        return {**dict.fromkeys(("train", "eval", "data"), 0.0), **self._seconds, "other": other}


@dataclasses.dataclass
class Fit:
    """What a training came to: the best weights, and what they measure on the validation split."""

    weights: dict[str, Tensor]
    values: dict[str, float]
    epoch: int
    history: list[dict[str, float]]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters, with weight decay for matrices and kernels only."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Share of the highest learning rate at a step: linear up over ``warmup`` steps, then a half cosine down."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train_one_epoch(
    model: nn.Module,
    data: CountDataset,
    recipe: Hyperparameters,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> float:
    """Train on every photo once, in a new order; returns the mean loss.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    set_training(model, recipe)
    classes, total = torch.tensor(recipe.classes), 0.0
    backbone = BACKBONES[recipe.backbone]
    for batch in torch.randperm(len(data), generator=generator).split(recipe.batch_size):
        inputs = augment(normalise(data.pixels[batch], backbone.mean, backbone.std), generator)
        targets = torch.searchsorted(classes, data.counts[batch])
        loss = nn.functional.cross_entropy(model(inputs), targets, label_smoothing=recipe.label_smoothing)
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {loss.item()}: the learning rate {recipe.lr} is too high")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        total += loss.item() * len(batch)
    return total / len(data)


def set_training(model: nn.Module, recipe: Hyperparameters) -> None:
    """Training mode; a frozen backbone keeps its normalisation statistics."""
    model.train(not recipe.frozen)
    head(model, recipe.backbone).train()


def predict(model: nn.Module, data: CountDataset, backbone: str) -> Tensor:
    """Probability of each class for every photo, shape (N, classes)."""
    model.eval()
    values = BACKBONES[backbone]
    return torch.cat(
        [
            probabilities(model, normalise(pixels, values.mean, values.std))
            for pixels in data.pixels.split(EVALUATION_BATCH)
        ]
    )


def fit(model: nn.Module, train: CountDataset, valid: CountDataset, recipe: Hyperparameters, clock: PhaseClock) -> Fit:
    """Train with a warm-up and a cosine decay; keep the weights of the best validation loss.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = recipe.epochs * -(-len(train) // recipe.batch_size)
    optimizer = torch.optim.SGD(parameter_groups(model, recipe.weight_decay), lr=recipe.lr, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, steps, round(recipe.warmup * steps))
    )
    history: list[dict[str, float]] = []
    best = Fit({}, {"loss": math.inf}, 0, history)
    for epoch in range(1, recipe.epochs + 1):
        with clock.phase("train"):
            loss = train_one_epoch(model, train, recipe, optimizer, schedule, generator)
        with clock.phase("eval"):
            values = metrics.measure(predict(model, valid, recipe.backbone), valid.counts, recipe.classes)
        if not math.isfinite(values["loss"]):
            raise TrainingError(f"the validation loss became {values['loss']}: the learning rate is too high")
        history.append({"epoch": epoch, "train_loss": loss, **values})
        print(
            f"Epoch {epoch}/{recipe.epochs} train loss {loss:.4f}, valid loss {values['loss']:.4f}, "
            f"accuracy {values['accuracy']:.4f}, rmse {values['rmse']:.4f}",
            flush=True,
        )
        if values["loss"] < best.values["loss"]:
            best = Fit(copy.deepcopy(model.state_dict()), values, epoch, history)
        elif epoch - best.epoch >= recipe.patience:
            print(f"No better validation loss for {recipe.patience} epochs: stopping early", flush=True)
            break
    return best
