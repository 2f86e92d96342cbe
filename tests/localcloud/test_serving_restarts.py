"""Endpoints and transform jobs survive `down`, `up` and the death of the service or of a process."""

import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import BotoCoreError

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import Hosting, wait_until

COUNTING = """
    import os

    def model_fn(model_dir):
        return os.getpid()

    def transform_fn(model, body, content_type, accept):
        return str(model)
"""
HELD = """
    import pathlib, time

    def model_fn(model_dir):
        gate = pathlib.Path(__file__).resolve().parents[%d] / "gate"
        (gate.parent / "begun").touch()
        while not gate.exists():
            time.sleep(0.01)
        return None

    def transform_fn(model, body, content_type, accept):
        return "done"
"""


def kill_service(cloud: RunningCloud) -> None:
    """Kill the service as a crash would, and wait until another one answers."""
    state = json.loads((cloud.home / "state.json").read_text())
    os.kill(state["service"], signal.SIGKILL)
    wait_until(lambda: json.loads((cloud.home / "state.json").read_text())["service"] != state["service"])
    cloud.up()


@pytest.fixture
def gate(own_cloud: RunningCloud) -> Path:
    return own_cloud.home / "gate"


def test_an_endpoint_answers_again_after_down_and_up(own_cloud: RunningCloud) -> None:
    hosting = Hosting(own_cloud)
    endpoint = hosting.endpoint(hosting.config(hosting.model(COUNTING)))
    before = hosting.invoke(endpoint)
    own_cloud.down()
    own_cloud.up()
    hosting = Hosting(own_cloud)
    assert not [about for about in own_cloud.processes() if endpoint in about[-1]], "it starts on the first call only"
    after = hosting.invoke(endpoint)
    assert after != before
    assert hosting.invoke(endpoint) == after


def test_nothing_outlives_a_cloud_that_was_killed_and_its_endpoints_come_back(own_cloud: RunningCloud) -> None:
    hosting = Hosting(own_cloud)
    endpoint = hosting.endpoint(hosting.config(hosting.model(COUNTING)))
    before = hosting.invoke(endpoint)
    os.kill(json.loads((own_cloud.home / "state.json").read_text())["supervisor"], signal.SIGKILL)
    wait_until(lambda: not [about for about in own_cloud.processes() if endpoint in about[-1]])
    own_cloud.up()
    assert Hosting(own_cloud).invoke(endpoint) != before


def test_an_endpoints_process_outlives_a_crash_of_the_service(own_cloud: RunningCloud) -> None:
    hosting = Hosting(own_cloud)
    endpoint = hosting.endpoint(hosting.config(hosting.model(COUNTING)))
    before = hosting.invoke(endpoint)
    kill_service(own_cloud)
    assert Hosting(own_cloud).invoke(endpoint) == before


def test_a_killed_endpoint_process_is_started_again_by_the_next_call(own_cloud: RunningCloud) -> None:
    hosting = Hosting(own_cloud)
    endpoint = hosting.endpoint(hosting.config(hosting.model(COUNTING)))
    before = int(hosting.invoke(endpoint))
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(before))
    assert int(hosting.invoke(endpoint)) != before


def test_a_replaced_deployment_is_removed_although_the_service_crashed(own_cloud: RunningCloud, gate: Path) -> None:
    """The crash comes while the old process still answers a request, so that nobody could end it."""
    hosting = Hosting(own_cloud)
    slow = hosting.model("""
        import pathlib, time

        def model_fn(model_dir):
            return pathlib.Path(__file__).resolve().parents[6]

        def transform_fn(model, body, content_type, accept):
            (model / "begun").touch()
            time.sleep(3600)
    """)
    endpoint = hosting.endpoint(hosting.config(slow))
    (old,) = (own_cloud.home / "endpoints" / endpoint).iterdir()

    def ask() -> None:
        with pytest.raises(BotoCoreError):
            hosting.invoke(endpoint)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until((gate.parent / "begun").exists)
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=hosting.config(hosting.model(COUNTING)))
    hosting.settle(endpoint)
    assert old.exists()
    kill_service(own_cloud)
    assert Hosting(own_cloud).invoke(endpoint)
    wait_until(lambda: not old.exists())
    assert not [about for about in own_cloud.processes() if str(old) in about[-1]]
    thread.join()


@pytest.mark.parametrize("crash", [False, True])
def test_creating_an_endpoint_goes_on_after_an_interruption(own_cloud: RunningCloud, gate: Path, crash: bool) -> None:
    hosting = Hosting(own_cloud)
    config = hosting.config(hosting.model(HELD % 6))
    hosting.sagemaker.create_endpoint(EndpointName="held", EndpointConfigName=config)
    wait_until((gate.parent / "begun").exists)
    if crash:
        kill_service(own_cloud)
    else:
        own_cloud.down()
        own_cloud.up()
    gate.touch()
    hosting = Hosting(own_cloud)
    assert hosting.settle("held")["EndpointStatus"] == "InService"
    assert hosting.invoke("held") == b"done"


@pytest.mark.parametrize("crash", [False, True])
def test_a_transform_job_is_run_again_after_an_interruption(own_cloud: RunningCloud, gate: Path, crash: bool) -> None:
    hosting = Hosting(own_cloud)
    job = hosting.transform(hosting.model(HELD % 5), {"S3Uri": hosting.put("in/one", b"x")})
    wait_until((gate.parent / "begun").exists)
    if crash:
        kill_service(own_cloud)
    else:
        own_cloud.down()
        own_cloud.up()
    gate.touch()
    again = Hosting(own_cloud)
    assert again.finish(job)["TransformJobStatus"] == "Completed"
    again.bucket = hosting.bucket
    assert again.read(f"{job}/") == {"one.out": b"done"}
