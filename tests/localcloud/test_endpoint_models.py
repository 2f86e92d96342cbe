"""Which models an endpoint serves, and what it says of those that it cannot."""

import io
import json
import tarfile
from textwrap import dedent

import pytest
import torch
from botocore.exceptions import ClientError
from PIL import Image

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import BROKEN, ECHO, ROLE, Hosting, answering, archive, unique


def test_an_endpoint_that_cannot_start_is_failed_with_the_reason(hosting: Hosting) -> None:
    endpoint = hosting.endpoint(hosting.config(hosting.model(BROKEN)))
    described = hosting.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert described["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert "the weights are missing" in described["FailureReason"]
    with pytest.raises(ClientError, match="not found") as refused:
        hosting.invoke(endpoint)
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="in status Failed"):
        hosting.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredWeight": 2}]
        )
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


def package(hosting: Hosting, script: str, **more: str) -> str:
    """Register a model; returns its ARN."""
    url = hosting.put("registered/model.tar.gz", archive(script))
    specification = {
        "Containers": [{"Image": "pytorch-inference", "ModelDataUrl": url}],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    created = hosting.sagemaker.create_model_package(InferenceSpecification=specification, **more)
    return str(created["ModelPackageArn"])


def model_of(hosting: Hosting, package: str) -> str:
    name = unique("model")
    container = {"ModelPackageName": package}
    hosting.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def test_a_model_can_come_from_the_registry(hosting: Hosting) -> None:
    group = unique("group")
    hosting.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    arn = package(hosting, answering("registered"), ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    model = model_of(hosting, arn)
    assert hosting.invoke(hosting.endpoint(hosting.config(model))) == b"registered"
    job = hosting.transform(model, {"S3Uri": hosting.put("in/one", b"x")})
    assert hosting.finish(job)["TransformJobStatus"] == "Completed"


def test_no_model_is_made_of_a_version_that_nobody_approved(hosting: Hosting) -> None:
    group = unique("group")
    hosting.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    for status in ("Rejected", "PendingManualApproval"):
        arn = package(hosting, ECHO, ModelPackageGroupName=group, ModelApprovalStatus=status)
        with pytest.raises(ClientError, match=f"its approval status is {status}") as refused:
            model_of(hosting, arn)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    hosting.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    assert model_of(hosting, arn)
    assert model_of(hosting, package(hosting, ECHO, ModelPackageName=unique("unversioned")))
    with pytest.raises(ClientError, match=r"does not exist\."):
        model_of(hosting, f"{arn}9")


def test_an_archive_that_reaches_outside_its_folder_is_refused(hosting: Hosting, cloud: RunningCloud) -> None:
    model = hosting.model(ECHO, files={"../../escaped": b"!"})
    described = hosting.settle(hosting.endpoint(hosting.config(model)))
    assert described["EndpointStatus"] == "Failed"
    assert "outside the destination" in described["FailureReason"]
    assert not list(cloud.home.rglob("escaped"))
