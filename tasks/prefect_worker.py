"""A Prefect worker of our own, which runs the deployments of ``prefect.yaml``."""

import sys
import time
from pathlib import Path

from tasks.daemon import Daemon
from tasks.run_record import digest_of
from tasks.settings import Settings
from training.errors import CloudError

POOL = "binventory"
FLOW_RUNS = 4
ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STARTED = "Worker 'binventory' started"
_SAYS_WHERE = ("BINVENTORY_", "AWS_", "PREFECT_API_URL")
"""Variables that beat what ``.env`` says to a flow; a shell's others, which differ from one to the next, do no harm."""


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


def start(settings: Settings, api_url: str, environment: dict[str, str]) -> bool:
    """Start the worker unless it runs; one that was started with other settings or another cloud is replaced.

    Args:
        settings: of the installation.
        api_url: of the Prefect server.
        environment: to run in. Without the addresses of a cloud: each flow connects to the one that its settings say.

    Returns:
        Whether another one was stopped for it, and flow runs with it.

    Raises:
        CloudError: it did not start; names its log.
    """
    worker = _worker(settings)
    environment = environment | variables(settings, api_url)
    ours = digest_of({name: value for name, value in environment.items() if name.startswith(_SAYS_WHERE)})
    replaced = worker.process() is not None
    if replaced and worker.facts().get("given") == ours:
        return False
    worker.stop()
    worker.log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    command += ["--name", POOL, "--limit", str(FLOW_RUNS), "--install-policy", "never"]
    process = worker.start(command, environment, folder=ROOT, given=ours)
    deadline = time.monotonic() + START_SECONDS
    while STARTED not in worker.log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            worker.stop()
            raise CloudError(f"The Prefect worker did not start; its log is {worker.log}")
        time.sleep(0.2)
    return replaced


def stop(settings: Settings) -> None:
    """Stop the worker; flow runs that it has under way end with it, and are picked up when they are run again."""
    _worker(settings).stop()
