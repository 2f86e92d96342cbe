"""The one place that knows which cloud answers: AWS, or the embedded stand-in.

Everything else speaks the AWS APIs and goes where the standard ``AWS_*`` variables point.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from tasks import credentials
from tasks.object_store import cloud_error
from tasks.settings import NO_ROLE, Settings
from training.errors import CloudError

MOST_ATTEMPTS = "10"
"""Tries of a call that AWS throttles or fails at; the pauses between them grow to twenty seconds."""

_NO_GOOD = (CredentialRetrievalError, PartialCredentialsError, ProfileNotFound, SSOError, TokenRetrievalError)
"""Credentials that are there, and cannot be used."""


def cloud_home(settings: Settings) -> Path:
    """Folder in which the embedded cloud keeps its state."""
    return settings.home / "localcloud"


def _localcloud(settings: Settings, *arguments: str) -> str:
    """Run ``python -m localcloud`` and return what it prints.

    It is started as a program, never imported: the pipeline must not know more of it than of AWS.
    """
    command = [sys.executable, "-m", "localcloud", *arguments, "--home", str(cloud_home(settings))]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CloudError(f"`python -m localcloud {arguments[0]}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def quiet() -> None:
    """Silence what the SDK says at every start and nobody can act on: where it looked for settings, its region."""
    for name in ("sagemaker.config", "sagemaker.core.utils.utils", "botocore.credentials", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def connect(settings: Settings) -> None:
    """Point this process's AWS clients at the target cloud; start the embedded one where that is it.

    Raises:
        CloudError: the cloud does not start or refuses the credentials, or there are none; or AWS's jobs have no role.
        TransferError: AWS cannot be reached, or is throttling: this may pass.
        SettingsError: the credentials are in a Prefect block that cannot be taken.
    """
    quiet()
    # boto3 reads the one and our S3 client the other; what a shell says of either is in the settings already.
    os.environ |= {"AWS_DEFAULT_REGION": settings.region, "AWS_REGION": settings.region}
    # For every client in this process, the SageMaker SDK's too; boto3 itself would give up after four retries.
    os.environ.setdefault("AWS_RETRY_MODE", "standard")
    os.environ.setdefault("AWS_MAX_ATTEMPTS", MOST_ATTEMPTS)
    if settings.target == "local":
        _localcloud(settings, "up")
        os.environ.update(json.loads(_localcloud(settings, "env", "--format", "json")))
    else:
        if settings.credentials:
            credentials.take(settings.credentials)
        _check_credentials()
        if settings.role == NO_ROLE:
            raise CloudError(
                "BINVENTORY_ROLE is not set: on AWS, jobs need the ARN of a role to run as. docs/aws.md makes one."
            )


def stop(settings: Settings) -> None:
    """Stop the embedded cloud of the home, whatever the target is by now; its state stays on disk."""
    if cloud_home(settings).exists():
        _localcloud(settings, "down")


def _check_credentials() -> None:
    try:
        boto3.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else None
        if status not in (401, 403) and not isinstance(error, _NO_GOOD):
            raise cloud_error(error, "AWS cannot be asked whose credentials these are") from error
        raise CloudError(
            f"AWS does not accept the credentials: {error}. Log in (`aws sso login`, or set AWS_PROFILE), "
            "or use the embedded cloud with BINVENTORY_TARGET=local."
        ) from error
