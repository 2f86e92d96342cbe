"""Endpoints, driven through boto3 as a user would."""

import io
import json
import tarfile
import threading
from collections import Counter
from textwrap import dedent
from typing import Any

import pytest
import torch
from botocore.exceptions import ClientError
from PIL import Image

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import ECHO, ROLE, Hosting, archive, unique, wait_until

BROKEN = "raise RuntimeError('the weights are missing')"


def answering(text: str) -> str:
    """A model that answers every request with a text."""
    return f"""
    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        return {text!r}, "text/plain"
    """


@pytest.fixture
def hosting(cloud: RunningCloud) -> Hosting:
    return Hosting(cloud)


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


def test_custom_attributes_go_both_ways(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept, context):
                    name = "X-Amzn-SageMaker-Custom-Attributes"
                    context.set_response_header(0, name, "got " + context.get_request_header(0, name))
                    return "ok"
            """)
        )
    )
    answer = hosting.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"", CustomAttributes="trace-1")
    assert answer["CustomAttributes"] == "got trace-1"


def test_an_endpoint_that_cannot_start_is_failed_with_the_reason(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model(BROKEN)))
    described = hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "the weights are missing" in described["FailureReason"]
    with pytest.raises(ClientError, match="not found") as refused:
        hosting.invoke(endpoint)
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    hosting.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "Failed to download model data"), (b"no tar", "Failed to extract model data archive")]
)
def test_model_data_that_is_missing_or_broken_is_named(hosting: Hosting, data: bytes | None, reason: str) -> None:
    name = unique("model")
    url = f"s3://{hosting.bucket}/{name}/model.tar.gz" if data is None else hosting.put(f"{name}/model.tar.gz", data)
    hosting.create_model(name, url)
    described = hosting.settle(hosting.endpoint(hosting.config(name)))
    assert described["EndpointStatus"] == "Failed"
    assert reason in described["FailureReason"]
    assert url in described["FailureReason"]


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


def test_a_torch_model_counts_in_a_jpeg(hosting: Hosting) -> None:
    """A network's weights in the archive, a JPEG in the request: what the container is for."""
    weights, photo = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.full((1, 3), 0.5), "bias": torch.zeros(1)}, weights)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(photo, "JPEG", quality=100)
    script = """
        import io, json, os
        import torch
        from PIL import Image

        def model_fn(model_dir):
            net = torch.nn.Linear(3, 1)
            net.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), weights_only=True))
            return net.eval()

        def input_fn(body, content_type):
            red, green, blue = Image.open(io.BytesIO(body)).getpixel((4, 4))
            return torch.tensor([[float(red), float(green), float(blue)]])

        def predict_fn(data, model):
            with torch.inference_mode():
                return model(data)

        def output_fn(prediction, accept):
            return json.dumps(prediction.tolist()), "application/json"
    """
    endpoint = hosting.endpoint(hosting.config(hosting.model(script, files={"model.pth": weights.getvalue()})))
    ((value,),) = json.loads(hosting.invoke(endpoint, photo.getvalue(), ContentType="image/jpeg"))
    assert value == pytest.approx(255 / 2, abs=2)


def test_the_code_can_lie_in_an_archive_of_its_own(hosting: Hosting) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        code = dedent(answering("from elsewhere")).encode()
        member = tarfile.TarInfo("serve_it.py")
        member.size = len(code)
        tar.addfile(member, io.BytesIO(code))
    source = hosting.put("sourcedir.tar.gz", packed.getvalue())
    environment = {"SAGEMAKER_PROGRAM": "serve_it.py", "SAGEMAKER_SUBMIT_DIRECTORY": source}
    endpoint = hosting.endpoint(hosting.config(hosting.model(BROKEN, environment=environment)))
    assert hosting.invoke(endpoint) == b"from elsewhere"


def test_a_model_can_come_from_the_registry(hosting: Hosting) -> None:
    container = {
        "Image": "pytorch-inference",
        "ModelDataUrl": hosting.put("registered/model.tar.gz", archive(answering("registered"))),
    }
    group = unique("group")
    hosting.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    package = hosting.sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    model = unique("model")
    hosting.sagemaker.create_model(
        ModelName=model, PrimaryContainer={"ModelPackageName": package}, ExecutionRoleArn=ROLE
    )
    assert hosting.invoke(hosting.endpoint(hosting.config(model))) == b"registered"
    job = hosting.transform(model, {"S3Uri": hosting.put("in/one", b"x")})
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"


def test_an_archive_that_reaches_outside_its_folder_is_refused(hosting: Hosting, cloud: RunningCloud) -> None:
    model = hosting.model(ECHO, files={"../../escaped": b"!"})
    described = hosting.settle(hosting.endpoint(hosting.config(model)))
    assert described["EndpointStatus"] == "Failed"
    assert "outside the destination" in described["FailureReason"]
    assert not list(cloud.home.rglob("escaped"))


