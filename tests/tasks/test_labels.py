"""People's labels overrule list and metadata; what is no file of labels is refused."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.chunks import read_listing, write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.label_bytes import leave_out_labels_of_other_bytes
from tasks.data.labels import count_listed, keep_labels
from tasks.data.metadata_stage import effective_counts
from tasks.data.photo_ids import PARTITIONS
from tasks.data.workspace import Workspace
from tests.tasks.data.conftest import bucket
from tests.tasks.data.photo_bucket import Bucket, a_photo
from training.errors import DataError

__all__ = ["bucket"]


def counts(workspace: Workspace) -> dict[str, Any]:
    """The count of every listed photo."""
    found: dict[str, Any] = {}
    for partition in range(PARTITIONS):
        listing = read_listing(workspace, (partition,))
        ids: list[Any] = listing["id"].to_pylist()
        found |= dict(zip(ids, effective_counts(workspace, partition, listing).to_pylist(), strict=True))
    return found


def write(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_labels_overrule_and_can_be_taken_away_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data")
    workspace.state.mkdir(parents=True)
    write_listing(workspace, pa.table({"id": ["523", "00523", "7"], "listed_count": [2, 3, None]}, schema=SCHEMA))
    labels = write(tmp_path / "labels.parquet", id=["00523", "7", "elsewhere"], count=[1, 4, 5], reviewers=[["a"]] * 3)
    assert keep_labels(workspace, labels) == 3
    assert count_listed(workspace) == (2, 3)
    assert counts(workspace) == {"523": 2, "00523": 1, "7": 4}
    assert keep_labels(workspace, None) == 0
    assert counts(workspace) == {"523": 2, "00523": 3, "7": None}


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"id": ["1"]}, "cannot be read"),
        ({"id": ["1"], "count": [-1]}, "a count that is none"),
        ({"id": ["1"], "count": [None]}, "cannot be read|a count that is none"),
        ({"id": ["1", "1"], "count": [1, 2]}, "twice"),
        ({"id": ["1"], "count": ["many"]}, "cannot be read"),
    ],
)
def test_what_is_no_file_of_labels_is_refused(tmp_path: Path, columns: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        keep_labels(Workspace(tmp_path / "data"), write(tmp_path / "labels.parquet", **columns))
    with pytest.raises(DataError, match=r"nowhere\.parquet cannot be read: No such file"):
        keep_labels(Workspace(tmp_path / "data"), tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.null()])
def test_labels_whose_ids_are_numbers_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    """What pandas makes of ids that look like numbers: 00523 would be 523."""
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": pa.array([None], kind), "count": [4]}), path)
    with pytest.raises(DataError, match=f"the ids in the labels .* are {kind}, not strings: 00523 and 523"):
        keep_labels(Workspace(tmp_path / "data"), path)


def test_labels_with_long_strings_are_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data")
    workspace.state.mkdir(parents=True)
    pq.write_table(pa.table({"id": pa.array(["00523"], pa.large_string()), "count": [4]}), tmp_path / "l.parquet")
    assert keep_labels(workspace, tmp_path / "l.parquet") == 1


def test_labels_of_other_bytes_are_left_out_also_before_the_photo_was_fetched(bucket: Bucket, tmp_path: Path) -> None:
    """A photo of that name from another bucket, or one that was replaced; those without an ETag stay."""
    names = {"1": "replaced", "2": "the same", "3": "not said", "4": "not there", "5": "not listed"}
    for photo_id in ("1", "2", "3", "5"):
        bucket.put(photo_id, 2)
    chunk = bucket.listed(_1=2, _2=2, _3=2, _4=2)
    same = hashlib.md5(a_photo(2), usedforsecurity=False).hexdigest()
    etags: dict[str, list[Any]] = {"etag": ["e9", same, None, "e9", "e9"], "bucket": ["elsewhere"] * 5}
    labels = write(tmp_path / "labels.parquet", id=list(names), count=[5] * 5, **etags)

    def left_out(refresh: bool = False) -> list[str]:
        assert keep_labels(bucket.workspace, labels) == 5
        return leave_out_labels_of_other_bytes(bucket.workspace, bucket.source, refresh=refresh)

    assert left_out() == ["1"]
    assert count_listed(bucket.workspace) == (3, 4)
    bucket.fetch(chunk)
    assert {photo_id: row["count"] for photo_id, row in bucket.rows.items()} == {"1": 2, "2": 5, "3": 5, "4": 5}
    bucket.put("2", 2, a_photo(7))
    assert left_out() == ["1"]  # what is here is what was counted
    assert left_out(refresh=True) == ["1", "2"]
