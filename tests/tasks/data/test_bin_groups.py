"""Bin groups: which photos show the same bin."""

import csv
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest

from tasks.data.bin_groups import bin_groups


def test_neighbours_that_share_a_product_are_one_bin() -> None:
    ids = ["00009", "00010", "00012", "00013", "00016"]
    asins = [{"A"}, {"A", "B"}, {"B"}, {"C"}, {"C"}]
    assert bin_groups(ids, asins) == ["00009", "00009", "00009", "00013", "00016"]


def test_the_order_of_the_list_does_not_matter() -> None:
    assert bin_groups(["12", "10", "11"], [{"A"}, {"A"}, {"A"}]) == ["10", "10", "10"]


def test_numberings_are_kept_apart() -> None:
    assert bin_groups(["00523", "524", "523"], [{"A"}, {"A"}, {"A"}]) == ["00523", "523", "523"]


def test_without_metadata_only_direct_neighbours_are_one_bin() -> None:
    assert bin_groups(["5", "6", "8"], [set(), {"A"}, set()], [True, False, True]) == ["5", "5", "8"]


def test_where_not_all_products_could_be_read_direct_neighbours_are_one_bin_too() -> None:
    ids, in_part = ["4", "5", "6", "8", "9"], [False, False, True, False, False]
    asins = [{"A"}, {"C"}, {"B"}, {"B"}, {"D"}]
    assert bin_groups(ids, asins, in_part) == ["4", "5", "5", "5", "9"]


def test_an_empty_bin_shares_nothing() -> None:
    assert bin_groups(["5", "6"], [set(), set()]) == ["5", "6"]


def test_ids_that_are_no_numbers_are_bins_of_their_own() -> None:
    assert bin_groups(["a1", "a2"], [{"A"}, {"A"}]) == ["a1", "a2"]


@pytest.mark.photos
def test_real_groups_are_those_that_were_published_with_the_slice(real_photos: Path) -> None:
    products = {}
    with tarfile.open(real_photos / "metadata.tar.gz") as tar:
        for entry in tar:
            if content := tar.extractfile(entry):
                products[Path(entry.name).stem] = set(json.load(content)["BIN_FCSKU_DATA"])
    with (real_photos / "labels.csv").open() as file:
        labels = list(csv.DictReader(file))
    ids = [row["id"] for row in labels]
    missing = [i not in products for i in ids]
    found = as_sets(ids, bin_groups(ids, [products.get(i, set()) for i in ids], missing))
    assert found == as_sets(ids, [row["bin_group"] for row in labels])


def as_sets(ids: list[str], groups: list[str]) -> set[frozenset[str]]:
    members = defaultdict(set)
    for photo_id, group in zip(ids, groups, strict=True):
        members[group].add(photo_id)
    return {frozenset(ids) for ids in members.values()}
