"""The training loop: a step, an epoch, a measurement, and the fit that strings them together."""

import contextlib
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from training import metrics
from training.augmentation import draw, mix, mixing_share
from training.checkpoint import Keeper, key_of
from training.clock import PhaseClock
from training.data import Split
from training.distributed import World
from training.errors import TrainingError
from training.hyperparameters import Hyperparameters
from training.interruption import Interruption
from training.model import head, probabilities
from training.observer import Observer
from training.state import Fit, Training
from training.targets import soft_targets

__all__ = ["Fit", "PhaseClock", "fit"]

EVALUATION_BATCH = 64
CLIP_NORM = 5.0


def train_one_epoch(training: Training, data: Split, observer: Observer, keeper: Keeper) -> None:
    """Train on the photos once, in a new order; or on those that are left of an epoch under way.

    Raises:
        TrainingError: the loss is no longer a number.
        InterruptedTrainingError: the job was told to end; the step is done, and the checkpoint is of it.
    """
    epoch = training.begin_epoch(len(data))
    set_training(training.model, training.recipe)
    while epoch.done < len(epoch.order):
        batch = epoch.order[epoch.done : epoch.done + training.batch]
        loss, *asked = training.world.sums(train_one_step(training, data, batch), *keeper.asks())
        if not math.isfinite(loss):
            observer.failed(loss)
            step, lr = training.steps["train"], training.recipe.lr
            raise TrainingError(f"the loss became {loss} at step {step}: the learning rate {lr} is too high")
        observer.step("train", training.steps["train"], loss, len(batch))
        training.steps["train"] += 1
        epoch.done += len(batch)
        epoch.loss += loss * len(batch)
        keeper.heed(*asked)


def train_one_step(training: Training, data: Split, batch: Tensor) -> float:
    """One step on a batch of positions in the data; returns this process's part of the mean loss.

    Where it is not a number, no step is taken.
    """
    recipe, world, model = training.recipe, training.world, training.model
    mine = world.share(len(batch))
    draws = draw(len(batch), training.generator)[mine]
    inputs = data.inputs(batch[mine], recipe, world.device, draws)
    targets = soft_targets(data.counts[batch[mine]].to(world.device), recipe.outputs, recipe.ordinal_sigma)
    step = training.steps["train"]
    if recipe.mixup and step < recipe.mixup_until * training.total_steps:
        share = mixing_share(recipe.mixup, recipe.seed, step)
        inputs, targets = mix(inputs, share), mix(targets, share)
    with training.precision():
        outputs = training.forward(inputs)
    loss = training.loss(outputs.float(), targets) * (len(mine) / len(batch))
    value = float(loss.detach())
    if math.isfinite(value) or world.size > 1:  # several processes step together or not at all
        training.precision.step(loss * world.size, training.optimizer, model, CLIP_NORM)
        training.schedule.step()
        if training.average:
            training.average.update(step)
    return value


def set_training(model: nn.Module, recipe: Hyperparameters) -> None:
    """Training mode; a frozen backbone keeps its normalisation statistics."""
    model.train(not recipe.frozen)
    head(model, recipe.backbone).train()


def evaluate(
    training: Training, data: Split, observer: Observer, keeper: Keeper | None = None, final: bool = False
) -> dict[str, float]:
    """Measure on a split: the counts in range, each given that it is one. Every photo is measured once.

    Args:
        training: whose network is measured.
        data: the split; at least one photo's count is in range.
        observer: watches.
        keeper: leaves checkpoints between batches, and ends it there; None measures to the end.
        final: in float32, and with mirror images if the recipe says so; on the way it is done as in training.

    Raises:
        InterruptedTrainingError: the job was told to end; the next start measures anew.
    """
    model, recipe, world = training.measured.eval(), training.recipe, training.world
    known = recipe.outputs.in_range(data.counts)
    answers: list[Tensor] = []
    step = training.steps["eval"]
    mine = torch.arange(len(data))[world.rank :: world.size]
    for start in range(0, math.ceil(len(data) / world.size), EVALUATION_BATCH):  # as often in each: they pause together
        if keeper:
            keeper.pause()
        batch = mine[start : start + EVALUATION_BATCH]
        if not len(batch):  # others have one photo more
            continue
        with contextlib.nullcontext() if final else training.precision():
            inputs = data.inputs(batch, recipe, world.device)
            shares = probabilities(model, inputs, test_flip=final and recipe.test_flip)
        observer.step("eval", step, validation_loss(training, shares, data.counts[batch]), len(batch))
        step += 1
        answers.append(shares.cpu())
    training.steps["eval"] = step  # only now: what is broken off is measured anew, and its steps are the same
    rows = torch.cat(answers) if answers else torch.empty(0, len(recipe.outputs.counts))
    inside, _ = recipe.outputs.answers(world.gather(mine, rows, len(data)))
    return metrics.measure(inside[known], data.counts[known], recipe.classes)


