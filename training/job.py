"""One training job from its channels to its model, shared by the entry scripts."""

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

from training import metrics, model
from training.data import CountDataset
from training.errors import BinventoryError
from training.hyperparameters import Channels, Hyperparameters, parse
from training.loop import Fit, PhaseClock, fit
from training.observer import Observer


def run(recipe: Hyperparameters, channels: Channels, observer: Observer | None = None) -> Fit:
    """Load the channels, train, and print the lines that SageMaker reads metrics from.

    The final figures are measured on the validation split, in tuning too: the test split stays unseen until
    the evaluation. They are called "Testing ..." because that is the objective's name in the mission.

    Raises:
        TrainingError: the data or the recipe do not allow training.
        ModelError: the pretrained weights do not fit the backbone.
    """
    clock = PhaseClock()
    torch.manual_seed(recipe.seed)
    with clock.phase("data"):
        train = CountDataset(channels.train, recipe.image_size, recipe.outputs)
        valid = CountDataset(channels.valid, recipe.image_size, recipe.outputs)
    _report(train, valid)
    network = model.net(recipe.backbone, len(recipe.outputs.counts), channels.pretrained())
    if recipe.frozen:
        model.freeze(network, recipe.backbone)
    result = fit(network, train, valid, recipe, clock, channels.checkpoints, observer)
    network.load_state_dict(result.weights)
    print("\n".join(metrics.lines(result.values)), flush=True)
    print("Phase seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in clock.seconds().items()), flush=True)
    model.save(network, _card(recipe, result, train.digest, clock), channels.model)
    channels.output.mkdir(parents=True, exist_ok=True)
    (channels.output / "history.json").write_text(json.dumps(result.history, indent=2))
    return result


def _report(train: CountDataset, valid: CountDataset) -> None:
    print(f"Training on {len(train)} photos, validating on {len(valid)}, {torch.get_num_threads()} threads")
    for name, data in (("train", train), ("valid", valid)):
        if data.out_of_range:
            print(f"{data.out_of_range} photos in {name} have a count that the network has no output for: left out")
        for photo, reason in data.unreadable.items():
            print(f"photo {photo} in {name} is left out: {reason}")


def _card(recipe: Hyperparameters, result: Fit, digest: str, clock: PhaseClock) -> model.ModelCard:
    backbone = model.BACKBONES[recipe.backbone]
    return model.ModelCard(
        backbone=recipe.backbone,
        classes=recipe.classes,
        extra_classes=recipe.extra_classes,
        input_size=recipe.image_size,
        mean=backbone.mean,
        std=backbone.std,
        version=recipe.version,
        data_digest=digest,
        metrics={**result.values, "epoch": result.epoch},
        hyperparameters=dataclasses.asdict(recipe),
        phases={name: round(seconds, 3) for name, seconds in clock.seconds().items()},
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
    )


def main(job: Callable[[Hyperparameters, Channels], object] = run) -> int:
    """Run a job as SageMaker expects: exit code 0, or a reason in ``output/failure`` and exit code 1."""
    try:
        job(parse(), Channels.from_environment())
    except BinventoryError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        output = Path(os.environ.get("SM_OUTPUT_DIR", "/opt/ml/output"))
        if output.is_dir():
            (output / "failure").write_text(f"{type(error).__name__}: {error}")
        return 1
    return 0
