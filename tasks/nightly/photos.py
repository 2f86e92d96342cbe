"""The photos under a prefix, with whatever their keys are."""

import contextlib
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tasks.data.fetch import ABOUT_WHO_ASKS
from tasks.ledger.models import photo_key
from tasks.object_store import check_bucket, endpoint_url, new_client, region_name
from tasks.transient import is_transient
from training.errors import ForbiddenObjectError, SourceError, TransferError
from training.picture import MAX_BYTES

PLAIN_KEY = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9_.=+@,/-]+")
"""Keys that every part of a transform job reads alike: no spaces, line ends, other alphabets, ``//`` or ``..``."""

LONGEST_PLAIN_KEY = 900
"""A job writes a photo's answer below its own folder, and no key on S3 has more than 1,024 bytes."""

_GONE = ("NoSuchKey", "404", "PreconditionFailed", "412")
_REFUSES_ALL = re.compile(rf"NoSuchBucket|{ABOUT_WHO_ASKS}")


class NightPhoto(BaseModel):
    """A photo to be counted, with what the record says about it.

    ``photo`` is its key in the ledger; ``expected`` is None where the record has no usable quantity, and
    ``record_problem`` says why.
    """

    model_config = ConfigDict(frozen=True)

    photo: str
    bucket: str
    key: str
    etag: str
    bytes: int
    taken_at: dt.datetime
    elsewhere: bool = Field(False, description="The bucket is in another region than jobs, which do not read it there.")
    expected: int | None = None
    record_problem: str | None = None
    bin: str = ""
    products: list[str] | None = Field(None, description="ASINs in the record; None where there is no metadata.")
    known: bool = Field(False, description="Tonight's record has no entry for it: what is said is what the ledger had.")

    @property
    def photo_id(self) -> str:
        """The name of the file, which is ABID's id."""
        return PurePosixPath(self.key).stem

    @property
    def folder(self) -> str:
        """The key without the file's name, ending in a slash where it isn't empty."""
        return self.key.removesuffix(PurePosixPath(self.key).name) if self.key else ""

    @property
    def has_plain_key(self) -> bool:
        """Whether a manifest can name it as it is, and a job its answer after it."""
        return len(self.key) <= LONGEST_PLAIN_KEY and PLAIN_KEY.fullmatch(self.key) is not None

    @property
    def is_plain(self) -> bool:
        """Whether a job can read it where it lies; other photos are copied."""
        return not self.elsewhere and self.has_plain_key


def s3_client(retries: int = 8) -> Any:
    """Return a client that retries what is throttled or failing."""
    config = Config(
        retries={"mode": "adaptive", "max_attempts": retries}, s3={"addressing_style": "path"}, max_pool_connections=32
    )
    return new_client(endpoint_url(), config)


def list_objects(uri: str) -> Iterator[NightPhoto]:
    """Yield every object under a prefix, in the order of keys.

    boto3 lists, not obstore: it asks for URL-encoded keys, so that line ends and ``//`` in them survive.

    Raises:
        CloudError, SourceError: the bucket is not there or may not be read.
        TransferError: S3 fails, or nothing answers.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    region = check_bucket(f"s3://{bucket}")
    pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        for page in pages:
            for entry in page.get("Contents", ()):
                etag = entry["ETag"].strip('"')
                yield NightPhoto(
                    photo=photo_key(bucket, entry["Key"], etag),
                    bucket=bucket,
                    key=entry["Key"],
                    etag=etag,
                    bytes=entry["Size"],
                    taken_at=entry["LastModified"].astimezone(dt.UTC),
                    elsewhere=region is not None and region != region_name(),
                )
    except (ClientError, BotoCoreError) as error:
        kind = TransferError if is_transient(error) else SourceError
        raise kind(f"{uri} cannot be listed: {error}") from error


def read_object(client: Any, bucket: str, key: str, etag: str | None = None) -> bytes:
    """Fetch an object by boto3, which takes every key; of one that is too large, enough to be found too large.

    Args:
        client: of S3.
        bucket: where it is.
        key: its key.
        etag: of the bytes that are wanted; None takes whatever lies there.

    Raises:
        FileNotFoundError: it is gone, or was replaced.
        ForbiddenObjectError: it may not be read: a policy or a key forbids it, or it is archived.
        SourceError: nothing may be read: it is about who asks, or there is no such bucket.
        TransferError: it did not arrive whole in several tries, or nothing answers.
    """
    try:
        return _WHOLE(_read_once, client, bucket, key, etag)
    except (ClientError, BotoCoreError) as error:
        raise _explained(error, f"s3://{bucket}/{key}") from error


def copy_object(client: Any, photo: NightPhoto, bucket: str, key: str) -> None:
    """Copy a photo on S3, the bytes that were listed and no others.

    Its tags stay behind: to copy them takes rights of their own.

    Raises:
        FileNotFoundError, ForbiddenObjectError, SourceError, TransferError: as `read_object`.
    """
    try:
        client.copy_object(
            CopySource={"Bucket": photo.bucket, "Key": photo.key},
            CopySourceIfMatch=f'"{photo.etag}"',
            Bucket=bucket,
            Key=key,
            TaggingDirective="REPLACE",
        )
    except (ClientError, BotoCoreError) as error:
        raise _explained(error, f"s3://{photo.bucket}/{photo.key}") from error


def _read_once(client: Any, bucket: str, key: str, etag: str | None) -> bytes:
    found = client.get_object(Bucket=bucket, Key=key)
    with contextlib.closing(found["Body"]) as stream:
        # Compared here: not every server that speaks S3 heeds If-Match.
        if etag is not None and found["ETag"].strip('"') != etag:
            raise FileNotFoundError(f"{key} was replaced")
        try:
            body: bytes = stream.read(MAX_BYTES + 1)
        except (BotoCoreError, OSError) as error:
            raise TransferError(f"s3://{bucket}/{key}: {error}") from error
    # botocore looks at the length only of a body that is read to its end by itself.
    if len(body) < (expected := min(found["ContentLength"], MAX_BYTES + 1)):
        raise TransferError(f"s3://{bucket}/{key}: {len(body)} bytes arrived of {expected}")
    return body


_WHOLE = Retrying(
    retry=retry_if_exception_type(TransferError),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    reraise=True,
)


def _explained(error: ClientError | BotoCoreError, uri: str) -> Exception:
    """What to raise in place of botocore's error about one object."""
    if is_transient(error):
        return TransferError(f"{uri}: {error}")
    if isinstance(error, BotoCoreError):  # no credentials, for one
        return SourceError(f"{uri}: {error}")
    code = error.response.get("Error", {}).get("Code", "")
    if code in _GONE:
        return FileNotFoundError(uri)
    return (SourceError if _REFUSES_ALL.fullmatch(code) else ForbiddenObjectError)(f"{uri}: {error}")
