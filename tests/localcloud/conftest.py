"""A real localcloud in a temporary folder, started and stopped as a user would, and clients of it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from botocore.response import StreamingBody
from botocore.validate import ParamValidator

from localcloud.faults import Faults
from localcloud.host.cores import Cores
from localcloud.host.keys import Keys
from localcloud.host.processes import Processes
from localcloud.host.workers import Workers
from localcloud.journal import Journal
from localcloud.operations import Cloud
from localcloud.s3 import S3
from localcloud.store import Store
from tests.localcloud.hosting import Hosting

ROOT = Path(__file__).resolve().parents[2]


class RunningCloud:
    """A cloud that was started by the command line, with boto3 clients that do not retry."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.variables: dict[str, str] = {}

    def command(self, *arguments: str) -> str:
        """Run `python -m localcloud ...` on this cloud and return what it printed."""
        command = [sys.executable, "-m", "localcloud", *arguments, "--home", str(self.home)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> None:
        self.command("up")
        self.variables = json.loads(self.command("env", "--format", "json"))

    def down(self) -> None:
        self.command("down")
        assert self.processes() == []

    def client(self, service: str, **config: Any) -> Any:
        """A client that does not retry, and that checks every answer against the API's output shape."""
        name = "CLOUDWATCH_LOGS" if service == "logs" else service.upper().replace("-", "_")
        client = boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.variables[f"AWS_ENDPOINT_URL_{name}"],
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}, **config),
        )
        if service != "s3":
            client.meta.events.register("after-call", check_shape)
        return client

    def processes(self) -> list[list[str]]:
        """The command lines of everything that runs for this cloud."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                about = [*process.cmdline(), process.environ().get("LOCALCLOUD_PROCESS", "")]
                if process.pid != os.getpid() and any(part.startswith(str(self.home)) for part in about):
                    found.append(about)
        return found


def check_shape(http_response: AWSResponse, parsed: dict[str, Any], model: OperationModel, **_: Any) -> None:
    """An answer must have the members that the API promises, of the right types and sizes."""
    if http_response.status_code < 300 and model.output_shape is not None:
        answer = {
            name: b"" if isinstance(value, StreamingBody) else value
            for name, value in parsed.items()
            if name != "ResponseMetadata"
        }
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), f"{model.name}: {report.generate_report()}"


def error(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """The code and the HTTP status of what a client was refused with."""
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """One cloud for all tests of a worker; they use names of their own in it."""
    running = RunningCloud(tmp_path_factory.mktemp("cloud"))
    running.up()
    yield running
    running.down()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Cloud]:
    """A cloud's parts in this process, without S3 and without a service; what it runs in threads is ended."""
    keys = Keys("AKIATEST", "secret")
    store = Store(tmp_path / "resources.sqlite3")
    workers = Workers()
    yield Cloud(
        home=tmp_path,
        region="us-east-1",
        account="000000000000",
        store=store,
        s3=S3("http://127.0.0.1:9", keys, "us-east-1"),
        processes=Processes(owner=os.getpid()),
        workers=workers,
        cores=Cores(),
        faults=Faults(),
        journal=Journal(tmp_path / "journal.jsonl"),
        environment={},
    )
    workers.stop()
    store.close()


@pytest.fixture
def hosting(cloud: RunningCloud) -> Hosting:
    """Models and endpoints in the cloud of a worker."""
    return Hosting(cloud)


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[RunningCloud]:
    """A cloud for one test, which may stop it or kill it."""
    running = RunningCloud(tmp_path / "cloud")
    running.up()
    yield running
    running.down()
