"""What all resources have in common: kinds, names, ARNs, Describe, and List with filters and pages."""

import base64
import binascii
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.errors import AwsError, ResourceInUse, ResourceNotFound, ValidationException
from localcloud.operations import Cloud
from localcloud.store import Document, Filter, NameTakenError, NoSuchResourceError, Row, declare_status_member

DEFAULT_PAGE = 10
MAX_PAGE = 100


@dataclass(frozen=True)
class Kind:
    """One sort of resource.

    ``key`` is its part of the ARN (``training-job``), ``stem`` its name in the API (``TrainingJob``), ``label``
    what messages call it. ``job_errors``: whether AWS answers ResourceNotFound and ResourceInUse, as it does
    for jobs, or ValidationException with a sentence, as for models and endpoints. ``undescribed``: what AWS says
    where Describe, unlike the other calls of a job, answers a missing one with ValidationException. ``absent``: what
    AWS says of a missing one; with ``{label}``, ``{name}`` and ``{arn}``, as in ``undescribed``.
    """

    key: str
    stem: str
    label: str
    has_status: bool = True
    job_errors: bool = True
    undescribed: str | None = None
    absent: str = 'Could not find {label} "{arn}".'

    def __post_init__(self) -> None:
        if self.has_status:
            declare_status_member(self.key, self.status_member)

    @property
    def name_member(self) -> str:
        """The member that holds its name."""
        return f"{self.stem}Name"

    @property
    def arn_member(self) -> str:
        """The member that holds its ARN."""
        return f"{self.stem}Arn"

    @property
    def status_member(self) -> str:
        """The member that holds its status."""
        return f"{self.stem}Status"


_ABSENT_JOB = "Requested resource not found: {label} {name}."
# The model in botocore has ResourceNotFound for these two as well; https://github.com/boto/boto3/issues/2808.
TRAINING_JOB = Kind(
    "training-job", "TrainingJob", "training job", undescribed="Requested resource not found.", absent=_ABSENT_JOB
)
TRANSFORM_JOB = Kind(
    "transform-job",
    "TransformJob",
    "transform job",
    undescribed="Could not find requested job with name: {name}",
    absent=_ABSENT_JOB,
)
TUNING_JOB = Kind("hyper-parameter-tuning-job", "HyperParameterTuningJob", "tuning job", absent=_ABSENT_JOB)
MODEL = Kind("model", "Model", "model", has_status=False, job_errors=False)
ENDPOINT_CONFIG = Kind(
    "endpoint-config", "EndpointConfig", "endpoint configuration", has_status=False, job_errors=False
)
ENDPOINT = Kind("endpoint", "Endpoint", "endpoint", job_errors=False)


def arn_of(cloud: Cloud, kind: Kind, name: str) -> str:
    """The ARN of a resource; AWS has the name in lower case there."""
    return cloud.arn(f"{kind.key}/{name.lower()}")


def now() -> float:
    """The time, in seconds since the epoch."""
    return time.time()


def create(cloud: Cloud, kind: Kind, request: Document, *, parent: str | None = None, **more: Any) -> str:
    """Store a new resource made of the request and more members, with its tags; returns its ARN.

    Raises ResourceInUse or ValidationException, as AWS does for the kind, when the name is taken.
    """
    name = request[kind.name_member]
    arn = arn_of(cloud, kind, name)
    moment = now()
    tags = request.get("Tags", [])
    document = {key: value for key, value in request.items() if key != "Tags"}
    document |= {kind.arn_member: arn, "CreationTime": moment, "LastModifiedTime": moment, **more}
    try:
        with cloud.store.transaction():
            cloud.store.insert(kind.key, name, arn, document, parent=parent)
            cloud.store.set_tags(arn, {tag["Key"]: tag["Value"] for tag in tags})
    except NameTakenError as error:
        raise _taken(kind, error.arn) from None
    return arn


