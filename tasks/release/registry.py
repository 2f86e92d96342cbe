"""The model registry: every model that was measured is a package in one group, let in or turned away.

``approved_model(settings)`` is how everything else finds the model to use.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import boto3
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from serving import answers
from serving.requests import CONTENT_TYPES
from tasks import sdk
from tasks.jobs import already_exists, api_tags, find_or_create, is_missing, once_seen, tags
from tasks.settings import Settings
from tasks.transient import is_conflict
from training.errors import ModelError

Status = Literal["Approved", "PendingManualApproval", "Rejected"]
ANSWER_TYPES = list(answers.WRITERS)
_NOT_IN_A_VALUE = re.compile(r"[^\w\s_.:/=+\-@]")
_LONGEST_VALUE, _LONGEST_TEXT = 256, 1024

# Here, not left to a task: people approve and reject without one, and a model that failed has to end as rejected.
_WHILE_IN_CONFLICT = Retrying(
    retry=retry_if_exception(is_conflict),
    stop=stop_after_attempt(6),
    wait=wait_random_exponential(multiplier=0.5, max=8),
    reraise=True,
)


class RegisteredModel(BaseModel):
    """One version in the registry."""

    model_config = ConfigDict(frozen=True)

    arn: str = Field(description="Of the model package.")
    version: int = Field(description="Its number in the group.")
    status: Status
    name: str = Field(description="Of the SageMaker Model that serves it; see `serving_model`.")
    uri: str = Field(description="S3 URI of model.tar.gz.")
    reason: str = Field(description="Why it has its status.")
    facts: dict[str, str] = Field(description="Metrics, data digest, code version and run, as registered.")


class Registration(BaseModel):
    """What is registered of a model."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Of the SageMaker Model; it names the package too, so that a retry finds it.")
    uri: str
    image: str = Field(description="The inference container.")
    environment: dict[str, str]
    evaluation_uri: str = Field(description="S3 URI of the evaluation as JSON.")
    facts: dict[str, str]


def approved_model(settings: Settings) -> RegisteredModel:
    """The newest approved model of the group ``settings.model_group``.

    Raises:
        ModelError: none is approved.
    """
    if found := newest_model("Approved", settings):
        return found
    raise ModelError(
        f"no model in the group {settings.model_group!r} is approved. Run the full pipeline, or approve one: "
        "python -m flows.deploy --help"
    )


def waiting_model(settings: Settings) -> RegisteredModel:
    """The newest model that waits for a person.

    Raises:
        ModelError: none waits.
    """
    if found := newest_model("PendingManualApproval", settings):
        return found
    raise ModelError(
        f"no model in the group {settings.model_group!r} waits to be approved. Name one with --model: "
        "python -m flows.deploy --list"
    )


def newest_model(status: Status, settings: Settings) -> RegisteredModel | None:
    """The newest model with this status; None where the group has none."""
    for summary in _summaries(settings, ModelApprovalStatus=status):
        return _described(summary["ModelPackageArn"])
    return None


def find_model(which: str, settings: Settings) -> RegisteredModel:
    """The package of a version number or an ARN.

    Raises:
        ModelError: there is none.
    """
    try:
        if which.startswith("arn:"):
            return _described(which)
        for summary in _summaries(settings):
            if str(summary["ModelPackageVersion"]) == which:
                return _described(summary["ModelPackageArn"])
    except ClientError as error:
        if not is_missing(error):
            raise
    raise ModelError(f"the group {settings.model_group!r} has no model {which!r}")


def named_model(name: str, settings: Settings) -> RegisteredModel | None:
    """The package that a SageMaker Model is named by; None where the group has none."""
    for summary in _summaries(settings):
        if summary.get("ModelPackageDescription", "") == name:
            return _described(summary["ModelPackageArn"])
    return None


def models(settings: Settings) -> list[RegisteredModel]:
    """All versions, newest first."""
    return [_described(summary["ModelPackageArn"]) for summary in _summaries(settings)]


