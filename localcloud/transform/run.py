"""A transform job from its first status to its last.

As AWS documents it ("Batch transform", "Troubleshooting" and CreateTransformJob in the developer guide):

* Every object is transformed on its own; its output appears only when all of it was transformed.
* An object that cannot be transformed does not stop the others, but the job ends as `Failed`, and the outputs
  of the others are stored. The messages in the job's data log are AWS's.
* A stopped job stores nothing. That is why outputs wait on disk until the end and are uploaded together.

AWS's FailureReason is "... See job logs for more information"; here it also names the first object.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from localcloud import logs
from localcloud.errors import JobFailedError, ValidationException
from localcloud.host.cores import GaveUpError
from localcloud.model_server.archive import resolved_container
from localcloud.model_server.launch import LogStream, ModelServer
from localcloud.operations import Cloud
from localcloud.resources import MODEL, TRANSFORM_JOB
from localcloud.s3 import S3Error, split_uri
from localcloud.store import Document, NoSuchResourceError
from localcloud.transform.client import Failure, TransformClient
from localcloud.transform.inputs import InputObject, list_inputs
from localcloud.transform.settings import Settings

STARTUP_SECONDS = 240.0
MAX_RUNTIME_SECONDS = 5 * 24 * 3600.0  # AWS's quota for the run time of a transform job
LOG_GROUP = "/aws/sagemaker/TransformJobs"
UPLOAD_CHUNK = 1000
MAX_REASON = 1024  # the length of FailureReason in botocore's model
_log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The job was asked to stop, or the service stops."""


def job_folder(cloud: Cloud, name: str) -> Path:
    """Where a job keeps its logs, and while it runs its models and outputs."""
    return cloud.home / "transform-jobs" / name


def run_transform(cloud: Cloud, name: str) -> None:
    """Run a job to its end. When the service stops, the job stays `InProgress` and is run again later."""
    run = TransformRun(cloud, name)
    reason: str | None = None
    try:
        run.run()
    except StoppedError:
        if cloud.workers.stopping.is_set():
            return
    except JobFailedError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - the job must end with a status, whatever went wrong
        _log.exception("transform job %s", name)
        reason = f"InternalServerError: localcloud made a mistake: {error!r}"
    finally:
        run.clean_up()
    cloud.workers.insist(lambda: _finish(cloud, name, reason))


def _finish(cloud: Cloud, name: str, reason: str | None) -> None:
    def change(job: Document) -> None:
        if job["TransformJobStatus"] == "Stopping":
            job["TransformJobStatus"] = "Stopped"
        elif reason is not None:
            job["TransformJobStatus"] = "Failed"
            job["FailureReason"] = reason[:MAX_REASON]
        else:
            job["TransformJobStatus"] = "Completed"
        job["TransformEndTime"] = time.time()

    with contextlib.suppress(NoSuchResourceError):  # `reset` removed it
        cloud.store.update(TRANSFORM_JOB.key, name, change)


