"""Metadata records: read, checked, and flagged where they are odd."""

import json
from typing import Any

import pyarrow as pa
import pytest

from tasks.data.bin_metadata import METADATA_SCHEMA, read_record

GOOD: dict[str, Any] = {
    "BIN_FCSKU_DATA": {
        "B01": {
            "asin": "B01",
            "name": "A lamp",
            "quantity": 2,
            "height": {"unit": "IN", "value": 1.5},
            "length": {"unit": "IN", "value": 3},
            "width": {"unit": "IN", "value": 2.5},
            "weight": {"unit": "pounds", "value": 0.25},
        }
    },
    "EXPECTED_QUANTITY": 2,
}


def read(record: Any) -> dict[str, Any]:
    row = read_record("00523", json.dumps(record).encode(), "e")
    pa.Table.from_pylist([row], schema=METADATA_SCHEMA)  # whatever comes out fits the catalog
    return row


def test_a_good_record_is_read_whole() -> None:
    row = read(GOOD)
    assert (row["id"], row["count"], row["quantity_sum"], row["flags"]) == ("00523", 2, 2, [])
    assert row["skus"] == [
        {
            "asin": "B01",
            "quantity": 2,
            "name": "A lamp",
            "pounds": 0.25,
            "inches_long": 3.0,
            "inches_wide": 2.5,
            "inches_high": 1.5,
        }
    ]


@pytest.mark.parametrize(
    "weight",
    [{"unit": "pounds"}, {"unit": "pounds", "value": -1}, {"unit": 7, "value": 1}, {"value": float("nan")}, "heavy", 3],
)
def test_a_measure_that_cannot_be_read_costs_no_product(weight: Any) -> None:
    row = read(changed(weight=weight))
    assert row["flags"] == ["measure_unreadable"]
    assert row["skus"] == [read(GOOD)["skus"][0] | {"pounds": None}]


def test_an_empty_bin_is_no_oddity() -> None:
    row = read({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0})
    assert (row["count"], row["skus"], row["flags"]) == (0, [], [])


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "BIN_FCSKU_DATA": {"B01": {**GOOD["BIN_FCSKU_DATA"]["B01"], **fields}}}


@pytest.mark.parametrize(
    ("record", "count", "flags"),
    [
        ({**GOOD, "EXPECTED_QUANTITY": 3}, 3, ["quantity_differs"]),
        ({**GOOD, "EXPECTED_QUANTITY": -1}, None, ["no_expected_quantity"]),
        ({**GOOD, "EXPECTED_QUANTITY": "2"}, None, ["no_expected_quantity"]),
        ({**GOOD, "EXPECTED_QUANTITY": 1e300}, None, ["no_expected_quantity"]),
        ({**GOOD, "EXPECTED_QUANTITY": True}, None, ["no_expected_quantity"]),
        ({"BIN_FCSKU_DATA": GOOD["BIN_FCSKU_DATA"]}, None, ["no_expected_quantity"]),
        ({"EXPECTED_QUANTITY": 0}, 0, []),
        (changed(weight=None), 2, ["measure_absent"]),
        (changed(weight={"unit": "stone", "value": 1}), 2, ["unit_unknown"]),
        (changed(weight={"value": -1}, width=None), 2, ["measure_absent", "measure_unreadable"]),
        (changed(asin="B02"), 2, ["asin_differs"]),
        (changed(name="half a pair: \ud83d"), 2, []),
        (changed(asin="\ud83d"), 2, ["quantity_differs", "sku_unreadable"]),
        (changed(quantity=-2), 2, ["quantity_differs", "sku_unreadable"]),
        (changed(quantity=10**400), 2, ["quantity_differs", "sku_unreadable"]),
        ([1, 2], None, ["not_a_record"]),
        ({"BIN_FCSKU_DATA": [], "EXPECTED_QUANTITY": 1}, None, ["not_a_record"]),
    ],
)
def test_odd_records_are_kept_and_flagged(record: Any, count: int | None, flags: list[str]) -> None:
    row = read(record)
    assert (row["count"], row["flags"]) == (count, flags)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"EXPECTED_QUANTITY": NaN'])
def test_what_is_not_json_is_flagged(body: bytes) -> None:
    assert read_record("1", body, "")["flags"] == ["not_json"]


def test_a_record_whose_sum_is_beyond_all_measure_is_none() -> None:
    skus = {f"B{n}": {"asin": f"B{n}", "quantity": 9_999} for n in range(4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.data.bin_metadata._LARGEST_SUM", 30_000)
        assert read({"BIN_FCSKU_DATA": skus, "EXPECTED_QUANTITY": 4})["flags"] == ["not_a_record"]
