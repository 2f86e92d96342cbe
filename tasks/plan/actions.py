"""Which IAM actions a request needs."""

from typing import Any

from tasks.plan.rehearsal import Request

_PREFIXES = {"sagemaker-runtime": "sagemaker", "sts": "sts", "logs": "logs"}
_FREE = {"sts:GetCallerIdentity"}
"""What everybody may do."""

S3_ACTIONS = {
    "HeadBucket": ("s3:ListBucket",),
    "ListObjectsV2": ("s3:ListBucket",),
    "GetObject": ("s3:GetObject",),
    "HeadObject": ("s3:GetObject",),
    "PutObject": ("s3:PutObject",),
    "CopyObject": ("s3:GetObject", "s3:PutObject"),
    "CreateMultipartUpload": ("s3:PutObject",),
    "UploadPart": ("s3:PutObject",),
    "CompleteMultipartUpload": ("s3:PutObject",),
    "AbortMultipartUpload": ("s3:AbortMultipartUpload",),
    "DeleteObject": ("s3:DeleteObject",),
    "DeleteObjects": ("s3:DeleteObject",),
    "CreateBucket": ("s3:CreateBucket",),
}
"""S3's operations and the actions that allow them, which are not one to one."""

_IN_THE_CALLERS_NAME = {
    "RegisterScalableTarget": (
        "iam:CreateServiceLinkedRole",
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
    ),
    "DeregisterScalableTarget": ("cloudwatch:DeleteAlarms",),
    "PutScalingPolicy": ("cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"),
}
"""What Application Auto Scaling does with the rights of whoever asks it to."""


def actions_of(request: Request) -> set[str]:
    """The actions that a request needs; its tags and its role need actions of their own."""
    needed = actions_of_operation(request.service, request.operation)
    if request.operation.startswith("Create") and request.parameters.get("Tags"):
        needed |= {"sagemaker:AddTags"}
    if names_a_role(request.parameters):
        needed |= {"iam:PassRole"}
    return needed


def actions_of_operation(service: str, operation: str) -> set[str]:
    """The actions that an operation always needs, whatever is in the request."""
    if service == "s3":
        return set(S3_ACTIONS[operation])
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    return ({action} - _FREE) | set(_IN_THE_CALLERS_NAME.get(operation, ()))


def names_a_role(value: Any) -> bool:
    """Whether a request hands a role to AWS."""
    if isinstance(value, dict):
        return any(key in ("RoleArn", "ExecutionRoleArn") or names_a_role(item) for key, item in value.items())
    return isinstance(value, list) and any(map(names_a_role, value))
