"""A Prefect server of our own for those who run none.

Prefect's automatic ephemeral server loses task-run rows and prints tracebacks at shutdown, so ad-hoc runs
get a real one, on loopback, whose history stays in the home folder.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tasks.daemon import Daemon, clean_environment
from tasks.settings import Settings
from training.errors import CloudError

PREFERRED_PORT = 4200
START_SECONDS = 120


def _server(settings: Settings) -> Daemon:
    return Daemon(settings.home / "prefect" / "server.json", word="prefect")


def server_url(settings: Settings) -> str | None:
    """API address of our server if it is up and healthy, else None."""
    url = _server(settings).facts().get("api_url")
    return str(url) if url and _healthy(url) else None


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
    server, port = _server(settings), _free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = clean_environment() | {
        "PREFECT_HOME": str(server.state.parent),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_API_URL": url,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = server.start(command, environment, api_url=url)
    _await_health(process, url, server.log)
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
    _server(settings).stop()
