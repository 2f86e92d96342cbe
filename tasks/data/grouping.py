"""Groups, duplicates and splits of a whole dataset, from what its partitions hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.bin_groups import bin_groups
from tasks.data.bin_metadata import READ_IN_PART
from tasks.data.catalog import join_partition
from tasks.data.photo_ids import PARTITIONS, numbering_of
from tasks.data.placements import NONE, Placements, remember_placements, remembered_placements
from tasks.data.prepared_data import SplitName
from tasks.data.split import NOWHERE, Leak, Members, assign_splits, measure_leak
from tasks.data.unlisted import twins_placed
from tasks.data.workspace import Workspace, explain_disk_errors


@dataclass(frozen=True)
class GroupedPhotos:
    """Every listed photo's bin group, and which photos can be used, all in the catalog's order.

    ``counts`` is None where a photo can't be used; ``duplicate_of`` names, for a photo with the same bytes as one
    before it, that one.
    """

    ids: list[str]
    counts: list[int | None]
    groups: list[str]
    duplicate_of: dict[str, str]

    @property
    def without_number(self) -> int:
        """How many ids are no plain numbers, so that nothing says which photos are of one bin with theirs."""
        return sum(numbering_of(photo_id) is None for photo_id in self.ids)

    def usable(self) -> list[int]:
        """Return the rows of the photos that can be used."""
        return [row for row, count in enumerate(self.counts) if count is not None]


def group_photos(workspace: Workspace) -> GroupedPhotos:
    """Find the bin groups and the exact duplicates of all listed photos."""
    ids: list[str] = []
    counts: list[int | None] = []
    digests = bytearray()
    products = _Products()
    for partition in range(PARTITIONS):
        rows = join_partition(workspace, partition)
        products.add(rows)
        columns: Any = zip(*(rows[name].to_pylist() for name in ("id", "count", "status", "sha256")), strict=True)
        for photo_id, count, status, digest in columns:
            ids.append(photo_id)
            counts.append(count if status == "ok" else None)
            digests += bytes.fromhex(digest)[:_DIGEST] if digest else bytes(_DIGEST)
    groups = bin_groups(ids, products.join(), products.in_part)
    return GroupedPhotos(ids, counts, groups, _duplicates(ids, digests))


_DIGEST = 16
"""So many bytes of a digest tell photos apart."""


def _duplicates(ids: Sequence[str], digests: bytearray) -> dict[str, str]:
    """Return, for each photo with the digest of one before it, the first that has it; zeros are no digest."""
    numbers = np.frombuffer(digests, "u8").reshape(-1, 2)
    order = np.lexsort((numbers[:, 1], numbers[:, 0]))  # stable: the first of equals is the first in the list
    ordered = numbers[order]
    same = np.zeros(len(ids), bool)
    same[1:] = (ordered[1:] == ordered[:-1]).all(axis=1) & ordered[1:].any(axis=1)
    duplicate_of: dict[str, str] = {}
    first = ""
    for row, repeated in zip(order.tolist(), same.tolist(), strict=True):
        if repeated:
            duplicate_of[ids[row]] = first
        else:
            first = ids[row]
    return duplicate_of


class _Products(Sequence["list[int]"]):
    """The products of every photo, as hashes in one flat array: half a million sets would fill the memory.

    ``in_part`` says for every photo whether it may have more of them.
    """

    def __init__(self) -> None:
        self._hashes: list[Any] = []
        self._lengths: list[Any] = []
        self.in_part: list[bool] = []

    def add(self, rows: pa.Table) -> None:
        """Append the products of a partition's rows."""
        skus: Any = rows["skus"].combine_chunks()
        asins = pc.struct_field(skus.flatten(), "asin").to_pylist()
        self._hashes.append(np.fromiter(map(hash, asins), np.int64, len(asins)))
        self._lengths.append(pc.fill_null(pc.list_value_length(skus), 0).to_numpy(zero_copy_only=False))
        self.in_part += [not READ_IN_PART.isdisjoint(flags) for flags in rows["flags"].to_pylist()]

    def join(self) -> "_Products":
        """Make everything that was added readable."""
        self._flat = np.concatenate(self._hashes)
        self._ends = np.cumsum(np.concatenate(self._lengths), dtype=np.int64)
        return self

    def __len__(self) -> int:
        return len(self.in_part)

    def __getitem__(self, row: Any) -> Any:
        start = self._ends[row - 1] if row else 0
        return self._flat[start : self._ends[row]].tolist()


@dataclass(frozen=True)
class SplitPhotos:
    """The split of every photo, in the catalog's order (None: it can't be used), and the leak of a random one.

    ``without_number`` ids are no plain numbers: their photos are in no before/after set.
    """

    splits: list[SplitName | None]
    leak: Leak
    random_leak: Leak
    in_sets: int
    groups: int
    without_number: int = 0


def split_photos(
    workspace: Workspace,
    photos: GroupedPhotos,
    mode: Literal["grouped", "random"],
    seed: int,
    published: Placements = NONE,
) -> SplitPhotos:
    """Assign splits, keeping every earlier placement of this mode and seed, and remember them.

    Earlier placements are those that this folder remembers and those that were ``published``, perhaps by another
    machine. They hold for their bins, whether or not the photo itself can be used, or is listed, now.
    """
    rows = photos.usable()
    ids = [photos.ids[row] for row in rows]
    counts = [photos.counts[row] or 0 for row in rows]
    groups = [photos.groups[row] for row in rows]
    with explain_disk_errors(workspace.folder):
        here = remembered_placements(workspace, mode, seed)
        before = here.merged(published)
        units = photos.ids if mode == "random" else _units(photos)
        placed = before.of(photos.ids) if mode == "random" else _placed(workspace, photos.ids, units, before)
        splits = assign_splits(ids, [units[row] for row in rows], counts, placed[rows], seed)
        now = before.merged(Placements.of_pairs(zip(ids, splits, strict=True)))
        if not now.table().equals(here.table()):
            remember_placements(workspace, mode, seed, now)
        del here, before, now, placed, units  # they are large
    random = splits if mode == "random" else assign_splits(ids, ids, counts, (), seed)
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    of_all: list[SplitName | None] = [None] * len(photos.ids)
    for row, split in zip(rows, splits, strict=True):
        of_all[row] = split
    return SplitPhotos(
        of_all,
        measure_leak(groups, splits),
        measure_leak(groups, random),
        in_sets=sum(size for size in sizes.values() if size > 1),
        groups=len(sizes),
        without_number=photos.without_number,
    )


def _units(photos: GroupedPhotos) -> list[str]:
    """Return what must share a split: bin groups, joined where they hold the very same photo."""
    if not photos.duplicate_of:
        return photos.groups
    group_of = dict(zip(photos.ids, photos.groups, strict=True))
    joined: dict[str, str] = {}

    def find(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    for photo_id, first in photos.duplicate_of.items():
        one, other = find(group_of[photo_id]), find(group_of[first])
        if one != other:
            joined[max(one, other)] = min(one, other)
    return [find(group) for group in photos.groups]


def _placed(workspace: Workspace, ids: list[str], units: Sequence[str], before: Placements) -> Any:
    """Return for every listed photo where its unit was placed before; a new one goes where unlisted twins were."""
    members = Members(units)
    where = members.least(before.of(ids))
    new = np.flatnonzero(where[members.unit_of] == NOWHERE)
    unlisted = before.without(ids)
    if len(new) and len(unlisted.ids):
        for row, split in twins_placed(workspace, [ids[row] for row in new], unlisted):
            unit = members.unit_of[new[row]]
            where[unit] = min(where[unit], split)
    return where[members.unit_of]
