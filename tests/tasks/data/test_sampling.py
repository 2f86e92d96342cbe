"""Limits: which photos a shorter run is made of."""

from collections import Counter

import pyarrow as pa

from tasks.data.file_list import SCHEMA
from tasks.data.sampling import limit_list


def a_list(photos: int = 1000) -> pa.Table:
    """Pairs of neighbours with counts one apart, in uneven shares of classes 1 to 5."""
    ids = [f"{3 * (i // 2) + i % 2:05d}" for i in range(photos)]
    counts = [min(5, 1 + (i // 2) % 7 // 2 + i % 2) for i in range(photos)]
    return pa.table({"id": ids, "listed_count": counts}, schema=SCHEMA)


def limited(table: pa.Table, limit: int | None = None, per_class: int | None = None, seed: int = 0) -> list[str]:
    ids: list[str] = limit_list(table, limit=limit, per_class_limit=per_class, seed=seed)["id"].to_pylist()
    return ids


def test_a_sample_has_the_class_shares_of_the_list() -> None:
    table = a_list()
    count_of = dict(zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True))
    whole = Counter(count_of.values())
    sample = Counter(count_of[i] for i in limited(table, 100))
    assert all(abs(sample[c] - whole[c] / 10) <= 2 for c in whole)


def test_a_larger_limit_holds_a_smaller_one_and_the_order_depends_on_the_seed_alone() -> None:
    assert limited(a_list(), 300)[:100] == limited(a_list(), 100)
    assert limited(a_list(), 100, seed=1) != limited(a_list(), 100)


def test_twins_come_together() -> None:
    sample = set(limited(a_list(), 200))
    alone = [i for i in sample if f"{int(i) + (1 if int(i) % 3 == 0 else -1):05d}" not in sample]
    assert len(alone) <= 1  # the last pair may be cut by the limit


def test_at_most_so_many_of_each_class() -> None:
    table = a_list()
    count_of = dict(zip(table["id"].to_pylist(), table["listed_count"].to_pylist(), strict=True))
    assert set(Counter(count_of[i] for i in limited(table, per_class=20)).values()) == {20}
    assert len(limited(table, limit=50, per_class=20)) == 50


def test_a_limit_beyond_the_list_changes_nothing() -> None:
    assert limited(a_list(10), 1000) == a_list(10)["id"].to_pylist()
