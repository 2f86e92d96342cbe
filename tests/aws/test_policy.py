"""What the policies allow is what is asked for: no less, and no more."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.plan.actions import actions_of_operation
from tasks.settings import PREFIX, Settings
from tests.aws.conftest import Recorded
from tests.aws.policies import FOLDER, callers_policy, filled, jobs_policy, needs, s3_needs, template

NOT_RECORDED = {
    "s3:AbortMultipartUpload": "an upload that breaks off",
    "sagemaker:StopHyperParameterTuningJob": "a teardown while it runs",
    "sagemaker:StopTrainingJob": "the same, and a rule that ends a training",
    "sagemaker:StopTransformJob": "the same, and a job that has not ended in time",
    **dict.fromkeys(actions_of_operation("application-autoscaling", "DeregisterScalableTarget"), "scaling"),
    **dict.fromkeys(actions_of_operation("application-autoscaling", "RegisterScalableTarget"), "scaling"),
    **dict.fromkeys(actions_of_operation("application-autoscaling", "PutScalingPolicy"), "scaling"),
}
"""What the embedded cloud has no occasion for."""
JOBS_NOT_RECORDED = {
    "s3:AbortMultipartUpload": "an upload that breaks off",
    "logs:CreateLogGroup": "SageMaker writes a job's log as the job's role",
    "logs:CreateLogStream": "the same",
    "logs:DescribeLogStreams": "the same",
    "logs:PutLogEvents": "the same",
    "cloudwatch:PutMetricData": "SageMaker writes a job's metrics as the job's role",
    "ecr:GetAuthorizationToken": "SageMaker pulls the container as the job's role",
    "ecr:BatchCheckLayerAvailability": "the same",
    "ecr:BatchGetImage": "the same",
    "ecr:GetDownloadUrlForLayer": "the same",
}


def statements() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = callers_policy()["Statement"] + jobs_policy()["Statement"]
    return found


def test_everything_that_is_asked_for_is_allowed(recorded: Recorded) -> None:
    policy = filled(callers_policy())
    asked = {need for request in recorded.all.requests for need in needs(request)}
    asked |= {need for request in recorded.all.s3 for need in s3_needs(request)}
    # The template makes the bucket; here the code has to.
    asked.remove(("s3:CreateBucket", "arn:aws:s3:::binventory"))
    assert [need for need in sorted(asked) if not policy.allows(*need)] == []
    assert len({action for action, _ in asked}) > 25


def test_nothing_is_allowed_that_is_not_asked_for(recorded: Recorded) -> None:
    allowed = filled(callers_policy()).actions
    assert allowed - recorded.all.actions == NOT_RECORDED.keys() - recorded.all.actions


def test_jobs_may_do_what_they_do_and_no_more(recorded: Recorded) -> None:
    policy = filled(jobs_policy())
    asked = {need for request in recorded.all.jobs_s3 for need in s3_needs(request)}
    assert [need for need in sorted(asked) if not policy.allows(*need)] == []
    assert policy.actions == {action for action, _ in asked} | JOBS_NOT_RECORDED.keys()
    assert not policy.allows("s3:PutObject", "arn:aws:s3:::binventory/models/x/model.tar.gz")


@pytest.mark.parametrize("document", [callers_policy(), jobs_policy()], ids=["caller", "jobs"])
def test_photos_of_the_warehouse_may_be_read_and_nothing_may_be_done_to_them(document: dict[str, Any]) -> None:
    policy, bucket = filled(document), "arn:aws:s3:::warehouse"
    of_s3 = {action for action in policy.actions if action.startswith("s3:")}
    assert "s3:PutObject" in of_s3
    assert {action for action in of_s3 if policy.allows(action, bucket)} == {"s3:ListBucket"}
    assert {action for action in of_s3 if policy.allows(action, f"{bucket}/bin-images/523.jpg")} == {"s3:GetObject"}


@pytest.mark.parametrize("statement", statements(), ids=lambda statement: str(statement["Sid"]))
def test_no_statement_is_wide(statement: dict[str, Any]) -> None:
    actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    assert all("*" not in action for action in actions)
    if statement["Resource"] == "*":  # these know no resources
        assert statement["Sid"] in ("ListsHaveNoResource", "ScalingAlarmsAreListed", "Metrics", "ImagesLogin")


def test_only_the_jobs_role_is_passed_and_only_to_sagemaker() -> None:
    [passing] = [each for each in statements() if each["Action"] == "iam:PassRole"]
    assert passing["Resource"] == "${ROLE}"
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    trust = template()["JobRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [each["Principal"] for each in trust] == [{"Service": "sagemaker.amazonaws.com"}]


def test_scaling_is_of_sagemakers_endpoints_alone() -> None:
    conditions = {each["Sid"]: each.get("Condition") for each in callers_policy()["Statement"]}
    assert conditions["Scaling"] == {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}}
    service = "sagemaker.application-autoscaling.amazonaws.com"
    assert conditions["ScalingRole"] == {"StringEquals": {"iam:AWSServiceName": service}}


def test_the_template_has_the_same_policy_which_fits_into_iam() -> None:
    policy = callers_policy()
    assert template()["CallerPolicy"]["Properties"]["PolicyDocument"] == policy
    assert len("".join(json.dumps(policy).split())) < 6144 - 500  # longer names than the variables


def test_the_bucket_is_closed_and_forgets_what_is_passing() -> None:
    bucket = template()["Bucket"]["Properties"]
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    forgotten = {rule.get("Prefix", "") for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert forgotten == {"", "checkpoints/", "features/"}
    assert not forgotten & {"models/", "datasets/", "jobs/", "nightly/"}


def test_the_stack_puts_out_settings_and_those_that_follow_from_its_parameters() -> None:
    put_out = {pair.partition("=")[0] for pair in template("Outputs")["Settings"]["Value"].split()}
    assert put_out <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    described = " ".join(each["Description"] for each in template("Parameters").values())
    followed = set(re.findall(rf"{PREFIX}[A-Z_]+", described))
    assert {"BINVENTORY_BUCKET", "BINVENTORY_MODEL_GROUP"} <= followed <= put_out


def test_cfn_lint_has_nothing_to_say() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(FOLDER / "binventory.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
