"""From the body of a request to the photos in it."""

import base64
import binascii
import importlib
import io
import json
import math
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from serving.fetching import Rules, fetch
from serving.refusal import Refusal
from training.picture import MAX_BYTES, MAX_PIXELS

IMAGES = ("image/jpeg", "image/png")
JSON, NPY = "application/json", "application/x-npy"
CONTENT_TYPES = (*IMAGES, JSON, NPY)
HOSTS_VARIABLE, BUCKETS_VARIABLE = "BINVENTORY_PHOTO_HOSTS", "BINVENTORY_PHOTO_BUCKETS"
MOST_PHOTOS = 64
MOST_READ = 2 * MAX_BYTES
"""Bytes of a request: a photo may come as base64, a batch uncompressed."""
_NPY_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
_S3_SECONDS = 5

Photos = bytes | list[Image.Image]
"""One encoded photo, or a batch of pictures."""


def read(body: bytes | bytearray | str, content_type: str) -> Photos:
    """Take the photos out of a request.

    Args:
        body: AWS's containers hand text over as ``str`` and everything else as the ``bytearray`` that they read into.
        content_type: of the body, with parameters or without.

    Raises:
        Refusal: 400 when the body is not what its type says, 403 for an address that we do not go to, 413 for too much,
            415 for other types, 424 when the photo could not be fetched.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if len(body) > MOST_READ:
        raise Refusal(413, f"the body has {len(body):,} bytes; at most {MOST_READ:,} are read")
    body = body.encode() if isinstance(body, str) else bytes(body)
    if kind in IMAGES:
        return body
    if kind == JSON:
        return _from_json(body)
    if kind == NPY:
        return _from_npy(body)
    raise Refusal(415, f"content type {content_type!r} is not one of {', '.join(CONTENT_TYPES)}")


def _from_json(body: bytes) -> bytes:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    sources = {"image": _from_base64, "url": _from_url, "s3_uri": _from_s3}
    if not isinstance(values, dict) or len(values) != 1 or not sources.keys() & values.keys():
        raise Refusal(400, 'the body is to be one of {"image": "<base64>"}, {"url": "https://…"}, {"s3_uri": "s3://…"}')
    ((source, value),) = values.items()
    if not isinstance(value, str):
        raise Refusal(400, f"{source} is to be a string")
    return sources[source](value)


def _from_base64(text: str) -> bytes:
    if text.startswith("data:image/"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Refusal(400, "image is not base64") from None


def _from_url(url: str) -> bytes:
    return fetch(url, _rules(os.environ.get(HOSTS_VARIABLE, "")))


@lru_cache(maxsize=4)
def _rules(text: str) -> Rules:
    return Rules.parse(text)


def _from_s3(uri: str) -> bytes:
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise Refusal(400, "s3_uri is not an S3 URI") from None
    bucket, key = parts.netloc, uri.partition(f"//{parts.netloc}/")[2]
    if parts.scheme != "s3" or not bucket or not key:
        raise Refusal(400, "s3_uri is to look like s3://bucket/key")
    allowed = {name.strip() for name in os.environ.get(BUCKETS_VARIABLE, "").split(",")} - {""}
    if bucket not in allowed:
        raise Refusal(403, f"photos are not read from the bucket {bucket!r}")
    return _get_object(bucket, key)


def _get_object(bucket: str, key: str) -> bytes:
    try:
        exceptions = importlib.import_module("botocore.exceptions")  # absent where nobody uses s3_uri
    except ImportError:
        raise Refusal(403, "this container has no boto3, so it reads no photos from S3") from None
    try:
        found = _s3().get_object(Bucket=bucket, Key=key)
        if found["ContentLength"] > MAX_BYTES:
            raise Refusal(413, f"the photo has {found['ContentLength']:,} bytes; at most {MAX_BYTES:,} are read")
        body: bytes = found["Body"].read(MAX_BYTES)
    except (exceptions.ClientError, exceptions.BotoCoreError, OSError) as error:
        raise Refusal(424, f"s3://{bucket}/{key} cannot be read: {type(error).__name__}") from None
    return body


@lru_cache(maxsize=1)
def _s3() -> Any:
    boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
    limits = config.Config(connect_timeout=_S3_SECONDS, read_timeout=_S3_SECONDS, retries={"max_attempts": 2})
    return boto3.client("s3", config=limits)


def _from_npy(body: bytes) -> list[Image.Image]:
    """uint8 pictures: (H, W, 3), (3, H, W), or a batch of either; the header is judged before anything is made."""
    stream = io.BytesIO(body)
    try:
        shape, fortran, dtype = _NPY_HEADERS[npy.read_magic(stream)](stream)  # type: ignore[no-untyped-call]
    except (ValueError, KeyError, TypeError, SyntaxError, EOFError, RecursionError, MemoryError):
        raise Refusal(400, "the body is not an NPY file") from None
    if dtype != np.uint8 or fortran or len(shape) not in (3, 4) or 3 not in (shape[-1], shape[-3]):
        raise Refusal(400, f"expected uint8 of shape (H, W, 3) or (3, H, W), or a batch, not {dtype} {shape}")
    if min(shape) < 1 or math.prod(shape) != len(body) - stream.tell():
        raise Refusal(400, f"shape {shape} does not fit a body of {len(body):,} bytes")
    if len(shape) == 4 and shape[0] > MOST_PHOTOS:
        raise Refusal(413, f"{shape[0]} photos in one request; at most {MOST_PHOTOS} are counted")
    if math.prod(shape[-3:]) > 3 * MAX_PIXELS:
        raise Refusal(413, f"at most {MAX_PIXELS:,} pixels are read")
    batch = np.frombuffer(body, np.uint8, offset=stream.tell()).reshape((-1, *shape[-3:]))
    if shape[-1] != 3:
        batch = batch.transpose(0, 2, 3, 1)
    return [Image.fromarray(np.ascontiguousarray(photo)) for photo in batch]
