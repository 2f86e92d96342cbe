"""Endpoints and their configurations: made, changed, listed and deleted, through boto3 as a user would."""

import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import BROKEN, ECHO, Hosting, answering, unique, wait_until


def test_an_endpoint_answers_once_it_is_in_service(hosting: Hosting) -> None:
    config = hosting.config(hosting.model())
    name = unique("endpoint")
    arn = hosting.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)["EndpointArn"]
    assert arn.endswith(f":endpoint/{name}")
    described = hosting.settle(name)
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == config
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    answer = hosting.runtime.invoke_endpoint(
        EndpointName=name, Body=b"\xff\xd8photo", ContentType="image/jpeg", Accept="application/json"
    )
    assert json.loads(answer["Body"].read()) == {"bytes": 7, "type": "image/jpeg", "accept": "application/json"}
    assert answer["InvokedProductionVariant"] == "v0"
    assert answer["ContentType"] == "application/json"


def test_a_configuration_is_described_as_it_was_made(hosting: Hosting) -> None:
    variant = {
        "VariantName": "v0",
        "ModelName": hosting.model(),
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
        "ContainerStartupHealthCheckTimeoutInSeconds": 60,
    }
    config = hosting.config(variants=[variant])
    described = hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    assert described["ProductionVariants"] == [{**variant, "InitialVariantWeight": 1.0}]


def test_what_a_serverless_endpoint_cannot_have_is_refused(hosting: Hosting) -> None:
    model = hosting.model()

    def variant(name: str, memory: int = 1024) -> dict[str, Any]:
        serverless = {"MemorySizeInMB": memory, "MaxConcurrency": 1}
        return {"VariantName": name, "ModelName": model, "ServerlessConfig": serverless}

    capture = {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{hosting.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"variants": [variant("v0"), variant("v1")]}, "has one production variant"),
        ({"variants": [variant("v0")], "DataCaptureConfig": capture}, "Data capture is not supported"),
        ({"variants": [variant("v0", 1500)]}, "multiple of 1024, but is 1500"),
    ]
    for request, message in refusals:
        with pytest.raises(ClientError, match=message) as refused:
            hosting.config(**request)
        assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_an_update_loses_no_request(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model(answering("old"))))
    new = hosting.config(hosting.model(answering("new")))
    answers: list[bytes] = []
    failures: list[Exception] = []
    updated = threading.Event()

    def ask() -> None:
        while not updated.is_set() or answers[-1] != b"new":
            try:
                answers.append(hosting.invoke(endpoint))
            except ClientError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new)
    assert hosting.settle(endpoint)["EndpointConfigName"] == new
    updated.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {b"old", b"new"}
    assert hosting.invoke(endpoint) == b"new"


def test_an_update_that_fails_keeps_the_old_one(hosting: Hosting) -> None:
    config = hosting.config(hosting.model(answering("old")))
    endpoint = hosting.endpoint(config)
    broken = hosting.config(hosting.model(BROKEN))
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=broken)
    described = hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert described["EndpointStatus"] == "Updating"
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == broken
    described = hosting.settle(endpoint)
    assert "PendingDeploymentSummary" not in described
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == config
    assert "the weights are missing" in described["FailureReason"]
    assert hosting.invoke(endpoint) == b"old"
    good = hosting.config(hosting.model(answering("better")))
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=good)
    assert "FailureReason" not in hosting.settle(endpoint)
    assert hosting.invoke(endpoint) == b"better"


def test_an_endpoint_with_instances_does_not_become_serverless(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(model)
    endpoint = hosting.endpoint(config)
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    variant = {"VariantName": "v0", "ModelName": model, "ServerlessConfig": serverless}
    with pytest.raises(ClientError, match="serverless") as refused:
        hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=hosting.config(variants=[variant]))
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    described = hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)


def test_an_update_can_retain_the_variants_weights(hosting: Hosting) -> None:
    model = hosting.model()
    endpoint = hosting.endpoint(hosting.config(model, model))
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "v1", "DesiredWeight": 9}]
    )
    hosting.sagemaker.update_endpoint(
        EndpointName=endpoint, EndpointConfigName=hosting.config(model, model), RetainAllVariantProperties=True
    )
    weights = [variant["CurrentWeight"] for variant in hosting.settle(endpoint)["ProductionVariants"]]
    assert weights == [1.0, 9.0]


def test_a_deleted_endpoint_is_gone_with_its_process_and_folder(hosting: Hosting, cloud: RunningCloud) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model()))
    hosting.invoke(endpoint)
    assert [about for about in cloud.processes() if endpoint in about[-1]]
    hosting.sagemaker.delete_endpoint(EndpointName=endpoint)
    with pytest.raises(ClientError, match="not found"):
        hosting.invoke(endpoint)
    wait_until(lambda: not [about for about in cloud.processes() if endpoint in about[-1]])

    def gone() -> bool:
        try:
            hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
        except ClientError as error:
            return "Could not find endpoint" in str(error)
        return False

    wait_until(gone)
    assert not list((cloud.home / "endpoints" / endpoint).glob("*"))


def test_the_model_and_the_configuration_of_a_live_endpoint_can_be_deleted(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(model)
    endpoint = hosting.endpoint(config)
    hosting.sagemaker.delete_model(ModelName=model)
    hosting.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert hosting.invoke(endpoint)


def test_names_that_are_taken_or_unknown_are_refused_as_aws_does(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(model)
    endpoint = hosting.endpoint(config)
    sagemaker = hosting.sagemaker
    variant = {"VariantName": "v", "ModelName": "no-such", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    calls: list[tuple[Any, str]] = [
        (lambda: sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config), "already existing"),
        (lambda: sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="none"), "Could not find"),
        (
            lambda: sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant]),
            "Could not",
        ),
        (lambda: sagemaker.describe_endpoint(EndpointName="none"), "Could not find endpoint"),
        (lambda: sagemaker.update_endpoint(EndpointName="none", EndpointConfigName=config), "Could not find endpoint"),
        (lambda: sagemaker.delete_endpoint(EndpointName="none"), "Could not find endpoint"),
        (lambda: sagemaker.delete_endpoint_config(EndpointConfigName="none"), "Could not find endpoint configuration"),
        (lambda: hosting.config(model, variants=[{"VariantName": "v", "ModelName": model}]), "InstanceType"),
    ]
    for call, message in calls:
        with pytest.raises(ClientError, match=message) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="not found") as missing:
        hosting.invoke("none")
    assert missing.value.response["Error"]["Code"] == "ValidationError"


def test_endpoints_and_configurations_are_listed_and_filtered(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(model)
    endpoint = hosting.endpoint(config)
    failed = hosting.endpoint(hosting.config(hosting.model(BROKEN)))
    listed = hosting.sagemaker.list_endpoints(StatusEquals="InService", MaxResults=100)["Endpoints"]
    names = [item["EndpointName"] for item in listed]
    assert endpoint in names
    assert failed not in names
    found = hosting.sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"]
    assert [item["EndpointConfigName"] for item in found] == [config]


def test_the_log_of_an_endpoint_can_be_read(hosting: Hosting, cloud: RunningCloud) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model(ECHO + "\n    print('the model says hello')\n")))
    logs = cloud.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert [stream["logStreamName"].split("/")[0] for stream in streams] == ["v0"]
    events = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True)
    assert "the model says hello" in [event["message"] for event in events["events"]]
