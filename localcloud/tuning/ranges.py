"""The ranges of a tuning job, between SageMaker's words (strings and scaling types) and Optuna's numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.errors import ValidationException
from localcloud.store import Document

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

AUTO_LOG_SPAN = 100.0


@dataclass(frozen=True)
class NumberRange:
    """A continuous or integer range. ``scaling`` is Linear, Logarithmic or ReverseLogarithmic."""

    name: str
    low: float
    high: float
    scaling: str
    integer: bool

    @property
    def distribution(self) -> "BaseDistribution":
        """As Optuna samples it. Reverse-logarithmic is logarithmic in the distance from one."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.scaling == "Logarithmic")
        if self.scaling == "ReverseLogarithmic":
            return FloatDistribution(1 - self.high, 1 - self.low, log=True)
        return FloatDistribution(self.low, self.high, log=self.scaling == "Logarithmic")

    def suggest(self, trial: "Trial") -> str:
        """A value as a hyperparameter."""
        if self.integer:
            return str(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.scaling == "Logarithmic"))
        if self.scaling == "ReverseLogarithmic":
            distance = trial.suggest_float(self.name, 1 - self.high, 1 - self.low, log=True)
            return repr(min(max(1 - distance, self.low), self.high))
        return repr(trial.suggest_float(self.name, self.low, self.high, log=self.scaling == "Logarithmic"))

    def internal(self, value: str) -> Any:
        """Optuna's value for a hyperparameter; ValueError when it is outside the range."""
        number = float(value)
        if not self.low <= number <= self.high:
            raise ValueError(value)
        if self.integer:
            return int(number)
        return 1 - number if self.scaling == "ReverseLogarithmic" else number


@dataclass(frozen=True)
class ChoiceRange:
    """A categorical range."""

    name: str
    values: tuple[str, ...]

    @property
    def distribution(self) -> "BaseDistribution":
        """As Optuna samples it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def suggest(self, trial: "Trial") -> str:
        """A value as a hyperparameter."""
        return str(trial.suggest_categorical(self.name, self.values))

    def internal(self, value: str) -> Any:
        """Optuna's value for a hyperparameter; ValueError when it is none of the range's."""
        if value not in self.values:
            raise ValueError(value)
        return value


Range = NumberRange | ChoiceRange


def parse_ranges(ranges: Document) -> list[Range]:
    """The ranges of a ParameterRanges document. Raises ValidationException for what AWS refuses."""
    found: list[Range] = [_number(item, integer=True) for item in ranges.get("IntegerParameterRanges", [])]
    found += [_number(item, integer=False) for item in ranges.get("ContinuousParameterRanges", [])]
    found += [
        ChoiceRange(item["Name"], tuple(dict.fromkeys(item["Values"])))
        for item in ranges.get("CategoricalParameterRanges", [])
    ]
    names = [item.name for item in found]
    if len(set(names)) != len(names):
        raise ValidationException("Every hyperparameter range must have a name of its own.")
    return found


def _number(item: Document, *, integer: bool) -> NumberRange:
    name, scaling = item["Name"], item.get("ScalingType", "Auto")
    convert = int if integer else float
    try:
        low, high = convert(item["MinValue"]), convert(item["MaxValue"])
    except ValueError:
        raise ValidationException(
            f"The range of {name} is not a range of {'integers' if integer else 'numbers'}: "
            f"{item['MinValue']} to {item['MaxValue']}."
        ) from None
    if low > high:
        raise ValidationException(f"The range of {name} is empty: MinValue {low} is above MaxValue {high}.")
    if scaling == "Logarithmic" and low <= 0:
        raise ValidationException(f"Logarithmic scaling of {name} needs a range above 0.")
    if scaling == "ReverseLogarithmic" and (integer or low < 0 or high >= 1):
        raise ValidationException(f"ReverseLogarithmic scaling of {name} needs a continuous range in 0 <= x < 1.")
    if scaling == "Auto":
        scaling = "Logarithmic" if low > 0 and high / low >= AUTO_LOG_SPAN else "Linear"
    return NumberRange(name, low, high, scaling, integer)
