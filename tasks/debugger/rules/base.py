"""What all rules have in common: what they find, and how they read a trial."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from smdebug.core.modes import ModeKeys
from smdebug.exceptions import RuleEvaluationConditionMet, TensorUnavailableForStep
from smdebug.rules import Rule

TRAIN, EVAL = ModeKeys.TRAIN, ModeKeys.EVAL


@dataclasses.dataclass(frozen=True)
class Finding:
    """One time that a rule fired.

    Attributes:
        step: within its mode; for a profile, the number of the sample.
        tensor: or metric, that it fired on.
        numbers: that it compared.
        mode: "train", "eval", or "system".
    """

    step: int
    tensor: str
    numbers: dict[str, float]
    mode: str = "train"

    def __str__(self) -> str:
        """Step, tensor and numbers in one line."""
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"{self.mode} step {self.step}, {self.tensor}: {told}"


class TensorRule(Rule):  # type: ignore[misc]
    """A rule on tensors: looks at one global step after the other.

    Attributes:
        advice: which setting to change when it fires.
        findings: every time that it fired.
        judged: how often it had what it needs to fire.
        running: whether the training runs, so that more will be recorded.
    """

    advice = ""
    running = False

    def __init__(self, base_trial: Any) -> None:
        super().__init__(base_trial, action_str="")
        self.findings: list[Finding] = []
        self.judged = 0

    @classmethod
    def check(cls, parameters: Mapping[str, Any]) -> None:
        """Look at parameters before anything is run.

        Raises:
            DebuggerError: what they ask for cannot be judged.
        """

    @property
    def lacking(self) -> str:
        """Why it judged nothing, where that is so."""
        return "nothing that it judges was recorded"

    def look(self, mode: ModeKeys, step: int) -> Iterator[Finding]:
        """What is wrong at a step of a mode."""
        raise NotImplementedError

    def invoke_at_step(self, step: int) -> bool:
        """Called by smdebug with a global step."""
        mode, mode_step = self.base_trial.mode_modestep(step)
        found = list(self.look(mode, mode_step))
        self.findings += found
        return bool(found)

    def run(self) -> None:
        """Look at every recorded step."""
        for step in self.base_trial.steps():
            try:
                self.invoke(step)
            except RuleEvaluationConditionMet:
                continue

    def names(self, collection: str, mode: ModeKeys, step: int) -> list[str]:
        """Names of a collection's tensors at a step."""
        return list(self.base_trial.tensor_names(step=step, mode=mode, collection=collection))

    def matching(self, regex: str, mode: ModeKeys, step: int) -> list[str]:
        """Names that match a regular expression at a step."""
        return list(self.base_trial.tensor_names(step=step, mode=mode, regex=regex))

    def value(self, name: str, mode: ModeKeys, step: int) -> Any:
        """A whole tensor."""
        return self.base_trial.tensor(name).value(step, mode=mode)

    def reduction(self, name: str, of: str, mode: ModeKeys, step: int, *, absolute: bool = False) -> float:
        """A reduction; NaN where none was recorded."""
        try:
            found = self.base_trial.tensor(name).reduction_value(step, of, mode=mode, abs=absolute)
        except TensorUnavailableForStep:
            return math.nan
        return math.nan if found is None else float(found)

    def loss(self, mode: ModeKeys, step: int) -> float | None:
        """Mean of the losses at a step."""
        values = [float(self.value(name, mode, step).mean()) for name in self.names("losses", mode, step)]
        return sum(values) / len(values) if values else None
