"""What a run left is found, and only that; deleting it leaves nothing of the run."""

from typing import Any

import boto3
import pytest
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows import teardown as flow
from tasks.object_store import open_store
from tasks.release import registry, teardown
from tasks.release.serving_now import describe
from tasks.release.teardown import leftovers, running_jobs, wait_for_jobs
from tasks.settings import Settings
from tests.localcloud.hosting import ECHO, archive, wait_until
from tests.localcloud.training import source_archive
from tests.s3_server import denying_s3
from tests.tasks.release.bench import let_aws_answer
from training.errors import CloudError

ROLE = "arn:aws:iam::000000000000:role/test"


@pytest.fixture
def flow_on_this_cloud(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "settings", lambda: here)
    monkeypatch.setattr(flow, "use_cloud", lambda _: None)  # it is in use


def leave(run_id: str, here: Settings) -> None:
    """A model, its configuration, its package and some objects, as a run leaves them."""
    client, s3 = boto3.client("sagemaker"), boto3.client("s3")
    name = f"binventory-{run_id}-{here.bucket}"
    uri = f"s3://{here.bucket}/models/{name}/model.tar.gz"
    client.create_model(
        ModelName=name, PrimaryContainer={"Image": "pytorch", "ModelDataUrl": uri}, ExecutionRoleArn=ROLE
    )
    variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=f"{name}-c", ProductionVariants=[variant])  # type: ignore[list-item]
    model = registry.Registration(
        name=name, uri=uri, image="pytorch", environment={}, evaluation_uri=uri, facts={"run_id": run_id}
    )
    registry.register(model, "Approved", "passed", here)
    jobs, night = f"jobs/b{run_id}-train-1/output/model.tar.gz", f"nightly/{run_id}/held-back/bin-images/1.jpg"
    for key in (f"models/{name}/model.tar.gz", jobs, night, "datasets/demo/a.jpg"):
        s3.put_object(Bucket=here.bucket, Key=key, Body=b"x")


def serve(run_id: str, endpoint: str, script: str, here: Settings) -> str:
    """Begin to put what `leave` left behind an endpoint, with this script as its model; returns the configuration."""
    name = f"binventory-{run_id}-{here.bucket}"
    boto3.client("s3").put_object(Bucket=here.bucket, Key=f"models/{name}/model.tar.gz", Body=archive(script))
    boto3.client("sagemaker").create_endpoint(EndpointName=endpoint, EndpointConfigName=f"{name}-c")
    return f"{name}-c"


def test_what_a_run_left_is_listed_and_deleted_and_nothing_else(here: Settings) -> None:
    mine, other = "261125-120000", "261125-120001"
    leave(mine, here)
    leave(other, here)
    found = [each for each in leftovers(mine, here) if here.bucket in each.name or each.kind == "model package"]
    assert [each.kind for each in found] == [
        "endpoint configuration",
        "model",
        "model package",
        *["objects"] * 3,
    ]
    assert len(leftovers(mine, here)) == len(found)  # listing deletes nothing
    for each in found:
        each.delete()
    assert leftovers(mine, here) == []
    assert len(leftovers(other, here)) == 6
    keys = {item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket=here.bucket)["Contents"]}
    assert "datasets/demo/a.jpg" in keys
    assert not any(mine in key for key in keys)


def test_endpoints_that_may_not_be_looked_at_are_named_and_left_alone(
    here: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = "261125-120002"
    leave(run_id, here)
    before = leftovers(run_id, here)
    foreign = [{"EndpointName": "of-others"}, {"EndpointName": "of-more"}]
    let_aws_answer("sagemaker.ListEndpoints", 200, {"Endpoints": foreign})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "is not authorized"}}
    let_aws_answer("sagemaker.DescribeEndpoint", 400, denied)
    assert [each.name for each in leftovers(run_id, here)] == [each.name for each in before]
    [said] = caplog.messages
    assert "of-others, of-more" in said


