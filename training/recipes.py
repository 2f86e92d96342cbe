"""Named recipes: the hyperparameters in which a preset differs from the plain defaults.

What was tried on the way to `finetune`, and what each part gave, is in ``docs/results.md``.
"""

from typing import Any

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
    # out of range besides.
    "finetune": {
        "schedule": "224x10",
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.05,
        "batch_size": 32,
        "extra_classes": (0, 6, 7, 8),
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
