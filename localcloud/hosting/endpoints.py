"""Endpoint: a name behind which a deployment of an endpoint configuration answers."""

from __future__ import annotations

import logging
import time
from typing import Any

from localcloud import resources
from localcloud.errors import JobFailedError, ValidationException
from localcloud.hosting.deployments import Deployment, live, plan_deployment, remove_all_but
from localcloud.hosting.variants import retain_variants, set_shares, summarise_capture, summarise_variants
from localcloud.operations import Cloud, on_start, operation
from localcloud.resources import ENDPOINT, ENDPOINT_CONFIG
from localcloud.store import Document, NoSuchResourceError, Row

MAX_REASON = 1024  # the length of FailureReason in botocore's model
_IN_PROGRESS = ("Creating", "Updating", "Deleting")
_log = logging.getLogger(__name__)


@operation("sagemaker", "CreateEndpoint")
def create_endpoint(cloud: Cloud, request: Document) -> Document:
    """Start deploying; the endpoint is `Creating`, then `InService` or `Failed`."""
    config = resources.describe(cloud, ENDPOINT_CONFIG, request["EndpointConfigName"])
    plan = plan_deployment(cloud, config)
    arn = resources.create(
        cloud,
        ENDPOINT,
        request,
        EndpointStatus="Creating",
        ProductionVariants=summarise_variants(config),
        DataCaptureConfig=summarise_capture(config),
        Pending=_pending(config, plan),
    )
    _start_worker(cloud, request["EndpointName"])
    return {"EndpointArn": arn}


@operation("sagemaker", "UpdateEndpoint")
def update_endpoint(cloud: Cloud, request: Document) -> Document:
    """Deploy another configuration; the old one serves until the new one is healthy."""
    name = request["EndpointName"]
    config = resources.describe(cloud, ENDPOINT_CONFIG, request["EndpointConfigName"])
    plan = plan_deployment(cloud, config)

    def change(endpoint: Document) -> None:
        _refuse_unless_in_service(endpoint)
        _refuse_serverless(endpoint, config)
        if request.get("RetainAllVariantProperties"):
            retain_variants(endpoint, config, plan, request)
        endpoint["EndpointStatus"] = "Updating"
        endpoint.pop("FailureReason", None)
        endpoint["Pending"] = _pending(config, plan)

    updated = resources.update(cloud, ENDPOINT, name, change)
    _start_worker(cloud, name)
    return {"EndpointArn": updated["EndpointArn"]}


@operation("sagemaker", "UpdateEndpointWeightsAndCapacities")
def update_weights(cloud: Cloud, request: Document) -> Document:
    """Share traffic differently among the variants, at once."""
    wanted = {each["VariantName"]: each for each in request["DesiredWeightsAndCapacities"]}

    def change(endpoint: Document) -> None:
        _refuse_unless_in_service(endpoint)
        known = {variant["VariantName"] for variant in endpoint["ProductionVariants"]}
        if unknown := sorted(set(wanted) - known):
            raise ValidationException(f"The endpoint has no production variant {', '.join(unknown)}")
        for variant in endpoint["ProductionVariants"]:
            set_shares(variant, wanted.get(variant["VariantName"], {}))
        for variant in endpoint["Deployment"]["Variants"]:
            variant["Weight"] = wanted.get(variant["VariantName"], {}).get("DesiredWeight", variant["Weight"])

    updated = resources.update(cloud, ENDPOINT, request["EndpointName"], change)
    if deployment := live.get(request["EndpointName"]):
        weights = {each["VariantName"]: each["Weight"] for each in updated["Deployment"]["Variants"]}
        for variant in deployment.variants:
            variant.weight = weights[variant.name]
    return {"EndpointArn": updated["EndpointArn"]}


@operation("sagemaker", "DescribeEndpoint")
def describe_endpoint(cloud: Cloud, request: Document) -> Document:
    """The endpoint, its status, why it failed or was not updated, and what it is being given."""
    endpoint = resources.describe(cloud, ENDPOINT, request["EndpointName"])
    if pending := endpoint.get("Pending"):
        endpoint["PendingDeploymentSummary"] = {"EndpointConfigName": pending["ConfigName"]}
    return endpoint


@operation("sagemaker", "ListEndpoints")
def list_endpoints(cloud: Cloud, request: Document) -> Document:
    """Names, ARNs, statuses and times, filtered and in pages."""
    return resources.listing(cloud, ENDPOINT, request, "Endpoints", _summary)


@operation("sagemaker", "DeleteEndpoint")
def delete_endpoint(cloud: Cloud, request: Document) -> None:
    """Stop serving at once, and forget the endpoint."""
    name = request["EndpointName"]

    def change(endpoint: Document) -> None:
        _refuse_in_progress(endpoint)
        endpoint["EndpointStatus"] = "Deleting"

    resources.update(cloud, ENDPOINT, name, change)
    _start_worker(cloud, name, live.take_down(name))


