"""The request of an account that has Debugger, and what happens where the service refuses it."""

from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from tasks.debugger import managed
from tasks.settings import Settings
from tests.localcloud.drivers import camel


def plain(value: Any) -> Any:
    """A shape of the SDK as the API has it; parameters by name keep their names."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    members = {name: item for name, item in vars(value).items() if item.__class__.__name__ != "Unassigned"}
    return {
        camel({name: 0}).popitem()[0].replace("S3outputPath", "S3OutputPath"): item for name, item in members.items()
    }


def test_the_request_is_one_that_the_api_takes() -> None:
    shape = botocore.session.get_session().get_service_model("sagemaker").shape_for("CreateTrainingJobRequest")
    members = managed.request_members(Settings())
    for name, value in members.items():
        member = shape.members[camel({name: 0}).popitem()[0]]  # type: ignore[attr-defined]
        report = ParamValidator().validate(plain(value), member)
        assert not report.has_errors(), report.generate_report()
    hook = members["debug_hook_config"]
    assert hook.hook_parameters == {"train.save_interval": "10", "eval.save_interval": "1"}


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateTrainingJob")


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (refusal("ValidationException", "SageMaker Debugger is not available to new customers."), True),
        (refusal("AccessDeniedException", "DebugHookConfig is not allowed for this account"), True),
        (refusal("ValidationException", "The instance type ml.g5.xlarge has no quota"), False),
        (refusal("ThrottlingException", "Debugger: rate exceeded"), False),
    ],
)
def test_a_refusal_is_told_from_other_errors(error: ClientError, refused: bool) -> None:
    assert managed.is_refusal(error) == refused
    if refused:
        assert "BINVENTORY_DEBUGGER=false" in managed.explain(error)
