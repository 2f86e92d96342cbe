"""Who may ask, and how that is told: signatures as AWS checks them."""

from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.localcloud.conftest import RunningCloud, error


def client_with(cloud: RunningCloud, service: str, **credentials: str) -> Any:
    variables = cloud.variables
    options = {
        "region_name": variables["AWS_REGION"],
        "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
        **credentials,
    }
    endpoint = variables["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL_SAGEMAKER"]
    return boto3.client(  # type: ignore[call-overload]
        service, endpoint_url=endpoint, config=Config(retries={"max_attempts": 0}), **options
    )


def call(client: Any) -> None:
    service = client.meta.service_model.service_name
    calls = {
        "sagemaker": lambda: client.list_models(),
        "logs": lambda: client.describe_log_groups(),
        "sts": lambda: client.get_caller_identity(),
        "s3": lambda: client.list_buckets(),
        "sagemaker-runtime": lambda: client.invoke_endpoint(EndpointName="none", Body=b""),
    }
    calls[service]()


@pytest.mark.parametrize(
    ("service", "unknown_key", "wrong_secret"),
    [
        ("sagemaker", ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400)),
        ("logs", ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400)),
        ("sagemaker-runtime", ("UnrecognizedClientException", 403), ("InvalidSignatureException", 403)),
        ("sts", ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
        ("s3", ("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403)),
    ],
)
def test_wrong_keys_are_refused_as_the_service_does(
    cloud: RunningCloud, service: str, unknown_key: tuple[str, int], wrong_secret: tuple[str, int]
) -> None:
    with pytest.raises(ClientError) as caught:
        call(client_with(cloud, service, aws_access_key_id="AKIAIOSFODNN7EXAMPLE"))
    assert error(caught) == unknown_key
    with pytest.raises(ClientError) as caught:
        call(client_with(cloud, service, aws_secret_access_key="wrong"))
    assert error(caught) == wrong_secret


def test_requests_without_a_signature_are_refused(cloud: RunningCloud) -> None:
    answer = httpx.post(
        cloud.variables["AWS_ENDPOINT_URL_SAGEMAKER"], content=b"{}", headers={"X-Amz-Target": "SageMaker.ListModels"}
    )
    assert answer.status_code == 400
    assert answer.json()["__type"] == "MissingAuthenticationTokenException"


def test_a_changed_body_does_not_match_its_signature(cloud: RunningCloud) -> None:
    client = client_with(cloud, "sagemaker")

    def tamper(request: Any, **_: Any) -> None:
        request.body = b'{"MaxResults": 99}'

    client.meta.events.register("before-send.sagemaker.ListModels", tamper)
    with pytest.raises(ClientError) as caught:
        client.list_models()
    assert error(caught) == ("InvalidSignatureException", 400)


def test_another_region_is_not_this_clouds(cloud: RunningCloud) -> None:
    with pytest.raises(ClientError, match="scoped to a valid region"):
        client_with(cloud, "sagemaker", region_name="eu-west-1").list_models()


def test_the_caller_is_known(cloud: RunningCloud) -> None:
    identity = cloud.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/localcloud"
