"""A model's container definition and its archive: where it lies, downloading it, unpacking it."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import Any

from localcloud.errors import JobFailedError, ValidationException
from localcloud.model_packages import find_package
from localcloud.operations import Cloud
from localcloud.s3 import S3, S3Error, split_uri
from localcloud.store import Document

MAX_MODEL_BYTES = 30 * 1024**3  # the volume that AWS gives an instance by default


def resolved_container(cloud: Cloud, model: Document) -> Document:
    """The container that answers requests: a model's only one, with what its model package adds.

    Raises ValidationException for a model package that does not exist, and for an inference pipeline.
    """
    containers: list[Any] = [model["PrimaryContainer"]] if "PrimaryContainer" in model else model["Containers"]
    if len(containers) > 1:
        raise ValidationException(
            f"Model {model['ModelName']} has {len(containers)} containers; localcloud offers no inference pipelines"
        )
    container = containers[0]
    name = container.get("ModelPackageName")
    if name is None:
        return dict(container)
    package = find_package(cloud, str(name))
    if "InferenceSpecification" not in package:
        raise ValidationException(f"Model package {name} has no InferenceSpecification, so it cannot be served.")
    packaged = dict(package["InferenceSpecification"]["Containers"][0])
    environment = {**packaged.get("Environment", {}), **container.get("Environment", {})}
    return {**packaged, **container, "Environment": environment}


def model_data_url(container: Document) -> str | None:
    """Where a container's model archive lies."""
    if url := container.get("ModelDataUrl"):
        return str(url)
    if source := container.get("ModelDataSource", {}).get("S3DataSource"):
        if source["CompressionType"] != "Gzip":
            raise JobFailedError("localcloud reads models from a tar.gz archive only (CompressionType Gzip)")
        return str(source["S3Uri"])
    return None


def fetch_archive(s3: S3, url: str, target: Path) -> None:
    """Download and unpack a tar.gz. Raises JobFailedError, in AWS's words, when that is not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    archive = target.with_name(f"{target.name}.tar.gz")
    try:
        bucket, key = split_uri(url)
        s3.download(bucket, {key: archive})
    except* S3Error as errors:
        raise JobFailedError(
            f'Failed to download model data from URL: "{url}". Please ensure that there is an object located at '
            "the URL and that the role passed to CreateModel has permissions to download the model: "
            f"{errors.exceptions[0]}"
        ) from None
    try:
        extract_archive(archive, target)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise JobFailedError(
            f'Failed to extract model data archive from URL "{url}". Please ensure that the object located at the '
            f"URL is a valid tar.gz archive: {error}"
        ) from error
    finally:
        archive.unlink(missing_ok=True)


def extract_archive(archive: Path, target: Path) -> None:
    """Unpack a tar.gz, refusing members that would land outside, and more than `MAX_MODEL_BYTES`."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        size = 0
        for member in tar:
            size += member.size
            if size > MAX_MODEL_BYTES:
                raise tarfile.TarError(f"the archive unpacks to more than {MAX_MODEL_BYTES} bytes")
            tar.extract(member, target, filter="data")
