"""AWS's clients, answering themselves: the code that would send requests runs, and nothing is sent.

Botocore builds and checks a request before it asks whoever listens to ``before-call`` for an answer. Here that answer
is made up from the service's model, so the parameters that are kept here are those that would have been sent.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from pydantic import BaseModel, ConfigDict, Field

HOPED_FOR = ("Completed", "InService")


class Request(BaseModel):
    """One request, as it would be sent."""

    model_config = ConfigDict(frozen=True)

    service: str = Field(description="As boto3 names it.")
    operation: str = Field(description="As AWS names it.")
    parameters: dict[str, Any]

    @property
    def changes(self) -> bool:
        """Whether it makes, changes or uses something; else it only asks."""
        return not self.operation.startswith(("Describe", "List", "Get"))


class Rehearsal:
    """Remembers what was asked for, and answers as if it had been done."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._made: list[Request] = []

    def answer(self, model: OperationModel) -> tuple[int, dict[str, Any]]:
        """HTTP status and content of the answer to the newest request."""
        request = self.requests[-1]
        if request.operation.startswith("Create"):
            self._made.append(request)
        known = self._known(request)
        if request.operation.startswith("Describe") and not known:
            return 400, {"Error": {"Code": "ValidationException", "Message": "Could not find it: nothing was sent."}}
        shape = model.output_shape
        if shape is None:
            return 200, {}
        # A list is empty; other answers may lack what they need not have.
        lists: dict[str, Any] = {}
        if request.operation.startswith("List"):
            lists = {name: [] for name, member in shape.members.items() if isinstance(member, ListShape)}
        return 200, _example(shape, lists | known | request.parameters)

    def _known(self, request: Request) -> dict[str, Any]:
        """What was said of the resource that a request names when it was made."""
        noun = request.operation.removeprefix("Describe")
        for made in reversed(self._made):
            if made.operation == f"Create{noun}":
                named = {key: value for key, value in request.parameters.items() if key in made.parameters}
                if all(made.parameters[key] == value for key, value in named.items()):
                    return made.parameters
        return {}


@contextlib.contextmanager
def rehearsing(region: str) -> Iterator[Rehearsal]:
    """Let nothing that this process asks of AWS leave it; needs no credentials.

    Clients of boto3's default session and of the SageMaker SDK are meant; whoever makes a session of its own gets away.
    """
    from sagemaker.core.utils.utils import SageMakerClient

    rehearsal = Rehearsal()
    session = boto3.Session(botocore_session=_deaf_session(rehearsal), region_name=region)
    before, kept = boto3.DEFAULT_SESSION, os.environ.get("AWS_DEFAULT_REGION")
    os.environ["AWS_DEFAULT_REGION"] = region
    SageMakerClient.reset()
    try:
        boto3.DEFAULT_SESSION = session
        SageMakerClient(session=session, region_name=region)  # the first one is everybody's
        yield rehearsal
    finally:
        boto3.DEFAULT_SESSION = before
        SageMakerClient.reset()
        if kept is None:
            del os.environ["AWS_DEFAULT_REGION"]
        else:
            os.environ["AWS_DEFAULT_REGION"] = kept


def _deaf_session(rehearsal: Rehearsal) -> botocore.session.Session:
    def remember(params: dict[str, Any], model: OperationModel, **_: Any) -> None:
        service = model.service_model.service_name
        rehearsal.requests.append(Request(service=service, operation=model.name, parameters=dict(params)))

    def answer(model: OperationModel, **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        status, content = rehearsal.answer(model)
        return AWSResponse("", status, HTTPHeaders(), None), content

    session = botocore.session.Session()
    # Last, when botocore has added what it adds to parameters.
    session.get_component("event_emitter").register_last("before-parameter-build", remember)
    session.register("before-call", answer)  # type: ignore[arg-type]  # the stubs know no answers
    return session


def _example(shape: Shape, known: dict[str, Any], name: str = "") -> Any:
    """Something that a shape allows: what is known of it by name, else a placeholder."""
    if isinstance(shape, StructureShape):
        wanted = [member for member in shape.members if member in known or member in shape.required_members]
        return {member: known.get(member, _example(shape.members[member], known, member)) for member in wanted}
    if isinstance(shape, ListShape):
        return []
    if shape.type_name == "string":
        allowed = shape.metadata.get("enum", [])
        return next((status for status in HOPED_FOR if status in allowed), allowed[0] if allowed else f"<{name}>")
    if shape.type_name == "map":
        return {}
    return {"timestamp": "1970-01-01T00:00:00Z", "boolean": False}.get(shape.type_name, 0)
