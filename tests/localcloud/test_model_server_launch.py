"""Time limits around a model server, with short ones in place of AWS's."""

import asyncio
from pathlib import Path
from textwrap import dedent

import pytest

from localcloud.errors import AwsError, JobFailedError
from localcloud.hosting import clients as endpoint_clients
from localcloud.hosting import invoke
from localcloud.hosting.deployments import Deployment, deployment_folder, live
from localcloud.model_server.launch import LogStream, ModelServer
from localcloud.operations import Cloud
from localcloud.store import Document

SLEEPS_WHILE_LOADING = """
    import time
    print("loading for an hour")
    time.sleep(3600)
"""
SLEEPS_WHILE_ANSWERING = """
    import time

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        time.sleep(3600)
"""


def unpacked(folder: Path, script: str) -> Path:
    """A server's folder whose model is there already."""
    code = folder / "model" / "code"
    code.mkdir(parents=True)
    (code / "inference.py").write_text(dedent(script))
    return folder


def test_a_model_that_is_not_loaded_in_time_is_an_error_with_its_last_words(here: Cloud, tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "server", SLEEPS_WHILE_LOADING)
    server = ModelServer(here, folder, {}, LogStream("/group", "stream"), max_payload=10)
    server.start()
    while "loading for an hour" not in (folder / "log.jsonl").read_text():
        pass
    with pytest.raises(JobFailedError, match=r"not loaded within 0\.1 seconds: loading for an hour"):
        server.wait_until_healthy(0.1, lambda: False)
    with pytest.raises(JobFailedError, match="stopped"):
        server.wait_until_healthy(60, lambda: True)
    server.kill()
    assert server.port is None


def test_an_answer_that_does_not_come_in_time_is_a_model_error(here: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_clients, "INVOCATION_SECONDS", 0.3)
    variant = {"VariantName": "v0", "Weight": 1.0, "Container": {}, "StartupTimeout": 60}
    plan: Document = {"Id": "0" * 32, "Variants": [variant]}
    unpacked(deployment_folder(here, "slow", plan["Id"]) / "0", SLEEPS_WHILE_ANSWERING)
    deployment = Deployment(here, "slow", plan)
    deployment.launch(lambda: False)
    live.go_live("slow", deployment)

    async def ask() -> None:
        try:
            await invoke.invoke_endpoint(here, {"EndpointName": "slow", "Body": b"x"})
        finally:
            deployment.variants[0].clients.close()
            await asyncio.sleep(0.1)

    with pytest.raises(AwsError, match="Your invocation timed out") as failed:
        asyncio.run(ask())
    assert (failed.value.code, failed.value.status, failed.value.members["OriginalStatusCode"]) == (
        "ModelError",
        424,
        0,
    )
    assert deployment.variants[0].in_flight == 0
    live.take_down("slow")
    deployment.discard()
