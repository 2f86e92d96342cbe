"""Whether a model's probabilities mean what they say, and the one number that makes them do so."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.outputs import tempered

BINS = 15
_LOWEST, _HIGHEST = 0.2, 10.0
Floats = NDArray[np.float64]


def fit_temperature(probabilities: Tensor, positions: Tensor) -> float:
    """The temperature with the least negative log-likelihood (Guo et al., 2017).

    Args:
        probabilities: of each class before scaling, shape (N, classes).
        positions: the column of each true class, shape (N,).

    Returns:
        1.0 when there is nothing to fit on.
    """
    if not len(positions):
        return 1.0
    logs = probabilities.double().clamp_min(1e-12).log()

    def loss(power: float) -> float:
        return float(torch.nn.functional.cross_entropy(logs * power, positions))

    # The loss is convex in 1/temperature, so a golden-section search finds its one minimum.
    ratio, low, high = (math.sqrt(5) - 1) / 2, 1 / _HIGHEST, 1 / _LOWEST
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return round(2 / (low + high), 4)


def likelihood_loss(probabilities: Tensor, positions: Tensor, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats."""
    shares = tempered(probabilities, temperature).double().clamp_min(1e-12)
    return float(-shares.gather(1, positions[:, None]).log().mean())


def reliability(confidence: Floats, right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Photos by confidence, in bins of equal width: how many, how sure, how often right; empty bins are left out."""
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows: list[dict[str, Any]] = []
    for place in np.unique(places):
        here = places == place
        rows.append(
            {"n": int(here.sum()), "confidence": float(confidence[here].mean()), "accuracy": float(right[here].mean())}
        )
    return rows


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over 15 bins, weighted by photos."""
    rows = reliability(confidence, right)
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / max(1, len(confidence))
