"""Credentials that are kept in a Prefect block."""

import importlib.util
import subprocess
import sys

import pytest

from tests.installation import ROOT, Installation

AWS = {"BINVENTORY_TARGET": "aws", "BINVENTORY_CREDENTIALS": "aws-credentials/warehouse"}
KEEP_AND_TAKE = """
import boto3
from tasks import credentials
from tasks.services import use_prefect_server
from tasks.settings import settings
use_prefect_server(settings())
from prefect_aws.credentials import AwsCredentials
AwsCredentials({0}).save("warehouse", _sync=True)
credentials.take("aws-credentials/warehouse")
found = boto3.Session().get_credentials()
print(found.access_key, found.secret_key)
"""


@pytest.mark.skipif(importlib.util.find_spec("prefect_aws") is not None, reason="prefect-aws is installed")
def test_a_block_without_its_package_is_explained(installation: Installation) -> None:
    installation.environment |= AWS
    said = installation.run("flows.deploy", "--list", code=1)
    assert "BINVENTORY_CREDENTIALS" in said
    assert "prefect-aws" in said
    assert "Traceback" not in said


@pytest.mark.skipif(importlib.util.find_spec("prefect_aws") is None, reason="prefect-aws is not installed")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('aws_access_key_id="AKIATEST", aws_secret_access_key="hidden"', "AKIATEST hidden"),
        ('assume_role_arn="arn:aws:iam::000000000000:role/x"', "in the middle of a run"),
    ],
)
def test_a_block_gives_its_keys(installation: Installation, content: str, expected: str) -> None:
    command = [sys.executable, "-c", KEEP_AND_TAKE.format(content)]
    done = subprocess.run(
        command, cwd=ROOT, env=installation.environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert expected in done.stdout + done.stderr
