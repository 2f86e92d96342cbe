"""One training job from its channels to its model, shared by the entry scripts."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from training import distributed, launch, metrics, model
from training.channels import Channels
from training.data import CountDataset, Split
from training.distributed import World
from training.errors import BinventoryError, InterruptedTrainingError, TrainingError, WorkerError
from training.features import FeatureDataset
from training.hyperparameters import Hyperparameters, parse
from training.interruption import INTERRUPTED
from training.loop import Fit, PhaseClock, fit
from training.observer import Observer
from training.precision import chosen

MINIMUM = 2
"""Photos that the statistics of normalisation layers take, at the least."""

Job = Callable[[Hyperparameters, Channels, Observer | None, World | None], object]


def run(
    recipe: Hyperparameters, channels: Channels, observer: Observer | None = None, world: World | None = None
) -> Fit:
    """Load the channels, train, and print the lines that SageMaker reads metrics from.

    The final figures are measured on the validation split, in tuning too: the test split stays unseen until
    the evaluation. They are called "Testing ..." because that is the objective's name in the mission.

    Raises:
        TrainingError: the data or the recipe do not allow training, or its results cannot be written.
        ModelError: the pretrained weights do not fit the backbone.
        InterruptedTrainingError: the job was told to end.
    """
    clock, world = PhaseClock(), world or World()
    world.by_main(channels.check_writable)
    torch.manual_seed(recipe.seed)
    with clock.phase("data"):
        train, valid = load(recipe, channels)
    fitted = fitting(recipe, train)
    check_validation(recipe, valid)
    check_batch(recipe, len(train), world)
    used = chosen(recipe.precision, world.device)
    if world.main:
        _report(recipe, dataclasses.replace(fitted, precision=used), train, valid)
    recipe = fitted
    weights = channels.pretrained(needed=recipe.frozen)
    if world.main and weights is None:
        print("There is no channel weights: the training starts from random weights")
    network = model.net(recipe.backbone, len(recipe.outputs.counts), weights, recipe.dropout)
    if recipe.frozen:
        model.freeze(network, recipe.backbone)
    learner = model.head(network, recipe.backbone) if channels.features else network
    result = fit(learner, train, valid, recipe, clock, channels.checkpoints, observer, world)
    learner.load_state_dict(result.weights)
    if world.main:
        print("\n".join(metrics.lines(result.values)), flush=True)
        print("Phase seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in clock.seconds().items()), flush=True)
        card = _card(dataclasses.replace(recipe, precision=used), result, train.digest, clock)
        try:
            model.save(network.cpu(), card, channels.model)
            (channels.output / "history.json").write_text(json.dumps(result.history, indent=2))
        except (OSError, RuntimeError) as error:  # the latter is what PyTorch makes of a full disk
            raise TrainingError(
                f"the model cannot be written to {channels.model}: {error}; is the disk full?"
            ) from error
    return result


def load(recipe: Hyperparameters, channels: Channels) -> tuple[Split, Split]:
    """The training and the validation split: photos at the first size of the schedule, or stored features.

    Raises:
        TrainingError: they are absent or damaged, or the recipe cannot be trained on stored features.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if features := channels.stored_features(Path(scratch)):
            return FeatureDataset(features, "train", recipe), FeatureDataset(features, "valid", recipe)
    size, outputs = recipe.phases[0].size, recipe.outputs
    return CountDataset(channels.train, size, outputs), CountDataset(channels.valid, size, outputs)


def fitting(recipe: Hyperparameters, train: Split) -> Hyperparameters:
    """The recipe without extra outputs that no photo would ever teach.

    Raises:
        TrainingError: there are too few photos, or none of a count that is to be answered.
    """
    if len(train) < MINIMUM:
        raise TrainingError(f"the training split has {len(train)} photos; at least {MINIMUM} are needed")
    present = set(torch.unique(recipe.outputs.positions(train.counts)).tolist())
    seen = {count for position, count in enumerate(recipe.outputs.counts) if position in present}
    if absent := [count for count in recipe.classes if count not in seen]:
        raise TrainingError(
            f"the training split has no photo with count {', '.join(map(str, absent))}, which the model is to answer: "
            "give more photos, or other classes"
        )
    return dataclasses.replace(recipe, extra_classes=tuple(c for c in recipe.extra_classes if c in seen))


