"""The training loop: one epoch, one evaluation, and the fit that strings them together."""

import contextlib
import copy
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import checkpoint, metrics
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


class Training:
    """A training under way: all that one epoch leaves for the next."""

    def __init__(self, model: nn.Module, recipe: Hyperparameters, photos: int) -> None:
        """Set up the optimizer and its schedule for a number of photos an epoch."""
        steps = recipe.epochs * -(-photos // recipe.batch_size)
        warmup = round(recipe.warmup * steps)
        self.model, self.recipe = model, recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.optimizer = torch.optim.SGD(
            parameter_groups(model, recipe.weight_decay), lr=recipe.lr, momentum=0.9, nesterov=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, steps, warmup)
        )
        self.history: list[dict[str, float]] = []
        self.best = Fit({}, {"loss": math.inf}, 0, self.history)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    @property
    def over(self) -> bool:
        """Whether the last epoch is done, or there is nothing more to hope for."""
        return self.epoch >= self.recipe.epochs or self.epoch - self.best.epoch >= self.recipe.patience

    def note(self, train_loss: float, values: dict[str, float]) -> None:
        """Take down an epoch, and its weights if they are the best so far.

        Raises:
            TrainingError: the validation loss is no longer a number.
        """
        if not math.isfinite(values["loss"]):
            raise TrainingError(f"the validation loss became {values['loss']}: the learning rate is too high")
        self.history.append({"epoch": self.epoch + 1, "train_loss": train_loss, **values})
        if values["loss"] < self.best.values["loss"]:
            self.best = Fit(copy.deepcopy(self.model.state_dict()), values, self.epoch, self.history)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "history": self.history,
            "best": {"weights": self.best.weights, "values": self.best.values, "epoch": self.best.epoch},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where a checkpoint was made."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.history[:] = state["history"]
        self.best = Fit(**state["best"], history=self.history)


def fit(
    model: nn.Module,
    train: CountDataset,
    valid: CountDataset,
    recipe: Hyperparameters,
    clock: PhaseClock,
    checkpoints: Path | None = None,
) -> Fit:
    """Train with a warm-up and a cosine decay; keep the weights of the best validation loss.

    Args:
        model: trained in place.
        train: to learn from.
        valid: to choose the epoch by.
        recipe: how.
        clock: is told what the time goes to.
        checkpoints: folder to resume from and to leave checkpoints in; None keeps none.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is of another training.
    """
    training, key = Training(model, recipe, len(train)), checkpoint.key_of(recipe, train.digest, valid.digest)
    if checkpoints and (state := checkpoint.load(checkpoints, key)):
        training.restore(state)
        print(f"Resuming after epoch {training.epoch}", flush=True)
    while not training.over:
        with clock.phase("train"):
            loss = train_one_epoch(model, train, recipe, training.optimizer, training.schedule, training.generator)
        with clock.phase("eval"):
            values = metrics.measure(predict(model, valid, recipe.backbone), valid.counts, recipe.classes)
        training.note(loss, values)
        if checkpoints:
            checkpoint.save(checkpoints, key, training.state())
        print(
            f"Epoch {training.epoch}/{recipe.epochs} train loss {loss:.4f}, valid loss {values['loss']:.4f}, "
            f"accuracy {values['accuracy']:.4f}, rmse {values['rmse']:.4f}",
            flush=True,
        )
    if training.epoch < recipe.epochs:
        print(f"No better validation loss for {recipe.patience} epochs: stopped early", flush=True)
    return training.best
