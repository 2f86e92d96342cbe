"""InvokeEndpoint: a request goes to a variant's model server over a pooled connection, and comes back."""

from __future__ import annotations

import asyncio
import logging
import uuid

import httpx

from localcloud.errors import AwsError, JobFailedError
from localcloud.hosting.data_capture import Exchange
from localcloud.hosting.deployments import Deployment, Variant, live, log_group
from localcloud.model_server.launch import LOOPBACK
from localcloud.operations import Cloud, operation
from localcloud.store import Document

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = "x-amzn-sagemaker-inference-id"
_MAX_MESSAGE = 64 * 1024
_EXITED = "An error occurred while handling request as the model process exited."
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)
_log = logging.getLogger(__name__)


@operation("sagemaker-runtime", "InvokeEndpoint")
async def invoke_endpoint(cloud: Cloud, request: Document) -> Document:
    """Ask a variant of an endpoint.

    Raises ValidationError for one that is not in service or takes no body of this size, and ModelError.
    """
    name = request["EndpointName"]
    deployment, variant = await _enter(cloud, name, request.get("TargetVariant"))
    try:
        if len(request.get("Body", b"")) > variant.max_payload:
            raise AwsError("ValidationError", f"Request {uuid.uuid4()} has oversize body.", 400)
        response = await _ask(cloud, name, variant, request)
    finally:
        live.leave(variant)
    if response.status_code >= 400:
        raise _model_error(cloud, name, response.status_code, response.text[:_MAX_MESSAGE])
    answer_type = response.headers.get("content-type", "")
    if deployment.capture:
        deployment.capture.add(
            Exchange(
                variant.name,
                request.get("Body", b""),
                request.get("ContentType", ""),
                response.content,
                answer_type,
                request.get("CustomAttributes"),
                request.get("InferenceId"),
            )
        )
    return {
        "Body": response.content,
        "ContentType": answer_type,
        "InvokedProductionVariant": variant.name,
        "CustomAttributes": response.headers.get(CUSTOM_ATTRIBUTES),
    }


async def _enter(cloud: Cloud, name: str, target: str | None) -> tuple[Deployment, Variant]:
    entered = live.enter(name, target)
    if entered is None:
        status = await asyncio.to_thread(live.bring_back, cloud, name)
        entered = live.enter(name, target)
    if entered is None:
        more = f" Its status is {status}." if status else ""
        raise AwsError("ValidationError", f"Endpoint {name} of account {cloud.account} not found.{more}", 400)
    return entered


async def _ask(cloud: Cloud, name: str, variant: Variant, request: Document) -> httpx.Response:
    port = variant.port
    try:
        if port is None:
            port = await variant.revive()
        try:
            return await _send(variant, port, request)
        except httpx.ConnectError:
            _log.warning("endpoint %s: the process of variant %s is gone; starting it again", name, variant.name)
            variant.doubt(port)
            port = await variant.revive()
            return await _send(variant, port, request)
    except httpx.TimeoutException:
        raise _model_error(cloud, name, 0, _TIMED_OUT) from None
    except httpx.TransportError:
        variant.doubt(port)
        raise _model_error(cloud, name, 0, _EXITED) from None
    except JobFailedError as error:
        raise _model_error(cloud, name, 0, str(error)) from None


async def _send(variant: Variant, port: int, request: Document) -> httpx.Response:
    headers = {
        name: request[member]
        for name, member in (
            ("content-type", "ContentType"),
            ("accept", "Accept"),
            (CUSTOM_ATTRIBUTES, "CustomAttributes"),
            (INFERENCE_ID, "InferenceId"),
        )
        if request.get(member)
    }
    body = request.get("Body", b"")
    return await variant.clients.post(f"http://{LOOPBACK}:{port}/invocations", body, headers)


def _model_error(cloud: Cloud, endpoint: str, status: int, text: str) -> AwsError:
    """AWS's ModelError. Status 0 stands for a container that gave no answer."""
    group = log_group(endpoint)
    kind = "client" if 400 <= status < 500 else "server"
    message = (
        f'Received {kind} error ({status}) from primary with message "{text}". '
        f"See {group} in CloudWatch Logs of account {cloud.account} for more information."
    )
    members = {
        "OriginalStatusCode": status,
        "OriginalMessage": text,
        "LogStreamArn": f"arn:aws:logs:{cloud.region}:{cloud.account}:log-group:{group}",
    }
    return AwsError("ModelError", message, 424, members)
