"""What a training job is told: hyperparameters as ``--key value``."""

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from training.arguments import Parser, text_of
from training.augmentation import KINDS
from training.channels import Channels
from training.errors import TrainingError
from training.model import BACKBONES
from training.outputs import Outputs
from training.precision import PRECISION_CHOICES
from training.recipes import DEFAULT, PRESETS
from training.schedule import Phase, phases

__all__ = ["Channels", "Hyperparameters", "parse", "preset", "read"]

OPTIMIZERS = ("adamw", "sgd")


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """How to train. The defaults are plain; `preset` has the recipes that were found by experiment.

    Raises:
        TrainingError: ``schedule`` says otherwise than ``image_size`` and ``epochs``.
    """

    lr: float = 0.02
    batch_size: int = 32
    epochs: int = 8
    patience: int = 3
    backbone: str = "efficientnet_lite0"
    image_size: int = 144
    schedule: str = ""
    classes: tuple[int, ...] = (1, 2, 3, 4, 5)
    extra_classes: tuple[int, ...] = ()
    optimizer: str = "sgd"
    weight_decay: float = 0.0005
    head_lr: float = 1.0
    label_smoothing: float = 0.05
    ordinal_sigma: float = 0.0
    augmentation: str = "full"
    strength: float = 1.0
    mixup: float = 0.0
    mixup_until: float = 1.0
    dropout: float = 0.0
    average: float = 0.0
    warmup: float = 0.2
    frozen: bool = False
    test_flip: bool = False
    precision: str = "float32"
    compile: bool = False
    processes: int = 0
    seed: int = 0
    version: str = "unnamed"

    def __post_init__(self) -> None:
        last = self.phases[-1].size
        epochs = sum(phase.epochs for phase in self.phases)
        if (last, epochs) != (self.image_size, self.epochs):
            raise TrainingError(
                f"the schedule {self.schedule} ends at {last} pixels after {epochs} epochs, but image_size is "
                f"{self.image_size} and epochs {self.epochs}: give the schedule alone, or those two without it"
            )

    @property
    def outputs(self) -> Outputs:
        """What the network's outputs stand for."""
        return Outputs(self.classes, self.extra_classes)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Sizes of the photos, and for how many epochs each."""
        return phases(self.schedule) if self.schedule else (Phase(self.image_size, self.epochs),)


HELP = {
    "lr": "highest learning rate of the schedule",
    "batch_size": "photos a step, of all processes together",
    "epochs": "passes over the training split, at most",
    "patience": "stop after so many epochs at the final size without a better validation loss",
    "backbone": f"one of {', '.join(BACKBONES)}",
    "image_size": "side of the square input, pixels",
    "schedule": "sizes of the photos and epochs at each, like 112x8,144x8,192x4; instead of image_size and epochs",
    "classes": "the counts to answer, comma-separated",
    "extra_classes": "counts learned besides, comma-separated, so that none of them is taken for a class; above all "
    "classes, the largest stands for every larger count too; those that no photo has are dropped; in finetune by "
    "default all others up to three above the classes",
    "optimizer": f"one of {', '.join(OPTIMIZERS)}",
    "weight_decay": "of every weight that is not a bias or a normalisation; decoupled with adamw",
    "head_lr": "the last layer's learning rate, as a multiple of lr",
    "label_smoothing": "share of the target spread over all classes",
    "ordinal_sigma": "counts near the true one get some of the target: a normal distribution of this width; 0: none",
    "augmentation": f"one of {', '.join(KINDS)}",
    "strength": "of the full augmentation's changes of shape",
    "mixup": "photos are mixed in pairs, with shares from a beta distribution of this parameter; 0: never",
    "mixup_until": "share of the steps after which photos are mixed no more",
    "dropout": "share of the last layer's inputs left out in training",
    "average": "decay of the moving average of the weights, which is what is measured and saved; 0: no average",
    "warmup": "share of the steps in which the learning rate rises",
    "frozen": "train the last layer only",
    "test_flip": "the model answers with the mean over a photo and its mirror image",
    "precision": f"one of {', '.join(PRECISION_CHOICES)}; auto is bfloat16 on CPUs with AMX and float32 elsewhere; "
    "float16 needs a GPU",
    "compile": "compile the network with torch.compile (experimental: no long training has been done with it)",
    "processes": "on each host; 0: one for each GPU, or one",
    "seed": "of the weights, the order and the augmentation",
    "version": "name that the model will carry",
}


def preset(name: str = DEFAULT, **explicit: Any) -> Hyperparameters:
    """A named recipe, with explicit hyperparameters over it.

    An explicit ``image_size`` or ``epochs`` without a ``schedule`` makes one phase of the recipe's schedule.

    Raises:
        TrainingError: no such recipe, or a hyperparameter makes no sense.
    """
    if name not in PRESETS:
        raise TrainingError(f"no recipe named {name!r}; there are {', '.join(PRESETS)}")
    values = PRESETS[name] | explicit
    if callable(values.get("extra_classes")):
        values["extra_classes"] = values["extra_classes"](values.get("classes", Hyperparameters.classes))
    if explicit.keys() & {"image_size", "epochs"} and not explicit.get("schedule"):
        plan = phases(PRESETS[name]["schedule"])
        whole = {"image_size": plan[-1].size, "epochs": sum(phase.epochs for phase in plan)}
        values = values | whole | explicit | {"schedule": ""}
    elif values["schedule"]:
        plan = phases(values["schedule"])
        values = {"image_size": plan[-1].size, "epochs": sum(phase.epochs for phase in plan)} | values
    return _checked(Hyperparameters(**values))


def parse(arguments: list[str] | None = None) -> Hyperparameters:
    """Parse ``--key value`` pairs over a preset; SageMaker hands every value over as a string.

    Raises:
        TrainingError: a value makes no sense.
    """
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--recipe", default=DEFAULT, help=f"what the others' defaults are: {', '.join(PRESETS)}")
    for field in dataclasses.fields(Hyperparameters):
        names = {f"--{field.name}", f"--{field.name.replace('_', '-')}"}
        parser.add_argument(*sorted(names), help=HELP[field.name])
    given = vars(parser.parse_args(arguments))
    return preset(text_of(given.pop("recipe")), **read(given))


def read(given: Mapping[str, str]) -> dict[str, Any]:
    """Some hyperparameters, by name, as the types that they should be.

    Raises:
        TrainingError: there is no such hyperparameter, or its value cannot be read.
    """
    known = {field.name: field.default for field in dataclasses.fields(Hyperparameters)}
    values = {}
    for name, text in given.items():
        if name not in known:
            raise TrainingError(f"there is no hyperparameter {name!r}; there are {', '.join(known)}")
        reader, kind = _READERS[type(known[name])]
        try:
            values[name] = reader(text_of(text))
        except ValueError as error:
            raise TrainingError(f"hyperparameter {name} = {text!r} cannot be read as {kind}: {HELP[name]}") from error
    return values


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _whole(text: str) -> int:
    """A whole number, also as ``64.0``: JSON's numbers have no kinds."""
    return int(text.removesuffix(".0"))


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",") if part))


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_boolean, "true or false"),
    int: (_whole, "a whole number"),
    float: (float, "a number"),
    tuple: (_counts, "whole numbers, comma-separated"),
    str: (str, "text"),
}
"""How a hyperparameter of each type is read, and what it should be in words."""


