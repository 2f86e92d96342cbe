"""The API as AWS has it: validation, errors, tags, registry and lists."""

import datetime as dt
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud, error
from tests.localcloud.hosting import ROLE, unique
from tests.localcloud.training import BUCKET, Training, channel


@pytest.fixture(scope="module")
def sagemaker(cloud: RunningCloud) -> Any:
    return cloud.client("sagemaker", parameter_validation=False)


@pytest.mark.parametrize("operation", ["list_apps", "create_domain", "describe_processing_job"])
def test_what_is_not_offered_is_an_unknown_operation(sagemaker: Any, cloud: RunningCloud, operation: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(sagemaker, operation)()
    assert error(caught) == ("UnknownOperationException", 400)
    assert sagemaker.meta.method_to_api_mapping[operation] in (cloud.home / "service.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({}, "ValidationException", "Value null at 'modelName' failed to satisfy constraint: Member must not be null"),
        ({"ModelName": "-bad-"}, "ValidationException", "Value '-bad-' at 'modelName' failed to satisfy"),
        ({"ModelName": "a" * 64}, "ValidationException", "Member must have length less than or equal to 63"),
        ({"ModelName": 7}, "SerializationException", "NUMBER_VALUE can not be converted to a String"),
        ({"ModelName": "m", "Containers": {}}, "SerializationException", "Start of structure or map found"),
        ({"ModelName": "m", "EnableNetworkIsolation": "yes"}, "SerializationException", "to a Boolean"),
        (
            {"ModelName": "m", "PrimaryContainer": {"Mode": "Sometimes"}},
            "ValidationException",
            "at 'primaryContainer.mode' failed to satisfy constraint: Member must satisfy enum value set",
        ),
        ({"ModelName": "m", "Tags": [{"Key": "k"}]}, "ValidationException", "at 'tags.1.member.value'"),
        ({"ModelName": "m"}, "ValidationException", "either PrimaryContainer or Containers"),
        ({"ModelName": "m", "PrimaryContainer": {}}, "ValidationException", "needs an Image"),
    ],
)
def test_malformed_requests_are_explained(sagemaker: Any, arguments: dict[str, Any], code: str, message: str) -> None:
    # botocore would convert or drop some of these itself, so they go out as they are.
    def send(params: dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps(arguments).encode()

    sagemaker.meta.events.register("before-call.sagemaker.CreateModel", send)
    try:
        with pytest.raises(ClientError) as caught:
            sagemaker.create_model()
    finally:
        sagemaker.meta.events.unregister("before-call.sagemaker.CreateModel", send)
    assert error(caught) == (code, 400)
    assert message in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe"])
def test_what_is_not_json_is_refused(sagemaker: Any, body: bytes) -> None:
    def send(params: dict[str, Any], **_: Any) -> None:
        params["body"] = body

    sagemaker.meta.events.register("before-call.sagemaker.ListModels", send)
    try:
        with pytest.raises(ClientError) as caught:
            sagemaker.list_models()
    finally:
        sagemaker.meta.events.unregister("before-call.sagemaker.ListModels", send)
    assert error(caught) == ("SerializationException", 400)


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "words"),
    [
        ("describe_training_job", {"TrainingJobName": "none"}, "ValidationException", "Requested resource not found."),
        ("stop_training_job", {"TrainingJobName": "none"}, "ResourceNotFound", "training job none"),
        ("delete_training_job", {"TrainingJobName": "none"}, "ResourceNotFound", "training job none"),
        (
            "describe_transform_job",
            {"TransformJobName": "none"},
            "ValidationException",
            "Could not find requested job with name: none",
        ),
        ("stop_transform_job", {"TransformJobName": "none"}, "ResourceNotFound", "transform job none"),
        (
            "describe_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": "none"},
            "ResourceNotFound",
            "Requested resource not found",
        ),
        (
            "stop_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": "none"},
            "ResourceNotFound",
            "tuning job none",
        ),
        (
            "list_training_jobs_for_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": "none"},
            "ResourceNotFound",
            "tuning job none",
        ),
        ("describe_model", {"ModelName": "none"}, "ValidationException", "Could not find model"),
        ("delete_model", {"ModelName": "none"}, "ValidationException", "Could not find model"),
        (
            "describe_model_package_group",
            {"ModelPackageGroupName": "none"},
            "ValidationException",
            ":model-package-group/none does not exist.",
        ),
        ("list_model_packages", {"ModelPackageGroupName": "none"}, "ValidationException", "does not exist."),
        ("describe_model_package", {"ModelPackageName": "none"}, "ValidationException", "does not exist."),
        (
            "list_tags",
            {"ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:model/none"},
            "ValidationException",
            "model/none",
        ),
    ],
)
def test_unknown_names_get_awss_error(
    sagemaker: Any, operation: str, arguments: dict[str, str], code: str, words: str
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(sagemaker, operation)(**arguments)
    assert error(caught) == (code, 400)
    assert words in caught.value.response["Error"]["Message"]


def make_model(sagemaker: Any, name: str, **more: Any) -> str:
    container = {"Image": "pytorch", "ModelDataUrl": "s3://bucket/model.tar.gz"}
    return str(
        sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE, **more)["ModelArn"]
    )


