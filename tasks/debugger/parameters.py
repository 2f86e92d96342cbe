"""What is recorded of a training, which rules judge it, and which of them end it."""

import dataclasses
from typing import Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from tasks.debugger.evaluate import TENSOR_RULES, check
from tasks.learning import Told
from training.debugger.options import HELP, LIMITS, DebugOptions, check_patterns
from training.errors import DebuggerError, TrainingError

Rules = dict[str, dict[str, Told]]
OF_THE_WHOLE = {"LossNotDecreasing": "num_steps"}
"""Parameters whose defaults follow from the length of the training, which nobody knows while it runs."""


class RuleParameters(BaseModel):
    """Parameters of rules."""

    rules: Rules = Field(
        {},
        title="Rules",
        description='Rules with parameters of your own, like {"Overfit": {"ratio_threshold": "0.3"}}; all rules run.',
    )

    @field_validator("rules")
    @classmethod
    def _rules_are_known(cls, rules: Rules) -> Rules:
        _check(rules)
        return rules


def _option(name: str, title: str) -> Any:
    """A field for one of `DebugOptions`, with its default, limits and words."""
    least, most = LIMITS.get(name, (None, None))
    words = HELP[name][0].upper() + HELP[name][1:]
    return Field(getattr(DebugOptions, name), ge=least, le=most, title=title, description=f"{words}.")


class RecordingParameters(BaseModel):
    """How much of the final training is recorded; the defaults are `DebugOptions`' own."""

    save_interval_train: int = _option("save_interval_train", "Record every … training steps")
    save_interval_eval: int = _option("save_interval_eval", "Record every … validation steps")
    whole_layers: tuple[str, ...] = _option("whole_layers", "Whole layers")
    system_interval: float = _option("system_interval", "System interval")
    trace_steps: int = _option("trace_steps", "Trace steps")

    @field_validator("whole_layers")
    @classmethod
    def _patterns_can_be_read(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if any("," in pattern for pattern in patterns):
            raise ValueError("a comma stands between regular expressions, not in one: say it without")
        try:
            check_patterns(patterns)
        except TrainingError as error:
            raise ValueError(str(error)) from error
        return patterns

    @property
    def recording(self) -> DebugOptions:
        """What the job is told."""
        return DebugOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(DebugOptions)})


class WatchParameters(RuleParameters, RecordingParameters):
    """What is recorded of a training, and rules on it, also while it runs."""

    stop_on: tuple[str, ...] = Field(
        (),
        title="Stop on",
        description="Rules, like ExplodingTensor, that are run while the training runs, and end it when one fires.",
    )

    @field_validator("stop_on")
    @classmethod
    def _rules_can_be_watched(cls, stop_on: tuple[str, ...], known: ValidationInfo) -> tuple[str, ...]:
        _check({name: {} for name in stop_on})
        for name in stop_on:
            if name not in TENSOR_RULES:
                raise ValueError(f"{name} is on the profile; a training can be ended by a rule on its tensors only")
            needed = OF_THE_WHOLE.get(name)
            if needed and needed not in known.data.get("rules", {}).get(name, {}):
                raise ValueError(f'{name} needs {needed}, like --rules \'{{"{name}": {{"{needed}": "500"}}}}\'')
        return stop_on

    @property
    def stopping_rules(self) -> Rules:
        """Parameters by name of the rules that end the training."""
        return {name: self.rules.get(name, {}) for name in self.stop_on}


def _check(rules: Rules) -> None:
    try:
        check(rules)
    except DebuggerError as error:
        raise ValueError(str(error)) from error
