"""The web application: takes a request through signature, faults, validation and its operation."""

import asyncio
import inspect
import json
import logging
import uuid
from typing import Any

from starlette.types import Receive, Scope, Send

from localcloud.api import protocol
from localcloud.api.protocol import Call, HttpAnswer, HttpRequest
from localcloud.api.signature import Verifier
from localcloud.api.validation import validate
from localcloud.errors import AwsError
from localcloud.faults import perform
from localcloud.operations import Cloud, find_operation

MAX_BODY_BYTES = 32 * 1024 * 1024
SIGNING_NAMES = {"sagemaker": "sagemaker", "sagemaker-runtime": "sagemaker", "logs": "logs", "sts": "sts"}
_log = logging.getLogger(__name__)


class App:
    """An ASGI application: AWS's APIs at every path, and two paths of our own below ``/_localcloud``."""

    def __init__(self, cloud: Cloud, verifier: Verifier) -> None:
        self._cloud = cloud
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/_localcloud/health":
            await _send(send, HttpAnswer(200, {"content-type": "text/plain"}, b"ok\n"))
            return
        body = await _read_body(receive)
        if body is None:
            await _send(send, HttpAnswer(413, {"content-type": "text/plain"}, b"the body is too large\n"))
            return
        request = HttpRequest(
            method=scope["method"],
            path=scope["raw_path"].decode("ascii"),
            query=scope["query_string"].decode("ascii"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
        )
        if request.path == "/_localcloud/faults":
            await _send(send, self._change_faults(request))
        else:
            await _send(send, await self.answer(request))

    def _change_faults(self, request: HttpRequest) -> HttpAnswer:
        try:
            self._verifier.verify(request, "localcloud", "json")
            listed = perform(self._cloud.faults, request.body)
        except AwsError as error:
            return protocol.error_answer(error, "json", str(uuid.uuid4()))
        return HttpAnswer(200, {"content-type": "application/json"}, json.dumps(listed).encode())

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a request; every error becomes one."""
        request_id = str(uuid.uuid4())
        spoken = _protocol_of(request)
        try:
            call = protocol.recognise(request)
            spoken = call.protocol
            self._verifier.verify(request, SIGNING_NAMES[call.service], spoken)
            result = await self._perform(call, request)
            return protocol.answer(call, result, request_id)
        except AwsError as error:
            if error.code in ("UnknownOperationException", "InvalidAction"):
                _log.warning("asked for something that localcloud does not offer: %s", error.message)
            return protocol.error_answer(error, spoken, request_id)
        except Exception:  # noqa: BLE001 - logged; the service goes on
            _log.exception("request %s failed", request_id)
            message = f"localcloud made a mistake; its log has the details under request {request_id}"
            return protocol.error_answer(AwsError("InternalFailure", message, 500), spoken, request_id)

    async def _perform(self, call: Call, request: HttpRequest) -> dict[str, Any]:
        function = find_operation(call.service, call.operation)
        if function is None:
            raise AwsError("UnknownOperationException", f"{call.service} {call.operation} is not offered", 400)
        self._cloud.faults.strike(call.operation)
        parameters = protocol.parse(call, request)
        try:
            validate(parameters, call.model.input_shape)
        except AwsError as error:
            if call.protocol == "rest-json" and error.code == "ValidationException":
                raise AwsError("ValidationError", error.message, 400) from None
            raise
        self._cloud.journal.write(call.service, call.operation, parameters)
        if inspect.iscoroutinefunction(function):
            result = await function(self._cloud, parameters)
        else:
            result = await asyncio.to_thread(function, self._cloud, parameters)
        return result or {}


def _protocol_of(request: HttpRequest) -> str:
    if "x-amz-target" in request.headers:
        return "json"
    return "rest-json" if request.path.startswith("/endpoints/") else "query"


async def _read_body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send(send: Send, answer: HttpAnswer) -> None:
    headers = {"content-length": str(len(answer.body)), **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
