"""Transform jobs: a model's predictions for many objects, from S3 to S3."""

from __future__ import annotations

from typing import Any

from localcloud import resources
from localcloud.errors import ValidationException
from localcloud.operations import Cloud, on_start, operation
from localcloud.resources import MODEL, TRANSFORM_JOB
from localcloud.store import Document, Row
from localcloud.transform.join import check_join
from localcloud.transform.run import run_transform

MAX_PAYLOAD_MB = 100
_IN_PROGRESS = ("InProgress", "Stopping")


@operation("sagemaker", "CreateTransformJob")
def create_transform_job(cloud: Cloud, request: Document) -> Document:
    """Start a job with a model that exists."""
    resources.describe(cloud, MODEL, request["ModelName"])
    job = _with_defaults(request)
    _check(job)
    arn = resources.create(cloud, TRANSFORM_JOB, job, TransformJobStatus="InProgress")
    _start(cloud, request["TransformJobName"])
    return {"TransformJobArn": arn}


def _with_defaults(request: Document) -> Document:
    """The request with AWS's defaults filled in, as DescribeTransformJob shows them."""
    processing = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    return {
        **request,
        "TransformInput": {"CompressionType": "None", "SplitType": "None", **request["TransformInput"]},
        "TransformOutput": {"AssembleWith": "None", **request["TransformOutput"]},
        "DataProcessing": {**processing, **request.get("DataProcessing", {})},
    }


def _check(job: Document) -> None:
    source = job["TransformInput"]
    kind = source["DataSource"]["S3DataSource"]["S3DataType"]
    if kind not in ("S3Prefix", "ManifestFile"):
        raise ValidationException(f"S3DataType {kind} is not compatible with transform jobs")
    if source["SplitType"] not in ("None", "Line"):
        raise ValidationException(f"localcloud does not offer SplitType {source['SplitType']}; it has None and Line")
    if "DataCaptureConfig" in job:
        raise ValidationException("localcloud does not offer DataCaptureConfig for transform jobs; leave it out")
    payload, concurrent = job.get("MaxPayloadInMB", 6), job.get("MaxConcurrentTransforms") or 1
    if payload > MAX_PAYLOAD_MB or payload * concurrent > MAX_PAYLOAD_MB:
        raise ValidationException(
            f"MaxPayloadInMB ({payload}) times MaxConcurrentTransforms ({concurrent}) cannot exceed {MAX_PAYLOAD_MB} MB"
        )
    check_join(job)


@operation("sagemaker", "DescribeTransformJob")
def describe_transform_job(cloud: Cloud, request: Document) -> Document:
    """The job, its status, and why it failed."""
    return resources.describe(cloud, TRANSFORM_JOB, request["TransformJobName"])


@operation("sagemaker", "ListTransformJobs")
def list_transform_jobs(cloud: Cloud, request: Document) -> Document:
    """Names, ARNs, statuses and times, filtered and in pages."""
    return resources.listing(cloud, TRANSFORM_JOB, request, "TransformJobSummaries", _summary)


def _summary(row: Row) -> Document:
    summary: dict[str, Any] = {
        "TransformJobName": row.name,
        "TransformJobArn": row.arn,
        "CreationTime": row.created,
        "LastModifiedTime": row.modified,
    }
    for member in ("TransformJobStatus", "TransformEndTime", "FailureReason"):
        summary[member] = row.document.get(member)
    return summary


@operation("sagemaker", "StopTransformJob")
def stop_transform_job(cloud: Cloud, request: Document) -> None:
    """Ask a job to stop; nothing that it has made so far is stored. A job that has ended stays as it is."""

    def change(job: Document) -> None:
        if job["TransformJobStatus"] == "InProgress":
            job["TransformJobStatus"] = "Stopping"

    name = request["TransformJobName"]
    updated = resources.update(cloud, TRANSFORM_JOB, name, change)
    if updated["TransformJobStatus"] == "Stopping":
        _start(cloud, name)


@on_start
def resume_transform_jobs(cloud: Cloud) -> None:
    """Run again, from the beginning, the jobs that a stop of the service interrupted: they stored nothing yet."""
    for row in cloud.store.find(TRANSFORM_JOB.key):
        if row.status in _IN_PROGRESS:
            _start(cloud, row.name)


def _start(cloud: Cloud, name: str) -> None:
    worker = f"transform job {name}"
    if not cloud.workers.running(worker):
        cloud.workers.start(worker, run_transform, cloud, name)
