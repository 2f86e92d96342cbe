"""A Prefect server of our own for those who run none.

Prefect's automatic ephemeral server loses task-run rows and prints tracebacks at shutdown, so ad-hoc runs
get a real one, on loopback, whose history stays in the home folder.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from tasks.settings import Settings
from training.errors import CloudError

PREFERRED_PORT = 4200
START_SECONDS = 120


def _state_file(settings: Settings) -> Path:
    return settings.home / "prefect" / "server.json"


def server_url(settings: Settings) -> str | None:
    """API address of our server if it is up and healthy, else None."""
    try:
        url = str(json.loads(_state_file(settings).read_text())["api_url"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return url if _healthy(url) else None


def _healthy(api_url: str) -> bool:
    try:
        return httpx.get(f"{api_url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    """Prefect's usual port where it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(settings: Settings) -> str:
    """Start the server, or find it running; returns its API address.

    Raises:
        CloudError: it did not answer in time; names the log.
    """
    if url := server_url(settings):
        return url
    folder = _state_file(settings).parent
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    url, log = f"http://127.0.0.1:{port}/api", folder / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_API_URL": url,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    # Written before the server is healthy, so that a caller killed meanwhile leaves a trace to stop it by.
    _state_file(settings).write_text(json.dumps({"api_url": url, "pid": process.pid}))
    _await_health(process, url, log)
    return url


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(url):
        if process.poll() is not None:
            raise CloudError(f"The Prefect server ended with exit code {process.returncode}; its log is {log}")
        if time.monotonic() > deadline:
            process.terminate()
            raise CloudError(f"The Prefect server did not answer within {START_SECONDS} s; its log is {log}")
        time.sleep(0.1)


def stop(settings: Settings) -> None:
    """Stop our server and everything it started; its history stays."""
    state = _state_file(settings)
    leader = _process(state)
    if leader is None:
        state.unlink(missing_ok=True)
        return
    family = [leader, *leader.children(recursive=True)]
    leader.terminate()
    _, alive = psutil.wait_procs(family, timeout=15)
    for process in alive:
        process.kill()
    state.unlink(missing_ok=True)


def _process(state: Path) -> psutil.Process | None:
    """The server's process; None when it is gone, also when its number now belongs to another program."""
    try:
        process = psutil.Process(int(json.loads(state.read_text())["pid"]))
        return process if "prefect" in process.cmdline() else None
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
