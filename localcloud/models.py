"""Models: what an endpoint or a transform job serves."""

from localcloud import resources
from localcloud.errors import ValidationException
from localcloud.model_packages import find_package
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
        if "ModelPackageName" in container:
            _check_approved(cloud, container["ModelPackageName"])
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


def _check_approved(cloud: Cloud, name: str) -> None:
    """Refuse a model package that is not there, or a version that nobody approved. Raises ValidationException."""
    package = find_package(cloud, name)
    status = package["ModelApprovalStatus"]
    if "ModelPackageVersion" in package and status != "Approved":
        raise ValidationException(
            f"Cannot create a model of {package['ModelPackageArn']}: its approval status is {status}, not Approved."
        )


def _summary(row: Row) -> Document:
    return {"ModelName": row.name, "ModelArn": row.arn, "CreationTime": row.created}
