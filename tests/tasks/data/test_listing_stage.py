"""Which photos a run is about."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.bin_metadata import UNREACHABLE, absent_record, read_record
from tasks.data.catalog import join_partition
from tasks.data.chunks import read_listing, write_listing
from tasks.data.file_list import SCHEMA
from tasks.data.labels import keep_labels
from tasks.data.listing_stage import build_listing_from_metadata, write_initial_listing
from tasks.data.metadata_stage import metadata_state
from tasks.data.photo_ids import PARTITIONS, partition_of
from tasks.data.prepared_data import PrepareParameters
from tasks.data.report import left_out_table
from tasks.data.sources import Source
from tasks.data.workspace import Workspace
from tests.tasks.bucket_server import serving
from training.errors import FileListError, TransferError


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "dataset/state").mkdir(parents=True)
    return Workspace(tmp_path / "dataset")


@pytest.mark.parametrize("named", [None, "s3://bins/file_list.json"])
def test_a_list_in_the_sources_bucket_is_read_where_the_source_is(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    (tmp_path / "served/bins").mkdir(parents=True)
    (tmp_path / "served/bins/file_list.json").write_text('{"2": ["00007"]}')
    with serving(tmp_path / "served") as endpoint:
        source = Source("s3://bins", endpoint)
        parameters = PrepareParameters(source=source.uri, source_endpoint=endpoint, file_list=named)
        assert write_initial_listing(workspace, source, parameters) == 1
        assert read_listing(workspace)["id"].to_pylist() == ["00007"]
        elsewhere = parameters.model_copy(update={"file_list": "s3://bins-of-others/list"})
        with pytest.raises(TransferError, match="s3://bins-of-others/list"):
            write_initial_listing(workspace, source, elsewhere)


def a_bucket_of(workspace: Workspace, **bodies: bytes | None) -> None:
    """A bucket that was listed and whose metadata was fetched; None for what was out of reach."""
    ids = [name.removeprefix("_") for name in bodies]
    write_listing(workspace, pa.table({"id": ids, "listed_count": pa.nulls(len(ids), pa.int32())}, schema=SCHEMA))
    for photo_id, body in zip(ids, bodies.values(), strict=True):
        with metadata_state(workspace, partition_of(photo_id)) as state:
            state.append(absent_record(photo_id, UNREACHABLE) if body is None else read_record(photo_id, body, "e"))


def record(count: int) -> bytes:
    return json.dumps({"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": count}).encode()


def test_records_of_a_bucket_that_say_no_count_are_counted_and_named(workspace: Workspace) -> None:
    a_bucket_of(workspace, _1=record(2), _2=b"<html>", _3=record(9), _4=b"{}", _5=b"<html>", _6=None)
    built = build_listing_from_metadata(workspace, PrepareParameters(all=True))
    assert read_listing(workspace)["id"].to_pylist() == ["1"]
    assert (built.records, built.listed) == (6, 1)
    table = {row["flag"]: (row["photos"], set(row["for example"].split(", "))) for row in left_out_table(built)}
    assert table == {
        "not_json": (2, {"2", "5"}),
        "no_expected_quantity": (1, {"4"}),
        "metadata_unreachable": (1, {"6"}),
    }
    lines = workspace.left_out.read_text().splitlines()
    assert lines[0] == "id,flag"
    assert sorted(lines[1:]) == ["2,not_json", "4,no_expected_quantity", "5,not_json", "6,metadata_unreachable"]


def test_a_bucket_without_any_count_says_how_many_records_say_none(workspace: Workspace) -> None:
    a_bucket_of(workspace, _1=b"<html>", _2=record(7))
    with pytest.raises(FileListError, match="2 records were read, 1 of them say no count"):
        build_listing_from_metadata(workspace, PrepareParameters(all=True))


def test_a_persons_label_makes_the_class_of_a_photo_and_is_no_disagreement_of_list_and_record(
    workspace: Workspace, tmp_path: Path
) -> None:
    a_bucket_of(workspace, _1=record(9), _2=record(3), _3=b"<html>", _4=record(2))
    pq.write_table(pa.table({"id": ["1", "2", "3"], "count": [4, 0, 5]}), tmp_path / "labels.parquet")
    keep_labels(workspace, tmp_path / "labels.parquet")
    parameters = PrepareParameters(all=True, write_file_list=tmp_path / "list.json")
    assert build_listing_from_metadata(workspace, parameters).left_out == []
    rows = [row for partition in range(PARTITIONS) for row in join_partition(workspace, partition).to_pylist()]
    assert {row["id"]: (row["count"], row["flags"]) for row in rows} == {
        "1": (4, ["quantity_differs"]),
        "3": (5, ["not_json"]),
        "4": (2, ["quantity_differs"]),
    }
    classes = json.loads((tmp_path / "list.json").read_text())
    assert classes == {str(count): [f"data/metadata/{i}.json"] for count, i in ((2, 4), (4, 1), (5, 3))}


def test_a_list_that_cannot_be_written_is_said_before_anything_is_read(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place, why in ((tmp_path, "Is a directory"), (tmp_path / "file/list.json", "File exists|Not a directory")):
        parameters = PrepareParameters(source="s3://bins", all=True, write_file_list=place)
        with pytest.raises(FileListError, match=f"No file list can be written to {place}: ({why})"):
            write_initial_listing(workspace, Source("s3://bins", "http://127.0.0.1:9"), parameters)
    monkeypatch.setenv("HOME", str(tmp_path))
    a_bucket_of(workspace, _1=record(2))
    build_listing_from_metadata(workspace, PrepareParameters(all=True, write_file_list=Path("~/lists/list.json")))
    assert (tmp_path / "lists/list.json").exists()


def test_where_every_record_says_its_count_none_is_named(workspace: Workspace) -> None:
    a_bucket_of(workspace, _1=record(2))
    assert build_listing_from_metadata(workspace, PrepareParameters(all=True)).left_out == []
    assert not workspace.left_out.exists()
