"""What is recorded of a training, which rules judge it, and which of them end it."""

import dataclasses

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from tasks.debugger.evaluate import TENSOR_RULES, check
from training.debugger.options import DebugOptions, check_patterns
from training.errors import DebuggerError, TrainingError

Rules = dict[str, dict[str, str]]
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


class RecordingParameters(BaseModel):
    """How much of the final training is recorded; the defaults are `DebugOptions`' own."""

    save_interval_train: int = Field(
        DebugOptions.save_interval_train,
        ge=1,
        title="Record every … training steps",
        description="Record the tensors of every so many steps of the final training.",
    )
    save_interval_eval: int = Field(
        DebugOptions.save_interval_eval,
        ge=1,
        title="Record every … validation steps",
        description="Record losses, labels and answers of every so many validation steps.",
    )
    whole_layers: tuple[str, ...] = Field(
        DebugOptions.whole_layers,
        title="Whole layers",
        description="Regular expressions of tensors to record whole; the others are recorded as reductions.",
    )
    system_interval: float = Field(
        DebugOptions.system_interval,
        ge=0.05,
        le=60,
        title="System interval",
        description="Seconds between two looks at processors, memory, disk, network and GPU.",
    )
    trace_steps: int = Field(
        DebugOptions.trace_steps,
        ge=0,
        le=100,
        title="Trace steps",
        description="Training steps to trace with torch.profiler; the trace opens in Perfetto.",
    )

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
