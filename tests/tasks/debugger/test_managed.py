"""The request of an account that has Debugger, and what happens where the service refuses it."""

from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from prefect.logging import disable_run_logger

from tasks import sdk, training_job
from tasks.debugger import managed
from tasks.settings import Settings
from tests.localcloud.drivers import camel
from tests.tasks.debugger.test_parameters import INPUTS
from training.debugger.options import DebugOptions
from training.hyperparameters import preset


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
    members = managed.request_members(Settings(), DebugOptions(save_interval_train=5, system_interval=0.5))
    for name, value in members.items():
        member = shape.members[camel({name: 0}).popitem()[0]]  # type: ignore[attr-defined]
        report = ParamValidator().validate(plain(value), member)
        assert not report.has_errors(), report.generate_report()
    hook = members["debug_hook_config"]
    assert hook.hook_parameters == {"train.save_interval": "5", "eval.save_interval": "1"}
    assert members["profiler_config"].profiling_interval_in_milliseconds == 500
    odd = managed.request_members(Settings(), DebugOptions(system_interval=2.0))
    assert odd["profiler_config"].profiling_interval_in_milliseconds == 1000  # AWS takes a few values only


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


class Service:
    """Stands for the SDK's TrainingJob where the account has no Debugger: localcloud takes its members."""

    def __init__(self, error: ClientError) -> None:
        self.error, self.requests = error, list[dict[str, Any]]()

    def get(self, name: str) -> None:
        raise refusal("ValidationException", f"Could not find {name}: Requested resource not found.")

    def create(self, **request: Any) -> SimpleNamespace:
        self.requests.append(request)
        if "debug_hook_config" in request:
            raise self.error
        return SimpleNamespace(training_job_status="InProgress", training_job_name=request["training_job_name"])


@pytest.mark.parametrize("known", [True, False])
def test_a_job_whose_debugger_is_refused_is_asked_for_without_it(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "SageMaker Debugger is not available to new customers." if known else "The instance type has no quota."
    service, here = Service(refusal("ValidationException", told)), Settings(debugger=True)
    monkeypatch.setattr(sdk, "TrainingJob", service)
    script = training_job.final_training(INPUTS, preset(), here, DebugOptions(save_interval_train=5))
    with disable_run_logger():
        if known:
            job = training_job.start_script(script, here)
            assert job.training_job_name == script.name
        else:
            with pytest.raises(ClientError, match="no quota"):
                training_job.start_script(script, here)
    first, *others = service.requests
    assert first["debug_hook_config"].hook_parameters["train.save_interval"] == "5"
    members = managed.request_members(here).keys()
    assert others == ([{name: value for name, value in first.items() if name not in members}] if known else [])
