"""Servers that tests of several rooms ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledgers import postgres
from tests.s3_server import serving_s3


@pytest.fixture(scope="session")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose subfolders are the buckets of ``s3``."""
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="session")
def s3_variables(s3_folder: Path) -> Iterator[dict[str, str]]:
    """A real S3 server for the whole session; these variables lead there."""
    with serving_s3(s3_folder) as variables:
        yield variables


@pytest.fixture
def s3(s3_variables: dict[str, str], s3_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point AWS clients at the S3 server; returns the folder of its buckets."""
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    return s3_folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url
