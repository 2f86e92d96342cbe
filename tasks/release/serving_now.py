"""What is behind an endpoint now."""

from typing import Any

import boto3
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from tasks.jobs import RUN_TAG, is_missing
from training.errors import ModelError

PROVEN = "binventory-proven"
"""Tag of an endpoint: the configuration whose answers were last found right."""
_ANSWERING = ("InService", "Updating", "SystemUpdating", "RollingBack")
_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_A_MIX = "UpdateRollbackFailed"


class EndpointState(BaseModel):
    """An endpoint, as SageMaker describes it."""

    model_config = ConfigDict(frozen=True)

    arn: str
    status: str
    config: str
    pending: str = ""
    """The configuration that it is being given."""
    serverless: bool = False
    reason: str = ""
    proven: str | None = None
    run: str | None = None
    """The run that created it, by its tag."""

    @property
    def answers(self) -> bool:
        """Whether it answers requests, be it with a mix of two models."""
        return self.status in (*_ANSWERING, _A_MIX)

    @property
    def changing(self) -> bool:
        """Whether it will be in another state by itself, and takes no request that changes it until then."""
        return self.status in _CHANGING

    def needs(self, name: str) -> bool:
        """Whether it has, or is being given, a configuration, a model or a model of a run that is called so."""
        return is_part(self.config, name) or is_part(self.pending, name)


def is_part(config: str, name: str) -> bool:
    """Whether a configuration is that of this name, or of the model or the run of this name: its own begins with it."""
    return config == name or config.startswith(f"{name}-")


def describe(endpoint_name: str) -> EndpointState | None:
    """The endpoint's state; None when there is none."""
    client = boto3.client("sagemaker")
    try:
        found = client.describe_endpoint(EndpointName=endpoint_name)
        said = client.list_tags(ResourceArn=found["EndpointArn"])["Tags"]
    except ClientError as error:
        if is_missing(error):  # by now: one that is being deleted may go between the two requests
            return None
        raise
    tags = {tag["Key"]: tag["Value"] for tag in said}
    return EndpointState(
        arn=found["EndpointArn"],
        status=found["EndpointStatus"],
        config=found.get("EndpointConfigName", ""),
        pending=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""),
        serverless=any("CurrentServerlessConfig" in variant for variant in found.get("ProductionVariants", ())),
        reason=found.get("FailureReason", ""),
        proven=tags.get(PROVEN),
        run=tags.get(RUN_TAG),
    )


def archive_behind(endpoint_name: str) -> str | None:
    """S3 URI of the ``model.tar.gz`` that an endpoint serves; None when nothing serves.

    Raises:
        ModelError: something serves, but nothing says any more what it was made of, or it is a mix of two models.
    """
    endpoint = describe(endpoint_name)
    if endpoint is not None and endpoint.status == _A_MIX:
        raise ModelError(f"endpoint {endpoint_name} could not be rolled back, and serves a mix of two models")
    if endpoint is None or endpoint.status not in _ANSWERING:
        return None
    client = boto3.client("sagemaker")
    try:
        config = client.describe_endpoint_config(EndpointConfigName=endpoint.config)
        model = client.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
        container: Any = model.get("PrimaryContainer") or model["Containers"][0]
        if package := container.get("ModelPackageName"):
            found = client.describe_model_package(ModelPackageName=package)
            container = found["InferenceSpecification"]["Containers"][0]
    except ClientError as error:
        if is_missing(error):
            raise ModelError(f"nothing says any more what endpoint {endpoint_name} serves: {error}") from error
        raise
    uri: str | None = container.get("ModelDataUrl")
    if uri is None:
        raise ModelError(f"what endpoint {endpoint_name} serves is no archive on S3")
    return uri
