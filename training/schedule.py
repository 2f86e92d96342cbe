"""What changes as a training goes on: the size of the photos, and the learning rate."""

import dataclasses
import math
import re

from training.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Phase:
    """Some epochs at one size of photo, in pixels a side."""

    size: int
    epochs: int


def phases(schedule: str) -> tuple[Phase, ...]:
    """Read a schedule of sizes: ``112x8,144x8,192x4`` is 8 epochs at 112 pixels, 8 at 144, and 4 at 192.

    Small photos first cost a fraction, but every change of size takes epochs to get over: ``docs/results-history.md``.

    Raises:
        TrainingError: it is written otherwise, or sizes shrink.
    """
    found = [re.fullmatch(r"(\d+)x(\d+)", part.strip()) for part in schedule.split(",")]
    read = tuple(Phase(int(match[1]), int(match[2])) for match in found if match)
    sizes = [phase.size for phase in read]
    if len(read) < len(found) or sizes != sorted(sizes) or min(sizes) < 32 or min(p.epochs for p in read) < 1:
        raise TrainingError(
            f"the schedule {schedule!r} makes no sense: write SIZExEPOCHS, comma-separated, from small photos to large "
            "ones, at least 32 pixels, like 112x8,144x8,192x4"
        )
    return read


def size_at(plan: tuple[Phase, ...], epoch: int) -> int:
    """Size of the photos in an epoch; epochs count from zero."""
    for phase in plan:
        if epoch < phase.epochs:
            return phase.size
        epoch -= phase.epochs
    return plan[-1].size


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Share of the highest learning rate at a step: linear up over ``warmup`` steps, then a half cosine down."""
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
