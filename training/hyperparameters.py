"""What a training job is told: hyperparameters as ``--key value``, and SageMaker's ``SM_*`` variables."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from training.errors import TrainingError
from training.model import BACKBONES
from training.outputs import Outputs


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The recipe of one training."""

    lr: float = 0.02
    batch_size: int = 32
    epochs: int = 8
    patience: int = 3
    backbone: str = "efficientnet_lite0"
    image_size: int = 144
    classes: tuple[int, ...] = (1, 2, 3, 4, 5)
    extra_classes: tuple[int, ...] = ()
    weight_decay: float = 0.0005
    label_smoothing: float = 0.05
    warmup: float = 0.2
    frozen: bool = False
    seed: int = 0
    version: str = "unnamed"

    @property
    def outputs(self) -> Outputs:
        """What the network's outputs stand for."""
        return Outputs(self.classes, self.extra_classes)


HELP = {
    "lr": "highest learning rate of the schedule",
    "batch_size": "photos a step",
    "epochs": "passes over the training split, at most",
    "patience": "stop after so many epochs without a better validation loss",
    "backbone": f"one of {', '.join(BACKBONES)}",
    "image_size": "side of the square input, pixels",
    "classes": "the counts to answer, comma-separated",
    "extra_classes": "counts learned besides, comma-separated, so that none of them is taken for a class; above all "
    "classes, the largest stands for every larger count too",
    "weight_decay": "of every weight that is not a bias or a normalisation",
    "label_smoothing": "share of the target spread over all classes",
    "warmup": "share of the steps in which the learning rate rises",
    "frozen": "train the last layer only",
    "seed": "of the weights, the order and the augmentation",
    "version": "name that the model will carry",
}


@dataclasses.dataclass(frozen=True)
class Channels:
    """Where the container has what the job was given, and where it wants results.

    Source of the names: SageMaker Training Toolkit, ENVIRONMENT_VARIABLES.md.
    """

    train: Path
    valid: Path
    weights: Path | None
    model: Path
    output: Path
    checkpoints: Path | None = None

    @classmethod
    def from_environment(cls) -> "Channels":
        """Read the ``SM_*`` variables.

        Raises:
            TrainingError: one that is needed is absent.
        """

        def needed(name: str) -> Path:
            if name not in os.environ:
                raise TrainingError(
                    f"{name} is not set: SageMaker sets it inside a job. By hand, set SM_CHANNEL_TRAIN and "
                    "SM_CHANNEL_VALID to folders of photos, and SM_MODEL_DIR and SM_OUTPUT_DATA_DIR."
                )
            return Path(os.environ[name])

        weights = os.environ.get("SM_CHANNEL_WEIGHTS")
        # AWS has a fixed path for checkpoints and no variable; the folder is there when the job syncs it.
        checkpoints = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))
        return cls(
            train=needed("SM_CHANNEL_TRAIN"),
            valid=needed("SM_CHANNEL_VALID"),
            weights=Path(weights) if weights else None,
            model=needed("SM_MODEL_DIR"),
            output=needed("SM_OUTPUT_DATA_DIR"),
            checkpoints=checkpoints if checkpoints.is_dir() else None,
        )

    def pretrained(self) -> Path | None:
        """The file in the weights channel, if there is such a channel."""
        files = sorted(self.weights.glob("*.pth")) if self.weights else []
        return files[0] if files else None


def parse(arguments: list[str] | None = None) -> Hyperparameters:
    """Parse ``--key value`` pairs; SageMaker hands every value over as a string."""
    parser = argparse.ArgumentParser(description=Hyperparameters.__doc__)
    for field in dataclasses.fields(Hyperparameters):
        names = {f"--{field.name}", f"--{field.name.replace('_', '-')}"}
        parser.add_argument(*sorted(names), type=_reader(field.default), default=field.default, help=HELP[field.name])
    return _checked(Hyperparameters(**vars(parser.parse_args(arguments))))


def _reader(default: Any) -> Any:
    if isinstance(default, bool):
        return lambda text: {"true": True, "false": False}[text.lower()]
    if isinstance(default, tuple):
        return lambda text: tuple(sorted(int(part) for part in text.split(",") if part))
    return type(default)


def _checked(given: Hyperparameters) -> Hyperparameters:
    wrong = {
        "lr": given.lr > 0,
        "batch_size": given.batch_size >= 1,
        "epochs": given.epochs >= 1,
        "patience": given.patience >= 1,
        "image_size": given.image_size >= 32,
        "classes": len(set(given.classes)) == len(given.classes) >= 2,
        "extra_classes": not set(given.extra_classes) & set(given.classes),
        "warmup": 0 <= given.warmup < 1,
        "backbone": given.backbone in BACKBONES,
    }
    for name, good in wrong.items():
        if not good:
            raise TrainingError(f"hyperparameter {name} = {getattr(given, name)!r} makes no sense: {HELP[name]}")
    return given