class TransformRun:
    """One run of a job."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._name = name
        self._folder = job_folder(cloud, name)
        self._outputs = self._folder / "outputs"
        self._servers: list[ModelServer] = []
        self._deadline = time.monotonic() + MAX_RUNTIME_SECONDS

    def run(self) -> None:
        """Raises JobFailedError or StoppedError; returns when every object is transformed and stored."""
        job = self._cloud.store.get(TRANSFORM_JOB.key, self._name)
        if job is None:
            raise StoppedError
        self._cloud.processes.end(self._folder.glob("instance-*"))  # of a service that was killed
        wanted = int(job["TransformResources"]["InstanceCount"])
        instances = min(wanted, self._cloud.cores.total)
        try:
            with self._cloud.cores.hold(instances, self._told_to_stop):
                self._transform(job, instances)
        except GaveUpError:
            raise StoppedError from None

    def clean_up(self) -> None:
        """End the processes and remove everything but the logs."""
        for server in self._servers:
            server.kill()
            shutil.rmtree(server.folder / "model", ignore_errors=True)
        shutil.rmtree(self._outputs, ignore_errors=True)

    def _transform(self, job: Document, instances: int) -> None:
        self._note_start()
        inputs = list_inputs(self._cloud.s3, job["TransformInput"]["DataSource"]["S3DataSource"])
        settings = Settings.of(job)
        shutil.rmtree(self._outputs, ignore_errors=True)
        self._start_servers(job, settings, instances)
        self._say(
            f"MaxConcurrentTransforms={settings.concurrent}, MaxPayloadInMB={settings.max_payload_mb}, "
            f"BatchStrategy={'MULTI_RECORD' if settings.multi_record else 'SINGLE_RECORD'}"
        )
        client = TransformClient(self._cloud.s3, settings, self._servers, self._outputs, self._check)
        failures = client.transform(inputs)
        self._check()
        self._upload(job["TransformOutput"]["S3OutputPath"], inputs, failures)
        if failures:
            for failure in failures:
                self._say_failure(failure)
            raise JobFailedError(_explain(failures, len(inputs)))

    def _start_servers(self, job: Document, settings: Settings, instances: int) -> None:
        model = self._cloud.store.get(MODEL.key, job["ModelName"])
        if model is None:
            raise JobFailedError(f"ClientError: the model {job['ModelName']} was deleted before the job began")
        try:
            container = resolved_container(self._cloud, model)
        except ValidationException as error:
            raise JobFailedError(f"ClientError: {error.message}") from error
        for number in range(instances):
            server = ModelServer(
                self._cloud,
                self._folder / f"instance-{number}",
                container,
                self._log_stream(number),
                max_payload=settings.server_payload,
                environment=settings.environment,
            )
            self._servers.append(server)
            shutil.rmtree(server.folder / "model", ignore_errors=True)
            try:
                server.prepare()
            except JobFailedError as error:
                raise JobFailedError(f"ClientError: {error}") from error
            server.start()
        try:
            for server in self._servers:
                server.wait_until_healthy(STARTUP_SECONDS, self._told_to_stop)
        except JobFailedError as error:
            self._check()
            raise JobFailedError(
                "AlgorithmError: The primary container did not pass the ping health check. Please check "
                f"CloudWatch logs for this job. {error}"
            ) from error

    def _upload(self, output_uri: str, inputs: list[InputObject], failures: list[Failure]) -> None:
        failed = {failure.item for failure in failures}
        done = [item.output for item in inputs if item not in failed]
        try:
            bucket, prefix = split_uri(output_uri)
            prefix = prefix.rstrip("/")
            for start in range(0, len(done), UPLOAD_CHUNK):
                names = done[start : start + UPLOAD_CHUNK]
                keys = {f"{prefix}/{name}" if prefix else name: self._outputs / name for name in names}
                self._cloud.s3.upload(bucket, keys)
        except* S3Error as errors:
            raise JobFailedError(f"ClientError: {errors.exceptions[0]}") from None

    def _log_stream(self, instance: int, suffix: str = "") -> LogStream:
        """AWS names streams by job and instance."""
        digest = hashlib.sha256(f"{self._name}/{instance}".encode()).hexdigest()
        return LogStream(LOG_GROUP, f"{self._name}/i-{digest[:17]}{suffix}")

    def _say(self, text: str) -> None:
        """Add a line to the data log, which is what AWS itself says about a job's objects."""
        log = self._folder / "data-log.jsonl"
        stream = self._log_stream(0, "/data-log")
        logs.register(self._cloud, stream.group, stream.stream, log)
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        logs.write(log, f"{moment}:[sagemaker logs]: {text}")

    def _say_failure(self, failure: Failure) -> None:
        name = f"{failure.item.bucket}/{failure.item.key}"
        lines = [failure.reason]
        if failure.message:
            lines += ["", "Message:", *failure.message.splitlines()]
        for line in lines:
            self._say(f"{name}: {line}")

    def _note_start(self) -> None:
        def change(job: Document) -> None:
            job["TransformStartTime"] = time.time()

        self._cloud.store.update(TRANSFORM_JOB.key, self._name, change)

    def _told_to_stop(self) -> bool:
        if self._cloud.workers.stopping.is_set():
            return True
        job = self._cloud.store.get(TRANSFORM_JOB.key, self._name)
        return job is None or job["TransformJobStatus"] != "InProgress"

    def _check(self) -> None:
        """Raises StoppedError when the job is to stop, JobFailedError when it takes too long."""
        if self._told_to_stop():
            raise StoppedError
        if time.monotonic() > self._deadline:
            raise JobFailedError(f"ClientError: the job ran longer than {MAX_RUNTIME_SECONDS:g} seconds")


def _explain(failures: list[Failure], total: int) -> str:
    first = failures[0]
    message = f" {first.message.splitlines()[0]}" if first.message else ""
    return (
        f"{first.category}: See job logs for more information. {len(failures)} of {total} objects could not be "
        f"transformed; {first.item.uri}: {first.reason}{message}"
    )
