"""Credentials that are kept in a Prefect block."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from pydantic import SecretStr

from tasks import credentials
from tests.forking import Commands
from tests.installation import ROOT, Installation

AWS = {"BINVENTORY_TARGET": "aws", "BINVENTORY_CREDENTIALS": "aws-credentials/warehouse"}
KEEP_AND_TAKE = """
import boto3
from tasks import credentials
from tasks.services import use_prefect_server
from tasks.settings import settings
use_prefect_server(settings())
from training.errors import SettingsError
from prefect_aws.credentials import AwsCredentials
AwsCredentials(aws_access_key_id="AKIATEST", aws_secret_access_key="hidden").save("warehouse", _sync=True)
AwsCredentials(assume_role_arn="arn:aws:iam::000000000000:role/x").save("role", _sync=True)
for name in ("role", "missing"):
    try:
        credentials.take(f"aws-credentials/{name}")
    except SettingsError as error:
        print(error)
credentials.take("aws-credentials/warehouse")
found = boto3.Session().get_credentials()
print(found.access_key, found.secret_key)
"""
STAND_IN = '''
from prefect.blocks.core import Block
from pydantic import SecretStr

class AwsCredentials(Block):
    """What we read of the block of prefect-aws, which cannot be installed beside our locked botocore."""
    profile_name: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: str | None = None
    assume_role_arn: str | None = None
'''


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose services are up."""
    found = Installation(tmp_path_factory.mktemp("keeping") / "home")
    with found.services():
        yield found
    assert found.processes() == []


@pytest.mark.skipif(importlib.util.find_spec("prefect_aws") is not None, reason="prefect-aws is installed")
def test_a_block_without_its_package_is_explained(running: Installation) -> None:
    said = Commands(Installation(running.home, **AWS)).run("flows.deploy", "--list", code=1)
    assert "BINVENTORY_CREDENTIALS" in said
    assert "prefect-aws" in said
    assert "Traceback" not in said


def test_a_block_that_prefect_keeps_gives_its_keys_or_is_refused(running: Installation) -> None:
    environment = dict(running.environment)
    if importlib.util.find_spec("prefect_aws") is None:
        package = running.home.parent / "prefect_aws"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "credentials.py").write_text(STAND_IN)
        environment["PYTHONPATH"] = str(package.parent)
    done = subprocess.run(
        [sys.executable, "-c", KEEP_AND_TAKE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    for said in ("in the middle of a run", "has no block 'aws-credentials/missing'", "AKIATEST hidden"):
        assert said in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"aws_access_key_id": "AKIABLOCK", "aws_secret_access_key": SecretStr("b")}, ("AKIABLOCK", "b", None)),
        ({"profile_name": "warehouse"}, ("AKIAPROFILE", "p", None)),
    ],
)
def test_nothing_of_the_shells_credentials_is_mixed_with_the_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: dict[str, Any], expected: tuple[str, str, str | None]
) -> None:
    """The package cannot be installed beside our locked botocore, so a class stands in for its block."""
    nothing = dict.fromkeys(("profile_name", "assume_role_arn", "aws_access_key_id", "aws_session_token"))
    kept = SimpleNamespace(**nothing | {"aws_secret_access_key": None} | block)
    package = ModuleType("prefect_aws.credentials")
    package.AwsCredentials = SimpleNamespace(load=lambda name, _sync: kept)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prefect_aws", ModuleType("prefect_aws"))
    monkeypatch.setitem(sys.modules, "prefect_aws.credentials", package)
    (tmp_path / "credentials").write_text("[warehouse]\naws_access_key_id=AKIAPROFILE\naws_secret_access_key=p\n")
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what is set and deleted goes with the test
    os.environ |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_DEFAULT_PROFILE": "of-the-shell"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIASHELL", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    credentials.take("aws-credentials/warehouse")
    found = boto3.Session().get_credentials()
    assert found
    assert (found.access_key, found.secret_key, found.token) == expected