@pytest.mark.usefixtures("flow_on_this_cloud")
def test_what_is_in_use_is_marked_and_goes_only_when_that_is_said(here: Settings, endpoint: str) -> None:
    run_id = "261125-120003"
    leave(run_id, here)
    serve(run_id, endpoint, ECHO, here)
    wait_until(lambda: (found := describe(endpoint)) and found.status == "InService")
    uses = [(each.kind, each.in_use) for each in leftovers(run_id, here)]
    behind, newest = f"in service behind {endpoint}", "the newest approved model, which nights count with"
    both = f"{behind}; {newest}"
    assert uses == [
        ("endpoint", behind),
        ("endpoint configuration", behind),
        ("model", both),
        ("model package", both),
        ("objects", both),
        ("objects", ""),
        ("objects", ""),
    ]
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # the server may go before the log is sent
        flow.teardown(flow.TeardownParameters(run_id=run_id, delete=True))
        assert [(each.kind, each.in_use) for each in leftovers(run_id, here)] == uses[:5]
        flow.teardown(flow.TeardownParameters(run_id=run_id, delete=True, in_use=True))
    assert leftovers(run_id, here) == []


@pytest.mark.usefixtures("flow_on_this_cloud")
def test_an_endpoint_that_is_being_created_is_waited_for_and_never_forgotten(here: Settings, endpoint: str) -> None:
    run_id = "261125-120004"
    leave(run_id, here)
    config = serve(run_id, endpoint, "import time; time.sleep(2)", here)
    boto3.client("sagemaker").delete_endpoint_config(EndpointConfigName=config)
    [found] = [each for each in leftovers(run_id, here) if each.kind == "endpoint"]
    assert (found.name, found.in_use) == (endpoint, "")
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # the server may go before the log is sent
        flow.teardown(flow.TeardownParameters(run_id=run_id, delete=True, in_use=True))
    assert describe(endpoint) is None
    assert leftovers(run_id, here) == []


@pytest.mark.usefixtures("here")
def test_an_endpoint_that_goes_while_it_is_being_described_is_gone() -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/bins"
    let_aws_answer("sagemaker.DescribeEndpoint", 200, {"EndpointArn": arn, "EndpointStatus": "Deleting"})
    gone = {"Error": {"Code": "ValidationException", "Message": f"Could not find resource with ARN {arn}."}}
    let_aws_answer("sagemaker.ListTags", 400, gone)
    assert describe("bins") is None


@pytest.mark.usefixtures("flow_on_this_cloud")
def test_what_an_endpoint_needs_stays_where_that_cannot_be_deleted(here: Settings) -> None:
    run_id = "261125-120005"
    leave(run_id, here)
    failed = {"EndpointArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint/bins", "EndpointStatus": "Failed"}
    failed |= {"EndpointConfigName": "theirs"}
    pending = {"PendingDeploymentSummary": {"EndpointConfigName": f"binventory-{run_id}-{here.bucket}-c"}}
    let_aws_answer("sagemaker.ListEndpoints", 200, {"Endpoints": [{"EndpointName": "bins"}]})
    let_aws_answer("sagemaker.DescribeEndpoint", 200, failed | pending)
    let_aws_answer("sagemaker.ListTags", 200, {"Tags": []})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "is not authorized"}}
    let_aws_answer("sagemaker.DeleteEndpoint", 400, denied)
    before = leftovers(run_id, here)
    with (
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),  # the server may go before the log is sent
        pytest.raises(CloudError, match=r"endpoint bins: .*AccessDenied.*was kept, since endpoint bins is still there"),
    ):
        flow.teardown(flow.TeardownParameters(run_id=run_id, delete=True, in_use=True))
    assert [each.name for each in leftovers(run_id, here)] == [each.name for each in before[:5]]


@pytest.mark.usefixtures("flow_on_this_cloud")
def test_objects_that_may_not_be_deleted_are_named_and_the_rest_goes(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = "261125-120006"
    leave(run_id, here)
    with denying_s3() as url:
        monkeypatch.setattr(teardown, "open_store", lambda uri: open_store(uri, endpoint=url))  # what deletes
        with (
            temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),  # the server may go before the log is sent
            pytest.raises(CloudError, match=rf"objects s3://{here.bucket}/models/.*objects .*AccessDenied") as error,
        ):
            flow.teardown(flow.TeardownParameters(run_id=run_id, delete=True, in_use=True))
    assert "Debug source" not in str(error.value)
    assert [each.kind for each in leftovers(run_id, here)] == ["objects"] * 3


