"""Rules on what layers and the network answer: dead and saturated units, and classes that are forgotten."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from smdebug.core.modes import ModeKeys

from tasks.debugger.rules.base import EVAL, TRAIN, Finding, TensorRule
from training.debugger.activations import SIGMOID, TANH
from training.errors import DebuggerError

RANGES = ("threshold_tanh_min", "threshold_tanh_max", "threshold_sigmoid_min", "threshold_sigmoid_max")


class DeadRelu(TensorRule):
    """Most units of a rectified layer are never above zero."""

    advice = "Lower `learning_rates` or raise `warmup`: large steps push units below zero for good."

    def __init__(
        self,
        base_trial: Any,
        tensor_regex: str = ".*relu_output",
        threshold_inactivity: float = 1.0,
        threshold_layer: float = 50.0,
    ) -> None:
        super().__init__(base_trial)
        self.regex, self.inactivity, self.layer = tensor_regex, threshold_inactivity, threshold_layer

    @property
    def lacking(self) -> str:
        """Rectifiers."""
        return f"nothing was recorded of a rectified layer that matches {self.regex}"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Count the units of each layer that are active in less than ``threshold_inactivity`` percent."""
        for name in self.names("activity", mode, step) if mode is TRAIN else ():
            if name in self.matching(self.regex, mode, step):
                self.judged += 1
                dead = float((self.value(name, mode, step) < self.inactivity).mean() * 100)
                if dead > self.layer:
                    numbers = {"inactive_percent": dead, "threshold_layer": self.layer}
                    yield Finding(step, name.removeprefix("activity/"), numbers)


class SaturatedActivation(TensorRule):
    """Most units of a tanh or sigmoid layer are stuck at an end of their range."""

    advice = "Lower `learning_rates`, or choose another `backbone`: one that normalises the layer's inputs."

    def __init__(
        self,
        base_trial: Any,
        tensor_regex: str = ".*tanh_input|.*sigmoid_input",
        threshold_tanh_min: float = TANH[0],
        threshold_tanh_max: float = TANH[1],
        threshold_sigmoid_min: float = SIGMOID[0],
        threshold_sigmoid_max: float = SIGMOID[1],
        threshold_inactivity: float = 1.0,
        threshold_layer: float = 50.0,
    ) -> None:
        super().__init__(base_trial)
        self.regex, self.inactivity, self.layer = tensor_regex, threshold_inactivity, threshold_layer

    @classmethod
    def check(cls, parameters: Mapping[str, Any]) -> None:
        """Refuse other ranges than the recorded ones.

        Raises:
            DebuggerError: there is one.
        """
        recorded = dict(zip(RANGES, (*TANH, *SIGMOID), strict=True))
        if any(value != recorded.get(name, value) for name, value in parameters.items()):
            raise DebuggerError(
                "the rule SaturatedActivation: the hook records how often inputs are within AWS's default thresholds, "
                f"tanh {TANH} and sigmoid {SIGMOID}; others cannot be judged afterwards"
            )

    @property
    def lacking(self) -> str:
        """Layers of that kind."""
        return f"nothing was recorded of a tanh or sigmoid layer that matches {self.regex}"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """Count the units of each layer whose inputs are hardly ever within the range."""
        for name in self.names("saturation", mode, step) if mode is TRAIN else ():
            if name in self.matching(self.regex, mode, step):
                self.judged += 1
                stuck = float((self.value(name, mode, step) < self.inactivity).mean() * 100)
                if stuck > self.layer:
                    numbers = {"saturated_percent": stuck, "threshold_layer": self.layer}
                    yield Finding(step, name.removeprefix("saturation/"), numbers)


class ClassImbalance(TensorRule):
    """One class outweighs the others, or is learned at their expense."""

    advice = "Balance the counts in the training data, or group rare ones in `extra_classes`."

    def __init__(
        self,
        base_trial: Any,
        threshold_imbalance: float = 10.0,
        threshold_misprediction: float = 0.7,
        samples: int = 500,
        argmax: bool = True,
    ) -> None:
        super().__init__(base_trial)
        self.imbalance, self.misprediction, self.samples = threshold_imbalance, threshold_misprediction, samples
        self.argmax = argmax
        self._labels: list[int] = []
        self._answers: list[int] = []
        self._forgotten: int | None = None

    @property
    def lacking(self) -> str:
        """Too few photos."""
        return f"the job recorded {len(self._labels)} labels of validation, fewer than samples = {self.samples}"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """After every ``samples`` labels of validation, compare the classes' sizes and errors."""
        if mode is not EVAL:
            return
        for label, answer in zip(self.names("labels", mode, step), self.names("predictions", mode, step), strict=False):
            self._labels += self._classes(self.value(label, mode, step))
            self._answers += self._classes(self.value(answer, mode, step))
        if len(self._labels) >= self.samples:
            labels, found = np.array(self._labels), np.array(self._answers)
            self._labels, self._answers = [], []
            self.judged += 1
            yield from self._judge(step, labels, found)

    def _classes(self, value: Any) -> list[int]:
        return [int(item) for item in (value.argmax(axis=1) if value.ndim > 1 and self.argmax else value.reshape(-1))]

    def _judge(self, step: int, labels: Any, answers: Any) -> Iterator[Finding]:
        sizes = {int(label): int((labels == label).sum()) for label in np.unique(labels)}
        most, least = max(sizes.values()), min(sizes.values())
        if len(sizes) == 1 or most > self.imbalance * least:
            rare = min(sizes, key=lambda label: sizes[label])
            numbers = {"largest_class": float(most), "smallest_class": float(least if len(sizes) > 1 else 0)}
            yield Finding(step, f"labels of class {rare}", numbers, "eval")
            return
        wrong = {label: float((answers[labels == label] != label).mean()) for label in sizes}
        worst, best = max(wrong, key=lambda key: wrong[key]), min(wrong.values())
        forgotten = worst if wrong[worst] > self.misprediction and wrong[worst] > self.imbalance * best else None
        again, self._forgotten = forgotten == self._forgotten, forgotten
        if forgotten is not None and again:  # in its first steps, a network that learns well forgets one too
            yield Finding(
                step, f"class {worst}", {"mispredicted": wrong[worst], "best_class_mispredicted": best}, "eval"
            )
