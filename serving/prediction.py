"""What the endpoint answers, the same for who writes it and who reads it."""

import dataclasses
import json
from typing import Any

from training.errors import FaultyModelError


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The count of one photo.

    Attributes:
        count: the most probable count.
        confidence: its probability.
        expected_value: mean of the counts, weighted by probability.
        probabilities: of each count the model answers, given that it is one of them; they sum to one.
        out_of_range: probability that the count is none of them.
        model: version of the model that answered.
    """

    count: int
    confidence: float
    expected_value: float
    probabilities: dict[int, float]
    model: str
    out_of_range: float = 0.0

    @classmethod
    def from_probabilities(
        cls, classes: tuple[int, ...], row: list[float], model: str, out_of_range: float = 0.0
    ) -> "Prediction":
        """Make a prediction of one row of the network's output."""
        probabilities = dict(zip(classes, row, strict=True))
        count = max(probabilities, key=probabilities.__getitem__)
        mean = sum(value * probability for value, probability in probabilities.items())
        return cls(count, probabilities[count], mean, probabilities, model, out_of_range)

    def probability_of(self, count: int) -> float:
        """Probability that the bin holds this count, calibrated as the model is.

        For a count that the model does not answer it is the probability of all such counts together: more
        than that is not known, so do not call a record of such a count wrong because of it.
        """
        if count not in self.probabilities:
            return self.out_of_range
        return (1 - self.out_of_range) * self.probabilities[count]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: keys of an object are strings there."""
        values = dataclasses.asdict(self)
        values["probabilities"] = {str(count): share for count, share in self.probabilities.items()}
        return values

    @classmethod
    def from_json(cls, text: str | bytes) -> "Prediction":
        """Read what an endpoint or a batch transform answered.

        Raises:
            FaultyModelError: it is no prediction of ours.
        """
        try:
            values = json.loads(text)
            shares = {int(count): float(share) for count, share in values.pop("probabilities").items()}
            return cls(**values, probabilities=shares)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FaultyModelError(f"the answer is not a prediction: {text[:200]!r}") from error
