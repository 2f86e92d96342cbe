"""A Prefect server of our own for those who run none.

Prefect's automatic ephemeral server loses task-run rows and prints tracebacks at shutdown, so ad-hoc runs
get a real one, on loopback, whose history stays in the home folder.
"""

import socket
import sys
import time
from collections.abc import Iterator

import httpx
import psutil

from tasks.daemon import Daemon, clean_environment
from tasks.settings import Settings
from training.errors import CloudError

PREFERRED_PORT = 4200
START_SECONDS = 120
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Who holds the one place of a deployment that runs once at a time. Prefect's default forgets it with the server, and
after a hard stop the place would be taken for good: every later night would be cancelled."""


def _server(settings: Settings) -> Daemon:
    return Daemon(settings.home / "prefect" / "server.json", word="prefect")


def _healthy(api_url: str) -> bool:
    try:
        return httpx.get(f"{api_url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _ports() -> Iterator[int]:
    """Prefect's usual port where it is free, then any: another installation may take a free one before us."""
    for port in (PREFERRED_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        yield found


def start(settings: Settings) -> str:
    """Start the server, or find it running; returns its API address.

    Raises:
        CloudError: it did not answer in time; names the log.
    """
    server = _server(settings)
    if (there := server.process()) is not None:  # it is up, or whoever started it was killed before it was
        url = str(server.facts().get("api_url"))
        if _comes_up(there, url):
            return url
        server.stop()
    for port in _ports():
        url = f"http://127.0.0.1:{port}/api"
        environment = clean_environment() | {
            "PREFECT_HOME": str(server.state.parent),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
            "PREFECT_UI_API_URL": url,
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        process = server.start(command, environment, api_url=url)
        if _comes_up(psutil.Process(process.pid), url):
            return url
        server.stop()
    raise CloudError(f"The Prefect server ended, or did not answer within {START_SECONDS} s; its log is {server.log}")


def _comes_up(process: psutil.Process, url: str) -> bool:
    """Whether this process, and no other installation's at the same address, answers in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if _healthy(url) and _listens(process, int(url.rpartition(":")[2].partition("/")[0])):
            return True
        time.sleep(0.1)
    return False


def _listens(process: psutil.Process, port: int) -> bool:
    """Whether a process, or one that it started, has a port."""
    try:
        family = [process, *process.children(recursive=True)]
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for member in family
            for connection in member.net_connections("tcp")
        )
    except psutil.NoSuchProcess:
        return False


def stop(settings: Settings) -> None:
    """Stop our server and everything it started; its history stays."""
    _server(settings).stop()
