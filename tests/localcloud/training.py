"""What tests of training and tuning jobs share: source archives, requests, and waiting for an end."""

import contextlib
import io
import tarfile
import uuid
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.localcloud.conftest import RunningCloud
from tests.localcloud.hosting import ROLE, unique, wait_until

BUCKET = "training"
ENDED = ("Completed", "Failed", "Stopped")


def source_archive(files: dict[str, str]) -> bytes:
    """A `sourcedir.tar.gz`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            content = dedent(text).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Training:
    """Runs scripts as training jobs of a cloud."""

    def __init__(self, cloud: RunningCloud) -> None:
        self.cloud = cloud
        self.s3 = cloud.client("s3")
        self.sagemaker = cloud.client("sagemaker")
        self.logs = cloud.client("logs")
        with contextlib.suppress(self.s3.exceptions.BucketAlreadyExists):
            self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, content: bytes = b"data") -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def upload_source(self, script: str, files: dict[str, str] | None = None) -> str:
        archive = source_archive({"train.py": script, **(files or {})})
        return self.put(f"code/{uuid.uuid4().hex}/sourcedir.tar.gz", archive)

    def request(self, script: str, files: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """The parameters of CreateTrainingJob; `changes` replace members."""
        return {
            "TrainingJobName": unique("job"),
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": "pytorch", "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 120},
            **changes,
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": self.upload_source(script, files),
                **changes.get("HyperParameters", {}),
            },
        }

    def start(self, script: str, files: dict[str, str] | None = None, **changes: Any) -> str:
        request = self.request(script, files, **changes)
        self.sagemaker.create_training_job(**request)
        return str(request["TrainingJobName"])

    def run(self, script: str, files: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """Start a job and wait for its end; returns its description."""
        return self.end_of(self.start(script, files, **changes))

    def end_of(self, name: str) -> dict[str, Any]:
        wait_until(lambda: self.describe(name)["TrainingJobStatus"] in ENDED)
        return self.describe(name)

    def describe(self, name: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_training_job(TrainingJobName=name))

    def wait_for_line(self, name: str, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.log(name)))

    def log(self, name: str, host: int = 1) -> list[str]:
        """The lines that a job has printed, of all its attempts."""
        group = "/aws/sagemaker/TrainingJobs"
        try:
            streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/algo-{host}-")[
                "logStreams"
            ]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        lines = []
        for stream in streams:
            events = self.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
            lines += [event["message"] for event in events]
        return lines

    def artifact(self, uri: str) -> dict[str, bytes]:
        """The files of an archive in S3, by name."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        packed = io.BytesIO(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        with tarfile.open(fileobj=packed) as tar:
            found = {}
            for member in tar:
                content = tar.extractfile(member)
                if content is not None:
                    found[member.name] = content.read()
            return found

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]


def channel(name: str, uri: str, **changes: Any) -> dict[str, Any]:
    """An input channel."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated", **changes}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def leftovers(home: Path) -> list[str]:
    """What jobs have left in the state folder."""
    return [str(path) for path in (home / "jobs").glob("*/*")]
