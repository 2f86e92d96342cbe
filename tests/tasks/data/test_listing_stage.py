"""Which photos a run is about."""

from pathlib import Path

import pytest

from tasks.data.chunks import read_listing
from tasks.data.listing_stage import write_initial_listing
from tasks.data.prepared_data import PrepareParameters
from tasks.data.sources import Source
from tasks.data.workspace import Workspace
from tests.tasks.bucket_server import serving
from training.errors import TransferError


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
