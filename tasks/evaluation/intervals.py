"""How sure the figures are: bootstrap intervals over bins.

Photos of one bin are alike, so that resampling photos would promise more than was measured. Whole bins are drawn.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES, AT_ONCE = 1000, 50
Floats = NDArray[np.float64]


def resampled_means(values: Floats, groups: Sequence[str], seed: int = 0) -> Floats:
    """Means of each column over resampled groups.

    Args:
        values: shape (N, columns).
        groups: the bin of each row.
        seed: of the draws; with the same one and the same groups, two sets of values are resampled alike.

    Returns:
        shape (RESAMPLES, columns).
    """
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    size = int(places.max()) + 1
    sums = np.zeros((size, values.shape[1] + 1))
    np.add.at(sums, places, np.column_stack([values, np.ones(len(values))]))
    random, shares = np.random.default_rng(seed), np.full(size, 1 / size)
    totals = np.concatenate(  # a few at a time: for 50,000 bins all of the draws are 400 MB
        [random.multinomial(size, shares, AT_ONCE) @ sums for _ in range(0, RESAMPLES, AT_ONCE)]
    )
    means: Floats = totals[:, :-1] / totals[:, -1:]
    return means


def interval(samples: Floats, finish: Callable[[Floats], Floats] | None = None) -> tuple[float, float]:
    """The middle 95 % of resampled figures."""
    low, high = np.percentile(finish(samples) if finish else samples, (2.5, 97.5))
    return float(low), float(high)
