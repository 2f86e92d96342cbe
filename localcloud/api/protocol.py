"""The wire: which operation a request is, its parameters, and its answer, by botocore's service models.

Three of AWS's protocols are spoken: ``json`` 1.1 (SageMaker, CloudWatch Logs), ``query`` (STS) and
``rest-json`` (SageMaker Runtime).
"""

import functools
import json
import re
import urllib.parse
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from localcloud.errors import AwsError

SERVICES = ("sagemaker", "sagemaker-runtime", "logs", "sts")
JSON_CONTENT_TYPE = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came in. Header names are lower case; ``path`` is as sent, still quoted."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpAnswer:
    """What goes back to the client."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """A request that was recognised: the operation of a service, and where its path's parameters are."""

    service: str
    operation: str
    path_parameters: dict[str, str]

    @property
    def model(self) -> OperationModel:
        """Botocore's model of the operation."""
        return service_model(self.service).operation_model(self.operation)

    @property
    def protocol(self) -> str:
        """The protocol that its service speaks."""
        return str(service_model(self.service).metadata["protocol"])


@functools.cache
def service_model(service: str) -> ServiceModel:
    """Botocore's model of a service."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def recognise(request: HttpRequest) -> Call:
    """Find the operation that a request asks for. Raises UnknownOperationException or InvalidAction."""
    target = request.headers.get("x-amz-target")
    if target is not None:
        return _by_target(target)
    if request.path.startswith("/endpoints/"):
        return _by_path(request)
    fields = urllib.parse.parse_qs(request.body.decode("utf-8", "replace") or request.query)
    if "Action" in fields:
        action = fields["Action"][0]
        if action in service_model("sts").operation_names:
            return Call("sts", action, {})
        version = fields.get("Version", [""])[0]
        raise AwsError("InvalidAction", f"Could not find operation {action} for version {version}", 400)
    raise AwsError("UnknownOperationException", f"no operation at {request.method} {request.path}", 404)


def _by_target(target: str) -> Call:
    prefix, _, operation = target.partition(".")
    for service in ("sagemaker", "logs"):
        model = service_model(service)
        if model.metadata["targetPrefix"] == prefix and operation in model.operation_names:
            return Call(service, operation, {})
    raise AwsError("UnknownOperationException", f"the operation {target} is unknown", 400)


def _by_path(request: HttpRequest) -> Call:
    for operation, method, pattern in _routes("sagemaker-runtime"):
        match = pattern.fullmatch(request.path)
        if match and method == request.method:
            values = {name: urllib.parse.unquote(value) for name, value in match.groupdict().items()}
            return Call("sagemaker-runtime", operation, values)
    raise AwsError("UnknownOperationException", f"no operation at {request.method} {request.path}", 404)


@functools.cache
def _routes(service: str) -> list[tuple[str, str, re.Pattern[str]]]:
    model = service_model(service)
    routes = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
        routes.append((name, http["method"], re.compile(pattern)))
    return routes


def parse(call: Call, request: HttpRequest) -> dict[str, Any]:
    """The parameters of a request by their names in the API. Raises SerializationException."""
    if call.protocol == "json":
        return _parse_json(request.body)
    if call.protocol == "query":
        fields = urllib.parse.parse_qs(request.body.decode() or request.query, keep_blank_values=True)
        return {name: values[0] for name, values in fields.items() if name not in ("Action", "Version")}
    return _parse_rest(call, request)


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        raise AwsError("SerializationException", "the request body is not valid JSON", 400) from None
    if not isinstance(parsed, dict):
        raise AwsError("SerializationException", "Start of structure or map expected.", 400)
    return {name: value for name, value in parsed.items() if value is not None}


def _parse_rest(call: Call, request: HttpRequest) -> dict[str, Any]:
    shape = _present(call.model.input_shape)
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        location, wire_name = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "uri":
            parameters[name] = call.path_parameters[wire_name]
        elif location == "header" and wire_name.lower() in request.headers:
            value = request.headers[wire_name.lower()]
            parameters[name] = int(value) if member.type_name in ("integer", "long") else value
        elif name == shape.serialization.get("payload"):
            parameters[name] = request.body
    return parameters


def answer(call: Call, result: dict[str, Any], request_id: str) -> HttpAnswer:
    """Serialise what an operation returned. Members that the output shape does not have stay private."""
    shape = call.model.output_shape
    headers = {"x-amzn-requestid": request_id}
    if call.protocol == "json":
        body = json.dumps(to_wire(result, shape)).encode() if shape else b""
        return HttpAnswer(200, headers | {"content-type": JSON_CONTENT_TYPE}, body)
    if call.protocol == "query":
        body = _query_answer(call, result, request_id)
        return HttpAnswer(200, headers | {"content-type": "text/xml"}, body)
    return _rest_answer(call, result, headers)


def _rest_answer(call: Call, result: dict[str, Any], headers: dict[str, str]) -> HttpAnswer:
    shape = _present(call.model.output_shape)
    for name, member in shape.members.items():
        if member.serialization.get("location") == "header" and result.get(name) is not None:
            headers[member.serialization["name"].lower()] = str(result[name])
    payload = shape.serialization.get("payload")
    body = result.get(payload, b"") if payload else json.dumps(to_wire(result, shape)).encode()
    headers.setdefault("content-type", "application/json")
    return HttpAnswer(int(call.model.http.get("responseCode", 200)), headers, body)


def _present(shape: StructureShape | None) -> StructureShape:
    if shape is None:
        raise TypeError("the operation has no such shape")
    return shape


def to_wire(value: Any, shape: Shape) -> Any:
    """A value as the shape has it in JSON: unknown and empty members dropped, times as epoch seconds."""
    if isinstance(shape, StructureShape):
        return {
            name: to_wire(value[name], member)
            for name, member in shape.members.items()
            if value.get(name) is not None and member.serialization.get("location") is None
        }
    if isinstance(shape, ListShape):
        return [to_wire(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: to_wire(item, shape.value) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.timestamp()
    return value


def _query_answer(call: Call, result: dict[str, Any], request_id: str) -> bytes:
    namespace = service_model(call.service).metadata["xmlNamespace"]
    name = call.operation
    members = "".join(
        f"<{key}>{escape(str(value))}</{key}>"
        for key, value in to_wire(result, _present(call.model.output_shape)).items()
    )
    return (
        f'<{name}Response xmlns="{namespace}"><{name}Result>{members}</{name}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    ).encode()


def error_answer(error: AwsError, protocol: str, request_id: str) -> HttpAnswer:
    """Serialise an error as the protocol has it."""
    status = error.status or 400
    headers = {"x-amzn-requestid": request_id}
    if protocol == "query":
        side = "Sender" if status < 500 else "Receiver"
        body = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
            f"<Type>{side}</Type><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return HttpAnswer(status, headers | {"content-type": "text/xml"}, body.encode())
    content: dict[str, Any] = {"Message": error.message, "message": error.message, **error.members}
    if protocol == "rest-json":
        headers |= {"content-type": "application/json", "x-amzn-errortype": error.code}
    else:
        headers |= {"content-type": JSON_CONTENT_TYPE}
        content = {"__type": error.code, **content}
    return HttpAnswer(status, headers, json.dumps(content).encode())
