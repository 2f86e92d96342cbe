"""One training job from its first state to its last, in a worker thread.

Everything that decides what comes next is in the job's document (private members begin with ``_``) or in its
folder, so the worker of a service that was killed is replaced by a new one: it finds the running processes,
or packs what they left, or starts over when nothing had begun.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from localcloud import logs, resources
from localcloud.errors import AwsError, JobFailedError
from localcloud.host.cores import GaveUpError
from localcloud.host.processes import Process
from localcloud.metrics import MetricScanner
from localcloud.operations import Cloud
from localcloud.resources import TRAINING_JOB
from localcloud.s3 import S3Error
from localcloud.store import Document
from localcloud.training.outcome import Outcome, judge
from localcloud.training.output import FolderSync, synced_folders, upload_outputs
from localcloud.training.setup import Preparation, containers
from localcloud.training.status import finish, move_to

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TICK_SECONDS = 0.1
SYNC_SECONDS = 2.0
_log = logging.getLogger(__name__)


class ServiceStoppingError(Exception):
    """The service ends; the job is picked up when it starts again."""


def job_folder(cloud: Cloud, name: str) -> Path:
    """Where a job's containers are while it runs."""
    return cloud.home / "jobs" / TRAINING_JOB.key / name


def run_training_job(cloud: Cloud, name: str) -> None:
    """Run a job to its end, or until the service stops."""
    try:
        TrainingRun(cloud, name).run()
    except ServiceStoppingError:
        return
    except Exception as error:  # noqa: BLE001 - becomes the FailureReason
        if isinstance(error, AwsError) and cloud.store.get(TRAINING_JOB.key, name) is None:
            return
        _log.exception("training job %s", name)
        cloud.processes.end(job_folder(cloud, name).glob("algo-*/process"))
        reason = f"InternalServerError: localcloud made a mistake: {error!r}"
        if not cloud.workers.insist(lambda: finish(cloud, name, "Failed", reason=reason)):
            return
    shutil.rmtree(job_folder(cloud, name), ignore_errors=True)


