"""What nights need of a real Prefect server: automations (hours are seconds here), and states that are true."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.base import PrefectHttpxSyncClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.nightly_count import nightly_count
from tasks import prefect_deployments, prefect_server
from tasks.nightly import tell as telling
from tasks.nightly.parameters import NightParameters
from tasks.runs import open_run
from tasks.settings import Settings
from tests.installation import ROOT
from tests.tasks.nightly.test_tell import report

NO_NIGHT = "binventory - no night in the last 26 hours"
LATE = "binventory - the nightly count is late"
FAILED = "binventory - a nightly count failed"
ODD = "binventory - a night is partial, hardly judged, or the counts drift"
SECONDS = 10
"""The shortest time that Prefect lets an automation wait for what does not come."""


class Server:
    """A Prefect server with the repository's automations, as tests speak to it."""

    def __init__(self, url: str) -> None:
        # Prefect's own, which asks again where a busy server answers 503, and raises what it answers at last.
        self.client = PrefectHttpxSyncClient(base_url=url, timeout=30, follow_redirects=True)
        self.flow = self._post("flows/", name=nightly_count.name)["id"]

    def _post(self, path: str, **body: Any) -> Any:
        return self.client.post(path, json=body).json()

    def deploy(self, name: str, **said: Any) -> str:
        deployment: str = self._post("deployments/", name=name, flow_id=self.flow, **said)["id"]
        return deployment

    def automate(self) -> None:
        content = yaml.safe_load((ROOT / "automations" / "nightly.yaml").read_text())
        for automation in content["automations"]:
            if automation["trigger"]["posture"] == "Proactive":
                automation["trigger"]["within"] = SECONDS
            self._post("automations/", **automation)

    def scheduled_run(self) -> str:
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        run: str = self._post("flow_runs/", flow_id=self.flow, state=state)["id"]
        return run

    def run_of_which_there_is_one_at_a_time(self) -> str:
        """A flow run of a deployment as `prefect.yaml` makes that of nights."""
        deployment = self.deploy("once", concurrency_limit=1, concurrency_options={"collision_strategy": "CANCEL_NEW"})
        run: str = self._post(f"deployments/{deployment}/create_flow_run")["id"]
        return run

    def deployment(self, deployment: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"deployments/{deployment}").json()
        return found

    def change(self, path: str, **changes: Any) -> None:
        self.client.patch(f"deployments/{path}", json=changes)

    def asks_to_become(self, run: str, kind: str) -> str:
        """Which state the server gives a run that asks for one."""
        answer: str = self._post(f"flow_runs/{run}/set_state", state={"type": kind})["state"]["type"]
        return answer

    def becomes(self, run: str, kind: str, name: str) -> None:
        self._post(f"flow_runs/{run}/set_state", state={"type": kind, "name": name}, force=True)

    def state(self, run: str) -> str:
        state: str = self.client.get(f"flow_runs/{run}").json()["state_type"]
        return state

    def fired(self) -> dict[str, set[str]]:
        """The automations that fired, with the flow runs that they fired for where they fire for each."""
        wanted = {"event": {"name": ["prefect.automation.triggered"]}}
        found: dict[str, set[str]] = {}
        for event in self._post("events/filter", filter=wanted, limit=50)["events"]:
            runs = found.setdefault(event["resource"]["prefect.resource.name"], set())
            runs.update(event["payload"].get("triggering_labels", {}).values())
        return found

    def firing(self, number: int) -> dict[str, set[str]]:
        deadline = time.monotonic() + 90
        while len(fired := self.fired()) < number and time.monotonic() < deadline:
            time.sleep(0.5)
        return fired


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    settings = Settings(home=home)
    url = prefect_server.start(settings)
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield Server(f"{url}/")
    finally:
        prefect_server.stop(settings)


def test_each_fires_when_it_should_and_a_night_as_it_should_be_fires_none(server: Server, tmp_path: Path) -> None:
    server.automate()
    settings, logger = Settings(home=tmp_path), logging.getLogger("test")
    failing, never_begun, begun = (server.scheduled_run() for _ in range(3))
    server.becomes(begun, "SCHEDULED", "Late")
    server.becomes(begun, "RUNNING", "Running")
    server.becomes(begun, "COMPLETED", "Completed")
    telling.tell(report(mismatch=3), settings, logger)
    assert server.firing(1).keys() == {NO_NIGHT}  # the seconds passed that are 26 hours, and no night came
    server.becomes(failing, "RUNNING", "Running")
    server.becomes(failing, "FAILED", "Failed")
    server.becomes(never_begun, "SCHEDULED", "Late")
    telling.tell(report(seen=99), settings, logger)  # its counts drift
    fired = server.firing(4)
    assert fired.keys() == {NO_NIGHT, LATE, FAILED, ODD}
    assert fired[LATE] == {f"prefect.flow-run.{never_begun}"}


def test_who_runs_is_on_disk_so_that_a_server_that_was_killed_finds_its_place_free_again(
    server: Server, home: Path
) -> None:
    first, second = (server.run_of_which_there_is_one_at_a_time() for _ in range(2))
    assert server.asks_to_become(first, "PENDING") == "PENDING"
    assert server.asks_to_become(second, "PENDING") == "CANCELLED"
    [lease] = (home / "prefect" / "concurrency_leases").glob("*-*.json")
    assert json.loads(lease.read_text())["metadata"]["slots"] == 1


def test_a_run_that_is_tried_again_is_called_crashed_only_where_its_flow_run_is_another(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, next_start = (server.run_of_which_there_is_one_at_a_time() for _ in range(2))
    server.becomes(killed, "RUNNING", "Running")
    states = []
    for flow_run in (killed, killed, next_start):  # begun, then "Retry" in the UI, then the same command
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", flow_run)
        open_run(Settings(home=tmp_path), "flow", NightParameters(prefix="s3://bins/")).finish("failed")
        states.append(server.state(killed))
    assert states == ["RUNNING", "RUNNING", "CRASHED"]


def night_of_the_file(timezone: str) -> dict[str, Any]:
    file = yaml.safe_load(prefect_deployments._filled_in(Settings(timezone=timezone)))
    [night] = [each for each in file["deployments"] if each["name"] == "nightly-count"]
    return dict(night)


def test_what_is_changed_in_the_ui_stays_when_the_file_is_deployed_again(server: Server) -> None:
    before, now, kept = (night_of_the_file(zone) for zone in ("UTC", "Europe/Madrid", "Europe/Madrid"))
    timed = {"cron": "30 2 * * *", "timezone": "UTC"}
    made = server.deploy("nights", parameters=before["parameters"], schedules=[{"slug": "nightly", "schedule": timed}])
    assert not prefect_deployments._keep(now, before, server.deployment(made))
    assert now == night_of_the_file("Europe/Madrid")

    mine = {"parameters": {"prefix": "s3://mine/"}}
    [schedule] = server.deployment(made)["schedules"]
    server.change(made, parameters=mine, paused=True)
    server.change(f"{made}/schedules/{schedule['id']}", active=False)
    server.client.post(f"deployments/{made}/schedules", json=[{"schedule": {"interval": 3600}}])
    assert prefect_deployments._keep(kept, before, server.deployment(made))
    assert (kept["parameters"], kept["paused"]) == (mine, True)
    assert {
        (each.get("cron"), each.get("interval"), each["timezone"], each["active"]) for each in kept["schedules"]
    } == {
        ("30 2 * * *", None, "Europe/Madrid", False),
        (None, 3600.0, "UTC", True),
    }
