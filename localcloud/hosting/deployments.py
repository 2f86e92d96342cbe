"""What runs behind an endpoint: one deployment at a time, one model server for each production variant.

A deployment is described by a plain document, kept in the endpoint's own, so that it can be brought back
after a restart even when its models and its configuration have been deleted, as AWS allows:

    {"Id", "Capture",
     "Variants": [{"VariantName", "Weight", "Container", "StartupTimeout", "MaxConcurrency"}]}

Instances are not simulated: whatever InitialInstanceCount says, a variant is one process.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from localcloud.errors import AwsError, JobFailedError
from localcloud.hosting.clients import Clients
from localcloud.hosting.data_capture import DataCapture
from localcloud.model_server.archive import resolved_container
from localcloud.model_server.launch import GRACE_SECONDS, LogStream, ModelServer
from localcloud.operations import Cloud
from localcloud.resources import ENDPOINT, MODEL, describe
from localcloud.store import Document

# botocore's model of InvokeEndpoint: Body has a maximum of 6,291,456 bytes.
MAX_PAYLOAD_BYTES = 6_291_456
# AWS's page "Invoke a serverless endpoint": "The maximum request and response payload size ... is 4 MB".
SERVERLESS_PAYLOAD_BYTES = 4_194_304
# AWS: "If the container does not begin to pass health checks ... during the 4 minutes after startup".
STARTUP_SECONDS = 240
SERVING = frozenset({"InService", "Updating"})
DRAIN_SECONDS = 65.0  # an invocation may take 60


class Variant:
    """A production variant's model server."""

    def __init__(self, cloud: Cloud, folder: Path, plan: Document, log: LogStream) -> None:
        self.name = str(plan["VariantName"])
        self.weight = float(plan["Weight"])
        self.max_concurrency: int | None = plan.get("MaxConcurrency")  # of serverless variants, and of all of them
        self.max_payload = MAX_PAYLOAD_BYTES if self.max_concurrency is None else SERVERLESS_PAYLOAD_BYTES
        self.in_flight = 0
        self.clients = Clients()
        self.port: int | None = None
        self.server = ModelServer(cloud, folder, plan["Container"], log, max_payload=self.max_payload)
        self._startup_seconds = float(plan["StartupTimeout"])
        self._stopping = cloud.workers.stopping
        self._reviving = asyncio.Lock()

    def wait_until_healthy(self, give_up: Callable[[], bool]) -> None:
        """Wait for the server that was started. Raises JobFailedError."""
        self.port = self.server.wait_until_healthy(self._startup_seconds, give_up)

    def doubt(self, port: int | None) -> None:
        """A server did not answer at this port: look after it before the next request."""
        if self.port == port:
            self.port = None

    async def revive(self) -> int:
        """The port of a healthy server: the one that runs, or one started anew. Raises JobFailedError.

        Callers that come together start it only once.
        """
        async with self._reviving:
            if self.port is None:
                self.port = await asyncio.to_thread(self._restart)
            return self.port

    def _restart(self) -> int:
        if self.server.healthy and (port := self.server.port) is not None:
            return port
        self.server.start()
        return self.server.wait_until_healthy(self._startup_seconds, self._stopping.is_set)


