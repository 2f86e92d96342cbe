"""Train, valid and test: stratified by count, a bin's photos together, and stable as photos are added."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.prepared_data import SPLITS, SplitName

NOWHERE = len(SPLITS)
"""In a list of splits by their places in ``SPLITS``: a photo that was never placed."""

SHARES: dict[SplitName, float] = {"train": 0.8, "valid": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Leak:
    """How many test photos have a photo of the same bin in train."""

    test_photos: int
    with_twin_in_train: int

    @property
    def share(self) -> float:
        """Their share of the test photos."""
        return self.with_twin_in_train / self.test_photos if self.test_photos else 0.0


def assign_splits(
    ids: Sequence[str],
    units: Sequence[str],
    counts: Sequence[int],
    placed: Sequence[int],
    seed: int,
) -> list[SplitName]:
    """Return the split of every photo; the photos of a unit always share one.

    A unit with a photo that was placed before goes, and stays, where that photo is. If new photos join units that
    lie in different splits, the united one goes to train before valid before test: no photo that a model may
    have learned from is ever tested on. New units are placed largest first, in an order that ``seed`` decides,
    each where its counts are furthest below their share (Sainte-Laguë's rule of fair division).

    Args:
        ids: Photo ids.
        units: For each photo, what must stay together.
        counts: For each photo, the class to stratify by.
        placed: For each photo, the place in ``SPLITS`` of the split where it was before, or ``NOWHERE``; empty where
            none was placed.
        seed: Decides the order of new units.
    """
    members = Members(units)
    balance = _Balance(counts)
    where = members.least(placed) if len(placed) else np.full(len(members), NOWHERE, np.int8)
    new, sizes, digests = [], [], bytearray()
    for unit, rows in enumerate(members):
        if where[unit] != NOWHERE:
            balance.add(SPLITS[where[unit]], Counter(counts[row] for row in rows))
        else:
            name = min(ids[row] for row in rows)
            new.append(unit)
            sizes.append(len(rows))
            digests += hashlib.sha256(f"{seed}/{name}".encode()).digest()
    for place in np.lexsort((np.frombuffer(digests, "S32"), -np.array(sizes, np.int64))):
        unit = new[place]
        shown = Counter(counts[row] for row in members[unit])
        split = balance.neediest(shown)
        where[unit] = SPLITS.index(split)
        balance.add(split, shown)
    return [SPLITS[split] for split in where[members.unit_of]]


class Members(Sequence["list[int]"]):
    """The rows of each unit, in arrays: half a million lists would fill the memory."""

    def __init__(self, units: Sequence[str]) -> None:
        self.unit_of: Any = pa.array(units, pa.string()).dictionary_encode().indices.to_numpy()
        self._rows = np.argsort(self.unit_of, kind="stable")
        self._ends = np.cumsum(np.bincount(self.unit_of))

    def least(self, numbers: Sequence[int]) -> Any:
        """Return the least number of each unit's photos."""
        found = np.full(len(self), NOWHERE, np.int8)
        np.minimum.at(found, self.unit_of, np.asarray(numbers, np.int8))
        return found

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, unit: Any) -> Any:
        if not 0 <= unit < len(self):
            raise IndexError(unit)
        return self._rows[self._ends[unit - 1] if unit else 0 : self._ends[unit]].tolist()


class _Balance:
    """How full each split is, by count and in all, against its share."""

    def __init__(self, counts: Sequence[int]) -> None:
        totals = Counter(counts)
        self._target = {
            split: {count: share * total for count, total in totals.items()} for split, share in SHARES.items()
        }
        self._size = {split: share * len(counts) for split, share in SHARES.items()}
        self._have: dict[SplitName, Counter[int]] = {split: Counter() for split in SPLITS}

    def add(self, split: SplitName, shown: Counter[int]) -> None:
        self._have[split].update(shown)

    def neediest(self, shown: Counter[int]) -> SplitName:
        return min(SPLITS, key=lambda split: self._cost(split, shown))

    def _cost(self, split: SplitName, shown: Counter[int]) -> float:
        have, target = self._have[split], self._target[split]
        by_count = sum(n * (have[count] + n / 2) / target[count] for count, n in shown.items())
        size = shown.total()
        return by_count + size * (have.total() + size / 2) / self._size[split]


def measure_leak(groups: Sequence[str], splits: Sequence[SplitName]) -> Leak:
    """Count the test photos whose bin group has a photo in train."""
    in_train = {group for group, split in zip(groups, splits, strict=True) if split == "train"}
    test = [group for group, split in zip(groups, splits, strict=True) if split == "test"]
    return Leak(len(test), sum(group in in_train for group in test))