def test_a_name_can_be_used_once_and_again_after_it_was_deleted(sagemaker: Any) -> None:
    name = unique("model")
    make_model(sagemaker, name)
    with pytest.raises(ClientError, match="already existing model") as caught:
        make_model(sagemaker, name)
    assert error(caught) == ("ValidationException", 400)
    with pytest.raises(ClientError, match="already existing model"):
        make_model(sagemaker, name.upper())
    sagemaker.delete_model(ModelName=name)
    make_model(sagemaker, name)


def test_a_training_jobs_name_is_taken_for_good(cloud: RunningCloud) -> None:
    training = Training(cloud)
    request = training.request("print('hello')")
    training.sagemaker.create_training_job(**request)
    with pytest.raises(ClientError, match="already exists") as caught:
        training.sagemaker.create_training_job(**request)
    assert error(caught) == ("ResourceInUse", 400)
    training.end_of(request["TrainingJobName"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 5, "MaxWaitTimeInSeconds": 9}}, "EnableManagedSpotTraining"),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds"),
        ({"OutputDataConfig": {"S3OutputPath": "https://bucket/key"}}, "is not an S3 URI"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "TrainingImage and AlgorithmName"),
        ({"InputDataConfig": [channel("train", f"s3://{BUCKET}/nothing-here/")]}, "No S3 objects found under S3 URL"),
        ({"InputDataConfig": [channel("train", f"s3://{BUCKET}/cod/")]}, "No S3 objects found under S3 URL"),
        ({"InputDataConfig": [channel("train", "s3://no-such-bucket/x")]}, "No S3 objects found under S3 URL"),
        (
            {
                "AlgorithmSpecification": {
                    "TrainingImage": "i",
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "loss", "Regex": "("}],
                }
            },
            "not a regular expression",
        ),
    ],
)
def test_training_jobs_that_cannot_run_are_refused(cloud: RunningCloud, change: dict[str, Any], message: str) -> None:
    training = Training(cloud)
    with pytest.raises(ClientError, match=message) as caught:
        training.start("print('never')", **change)
    assert error(caught) == ("ValidationException", 400)


def test_tags_are_added_replaced_and_removed(sagemaker: Any) -> None:
    arn = make_model(sagemaker, unique("model"), Tags=[{"Key": "team", "Value": "bins"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "pods"}, {"Key": "ünï", "Value": ""}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "team", "Value": "pods"},
        {"Key": "ünï", "Value": ""},
    ]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team", "unknown"])
    assert [tag["Key"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]] == ["ünï"]
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    with pytest.raises(ClientError) as caught:
        sagemaker.add_tags(ResourceArn=arn, Tags=many)
    assert error(caught) == ("ResourceLimitExceeded", 400)


def test_lists_have_pages_filters_and_orders(sagemaker: Any) -> None:
    stem = unique("listed")
    names = [f"{stem}-{letter}" for letter in "bdace"]
    for name in names:
        make_model(sagemaker, name)

    def listed(**arguments: Any) -> list[str]:
        pages = sagemaker.get_paginator("list_models").paginate(
            NameContains=stem.upper(), PaginationConfig={"PageSize": 2}, **arguments
        )
        return [model["ModelName"].removeprefix(f"{stem}-") for page in pages for model in page["Models"]]

    assert listed() == list("ecadb")
    assert listed(SortOrder="Ascending") == list("bdace")
    assert listed(SortBy="Name", SortOrder="Ascending") == list("abcde")
    hour, now = dt.timedelta(hours=1), dt.datetime.now(dt.UTC)
    assert listed(CreationTimeAfter=now - hour, CreationTimeBefore=now + hour) == list("ecadb")
    assert listed(CreationTimeAfter=now + hour) == []
    assert listed(CreationTimeBefore=now - hour) == []
    with pytest.raises(ClientError, match="token"):
        sagemaker.list_models(NextToken="nonsense")


