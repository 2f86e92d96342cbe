"""What a killed run remembers."""

import json
from pathlib import Path

import pyarrow as pa

from tasks.data.bin_metadata import METADATA_SCHEMA, read_record
from tasks.data.partition_state import PartitionState

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64())])


def remembered(folder: Path) -> dict[str, int]:
    rows = PartitionState(folder, 3, SCHEMA).table().to_pylist()
    return {row["id"]: row["n"] for row in rows}


def test_rows_are_folded_in_and_the_last_one_wins(tmp_path: Path) -> None:
    with PartitionState(tmp_path, 3, SCHEMA) as state:
        state.append({"id": "b", "n": 1})
        state.append({"id": "a", "n": 2})
    with PartitionState(tmp_path, 3, SCHEMA) as state:
        state.append({"id": "b", "n": 3})
    assert remembered(tmp_path) == {"a": 2, "b": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["03.parquet"]


def test_what_was_appended_survives_a_writer_that_never_closed(tmp_path: Path) -> None:
    PartitionState(tmp_path, 3, SCHEMA).append({"id": "a", "n": 1})
    assert remembered(tmp_path) == {"a": 1}


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    PartitionState(tmp_path, 3, SCHEMA).append({"id": "a", "n": 1})
    with (tmp_path / "03.jsonl").open("ab") as journal:
        journal.write(b'{"id":"b","n"')
    assert remembered(tmp_path) == {"a": 1}


def test_equal_rows_make_equal_bytes_in_whatever_order_they_came(tmp_path: Path) -> None:
    for folder, ids in (("one", "abc"), ("other", "cab")):
        with PartitionState(tmp_path / folder, 0, SCHEMA) as state:
            for photo_id in ids:
                state.append({"id": photo_id, "n": ord(photo_id)})
    assert (tmp_path / "one/00.parquet").read_bytes() == (tmp_path / "other/00.parquet").read_bytes()


RECORD = {"BIN_FCSKU_DATA": {"B": {"asin": "B", "quantity": 1, "name": "a \ud83d"}}, "EXPECTED_QUANTITY": 1}


def names(folder: Path) -> list[str]:
    return [row["skus"][0]["name"] for row in PartitionState(folder, 3, METADATA_SCHEMA).table().to_pylist()]


def test_a_record_with_half_a_character_is_kept(tmp_path: Path) -> None:
    with PartitionState(tmp_path, 3, METADATA_SCHEMA) as state:
        state.append(read_record("7", json.dumps(RECORD).encode(), ""))
    assert names(tmp_path) == ["a ?"]


def test_a_journal_with_half_a_character_blocks_nobody(tmp_path: Path) -> None:
    """As versions wrote it that didn't look."""
    row = read_record("7", json.dumps(RECORD).encode(), "")
    row["skus"][0]["name"] = "a \ud83d, \U0001f4a1"
    PartitionState(tmp_path, 3, METADATA_SCHEMA).append(row)
    assert names(tmp_path) == ["a ?, \U0001f4a1"]
