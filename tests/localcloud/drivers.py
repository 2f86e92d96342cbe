"""Three ways to drive the cloud, none of them ours: boto3, the `aws` command line, and SageMaker's own SDK."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore import xform_name

from tests.localcloud.conftest import RunningCloud

Document = dict[str, Any]


class Driver(Protocol):
    """Calls operations by their names in the API, with the API's parameters."""

    def put(self, uri: str, content: bytes) -> None: ...

    def put_all(self, prefix: str, contents: dict[str, bytes]) -> None: ...

    def get(self, uri: str) -> bytes: ...

    def create(self, resource: str, parameters: Document) -> None: ...

    def describe(self, resource: str, name: str) -> Document: ...

    def stop(self, resource: str, name: str) -> None: ...

    def delete(self, resource: str, name: str) -> None: ...

    def trials(self, tuning_job: str) -> list[str]: ...

    def invoke(self, endpoint: str, body: bytes) -> bytes: ...

    def log(self, job: str) -> list[str]: ...


class Boto3Driver:
    """Plain boto3."""

    def __init__(self, cloud: RunningCloud, _folder: Path) -> None:
        self.s3, self.sagemaker = cloud.client("s3"), cloud.client("sagemaker")
        self.runtime, self.logs = cloud.client("sagemaker-runtime"), cloud.client("logs")

    def put(self, uri: str, content: bytes) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if bucket not in [one["Name"] for one in self.s3.list_buckets()["Buckets"]]:
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)

    def put_all(self, prefix: str, contents: dict[str, bytes]) -> None:
        for name, content in contents.items():
            self.put(f"{prefix}/{name}", content)

    def get(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def create(self, resource: str, parameters: Document) -> None:
        self._call(f"Create{resource}", **parameters)

    def describe(self, resource: str, name: str) -> Document:
        return self._call(f"Describe{resource}", **{f"{resource}Name": name})

    def stop(self, resource: str, name: str) -> None:
        self._call(f"Stop{resource}", **{f"{resource}Name": name})

    def delete(self, resource: str, name: str) -> None:
        self._call(f"Delete{resource}", **{f"{resource}Name": name})

    def trials(self, tuning_job: str) -> list[str]:
        listed = self._call("ListTrainingJobsForHyperParameterTuningJob", HyperParameterTuningJobName=tuning_job)
        return [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]]

    def invoke(self, endpoint: str, body: bytes) -> bytes:
        answer = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="application/json")
        return bytes(answer["Body"].read())

    def log(self, job: str) -> list[str]:
        group = "/aws/sagemaker/TrainingJobs"
        streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=job)["logStreams"]
        events = self.logs.get_log_events(
            logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True
        )
        return [event["message"] for event in events["events"]]

    def _call(self, operation: str, **parameters: Any) -> Document:
        return dict(getattr(self.sagemaker, xform_name(operation))(**parameters))


class CommandLineDriver:
    """The `aws` command, with nothing but the variables that `localcloud env` prints."""

    def __init__(self, cloud: RunningCloud, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **cloud.variables,
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "AWS_PAGER": "",
        }

    def put(self, uri: str, content: bytes) -> None:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        if bucket not in self._run("s3", "ls"):
            self._run("s3", "mb", f"s3://{bucket}")
        self._run("s3", "cp", str(self._file("upload", content)), uri)

    def put_all(self, prefix: str, contents: dict[str, bytes]) -> None:
        folder = self.folder / "uploads"
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        self._run("s3", "cp", "--recursive", str(folder), prefix)

    def get(self, uri: str) -> bytes:
        target = self.folder / "download"
        self._run("s3", "cp", uri, str(target))
        return target.read_bytes()

    def create(self, resource: str, parameters: Document) -> None:
        given = self._file("parameters.json", json.dumps(parameters).encode())
        self._sagemaker(f"Create{resource}", "--cli-input-json", f"file://{given}")

    def describe(self, resource: str, name: str) -> Document:
        return dict(json.loads(self._sagemaker(f"Describe{resource}", *self._name(resource, name))))

    def stop(self, resource: str, name: str) -> None:
        self._sagemaker(f"Stop{resource}", *self._name(resource, name))

    def delete(self, resource: str, name: str) -> None:
        self._sagemaker(f"Delete{resource}", *self._name(resource, name))

    def trials(self, tuning_job: str) -> list[str]:
        listed = self._sagemaker(
            "ListTrainingJobsForHyperParameterTuningJob", *self._name("HyperParameterTuningJob", tuning_job)
        )
        return [job["TrainingJobName"] for job in json.loads(listed)["TrainingJobSummaries"]]

    def invoke(self, endpoint: str, body: bytes) -> bytes:
        target = self.folder / "prediction"
        source = self._file("body", body)
        self._run(
            "sagemaker-runtime", "invoke-endpoint", "--endpoint-name", endpoint, "--body", f"fileb://{source}",
            "--content-type", "application/json", str(target),
        )  # fmt: skip
        return target.read_bytes()

    def log(self, job: str) -> list[str]:
        said = self._run(
            "logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs",
            "--log-stream-name-prefix", job,
        )  # fmt: skip
        return [event["message"] for event in json.loads(said)["events"]]

    def _name(self, resource: str, name: str) -> list[str]:
        return [f"--{xform_name(resource, '-')}-name", name]

    def _sagemaker(self, operation: str, *arguments: str) -> str:
        return self._run("sagemaker", xform_name(operation, "-"), *arguments)

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["aws", *arguments], env=self.environment, capture_output=True, text=True, check=False, cwd=self.folder
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout


class SdkDriver(Boto3Driver):
    """The resource classes of SageMaker's Python SDK; S3 and logs, which it leaves to boto3, by boto3."""

    def __init__(self, cloud: RunningCloud, folder: Path) -> None:
        from sagemaker.core import resources

        super().__init__(cloud, folder)
        self.resources = resources
        variables = cloud.variables
        self.session = boto3.Session(
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_REGION"],
        )

    def create(self, resource: str, parameters: Document) -> None:
        self._class(resource).create(**snake(parameters), session=self.session)

    def describe(self, resource: str, name: str) -> Document:
        found = self._class(resource).get(name, session=self.session)
        return dict(camel(found.model_dump(exclude_none=True)))

    def stop(self, resource: str, name: str) -> None:
        self._class(resource).get(name, session=self.session).stop()

    def delete(self, resource: str, name: str) -> None:
        self._class(resource).get(name, session=self.session).delete()

    def trials(self, tuning_job: str) -> list[str]:
        found = self.resources.HyperParameterTuningJob.get(tuning_job, session=self.session)
        return [job.training_job_name for job in found.get_all_training_jobs(session=self.session)]

    def invoke(self, endpoint: str, body: bytes) -> bytes:
        found = self.resources.Endpoint.get(endpoint, session=self.session)
        answer = found.invoke(body=body, content_type="application/json", session=self.session)
        return bytes(answer.body.read())

    def _class(self, resource: str) -> Any:
        return getattr(self.resources, resource)


FREE_FORM = ("HyperParameters", "StaticHyperParameters", "Environment")


def snake(value: Any) -> Any:
    """The API's names as the SDK has them, in all of a document."""
    if isinstance(value, dict):
        return {xform_name(key): item if key in FREE_FORM else snake(item) for key, item in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value


def camel(value: Any) -> Any:
    """The SDK's names as the API has them."""
    if isinstance(value, dict):
        return {"".join(part.capitalize() for part in key.split("_")): camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value
