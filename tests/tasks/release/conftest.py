"""An embedded cloud and a Prefect server, both real, and settings of their own for every test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from prefect.context import refresh_global_settings_context

from tasks import services
from tasks.release.serving_now import describe
from tasks.settings import Settings
from tests.installation import Installation
from tests.tasks.release.bench import Bench


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Where the services of `running_services` are."""
    return Installation(tmp_path_factory.mktemp("services") / "home")


@pytest.fixture(scope="session")
def running_services(house: Installation) -> Iterator[dict[str, str]]:
    """Both services for the whole session; the variables that lead to them."""
    here, before = Settings(home=house.home), dict(os.environ)
    try:
        services.use_cloud(here)
        services.use_prefect_server(here)
        yield {name: value for name, value in os.environ.items() if before.get(name) != value}
    finally:
        services.leave(here)
        os.environ.clear()
        os.environ.update(before)
        refresh_global_settings_context()
    assert house.processes() == []


@pytest.fixture
def here(running_services: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings with a bucket and a model package group of their own; AWS clients speak to the cloud."""
    for name, value in running_services.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Settings(home=tmp_path, bucket=name, model_group=name, poll_seconds=0.1)


@pytest.fixture
def bench(here: Settings, tmp_path: Path) -> Bench:
    return Bench(here, tmp_path)


@pytest.fixture
def endpoint(here: Settings) -> Iterator[str]:
    name = f"e{uuid.uuid4().hex[:8]}"
    yield name
    if describe(name):
        boto3.client("sagemaker").delete_endpoint(EndpointName=name)
