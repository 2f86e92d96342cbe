"""Connecting to AWS says what is missing before anything is asked for."""

import os
from pathlib import Path

import boto3
import pytest

from tasks import cloud
from tasks.object_store import region_name
from tasks.settings import Settings
from tests.installation import Installation
from tests.s3_server import denying_s3
from training.errors import CloudError, TransferError


@pytest.fixture
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """``connect`` sets variables of the process; they go with the test."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"):
        monkeypatch.setenv(name, "us-east-1")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_own_variables")
def test_without_credentials_it_says_how_to_get_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CloudError, match="aws sso login"):
        cloud.connect(Settings(target="aws"))


@pytest.mark.usefixtures("_own_variables")
def test_only_what_is_about_credentials_is_called_a_refusal_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with denying_s3() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with pytest.raises(CloudError, match=r"does not accept the credentials.*aws sso login"):
            cloud.connect(Settings(target="aws"))
    with pytest.raises(TransferError, match="Could not connect to the endpoint") as unreachable:
        cloud.connect(Settings(target="aws"))  # nobody is there any more
    assert "Log in" not in str(unreachable.value)


@pytest.mark.usefixtures("_own_variables")
def test_every_client_asks_the_region_of_the_settings_whatever_the_shell_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(cloud, "_check_credentials", lambda: None)
    cloud.connect(Settings(target="aws", region="eu-north-1", role="arn:aws:iam::123456789012:role/jobs"))
    assert (boto3.client("sagemaker").meta.region_name, region_name()) == ("eu-north-1", "eu-north-1")


@pytest.mark.usefixtures("_own_variables")
def test_without_a_role_nothing_is_begun(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.localcloud("up")  # an AWS that takes these credentials
    for name, value in installation.cloud_environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CloudError, match="BINVENTORY_ROLE"):
        cloud.connect(Settings(target="aws"))
    cloud.connect(Settings(target="aws", role="arn:aws:iam::123456789012:role/jobs"))
    assert os.environ["AWS_MAX_ATTEMPTS"] == "10"
    installation.localcloud("down")
