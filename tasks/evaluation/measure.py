"""The figures of an evaluation, from what a model said."""

import math

import numpy as np
import torch

from serving import inference
from serving.prediction import Prediction
from tasks.evaluation.calibration import calibration_error, likelihood_loss, reliability
from tasks.evaluation.intervals import interval, resampled_means
from tasks.evaluation.looking import Looked
from tasks.evaluation.results import Evaluation, Interval, OutOfRange
from tasks.evaluation.triage import area_under_curve, measure_triage
from tasks.nightly.judge import Policy
from training import metrics
from training.errors import ModelError

FLAGGED_FROM = 0.5


def measure(looked: Looked, model: inference.Model, policy: Policy | None = None) -> Evaluation:
    """Measure what a model said to the photos of the test split.

    Args:
        looked: what it said.
        model: which.
        policy: by which records would be judged wrong; without one, nothing is said about finding wrong records.

    Raises:
        ModelError: no photo in range could be read.
    """
    card = model.card
    inside = looked.in_range(card.outputs)
    if not inside.photos:
        raise ModelError(f"no photo with a count of {card.classes} could be measured")
    answers = list(inside.predictions(model).values())
    counts = inside.counts
    shares = torch.tensor([[each.probabilities[count] for count in card.classes] for each in answers])
    before = card.outputs.answers(inside.raw)[0]
    positions = torch.searchsorted(torch.tensor(card.classes), counts)
    predicted = np.array([each.count for each in answers])
    truth, right = counts.numpy(), predicted == counts.numpy()
    expected = np.rint([each.expected_value for each in answers])
    confidence = np.array([each.confidence for each in answers])
    return Evaluation(
        **metrics.measure(shares, counts, card.classes),
        rmse_expected=math.sqrt(float(((expected - truth) ** 2).mean())),
        loss_before=likelihood_loss(before, positions),
        ece=calibration_error(confidence, right),
        ece_before=calibration_error(before.max(dim=1).values.double().numpy(), right),
        temperature=card.temperature,
        tilt=card.tilt,
        precision=card.precision,
        intervals=_intervals(answers, truth, inside.groups),
        n=len(answers),
        bins=len(set(inside.groups)),
        unreadable=len(looked.unreadable),
        per_class={count: float(right[truth == count].mean()) for count in card.classes if (truth == count).any()},
        confusion=[[int(((truth == t) & (predicted == p)).sum()) for p in card.classes] for t in card.classes],
        reliability=reliability(confidence, right),
        triage=measure_triage(list(looked.predictions(model).values()), looked.counts.tolist(), policy)
        if policy
        else None,
        out_of_range=_measure_out_of_range(looked, answers, model),
    )


def errors_of(answers: list[Prediction], truth: "np.typing.NDArray[np.int_]") -> "np.typing.NDArray[np.float64]":
    """By photo: right, squared error, absolute error, within one, negative log-likelihood; shape (N, 5)."""
    error = np.array([each.count for each in answers]) - truth
    likelihood = [each.probabilities[int(count)] for each, count in zip(answers, truth, strict=True)]
    columns = (error == 0, error**2, abs(error), abs(error) <= 1, -np.log(np.maximum(likelihood, 1e-12)))
    return np.column_stack(columns).astype(np.float64)


def _intervals(
    answers: list[Prediction], truth: "np.typing.NDArray[np.int_]", groups: list[str]
) -> dict[str, Interval]:
    samples = resampled_means(errors_of(answers, truth), groups)
    return {
        "accuracy": interval(samples[:, 0]),
        "rmse": interval(samples[:, 1], np.sqrt),
        "mae": interval(samples[:, 2]),
        "within_one": interval(samples[:, 3]),
        "loss": interval(samples[:, 4]),
    }


def _measure_out_of_range(looked: Looked, inside: list[Prediction], model: inference.Model) -> OutOfRange | None:
    outside = looked.where(~model.card.outputs.in_range(looked.counts))
    if not outside.photos:
        return None
    counts = outside.counts.numpy()
    scores = np.array([each.out_of_range for each in outside.predictions(model).values()])
    others = np.array([each.out_of_range for each in inside])
    flagged = scores > FLAGGED_FROM
    return OutOfRange(
        n=len(counts),
        flagged=float(flagged.mean()),
        flagged_by_count={int(count): float(flagged[counts == count].mean()) for count in np.unique(counts)},
        false_alarms=float((others > FLAGGED_FROM).mean()),
        auc=area_under_curve(np.concatenate([scores, others]), np.arange(len(scores) + len(others)) < len(scores)),
    )
