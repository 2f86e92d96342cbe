"""Which of AWS's refusals are worth another try."""

import botocore.session
import pytest
from botocore.exceptions import ClientError

from tasks.transient import is_transient

CHANGES = [
    ("sagemaker", "CreateModelPackage", "ConflictException"),
    ("sagemaker", "UpdateModelPackage", "ConflictException"),
    ("sagemaker", "DeleteModelPackage", "ConflictException"),
    ("application-autoscaling", "RegisterScalableTarget", "ConcurrentUpdateException"),
    ("application-autoscaling", "PutScalingPolicy", "ConcurrentUpdateException"),
    ("application-autoscaling", "DeregisterScalableTarget", "ConcurrentUpdateException"),
]


@pytest.mark.parametrize(("service", "operation", "code"), CHANGES)
def test_a_change_that_came_together_with_another_is_worth_another_try(service: str, operation: str, code: str) -> None:
    known = botocore.session.get_session().get_service_model(service).operation_model(operation).error_shapes
    assert code in {shape.name for shape in known}
    assert is_transient(ClientError({"Error": {"Code": code, "Message": "said by a test"}}, operation))
    assert not is_transient(ClientError({"Error": {"Code": "ValidationException", "Message": "no"}}, operation))
