"""Whether a model's probabilities mean what they say, and the two numbers that make them do so."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.outputs import tempered

BINS = 15
_LOWEST, _HIGHEST = 0.2, 10.0
_STEEPEST = 1.0
_CLOSE = 1e-6
_BELIEVED = 0.25
"""Width of the normal prior of a tilt: a few photos do not make a steep one."""
Floats = NDArray[np.float64]


def fit_calibration(probabilities: Tensor, positions: Tensor) -> tuple[float, float]:
    """The temperature (Guo et al., 2017) and tilt with the least negative log-likelihood.

    Args:
        probabilities: of each class before scaling, shape (N, classes).
        positions: the column of each true class, shape (N,).

    Returns:
        both as a model's card has them; 1 and 0 when there is nothing to fit on.
    """
    if not len(positions):
        return 1.0, 0.0
    logs = probabilities.double().clamp_min(1e-12).log()
    steps = torch.arange(logs.shape[1], dtype=logs.dtype)

    def loss(power: float, tilt: float) -> float:
        fits = float(torch.nn.functional.cross_entropy(logs * power + tilt * steps, positions))
        return fits + (tilt / _BELIEVED) ** 2 / (2 * len(positions))

    def power_for(tilt: float) -> float:
        return _lowest(lambda power: loss(power, tilt), 1 / _HIGHEST, 1 / _LOWEST)

    tilt = _lowest(lambda tilt: loss(power_for(tilt), tilt), -_STEEPEST, _STEEPEST)
    return round(1 / power_for(tilt), 4), round(tilt, 4)


def _lowest(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex function is lowest, by golden-section search; what is left of the other variable is convex too."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > _CLOSE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2


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
