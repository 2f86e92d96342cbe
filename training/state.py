"""A training under way: all that one step leaves for the next, and so all that a checkpoint holds."""

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from training.averaging import WeightAverage
from training.distributed import World
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters
from training.model import head
from training.observer import Mode
from training.precision import Precision
from training.schedule import learning_rate_factor, size_at


@dataclasses.dataclass
class Fit:
    """What a training came to: the best weights, and what they measure on the validation split."""

    weights: dict[str, Tensor]
    values: dict[str, float]
    epoch: int
    history: list[dict[str, float]]


@dataclasses.dataclass
class Epoch:
    """An epoch under way.

    Attributes:
        order: of the photos, those that fill no last batch left out.
        done: how many photos of it are.
        loss: sum over them.
    """

    order: Tensor
    done: int = 0
    loss: float = 0.0


def parameter_groups(model: nn.Module, recipe: Hyperparameters) -> list[dict[str, Any]]:
    """Trainable parameters: weight decay for matrices and kernels only, the last layer with its own learning rate."""
    last = {id(parameter) for parameter in head(model, recipe.backbone).parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((parameter.ndim > 1, id(parameter) in last), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": recipe.weight_decay if matrix else 0.0,
            "lr": recipe.lr * (recipe.head_lr if in_head else 1.0),
        }
        for (matrix, in_head), parameters in groups.items()
    ]


def optimizer_of(model: nn.Module, recipe: Hyperparameters) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.lr)


class Training:
    """A training under way."""

    def __init__(self, model: nn.Module, recipe: Hyperparameters, photos: int, world: World) -> None:
        """Set up the optimizer and its schedule for a number of photos an epoch."""
        self.model, self.recipe, self.world = model, recipe, world
        self.batch = min(recipe.batch_size, photos)
        self.total_steps = recipe.epochs * (photos // self.batch)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.precision = Precision(recipe.precision, world.device)
        self.average = WeightAverage(model, recipe.average) if recipe.average else None
        self.forward = torch.compile(world.wrapped(model)) if recipe.compile else world.wrapped(model)
        self.steps: dict[Mode, int] = {"train": 0, "eval": 0}
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.optimizer = optimizer_of(model, recipe)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, self.total_steps, recipe.warmup * self.total_steps)
        )
        self.under_way: Epoch | None = None
        self.history: list[dict[str, float]] = []
        self.best = Fit({}, {"loss": math.inf}, 0, self.history)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    @property
    def size(self) -> int:
        """Side of the photos in the epoch that comes, or is under way."""
        return size_at(self.recipe.phases, self.epoch)

    @property
    def over(self) -> bool:
        """Whether the last epoch is done, or there is nothing more to hope for."""
        counted_from = max(self.best.epoch, self._before_final_size)
        return self.epoch >= self.recipe.epochs or self.epoch - counted_from >= self.recipe.patience

    @property
    def _before_final_size(self) -> int:
        return self.recipe.epochs - self.recipe.phases[-1].epochs

    @property
    def measured(self) -> nn.Module:
        """The network that is measured and saved: the average, where there is one."""
        return self.average.model if self.average else self.model

    def begin_epoch(self, photos: int) -> Epoch:
        """The epoch that a checkpoint was made in, or a new one; every batch is full."""
        if self.under_way is None:
            order = torch.randperm(photos, generator=self.generator)
            self.under_way = Epoch(order[: photos // self.batch * self.batch])
        return self.under_way

    def end_epoch(self, values: dict[str, float]) -> None:
        """Take down the epoch under way, and its weights if they are the best so far at the final size.

        Raises:
            TrainingError: the validation loss is no longer a number.
        """
        assert self.under_way is not None  # noqa: S101
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the validation loss became {values['loss']} in epoch {self.epoch + 1}: the learning rate "
                f"{self.recipe.lr} is too high"
            )
        train_loss = self.under_way.loss / len(self.under_way.order)
        self.history.append({"epoch": self.epoch + 1, "size": self.size, "train_loss": train_loss, **values})
        self.under_way = None
        if self.epoch > self._before_final_size and values["loss"] < self.best.values["loss"]:
            self.best = Fit(copy.deepcopy(self.measured.state_dict()), values, self.epoch, self.history)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else {},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "precision": self.precision.state(),
            "generator": self.generator.get_state(),
            "history": self.history,
            "steps": self.steps,
            "under_way": vars(self.under_way) if self.under_way else None,
            "best": {"weights": self.best.weights, "values": self.best.values, "epoch": self.best.epoch},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where a checkpoint was made."""
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision.restore(state["precision"])
        self.generator.set_state(state["generator"])
        self.history[:] = state["history"]
        self.steps = dict(state["steps"])
        self.under_way = Epoch(**state["under_way"]) if state["under_way"] else None
        self.best = Fit(**state["best"], history=self.history)
