"""What the model is for: which bins to check first. Measured with errors planted in the record.

The record of 5 % of the photos is made wrong by one to three, and the bins are judged and ranked as the nightly count
does it. Twenty seeded plantings are averaged, because one moves precision@50 by several points.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from serving.prediction import Prediction
from tasks.nightly.judge import Policy
from tasks.nightly.thresholds import judgeable, plant_errors, precision_at, rank

SHARE, PLANTINGS = 0.05, 20
TOP = (10, 20, 50, 100)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Triage(BaseModel):
    """How well planted errors are found."""

    model_config = ConfigDict(frozen=True)

    photos: int
    planted: int = Field(description="Records made wrong, in each planting.")
    auc: float = Field(description="Probability that a wrong record is ranked above a right one.")
    precision_at: dict[int, float] = Field(description="Share of wrong records among the first N.")
    lift_at: dict[int, float] = Field(description="That share, over the share among all.")
    big_in_top_tenth: float = Field(description="Of the records wrong by two or three, those among the first tenth.")


def measure_triage(
    predictions: Sequence[Prediction], counts: Sequence[int], policy: Policy, seed: int = 0
) -> Triage | None:
    """Plant errors, judge and rank.

    Args:
        predictions: of photos that the model has not learned from.
        counts: what they show.
        policy: by which the nightly count judges; bins that it only ever abstains from are left out.
        seed: of the first planting.

    Returns:
        means over the plantings; None when there are too few photos to plant any.
    """
    seen = [(count, each.probabilities, each.out_of_range) for count, each in zip(counts, predictions, strict=True)]
    photos, said = judgeable(seen, policy)
    size, planted = len(photos), round(len(photos) * SHARE)
    if planted < 1:
        return None
    truth = [photo[0] for photo in photos]
    rankings = [rank(photos, plant_errors(truth, SHARE, seed + turn, said), policy) for turn in range(PLANTINGS)]
    precision = {top: float(np.mean([precision_at(ranked, top) for ranked in rankings])) for top in TOP if top <= size}
    first, curves = [], []
    for ranked in rankings:
        off = np.array([photo.off_by for photo in ranked])
        curves.append(area_under_curve(np.array([photo.score for photo in ranked]), off > 0))
        if (off >= 2).any():
            first.append((off[: max(1, size // 10)] >= 2).sum() / (off >= 2).sum())
    return Triage(
        photos=size,
        planted=planted,
        auc=float(np.mean(curves)),
        precision_at=precision,
        lift_at={top: value * size / planted for top, value in precision.items()},
        big_in_top_tenth=float(np.mean(first)) if first else 0.0,
    )


def area_under_curve(scores: Floats, wrong: Flags) -> float:
    """Area under the ROC curve, ties counted as halves (the Mann-Whitney statistic); 0.5 without both kinds."""
    hits, misses = int(wrong.sum()), int((~wrong).sum())
    if not hits or not misses:
        return 0.5
    _, places, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    return float((ranks[wrong].sum() - hits * (hits + 1) / 2) / (hits * misses))