@torch.inference_mode()
def validation_loss(training: Training, shares: Tensor, counts: Tensor) -> float:
    """The loss of what a network answers, as an observer sees it; NaN where the network has an output for none of them.

    Args:
        training: whose loss it is.
        shares: what the network answers, probabilities of its outputs.
        counts: the true counts; those that the network has no output for are left out.
    """
    recipe, known = training.recipe, training.recipe.outputs.covered(counts)
    if not known.any():
        return math.nan
    shares = shares[known.to(shares.device)]
    targets = soft_targets(counts[known].to(shares.device), recipe.outputs, recipe.ordinal_sigma)
    return float(training.loss(shares.clamp_min(1e-12).log(), targets))  # of log-probabilities it is that of logits


def fit(
    model: nn.Module,
    train: Split,
    valid: Split,
    recipe: Hyperparameters,
    clock: PhaseClock,
    checkpoints: Path | None = None,
    observer: Observer | None = None,
    world: World | None = None,
) -> Fit:
    """Train as the recipe says; keep the weights of the best validation loss at the final size.

    Args:
        model: trained in place.
        train: to learn from.
        valid: to choose the epoch by.
        recipe: how.
        clock: is told what the time goes to.
        checkpoints: folder to resume from and to leave checkpoints in; None keeps none.
        observer: watches; None for nobody.
        world: the processes that train together; None for this one alone.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is of another training.
        InterruptedTrainingError: the job was told to end; the checkpoint is of the step that it was at.
    """
    world, interruption = world or World(), Interruption()
    model = world.synchronised(model.to(world.device))
    training = Training(model, recipe, len(train), world)
    if not world.main:  # what each process leaves out by chance should differ
        torch.manual_seed(recipe.seed + world.rank)
    keeper = Keeper(training, checkpoints, key_of(recipe, train.digest, valid.digest), clock, interruption)
    if keeper.resume():
        _say(world, f"Resuming after epoch {training.epoch}, step {training.steps['train']}")
    watched = (observer if world.main else None) or Observer()
    watched.begin(model, training.loss, lambda: training.precision.scale)
    watched.resume(training.steps)
    try:
        with interruption.heeded():
            while not training.over:
                keeper.pause()
                _one_epoch(training, train, valid, clock, watched, keeper)
                keeper.save()
        with clock.phase("eval"):
            valid.resize(recipe.image_size)
            _measure_best(training, valid)
    finally:
        watched.end()
    if training.epoch < recipe.epochs:
        _say(world, f"No better validation loss for {recipe.patience} epochs: stopped early")
    return training.best


def _one_epoch(
    training: Training,
    train: Split,
    valid: Split,
    clock: PhaseClock,
    observer: Observer,
    keeper: Keeper,
) -> None:
    epoch, size = training.epoch + 1, training.size
    with clock.phase("data"):
        train.resize(size)
        valid.resize(size)
    with clock.phase("train"):
        observer.mode("train", epoch)
        train_one_epoch(training, train, observer, keeper)
    with clock.phase("eval"):
        observer.mode("eval", epoch)
        values = evaluate(training, valid, observer, keeper)
    training.end_epoch(values)
    _say(
        training.world,
        f"Epoch {epoch}/{training.recipe.epochs} at {size} px, train loss {training.history[-1]['train_loss']:.4f}, "
        f"valid loss {values['loss']:.4f}, accuracy {values['accuracy']:.4f}, rmse {values['rmse']:.4f}\n"
        f"{metrics.OBJECTIVE.line(values['loss'])}",  # tuning ends a trial early by what it says on the way
    )


def _measure_best(training: Training, valid: Split) -> None:
    """Load the best weights, and measure them once more, where that gives other figures than on the way."""
    training.measured.load_state_dict(training.best.weights)
    if training.recipe.test_flip or training.precision.name != "float32":
        training.best.values = evaluate(training, valid, Observer(), final=True)


def _say(world: World, line: str) -> None:
    if world.main:
        print(line, flush=True)
