"""What an evaluation found: figures, and every answer that they rest on."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from serving.prediction import Prediction
from tasks.evaluation.triage import Triage
from tasks.nightly.judge import Policy

Interval = tuple[float, float]
ANSWERS = "answers.parquet"
"""Beside a model's archive on S3: what it says to the photos of validation and test."""
SOURCE = b"source"
"""In that file's metadata: where the photos are from."""


class OutOfRange(BaseModel):
    """What becomes of bins whose count is none that the model answers."""

    model_config = ConfigDict(frozen=True)

    n: int = Field(description="Photos of such bins.")
    flagged: float = Field(description="Share of them called out of range, rather than silently miscounted.")
    flagged_by_count: dict[int, float] = Field(description="That share, by true count.")
    false_alarms: float = Field(description="Share of the photos in range that are called out of range.")
    auc: float = Field(description="Probability that an out-of-range photo is ranked above one in range.")


class Evaluation(BaseModel):
    """What a model measures on the test split; shares are of photos whose count is in range."""

    model_config = ConfigDict(frozen=True)

    accuracy: float = Field(description="Share of photos whose count is exactly right.")
    rmse: float = Field(description="Root mean squared error of the most probable count, in objects.")
    rmse_expected: float = Field(description="The same, of the expected value rounded: the count that minimises it.")
    mae: float = Field(description="Mean absolute error, in objects.")
    within_one: float = Field(description="Share of photos at most one off.")
    loss: float = Field(description="Mean negative log-likelihood after calibration, in nats.")
    loss_before: float = Field(description="Before it.")
    ece: float = Field(description="Expected calibration error after calibration.")
    ece_before: float = Field(description="Before it.")
    temperature: float = Field(description="What the logits are divided by; fitted on the validation split.")
    tilt: float = Field(0.0, description="What is added to them for each object more; fitted with it.")
    precision: str = Field(description="Arithmetic of the predictions.")
    intervals: dict[str, Interval] = Field(description="95 % of the bootstrap over bins.")
    n: int = Field(description="Photos measured.")
    bins: int = Field(description="Bins that they show.")
    unreadable: int = Field(description="Photos of the split that could not be decoded.")
    per_class: dict[int, float] = Field(description="Accuracy by true count.")
    confusion: list[list[int]] = Field(description="Photos by true count (row) and count (column).")
    reliability: list[dict[str, float]] = Field(description="Confidence against accuracy, in bins of confidence.")
    triage: Triage | None = Field(None, description="Finding planted errors; absent on too few photos.")
    out_of_range: OutOfRange | None = Field(None, description="Absent when the split has no such photos.")


class Answer(BaseModel):
    """What the model says to one photo of the validation or test split."""

    model_config = ConfigDict(frozen=True)

    photo_id: str
    key: str = Field(description="Of the photo, below the dataset's prefix.")
    split: str
    count: int = Field(description="The true one.")
    bin_group: str
    prediction: Prediction


class Comparison(BaseModel):
    """A model and the deployed one on the same photos, which neither has learned from."""

    model_config = ConfigDict(frozen=True)

    deployed: str = Field(description="S3 URI of the deployed model's archive.")
    version: str = Field(description="What the deployed model calls itself.")
    accuracy: float = Field(description="Of the deployed model.")
    rmse: float
    within_one: float
    loss: float
    ece: float
    n: int
    own_accuracy: float | None = Field(None, description="Of the new model on these photos; absent in older runs.")
    own_rmse: float | None = None
    accuracy_gain: float = Field(description="Accuracy of the new model less that of the deployed one.")
    accuracy_gain_interval: Interval = Field(description="95 % of the bootstrap over bins, both models alike.")


class EvaluatedModel(BaseModel):
    """An evaluation, and every answer that it rests on; the endpoint will have to agree with them."""

    model_config = ConfigDict(frozen=True)

    evaluation: Evaluation
    comparison: Comparison | None = Field(None, description="Absent while nothing is deployed, or if `incomparable`.")
    incomparable: str | None = Field(
        None, description="Why the deployed model could not be measured on the same photos; absent where it was."
    )
    policy: Policy | None = Field(
        None, description="What nights judge by, chosen on validation; absent where its photos are too few."
    )
    source: str = Field("", description="Where the dataset's photos are from; absent in older runs.")
    answers: list[Answer]

    @property
    def predictions(self) -> dict[str, Prediction]:
        """Of the test split, by photo id."""
        return {each.photo_id: each.prediction for each in self.answers if each.split == "test"}

    def table(self) -> bytes:
        """All answers as Parquet, for whoever chooses a threshold, looks for a pattern, or compares another model."""
        rows = [
            {
                **each.model_dump(include={"photo_id", "split", "count", "bin_group"}),
                "predicted": each.prediction.count,
                "probabilities": {str(count): share for count, share in each.prediction.probabilities.items()},
                "out_of_range": each.prediction.out_of_range,
            }
            for each in self.answers
        ]
        body = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({SOURCE: self.source}), body)
        return body.getvalue()
