"""Which photos a demo bucket holds: ids, bins, and how many objects each photo shows."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

RENDERER_VERSION = 2
"""Raise it whenever the same seed would give other pictures or metadata; they then go into folders of their own."""

COUNT_SHARES = {0: 0.018, 1: 0.077, 2: 0.144, 3: 0.167, 4: 0.149, 5: 0.118, 6: 0.135, 7: 0.107, 8: 0.085}
"""Share of photos by count: as in the whole of ABID (1.8 % empty, 65.5 % with 1-5), cut off at 8."""

SET_SIZES = {1: 0.45, 2: 0.47, 3: 0.07, 4: 0.01}
"""Share of bins by how many photos in a row show them (before and after a pick or stow)."""

_LAST_PADDED = 9_999
_PADDED_SHARE = 0.6


@dataclass(frozen=True)
class PlannedPhoto:
    """One photo of a bin: ``stages`` are the counts of all its photos in a row, ``stage`` says which this is."""

    id: str
    bin: int
    stage: int
    stages: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many objects the photo shows."""
        return self.stages[self.stage]


def seeded(*parts: object) -> random.Random:
    """Return a generator that depends on ``parts`` alone, on every machine and Python version."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311


def plan_photos(photos: int, seed: int) -> list[PlannedPhoto]:
    """Plan ``photos`` photos. A shorter plan of the same seed is the start of a longer one."""
    planned: list[PlannedPhoto] = []
    for bin_photos in _bins(seed):
        planned.extend(bin_photos)
        if len(planned) >= photos:
            return planned[:photos]
    raise AssertionError("the plan of bins never ends")


def _bins(seed: int) -> Iterator[list[PlannedPhoto]]:
    rng = seeded(seed, "plan")
    padded = unpadded = 0
    bin_number = 0
    while True:
        stages = _stages(rng)
        if rng.random() < _PADDED_SHARE and padded + len(stages) <= _LAST_PADDED:
            ids = [f"{padded + i:05d}" for i in range(1, len(stages) + 1)]
            padded += len(stages)
        else:
            ids = [str(unpadded + i) for i in range(1, len(stages) + 1)]
            unpadded += len(stages)
        yield [PlannedPhoto(photo_id, bin_number, i, stages) for i, photo_id in enumerate(ids)]
        bin_number += 1


def _stages(rng: random.Random) -> tuple[int, ...]:
    size = rng.choices(list(SET_SIZES), list(SET_SIZES.values()))[0]
    shares = dict(COUNT_SHARES)
    # An empty bin shares no product with its neighbours, so nothing would tell that it is the same one:
    # all empty bins are seen once.
    shares[0] *= sum(n * share for n, share in SET_SIZES.items()) / SET_SIZES[1] if size == 1 else 0
    stages = rng.choices(list(shares), list(shares.values()))
    while len(stages) < size:
        stages.append(_next_stage(stages[-1], rng))
    return tuple(stages)


def _next_stage(count: int, rng: random.Random) -> int:
    change = rng.choices((0, 1, 2), (0.003, 0.8, 0.197))[0]
    reachable = [other for other in (count - change, count + change) if other in COUNT_SHARES and other > 0]
    if not reachable:
        return count + 1 if count < max(COUNT_SHARES) else count - 1
    return rng.choices(reachable, [COUNT_SHARES[other] for other in reachable])[0]