def register(model: Registration, status: Status, reason: str, settings: Settings) -> RegisteredModel:
    """Register a model with its status; one that is registered already keeps its version and its status."""
    client = boto3.client("sagemaker")
    if found := named_model(model.name, settings):
        if found.reason:
            return found
        set_status(found.arn, status, reason)  # whoever created it died before it could say why
        return _described(found.arn)
    _ensure_group(model.facts.get("run_id", ""), settings)
    created = once_seen(
        lambda: _WHILE_IN_CONFLICT(
            client.create_model_package,
            ModelPackageGroupName=settings.model_group,
            ModelPackageDescription=model.name,
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [
                    {"Image": model.image, "ModelDataUrl": model.uri, "Environment": model.environment},
                ],
                "SupportedContentTypes": CONTENT_TYPES,
                "SupportedResponseMIMETypes": ANSWER_TYPES,
            },
            ModelMetrics={
                "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": model.evaluation_uri}}
            },
            CustomerMetadataProperties={key: _value(text) for key, text in model.facts.items() if text},
        )
    )
    arn = created["ModelPackageArn"]
    once_seen(lambda: set_status(arn, status, reason))
    return once_seen(lambda: _described(arn))


def set_status(arn: str, status: Status, reason: str) -> None:
    """Approve a model or turn it away; the reason stays with it, as one line: AWS takes no other."""
    reason = " ".join(reason.split())
    _WHILE_IN_CONFLICT(
        boto3.client("sagemaker").update_model_package,
        ModelPackageArn=arn,
        ModelApprovalStatus=status,
        ApprovalDescription=reason[:_LONGEST_TEXT],
    )


def serving_model(model: RegisteredModel, settings: Settings) -> str:
    """The name of the SageMaker Model of a package; it is made anew if somebody deleted it.

    Raises:
        ModelError: somebody deleted it, and the package is not approved, so that AWS makes none of it.
    """

    def create() -> "sdk.Model":
        if model.status != "Approved":
            raise ModelError(
                f"model {model.version} is {model.status}, and its SageMaker Model {model.name} was deleted; AWS makes "
                "another one of an approved model only. Use one that is approved, or approve it: "
                f"python -m flows.deploy --model {model.version} --approve REASON"
            )
        return _create(model.name, sdk.ContainerDefinition(model_package_name=model.arn), run_id, settings)

    run_id = model.facts.get("run_id", "")
    return str(find_or_create(lambda: sdk.Model.get(model.name), create).model_name)


def make_model(name: str, container: "sdk.ContainerDefinition", run_id: str, settings: Settings) -> str:
    """Find the SageMaker Model of a name, or make it of a container; returns the name."""
    found = find_or_create(lambda: sdk.Model.get(name), lambda: _create(name, container, run_id, settings))
    return str(found.model_name)


def _create(name: str, container: "sdk.ContainerDefinition", run_id: str, settings: Settings) -> "sdk.Model":
    return sdk.Model.create(
        model_name=name, primary_container=container, execution_role_arn=settings.role, tags=tags(run_id)
    )


def _ensure_group(run_id: str, settings: Settings) -> None:
    try:
        boto3.client("sagemaker").create_model_package_group(
            ModelPackageGroupName=settings.model_group,
            ModelPackageGroupDescription="Counters of objects in pod bins.",
            Tags=api_tags(run_id),
        )
    except ClientError as error:
        if not already_exists(error):
            raise


def _summaries(settings: Settings, **wanted: Any) -> Iterator[Any]:
    """Summaries of the group's packages, newest first; none while there is no group."""
    pages = boto3.client("sagemaker").get_paginator("list_model_packages")
    try:
        for page in pages.paginate(
            ModelPackageGroupName=settings.model_group, SortBy="CreationTime", SortOrder="Descending", **wanted
        ):
            yield from page["ModelPackageSummaryList"]
    except ClientError as error:
        if not is_missing(error):
            raise


def _described(arn: str) -> RegisteredModel:
    found = boto3.client("sagemaker").describe_model_package(ModelPackageName=arn)
    return RegisteredModel(
        arn=arn,
        version=found.get("ModelPackageVersion", 0),
        status=found["ModelApprovalStatus"],
        name=found.get("ModelPackageDescription", ""),
        uri=found["InferenceSpecification"]["Containers"][0]["ModelDataUrl"],
        reason=found.get("ApprovalDescription", ""),
        facts=found.get("CustomerMetadataProperties", {}),
    )


def _value(text: str) -> str:
    """A text in the alphabet that the registry allows."""
    return _NOT_IN_A_VALUE.sub(" ", text)[:_LONGEST_VALUE]
