"""A plan: what a flow would ask for, stage by stage."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, Field, computed_field

from tasks import cloud
from tasks.plan.actions import actions_of, actions_of_operation
from tasks.plan.costs import PlannedCost, costs_of
from tasks.plan.placeholders import without_digests
from tasks.plan.rehearsal import Rehearsal, Request, rehearsing
from tasks.plan.storage import Storage
from tasks.prices import PRICED_AT
from tasks.settings import Settings

LOGS = ("logs DescribeLogStreams", "logs GetLogEvents")


class Stage(BaseModel):
    """A stage of a flow, as planned."""

    name: str
    requests: list[Request] = Field([], description="In order, exactly as they would be sent.")
    besides: list[str] = Field(
        [], description='"service operation" of requests whose number nobody can foresee: waiting, logs, a rollback.'
    )
    storage: list[Storage] = []
    note: str = ""

    def known_later(self, operation: str, member: str, value: Any) -> None:
        """Put placeholders into the stage's request of an operation; a dictionary changes only what is in it."""
        number = next(n for n, request in enumerate(self.requests) if request.operation == operation)
        request = self.requests[number]
        told = request.parameters[member] | value if isinstance(value, dict) else value
        self.requests[number] = request.model_copy(update={"parameters": request.parameters | {member: told}})

    @computed_field  # type: ignore[prop-decorator]
    @property
    def makes(self) -> list[str]:
        """The resources that its requests make, with their names."""
        made = [request for request in self.requests if request.operation.startswith("Create")]
        return [f"{_kind(request)} {_name(request)}" for request in made]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def costs(self) -> list[PlannedCost]:
        """What its requests are billed for."""
        return [cost for request in self.requests for cost in costs_of(request)]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def actions(self) -> list[str]:
        """The IAM actions that it needs."""
        needed = {action for request in self.requests for action in actions_of(request)}
        needed |= {action for each in self.besides for action in actions_of_operation(*each.split())}
        needed |= {action for each in self.storage for action in actions_of_operation("s3", each.operation)}
        return sorted(needed)


class Plan(BaseModel):
    """What a flow would ask for."""

    flow: str
    target: str
    region: str
    priced_at: str = PRICED_AT
    stages: list[Stage] = []


def make_plan(flow: str, settings: Settings, ask: Callable[["Draft"], None]) -> Plan:
    """Rehearse what ``ask`` asks for; nothing is sent, and neither credentials nor services are needed."""
    cloud.quiet()
    with rehearsing(settings.region) as rehearsal:
        draft = Draft(settings, rehearsal)
        ask(draft)
    return Plan(flow=flow, target=settings.target, region=settings.region, stages=draft.stages)


class Draft:
    """A plan that is being made, in a rehearsal."""

    def __init__(self, settings: Settings, rehearsal: Rehearsal) -> None:
        self.settings = settings
        self.stages: list[Stage] = []
        self._rehearsal = rehearsal

    @contextmanager
    def stage(self, name: str, besides: Iterable[str] = (), storage: Iterable[Storage] = ()) -> Iterator[Stage]:
        """A stage; what is asked of AWS meanwhile belongs to it."""
        told = [each.model_copy(update={"uri": without_digests(each.uri)}) for each in storage]
        stage = Stage(name=name, besides=list(besides), storage=told)
        began = len(self._rehearsal.requests)
        self.stages.append(stage)
        yield stage
        for request in self._rehearsal.requests[began:]:
            stage.requests.append(request.model_copy(update={"parameters": without_digests(request.parameters)}))


def _kind(request: Request) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in request.operation)
    return words.removeprefix(" create ")


def _name(request: Request) -> str:
    noun = request.operation.removeprefix("Create")
    own = request.parameters.get(f"{noun}Name")
    return str(own or request.parameters.get("ModelPackageGroupName", ""))
