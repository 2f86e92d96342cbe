"""What tests of fetching share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tasks.data.odd_server import serving_oddly
from tests.tasks.data.photo_bucket import Bucket


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    served = Bucket(tmp_path)
    with serving_oddly(served.folder, served.log) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        yield served


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after the second try, where it would be the sixth."""
    monkeypatch.setattr("tasks.data.fetch.fetch_again.retry.stop", lambda _: True)
