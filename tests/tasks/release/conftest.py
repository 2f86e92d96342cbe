"""A real embedded cloud, and settings of their own for every test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tasks.settings import Settings
from tests.localcloud.conftest import RunningCloud


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    running = RunningCloud(tmp_path_factory.mktemp("cloud"))
    running.up()
    yield running
    running.down()


@pytest.fixture
def here(running_cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings with a bucket and a model package group of their own; AWS clients speak to the cloud."""
    for name, value in running_cloud.variables.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Settings(home=tmp_path, bucket=name, model_group=name, poll_seconds=0.1)
