"""The services that runs share come up by themselves and go when the last user leaves."""

import subprocess
import sys
import time

import httpx

from tests.installation import ROOT, Installation

USER = """
import os, sys
from tasks.services import use_cloud, use_prefect_server
from tasks.settings import settings
use_cloud(settings())
print(use_prefect_server(settings()), os.environ["AWS_ENDPOINT_URL_S3"], flush=True)
sys.stdin.readline()
"""


class User:
    """A process that uses the services until it is told to leave."""

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
        self.process.communicate("\n", timeout=60)


def answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.HTTPError:
        return False
    return True


def state_of_a_deployed_run(installation: Installation, deployment: str, **parameters: object) -> str:
    """How a run ends that is asked for as the UI asks for it, and done by the worker."""
    found = installation.prefect("deployments/filter", deployments={"name": {"any_": [deployment]}})
    run = installation.prefect(f"deployments/{found[0]['id']}/create_flow_run", parameters={"parameters": parameters})
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        [now] = installation.prefect("flow_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
        if now["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return str(now["state_type"])
        time.sleep(1)
    return "it did not end in time"


def test_two_runs_share_services_and_the_last_one_stops_them(installation: Installation) -> None:
    first = User(installation)
    second = User(installation)
    assert (first.prefect, first.s3) == (second.prefect, second.s3)
    first.leave()
    assert answers(f"{second.prefect}/health")
    assert answers(second.s3)
    second.leave()
    assert not answers(f"{second.prefect}/health")
    assert installation.processes() == []


def test_after_a_kill_the_next_run_takes_over_and_cleans_up(installation: Installation) -> None:
    killed = User(installation)
    killed.process.kill()
    killed.process.wait()
    assert answers(f"{killed.prefect}/health")
    after = User(installation)
    assert after.prefect == killed.prefect
    after.leave()
    assert installation.processes() == []


def test_what_was_asked_to_stay_stays_until_down(installation: Installation) -> None:
    said = installation.run("tasks.services", "up")
    user = User(installation)
    assert user.prefect in said
    user.leave()
    assert answers(f"{user.prefect}/health")
    assert state_of_a_deployed_run(installation, "prepare-data", source="demo", demo_photos=20) == "COMPLETED"
    installation.run("tasks.services", "down")
    assert installation.processes() == []
