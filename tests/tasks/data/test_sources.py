"""Where photos come from: what tells sources apart, and what is listed of them."""

from pathlib import Path

import pytest

from tasks.data.listing_stage import write_initial_listing
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sources import Source, list_source, open_source
from tasks.object_store import ensure_bucket
from tests.tasks.bucket_server import serving
from tests.tasks.data.photo_bucket import Bucket
from training.errors import CloudError, SourceError


def opened(bucket: Bucket, cloud: str, endpoint: str | None = None) -> Source:
    parameters = PrepareParameters(source=bucket.source.uri, source_endpoint=endpoint)
    return open_source(parameters, demo_bucket="demo", cloud=cloud)


def test_a_bucket_of_the_same_name_elsewhere_is_another_source(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = bucket.workspace
    assert not workspace.changes_source(opened(bucket, "local").identity)
    with serving(bucket.folder) as elsewhere:
        assert workspace.changes_source(opened(bucket, "local", elsewhere).identity)
        workspace.remember_source(opened(bucket, "local").identity, given_up=0)
        assert workspace.changes_source(opened(bucket, "aws").identity)
        workspace.remember_source(opened(bucket, "local").identity, given_up=0)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", elsewhere)  # the embedded cloud, at another port
        assert not workspace.changes_source(opened(bucket, "local").identity)


def test_a_dataset_from_before_clouds_were_told_apart_is_asked_about_once(bucket: Bucket) -> None:
    bucket.put("7", 4)
    chunk = bucket.listed(_7=4)
    bucket.workspace.changes_source(bucket.source.uri)
    bucket.fetch(chunk)
    source = opened(bucket, "local")
    assert bucket.workspace.changes_source(source.identity)
    bucket.gets()
    assert bucket.fetch(chunk, refresh=True) == {"7": "ok"}
    assert (bucket.counts.reused, bucket.gets()) == (1, [])
    bucket.workspace.remember_source(source.identity, given_up=0)
    assert not bucket.workspace.changes_source(source.identity)


def test_only_records_directly_under_metadata_are_listed(bucket: Bucket) -> None:
    bucket.put("7", 4)
    for name in ("2023/7.json", "2023/8.json", "notes.txt"):
        path = bucket.folder / "bins/metadata" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    assert list_source(bucket.source)["id"].to_pylist() == ["7"]


def test_a_bucket_in_another_region_is_read_there_or_said_to_be_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("7", 4)
    (bucket.folder / "bins/file_list.json").write_text('{"4": ["7"]}')
    with serving(bucket.folder, "--region", "eu-west-1") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        source = opened(bucket, "aws")
        assert list_source(source)["id"].to_pylist() == ["7"]
        assert write_initial_listing(bucket.workspace, source, PrepareParameters(source=source.uri)) == 1
        with pytest.raises(SourceError, match="redirect"):  # which says nothing of regions, but isn't tried again
            list_source(bucket.source)
        with pytest.raises(
            CloudError, match=r"'bins' at .* is in the region eu-west-1, and jobs would run in us-east-1"
        ):
            ensure_bucket("s3://bins")
