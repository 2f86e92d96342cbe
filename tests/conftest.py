"""Fixtures of all rooms."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as localcloud does; read when torch is imported

import boto3

from tests.installation import PHOTOS, Installation

TOGETHER = (
    "tests/aws/",
    "tests/flows/nights/",
    "tests/flows/preparing/",
    "tests/serving/",
    "tests/tasks/ledger/",
    "tests/tasks/release/",
)


class ByService(LoadScopeScheduling):  # type: ignore[misc]
    """Where tests run some at a time, those that share what takes long to start stay in one process.

    Files do, and the folders of `TOGETHER`. The groups of ``--dist loadgroup`` do not reach the scheduler: xdist 3.8
    writes them into an attribute of test items that pytest 9.2 no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByService:
    return ByService(config, log)


@pytest.fixture(autouse=True)
def _no_remembered_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test meets its own cloud: boto3 and the SageMaker SDK would go on with that of the one before."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    if sdk := sys.modules.get("sagemaker.core.utils.utils"):  # importing it takes seconds; most tests need not
        sdk.SageMakerClient.reset()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A fresh installation; whatever it left running is stopped, and is a failure of the test."""
    fresh = Installation(tmp_path / "home")
    yield fresh
    left = fresh.processes()
    fresh.run("tasks.services", "down")
    assert left == [], "processes were left running"


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """The folder with the real photos; the test is skipped where they are absent."""
    if not (PHOTOS / "images.tar").exists():
        pytest.skip(f"the real ABID photos are not at {PHOTOS}; see docs/data.md")
    return PHOTOS
