"""Which photos show one bin: before/after sets, found by neighbouring ids and shared products.

Ids at a distance of 1 or 2 in the same numbering that share an ASIN are one bin; where the metadata of either is
missing, neighbours at a distance of 1 are. Measured on ABID, three photos of four belong to such a set.
"""

from collections.abc import Collection, Sequence

from tasks.data.photo_ids import numbering_of

_FARTHEST = 2


class DisjointSets:
    """Sets of row numbers that can be united; the smallest row of a set stands for it."""

    def __init__(self, rows: int) -> None:
        self._parent = list(range(rows))

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


def bin_groups(ids: Sequence[str], asins: Sequence[Collection[object] | None]) -> list[str]:
    """Return the bin group of every id: the id of the group's photo with the smallest number.

    Args:
        ids: Photo ids, in any order.
        asins: For each id the products in its record (any hashable that stands for them); None where its
            metadata is missing.
    """
    numbered = []
    for row, photo_id in enumerate(ids):
        numbering = numbering_of(photo_id)
        if numbering is not None:
            numbered.append((*numbering, row))
    numbered.sort()
    sets = DisjointSets(len(numbered))
    for here, (width, number, row) in enumerate(numbered):
        for there in range(max(0, here - _FARTHEST), here):
            other_width, other_number, other_row = numbered[there]
            near = other_width == width and number - other_number <= _FARTHEST
            if near and _one_bin(asins[row], asins[other_row], number - other_number):
                sets.unite(here, there)
    groups = list(ids)
    for here, (_, _, row) in enumerate(numbered):
        groups[row] = ids[numbered[sets.find(here)][2]]
    return groups


def _one_bin(one: Collection[object] | None, other: Collection[object] | None, distance: int) -> bool:
    if one is None or other is None:
        return distance == 1
    return any(asin in other for asin in one)
