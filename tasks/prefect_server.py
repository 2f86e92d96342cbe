"""A Prefect server of our own for those who run none.

Prefect's automatic ephemeral server loses task-run rows and prints tracebacks at shutdown, so ad-hoc runs
get a real one, on loopback, whose history stays in the home folder.
"""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from tasks.daemon import Daemon, clean_environment
from tasks.settings import Settings
from training.errors import CloudError

PREFERRED_PORT = 4200
ANY_PORT = 0
START_SECONDS = 120


def _server(settings: Settings) -> Daemon:
    return Daemon(settings.home / "prefect" / "server.json", word="prefect")


def server_url(settings: Settings) -> str | None:
    """API address of our server if it is up and healthy, else None."""
    server = _server(settings)
    url, process = server.facts().get("api_url"), server.process()
    return str(url) if url and process and _healthy(process, url) else None


def _healthy(process: psutil.Process, api_url: str) -> bool:
    """Whether this process answers there: another installation's server may have taken the port."""
    try:
        return _listens(process, urlsplit(api_url).port) and httpx.get(f"{api_url}/health", timeout=5).is_success
    except (httpx.HTTPError, psutil.NoSuchProcess):
        return False


def _listens(process: psutil.Process, port: int | None) -> bool:
    family = [process, *process.children(recursive=True)]
    sockets = [each for member in family for each in member.net_connections("tcp")]
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets)


def _free_port(preferred: int) -> int:
    """The preferred port where it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
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
    server = _server(settings)
    for preferred in (PREFERRED_PORT, ANY_PORT):  # somebody may take the port before the server does
        port = _free_port(preferred)
        url = f"http://127.0.0.1:{port}/api"
        environment = clean_environment() | {
            "PREFECT_HOME": str(server.state.parent),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_API_URL": url,
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        process = server.start(command, environment, api_url=url)
        if _comes_up(process, url, server.log):
            return url
    raise CloudError(f"The Prefect server ended with exit code {process.returncode}; its log is {server.log}")


def _comes_up(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    """Wait until the server answers; False if it ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if _healthy(psutil.Process(process.pid), url):
                return True
        if time.monotonic() > deadline:
            process.terminate()
            raise CloudError(f"The Prefect server did not answer within {START_SECONDS} s; its log is {log}")
        time.sleep(0.1)
    return False


def stop(settings: Settings) -> None:
    """Stop our server and everything it started; its history stays."""
    _server(settings).stop()
