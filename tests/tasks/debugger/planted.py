"""Tiny trainings, recorded by the real hook, each with one fault planted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from smdebug.trials import create_trial
from torch import Tensor, nn

from training.debugger.hook import DebugHook
from training.debugger.options import DebugOptions

CLASSES, FEATURES = 4, 12


class Scripted(nn.Module):
    """A cross-entropy whose value is what the script says, while its gradients are the real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.says: float | None = None

    def _get_name(self) -> str:
        return "CrossEntropyLoss"

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        real = nn.functional.cross_entropy(outputs, labels)
        return real if self.says is None else real - real.detach() + self.says


def network(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, CLASSES))


def batch(size: int, seed: int, shares: Sequence[float] = (1,) * CLASSES) -> tuple[Tensor, Tensor]:
    """Points around the corner of their class."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([float(s) for s in shares]), size, replacement=True, generator=draw)
    centres = torch.eye(CLASSES, FEATURES) * 2
    return centres[labels] + torch.randn(size, FEATURES, generator=draw) * 0.5, labels


def record(
    folder: Path,
    model: nn.Module | None = None,
    *,
    train: Sequence[float] | None = None,
    valid: Sequence[float] | None = None,
    passes: int = 6,
    steps: int = 10,
    lr: Callable[[int], float] = lambda step: 0.05,
    shares: Sequence[float] = (1,) * CLASSES,
    meddle: Callable[[int, nn.Module], Any] = lambda step, model: None,
) -> Any:
    """Train, recorded; returns smdebug's trial.

    Args:
        folder: of the trial.
        model: default: a healthy one.
        train: scripted training losses, one a step; default: the real ones.
        valid: scripted validation losses, one a pass.
        passes: of training and validation.
        steps: of training in a pass.
        lr: learning rate by step.
        shares: of the classes.
        meddle: called before every optimizer step, after the gradients are there.
    """
    model, loss = model or network(), Scripted()
    hook = DebugHook(folder, DebugOptions(save_interval_train=2))
    hook.watch(model, loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    done = 0
    for turn in range(passes):
        model.train()
        for _ in range(steps):
            hook.open_step("train", done, turn)
            inputs, labels = batch(64, done, shares)
            loss.says = train[done] if train else None
            optimizer.zero_grad()
            loss(model(inputs), labels).backward()
            optimizer.param_groups[0]["lr"] = lr(done)
            if meddle(done, model) is not False:
                optimizer.step()
            hook.record_updates()
            hook.close_step()
            done += 1
        model.eval()
        with torch.inference_mode():
            hook.open_step("eval", turn, done)
            loss.says = valid[turn] if valid else None
            inputs, labels = batch(256, 10_000 + turn, shares)
            loss(model(inputs), labels)
            hook.close_step()
    hook.close()
    return create_trial(str(folder))
