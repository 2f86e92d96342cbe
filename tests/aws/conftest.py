"""One recording for all tests of this folder: everything that the flows do in the cloud, once, with a journal on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.data.demo_photos.bucket import demo_folder
from tests.forking import Commands
from tests.installation import Installation, User
from tests.recorded import Recording, read_journal

SMALL = (
    "--demo-photos=100",
    "--recipe=frozen",
    "--image-size=32",
    "--trials=1",
    "--tuning-epochs=1",
    "--epochs=1",
    "--smoke-photos=3",
    "--night-photos=5",
)
NIGHT = (f"--prefix={demo_folder('s3://binventory-demo', photos=100, seed=0)}/bin-images/", "--limit=5")
THROUGH_ENDPOINT = (*NIGHT, "--endpoint=binventory")
UNSEEN = ("CreateModelPackage", "UpdateModelPackage", "CreateEndpointConfig", "CreateEndpoint", "CreateTransformJob")
"""Requests that name what was made just before; the first of each is told that it is not there."""
THROTTLED = {"CreateHyperParameterTuningJob": 2, "CreateModelPackageGroup": 5, "InvokeEndpoint": 2}
"""How often; by itself, boto3 would give up at the fifth time."""


@dataclass(frozen=True)
class Recorded:
    """What was recorded, flow by flow."""

    home: Path
    pipeline: Recording
    night_through_endpoint: Recording
    after: Recording
    faults_left: str

    @property
    def all(self) -> Recording:
        """Everything."""
        return self.pipeline + self.night_through_endpoint + self.after


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """The full pipeline, nights by jobs and through the endpoint, a deployment and the teardown, with faults."""
    house = Installation(tmp_path_factory.mktemp("recorded") / "home")
    journal = house.home / "localcloud" / "journal.jsonl"
    house.localcloud("up", "--journal")
    services = User(house)
    for operation in UNSEEN:
        house.localcloud("faults", "unseen", "1", "--operation", operation)
    for operation, calls in THROTTLED.items():
        house.localcloud("faults", "throttle", str(calls), "--operation", operation)
    commands = Commands(house)
    commands.run("flows.full_pipeline", *SMALL)
    left = house.localcloud("faults", "list")
    pipeline = read_journal(journal)
    journal.write_text("")
    commands.run("flows.nightly_count", *THROUGH_ENDPOINT)
    through_endpoint = read_journal(journal)
    journal.write_text("")
    house.environment["BINVENTORY_STARTUP_SECONDS"] = "300"  # another configuration: the endpoint is updated
    commands.run("flows.deploy")
    commands.run("flows.nightly_count", *NIGHT)
    commands.run("flows.teardown", "--run-id", pipeline.run, "--delete", "--in-use")
    services.leave()
    yield Recorded(house.home, pipeline, through_endpoint, read_journal(journal), left)
    assert house.processes() == []
