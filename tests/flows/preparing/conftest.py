"""One Prefect and one S3 server for all tests of this folder, and homes of their own for each."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

import flows.prepare_data
from flows.prepare_data import prepare_data
from tasks.data.prepared_data import PreparedData, PrepareParameters
from tasks.settings import settings
from tests.flows.preparing.results import Prepare
from tests.s3_server import serving_s3


@pytest.fixture(scope="package")
def prefect_api() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="package")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Their folder, and the variables that lead to them."""
    folder = tmp_path_factory.mktemp("buckets")
    with serving_s3(folder) as variables:
        yield folder, variables


@pytest.fixture
def prepare(
    prefect_api: None,
    buckets: tuple[Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Prepare]:
    """Run the flow in a home of its own, with a dataset of its own."""
    for name, value in buckets[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BINVENTORY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(flows.prepare_data, "use_cloud", lambda _: None)
    settings.cache_clear()
    dataset = "d" + hashlib.sha256(request.node.name.encode()).hexdigest()[:10]

    def run(**parameters: Any) -> PreparedData:
        given: dict[str, Any] = {"demo_photos": 90, "dataset": dataset, "shard_size": 64}
        return prepare_data(PrepareParameters(**given | parameters))

    yield run
    settings.cache_clear()
