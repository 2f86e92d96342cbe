"""Which rules judge a training, and which of them end it."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from tasks.debugger.evaluate import TENSOR_RULES, check
from training.errors import DebuggerError

STEPS_APART = {"LossNotDecreasing": {"num_steps": "100"}}
"""What takes the place of a default that needs to know how long the training will be."""


class RuleParameters(BaseModel):
    """Parameters of rules."""

    rules: dict[str, dict[str, str]] = Field(
        {},
        title="Rules",
        description='Rules with parameters of your own, like {"Overfit": {"ratio_threshold": "0.3"}}; all rules run.',
    )

    @model_validator(mode="after")
    def _rules_are_known(self) -> Self:
        _check(self.rules)
        return self


class WatchParameters(RuleParameters):
    """Rules on a training, also while it runs."""

    stop_on: tuple[str, ...] = Field(
        (),
        title="Stop on",
        description="Rules, like ExplodingTensor, that are run while the training runs, and end it when one fires.",
    )

    @model_validator(mode="after")
    def _stopping_rules_can_be_watched(self) -> Self:
        _check({name: {} for name in self.stop_on})
        if others := sorted(set(self.stop_on) - set(TENSOR_RULES)):
            raise ValueError(f"{', '.join(others)}: a training can be ended by a rule on its tensors only")
        return self

    @property
    def stopping_rules(self) -> dict[str, dict[str, str]]:
        """Parameters by name of the rules that end the training."""
        return {name: STEPS_APART.get(name, {}) | self.rules.get(name, {}) for name in self.stop_on}


def _check(rules: dict[str, dict[str, str]]) -> None:
    try:
        check(rules)
    except DebuggerError as error:
        raise ValueError(str(error)) from error
