"""What a tuning job has reached, read from its training jobs."""

from localcloud.operations import Cloud
from localcloud.resources import TRAINING_JOB, TUNING_JOB
from localcloud.store import Document, Filter, Row

ENDED = ("Completed", "Failed", "Stopped")


def trials(cloud: Cloud, name: str) -> list[Row]:
    """The training jobs of a tuning job, oldest first."""
    return cloud.store.find(TRAINING_JOB.key, Filter(parent=name, descending=False))


def final_value(job: Document) -> float | None:
    """The last value of a training job's objective; None when it has none."""
    wanted = job["_Objective"]["MetricName"]
    for metric in job.get("FinalMetricDataList", []):
        if metric["MetricName"] == wanted:
            return float(metric["Value"])
    return None


def objective_status(job: Document) -> str:
    """Succeeded, Pending or Failed."""
    if job["TrainingJobStatus"] not in ENDED:
        return "Pending"
    usable = job["TrainingJobStatus"] != "Failed" and final_value(job) is not None
    return "Succeeded" if usable else "Failed"


def counters(rows: list[Row]) -> Document:
    """The two counters of a tuning job's description."""
    statuses = [row.document["TrainingJobStatus"] for row in rows]
    objectives = [objective_status(row.document) for row in rows]
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses.count("Completed"),
            "InProgress": statuses.count("InProgress") + statuses.count("Stopping"),
            "RetryableError": 0,
            "NonRetryableError": statuses.count("Failed"),
            "Stopped": statuses.count("Stopped"),
        },
        "ObjectiveStatusCounters": {state: objectives.count(state) for state in ("Succeeded", "Pending", "Failed")},
    }


def describe_trial(row: Row, tuning_job: Document) -> Document:
    """A training job as HyperParameterTrainingJobSummary has it."""
    job = row.document
    summary = {
        "TrainingJobDefinitionName": job["_Definition"],
        "TrainingJobName": row.name,
        "TrainingJobArn": row.arn,
        "TuningJobName": tuning_job["HyperParameterTuningJobName"],
        "CreationTime": row.created,
        "TrainingStartTime": job.get("TrainingStartTime"),
        "TrainingEndTime": job.get("TrainingEndTime"),
        "TrainingJobStatus": job["TrainingJobStatus"],
        "TunedHyperParameters": job["_Tuned"],
        "FailureReason": job.get("FailureReason"),
        "ObjectiveStatus": objective_status(job),
    }
    value = final_value(job)
    if value is not None:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {**job["_Objective"], "Value": value}
    return {key: item for key, item in summary.items() if item is not None}


def best_job(cloud: Cloud, tuning_job: Document, rows: list[Row]) -> Document | None:
    """The summary of the job with the best objective; None while there is none."""
    good = [row for row in rows if objective_status(row.document) == "Succeeded"]
    if not good:
        return None
    choose = max if good[0].document["_Objective"]["Type"] == "Maximize" else min
    return describe_trial(choose(good, key=lambda row: final_value(row.document) or 0.0), tuning_job)


def mark_ended(cloud: Cloud, name: str, status: str, now: float, reason: str | None = None) -> None:
    """Give a tuning job its last state."""

    def change(job: Document) -> None:
        job["HyperParameterTuningJobStatus"] = status
        job["HyperParameterTuningEndTime"] = now
        if reason is not None:
            job["FailureReason"] = reason

    cloud.store.update(TUNING_JOB.key, name, change)
