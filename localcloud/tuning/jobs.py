"""Hyperparameter tuning jobs: create, describe, list, stop, delete, and the list of their training jobs."""

from localcloud import metrics, resources
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.operations import Cloud, on_start, operation
from localcloud.resources import TRAINING_JOB, TUNING_JOB
from localcloud.store import Document, Filter, Row
from localcloud.training.jobs import check_training_request, clear_folders
from localcloud.tuning.ranges import ChoiceRange, Range
from localcloud.tuning.results import best_job, counters, describe_trial, trials
from localcloud.tuning.run import definitions_of, run_tuning_job
from localcloud.tuning.search import grid_size, objective_of, ranges_of

LIVE = ("InProgress", "Stopping")
_OBJECTIVE = "FinalHyperParameterTuningJobObjectiveMetric"


@operation("sagemaker", "CreateHyperParameterTuningJob")
def create_tuning_job(cloud: Cloud, request: Document) -> Document:
    """Accept a tuning job and start it in the background."""
    _check(cloud, request)
    arn = resources.create(cloud, TUNING_JOB, request, HyperParameterTuningJobStatus="InProgress")
    name = request["HyperParameterTuningJobName"]
    cloud.workers.start(f"{TUNING_JOB.key} {name}", run_tuning_job, cloud, name)
    return {"HyperParameterTuningJobArn": arn}


@operation("sagemaker", "DescribeHyperParameterTuningJob")
def describe_tuning_job(cloud: Cloud, request: Document) -> Document:
    """One tuning job, with the counts and the best of its training jobs."""
    name = request["HyperParameterTuningJobName"]
    job = resources.describe(cloud, TUNING_JOB, name)
    rows = trials(cloud, name)
    best = best_job(cloud, job, rows)
    answer = {**job, **counters(rows)}
    if best is not None:
        answer["BestTrainingJob"] = best
        answer["OverallBestTrainingJob"] = _overall_best(cloud, job, best)
    return answer


@operation("sagemaker", "ListHyperParameterTuningJobs")
def list_tuning_jobs(cloud: Cloud, request: Document) -> Document:
    """Tuning jobs, newest first."""

    def summary(row: Row) -> Document:
        job = row.document
        return {
            "HyperParameterTuningJobName": row.name,
            "HyperParameterTuningJobArn": row.arn,
            "HyperParameterTuningJobStatus": job["HyperParameterTuningJobStatus"],
            "Strategy": job["HyperParameterTuningJobConfig"]["Strategy"],
            "CreationTime": row.created,
            "HyperParameterTuningEndTime": job.get("HyperParameterTuningEndTime"),
            "LastModifiedTime": row.modified,
            "ResourceLimits": job["HyperParameterTuningJobConfig"]["ResourceLimits"],
            **counters(trials(cloud, row.name)),
        }

    return resources.listing(cloud, TUNING_JOB, request, "HyperParameterTuningJobSummaries", summary)


@operation("sagemaker", "ListTrainingJobsForHyperParameterTuningJob")
def list_training_jobs_of_tuning_job(cloud: Cloud, request: Document) -> Document:
    """The training jobs of a tuning job, newest first, or by their objective value."""
    name = request["HyperParameterTuningJobName"]
    job = resources.describe(cloud, TUNING_JOB, name)
    if request.get("SortBy") == "FinalObjectiveMetricValue":
        return _by_objective(cloud, job, request)
    part = resources.page(cloud, TRAINING_JOB, request, parent=name)
    summaries = [describe_trial(row, job) for row in part.rows]
    return {"TrainingJobSummaries": summaries, "NextToken": part.next_token}


@operation("sagemaker", "StopHyperParameterTuningJob")
def stop_tuning_job(cloud: Cloud, request: Document) -> Document:
    """Ask a tuning job to end, and its running training jobs with it."""

    def change(job: Document) -> None:
        status = job["HyperParameterTuningJobStatus"]
        if status not in LIVE:
            raise ValidationException(f"The tuning job is in status {status} and cannot be stopped.")
        job["HyperParameterTuningJobStatus"] = "Stopping"

    resources.update(cloud, TUNING_JOB, request["HyperParameterTuningJobName"], change)
    return {}


@operation("sagemaker", "DeleteHyperParameterTuningJob")
def delete_tuning_job(cloud: Cloud, request: Document) -> Document:
    """Forget a tuning job that has ended; its training jobs stay."""
    name = request["HyperParameterTuningJobName"]
    with cloud.store.transaction():
        job = cloud.store.get(TUNING_JOB.key, name)
        if job is not None and job["HyperParameterTuningJobStatus"] in LIVE:
            raise ResourceInUse(f"The tuning job {name} has not ended; stop it first.")
        cloud.store.delete(TUNING_JOB.key, name)
        cloud.store.detach(TRAINING_JOB.key, name)
    return {}


@on_start
def resume_tuning_jobs(cloud: Cloud) -> None:
    """Go on with the tuning jobs that ran when the service ended."""
    live = [row for status in LIVE for row in cloud.store.find(TUNING_JOB.key, Filter(status=status, descending=False))]
    clear_folders(cloud, TUNING_JOB.key, {row.name for row in live})
    for row in live:
        cloud.workers.start(f"{TUNING_JOB.key} {row.name}", run_tuning_job, cloud, row.name)


