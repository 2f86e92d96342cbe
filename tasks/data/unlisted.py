"""Photos that an earlier list had and the present one hasn't: their bins stay where those were placed."""

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.bin_groups import is_one_bin, neighbours
from tasks.data.bin_metadata import READ_IN_PART
from tasks.data.metadata_stage import metadata_state
from tasks.data.photo_ids import PARTITIONS
from tasks.data.placements import Placements
from tasks.data.workspace import Workspace

_UNKNOWN: tuple[Collection[str], bool] = ((), True)


def twins_placed(workspace: Workspace, ids: list[str], unlisted: Placements) -> Iterator[tuple[int, int]]:
    """Yield the row of each of ``ids`` that shows the bin of an unlisted photo, and the place of that one's split.

    Two photos show one bin as in ``bin_groups``. Of products we know what this folder has read; where it has read
    none, as on another machine, direct neighbours show one bin.
    """
    both = [*ids, *unlisted.ids.to_pylist()]
    pairs = [
        (*sorted((one, other)), distance)
        for one, other, distance in neighbours(both)
        if (one < len(ids)) != (other < len(ids))
    ]
    products = _products(workspace, {both[row] for pair in pairs for row in pair[:2]})
    for row, other, distance in pairs:
        (mine, some_of_mine), (theirs, some_of_theirs) = (products.get(both[n], _UNKNOWN) for n in (row, other))
        if is_one_bin(mine, theirs, distance, in_doubt=some_of_mine or some_of_theirs):
            yield row, int(unlisted.splits[other - len(ids)])


def _products(workspace: Workspace, ids: Collection[str]) -> dict[str, tuple[Collection[str], bool]]:
    """Return what this folder knows of the products of ``ids``, and whether there may be more of them."""
    wanted = pa.array(ids, pa.string())
    found: dict[str, tuple[Collection[str], bool]] = {}
    for partition in range(PARTITIONS if ids else 0):
        table = metadata_state(workspace, partition).table().select(["id", "skus", "flags"])
        rows: list[Any] = table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist()
        for row in rows:
            asins = {sku["asin"] for sku in row["skus"] or ()}
            found[row["id"]] = asins, not READ_IN_PART.isdisjoint(row["flags"])
    return found
