"""Models are swapped without an outage, and whatever is broken is taken back, on real endpoints."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import boto3
import pytest
import torch
from botocore.config import Config
from botocore.exceptions import ClientError

from serving.prediction import Prediction
from serving.predictor import MAX_BODY
from tasks.code_archive import ROOT
from tasks.release import deployment, registry
from tasks.release.serving_now import describe
from tasks.release.smoke import read_photos, smoke_test
from tests.tasks.release.bench import PHOTO, Bench, let_aws_answer, release
from training.errors import DeploymentError, FaultyModelError, ModelError

INFERENCE = (ROOT / "serving" / "inference.py").read_bytes()
REFUSING = INFERENCE + b"\n\ndef input_fn(body, content_type):\n    raise Refusal(400, 'no photo pleases me')\n"
SLOW = b"import time\ntime.sleep(300)\n"


@contextmanager
def hammered(endpoint: str, clients: int = 3) -> Iterator[Counter[str]]:
    """Clients that ask again and again, and never try again; counts answers by model version, and errors by name."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        runtime = boto3.Session().client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
        while not over.wait(0.1):
            try:
                answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=PHOTO, ContentType="image/jpeg")
                seen[Prediction.from_json(answer["Body"].read()).model] += 1
            except ClientError as error:
                seen[f"error: {error}"] += 1

    with ThreadPoolExecutor(clients) as pool:
        for _ in range(clients):
            pool.submit(ask)
        try:
            yield seen
        finally:
            over.set()


@pytest.mark.parametrize(
    "faults", [("nan",), pytest.param(("nan", "truncated", "import"), marks=pytest.mark.drill)], ids=" ".join
)
def test_a_swap_loses_no_request_and_a_broken_model_is_taken_back(
    bench: Bench, endpoint: str, faults: tuple[str, ...]
) -> None:
    here = bench.here
    first, first_cases = bench.model("first")
    second, second_cases = bench.model("second", seed=1)
    deployed = release(first, first_cases, endpoint, here)
    assert (deployed.status, deployed.smoke.photos, deployed.smoke.equal) == ("InService", 1, 1)

    with hammered(endpoint) as seen:
        release(second, second_cases, endpoint, here)
    assert seen.keys() == {"first", "second"}, seen

    nothing = torch.load(bench.folder / "second" / "model.pth", weights_only=True)
    nothing["fc.bias"].fill_(float("nan"))
    torch.save(nothing, bench.folder / "nan.pth")
    broken = {
        "nan": {"model.pth": (bench.folder / "nan.pth").read_bytes()},
        "truncated": {"model.pth": b"no weights"},
        "import": {"code/inference.py": b"import nothing_of_this_name\n"},
    }
    serving = describe(endpoint)
    with hammered(endpoint) as seen:
        for version in faults:
            model, cases = bench.model(version, files=broken[version])
            with pytest.raises(DeploymentError, match="health check"):
                release(model, cases, endpoint, here)
            status, reason = bench.status(model)
            assert status == "Rejected"
            assert "rolled back" in reason
        wrong, _ = bench.model("wrong", seed=2)
        with pytest.raises(DeploymentError, match="than evaluation did"):
            release(wrong, second_cases, endpoint, here)
        assert bench.status(wrong)[0] == "Rejected"
    assert seen.keys() <= {"second", "wrong"}, seen  # no error; "wrong" answers until its smoke test fails
    after = describe(endpoint)
    assert serving is not None
    assert after is not None
    assert (after.config, after.status) == (serving.config, "InService")
    left = boto3.client("sagemaker").list_endpoint_configs(NameContains=here.bucket)["EndpointConfigs"]
    assert len(left) == 2, "configurations of models that were taken back are left"

    # A run that died after the swap, before the proof, is not what a later rollback goes back to.
    unproven, cases = bench.model("unproven", seed=3)
    config = deployment.create_config.fn(unproven, endpoint, "261125-120000", here)
    deployment.put_config_behind(endpoint, config, describe(endpoint), "261125-120000", here)
    with pytest.raises(DeploymentError):
        release(unproven, second_cases, endpoint, here)
    after = describe(endpoint)
    assert after is not None
    assert after.config == serving.config


def test_a_model_that_starts_too_slowly_is_taken_back(bench: Bench, endpoint: str) -> None:
    good, cases = bench.model("good")
    slow, _ = bench.model("slow", files={"code/inference.py": SLOW + INFERENCE})
    release(good, cases, endpoint, bench.here)
    with hammered(endpoint, clients=1) as seen, pytest.raises(DeploymentError, match="60 seconds"):
        release(slow, cases, endpoint, bench.here.model_copy(update={"startup_seconds": 60}))
    assert seen.keys() == {"good"}
    assert bench.status(slow)[0] == "Rejected"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.pth": b"no weights"}, "did not come up"),
        ({"code/inference.py": REFUSING}, "no photo pleases me"),
    ],
    ids=["broken", "refusing"],
)
def test_what_failed_when_there_was_nothing_before_leaves_nothing(
    bench: Bench, endpoint: str, files: dict[str, bytes], reason: str
) -> None:
    model, cases = bench.model("bad", files=files)
    with pytest.raises(DeploymentError, match=reason):
        release(model, cases, endpoint, bench.here)
    status, why = bench.status(model)
    assert status == "Rejected"
    assert reason in why
    assert describe(endpoint) is None
    assert not boto3.client("sagemaker").list_endpoint_configs(NameContains=bench.here.bucket)["EndpointConfigs"]