class TrainingRun:
    """The work of one job."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud = cloud
        self.name = name

    @property
    def job(self) -> Document:
        """The job as it is stored now."""
        return resources.describe(self.cloud, TRAINING_JOB, self.name)

    def run(self) -> None:
        """Go on from where the job is."""
        job = self.job
        try:
            outcome = Outcome(**job["_Outcome"]) if "_Outcome" in job else self._execute()
        except GaveUpError:
            if self.cloud.workers.stopping.is_set():
                raise ServiceStoppingError from None
            finish(self.cloud, self.name, "Stopped")
            return
        except JobFailedError as error:
            self._tell(str(error))
            finish(self.cloud, self.name, "Failed", reason=str(error))
            return
        self._conclude(outcome)

    def _execute(self) -> Outcome:
        """Run the script, again after each spot interruption, and record how it ended."""
        while True:
            processes = self._running_processes()
            count = self.job["ResourceConfig"]["InstanceCount"]
            with self.cloud.cores.hold(count, self._give_up, at_once=bool(processes)):
                outcome = self._watch(processes or self._begin())
            if outcome.status != "Interrupted":
                self._set(_Outcome=vars(outcome))
                return outcome
            self._set(_Attempt=self.job.get("_Attempt", 1) + 1, _Phase="", _Ending=None)
            message = "Spot instance was interrupted; the job starts again from its checkpoints"
            move_to(self.cloud, self.name, "Interrupted", message)

    def _begin(self) -> list[Process]:
        """Prepare the containers and start the script in each."""
        now = time.time()
        message = "Preparing the instances for training"
        job = self.job
        job = move_to(
            self.cloud, self.name, "Downloading", message, TrainingStartTime=job.get("TrainingStartTime", now),
            _Started=int(now),
        )  # fmt: skip
        shutil.rmtree(job_folder(self.cloud, self.name), ignore_errors=True)
        preparation = Preparation(self.cloud, job, self._containers(job))
        self._register_logs(job)
        preparation.download()
        specs = [preparation.spec(container) for container in preparation.containers]
        if self._give_up():
            raise GaveUpError
        message = "Training image download completed. Training in progress."
        move_to(self.cloud, self.name, "Training", message, _Phase="Training", _TrainingSince=time.time())
        return [
            self.cloud.processes.start(folder, spec)
            for folder, spec in zip(self._process_folders(job), specs, strict=True)
        ]

    def _running_processes(self) -> list[Process]:
        """The processes that an earlier worker started; empty when the script has to be started."""
        job = self.job
        if job.get("_Phase") != "Training":
            return []
        found = [self.cloud.processes.find(folder) for folder in self._process_folders(job)]
        started = [process for process in found if process is not None]
        if len(started) == len(found):
            return started
        self.cloud.processes.end(process.folder for process in started)
        return []

    def _watch(self, processes: list[Process]) -> Outcome:
        """Stay with the processes until all have ended; returns how the job ended."""
        job = self.job
        scanner = self._scanner(job)
        sync = FolderSync(self.cloud, synced_folders(job, self._containers(job)))
        ending: str | None = job.get("_Ending")
        next_sync = time.monotonic() + SYNC_SECONDS
        while any(process.running for process in processes):
            if self.cloud.workers.stopping.is_set():
                raise ServiceStoppingError
            _first_running(processes).wait(TICK_SECONDS)
            if ending is None and (ending := self._reason_to_stop(job)) is not None:
                # Before the script ends of it: a service that is killed meanwhile must know why.
                self._set(_Ending=ending)
            if ending is not None:
                for process in processes:
                    process.stop()
            elif any(not process.running and _failed(process) for process in processes):
                for process in processes:
                    process.kill()
            if scanner.scan():
                self._set(FinalMetricDataList=scanner.final())
            if time.monotonic() >= next_sync:
                self._sync(sync, settled_before=time.time() - 1)
                next_sync = time.monotonic() + SYNC_SECONDS
        if scanner.scan():
            self._set(FinalMetricDataList=scanner.final())
        lost = self._sync(sync)
        ending = ending or ("Stopped" if self.job["TrainingJobStatus"] == "Stopping" else None)
        outcome = judge(processes, self._containers(job), ending)
        if lost is None:
            return outcome
        reason = f"ClientError: checkpoints or tensors cannot be stored: {lost}"
        self._tell(reason)
        return Outcome("Failed", reason=reason) if outcome.status in ("Completed", "Stopped") else outcome

    def _reason_to_stop(self, job: Document) -> str | None:
        if self.job["TrainingJobStatus"] == "Stopping":
            move_to(self.cloud, self.name, "Stopping", "Stopping the training job")
            return "Stopped"
        condition = job.get("StoppingCondition", {})
        now = time.time()
        if now - job["_TrainingSince"] > condition.get("MaxRuntimeInSeconds", 86400):
            return "MaxRuntimeExceeded"
        if now - job["CreationTime"] > condition.get("MaxWaitTimeInSeconds", float("inf")):
            return "MaxWaitTimeExceeded"
        if job.get("EnableManagedSpotTraining") and self.cloud.faults.interrupts(
            self.name, now - job["_TrainingSince"]
        ):
            return "Interrupted"
        return None

    def _conclude(self, outcome: Outcome) -> None:
        """Store what the job leaves, and end it. Can be done again after a crash."""
        job = self.job
        failed = outcome.status == "Failed"
        if not failed:
            move_to(self.cloud, self.name, "Uploading", "Uploading generated training model")
        try:
            upload_outputs(self.cloud, job, self._containers(job), with_model=not failed)
        except JobFailedError as error:
            self._tell(str(error))
            outcome = Outcome("Failed", None, outcome.reason or str(error))
        finish(self.cloud, self.name, outcome.status, secondary=outcome.secondary, reason=outcome.reason)

    def _containers(self, job: Document) -> list[Any]:
        return containers(job_folder(self.cloud, self.name), job)

    def _process_folders(self, job: Document) -> list[Path]:
        return [container.root.parent / "process" for container in self._containers(job)]

    def _scanner(self, job: Document) -> MetricScanner:
        definitions = job["AlgorithmSpecification"].get("MetricDefinitions", [])
        return MetricScanner(definitions, [folder / "log.jsonl" for folder in self._process_folders(job)])

    def _register_logs(self, job: Document) -> None:
        for number, folder in enumerate(self._process_folders(job), 1):
            stream = f"{self.name}/algo-{number}-{job['_Started']}"
            logs.register(self.cloud, LOG_GROUP, stream, folder / "log.jsonl")

    def _tell(self, message: str) -> None:
        """Put a message of the cloud's own into the job's log."""
        job = self.job
        if "_Started" in job:
            logs.write(self._process_folders(job)[0] / "log.jsonl", message)

    def _sync(self, sync: FolderSync, *, settled_before: float | None = None) -> Exception | None:
        """Store what has changed in the synced folders; returns why not all of it could be stored."""
        try:
            sync.run(settled_before=settled_before)
        except (S3Error, OSError) as error:
            _log.warning("training job %s: %s", self.name, error)
            return error
        return None

    def _set(self, **members: Any) -> None:
        self.cloud.store.update(TRAINING_JOB.key, self.name, lambda job: job.update(members))

    def _give_up(self) -> bool:
        return self.cloud.workers.stopping.is_set() or self.job["TrainingJobStatus"] == "Stopping"


def _first_running(processes: list[Process]) -> Process:
    return next((process for process in processes if process.running), processes[0])


def _failed(process: Process) -> bool:
    status = process.exit_status
    return status is not None and status.code != 0
