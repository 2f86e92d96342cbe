"""Puts a model behind an endpoint, proves it, and takes it back when it is not what was promised.

The steps are a Prefect transaction: whatever fails after the first, the rollback of the first brings back what
served before. SageMaker itself keeps the old model answering until the new one is healthy.
"""

import time
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_run_logger, task
from prefect.transactions import Transaction, transaction
from pydantic import BaseModel, ConfigDict, Field

from tasks.jobs import already_exists, api_tags, is_missing, once_seen
from tasks.release.package import SmokeCase
from tasks.release.registry import RegisteredModel, serving_model, set_status
from tasks.release.scaling import scale, stop_scaling
from tasks.release.serving_now import PROVEN, EndpointState, describe
from tasks.release.smoke import SmokeTest, read_photos, smoke_test
from tasks.release.waiting import delete_endpoint, settled
from tasks.retries import RETRIES
from tasks.run_record import digest_of
from tasks.settings import Settings
from training.errors import DeploymentError, FaultyModelError, ModelError

VARIANT = "main"
_CONTAINER_FAILED = ("health check", "CannotStartContainer", "extract model data archive")
"""What AWS's reasons say where a model's container is to blame; others are capacity, permissions and AWS itself."""


class Deployment(BaseModel):
    """A model behind an endpoint, with the answers that prove it."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: str
    smoke: SmokeTest
    seconds: float = Field(description="From asking for it until it was proven.")
    instance: str = Field("", description="That answers; empty where it is serverless, which is billed by the request.")


def release(
    model: RegisteredModel, cases: list[SmokeCase], endpoint_name: str, run_id: str, settings: Settings
) -> Deployment:
    """Deploy an approved model and prove it; to be called from a flow.

    Raises:
        ModelError: the model is not approved.
        DeploymentError: a photo of the smoke test cannot be read; nothing was changed.
        FaultyModelError: its container did not come up, or it answers wrongly. What served before serves again, and
            the model is marked as rejected, with the reason; unless it is what served, with other settings.
        DeploymentError: it could not be deployed or proven, and is not to blame as far as anybody can tell. What served
            before serves again, and the model keeps its status. Or, whatever it failed at, it was not rolled back.
    """
    if model.status != "Approved":
        raise ModelError(f"model {model.version} is {model.status}, so it is not deployed: {model.reason}")
    began = time.monotonic()
    photos = read_photos(cases)
    before: str | None = None
    config: str | None = None
    try:
        with transaction() as changes:
            changes.set("endpoint_name", endpoint_name)
            changes.set("settings", settings)
            changes.set("run_id", run_id)
            before = remember(endpoint_name, model.name, settings)
            changes.set("before", before)
            config = create_config(model, endpoint_name, run_id, settings)
            changes.set("candidate", config)
            status = put_behind(endpoint_name, config, run_id, settings)
            smoke = smoke_test(endpoint_name, cases, photos)
    except Exception as error:
        proven = before is not None and before != config and before.startswith(f"{model.name}-")
        blamed = isinstance(error, FaultyModelError) and not proven
        if blamed:
            set_status(model.arn, "Rejected", f"deployment was rolled back: {error}")
        if config is not None:  # the endpoint may have been changed
            _check_rolled_back(endpoint_name, None if blamed else before, model, error)
        if blamed or not isinstance(error, DeploymentError):
            raise
        why = "was proven with other settings" if proven else "is not to blame as far as anybody can tell"
        raise DeploymentError(
            f"{str(error).rstrip(' .')}. The deployment was rolled back. Model {model.version} {why}, so it stays "
            f"{model.status}; once the cause is gone: python -m flows.deploy --model {model.version}"
        ) from error
    mark_as_proven(endpoint_name, config)
    return Deployment(
        name=endpoint_name,
        status=status,
        smoke=smoke,
        seconds=round(time.monotonic() - began, 3),
        instance="" if settings.serverless_memory_mb else settings.serving_instance,
    )


@task(name="remember what serves", task_run_name="remember what serves", **RETRIES)
def remember(endpoint_name: str, candidate: str, settings: Settings) -> str | None:
    """The configuration to go back to: the last proven one, or the one in service; None when there is none.

    What was proven is a tag of the endpoint, so that a run which died between deploying and proving is not
    remembered as good. An endpoint that no run has proven yet is trusted, unless the candidate itself is on it. One
    that is being changed is waited for: nobody knows before what it is going to serve.
    """
    found = describe(endpoint_name)
    if found is None:
        return None
    if found.proven and _config_exists(found.proven):
        return found.proven
    found = settled(endpoint_name, settings)
    serves = found.status == "InService" and not found.config.startswith(candidate)
    return found.config if serves else None


@remember.on_rollback
def bring_back(changes: Transaction) -> None:
    """Let what served before serve again; where nothing did, an endpoint that this run created goes.

    One that somebody else created stays, be it with the candidate: `_check_rolled_back` says so.
    """
    endpoint_name, before, settings = changes.get("endpoint_name"), changes.get("before"), changes.get("settings")
    candidate, run_id = changes.get("candidate", None), changes.get("run_id")
    found = describe(endpoint_name)
    if before is not None and found is not None:
        found = settled(endpoint_name, settings)
        if found.config != before or found.status != "InService":
            put_config_behind(endpoint_name, before, found, run_id, settings)
    elif found is not None and found.config == candidate:
        if found.run != run_id:
            return
        delete_endpoint(endpoint_name, settings)
    if candidate not in (None, before):
        boto3.client("sagemaker").delete_endpoint_config(EndpointConfigName=candidate)


@task(name="create endpoint configuration", task_run_name="configure {model.name}", **RETRIES)
def create_config(model: RegisteredModel, endpoint_name: str, run_id: str, settings: Settings) -> str:
    """The configuration of a model for an endpoint, real-time or serverless; returns its name.

    No two endpoints share one: a rollback deletes it.
    """
    variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": serving_model(model, settings)}
    if settings.serverless_memory_mb:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": settings.serverless_memory_mb,
            "MaxConcurrency": settings.serverless_concurrency,
        }
    else:
        variant |= {
            "InstanceType": settings.serving_instance,
            "InitialInstanceCount": 1,
            "ContainerStartupHealthCheckTimeoutInSeconds": settings.startup_seconds,
        }
    name = f"{model.name}-{digest_of([endpoint_name, variant])}"
    client: Any = boto3.client("sagemaker")
    create = partial(client.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[variant])
    try:
        once_seen(partial(create, Tags=api_tags(run_id)))
    except ClientError as error:
        if not already_exists(error):
            raise
    return name


@task(name="deploy", task_run_name="deploy {endpoint_name}", **RETRIES)
def put_behind(endpoint_name: str, config: str, run_id: str, settings: Settings) -> str:
    """Put a configuration behind the endpoint, new or there already, and wait until it serves; returns its status.

    Raises:
        DeploymentError: the endpoint did not come up, or is of the other kind, serverless or not; says why.
    """
    found = describe(endpoint_name)
    if found is not None and found.status != "InService":
        found = settled(endpoint_name, settings)
    if found is not None and found.status == "InService":
        _check_kind(endpoint_name, found, settings)
    stop_scaling(endpoint_name, VARIANT, settings)
    if found is None or found.config != config or found.status != "InService":
        put_config_behind(endpoint_name, config, found, run_id, settings)
    get_run_logger().info("endpoint %s serves %s", endpoint_name, config)
    scale(endpoint_name, VARIANT, settings)
    return "InService"


def _check_kind(endpoint_name: str, found: EndpointState, settings: Settings) -> None:
    """AWS updates no endpoint with instances to a serverless one; so neither could a rollback of the opposite.

    Raises:
        DeploymentError: the endpoint is not of the kind that the settings ask for.
    """
    if found.serverless != bool(settings.serverless_memory_mb):
        is_now = "serverless" if found.serverless else "one with instances"
        raise DeploymentError(
            f"endpoint {endpoint_name} is {is_now}, which BINVENTORY_SERVERLESS_MEMORY_MB="
            f"{settings.serverless_memory_mb} would change, and no update can: take another --endpoint-name, or delete "
            f"the endpoint first (aws sagemaker delete-endpoint --endpoint-name {endpoint_name})"
        )


def put_config_behind(
    endpoint_name: str, config: str, found: EndpointState | None, run_id: str, settings: Settings
) -> None:
    """Create or update an endpoint and wait; one that failed can only be made anew.

    Raises:
        FaultyModelError: the container of its model did not come up.
        DeploymentError: it does not serve this configuration in the end, for another reason.
    """
    client: Any = boto3.client("sagemaker")
    if found is not None and found.status != "InService":
        delete_endpoint(endpoint_name, settings)
        found = None
    names = {"EndpointName": endpoint_name, "EndpointConfigName": config}
    if found is None:
        once_seen(partial(client.create_endpoint, **names, Tags=api_tags(run_id)))
        once_seen(partial(client.describe_endpoint, EndpointName=endpoint_name))
    else:
        keep = settings.autoscaling_instances > 1
        once_seen(partial(client.update_endpoint, **names, RetainAllVariantProperties=keep))
    after = settled(endpoint_name, settings)
    if after.status != "InService" or after.config != config:
        with_old = ", still with its earlier model" if after.status == "InService" else ""
        kind = FaultyModelError if any(words in after.reason for words in _CONTAINER_FAILED) else DeploymentError
        raise kind(
            f"endpoint {endpoint_name} did not come up with {config}: it is {after.status}{with_old}. {after.reason}"
        )


@task(name="mark as proven", task_run_name="mark {config} as proven", **RETRIES)
def mark_as_proven(endpoint_name: str, config: str) -> None:
    """Write down that this configuration answers rightly: it is what a rollback goes back to."""
    found = describe(endpoint_name)
    if found is not None:
        boto3.client("sagemaker").add_tags(ResourceArn=found.arn, Tags=[{"Key": PROVEN, "Value": config}])


def _config_exists(name: str) -> bool:
    try:
        boto3.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


def _check_rolled_back(endpoint_name: str, before: str | None, model: RegisteredModel, cause: Exception) -> None:
    """A rollback hook that fails is only logged by Prefect; a person must hear of it, whatever failed.

    The model may be what an endpoint is to go back to, when it was deployed once more.
    """
    try:
        found = describe(endpoint_name)
    except (BotoCoreError, ClientError) as error:
        raise DeploymentError(
            f"endpoint {endpoint_name} cannot be looked at ({error}), so nobody knows whether it was rolled back: look "
            f"at it now. The deployment failed because: {cause}"
        ) from cause
    if found is None or (found.status == "InService" and found.config == before):
        return
    if found.status != "InService" or found.config.startswith(model.name):
        raise DeploymentError(
            f"endpoint {endpoint_name} is {found.status} with {found.config}, and was not rolled back: look at it now. "
            f"The deployment failed because: {cause}"
        ) from cause