def test_a_model_that_could_not_be_asked_is_taken_back_and_stays_approved(bench: Bench, endpoint: str) -> None:
    model, cases = bench.model("throttled")
    throttled = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
    let_aws_answer("sagemaker-runtime.InvokeEndpoint", 400, throttled)
    with pytest.raises(DeploymentError, match=rf"Rate exceeded.*stays Approved.*--model {model.version}"):
        release(model, cases, endpoint, bench.here)
    assert bench.status(model) == ("Approved", "passed")
    assert describe(endpoint) is None


def test_a_rollback_keeps_a_configuration_that_it_did_not_make(bench: Bench, endpoint: str) -> None:
    model, cases = bench.model("shared")
    others = deployment.create_config.fn(model, "of-others", "261125-120000", bench.here)
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "is not authorized"}}
    let_aws_answer("sagemaker.CreateEndpoint", 400, denied)
    with pytest.raises(ClientError, match="CreateEndpoint"):
        release(model, cases, endpoint, bench.here)
    left = boto3.client("sagemaker").list_endpoint_configs(NameContains=bench.here.bucket)["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in left] == [others]


def test_a_denied_scaling_says_what_the_endpoint_serves(
    bench: Bench, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cases = bench.model("scaled")
    here = bench.here.model_copy(update={"target": "aws", "autoscaling_instances": 2})
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "is not authorized"}}
    let_aws_answer("application-autoscaling.RegisterScalableTarget", 400, denied)
    let_aws_answer("sagemaker.DeleteEndpoint", 400, denied)  # the rollback's
    with pytest.raises(DeploymentError, match=rf"{model.name}.* was not rolled back.*RegisterScalableTarget"):
        release(model, cases, endpoint, here)
    assert bench.status(model) == ("Approved", "passed")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # the endpoint can be deleted again


def test_a_smoke_test_with_a_photo_that_cannot_be_sent_has_failed(bench: Bench) -> None:
    _, (case,) = bench.model("large")
    bench.s3.put_object(Bucket=bench.here.bucket, Key="large.jpg", Body=PHOTO + bytes(MAX_BODY))
    large = case.model_copy(update={"photo": f"s3://{bench.here.bucket}/large.jpg"})
    with pytest.raises(DeploymentError, match="make it smaller") as failed:
        smoke_test.fn("no-endpoint", [large], read_photos([large]))
    assert not isinstance(failed.value, FaultyModelError)


def test_a_smoke_test_without_its_photos_changes_no_endpoint(bench: Bench, endpoint: str) -> None:
    model, (case,) = bench.model("unproven")
    gone = case.model_copy(update={"photo": f"s3://{bench.here.bucket}/gone.jpg"})
    with pytest.raises(DeploymentError, match=r"gone\.jpg, which the endpoint is to be proven with, cannot be read"):
        release(model, [case, gone], endpoint, bench.here)
    with pytest.raises(DeploymentError, match="no photo to prove"):
        release(model, [], endpoint, bench.here)
    assert describe(endpoint) is None
    assert not boto3.client("sagemaker").list_endpoint_configs(NameContains=bench.here.bucket)["EndpointConfigs"]


def test_a_proven_model_on_other_settings_is_not_rejected(bench: Bench, endpoint: str) -> None:
    model, cases = bench.model("proven")
    release(model, cases, endpoint, bench.here)
    proven = describe(endpoint)
    failed = {"Error": {"Code": "ModelError", "Message": "out of memory"}, "OriginalStatusCode": 500}
    let_aws_answer("sagemaker-runtime.InvokeEndpoint", 424, failed)
    with pytest.raises(DeploymentError, match=r"out of memory.* proven with other settings.*stays Approved") as error:
        release(model, cases, endpoint, bench.here.model_copy(update={"startup_seconds": 60}))
    assert not isinstance(error.value, FaultyModelError)
    assert bench.status(model) == ("Approved", "passed")
    found = describe(endpoint)
    assert proven is not None
    assert found is not None
    assert (found.status, found.config) == ("InService", proven.config)

    with pytest.raises(DeploymentError, match=r"was not rolled back.*out of memory"):  # there is nothing else
        release(model, cases, endpoint, bench.here)
    assert bench.status(model)[0] == "Rejected"


def test_only_approved_models_are_deployed(bench: Bench, endpoint: str) -> None:
    model, cases = bench.model("refused")
    registry.set_status(model.arn, "Rejected", "worse than what serves")
    with pytest.raises(ModelError, match="worse than what serves"):
        release(registry.find_model(model.arn, bench.here), cases, endpoint, bench.here)
    assert describe(endpoint) is None


def test_a_serverless_endpoint_by_setting(bench: Bench, endpoint: str) -> None:
    here = bench.here.model_copy(update={"serverless_memory_mb": 3072, "serverless_concurrency": 7})
    model, cases = bench.model("serverless")
    release(model, cases, endpoint, here)
    variant = boto3.client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"][0]
    assert variant["CurrentServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 7}
    found = describe(endpoint)
    assert found is not None
    assert found.serverless
