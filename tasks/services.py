"""What a run needs beside it, and for how long: the embedded cloud and a Prefect server.

A process that uses the services holds a shared lock, which the kernel lets go of even when the process is
killed. The last one to leave stops what was started, unless ``python -m tasks.services up`` asked to keep it.
"""

import atexit
import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tasks import cloud, prefect_deployments, prefect_server, prefect_worker
from tasks.daemon import clean_environment
from tasks.home import explain_home_errors
from tasks.settings import Settings, settings
from training.errors import BinventoryError, CloudError

_leases: dict[Path, IO[bytes]] = {}


def _keep_marker(settings: Settings) -> Path:
    return settings.home / "services.keep"


def _open(path: Path, settings: Settings) -> IO[bytes]:
    """Open a file of the home folder, which is made if it isn't there; ``HomeError`` where that cannot be."""
    with explain_home_errors(settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
        return path.open("ab")


@contextlib.contextmanager
def _starting(settings: Settings) -> Iterator[None]:
    """Only one process at a time starts or stops services."""
    with _open(settings.home / "services.starting", settings) as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _take_lease(settings: Settings) -> None:
    if settings.home not in _leases:
        lease = _open(settings.home / "services.lease", settings)
        fcntl.flock(lease, fcntl.LOCK_SH)
        _leases[settings.home] = lease
        # Prefect sends its last logs and events from threads that end before this hook runs.
        atexit.register(leave, settings)


def use_cloud(settings: Settings) -> None:
    """Connect this process to the target cloud and keep it up while the process lives.

    Raises:
        HomeError: the home folder cannot be made or written to.
        CloudError: as `tasks.cloud.connect` says.
        SettingsError: likewise.
    """
    _take_lease(settings)
    with _starting(settings):
        cloud.connect(settings)


def use_prefect_server(settings: Settings) -> str:
    """Address of the Prefect API to use: the configured one, else our own server, started if need be.

    Raises:
        HomeError: our own server needs the home folder, which cannot be made or written to.
        CloudError: our own server did not come up, or the configured one does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    if configured := get_current_settings().api.url:
        with get_client(sync_client=True) as client:
            failed = client.api_healthcheck()
        if failed:
            raise CloudError(
                f"The Prefect server at {configured} does not answer: {failed}. Start it, or correct the address in "
                "PREFECT_API_URL or in Prefect's profile; without one, a server of our own is started."
            ) from failed
        return configured
    _take_lease(settings)
    with _starting(settings):
        url = prefect_server.start(settings)
    os.environ["PREFECT_API_URL"] = url
    os.environ["PREFECT_HOME"] = str(settings.home / "prefect")
    refresh_global_settings_context()
    return url


def leave(settings: Settings) -> None:
    """Stop the services if nobody else uses them and nobody asked to keep them."""
    lease = _leases.pop(settings.home, None)
    if lease is None:
        return
    with lease, _starting(settings):
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not _keep_marker(settings).exists():
            _stop_prefect(settings)
            if settings.target == "local":  # with another one, none of those who leave has started it
                cloud.stop(settings)


def _stop_prefect(settings: Settings) -> None:
    prefect_worker.stop(settings)
    prefect_server.stop(settings)


def _up(settings: Settings) -> None:
    environment = clean_environment()  # as it is before it leads to a cloud
    _take_lease(settings)  # what it started goes again if it fails, unless somebody uses it
    with _starting(settings):
        # Credentials that are in Prefect may not be there yet; every flow takes and checks them.
        if settings.target == "local" or not settings.credentials:
            cloud.connect(settings)
        url = prefect_server.start(settings)
        changed = prefect_deployments.deploy(settings, url)
        replaced = prefect_worker.start(settings, url, environment)
        _open(_keep_marker(settings), settings).close()
    print(f"Prefect UI   {url.removesuffix('/api')}\nPrefect API  {url}")
    if changed:
        print(f"Kept         parameters and schedules that were changed in the UI: {', '.join(changed)}")
    if replaced:
        print("Replaced     the worker, which had other settings; what it ran goes on when it is run again")
    if settings.target == "local":
        print(f"S3           {os.environ['AWS_ENDPOINT_URL_S3']}")
        print(f"SageMaker    {os.environ['AWS_ENDPOINT_URL_SAGEMAKER']}")
    print("The UI's Deployments run every flow; a worker waits for them. All of it stays up until `make down`.")


def _down(settings: Settings) -> None:
    with explain_home_errors(settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
        _keep_marker(settings).unlink(missing_ok=True)
    with _starting(settings):
        _stop_prefect(settings)
        cloud.stop(settings)


def main() -> int:
    """``python -m tasks.services up|down``."""
    actions = {"up": _up, "down": _down}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print("usage: python -m tasks.services up|down", file=sys.stderr)
        return 2
    try:
        actions[sys.argv[1]](settings())
    except BinventoryError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