def check_validation(recipe: Hyperparameters, valid: Split) -> None:
    """See to it that an epoch can be chosen.

    Raises:
        TrainingError: no photo's count is one of those that are answered.
    """
    if not recipe.outputs.in_range(valid.counts).any():
        raise TrainingError(
            f"no photo of the validation split has a count among {list(recipe.classes)}: give more photos, or other "
            "classes"
        )


def check_batch(recipe: Hyperparameters, photos: int, world: World) -> None:
    """See to it that a step is on photos enough for all processes.

    Raises:
        TrainingError: some would get none.
    """
    if (batch := min(recipe.batch_size, photos)) < world.smallest_batch:
        raise TrainingError(
            f"a step is on {batch} photos, too few for {world.size} processes, which get pairs of them: give a "
            f"batch_size and photos of at least {world.smallest_batch}, or fewer processes"
        )


def _report(given: Hyperparameters, recipe: Hyperparameters, train: Split, valid: Split) -> None:
    how = f"{torch.get_num_threads()} threads, {recipe.precision}"
    print(f"Training on {len(train)} photos, validating on {len(valid)}, {how}")
    if unseen := sorted(set(given.extra_classes) - set(recipe.extra_classes)):
        print(f"No photo in train has count {', '.join(map(str, unseen))}: the model gets no output for it")
    if recipe.batch_size > len(train):
        print(f"The batch size {recipe.batch_size} is larger than the data: a step is on all {len(train)} photos")
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
        test_flip=recipe.test_flip,
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
            "torchvision": importlib.metadata.version("torchvision"),
        },
    )


def main(job: Job = run, arguments: list[str] | None = None) -> int:
    """Run a job as SageMaker expects: exit code 0, or a reason in ``output/failure`` and exit code 1.

    Where there are several GPUs or hosts, this process runs torchrun, which starts the script in each.

    Args:
        job: what to run.
        arguments: the command line; default ``sys.argv[1:]``.
    """
    if "WORLD_SIZE" not in os.environ:  # else torchrun started this process, and another may have failed already
        _failure_file().unlink(missing_ok=True)
    try:
        recipe, channels = parse(arguments), Channels.from_environment()
        if (code := launch.through_torchrun(recipe)) is not None:
            return code
        with distributed.joined() as world:
            job(recipe, channels, None, world)
    except InterruptedTrainingError as error:
        print(f"Interrupted: {error}", file=sys.stderr, flush=True)
        return INTERRUPTED
    except WorkerError as error:  # unless it was killed, it has said why
        return failed(error, only_if_first=True)
    except BinventoryError as error:
        return failed(error)
    except Exception as error:  # noqa: BLE001 - a job that fails by whatever says why, where SageMaker looks
        if _is_out_of_memory(error):
            return failed(
                TrainingError(f"out of memory: {error}; give a smaller batch_size or an instance with more memory")
            )
        traceback.print_exc()
        return failed(error, only_if_first=True)  # that another process is gone comes up here too
    return 0


def failed(error: Exception, only_if_first: bool = False) -> int:
    """Say why the job failed, where SageMaker looks too; returns the exit code.

    Args:
        error: why.
        only_if_first: leave a reason that another process has given.
    """
    said = f"{type(error).__name__}: {error}"
    print(said, file=sys.stderr, flush=True)
    failure = _failure_file()
    if failure.parent.is_dir() and not (only_if_first and failure.exists()):
        with contextlib.suppress(OSError):  # a full disk, say; the log has it
            failure.write_text(said)
    return 1


def _failure_file() -> Path:
    return Path(os.environ.get("SM_OUTPUT_DIR", "/opt/ml/output")) / "failure"


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is; PyTorch has a type for that of GPUs, and for that of CPUs only a text."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
