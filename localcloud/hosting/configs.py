"""EndpointConfig: which models an endpoint serves, how its traffic is shared, and what is captured."""

from __future__ import annotations

from localcloud import resources
from localcloud.errors import ValidationException
from localcloud.operations import Cloud, operation
from localcloud.resources import ENDPOINT_CONFIG, MODEL
from localcloud.store import Document, Row

SERVERLESS_STEP_MB = 1024
_NOT_OFFERED = ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants")


@operation("sagemaker", "CreateEndpointConfig")
def create_endpoint_config(cloud: Cloud, request: Document) -> Document:
    """Store a configuration whose variants are sound and whose models exist."""
    for member in _NOT_OFFERED:
        if member in request:
            raise ValidationException(f"localcloud does not offer {member}; leave it out")
    variants = [_variant(cloud, variant) for variant in request["ProductionVariants"]]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise ValidationException(f"The production variant names must be unique, but are {names}")
    if any("ServerlessConfig" in variant for variant in variants):
        _check_serverless(request, variants)
    arn = resources.create(cloud, ENDPOINT_CONFIG, request, ProductionVariants=variants)
    return {"EndpointConfigArn": arn}


def _variant(cloud: Cloud, variant: Document) -> Document:
    name = variant["VariantName"]
    if "ModelName" not in variant:
        raise ValidationException(f"Production variant {name} names no model; localcloud has no inference components")
    resources.describe(cloud, MODEL, variant["ModelName"])
    serverless = "ServerlessConfig" in variant
    if serverless and ("InstanceType" in variant or "InitialInstanceCount" in variant):
        raise ValidationException(
            f"Production variant {name} has both ServerlessConfig and InstanceType or InitialInstanceCount"
        )
    if not serverless and ("InstanceType" not in variant or "InitialInstanceCount" not in variant):
        raise ValidationException(
            f"Production variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig"
        )
    return {"InitialVariantWeight": 1.0, **variant}


def _check_serverless(request: Document, variants: list[Document]) -> None:
    """What AWS's page on serverless inference has under "Feature exclusions". Raises ValidationException."""
    if len(variants) > 1:
        raise ValidationException(f"A serverless endpoint has one production variant, but there are {len(variants)}")
    if "DataCaptureConfig" in request:
        raise ValidationException("Data capture is not supported for serverless endpoints: leave out DataCaptureConfig")
    memory = variants[0]["ServerlessConfig"]["MemorySizeInMB"]
    if memory % SERVERLESS_STEP_MB:
        raise ValidationException(f"MemorySizeInMB must be a multiple of {SERVERLESS_STEP_MB}, but is {memory}")


@operation("sagemaker", "DescribeEndpointConfig")
def describe_endpoint_config(cloud: Cloud, request: Document) -> Document:
    """The configuration as it was created."""
    return resources.describe(cloud, ENDPOINT_CONFIG, request["EndpointConfigName"])


@operation("sagemaker", "ListEndpointConfigs")
def list_endpoint_configs(cloud: Cloud, request: Document) -> Document:
    """Names, ARNs and times, filtered and in pages."""
    return resources.listing(cloud, ENDPOINT_CONFIG, request, "EndpointConfigs", _summary)


def _summary(row: Row) -> Document:
    return {"EndpointConfigName": row.name, "EndpointConfigArn": row.arn, "CreationTime": row.created}


@operation("sagemaker", "DeleteEndpointConfig")
def delete_endpoint_config(cloud: Cloud, request: Document) -> None:
    """Forget the configuration. Endpoints that use it go on, as on AWS."""
    resources.delete(cloud, ENDPOINT_CONFIG, request["EndpointConfigName"])
