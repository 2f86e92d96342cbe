"""One endpoint in a real embedded cloud, shared by the tests that ask it."""

from collections.abc import Iterator

import pytest

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting
from tests.serving.photos import archive, save_model
from tests.serving.web import Web, serving_web

NAMED = ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "[::]")  # noqa: S104


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    running = RunningCloud(tmp_path_factory.mktemp("cloud"))
    running.up()
    yield running
    running.down()


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    with serving_web() as running:
        yield running


@pytest.fixture(scope="session")
def hosting(running_cloud: RunningCloud) -> Hosting:
    return Hosting(running_cloud)


@pytest.fixture(scope="session")
def endpoint(hosting: Hosting, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An endpoint that may fetch from ``localhost`` by http, and from one bucket.

    The loopback address under its other names may be asked on any port too, so that only the rule about
    addresses stands between them and a server.
    """
    url = hosting.put("model.tar.gz", archive(save_model(tmp_path_factory.mktemp("model"))))
    environment = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "8",
        "BINVENTORY_PHOTO_HOSTS": ",".join(("localhost=127.0.0.0/8", *NAMED)),
        "BINVENTORY_PHOTO_BUCKETS": hosting.bucket,
    }
    hosting.create_model(f"{hosting.bucket}-m", url, environment)
    name = hosting.endpoint(hosting.config(f"{hosting.bucket}-m"))
    described = hosting.settle(name)
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    return name
