"""Named recipes: the hyperparameters in which a preset differs from the plain defaults.

What was tried on the way to `finetune`, and what each part gave, is in ``docs/results-history.md``.
"""

from typing import Any

BEYOND = 3


def neighbours(classes: tuple[int, ...]) -> tuple[int, ...]:
    """Every other count up to three above the largest class: those that a model would take for one of its classes."""
    return tuple(count for count in range(max(classes, default=0) + BEYOND + 1) if count not in classes)


PRESETS: dict[str, dict[str, Any]] = {
    # The system that this one rebuilds: the backbone as ImageNet left it, and a linear layer on top. As nothing
    # before that layer changes, its input can be computed once: see `training.features`.
    "frozen": {
        "schedule": "224x10",
        "frozen": True,
        "optimizer": "adamw",
        "lr": 0.00188,  # what the old system's tuning found, and its batch size
        "batch_size": 64,
        "augmentation": "flip",
        "label_smoothing": 0.0,
        "warmup": 0.0,
        "patience": 10,
    },
    # Everything trainable, on photos of the size that the backbone knows. Counts are learned as an order, and those
    # out of range besides: which ones, the classes say.
    "finetune": {
        "schedule": "224x10",
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.05,
        "batch_size": 32,
        "extra_classes": neighbours,
        "ordinal_sigma": 0.5,
        "label_smoothing": 0.0,
        "mixup": 0.2,
        "mixup_until": 1.0,
        "dropout": 0.3,
        "average": 0.999,
        "warmup": 0.1,
        "patience": 20,
        "test_flip": True,
        "precision": "auto",
    },
}
DEFAULT = "finetune"
