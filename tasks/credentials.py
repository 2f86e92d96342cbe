"""AWS credentials from a Prefect block, for those who keep them there; everybody else has boto3's own search."""

import os
from typing import Any

from training.errors import SettingsError

KIND = "aws-credentials"
_OF_A_SHELL = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
)
"""All that boto3 takes credentials by: what a shell has of them would be mixed with the block's, or beat it."""


def take(block_name: str) -> None:
    """Give the AWS clients of this process what a block of prefect-aws has: keys, or the name of a profile.

    What the shell has of these is forgotten.

    Args:
        block_name: as Prefect writes it, ``aws-credentials/name``.

    Raises:
        SettingsError: prefect-aws is not installed, there is no such block, or it holds what would not last.
    """
    try:
        from prefect_aws.credentials import AwsCredentials
    except ImportError as error:
        raise SettingsError(
            f"BINVENTORY_CREDENTIALS names the Prefect block {block_name!r}, and blocks of this kind need the package "
            "prefect-aws, which is not installed here; docs/aws.md says how. Without the setting, credentials are "
            "looked for as boto3 does: variables, profiles, SSO, roles."
        ) from error
    try:
        block = AwsCredentials.load(block_name.removeprefix(f"{KIND}/"), _sync=True)
    except ValueError as error:
        raise SettingsError(
            f"BINVENTORY_CREDENTIALS: the Prefect server has no block {block_name!r}: {error}"
        ) from error
    if block.assume_role_arn:
        raise SettingsError(
            f"The block {block_name!r} assumes a role, whose keys would end in the middle of a run. Put the role into "
            "a profile of ~/.aws/config, which boto3 renews, and name the profile in the block."
        )
    for name in _OF_A_SHELL:
        os.environ.pop(name, None)
    os.environ |= _variables(block)


def _variables(block: Any) -> dict[str, str]:
    secret = block.aws_secret_access_key
    told = {
        "AWS_PROFILE": block.profile_name,
        "AWS_ACCESS_KEY_ID": block.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else None,
        "AWS_SESSION_TOKEN": block.aws_session_token,
    }
    return {name: str(value) for name, value in told.items() if value}
