"""Fewer photos than a list has, chosen so that the sample looks like the list."""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa

from tasks.data.photo_ids import numbering_of

_LONGEST_BLOCK = 6
_NEIGHBOURS = 2


def limit_list(listing: pa.Table, *, limit: int | None, per_class_limit: int | None, seed: int) -> pa.Table:
    """Return at most ``per_class_limit`` photos of each count, and at most ``limit`` in all.

    Photos are taken in an order that ``seed`` alone decides: blocks of neighbouring ids (at most six, ids no more
    than 2 apart in one numbering) are shuffled, and block after block is taken from the class that lags
    furthest behind its share of the list. So every prefix of the order has the list's class shares, before and
    after photos of a bin mostly come together, and a larger limit holds everything that a smaller one has.

    Args:
        listing: A table of ``tasks.data.file_list.SCHEMA``.
        limit: At most so many photos; None for no limit.
        per_class_limit: At most so many of each count; None for no limit.
        seed: Decides the order.
    """
    if per_class_limit is not None:
        listing = listing.take(pa.array(_first_of_each_class(listing, per_class_limit, seed)))
    if limit is not None and limit < listing.num_rows:
        listing = listing.take(pa.array(balanced_order(listing, seed)[:limit]))
    return listing


def balanced_order(listing: pa.Table, seed: int) -> list[int]:
    """Return all row numbers of ``listing`` in the order in which ``limit_list`` takes them."""
    counts = np.array([-1 if count is None else count for count in listing["listed_count"].to_pylist()])
    classes, labels = np.unique(counts, return_inverse=True)
    shares = np.bincount(labels, minlength=len(classes)) / len(labels)
    blocks = _shuffled_blocks([str(photo_id) for photo_id in listing["id"].to_pylist()], seed)
    queues: list[list[int]] = [[] for _ in classes]
    for number in range(len(blocks) - 1, -1, -1):
        for label in {int(labels[row]) for row in blocks[number]}:
            queues[label].append(number)
    taken = np.zeros(len(classes))
    used = bytearray(len(blocks))
    order: list[int] = []
    while len(order) < len(labels):
        lag = shares * (len(order) + 1) - taken
        for label in np.argsort(-lag, kind="stable"):
            queue = queues[label]
            while queue and used[queue[-1]]:
                queue.pop()
            if queue:
                break
        number = queue.pop()
        used[number] = 1
        order += blocks[number]
        for row in blocks[number]:
            taken[labels[row]] += 1
    return order


def _first_of_each_class(listing: pa.Table, most: int, seed: int) -> list[int]:
    counts = listing["listed_count"].to_pylist()
    taken: Counter[int | None] = Counter()
    rows = []
    for row in balanced_order(listing, seed):
        if taken[counts[row]] < most:
            taken[counts[row]] += 1
            rows.append(row)
    return rows


def _shuffled_blocks(ids: list[str], seed: int) -> list[list[int]]:
    """Cut the ids into blocks of neighbours and shuffle those; a block is a list of row numbers."""
    loose: list[list[int]] = []
    numbered: list[tuple[int, int, int]] = []
    for row, photo_id in enumerate(ids):
        numbering = numbering_of(photo_id)
        if numbering is None:
            loose.append([row])
        else:
            numbered.append((*numbering, row))
    blocks: list[list[int]] = []
    last = (-1, -1)
    for width, number, row in sorted(numbered):
        near = last[0] == width and number - last[1] <= _NEIGHBOURS
        if near and len(blocks[-1]) < _LONGEST_BLOCK:
            blocks[-1].append(row)
        else:
            blocks.append([row])
        last = (width, number)
    blocks += loose
    blocks.sort(key=lambda block: hashlib.sha256(f"{seed}/{ids[block[0]]}".encode()).digest())
    return blocks
