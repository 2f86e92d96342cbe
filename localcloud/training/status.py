"""The states of a training job: secondary status transitions with their times, and how it ends."""

import time
from typing import Any

from localcloud.operations import Cloud
from localcloud.resources import TRAINING_JOB
from localcloud.store import Document, NoSuchResourceError

MAX_REASON = 1024


def move_to(cloud: Cloud, name: str, secondary: str, message: str, **members: Any) -> Document:
    """Put a job into a secondary status, and set further members of its document; returns it."""

    def change(job: Document) -> None:
        enter(job, secondary, message)
        job.update(members)

    return cloud.store.update(TRAINING_JOB.key, name, change)


def enter(job: Document, secondary: str, message: str) -> None:
    """End the current transition and begin another, unless the job is in that status already."""
    if job["SecondaryStatus"] == secondary:
        return
    now = time.time()
    job["SecondaryStatusTransitions"][-1]["EndTime"] = now
    job["SecondaryStatusTransitions"].append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    job["SecondaryStatus"] = secondary


_MESSAGES = {
    "Completed": "Training job completed",
    "Stopped": "Training job stopped",
    "Failed": "Training job failed",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


def finish(cloud: Cloud, name: str, status: str, *, secondary: str | None = None, reason: str | None = None) -> None:
    """Give a job its last state; a job that is gone or has ended is left alone."""

    def change(job: Document) -> None:
        if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return
        ending = secondary or status
        enter(job, ending, _MESSAGES[ending] if reason is None else reason[:MAX_REASON])
        now = time.time()
        job["SecondaryStatusTransitions"][-1]["EndTime"] = now
        job["TrainingJobStatus"] = status
        job["TrainingEndTime"] = now
        if reason is not None:
            job["FailureReason"] = reason[:MAX_REASON]
        if "TrainingStartTime" in job:
            seconds = max(1, round(now - job["TrainingStartTime"]))
            job["TrainingTimeInSeconds"] = seconds
            job["BillableTimeInSeconds"] = seconds
        if job.get("DebugRuleConfigurations"):
            job["DebugRuleEvaluationStatuses"] = [_not_evaluated(rule, now) for rule in job["DebugRuleConfigurations"]]

    try:
        cloud.store.update(TRAINING_JOB.key, name, change)
    except NoSuchResourceError:
        return


def _not_evaluated(rule: Document, now: float) -> Document:
    # AWS would run its own container for each rule; to say that no issues were found would be a lie.
    return {
        "RuleConfigurationName": rule["RuleConfigurationName"],
        "RuleEvaluationStatus": "Error",
        "StatusDetails": "localcloud does not evaluate managed rules; the tensors are in S3",
        "LastModifiedTime": now,
    }