def _by_objective(cloud: Cloud, job: Document, request: Document) -> Document:
    """The training jobs that have a value of the objective, by it; those without are not listed."""
    status = request.get("StatusEquals")
    found = [describe_trial(row, job) for row in trials(cloud, job["HyperParameterTuningJobName"])]
    found = [trial for trial in found if _OBJECTIVE in trial and status in (None, trial["TrainingJobStatus"])]
    descending = request.get("SortOrder", "Descending") == "Descending"
    found.sort(key=lambda trial: float(trial[_OBJECTIVE]["Value"]), reverse=descending)
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise ValidationException("The token included in the request is invalid.")
    end = int(token) + int(request.get("MaxResults", resources.DEFAULT_PAGE))
    next_token = str(end) if end < len(found) else None
    return {"TrainingJobSummaries": found[int(token) : end], "NextToken": next_token}


def _overall_best(cloud: Cloud, job: Document, best: Document) -> Document:
    """The best of this job and of the jobs it was warm-started from, where their objective is the same."""
    objective = best[_OBJECTIVE]
    candidates = [best]
    for parent in job.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
        name = parent["HyperParameterTuningJobName"]
        document = cloud.store.get(TUNING_JOB.key, name)
        found = best_job(cloud, document, trials(cloud, name)) if document is not None else None
        if found and found[_OBJECTIVE]["MetricName"] == objective["MetricName"]:
            candidates.append({**found, "TuningJobName": name})
    choose = max if objective["Type"] == "Maximize" else min
    return choose(candidates, key=lambda one: one[_OBJECTIVE]["Value"])


def _check(cloud: Cloud, request: Document) -> None:
    """What AWS checks beyond the shapes. Raises ValidationException."""
    config = request["HyperParameterTuningJobConfig"]
    if ("TrainingJobDefinition" in request) == ("TrainingJobDefinitions" in request):
        raise ValidationException("Specify either TrainingJobDefinition or TrainingJobDefinitions, and not both.")
    for definition in definitions_of(request):
        _check_definition(cloud, config, definition)
    limits = config["ResourceLimits"]
    if "MaxNumberOfTrainingJobs" not in limits and config["Strategy"] != "Grid":
        raise ValidationException(f"The strategy {config['Strategy']} needs MaxNumberOfTrainingJobs.")
    if limits["MaxParallelTrainingJobs"] > limits.get("MaxNumberOfTrainingJobs", float("inf")):
        raise ValidationException("MaxParallelTrainingJobs must not be above MaxNumberOfTrainingJobs.")
    if config["Strategy"] == "Hyperband" and config.get("TrainingJobEarlyStoppingType") == "Auto":
        raise ValidationException("Hyperband stops jobs early itself; TrainingJobEarlyStoppingType must be Off.")
    for parent in request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
        _check_parent(cloud, request, parent["HyperParameterTuningJobName"])


def _check_parent(cloud: Cloud, request: Document, name: str) -> None:
    """A search goes on from another only where both have one objective and as many hyperparameters."""
    parent = cloud.store.get(TUNING_JOB.key, name)
    if parent is None or parent["HyperParameterTuningJobStatus"] in LIVE:
        raise ValidationException(f"The parent tuning job {name} does not exist or has not ended.")
    for what, of in (("objective metric", _metrics), ("number of static and tunable hyperparameters", _counts)):
        if (wanted := of(request)) != (found := of(parent)):
            raise ValidationException(
                f"The {what} must be that of the parent tuning job {name}, {found}, but is {wanted}."
            )


def _metrics(job: Document) -> str:
    config = job["HyperParameterTuningJobConfig"]
    return ", ".join(sorted({objective_of(config, each)["MetricName"] for each in definitions_of(job)}))


def _counts(job: Document) -> str:
    config = job["HyperParameterTuningJobConfig"]
    found = {len(each.get("StaticHyperParameters", {})) + len(ranges_of(config, each)) for each in definitions_of(job)}
    return ", ".join(map(str, sorted(found)))


def _check_definition(cloud: Cloud, config: Document, definition: Document) -> None:
    objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective")
    if objective is None:
        raise ValidationException("A tuning job needs a HyperParameterTuningJobObjective.")
    defined = definition["AlgorithmSpecification"].get("MetricDefinitions", [])
    metrics.check(defined)
    if objective["MetricName"] not in [item["Name"] for item in defined]:
        raise ValidationException(
            f"The objective metric {objective['MetricName']} is not among the MetricDefinitions of the algorithm."
        )
    ranges = ranges_of(config, definition)
    if not ranges:
        raise ValidationException("A tuning job needs at least one hyperparameter range.")
    repeated = {item.name for item in ranges} & set(definition.get("StaticHyperParameters", {}))
    if repeated:
        raise ValidationException(f"Static and tuned hyperparameters have the same name: {sorted(repeated)}.")
    if config["Strategy"] == "Grid":
        _check_grid(config, ranges)
    check_training_request(
        cloud,
        {
            "ResourceConfig": _resources_of(definition),
            **{key: value for key, value in definition.items() if key != "ResourceConfig"},
        },
    )


def _resources_of(definition: Document) -> Document:
    config = definition.get("ResourceConfig") or definition.get("HyperParameterTuningResourceConfig", {})
    return dict(config.get("InstanceConfigs", [config])[0])


def _check_grid(config: Document, ranges: list[Range]) -> None:
    if not all(isinstance(item, ChoiceRange) for item in ranges):
        raise ValidationException("The strategy Grid takes categorical ranges only.")
    wanted = config["ResourceLimits"].get("MaxNumberOfTrainingJobs")
    size = grid_size([item for item in ranges if isinstance(item, ChoiceRange)])
    if wanted not in (None, size):
        raise ValidationException(
            f"The grid has {size} combinations; MaxNumberOfTrainingJobs must be {size} or absent, not {wanted}."
        )