class Deployment:
    """The variants that serve an endpoint now, and the capture of what they are asked."""

    def __init__(self, cloud: Cloud, endpoint: str, plan: Document) -> None:
        self.folder = deployment_folder(cloud, endpoint, plan["Id"])
        self.variants = [
            Variant(cloud, self.folder / str(number), variant, _log_stream(endpoint, plan["Id"], variant))
            for number, variant in enumerate(plan["Variants"])
        ]
        self.closed = threading.Event()
        self.capture = DataCapture(cloud, endpoint, plan["Capture"]) if plan.get("Capture") else None
        if self.capture:
            cloud.workers.start(f"data capture {plan['Id']}", self.capture.run, self.closed)

    def launch(self, give_up: Callable[[], bool]) -> None:
        """Start every variant. Raises JobFailedError, in AWS's words, when one does not become healthy."""
        for variant in self.variants:
            variant.server.prepare()
            variant.server.start()
        for variant in self.variants:
            try:
                variant.wait_until_healthy(give_up)
            except JobFailedError as error:
                raise JobFailedError(_explain(variant.name, str(error))) from error

    def choose(self, target: str | None) -> Variant:
        """The variant that was asked for, or one at random by weight. Raises ValidationError."""
        if target is not None:
            for variant in self.variants:
                if variant.name == target:
                    return variant
            raise AwsError("ValidationError", f"Could not find variant {target} for the endpoint", 400)
        if len(self.variants) == 1:
            return self.variants[0]
        weights = [variant.weight for variant in self.variants]
        if not any(weights):
            raise AwsError("ValidationError", "All variants of the endpoint have weight 0", 400)
        return random.choices(self.variants, weights)[0]  # noqa: S311 - traffic, not secrets

    def close(self) -> None:
        """Let invocations in flight end, then stop the processes and remove their folder."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(variant.in_flight for variant in self.variants) and time.monotonic() < deadline:
            time.sleep(0.02)
        for variant in self.variants:
            variant.server.stop()
        for variant in self.variants:
            variant.server.wait(GRACE_SECONDS + 5)
        self.discard()

    def discard(self) -> None:
        """End the processes at once and remove their folder."""
        self.closed.set()
        for variant in self.variants:
            variant.clients.close()
            variant.server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Deployments:
    """The deployments that are live in this service, by endpoint."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, Deployment] = {}

    def enter(self, endpoint: str, target: str | None) -> tuple[Deployment, Variant] | None:
        """Choose a variant for one invocation and count it in; None when the endpoint is not live here."""
        with self._lock:
            deployment = self._live.get(endpoint)
            if deployment is None:
                return None
            variant = deployment.choose(target)
            if variant.max_concurrency is not None and variant.in_flight >= variant.max_concurrency:
                raise AwsError("ThrottlingException", "Rate exceeded", 429)
            variant.in_flight += 1
            return deployment, variant

    def leave(self, variant: Variant) -> None:
        """Count an invocation out."""
        with self._lock:
            variant.in_flight -= 1

    def get(self, endpoint: str) -> Deployment | None:
        """What is live for an endpoint."""
        with self._lock:
            return self._live.get(endpoint)

    def go_live(self, endpoint: str, deployment: Deployment) -> Deployment | None:
        """Send all further invocations to a deployment; returns the one that served until now."""
        with self._lock:
            previous = self._live.get(endpoint)
            self._live[endpoint] = deployment
            return previous

    def bring_back(self, cloud: Cloud, endpoint: str) -> str | None:
        """Make the stored deployment of a serving endpoint live again; its processes start when asked.

        Returns the endpoint's status, None when there is no such endpoint.
        """
        with self._lock:
            stored = cloud.store.get(ENDPOINT.key, endpoint)
            if stored is None:
                return None
            status = str(stored["EndpointStatus"])
            if status in SERVING and "Deployment" in stored and endpoint not in self._live:
                self._live[endpoint] = Deployment(cloud, endpoint, stored["Deployment"])
            return status

    def kill_processes(self, endpoint: str) -> bool:
        """A fault: end an endpoint's processes at once, as a crash would; False when it is not live here."""
        deployment = self.get(endpoint)
        for variant in deployment.variants if deployment else []:
            variant.server.kill()
        return deployment is not None

    def take_down(self, endpoint: str) -> Deployment | None:
        """Stop sending invocations to an endpoint; returns what served it."""
        with self._lock:
            return self._live.pop(endpoint, None)


live = Deployments()


def plan_deployment(cloud: Cloud, config: Document) -> Document:
    """What a deployment of an endpoint configuration consists of, with its models' containers copied in."""
    variants = []
    for variant in config["ProductionVariants"]:
        serverless = variant.get("ServerlessConfig") or {}
        variants.append(
            {
                "VariantName": variant["VariantName"],
                "Weight": variant["InitialVariantWeight"],
                "Container": resolved_container(cloud, describe(cloud, MODEL, variant["ModelName"])),
                "StartupTimeout": variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS),
                "MaxConcurrency": serverless.get("MaxConcurrency"),
            }
        )
    capture = config.get("DataCaptureConfig")
    wanted = capture if capture and capture.get("EnableCapture", True) else None
    return {"Id": uuid.uuid4().hex, "Variants": variants, "Capture": wanted}


def deployment_folder(cloud: Cloud, endpoint: str, deployment_id: str) -> Path:
    """Where a deployment keeps its models and logs."""
    return cloud.home / "endpoints" / endpoint / deployment_id


def remove_all_but(cloud: Cloud, ids: set[str]) -> None:
    """End the processes and remove the folders of deployments that a crash kept from being closed."""
    for folder in (cloud.home / "endpoints").glob("*/*"):
        if folder.name not in ids:
            cloud.processes.end(folder.iterdir())
            shutil.rmtree(folder, ignore_errors=True)


def log_group(endpoint: str) -> str:
    """The CloudWatch log group of an endpoint."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def _log_stream(endpoint: str, deployment_id: str, variant: Document) -> LogStream:
    """AWS names streams by variant and instance; a deployment has one instance for each variant."""
    return LogStream(log_group(endpoint), f"{variant['VariantName']}/i-{deployment_id[:17]}")


def _explain(variant: str, reason: str) -> str:
    return (
        f"The primary container for production variant {variant} did not pass the ping health check. "
        f"Please check CloudWatch logs for this endpoint. {reason}"
    )