def describe(cloud: Cloud, kind: Kind, name: str) -> Document:
    """The document of a resource. Raises AWS's error for a missing one."""
    document = cloud.store.get(kind.key, name)
    if document is None:
        if kind.undescribed is not None:
            raise ValidationException(_said(cloud, kind, name, kind.undescribed))
        raise missing(cloud, kind, name)
    return document


def update(cloud: Cloud, kind: Kind, name: str, change: Callable[[Document], None]) -> Document:
    """Change a resource in one transaction. Raises AWS's error for a missing one."""
    try:
        return cloud.store.update(kind.key, name, change)
    except NoSuchResourceError:
        raise missing(cloud, kind, name) from None


def delete(cloud: Cloud, kind: Kind, name: str) -> None:
    """Forget a resource. Raises AWS's error for a missing one."""
    if not cloud.store.delete(kind.key, name):
        raise missing(cloud, kind, name)


def missing(cloud: Cloud, kind: Kind, name: str) -> AwsError:
    """AWS's error for a resource that does not exist; that of Describe may be another."""
    said = _said(cloud, kind, name, kind.absent)
    return ResourceNotFound(said) if kind.job_errors else ValidationException(said)


def _said(cloud: Cloud, kind: Kind, name: str, words: str) -> str:
    return words.format(label=kind.label, name=name, arn=arn_of(cloud, kind, name))


def _taken(kind: Kind, arn: str) -> AwsError:
    if kind.job_errors:
        return ResourceInUse(
            f"Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
        )
    return ValidationException(f'Cannot create already existing {kind.label} "{arn}".')


@dataclass(frozen=True)
class Page:
    """Part of a listing, and where the next part begins."""

    rows: list[Row]
    next_token: str | None


def page(cloud: Cloud, kind: Kind, request: Document, *, parent: str | None = None) -> Page:
    """The part of a listing that a List request asks for.

    Understands NameContains, StatusEquals, the four time bounds, SortBy (Name, CreationTime, LastModifiedTime,
    Status), SortOrder, MaxResults and NextToken. The default is the newest first, ten to a page; botocore's model
    has another one for some operations, so a client had better ask for the order that it needs.
    """
    size = int(request.get("MaxResults", DEFAULT_PAGE))
    wanted = Filter(
        name_contains=request.get("NameContains"),
        status=request.get("StatusEquals"),
        parent=parent,
        created_after=_seconds(request.get("CreationTimeAfter")),
        created_before=_seconds(request.get("CreationTimeBefore")),
        modified_after=_seconds(request.get("LastModifiedTimeAfter")),
        modified_before=_seconds(request.get("LastModifiedTimeBefore")),
        sort_by=_SORTS.get(request.get("SortBy", "CreationTime"), "created"),
        descending=request.get("SortOrder", "Descending") == "Descending",
        after=_decode(request.get("NextToken")),
        limit=size + 1,
    )
    rows = cloud.store.find(kind.key, wanted)
    if len(rows) <= size:
        return Page(rows, None)
    return Page(rows[:size], _encode(rows[size - 1], wanted.sort_by))


def listing(cloud: Cloud, kind: Kind, request: Document, member: str, summary: Callable[[Row], Document]) -> Document:
    """The answer of a List operation: summaries under a member, and the token of the next page."""
    part = page(cloud, kind, request)
    answer: Document = {member: [summary(row) for row in part.rows]}
    if part.next_token is not None:
        answer["NextToken"] = part.next_token
    return answer


_SORTS = {"Name": "name", "CreationTime": "created", "LastModifiedTime": "modified", "Status": "status"}


def _seconds(moment: float | str | None) -> float | None:
    if moment is None or isinstance(moment, (int, float)):
        return moment
    from botocore.utils import parse_timestamp

    try:
        return float(parse_timestamp(moment).timestamp())
    except ValueError:
        raise AwsError("SerializationException", f"{moment!r} is not a timestamp", 400) from None


def _encode(row: Row, sort_by: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([getattr(row, sort_by), row.name]).encode()).decode()


def _decode(token: str | None) -> tuple[float | str, str] | None:
    if token is None:
        return None
    try:
        value, name = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        raise ValidationException("The token included in the request is invalid.") from None
    return value, name
