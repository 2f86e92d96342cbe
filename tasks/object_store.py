"""S3 in bulk: the one place where stores are opened, with their endpoint, credentials and retries.

Where a store points is decided by the standard ``AWS_ENDPOINT_URL_S3`` / ``AWS_ENDPOINT_URL`` variables and
boto3's own search for credentials (variables, profiles, SSO, roles), as for every other AWS client.
"""

import io
import ipaddress
import os
import tarfile
import threading
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import obstore
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from tasks.transient import is_transient
from training.errors import CloudError, SettingsError, SourceError, TransferError

PUBLIC_BUCKETS = frozenset({"aft-vbi-pds"})
"""Buckets of the open-data registry that AWS serves without credentials."""

LARGE_TRANSFER = timedelta(minutes=10)
"""How long a request may take whose body is a shard, a part of one, or an archive: it is the whole body's limit."""

_DEFAULT_REGION = "us-east-1"
_LONGEST = 400


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the key (or prefix, without a final slash) of ``s3://bucket/key``.

    Raises:
        SourceError: it is not an S3 URI.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise SourceError(f"{uri!r} is not an S3 URI; it looks like s3://bucket/prefix.")
    return parts.netloc, parts.path.strip("/")


def endpoint_url() -> str | None:
    """Return where S3 is when it isn't AWS's own, by the standard variables."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def region_name() -> str:
    """Return the region that S3 requests are signed for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION


def open_store(
    uri: str, *, endpoint: str | None = None, region: str | None = None, timeout: timedelta = timedelta(seconds=60)
) -> S3Store:
    """Open ``s3://bucket[/prefix]``; keys given to the store are relative to the prefix.

    Args:
        uri: The bucket, and a prefix where there is one.
        endpoint: Where this bucket is, if elsewhere than the ``AWS_ENDPOINT_URL_S3`` variable says.
        region: The bucket's, if it is another than ours.
        timeout: How long a request may take, its body included.

    Raises:
        CloudError: no credentials are found.
        SettingsError: the endpoint is neither https nor on this machine.
        SourceError: ``uri`` is not an S3 URI.
    """
    bucket, prefix = split_uri(uri)
    endpoint = _endpoint(endpoint)
    options: dict[str, Any] = {"region": region or region_name(), "virtual_hosted_style_request": False}
    if endpoint:
        # The service-specific option: it alone wins over the environment's variables.
        options["aws_endpoint_url_s3"] = endpoint
    if is_unsigned(bucket, endpoint):
        options |= {"region": _DEFAULT_REGION, "skip_signature": True}
    else:
        options["credential_provider"] = _credentials()
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": _is_loopback(endpoint),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timeout,
            "pool_max_idle_per_host": "256",
            "user_agent": "binventory",
        },
        retry_config={
            "max_retries": 3,
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
            "retry_timeout": timedelta(seconds=60),
        },
        **options,
    )


def is_unsigned(bucket: str, endpoint: str | None) -> bool:
    """Whether requests go without a signature: AWS's own public buckets, never a mirror of them."""
    host = urlsplit(endpoint).hostname or "" if endpoint else "amazonaws.com"
    return bucket in PUBLIC_BUCKETS and (host == "amazonaws.com" or host.endswith(".amazonaws.com"))


def brief(error: Exception) -> str:
    """The telling part of an error: obstore's go on for pages, and name a thousand keys before they say why."""
    said = " ".join(str(error).split("Debug source")[0].split())
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"


def check_bucket(uri: str, *, endpoint: str | None = None) -> str | None:
    """Make sure that the bucket of ``uri`` is there and may be read; return its region, where S3 tells it.

    boto3 follows a bucket to another region by itself; a store has to be opened there.

    Raises:
        CloudError: no credentials.
        SettingsError: the endpoint is neither https nor on this machine.
        TransferError: nothing answers at the endpoint, or S3 fails: this may pass.
        SourceError: no such bucket, or no access to it.
    """
    bucket, _ = split_uri(uri)
    where = endpoint or endpoint_url() or "AWS"
    try:
        region: str | None = _client(bucket, endpoint).head_bucket(Bucket=bucket).get("BucketRegion")
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            raise SourceError(
                f"There is no bucket {bucket!r} at {where}. Check the name; a local copy of one is "
                "loaded with `python -m localcloud load-bucket`."
            ) from error
        if status in (301, 400, 401, 403):
            there = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
            hint = f" It is in the region {there}, so name that one's endpoint, or none." if there and endpoint else ""
            raise SourceError(f"The bucket {bucket!r} at {where} may not be read: {error}.{hint}") from error
        raise cloud_error(error, f"S3 at {where} failed when asked about the bucket {bucket!r}") from error
    except BotoCoreError as error:
        raise cloud_error(error, f"S3 at {where} cannot be reached") from error
    return region


