"""The seam through which a training is watched: a debugger's hook, a profiler, a progress display."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

Mode = Literal["train", "eval"]


class Observer:
    """Is told what the loop does; by default, nothing comes of it."""

    def begin(self, model: nn.Module, loss: nn.Module, scale: Callable[[], float] = lambda: 1.0) -> None:
        """Training is about to start, or to go on after a checkpoint.

        Args:
            model: the network; its parameters stay the same objects throughout.
            loss: the module that every loss of training and validation comes out of.
            scale: what gradients are too large by while they are computed, as float16 needs it.
        """

    def resume(self, steps: Mapping[Mode, int]) -> None:
        """Where training begins: steps done in each mode; more than none after a checkpoint."""

    def mode(self, mode: Mode, epoch: int) -> None:
        """The loop turns to training or to validation; epochs count from one."""

    def step(self, mode: Mode, step: int, loss: float, photos: int) -> None:
        """A batch is done.

        Args:
            mode: of which phase.
            step: since the start of the training, from zero, within its mode; goes on after a resume.
            loss: mean over the batch.
            photos: in the batch.
        """

    def failed(self, loss: float) -> None:
        """The loss of the training step under way is not a number, and that is the end of the training."""

    def end(self) -> None:
        """Training is over, also when it fails."""
