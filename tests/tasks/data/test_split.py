"""Splits: stratified, without leaks, stable."""

import random
from collections import Counter

from tasks.data.prepared_data import SPLITS
from tasks.data.split import NOWHERE, assign_splits, measure_leak

TRAIN, TEST = SPLITS.index("train"), SPLITS.index("test")


def some_photos(photos: int, seed: int = 0) -> tuple[list[str], list[str], list[int]]:
    """Ids, bin groups of 1 to 4 photos, and counts that are one apart within a group."""
    chance = random.Random(seed)
    ids: list[str] = []
    groups: list[str] = []
    counts: list[int] = []
    while len(ids) < photos:
        name, count = f"{len(ids):06d}", chance.choices(range(1, 8), (12, 22, 25, 23, 18, 3, 1))[0]
        for i in range(chance.choices((1, 2, 3, 4), (45, 45, 7, 3))[0]):
            ids.append(f"{len(ids):06d}")
            groups.append(name)
            counts.append(max(1, count - i % 2))
    return ids, groups, counts


def test_class_shares_of_each_split_are_within_a_point_of_the_whole() -> None:
    ids, groups, counts = some_photos(5000)
    splits = assign_splits(ids, groups, counts, [], 0)
    whole = Counter(counts)
    for split in SPLITS:
        mine = Counter(c for c, s in zip(counts, splits, strict=True) if s == split)
        assert all(abs(mine[c] / mine.total() - whole[c] / len(ids)) < 0.01 for c in whole)
    sizes = Counter(splits)
    assert abs(sizes["train"] / len(ids) - 0.8) < 0.005
    assert abs(sizes["test"] / len(ids) - 0.1) < 0.005


def test_a_bin_is_in_one_split_and_a_random_split_would_have_leaked() -> None:
    ids, groups, counts = some_photos(3000)
    splits = assign_splits(ids, groups, counts, [], 0)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    assert measure_leak(groups, splits).with_twin_in_train == 0
    assert measure_leak(groups, assign_splits(ids, ids, counts, [], 0)).share > 0.4


def test_the_order_of_the_list_does_not_matter_but_the_seed_does() -> None:
    ids, groups, counts = some_photos(400)
    there = dict(zip(ids, assign_splits(ids, groups, counts, [], 0), strict=True))
    back = list(reversed(ids))
    again = dict(zip(back, assign_splits(back, groups[::-1], counts[::-1], [], 0), strict=True))
    assert again == there
    assert dict(zip(ids, assign_splits(ids, groups, counts, [], 1), strict=True)) != there


def test_adding_photos_moves_none_that_was_placed() -> None:
    ids, groups, counts = some_photos(4000)
    few = assign_splits(ids[:1000], groups[:1000], counts[:1000], [], 0)
    more = assign_splits(ids, groups, counts, [*map(SPLITS.index, few), *[NOWHERE] * (len(ids) - 1000)], 0)
    assert more[:1000] == few
    assert abs(Counter(more)["test"] / len(ids) - 0.1) < 0.005


def test_a_new_photo_follows_its_bin() -> None:
    assert assign_splits(["4", "5"], ["4", "4"], [1, 2], [NOWHERE, TEST], 0) == ["test", "test"]


def test_bins_that_turn_out_to_be_one_are_never_tested_on_what_was_learned() -> None:
    assert assign_splits(["5", "6", "7"], ["5", "5", "5"], [1, 2, 3], [TEST, NOWHERE, TRAIN], 0) == ["train"] * 3


def test_a_handful_of_photos_fills_every_split() -> None:
    ids = [str(i) for i in range(0, 40, 4)]
    assert set(assign_splits(ids, ids, [1] * 10, [], 0)) == set(SPLITS)
