"""Training jobs: create, describe, list, stop, delete."""

import shutil
import time

from localcloud import metrics, resources
from localcloud.errors import AwsError, ResourceInUse, ValidationException
from localcloud.operations import Cloud, on_start, operation
from localcloud.resources import TRAINING_JOB
from localcloud.s3 import S3Error, S3NotFoundError, join_uri, split_uri
from localcloud.store import Document, Filter, Row
from localcloud.training.run import run_training_job
from localcloud.training.setup import nothing_under

LIVE = ("InProgress", "Stopping")
_DEFAULTS: Document = {
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    "EnableNetworkIsolation": False,
    "EnableInterContainerTrafficEncryption": False,
    "EnableManagedSpotTraining": False,
    "ProfilingStatus": "Disabled",
}


@operation("sagemaker", "CreateTrainingJob")
def create_training_job(cloud: Cloud, request: Document) -> Document:
    """Accept a job and start it in the background."""
    check_training_request(cloud, request)
    arn = add_training_job(cloud, request)
    return {"TrainingJobArn": arn}


def add_training_job(cloud: Cloud, request: Document, *, parent: str | None = None, **more: object) -> str:
    """Store a job in its first state and start its worker; returns its ARN."""
    name = request["TrainingJobName"]
    output = request["OutputDataConfig"]
    model = "model/" if output.get("CompressionType") == "NONE" else "model.tar.gz"
    starting = {
        "Status": "Starting",
        "StartTime": time.time(),
        "StatusMessage": "Starting the training job",
    }
    arn = resources.create(
        cloud,
        TRAINING_JOB,
        {**_DEFAULTS, **request},
        parent=parent,
        TrainingJobStatus="InProgress",
        SecondaryStatus="Starting",
        SecondaryStatusTransitions=[starting],
        ModelArtifacts={"S3ModelArtifacts": f"{join_uri(output['S3OutputPath'], name, 'output')}/{model}"},
        **more,
    )
    cloud.workers.start(f"{TRAINING_JOB.key} {name}", run_training_job, cloud, name)
    return arn


@operation("sagemaker", "DescribeTrainingJob")
def describe_training_job(cloud: Cloud, request: Document) -> Document:
    """One job."""
    return resources.describe(cloud, TRAINING_JOB, request["TrainingJobName"])


@operation("sagemaker", "ListTrainingJobs")
def list_training_jobs(cloud: Cloud, request: Document) -> Document:
    """Jobs, newest first."""
    return resources.listing(cloud, TRAINING_JOB, request, "TrainingJobSummaries", _summary)


@operation("sagemaker", "StopTrainingJob")
def stop_training_job(cloud: Cloud, request: Document) -> Document:
    """Ask a job to end; it keeps the model that it has saved."""
    stop(cloud, request["TrainingJobName"])
    return {}


def stop(cloud: Cloud, name: str) -> None:
    """Mark a job as stopping, for its worker to see. Raises ValidationException when it has ended."""

    def change(job: Document) -> None:
        if job["TrainingJobStatus"] == "Stopping":
            return
        if job["TrainingJobStatus"] != "InProgress":
            raise ValidationException(
                f"The request was rejected because the training job is in status {job['TrainingJobStatus']}."
            )
        job["TrainingJobStatus"] = "Stopping"

    resources.update(cloud, TRAINING_JOB, name, change)


@operation("sagemaker", "DeleteTrainingJob")
def delete_training_job(cloud: Cloud, request: Document) -> Document:
    """Forget a job that has ended."""
    name = request["TrainingJobName"]
    with cloud.store.transaction():
        job = cloud.store.get(TRAINING_JOB.key, name)
        if job is not None and job["TrainingJobStatus"] in LIVE:
            raise ResourceInUse(f"The training job {name} is in status {job['TrainingJobStatus']}; stop it first.")
        resources.delete(cloud, TRAINING_JOB, name)
    return {}