def training(here: Settings) -> dict[str, Any]:
    """What a training job is asked for, or each of a tuning job's, but for its script; it would take ten minutes."""
    metric = {"Name": "quality", "Regex": "quality: (.*)"}
    return {
        "AlgorithmSpecification": {
            "TrainingImage": "pytorch",
            "TrainingInputMode": "File",
            "MetricDefinitions": [metric],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{here.bucket}/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


def script(here: Settings, says: str = "quality: 0.5") -> dict[str, str]:
    """The hyperparameters that name a script, which says something and sleeps."""
    body = source_archive({"train.py": f"import time; print({says!r}, flush=True); time.sleep(600)"})
    boto3.client("s3").put_object(Bucket=here.bucket, Key="code.tar.gz", Body=body)
    return {"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{here.bucket}/code.tar.gz"}


def start_tuning(name: str, here: Settings, says: str = "quality: 0.5") -> None:
    """A tuning job whose first trial has begun."""
    client: Any = boto3.client("sagemaker")
    client.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "quality"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "1"}]},
        },
        TrainingJobDefinition={"StaticHyperParameters": script(here, says), **training(here)},
    )
    wait_until(lambda: statuses(f"{name}-"))


def statuses(job: str) -> list[str]:
    """Of all training jobs whose names have this in them."""
    found = boto3.client("sagemaker").list_training_jobs(NameContains=job)["TrainingJobSummaries"]
    return [each["TrainingJobStatus"] for each in found]


def start_training(name: str, here: Settings) -> None:
    client: Any = boto3.client("sagemaker")
    client.create_training_job(TrainingJobName=name, HyperParameters=script(here), **training(here))


def start_transform(name: str, here: Settings) -> None:
    client, s3 = boto3.client("sagemaker"), boto3.client("s3")
    s3.put_object(Bucket=here.bucket, Key="photos/1.jpg", Body=b"x")
    s3.put_object(Bucket=here.bucket, Key="sleeper.tar.gz", Body=archive("import time; time.sleep(600)"))
    container = {"Image": "pytorch-inference", "ModelDataUrl": f"s3://{here.bucket}/sleeper.tar.gz"}
    client.create_model(ModelName=f"model-of-{name}", PrimaryContainer=container, ExecutionRoleArn=ROLE)  # type: ignore[arg-type]
    photos = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{here.bucket}/photos/"}
    client.create_transform_job(
        TransformJobName=name,
        ModelName=f"model-of-{name}",
        TransformInput={"DataSource": {"S3DataSource": photos}, "ContentType": "image/jpeg"},  # type: ignore[typeddict-item]
        TransformOutput={"S3OutputPath": f"s3://{here.bucket}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )


@pytest.mark.usefixtures("flow_on_this_cloud")
def test_a_runs_jobs_are_stopped_and_have_ended_before_the_rest_goes(here: Settings) -> None:
    mine, other = "261125-130000", "261125-130001"
    names = [f"b{mine}-{stage}-1" for stage in ("hpo", "train", "night")]
    for start, name in zip((start_tuning, start_training, start_transform), names, strict=True):
        start(name, here)
    start_training(f"b{other}-train-1", here)
    jobs = running_jobs(mine)
    assert [each.name for each in jobs] == names
    assert [each.kind for each in jobs] == ["tuning job", "training job", "transform job"]
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # the server may go before the log is sent
        gone = flow.teardown(flow.TeardownParameters(run_id=mine, delete=True))
    assert [row["name"] for row in gone[:3]] == names
    assert "objects" in [row["what"] for row in gone[3:]]  # that a job saved when it was stopped
    assert running_jobs(mine) == leftovers(mine, here) == []
    assert statuses(mine) == ["Stopped", "Stopped"]  # the tuning job's trial, too
    [not_mine] = running_jobs(other)
    assert not_mine.note.startswith("InProgress")
    not_mine.delete()
    assert wait_for_jobs(other, here) == []