def ensure_bucket(uri: str) -> None:
    """Create the bucket of ``uri`` if it isn't there.

    Raises:
        CloudError: it can neither be read nor created, or is in another region than ours, where no job reads it.
        SettingsError: the endpoint is neither https nor on this machine.
        TransferError: nothing answers, or S3 fails: this may pass.
    """
    bucket, _ = split_uri(uri)
    where = endpoint_url() or "AWS"
    client = _client(bucket, None)
    try:
        region = client.head_bucket(Bucket=bucket).get("BucketRegion", region_name())
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise cloud_error(error, f"The bucket {bucket!r} at {where} cannot be used") from error
        region = region_name()
        place: dict[str, Any] = (
            {} if region == _DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        try:
            client.create_bucket(Bucket=bucket, **place)
        except (ClientError, BotoCoreError) as refused:
            raise cloud_error(refused, f"The bucket {bucket!r} at {where} cannot be created") from refused
    except BotoCoreError as error:
        raise cloud_error(error, f"S3 at {where} cannot be reached") from error
    if region != region_name():
        raise CloudError(
            f"The bucket {bucket!r} at {where} is in the region {region}, and jobs would run in {region_name()}. Set "
            "BINVENTORY_REGION to the bucket's, or BINVENTORY_BUCKET to a bucket of this region."
        )


_NO_CREDENTIALS = (
    "No AWS credentials were found. Log in (`aws sso login`), set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or use the embedded cloud with BINVENTORY_TARGET=local."
)


def cloud_error(error: ClientError | BotoCoreError, what: str) -> CloudError:
    """Return what to raise for an error of botocore's: worth another try, or not."""
    if isinstance(error, NoCredentialsError):
        return CloudError(_NO_CREDENTIALS)
    return (TransferError if is_transient(error) else CloudError)(f"{what}: {error}.")


def _client(bucket: str, endpoint: str | None) -> Any:
    endpoint = _endpoint(endpoint)
    config = Config(retries={"mode": "standard", "max_attempts": 4}, s3={"addressing_style": "path"})
    if is_unsigned(bucket, endpoint):
        config = config.merge(Config(signature_version=UNSIGNED))
    return new_client(endpoint, config)


def new_client(endpoint: str | None, config: Config) -> Any:
    """Return an S3 client of boto3's; ``endpoint`` is None for AWS's own."""
    with _MAKING:
        return _session().client("s3", endpoint_url=endpoint, region_name=region_name(), config=config)


def _endpoint(given: str | None) -> str | None:
    """Return where a bucket is that isn't at AWS's own address: keys and photos leave this machine encrypted only."""
    endpoint = given or endpoint_url()
    if endpoint and urlsplit(endpoint).scheme != "https" and not _is_loopback(endpoint):
        raise SettingsError(
            f"The S3 endpoint {endpoint} is not used: an endpoint is an https:// address, or http:// on this machine "
            "(--source-endpoint, AWS_ENDPOINT_URL_S3)."
        )
    return endpoint


def _credentials() -> Boto3CredentialProvider:
    with _MAKING:
        return _credentials_of(_session())


@lru_cache(maxsize=4)
def _credentials_of(session: boto3.Session) -> Boto3CredentialProvider:
    if session.get_credentials() is None:
        raise CloudError(_NO_CREDENTIALS)
    return Boto3CredentialProvider(session)


_MAKING = threading.Lock()
"""Held while a session makes something: threads may share what it made, and not the session."""


def _session() -> boto3.Session:
    """One session for every state of the ``AWS_*`` variables.

    boto3's default one keeps the credentials that it saw first, and each new one searches for them again and reads what
    botocore knows of AWS anew, which takes longer than many a request.
    """
    return _session_for(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@lru_cache(maxsize=4)
def _session_for(variables: tuple[tuple[str, str], ...]) -> boto3.Session:
    return boto3.Session()


def _is_loopback(endpoint: str | None) -> bool:
    host = urlsplit(endpoint).hostname if endpoint else None
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fetch(uri: str) -> bytes:
    """The bytes of one S3 object, which may be an archive that takes minutes on a slow line."""
    bucket, key = split_uri(uri)
    return bytes(obstore.get(open_store(f"s3://{bucket}", timeout=LARGE_TRANSFER), key).bytes())


def read_member(archive_uri: str, name: str) -> bytes:
    """One file out of a ``model.tar.gz`` on S3, without unpacking the rest.

    Raises:
        KeyError: the archive has no such file.
    """
    with tarfile.open(fileobj=io.BytesIO(fetch(archive_uri)), mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file and Path(member.name) == Path(name):
                return file.read()
    raise KeyError(f"{archive_uri} has no {name}")
