"""One tuning job from its first training job to its last, in a worker thread.

What it has done is in its training jobs and in the studies' journals, so it can be gone on with after a crash.
"""

import hashlib
import logging
import shutil
import time
from pathlib import Path

from localcloud import resources
from localcloud.errors import ResourceNotFound, ValidationException
from localcloud.metrics import MetricScanner
from localcloud.operations import Cloud
from localcloud.resources import TUNING_JOB
from localcloud.store import Document, NoSuchResourceError, Row
from localcloud.training.container import TUNING_METRIC
from localcloud.training.jobs import add_training_job, stop
from localcloud.training.run import job_folder
from localcloud.tuning.results import ENDED, final_value, mark_ended, objective_status, trials
from localcloud.tuning.search import Finished, Search, grid_size, objective_of

TICK_SECONDS = 0.2
_COPIED = (
    "AlgorithmSpecification", "RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "StoppingCondition",
    "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining",
    "CheckpointConfig", "RetryStrategy", "Environment",
)  # fmt: skip
_log = logging.getLogger(__name__)


def definitions_of(job: Document) -> list[Document]:
    """The training job definitions: one, or several."""
    if "TrainingJobDefinition" in job:
        return [job["TrainingJobDefinition"]]
    return list(job["TrainingJobDefinitions"])


def run_tuning_job(cloud: Cloud, name: str) -> None:
    """Run a tuning job to its end, or until the service stops."""
    try:
        TuningRun(cloud, name).run()
    except NoSuchResourceError:
        return
    except Exception as error:  # noqa: BLE001 - becomes the FailureReason
        _log.exception("tuning job %s", name)
        reason = f"localcloud made a mistake: {error!r}"
        cloud.workers.insist(lambda: _fail(cloud, name, reason))


def _fail(cloud: Cloud, name: str, reason: str) -> None:
    """Stop the training jobs of a tuning job that cannot go on, and end it after them."""
    while running := [row for row in trials(cloud, name) if row.document["TrainingJobStatus"] not in ENDED]:
        _stop_all(cloud, running)
        if cloud.workers.stopping.wait(TICK_SECONDS):
            return
    mark_ended(cloud, name, "Failed", time.time(), reason)
    shutil.rmtree(_folder(cloud, name), ignore_errors=True)


