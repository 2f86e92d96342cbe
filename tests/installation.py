"""An installation of Binventory in a folder of its own, used as a user uses it: from the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
from prefect.client.base import PrefectHttpxSyncClient

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "abid"
FOREIGN = ("PREFECT_", "AWS_", "BINVENTORY_")
USER = """
import os, sys
from tasks.services import use_cloud, use_prefect_server
from tasks.settings import settings
use_cloud(settings())
print(use_prefect_server(settings()), os.environ["AWS_ENDPOINT_URL_S3"], flush=True)
sys.stdin.readline()
"""


def own_variables() -> dict[str, str]:
    """Variables of this process, without what would lead to another installation or cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Installation:
    """A home folder, and the commands that run in it."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.environment = own_variables() | {"BINVENTORY_HOME": str(home), "COLUMNS": "120"} | variables

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python -m module``; its output is one stream."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, module: str, *arguments: str, code: int = 0) -> str:
        """Run ``python -m module`` to its end and return what it printed; it must exit with ``code``."""
        process = self.start(module, *arguments)
        said, _ = process.communicate(timeout=1200)
        assert process.returncode == code, said
        return said

    def localcloud(self, *arguments: str) -> str:
        """Run a command of the embedded cloud on this installation's."""
        return self.run("localcloud", *arguments, "--home", str(self.home / "localcloud"))

    @contextmanager
    def services(self) -> Iterator[None]:
        """Cloud and Prefect server, up while the context lasts, as `make up` has them but without its deployments."""
        user = User(self)
        try:
            yield
        finally:
            user.leave()

    def cloud_environment(self) -> dict[str, str]:
        """The ``AWS_*`` variables of this installation's embedded cloud."""
        variables: dict[str, str] = json.loads(self.localcloud("env", "--format", "json"))
        return variables

    def client(self, service: str) -> Any:
        """A plain boto3 client of this installation's embedded cloud."""
        variables = self.cloud_environment()
        suffix = {"s3": "S3", "sagemaker": "SAGEMAKER"}[service]
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=variables[f"AWS_ENDPOINT_URL_{suffix}"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_REGION"],
        )

    def prefect(self, path: str, **body: Any) -> Any:
        """Ask the installation's Prefect server."""
        url = json.loads((self.home / "prefect" / "server.json").read_text())["api_url"]
        with PrefectHttpxSyncClient(timeout=30) as client:  # asks again where a busy server answers 503
            return client.post(f"{url}/{path}", json=body).json()

    def summary(self, run: str = "latest") -> dict[str, Any]:
        """``summary.json`` of a run; empty while there is none."""
        file = self.home / "runs" / run / "summary.json"
        content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return content

    def processes(self) -> list[str]:
        """Command lines of the processes that work for this installation."""
        found = []
        for process in psutil.process_iter():
            try:
                variables = process.environ()
                line = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            mine = any(str(self.home) in text for text in (line, *variables.values()))
            if mine and process.pid != os.getpid():
                found.append(line)
        return found


class User:
    """A process that uses an installation's services until it is told to leave."""

    def __init__(self, installation: Installation) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER],
            cwd=ROOT,
            env=installation.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.prefect, self.s3 = self.process.stdout.readline().split()

    def leave(self) -> None:
        """Leave; whoever leaves last stops the services."""
        self.process.communicate("\n", timeout=60)
