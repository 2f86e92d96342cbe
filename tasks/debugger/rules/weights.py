"""Rules on weights, gradients and how far a step moves the weights."""

import math
from collections.abc import Iterator
from typing import Any

from smdebug.core.modes import ModeKeys

from tasks.debugger.rules.base import TRAIN, Finding, TensorRule

NORMAL_RANGE = 3.29
"""Distance of a normal distribution's 5th and 95th percentile, in standard deviations."""


class VanishingGradient(TensorRule):
    """A layer's gradients are so small that it does not learn."""

    advice = "Raise `learning_rates`, or choose another `backbone`; with `precision` float16, try bfloat16."

    def __init__(self, base_trial: Any, threshold: float = 1e-7) -> None:
        super().__init__(base_trial)
        self.threshold = threshold

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Compare each gradient's mean absolute value with the threshold."""
        if mode is TRAIN:
            for name in self.names("gradients", mode, step):
                if "weight" in name:
                    self.judged += 1
                    mean = self.reduction(name, "mean", mode, step, absolute=True)
                    if mean < self.threshold:
                        yield Finding(step, name, {"abs_mean": mean, "threshold": self.threshold})


class ExplodingTensor(TensorRule):
    """A tensor has values that are infinite, or not numbers."""

    advice = "Lower `learning_rates`; with `precision` float16, try bfloat16."

    def __init__(
        self, base_trial: Any, collection_names: str = "", tensor_regex: str = "", only_nan: bool = False
    ) -> None:
        super().__init__(base_trial)
        self.collections = [part for part in collection_names.split(",") if part]
        self.tensor_regex, self.only_nan = tensor_regex, only_nan

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Look for the traces that such a value leaves in norms and in losses."""
        for name in self._chosen(mode, step):
            self.judged += 1
            for value in self._numbers(name, mode, step):
                if math.isnan(value) or (math.isinf(value) and not self.only_nan):
                    yield Finding(step, name, {"value": value}, mode.name.lower())
                    break

    def _chosen(self, mode: ModeKeys, step: int) -> list[str]:
        if self.tensor_regex:
            return self.matching(self.tensor_regex, mode, step)
        if self.collections:
            return [name for part in self.collections for name in self.names(part, mode, step)]
        return list(self.base_trial.tensor_names(step=step, mode=mode))

    def _numbers(self, name: str, mode: ModeKeys, step: int) -> list[float]:
        tensor = self.base_trial.tensor(name)
        saved = tensor.reduction_values(step, mode=mode)
        numbers = [float(v) for (of, _), v in saved.items() if of != "std"]  # of one value there is no deviation
        return numbers or [float(v) for v in saved.values()] or [float(abs(tensor.value(step, mode=mode)).max())]


class WeightUpdateRatio(TensorRule):
    """A step moves a layer's weights by far too much, or not at all."""

    advice = "Lower `learning_rates` if the ratio is large, raise them if it is small (for the last layer: `head_lr`)."

    def __init__(self, base_trial: Any, large_threshold: float = 10.0, small_threshold: float = 1e-8) -> None:
        super().__init__(base_trial)
        self.large, self.small = large_threshold, small_threshold

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Compare each layer's update, as a share of its weights, with both thresholds."""
        if mode is not TRAIN:
            return
        ratios = {name: float(self.value(name, mode, step)) for name in self.names("updates", mode, step)}
        if not any(ratios.values()):
            return  # no step was taken, as when mixed precision skips one
        self.judged += 1
        for name, ratio in ratios.items():
            if ratio > self.large or ratio < self.small:
                yield Finding(step, name, {"ratio": ratio, "large": self.large, "small": self.small})


class PoorWeightInitialization(TensorRule):
    """In its first steps the network learns nothing, and its layers are out of balance or all alike."""

    advice = "Choose another `backbone`: all of them start from pretrained weights. Or raise `warmup`."

    def __init__(
        self,
        base_trial: Any,
        threshold: float = 10.0,
        distribution_range: float = 1e-6,
        patience: int = 5,
        steps: int = 10,
    ) -> None:
        super().__init__(base_trial)
        self.threshold, self.distribution_range = threshold, distribution_range
        self.patience, self.steps = patience, steps
        self._best, self._waited, self._looked = math.inf, 0, 0

    @property
    def lacking(self) -> str:
        """Too few steps."""
        return f"the job recorded {self._looked} steps of training, and patience = {self.patience} are not judged"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Once the loss has not improved for ``patience`` recorded steps, look at variances and gradients."""
        if mode is not TRAIN or self._looked >= self.steps or (loss := self.loss(mode, step)) is None:
            return
        self._looked += 1
        self._waited = (
            0 if loss < self._best - 1e-4 * abs(self._best if self._best < math.inf else 0) else self._waited + 1
        )
        self._best = min(self._best, loss)
        self.judged += self._looked > self.patience
        if self._waited < self.patience:
            return
        names = [name for name in self.names("weights", mode, step) if f"update/{name}" in self._updates(mode, step)]
        variances = {name: self.reduction(name, "std", mode, step) ** 2 for name in names}
        low, high = min(variances.values(), default=1.0), max(variances.values(), default=1.0)
        if high > self.threshold * low:
            name = max(variances, key=lambda key: variances[key])
            yield Finding(step, name, {"variance_ratio": high / max(low, 1e-30), "threshold": self.threshold})
        for name in names:
            spread = NORMAL_RANGE * self.reduction(f"gradient/{name}", "std", mode, step)
            if spread < self.distribution_range:
                yield Finding(step, f"gradient/{name}", {"range": spread, "threshold": self.distribution_range})

    def _updates(self, mode: ModeKeys, step: int) -> set[str]:
        return set(self.names("updates", mode, step))
