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
from training.model import BACKBONES, head
from training.observer import Mode, Observer
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


def train_one_epoch(training: "Training", data: CountDataset, observer: Observer) -> float:
    """Train on every photo once, in a new order; returns the mean loss.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    model, recipe, total = training.model, training.recipe, 0.0
    set_training(model, recipe)
    backbone = BACKBONES[recipe.backbone]
    for batch in torch.randperm(len(data), generator=training.generator).split(recipe.batch_size):
        inputs = augment(normalise(data.pixels[batch], backbone.mean, backbone.std), training.generator)
        loss = training.loss(model(inputs), recipe.outputs.positions(data.counts[batch]))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {loss.item()}: the learning rate {recipe.lr} is too high")
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        training.optimizer.step()
        training.schedule.step()
        observer.step("train", training.steps["train"], loss.item(), len(batch))
        training.steps["train"] += 1
        total += loss.item() * len(batch)
    return total / len(data)


def set_training(model: nn.Module, recipe: Hyperparameters) -> None:
    """Training mode; a frozen backbone keeps its normalisation statistics."""
    model.train(not recipe.frozen)
    head(model, recipe.backbone).train()


def evaluate(training: "Training", data: CountDataset, observer: Observer) -> dict[str, float]:
    """Measure on a split: the counts in range, each given that it is one."""
    model, recipe = training.model.eval(), training.recipe
    backbone, answers = BACKBONES[recipe.backbone], []
    for pixels, counts in zip(data.pixels.split(EVALUATION_BATCH), data.counts.split(EVALUATION_BATCH), strict=True):
        with torch.inference_mode():
            outputs = model(normalise(pixels, backbone.mean, backbone.std))
            loss = training.loss(outputs, recipe.outputs.positions(counts))
            answers.append(recipe.outputs.answers(torch.softmax(outputs.float(), dim=1))[0])
        observer.step("eval", training.steps["eval"], loss.item(), len(counts))
        training.steps["eval"] += 1
    known = recipe.outputs.in_range(data.counts)
    if not known.any():
        raise TrainingError(f"no photo of the validation split has a count among {list(recipe.classes)}")
    return metrics.measure(torch.cat(answers)[known], data.counts[known], recipe.classes)


class Training:
    """A training under way: all that one epoch leaves for the next."""

    def __init__(self, model: nn.Module, recipe: Hyperparameters, photos: int) -> None:
        """Set up the optimizer and its schedule for a number of photos an epoch."""
        steps = recipe.epochs * -(-photos // recipe.batch_size)
        warmup = round(recipe.warmup * steps)
        self.model, self.recipe = model, recipe
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.steps: dict[Mode, int] = {"train": 0, "eval": 0}
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
            "steps": self.steps,
            "best": {"weights": self.best.weights, "values": self.best.values, "epoch": self.best.epoch},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where a checkpoint was made."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.history[:] = state["history"]
        self.steps = dict(state["steps"])
        self.best = Fit(**state["best"], history=self.history)


def fit(
    model: nn.Module,
    train: CountDataset,
    valid: CountDataset,
    recipe: Hyperparameters,
    clock: PhaseClock,
    checkpoints: Path | None = None,
    observer: Observer | None = None,
) -> Fit:
    """Train with a warm-up and a cosine decay; keep the weights of the best validation loss.

    Args:
        model: trained in place.
        train: to learn from.
        valid: to choose the epoch by.
        recipe: how.
        clock: is told what the time goes to.
        checkpoints: folder to resume from and to leave checkpoints in; None keeps none.
        observer: watches; None for nobody.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is of another training.
    """
    training, key = Training(model, recipe, len(train)), checkpoint.key_of(recipe, train.digest, valid.digest)
    if checkpoints and (state := checkpoint.load(checkpoints, key)):
        training.restore(state)
        print(f"Resuming after epoch {training.epoch}", flush=True)
    watched = observer or Observer()
    watched.begin(model, training.loss)
    try:
        while not training.over:
            _one_epoch(training, train, valid, clock, watched)
            if checkpoints:
                checkpoint.save(checkpoints, key, training.state())
    finally:
        watched.end()
    if training.epoch < recipe.epochs:
        print(f"No better validation loss for {recipe.patience} epochs: stopped early", flush=True)
    return training.best


def _one_epoch(
    training: Training, train: CountDataset, valid: CountDataset, clock: PhaseClock, observer: Observer
) -> None:
    epoch = training.epoch + 1
    with clock.phase("train"):
        observer.mode("train", epoch)
        loss = train_one_epoch(training, train, observer)
    with clock.phase("eval"):
        observer.mode("eval", epoch)
        values = evaluate(training, valid, observer)
    training.note(loss, values)
    print(
        f"Epoch {epoch}/{training.recipe.epochs} train loss {loss:.4f}, valid loss {values['loss']:.4f}, "
        f"accuracy {values['accuracy']:.4f}, rmse {values['rmse']:.4f}",
        flush=True,
    )
