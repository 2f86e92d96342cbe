"""What the model is for: which bins to check first. Measured with errors planted in the record.

The record of 5 % of the photos is made wrong by one to three, and the bins are ranked by the probability that the
record is wrong. Twenty seeded plantings are averaged, because one moves precision@50 by several points.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from serving.prediction import Prediction

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


def measure_triage(predictions: Sequence[Prediction], counts: Sequence[int], seed: int = 0) -> Triage | None:
    """Plant errors and rank; None when there are too few photos to plant any."""
    size, planted = len(counts), round(len(counts) * SHARE)
    if planted < 1:
        return None
    random = np.random.default_rng(seed)
    aucs, bigs, shares = [], [], {top: [] for top in TOP if top <= size}  # type: ignore[var-annotated]
    for _ in range(PLANTINGS):
        record, wrong = plant(np.asarray(counts), planted, random)
        scores = np.array([1 - each.probability_of(int(said)) for each, said in zip(predictions, record, strict=True)])
        order = np.argsort(-scores, kind="stable")
        aucs.append(area_under_curve(scores, wrong))
        for top, found in shares.items():
            found.append(wrong[order[:top]].mean())
        big = np.abs(record - counts) >= 2
        if big.any():
            bigs.append(big[order[: max(1, size // 10)]].sum() / big.sum())
    precision = {top: float(np.mean(found)) for top, found in shares.items()}
    return Triage(
        photos=size,
        planted=planted,
        auc=float(np.mean(aucs)),
        precision_at=precision,
        lift_at={top: value * size / planted for top, value in precision.items()},
        big_in_top_tenth=float(np.mean(bigs)) if bigs else 0.0,
    )


def plant(counts: NDArray[np.int_], planted: int, random: np.random.Generator) -> tuple[NDArray[np.int_], Flags]:
    """A record in which some counts are one to three off and never below zero; and which those are."""
    record = counts.copy()
    chosen = random.choice(len(counts), planted, replace=False)
    step = random.integers(1, 4, planted) * random.choice([-1, 1], planted)
    step = np.where(record[chosen] + step < 0, -step, step)
    record[chosen] += step
    return record, record != counts


def area_under_curve(scores: Floats, wrong: Flags) -> float:
    """Area under the ROC curve, ties counted as halves (the Mann-Whitney statistic); 0.5 without both kinds."""
    hits, misses = int(wrong.sum()), int((~wrong).sum())
    if not hits or not misses:
        return 0.5
    _, places, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    return float((ranks[wrong].sum() - hits * (hits + 1) / 2) / (hits * misses))
