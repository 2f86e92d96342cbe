"""Which objects a transform job reads: those under a prefix, or those that a manifest lists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from localcloud.errors import JobFailedError
from localcloud.s3 import S3, S3Error, split_uri
from localcloud.store import Document
from localcloud.transform.records import base_of_prefix


@dataclass(frozen=True)
class InputObject:
    """An object to transform; `output` is the key of its result below the output path."""

    bucket: str
    key: str
    output: str

    @property
    def uri(self) -> str:
        """The object's `s3://` URI."""
        return f"s3://{self.bucket}/{self.key}"


def list_inputs(s3: S3, source: Document) -> list[InputObject]:
    """The objects of an S3DataSource, by key in order for a prefix. Raises JobFailedError when there are none."""
    uri = source["S3Uri"]
    try:
        found = _from_manifest(s3, uri) if source["S3DataType"] == "ManifestFile" else _from_prefix(s3, uri)
    except S3Error as error:
        raise JobFailedError(f"ClientError: {error}") from error
    if not found:
        raise JobFailedError(
            f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure '
            "that the bucket exists in the selected region and that objects exist under that S3 prefix."
        )
    return found


def _from_prefix(s3: S3, uri: str) -> list[InputObject]:
    bucket, prefix = split_uri(uri)
    keys = [item.key for item in s3.objects(uri) if not item.key.endswith("/")]
    base = base_of_prefix(prefix, keys)
    return [InputObject(bucket, key, _output(key.removeprefix(base))) for key in keys]


def _from_manifest(s3: S3, uri: str) -> list[InputObject]:
    """AWS's format: `[{"prefix": "s3://bucket/some/prefix/"}, "relative/path-1", "relative/path-2", ...]`."""
    try:
        manifest = json.loads(s3.get(uri))
        prefix, names = manifest[0]["prefix"], manifest[1:]
        good = isinstance(prefix, str) and all(isinstance(name, str) and name for name in names)
    except (ValueError, LookupError, TypeError):
        good = False
    if not good:
        raise JobFailedError(
            f'ClientError: {uri} is not a manifest like [{{"prefix": "s3://bucket/some/prefix/"}}, "a.jpg", "b.jpg"]'
        )
    bucket, base = split_uri(prefix)
    return [InputObject(bucket, f"{base}{name}", _output(name)) for name in names]


def _output(relative: str) -> str:
    """An output's key; `..` in a manifest must not lead out of the output path."""
    parts = [part for part in PurePosixPath(relative).parts if part not in ("/", "..", ".")]
    return "/".join(parts) + ".out"
