"""Which rules judge a training, and which of them end it."""

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from tasks.debugger.evaluate import TENSOR_RULES, check
from training.errors import DebuggerError

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


class WatchParameters(RuleParameters):
    """Rules on a training, also while it runs."""

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
