"""Models: what an endpoint or a transform job serves."""

from localcloud import resources
from localcloud.errors import ValidationException
from localcloud.operations import Cloud, operation
from localcloud.resources import MODEL
from localcloud.store import Document, Row


@operation("sagemaker", "CreateModel")
def create_model(cloud: Cloud, request: Document) -> Document:
    """Store a model; its artifacts are looked at when it is served."""
    if ("PrimaryContainer" in request) == ("Containers" in request):
        raise ValidationException("Specify either PrimaryContainer or Containers, and not both.")
    for container in request.get("Containers", [request.get("PrimaryContainer", {})]):
        if "Image" not in container and "ModelPackageName" not in container:
            raise ValidationException("A container needs an Image or a ModelPackageName.")
    return {"ModelArn": resources.create(cloud, MODEL, {"EnableNetworkIsolation": False, **request})}


@operation("sagemaker", "DescribeModel")
def describe_model(cloud: Cloud, request: Document) -> Document:
    """One model."""
    return resources.describe(cloud, MODEL, request["ModelName"])


@operation("sagemaker", "ListModels")
def list_models(cloud: Cloud, request: Document) -> Document:
    """Models, newest first."""
    return resources.listing(cloud, MODEL, request, "Models", _summary)


@operation("sagemaker", "DeleteModel")
def delete_model(cloud: Cloud, request: Document) -> Document:
    """Forget a model; endpoints that serve it go on, as on AWS."""
    resources.delete(cloud, MODEL, request["ModelName"])
    return {}


def _summary(row: Row) -> Document:
    return {"ModelName": row.name, "ModelArn": row.arn, "CreationTime": row.created}
