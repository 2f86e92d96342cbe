"""Rules on the course of the loss.

Single batches are noisy. Where AWS's rules compare steps, LossNotDecreasing compares means over ``num_steps`` steps,
which are the same thing when one step in ``num_steps`` is recorded; Overfit and Overtraining compare whole validation
passes, each with the training since the one before.
"""

from collections.abc import Iterator
from typing import Any

from smdebug.core.modes import ModeKeys

from tasks.debugger.rules.base import EVAL, TRAIN, Finding, TensorRule


class LossNotDecreasing(TensorRule):
    """The training loss stands still, or rises."""

    advice = "Lower `learning_rates`, or raise `warmup`; if it stood still from the start, raise `learning_rates`."

    def __init__(
        self, base_trial: Any, num_steps: int = 10, diff_percent: float = 0.1, increase_threshold_percent: float = 5.0
    ) -> None:
        super().__init__(base_trial)
        self.num_steps, self.diff, self.increase = num_steps, diff_percent, increase_threshold_percent
        self._losses: dict[int, float] = {}
        self._checked = 0

    @property
    def lacking(self) -> str:
        """Too few steps."""
        return f"the job recorded less than two windows of num_steps = {self.num_steps} steps of training"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Compare the last ``num_steps`` steps with those before, every ``num_steps`` steps."""
        if mode is not TRAIN or (loss := self.loss(mode, step)) is None:
            return
        self._losses[step] = loss
        if step - self._checked < self.num_steps:
            return
        now = [value for at, value in self._losses.items() if step - self.num_steps < at <= step]
        before = [
            value for at, value in self._losses.items() if step - 2 * self.num_steps < at <= step - self.num_steps
        ]
        self._checked = step
        if 2 * len(before) < len(now):  # of the first window, there is the first step only
            return
        self.judged += 1
        new, old = sum(now) / len(now), sum(before) / len(before)
        change = 100 * (new - old) / max(abs(old), 1e-12)
        if change > self.increase or abs(change) < self.diff:
            yield Finding(step, "loss", {"loss": new, "before": old, "change_percent": change})


class _PassRule(TensorRule):
    """A rule on validation passes, each with the mean training loss since the pass before."""

    def __init__(self, base_trial: Any) -> None:
        super().__init__(base_trial)
        self._train: list[float] = []
        self._valid: list[float] = []
        self._last = 0

    @property
    def lacking(self) -> str:
        """Validation that ended."""
        return "the job recorded no whole validation pass after steps of training"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Collect losses; a pass is over when training goes on."""
        if mode is TRAIN and self._valid:
            yield from self._close()
        if (loss := self.loss(mode, step)) is None:
            return
        (self._valid if mode is EVAL else self._train).append(loss)
        self._last = step if mode is EVAL else self._last

    def run(self) -> None:
        """Look at every step, and at the last pass once it is known to be whole."""
        super().run()
        if self._valid and not self.running:
            self.findings += list(self._close())

    def _close(self) -> Iterator[Finding]:
        train, valid = self._train, self._valid
        self._train, self._valid = [], []
        if train:
            self.judged += 1
            yield from self.judge(self._last, sum(train) / len(train), sum(valid) / len(valid))

    def judge(self, step: int, train: float, valid: float) -> Iterator[Finding]:
        """What is wrong with a pass."""
        raise NotImplementedError


class Overfit(_PassRule):
    """The validation loss is well above the training loss."""

    advice = "Raise `weight_decay` or `mixup`, add photos, or train for fewer `epochs`."

    def __init__(self, base_trial: Any, start_step: int = 0, patience: int = 1, ratio_threshold: float = 0.1) -> None:
        super().__init__(base_trial)
        self.start_step, self.patience, self.ratio_threshold = start_step, patience, ratio_threshold
        self._count = 0

    def judge(self, step: int, train: float, valid: float) -> Iterator[Finding]:
        """Compare the two losses, once ``patience`` passes in a row were too far apart."""
        ratio = (valid - train) / max(abs(train), 1e-12)
        self._count = self._count + 1 if ratio > self.ratio_threshold and step >= self.start_step else 0
        if self._count >= self.patience and self._count:
            numbers = {"ratio": ratio, "validation_loss": valid, "training_loss": train}
            yield Finding(step, "loss", numbers, "eval")


class Overtraining(_PassRule):
    """Neither loss has improved for long."""

    advice = "Lower `epochs` or `patience`: the same model can be had for less."

    def __init__(
        self, base_trial: Any, patience_train: int = 5, patience_validation: int = 10, delta: float = 0.01
    ) -> None:
        super().__init__(base_trial)
        self.patience_train, self.patience_validation, self.delta = patience_train, patience_validation, delta
        self._best = [float("inf"), float("inf")]
        self._waited = [0, 0]

    def judge(self, step: int, train: float, valid: float) -> Iterator[Finding]:
        """Count the passes since each loss last improved by ``delta``."""
        for which, loss in enumerate((train, valid)):
            better = loss < self._best[which] - self.delta
            self._best[which] = min(loss, self._best[which]) if better else self._best[which]
            self._waited[which] = 0 if better else self._waited[which] + 1
        if self._waited[0] >= self.patience_train and self._waited[1] >= self.patience_validation:
            numbers = {"passes_train": float(self._waited[0]), "passes_validation": float(self._waited[1])}
            yield Finding(step, "loss", numbers | {"training_loss": train, "validation_loss": valid}, "eval")
