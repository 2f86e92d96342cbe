"""STS: who the caller is."""

from localcloud.operations import Cloud, operation
from localcloud.store import Document


@operation("sts", "GetCallerIdentity")
def get_caller_identity(cloud: Cloud, _request: Document) -> Document:
    """The one user of this cloud."""
    return {
        "UserId": cloud.environment["AWS_ACCESS_KEY_ID"],
        "Account": cloud.account,
        "Arn": f"arn:aws:iam::{cloud.account}:user/localcloud",
    }