@on_start
def resume_endpoints(cloud: Cloud) -> None:
    """Go on with what a stop of the service interrupted. Serving endpoints come back on their first call."""
    endpoints = cloud.store.find(ENDPOINT.key)
    plans = [plan for row in endpoints for plan in _plans(row.document)]
    remove_all_but(cloud, {plan["Id"] for plan in plans})
    for row in endpoints:
        if row.status in _IN_PROGRESS:
            _start_worker(cloud, row.name)


def _plans(endpoint: Document) -> list[Document]:
    """The deployments that an endpoint has or is getting."""
    found = [endpoint.get("Deployment"), endpoint.get("Pending", {}).get("Deployment")]
    return [plan for plan in found if plan is not None]


def _pending(config: Document, plan: Document) -> Document:
    return {"ConfigName": config["EndpointConfigName"], "Config": config, "Deployment": plan}


def _start_worker(cloud: Cloud, name: str, taken_down: Deployment | None = None) -> None:
    cloud.workers.start(f"endpoint {name} {time.monotonic_ns()}", _work, cloud, name, taken_down)


def _work(cloud: Cloud, name: str, taken_down: Deployment | None) -> None:
    """Bring an endpoint from a status in progress to a final one; ``taken_down`` is what served a deleted one."""
    endpoint = cloud.store.get(ENDPOINT.key, name)
    if endpoint is None:
        return
    if endpoint["EndpointStatus"] == "Deleting":
        _remove(cloud, name, endpoint, taken_down)
        return
    pending = endpoint["Pending"]
    deployment = Deployment(cloud, name, pending["Deployment"])
    try:
        deployment.launch(cloud.workers.stopping.is_set)
    except JobFailedError as error:
        deployment.discard()
        if not cloud.workers.stopping.is_set():
            _log.warning("endpoint %s: %s", name, error)
            _settle(cloud, name, _failed(str(error)))
        return
    except Exception as error:
        deployment.discard()
        _settle(cloud, name, _failed(f"localcloud made a mistake: {error!r}"))
        raise
    previous = live.go_live(name, deployment)
    _settle(cloud, name, _deployed)
    if previous is None and (old := endpoint.get("Deployment")):
        previous = Deployment(cloud, name, old)  # it served before a restart, and nobody has called it since
    if previous is not None:
        previous.close()


def _remove(cloud: Cloud, name: str, endpoint: Document, deployment: Deployment | None) -> None:
    if deployment is None and (plan := endpoint.get("Deployment")):
        deployment = Deployment(cloud, name, plan)
    if deployment is not None:
        deployment.close()
    cloud.store.delete(ENDPOINT.key, name)


def _settle(cloud: Cloud, name: str, change: Any) -> None:
    try:
        cloud.store.update(ENDPOINT.key, name, change)
    except NoSuchResourceError:
        _log.warning("endpoint %s is gone; `reset` may have removed it", name)


def _deployed(endpoint: Document) -> None:
    pending = endpoint.pop("Pending")
    endpoint["EndpointStatus"] = "InService"
    endpoint["EndpointConfigName"] = pending["ConfigName"]
    endpoint["ProductionVariants"] = summarise_variants(pending["Config"])
    endpoint["DataCaptureConfig"] = summarise_capture(pending["Config"])
    endpoint["Deployment"] = pending["Deployment"]
    endpoint.pop("FailureReason", None)


def _failed(reason: str) -> Any:
    """A failed creation is `Failed`; a failed update is `InService` again with the old configuration."""

    def change(endpoint: Document) -> None:
        endpoint.pop("Pending")
        endpoint["EndpointStatus"] = "InService" if "Deployment" in endpoint else "Failed"
        endpoint["FailureReason"] = reason[:MAX_REASON]

    return change


def _refuse_in_progress(endpoint: Document) -> None:
    if endpoint["EndpointStatus"] in _IN_PROGRESS:
        raise ValidationException(f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')


def _refuse_unless_in_service(endpoint: Document) -> None:
    _refuse_in_progress(endpoint)
    if endpoint["EndpointStatus"] != "InService":
        raise ValidationException(
            f'Cannot update endpoint "{endpoint["EndpointArn"]}" in status {endpoint["EndpointStatus"]}.'
        )


def _refuse_serverless(endpoint: Document, config: Document) -> None:
    """AWS's guide has it in "Update a serverless endpoint": this way round it is not supported."""
    has_instances = any("CurrentInstanceCount" in variant for variant in endpoint["ProductionVariants"])
    if has_instances and any("ServerlessConfig" in variant for variant in config["ProductionVariants"]):
        raise ValidationException(
            f'Cannot update endpoint "{endpoint["EndpointArn"]}" with instances to a serverless configuration.'
        )


def _summary(row: Row) -> Document:
    return {
        "EndpointName": row.name,
        "EndpointArn": row.arn,
        "CreationTime": row.created,
        "LastModifiedTime": row.modified,
        "EndpointStatus": row.document["EndpointStatus"],
    }
