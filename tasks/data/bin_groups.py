"""Which photos show one bin: before/after sets, found by neighbouring ids and shared products.

Ids at a distance of 1 or 2 in the same numbering that share an ASIN are one bin; where the metadata of either could
not be read whole, or not at all, neighbours at a distance of 1 are, too. Measured on ABID, three photos of four belong
to such a set.
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


def bin_groups(
    ids: Sequence[str], asins: Sequence[Collection[object]], in_part: Sequence[bool] | None = None
) -> list[str]:
    """Return the bin group of every id: the id of the group's photo with the smallest number.

    Args:
        ids: Photo ids, in any order.
        asins: For each id the products in its record, as far as they are known (any hashable that stands for them).
        in_part: For each id, whether it may have more products than ``asins`` says; by default none has.
    """
    numbers = {row: numbering for row, photo_id in enumerate(ids) if (numbering := numbering_of(photo_id))}
    order = sorted(numbers, key=numbers.__getitem__)
    sets = DisjointSets(len(order))
    for here, row in enumerate(order):
        for there in range(max(0, here - _FARTHEST), here):
            near_row = order[there]
            (width, number), (other_width, other) = numbers[row], numbers[near_row]
            if other_width != width or number - other > _FARTHEST:
                continue
            in_doubt = in_part is not None and (in_part[row] or in_part[near_row])
            if (in_doubt and number - other == 1) or any(asin in asins[near_row] for asin in asins[row]):
                sets.unite(here, there)
    groups = list(ids)
    for here, row in enumerate(order):
        groups[row] = ids[order[sets.find(here)]]
    return groups