def _checked(given: Hyperparameters) -> Hyperparameters:
    wrong = {
        "lr": given.lr > 0,
        "batch_size": given.batch_size >= 1,
        "epochs": given.epochs >= 1,
        "patience": given.patience >= 1,
        "image_size": given.image_size >= 32,
        "classes": len(set(given.classes)) == len(given.classes) >= 2 and min(given.classes) >= 0,
        "extra_classes": not set(given.extra_classes) & set(given.classes) and min(given.extra_classes, default=0) >= 0,
        "optimizer": given.optimizer in OPTIMIZERS,
        "weight_decay": given.weight_decay >= 0,
        "head_lr": given.head_lr > 0,
        "label_smoothing": 0 <= given.label_smoothing < 1,
        "ordinal_sigma": given.ordinal_sigma >= 0,
        "augmentation": given.augmentation in KINDS,
        "strength": given.strength >= 0,
        "mixup": given.mixup >= 0,
        "mixup_until": 0 <= given.mixup_until <= 1,
        "dropout": 0 <= given.dropout < 1,
        "average": 0 <= given.average < 1,
        "warmup": 0 <= given.warmup < 1,
        "precision": given.precision in PRECISION_CHOICES,
        "processes": given.processes >= 0,
        "backbone": given.backbone in BACKBONES,
        "seed": given.seed >= 0,
    }
    for name, good in wrong.items():
        value = getattr(given, name)
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            raise TrainingError(f"hyperparameter {name} = {value!r} makes no sense: {HELP[name]}")
    return given
