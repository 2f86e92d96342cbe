"""Tags of any resource, by its ARN."""

from localcloud.errors import ResourceLimitExceeded, ValidationException
from localcloud.operations import Cloud, operation
from localcloud.store import Document

MAX_TAGS = 50


@operation("sagemaker", "AddTags")
def add_tags(cloud: Cloud, request: Document) -> Document:
    """Add tags, replacing those of the same key; answers with all."""
    arn = _known(cloud, request["ResourceArn"])
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    with cloud.store.transaction():
        if len(cloud.store.tags(arn) | tags) > MAX_TAGS:
            raise ResourceLimitExceeded(f"A resource can have {MAX_TAGS} tags at most.")
        cloud.store.set_tags(arn, tags)
    return {"Tags": _listed(cloud, arn)}


@operation("sagemaker", "ListTags")
def list_tags(cloud: Cloud, request: Document) -> Document:
    """A resource's tags; at most 50, so they always fit a page."""
    return {"Tags": _listed(cloud, _known(cloud, request["ResourceArn"]))}


@operation("sagemaker", "DeleteTags")
def delete_tags(cloud: Cloud, request: Document) -> Document:
    """Remove tags by key."""
    cloud.store.delete_tags(_known(cloud, request["ResourceArn"]), request["TagKeys"])
    return {}


def _known(cloud: Cloud, arn: str) -> str:
    if cloud.store.locate(arn) is None:
        raise ValidationException(f"Could not find resource with ARN {arn}.")
    return arn


def _listed(cloud: Cloud, arn: str) -> list[Document]:
    return [{"Key": key, "Value": value} for key, value in cloud.store.tags(arn).items()]