def test_new_items_do_not_shift_the_pages_of_a_list(sagemaker: Any) -> None:
    stem = unique("shift")
    for number in range(3):
        make_model(sagemaker, f"{stem}-{number}")
    first = sagemaker.list_models(NameContains=stem, MaxResults=2)
    make_model(sagemaker, f"{stem}-3")
    second = sagemaker.list_models(NameContains=stem, MaxResults=2, NextToken=first["NextToken"])
    names = [model["ModelName"] for model in first["Models"] + second["Models"]]
    assert names == [f"{stem}-{number}" for number in (2, 1, 0)]


def test_training_jobs_are_listed_by_status(cloud: RunningCloud) -> None:
    training = Training(cloud)
    stem = unique("state")
    training.run("print('fine')", TrainingJobName=f"{stem}-good")
    training.run("raise SystemExit(1)", TrainingJobName=f"{stem}-bad")

    def listed(**arguments: Any) -> list[str]:
        found = training.sagemaker.list_training_jobs(NameContains=stem, **arguments)["TrainingJobSummaries"]
        return [job["TrainingJobName"].rsplit("-", 1)[1] for job in found]

    assert listed(StatusEquals="Completed") == ["good"]
    assert listed(StatusEquals="Failed") == ["bad"]
    assert listed(StatusEquals="InProgress") == []
    assert listed(SortBy="Status", SortOrder="Ascending") == ["good", "bad"]


INFERENCE = {
    "Containers": [{"Image": "pytorch", "ModelDataUrl": "s3://b/model.tar.gz"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}


def test_the_registry_counts_versions_and_keeps_approvals(sagemaker: Any) -> None:
    group = unique("Group")
    sagemaker.create_model_package_group(ModelPackageGroupName=group, ModelPackageGroupDescription="counts")
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    arns = [
        sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=INFERENCE)["ModelPackageArn"]
        for _ in range(3)
    ]
    assert [arn.rsplit("/", 1)[1] for arn in arns] == ["1", "2", "3"]
    sagemaker.update_model_package(
        ModelPackageArn=arns[1], ModelApprovalStatus="Approved", CustomerMetadataProperties={"accuracy": "0.4"}
    )
    package = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert package["ModelPackageVersion"] == 2
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CustomerMetadataProperties"] == {"accuracy": "0.4"}
    approved = sagemaker.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [item["ModelPackageArn"] for item in approved["ModelPackageSummaryList"]] == [arns[1]]

    with pytest.raises(ClientError) as caught:
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert error(caught) == ("ConflictException", 400)
    sagemaker.delete_model_package(ModelPackageName=arns[2])
    again = sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=INFERENCE)
    assert again["ModelPackageArn"].endswith("/4")
    for arn in (*arns[:2], again["ModelPackageArn"]):
        sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    listed = sagemaker.list_model_package_groups(NameContains=group)
    assert listed["ModelPackageGroupSummaryList"] == []


def test_a_version_that_is_asked_for_twice_with_one_token_is_registered_once(sagemaker: Any) -> None:
    group = unique("group")
    sagemaker.create_model_package_group(ModelPackageGroupName=group)

    def register(token: str, **more: Any) -> str:
        made = sagemaker.create_model_package(
            ModelPackageGroupName=group, InferenceSpecification=INFERENCE, ClientToken=token, **more
        )
        return str(made["ModelPackageArn"]).rsplit("/", 1)[1]

    tokens = [unique("token"), unique("token")]
    assert [register(token) for token in (tokens[0], tokens[0], tokens[1], tokens[0])] == ["1", "1", "2", "1"]
    with pytest.raises(ClientError, match="has the tags of its group"):
        register(unique("token"), Tags=[{"Key": "team", "Value": "bins"}])
