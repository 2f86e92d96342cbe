"""The registry of what the cloud can do, and what an operation gets to do it with.

**Adding an operation.** Write a function in the module of its resource and name the service and the
operation as botocore does::

    @operation("sagemaker", "CreateEndpoint")
    def create_endpoint(cloud: Cloud, request: Document) -> Document:
        ...
        return {"EndpointArn": arn}

``request`` has been checked against the service's model already (types, required members, patterns, enums,
ranges); its keys are the API's names and its timestamps are seconds since the epoch. The answer is the
output shape's members; members that the shape does not have are dropped, so a stored document with private
members can be returned as it is. A plain ``def`` runs in a thread and may block; an ``async def`` runs on the
event loop and must not. Refuse by raising an AwsError. List the module in ``registered_modules``.
For what all resources have in common (names, ARNs, Describe, List with filters and pages) see ``resources``.

**Resources** live in ``cloud.store`` (see ``store``): ``insert``, ``get``, ``update`` (one transaction,
with a function that changes the document), ``delete``, ``find``.

**A supervised subprocess** (see ``processes``)::

    process = cloud.processes.start(folder, ProcessSpec(argv, environment, cwd, grace_seconds))
    process.running, process.exit_status, process.stop(), process.kill(), process.wait(timeout)

It has its own session, its output goes line by line to ``<folder>/log.jsonl``, its end to
``<folder>/exit.json``; it takes all its descendants with it, outlives a crash of the service (find it again
with ``cloud.processes.find(folder)``) and does not outlive the cloud itself.

**A background worker** is a thread that the service waits for when it stops::

    cloud.workers.start(f"transform {name}", run_transform, cloud, name)

In it, look at ``cloud.workers.stopping`` (an Event) and return soon once it is set. One of the same name begins
when the last has ended. How a job ended is stored with ``cloud.workers.insist``, which a full disk only delays. A
function decorated with ``@on_start`` is called once when the service starts: there, pick up what a crash or ``down``
interrupted.

**S3 from inside**: ``cloud.s3`` (see ``s3``) has get, put, objects (a listing), download and upload by ``s3://`` URI.
**Cores** are shared by jobs: ``with cloud.cores.hold(1, give_up):`` waits for one.
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.host.home import STOP_GRACE_SECONDS
from localcloud.store import Document, Store

if TYPE_CHECKING:
    from localcloud.faults import Faults
    from localcloud.host.cores import Cores
    from localcloud.host.processes import Processes
    from localcloud.host.workers import Workers
    from localcloud.journal import Journal
    from localcloud.s3 import S3

registered_modules = (
    "localcloud.identity",
    "localcloud.logs",
    "localcloud.models",
    "localcloud.model_packages",
    "localcloud.tags",
    "localcloud.training.jobs",
    "localcloud.tuning.jobs",
    "localcloud.hosting.configs",
    "localcloud.hosting.endpoints",
    "localcloud.hosting.invoke",
    "localcloud.transform.jobs",
)


@dataclass(frozen=True)
class Cloud:
    """What operations work with.

    ``environment`` has the AWS_* variables that make a subprocess's SDK speak to this cloud;
    ``stop_grace_seconds`` is how long a stopped job has from SIGTERM to SIGKILL.
    """

    home: Path
    region: str
    account: str
    store: Store
    s3: "S3"
    processes: "Processes"
    workers: "Workers"
    cores: "Cores"
    faults: "Faults"
    journal: "Journal"
    environment: dict[str, str]
    stop_grace_seconds: float = STOP_GRACE_SECONDS

    def arn(self, resource: str) -> str:
        """The ARN of a SageMaker resource, given as ``training-job/name``."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{resource}"


Operation = Callable[[Cloud, Document], Any | Awaitable[Any]]

_operations: dict[tuple[str, str], Operation] = {}
_starters: list[Callable[[Cloud], None]] = []


def operation(service: str, name: str) -> Callable[[Operation], Operation]:
    """Register a function as an operation of a service, both named as botocore names them."""

    def register(function: Operation) -> Operation:
        if (service, name) in _operations:
            raise ValueError(f"{service} {name} is registered twice")
        _operations[service, name] = function
        return function

    return register


def on_start(function: Callable[[Cloud], None]) -> Callable[[Cloud], None]:
    """Register a function that runs once when the service starts."""
    _starters.append(function)
    return function


def load_operations() -> None:
    """Import every module that registers operations."""
    for module in registered_modules:
        importlib.import_module(module)


def find_operation(service: str, name: str) -> Operation | None:
    """The function that answers an operation, or None when this cloud does not offer it."""
    return _operations.get((service, name))


def starters() -> list[Callable[[Cloud], None]]:
    """The functions to call when the service starts."""
    return list(_starters)
