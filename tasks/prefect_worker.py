"""A Prefect worker of our own, which runs the deployments of ``prefect.yaml``."""

import sys
import time
from pathlib import Path

from tasks.daemon import Daemon, clean_environment
from tasks.settings import Settings
from training.errors import CloudError

POOL = "binventory"
FLOW_RUNS = 4
ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STARTED = "Worker 'binventory' started"


def _worker(settings: Settings) -> Daemon:
    return Daemon(settings.home / "prefect" / "worker.json", word=POOL)


def variables(settings: Settings, api_url: str) -> dict[str, str]:
    """Return the variables by which deployments are made and run."""
    return {
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "BINVENTORY_HOME": str(settings.home),
        "BINVENTORY_BUCKET": settings.bucket,
        "BINVENTORY_TIMEZONE": settings.timezone,
        "PWD": str(ROOT),
    }


def start(settings: Settings, api_url: str) -> None:
    """Start the worker unless it runs.

    Raises:
        CloudError: it did not start; names its log.
    """
    worker = _worker(settings)
    if worker.process():
        return
    worker.log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    command += ["--name", POOL, "--limit", str(FLOW_RUNS), "--install-policy", "never"]
    process = worker.start(command, clean_environment() | variables(settings, api_url), folder=ROOT)
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in worker.log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            worker.stop()
            raise CloudError(f"The Prefect worker did not start; its log is {worker.log}")
        time.sleep(0.2)


def stop(settings: Settings) -> None:
    """Stop the worker; flow runs that it has under way end with it, and are picked up when they are run again."""
    _worker(settings).stop()