class TuningRun:
    """The work of one tuning job."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud = cloud
        self.name = name
        self.job = resources.describe(cloud, TUNING_JOB, name)
        self.config = self.job["HyperParameterTuningJobConfig"]
        self.definitions = definitions_of(self.job)
        self.folder = _folder(cloud, name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.searches = [self._search(number) for number in range(len(self.definitions))]
        self.scanners: dict[str, MetricScanner] = {}
        self.told: set[str] = set()

    def run(self) -> None:
        """Start training jobs, follow them, and end when enough have ended."""
        while not self.cloud.workers.stopping.is_set():
            rows = trials(self.cloud, self.name)
            self._follow(rows)
            running = [row for row in rows if row.document["TrainingJobStatus"] not in ENDED]
            stopped = self._stop_requested()
            if stopped or self._enough(rows):
                _stop_all(self.cloud, running)
                if not running:
                    self._end("Stopped" if stopped else None, rows)
                    return
            elif len(running) < self._parallel() and _started(rows) < self._wanted():
                self._start_next(rows)
                continue
            self.cloud.workers.stopping.wait(TICK_SECONDS)

    def _search(self, number: int) -> Search:
        journal = self.folder / f"study-{number}.journal"
        # A service that was killed while it wrote leaves its lock; nobody else writes this file.
        for lock in self.folder.glob(f"{journal.name}.lock*"):
            lock.unlink()
        search = Search(journal, self.config, self.definitions[number])
        search.warm_start(self._earlier_results())
        return search

    def _earlier_results(self) -> list[Finished]:
        parents = self.job.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
        found = []
        for parent in parents:
            for row in trials(self.cloud, parent["HyperParameterTuningJobName"]):
                value = final_value(row.document)
                if objective_status(row.document) == "Succeeded" and value is not None:
                    found.append(Finished(row.document["_Tuned"], value))
        return found

    def _parallel(self) -> int:
        return int(self.config["ResourceLimits"]["MaxParallelTrainingJobs"])

    def _wanted(self) -> int:
        if self.config["Strategy"] == "Grid":
            return sum(grid_size(search.ranges) for search in self.searches)
        return int(self.config["ResourceLimits"]["MaxNumberOfTrainingJobs"])

    def _start_next(self, rows: list[Row]) -> None:
        """Start the training job of the next trial: one that a crash left without a job, or a new one."""
        serial = _started(rows) + 1
        index = (serial - 1) % len(self.searches)
        search, definition = self.searches[index], self.definitions[index]
        begun = {row.document["_Trial"] for row in rows if row.document["_Index"] == index}
        waiting = [number for number in search.open_trials() if number not in begun]
        number = waiting[0] if waiting else search.ask()
        tuned = search.parameters(number)
        objective = objective_of(self.config, definition)
        digest = hashlib.sha256(f"{self.job['CreationTime']}{serial}".encode()).hexdigest()[:8]
        request = {member: definition[member] for member in _COPIED if member in definition}
        request |= {
            "TrainingJobName": f"{self.name}-{serial:03d}-{digest}",
            "HyperParameters": {
                **definition.get("StaticHyperParameters", {}), **tuned, TUNING_METRIC: objective["MetricName"]
            },
            "ResourceConfig": _resource_config(definition),
        }  # fmt: skip
        add_training_job(
            self.cloud, request, parent=self.name, TuningJobArn=self.job["HyperParameterTuningJobArn"],
            _Trial=number, _Index=index, _Tuned=tuned, _Definition=definition.get("DefinitionName"),
            _Objective={"Type": objective["Type"], "MetricName": objective["MetricName"]},
        )  # fmt: skip

    def _follow(self, rows: list[Row]) -> None:
        """Tell the search what has ended and how the others do; stop those that are not worth going on."""
        for row in rows:
            job = row.document
            if row.name in self.told:
                continue
            search = self.searches[job["_Index"]]
            if job["TrainingJobStatus"] in ENDED:
                usable = objective_status(job) == "Succeeded"
                pruned = job["TrainingJobStatus"] == "Stopped"
                search.tell(job["_Trial"], final_value(job) if usable else None, pruned=pruned)
                self.told.add(row.name)
            elif job["TrainingJobStatus"] == "InProgress" and search.report(job["_Trial"], self._history(row)):
                _log.info("tuning job %s stops %s early", self.name, row.name)
                _stop_all(self.cloud, [row])

    def _history(self, row: Row) -> list[float]:
        """The values of the objective that a running job has printed."""
        wanted = row.document["_Objective"]["MetricName"]
        if row.name not in self.scanners:
            defined = row.document["AlgorithmSpecification"].get("MetricDefinitions", [])
            log = job_folder(self.cloud, row.name) / "algo-1" / "process" / "log.jsonl"
            self.scanners[row.name] = MetricScanner([one for one in defined if one["Name"] == wanted], [log])
        scanner = self.scanners[row.name]
        scanner.scan()
        return scanner.history.get(wanted, [])

    def _stop_requested(self) -> bool:
        job = resources.describe(self.cloud, TUNING_JOB, self.name)
        return bool(job["HyperParameterTuningJobStatus"] == "Stopping")

    def _enough(self, rows: list[Row]) -> bool:
        ended = [row for row in rows if row.document["TrainingJobStatus"] in ENDED]
        if len(ended) == len(rows) and _started(rows) >= self._wanted():
            return True
        longest = self.config["ResourceLimits"].get("MaxRuntimeInSeconds", float("inf"))
        if time.time() - self.job["CreationTime"] > longest:
            return True
        return self._reached_target(ended) or self._no_longer_improves(ended)

    def _reached_target(self, ended: list[Row]) -> bool:
        target = self.config.get("TuningJobCompletionCriteria", {}).get("TargetObjectiveMetricValue")
        if target is None:
            return False
        return any(not _better(target, value, row) for row, value in _values(ended))

    def _no_longer_improves(self, ended: list[Row]) -> bool:
        rule = self.config.get("TuningJobCompletionCriteria", {}).get("BestObjectiveNotImproving", {})
        patience = rule.get("MaxNumberOfTrainingJobsNotImproving")
        values = _values(ended)
        if patience is None or not values:
            return False
        best = 0
        for place, (row, value) in enumerate(values):
            if _better(value, values[best][1], row):
                best = place
        return len(values) - 1 - best >= int(patience)

    def _end(self, status: str | None, rows: list[Row]) -> None:
        succeeded = any(objective_status(row.document) == "Succeeded" for row in rows)
        reason = None
        if status is None and not succeeded:
            reason = "All training jobs failed. Please take a look at the training jobs failures to get more details."
        mark_ended(self.cloud, self.name, status or ("Completed" if succeeded else "Failed"), time.time(), reason)
        shutil.rmtree(self.folder, ignore_errors=True)


def _folder(cloud: Cloud, name: str) -> Path:
    return cloud.home / "jobs" / TUNING_JOB.key / name


def _stop_all(cloud: Cloud, rows: list[Row]) -> None:
    for row in rows:
        try:
            stop(cloud, row.name)
        except (ValidationException, ResourceNotFound):  # it has ended meanwhile, and perhaps been deleted
            continue


def _started(rows: list[Row]) -> int:
    """How many training jobs were started, those too that were deleted since: the highest number in their names."""
    return max((int(row.name.rsplit("-", 2)[1]) for row in rows), default=0)


def _resource_config(definition: Document) -> Document:
    if "ResourceConfig" in definition:
        return dict(definition["ResourceConfig"])
    config = definition["HyperParameterTuningResourceConfig"]
    first = config.get("InstanceConfigs", [config])[0]
    return {
        "InstanceType": first["InstanceType"],
        "InstanceCount": first["InstanceCount"],
        "VolumeSizeInGB": first.get("VolumeSizeInGB", config.get("VolumeSizeInGB", 1)),
    }


def _values(rows: list[Row]) -> list[tuple[Row, float]]:
    found = []
    for row in rows:
        value = final_value(row.document)
        if objective_status(row.document) == "Succeeded" and value is not None:
            found.append((row, value))
    return found


def _better(one: float, other: float, row: Row) -> bool:
    """Whether the first value is strictly better, by the job's objective."""
    return one > other if row.document["_Objective"]["Type"] == "Maximize" else one < other
