"""Gets a model from S3 onto disk and starts its model server, for endpoints and transform jobs."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcloud import logs
from localcloud.errors import JobFailedError
from localcloud.host.processes import Process, ProcessSpec
from localcloud.model_server.archive import fetch_archive, model_data_url
from localcloud.operations import Cloud
from localcloud.store import Document

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 30.0  # AWS: SIGTERM, then SIGKILL thirty seconds later
PING_TIMEOUT_SECONDS = 2.0  # AWS: "The request timeout on /ping attempts is 2 seconds"
_INHERITED = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class LogStream:
    """Where in CloudWatch Logs a server's output can be read."""

    group: str
    stream: str


class ModelServer:
    """The server process of one model container, in a folder of its own.

    `folder/model` is what a container sees as `/opt/ml/model`; `folder/port` holds the port once the model is
    loaded; `folder/log.jsonl` is the log.
    """

    def __init__(
        self,
        cloud: Cloud,
        folder: Path,
        container: Document,
        log: LogStream,
        *,
        max_payload: int,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`container` is the model's ContainerDefinition, `max_payload` in bytes."""
        self.folder = folder
        self._cloud = cloud
        self._container = container
        self._log = log
        self._max_payload = max_payload
        self._extra = environment or {}
        self._process = cloud.processes.find(folder)

    @property
    def port(self) -> int | None:
        """The port of a server that is running and has loaded its model."""
        if self._process is None or not self._process.running:
            return None
        try:
            return int((self.folder / "port").read_text())
        except FileNotFoundError:
            return None

    @property
    def healthy(self) -> bool:
        """Whether the server answers `/ping`."""
        port = self.port
        return port is not None and _ping(port)

    def prepare(self) -> None:
        """Download and unpack the model. Raises JobFailedError, in AWS's words, when that is not possible."""
        model = self.folder / "model"
        if model.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / "model.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        if url := model_data_url(self._container):
            fetch_archive(self._cloud.s3, url, draft)
        source = self._environment().get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if source.startswith("s3://"):
            fetch_archive(self._cloud.s3, source, draft / "code")
        draft.rename(model)

    def start(self) -> None:
        """Start the process, ending one that is left; it serves once `wait_until_healthy` has returned."""
        self.kill()
        logs.register(self._cloud, self._log.group, self._log.stream, self.folder / "log.jsonl")
        (self.folder / "port").unlink(missing_ok=True)
        command = [sys.executable, "-m", "localcloud.model_server"]
        arguments = ["--model-dir", "model", "--port-file", "port", "--max-payload", str(self._max_payload)]
        spec = ProcessSpec([*command, *arguments], self._process_environment(), self.folder, GRACE_SECONDS)
        self._process = self._cloud.processes.start(self.folder, spec)

    def wait_until_healthy(self, timeout: float, give_up: Callable[[], bool]) -> int:
        """Wait for the first good `/ping`; returns the port.

        Raises JobFailedError when the process ends, does not become healthy in `timeout` seconds, or
        `give_up()` is true.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if give_up():
                raise JobFailedError("stopped while the model was loading")
            if (port := self.port) is not None and _ping(port):
                return port
            process = self._running_process()
            if not process.running and (end := process.exit_status) is not None:
                raise JobFailedError(f"the model server {end.describe()}: {self._last_words()}")
            time.sleep(0.02)
        raise JobFailedError(f"the model was not loaded within {timeout:g} seconds: {self._last_words()}")

    def stop(self) -> None:
        """Ask the process to end, without waiting; it is killed after its grace period."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End the process and all it started, and wait for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def wait(self, timeout: float) -> None:
        """Wait for the process to end."""
        if self._process is not None:
            self._process.wait(timeout)

    def _running_process(self) -> Process:
        if self._process is None:
            raise JobFailedError("the model server was not started")
        return self._process

    def _environment(self) -> dict[str, str]:
        return {**self._container.get("Environment", {}), **self._extra}

    def _process_environment(self) -> dict[str, str]:
        root = str(Path(__file__).resolve().parents[2])
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment = {
            **inherited,
            **self._cloud.environment,
            "HOME": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._environment(),
        }
        named = environment.get("PYTHONPATH")
        return environment | {"PYTHONPATH": f"{root}{os.pathsep}{named}" if named else root}

    def _last_words(self) -> str:
        """The last line of the log, which is where a failing server says why."""
        lines = [line for line in read_log(self.folder / "log.jsonl") if line.strip()]
        return lines[-1] if lines else "it logged nothing"


def read_log(path: Path, tail_bytes: int = 65536) -> list[str]:
    """The last lines of a process's log."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - tail_bytes))
        lines = file.read().splitlines()
    texts = []
    for line in lines:
        try:
            texts.append(str(json.loads(line)["m"]))
        except (ValueError, KeyError):
            continue  # the first line of the tail is cut
    return texts


def _ping(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PING_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