@on_start
def resume_training_jobs(cloud: Cloud) -> None:
    """Find the jobs that ran when the service ended, and go on with them; clear up after the others."""
    live = [
        row for status in LIVE for row in cloud.store.find(TRAINING_JOB.key, Filter(status=status, descending=False))
    ]
    clear_folders(cloud, TRAINING_JOB.key, {row.name for row in live})
    for row in live:
        cloud.workers.start(f"{TRAINING_JOB.key} {row.name}", run_training_job, cloud, row.name)


def clear_folders(cloud: Cloud, kind: str, live: set[str]) -> None:
    """Remove the folders of jobs that ended just before a crash."""
    for folder in (cloud.home / "jobs" / kind).glob("*"):
        if folder.name not in live:
            shutil.rmtree(folder, ignore_errors=True)


def check_training_request(cloud: Cloud, request: Document) -> None:
    """What AWS checks beyond the shapes, the objects of channels included. Raises ValidationException."""
    algorithm = request["AlgorithmSpecification"]
    if ("TrainingImage" in algorithm) == ("AlgorithmName" in algorithm):
        raise ValidationException(
            "Exactly one of TrainingImage and AlgorithmName must be specified in AlgorithmSpecification."
        )
    metrics.check(algorithm.get("MetricDefinitions", []))
    if request.get("ResourceConfig", {}).get("InstanceCount", 0) < 1:
        raise ValidationException("ResourceConfig needs an InstanceType and an InstanceCount of at least 1.")
    _check_stopping(request)
    _check_channels(request.get("InputDataConfig", []), algorithm["TrainingInputMode"])
    for uri in (
        request["OutputDataConfig"]["S3OutputPath"],
        request.get("CheckpointConfig", {}).get("S3Uri"),
    ):
        if uri is not None:
            _check_uri(uri)
    for channel in request.get("InputDataConfig", []):
        _check_objects(cloud, channel["DataSource"]["S3DataSource"])


def _check_stopping(request: Document) -> None:
    condition = request.get("StoppingCondition", {})
    longest, wait = condition.get("MaxRuntimeInSeconds", 86400), condition.get("MaxWaitTimeInSeconds")
    if not request.get("EnableManagedSpotTraining"):
        if wait is not None:
            raise ValidationException("MaxWaitTimeInSeconds can only be set when EnableManagedSpotTraining is true.")
        return
    if wait is None or wait < longest:
        raise ValidationException(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )


def _check_channels(channels: list[Document], mode: str) -> None:
    names = [channel["ChannelName"] for channel in channels]
    if len(set(names)) != len(names):
        raise ValidationException("Duplicate channel names: every ChannelName must be unique.")
    for channel in channels:
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise ValidationException(
                f"Channel {channel['ChannelName']}: localcloud has S3 data sources only, no file systems."
            )
        _check_uri(source["S3Uri"])
        if "Pipe" in (channel.get("InputMode"), mode if "InputMode" not in channel else None):
            raise ValidationException(
                f"Channel {channel['ChannelName']}: localcloud has no Pipe mode; use File or FastFile."
            )
        if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
            raise ValidationException(
                f"Channel {channel['ChannelName']}: localcloud has the S3DataTypes S3Prefix and ManifestFile, not "
                f"{source['S3DataType']}."
            )


def _check_objects(cloud: Cloud, source: Document) -> None:
    """Refuse a prefix that holds nothing; a manifest is read when the job starts."""
    if source["S3DataType"] != "S3Prefix":
        return
    try:
        found = cloud.s3.has_objects(source["S3Uri"])
    except S3NotFoundError:
        found = False
    except S3Error as error:
        raise AwsError("InternalFailure", str(error), 500) from error
    if not found:
        raise ValidationException(nothing_under(source["S3Uri"], cloud.region))


def _check_uri(uri: str) -> None:
    try:
        split_uri(uri)
    except S3Error as error:
        raise ValidationException(str(error)) from None


def _summary(row: Row) -> Document:
    job = row.document
    return {
        "TrainingJobName": row.name,
        "TrainingJobArn": row.arn,
        "CreationTime": row.created,
        "TrainingEndTime": job.get("TrainingEndTime"),
        "LastModifiedTime": row.modified,
        "TrainingJobStatus": job["TrainingJobStatus"],
        "SecondaryStatus": job["SecondaryStatus"],
    }
