"""The services that runs share come up by themselves and go when the last user leaves."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tasks import prefect_server, prefect_worker, services
from tasks.daemon import Daemon
from tasks.settings import Settings
from tests.installation import ROOT, USER, Installation, User
from training.errors import HomeError

NAMES_ITS_SERVER = """
from tasks.services import use_prefect_server
from tasks.settings import settings
print(use_prefect_server(settings()))
"""


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


def test_runs_share_services_a_killed_one_leaves_them_to_the_next_and_the_last_one_stops_them(
    installation: Installation,
) -> None:
    first = User(installation)
    second = User(installation)
    assert (first.prefect, first.s3) == (second.prefect, second.s3)
    first.leave()
    assert answers(f"{second.prefect}/health")
    assert answers(second.s3)
    second.process.kill()
    second.process.wait()
    assert answers(f"{second.prefect}/health")
    last = User(installation)
    assert last.prefect == second.prefect
    last.leave()
    assert not answers(f"{last.prefect}/health")
    assert installation.processes() == []


def test_what_was_asked_to_stay_stays_until_down(installation: Installation) -> None:
    installation.environment["BINVENTORY_TIMEZONE"] = "Europe/Berlin"
    said = installation.run("tasks.services", "up")
    user = User(installation)
    assert user.prefect in said
    user.leave()
    assert answers(f"{user.prefect}/health")
    check_what_is_deployed(installation)
    assert state_of_a_deployed_run(installation, "prepare-data", source="demo", demo_photos=20) == "COMPLETED"
    check_a_worker_of_other_settings_is_replaced(installation)
    installation.run("tasks.services", "down")
    assert installation.processes() == []


def test_down_ends_the_embedded_cloud_also_where_the_target_has_become_aws(installation: Installation) -> None:
    installation.localcloud("up")
    installation.environment["BINVENTORY_TARGET"] = "aws"
    installation.run("tasks.services", "down")
    assert installation.processes() == []


def test_what_could_not_be_started_is_not_kept(installation: Installation) -> None:
    installation.environment |= {"BINVENTORY_TARGET": "aws", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/none"}
    assert "No AWS credentials" in installation.run("tasks.services", "up", code=1)
    assert not (installation.home / "services.keep").exists()  # whoever leaves last would let all of it stay


class Healthy(BaseHTTPRequestHandler):
    """Says yes to everything, as a Prefect server of somebody else would."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


@contextlib.contextmanager
def server_of_somebody_else() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_server_that_prefects_own_variable_names_is_used_and_none_is_started(installation: Installation) -> None:
    with server_of_somebody_else() as url:
        environment = installation.environment | {"PREFECT_API_URL": url}
        said = subprocess.check_output([sys.executable, "-c", NAMES_ITS_SERVER], cwd=ROOT, env=environment, text=True)
    assert said.strip() == url
    assert not installation.home.exists()
    assert installation.processes() == []


def test_a_server_that_is_named_and_does_not_answer_is_said(installation: Installation) -> None:
    with server_of_somebody_else() as url:
        pass  # nobody is there any more
    installation.environment["PREFECT_API_URL"] = url
    said = installation.run("flows.teardown", "--run-id", "261125-120000", code=1)
    assert said.startswith(f"Cloud: The Prefect server at {url} does not answer: ")
    assert "Traceback" not in said
    assert not installation.home.exists()


def check_what_is_deployed(installation: Installation) -> None:
    """The server has every deployment of the file, and what runs by itself, as the file says it."""
    file = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    deployments = {each["name"]: each for each in installation.prefect("deployments/filter")}
    assert deployments.keys() == {each["name"] for each in file["deployments"]}
    schedules = {
        name: (schedule["schedule"]["cron"], schedule["schedule"]["timezone"], schedule["active"])
        for name, deployment in deployments.items()
        for schedule in deployment["schedules"]
    }
    assert schedules == {
        "nightly-count": ("30 2 * * *", "Europe/Berlin", True),
        "weekly-retraining": ("0 5 * * 0", "Europe/Berlin", False),
    }
    for name in schedules:
        assert deployments[name]["global_concurrency_limit"]["limit"] == 1
        assert deployments[name]["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def check_a_worker_of_other_settings_is_replaced(installation: Installation) -> None:
    """And no other one; which cloud a flow uses is left to the settings that the flow finds."""

    def worker() -> psutil.Process:
        return psutil.Process(json.loads((installation.home / "prefect" / "worker.json").read_text())["pid"])

    first, given = worker(), worker().environ()
    assert not [name for name in given if name.startswith("AWS_")]
    for timezone, replaced in (("Europe/Berlin", False), ("Europe/Madrid", True)):
        here = Settings(home=installation.home, timezone=timezone)
        environment = installation.environment | {"BINVENTORY_TIMEZONE": timezone}
        assert prefect_worker.start(here, given["PREFECT_API_URL"], environment) == replaced
        assert (worker().pid != first.pid) == replaced
    assert worker().environ()["BINVENTORY_TIMEZONE"] == "Europe/Madrid"


def test_a_server_of_another_installation_at_the_same_port_is_not_taken_for_ours() -> None:
    with server_of_somebody_else() as url:
        assert answers(f"{url}/health")
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"]) as ours:
            assert not prefect_server._comes_up(psutil.Process(ours.pid), url)


@contextlib.contextmanager
def usual_port_taken() -> Iterator[None]:
    """Whoever has Prefect's usual port, it is not free for the time of the block."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # it is another's already
            holder.bind(("127.0.0.1", prefect_server.PREFERRED_PORT))
            holder.listen()
        yield


def test_a_server_whose_starter_was_killed_meanwhile_is_found(installation: Installation) -> None:
    state = installation.home / "prefect" / "server.json"
    with usual_port_taken():  # or a test that runs beside this one might take it from the server that has begun
        starter = subprocess.Popen([sys.executable, "-c", USER], cwd=ROOT, env=installation.environment)
        while not state.exists():
            assert starter.poll() is None
            time.sleep(0.01)
        starter.kill()
        starter.wait()
        begun = json.loads(state.read_text())
        user = User(installation)
    assert user.prefect == begun["api_url"]
    assert json.loads(state.read_text()) == begun
    user.leave()
    assert installation.processes() == []


@pytest.mark.parametrize(
    ("home", "says"),
    [
        ("/sys/binventory", "/sys/binventory may not be written to"),  # the kernel's: not even root may
        ("/sys", "/sys/services.lease may not be written to"),
        ("/dev/full", "/dev/full cannot be made or opened"),
    ],
)
def test_what_is_wrong_with_a_home_is_said(home: str, says: str) -> None:
    with pytest.raises(HomeError, match=f"{says}.* BINVENTORY_HOME to a folder of your own"):
        services.use_cloud(Settings.model_construct(home=Path(home)))


def test_a_program_that_could_not_be_found_again_is_not_left_running(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "state.json", word="sleep")
    daemon.state.mkdir()  # so that it cannot be written
    with pytest.raises(HomeError, match=r"state\.json cannot be made or opened"):
        daemon.start(["sleep", "600"], {"PATH": os.environ["PATH"], "HERE": str(tmp_path)})
    assert Installation(tmp_path).processes() == []
