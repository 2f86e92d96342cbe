"""An embedded cloud and a Prefect server, both real, and settings of their own for every test."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.settings import Settings
from tests.installation import Installation


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Both services for the whole session; the variables that lead to the cloud."""
    installation = Installation(tmp_path_factory.mktemp("services") / "home")
    installation.run("tasks.services", "up")
    url = json.loads((installation.home / "prefect" / "server.json").read_text())["api_url"]
    with temporary_settings({PREFECT_API_URL: url}):
        yield installation.cloud_environment()
    installation.run("tasks.services", "down")
    assert installation.processes() == []


@pytest.fixture
def here(services: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings with a bucket and a model package group of their own; AWS clients speak to the cloud."""
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Settings(home=tmp_path, bucket=name, model_group=name, poll_seconds=0.1, startup_seconds=60)