def test_an_error_of_the_model_is_a_model_error_with_its_status_and_message(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model()))
    with pytest.raises(ClientError) as failed:
        hosting.invoke(endpoint, b"bad")
    response: dict[str, Any] = dict(failed.value.response)
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 500
    assert response["OriginalMessage"].startswith("cannot read this one")
    assert response["LogStreamArn"].endswith(f"log-group:/aws/sagemaker/Endpoints/{endpoint}")


def test_a_model_that_dies_while_it_answers_is_a_model_error_and_comes_back(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
                import os

                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept):
                    if body == b"die":
                        os._exit(3)
                    return "alive"
            """)
        )
    )
    with pytest.raises(ClientError, match="model process exited"):
        hosting.invoke(endpoint, b"die", ContentType="text/plain")
    assert hosting.invoke(endpoint, b"x", ContentType="text/plain") == b"alive"


def test_a_killed_endpoint_answers_the_next_call(hosting: Hosting, cloud: RunningCloud) -> None:
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model("""
        import os

        def model_fn(model_dir):
            return os.getpid()

        def transform_fn(model, body, content_type, accept):
            return str(model)
    """)
        )
    )
    before = hosting.invoke(endpoint)
    cloud.command("faults", "kill-endpoint", endpoint)
    assert hosting.invoke(endpoint) != before


def test_sixteen_clients_are_answered_at_the_same_time(hosting: Hosting) -> None:
    """All sixteen requests meet in the model; none is answered before the last has come."""
    endpoint = hosting.endpoint(
        hosting.config(
            hosting.model(
                """
                import threading

                meeting = threading.Barrier(16, timeout=60)

                def model_fn(model_dir):
                    return None

                def transform_fn(model, body, content_type, accept):
                    meeting.wait()
                    return body
                """,
                environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "16"},
            )
        )
    )
    answers: Counter[bytes] = Counter()

    def ask(number: int) -> None:
        answers[hosting.invoke(endpoint, f"client {number}".encode(), ContentType="text/plain")] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == Counter({f"client {number}".encode(): 1 for number in range(16)})


def test_a_body_beyond_the_limit_is_refused(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model()))
    assert json.loads(hosting.invoke(endpoint, b"x" * 6_291_456, ContentType="text/plain"))["bytes"] == 6_291_456
    with pytest.raises(ClientError) as refused:
        hosting.invoke(endpoint, b"x" * 6_291_457)
    assert refused.value.response["Error"]["Code"] in ("ValidationError", "413")


def test_variants_share_traffic_by_weight_and_can_be_named(hosting: Hosting) -> None:
    models = [hosting.model(answering("first")), hosting.model(answering("second"))]
    endpoint = hosting.endpoint(hosting.config(*models))
    assert hosting.invoke(endpoint, TargetVariant="v0") == b"first"
    assert hosting.invoke(endpoint, TargetVariant="v1") == b"second"
    assert {hosting.invoke(endpoint) for _ in range(60)} == {b"first", b"second"}
    with pytest.raises(ClientError, match="v7"):
        hosting.invoke(endpoint, TargetVariant="v7")
    hosting.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredWeight": 0}]
    )
    assert {hosting.invoke(endpoint) for _ in range(30)} == {b"second"}
    weights = [v["CurrentWeight"] for v in hosting.settle(endpoint)["ProductionVariants"]]
    assert weights == [0.0, 1.0]


def test_a_serverless_variant_is_throttled_beyond_its_concurrency(hosting: Hosting, cloud: RunningCloud) -> None:
    slow = hosting.model("""
        import pathlib, time

        def model_fn(model_dir):
            return pathlib.Path(model_dir)

        def transform_fn(model, body, content_type, accept):
            (model / "begun").touch()
            while not (model / "go").exists():
                time.sleep(0.01)
            return "done"
    """)
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    endpoint = hosting.endpoint(
        hosting.config(variants=[{"VariantName": "v0", "ModelName": slow, "ServerlessConfig": serverless}])
    )
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(hosting.invoke(endpoint)))
    thread.start()
    model = wait_until(lambda: next((cloud.home / "endpoints" / endpoint).glob("*/0/model/begun"), None)).parent
    with pytest.raises(ClientError) as throttled:
        hosting.invoke(endpoint)
    assert throttled.value.response["Error"]["Code"] == "ThrottlingException"
    (model / "go").touch()
    thread.join()
    assert answers == [b"done"]


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
    assert hosting.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Updating"
    described = hosting.settle(endpoint)
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == config
    assert "the weights are missing" in described["FailureReason"]
    assert hosting.invoke(endpoint) == b"old"
    good = hosting.config(hosting.model(answering("better")))
    hosting.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=good)
    assert "FailureReason" not in hosting.settle(endpoint)
    assert hosting.invoke(endpoint) == b"better"


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
