"""Which photos show one bin: before/after sets, found by neighbouring ids and shared products.

Ids at a distance of 1 or 2 in the same numbering that share an ASIN are one bin; where the metadata of either could
not be read whole, or not at all, neighbours at a distance of 1 are, too. Measured on ABID, three photos of four belong
to such a set.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from tasks.data.photo_ids import numbering_of

_FARTHEST = 2


class DisjointSets:
    """Sets of row numbers that can be united; the smallest row of a set stands for it."""

    def __init__(self, rows: int) -> None:
        self._parent = array("q", range(rows))

    def find(self, row: int) -> int:
        """Return the row that stands for ``row``'s set."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def unite(self, one: int, other: int) -> None:
        """Make the sets of two rows one."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first


def bin_groups(
    ids: Sequence[str], asins: Sequence[Collection[object]], in_part: Sequence[bool] | None = None
) -> list[str]:
    """Return the bin group of every id: the id of the group's photo with the smallest number.

    Args:
        ids: Photo ids, in any order.
        asins: For each id the products in its record, as far as they are known (any hashable that stands for them).
        in_part: For each id, whether it may have more products than ``asins`` says; by default none has.
    """
    order, widths, numbers = _in_order(ids)
    sets = DisjointSets(len(order))
    for there, here, distance in _neighbours(widths, numbers):
        near, row = order[there], order[here]
        in_doubt = in_part is not None and (in_part[row] or in_part[near])
        if is_one_bin(asins[row], asins[near], distance, in_doubt=in_doubt):
            sets.unite(there, here)
    groups = list(ids)
    for place, row in enumerate(order):
        groups[row] = ids[order[sets.find(place)]]
    return groups


def is_one_bin(asins: Collection[object], others: Collection[object], distance: int, *, in_doubt: bool) -> bool:
    """Whether two neighbours show one bin; ``in_doubt``, if either may have more products than are known."""
    return (in_doubt and distance == 1) or any(asin in others for asin in asins)


def neighbours(ids: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield the rows of every two ids of one numbering that are not too far apart, and how far they are."""
    order, widths, numbers = _in_order(ids)
    for there, here, distance in _neighbours(widths, numbers):
        yield order[there], order[here], distance


def _in_order(ids: Sequence[str]) -> tuple[Sequence[int], Any, Any]:
    """Return the rows of the ids that are numbers, by numbering and number, and both of these as arrays."""
    rows, widths, numbers = array("q"), array("q"), array("q")  # half a million tuples would fill the memory
    for row, photo_id in enumerate(ids):
        if numbering := numbering_of(photo_id):
            rows.append(row)
            widths.append(numbering[0])
            numbers.append(numbering[1])
    order = np.lexsort((numbers, widths))
    return array("q", np.asarray(rows)[order].tobytes()), np.asarray(widths)[order], np.asarray(numbers)[order]


def _neighbours(widths: Any, numbers: Any) -> Iterator[tuple[int, int, int]]:
    """Yield the places of every two ids of one numbering that are not too far apart, and how far they are."""
    for steps in range(1, _FARTHEST + 1):
        distances = numbers[steps:] - numbers[:-steps]
        close = np.flatnonzero((widths[steps:] == widths[:-steps]) & (distances <= _FARTHEST))
        for place in close:
            yield int(place), int(place) + steps, int(distances[place])
