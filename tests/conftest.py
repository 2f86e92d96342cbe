"""Fixtures of all rooms."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as localcloud does; read when torch is imported

import boto3

from tests.installation import PHOTOS, ROOT, Installation

TOGETHER = [ROOT / "tests" / name for name in ("aws", "serving", "tasks/release", "tasks/ledger")]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run two at a time, those that share what takes long to start stay in one process."""
    for item in items:
        together = [folder for folder in TOGETHER if folder in item.path.parents]
        item.add_marker(pytest.mark.xdist_group(str((together or [item.path])[0].relative_to(ROOT))))


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
