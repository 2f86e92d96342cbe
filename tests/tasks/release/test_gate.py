"""The gate lets in what is above the floors and not worse than what serves; and says why when it does not."""

import boto3
import pytest
import torch
from botocore.stub import Stubber

from tasks.evaluation.measure import measure
from tasks.evaluation.results import Comparison, EvaluatedModel
from tasks.release import scaling
from tasks.release.gate import judge
from tasks.settings import Settings, load_settings
from tests.tasks.evaluation.looks import looked, model
from training.errors import SettingsError

URI = "s3://bucket/models/m/model.tar.gz"


def evaluated(right: int, against: float | None = None, gain: float = 0.0, rmse: float = 1.0) -> EvaluatedModel:
    """A model that is right on so many of ten photos, and one off on the others."""
    raw = torch.full((10, 5), 0.05)
    raw[range(right), 2] = 0.8
    raw[range(right, 10), 3] = 0.8
    comparison = None
    if against is not None:
        comparison = Comparison(
            deployed="s3://bucket/models/old/model.tar.gz", version="old", accuracy=against, rmse=rmse, within_one=0.9,
            loss=1.0, ece=0.1, n=10, accuracy_gain=gain, accuracy_gain_interval=(gain - 0.1, gain + 0.1),
        )  # fmt: skip
    return EvaluatedModel(evaluation=measure(looked([3] * 10, raw), model()), comparison=comparison, answers=[])


def test_the_first_model_needs_only_the_floors() -> None:
    assert judge(evaluated(6), URI, Settings()).passed
    refused = judge(evaluated(6), URI, Settings(min_accuracy=0.7, max_rmse=0.5, max_ece=0.01))
    assert not refused.passed
    assert len(refused.reasons) == 3
    for variable in ("BINVENTORY_MIN_ACCURACY", "BINVENTORY_MAX_RMSE", "BINVENTORY_MAX_ECE"):
        assert variable in refused.text


def test_a_worse_model_than_the_deployed_one_is_refused_and_the_reason_has_the_numbers() -> None:
    here = Settings(max_drop=0.01)
    worse = judge(evaluated(6, against=0.7, gain=-0.1), URI, here)
    assert not worse.passed
    assert "60.00% against 70.00%" in worse.text
    assert "-10.0 points" in worse.text
    assert judge(evaluated(6, against=0.6, gain=0.0), URI, here).passed
    assert judge(evaluated(6, against=0.605, gain=-0.005), URI, here).passed
    wider = judge(evaluated(6, against=0.6, rmse=0.5), URI, here)
    assert not wider.passed
    assert "RMSE" in wider.text


def test_two_models_are_held_against_each_other_on_the_photos_that_both_were_kept_from() -> None:
    either = evaluated(6, against=0.7, gain=-0.1)
    assert either.comparison is not None
    fewer = either.comparison.model_copy(update={"own_accuracy": 0.5, "own_rmse": 1.5})
    refused = judge(either.model_copy(update={"comparison": fewer}), URI, Settings())
    assert "accuracy 50.00% against 70.00%" in refused.text
    assert "RMSE 1.500 against 1.000" in refused.text


def test_what_could_not_be_compared_with_the_deployed_model_waits_for_a_person() -> None:
    unsure = evaluated(6).model_copy(update={"incomparable": "its archive is gone"})
    verdict = judge(unsure, URI, Settings())
    assert verdict.status(Settings()) == "PendingManualApproval"
    assert "its archive is gone" in verdict.text
    below = judge(unsure, URI, Settings(min_accuracy=0.7))
    assert below.status(Settings()) == "Rejected"


def test_a_model_that_passes_is_approved_or_waits_as_the_setting_says() -> None:
    for approval, wanted in (("automatic", "Approved"), ("manual", "PendingManualApproval")):
        here = Settings(approval=approval)
        assert judge(evaluated(6), URI, here).status(here) == wanted
        assert judge(evaluated(6, against=0.9, gain=-0.3), URI, here).status(here) == "Rejected"


def test_a_model_is_not_compared_with_itself() -> None:
    again = evaluated(6, against=0.9, gain=-0.3)
    assert again.comparison is not None
    assert judge(again, again.comparison.deployed, Settings()).passed


def test_scaling_asks_for_what_aws_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("application-autoscaling", region_name="us-east-1")
    resource = "endpoint/bins/variant/main"
    common = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    with Stubber(client) as stub:
        stub.add_response("register_scalable_target", {}, common | {"MinCapacity": 1, "MaxCapacity": 4})
        policy = {
            "TargetValue": scaling.CALLS_A_MINUTE,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
        }
        stub.add_response(
            "put_scaling_policy",
            {"PolicyARN": "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:1"},
            common
            | {
                "PolicyName": "bins-invocations",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": policy,
            },
        )
        monkeypatch.setattr(boto3, "client", lambda service: client)
        scaling.scale("bins", "main", Settings(target="aws", autoscaling_instances=4))
        stub.assert_no_pending_responses()
        scaling.scale("bins", "main", Settings())  # one instance: nothing is asked for


@pytest.mark.parametrize("code", [None, "ObjectNotFoundException", "AccessDeniedException"])
def test_back_at_one_instance_scaling_ends(
    code: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = boto3.client("application-autoscaling", region_name="us-east-1")
    monkeypatch.setattr(boto3, "client", lambda service: client)
    with Stubber(client) as stub:
        if code:
            stub.add_client_error("deregister_scalable_target", code, "No scalable target found")
        else:
            resource = "endpoint/bins/variant/main"
            asked = {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": scaling._DIMENSION}
            stub.add_response("deregister_scalable_target", {}, asked)
        scaling.stop_scaling("bins", "main", Settings(target="aws"))
        stub.assert_no_pending_responses()
        scaling.stop_scaling("bins", "main", Settings(target="aws", autoscaling_instances=2))  # nothing is asked for
        scaling.stop_scaling("bins", "main", Settings())
    assert ["may not be ended" in said for said in caplog.messages] == [True] * (code == "AccessDeniedException")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"BINVENTORY_AUTOSCALING_INSTANCES": "3"}, "needs target aws"),
        (
            {
                "BINVENTORY_TARGET": "aws",
                "BINVENTORY_AUTOSCALING_INSTANCES": "3",
                "BINVENTORY_SERVERLESS_MEMORY_MB": "2048",
            },
            "scales by itself",
        ),
        ({"BINVENTORY_PHOTO_HOSTS": "cameras.lan=10.0.0.0/99"}, "PHOTO_HOSTS"),
        ({"BINVENTORY_SERVERLESS_MEMORY_MB": "1000"}, "SERVERLESS_MEMORY_MB"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        load_settings()
