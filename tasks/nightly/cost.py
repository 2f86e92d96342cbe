"""What a night's transform jobs are billed for."""

import datetime as dt

import boto3

from tasks import sdk
from tasks.jobs import ENDED
from tasks.prices import Cost


def cost_of_jobs(run_id: str) -> Cost | None:
    """Billable seconds of the transform jobs of a run, also of those that an earlier start of it paid for.

    SageMaker bills an instance from a job's start to its end.

    Returns:
        None where no job has ended, as when an endpoint counted.
    """
    pages = boto3.client("sagemaker").get_paginator("list_transform_jobs").paginate(NameContains=f"b{run_id}-")
    found = [each for page in pages for each in page["TransformJobSummaries"]]
    jobs = [sdk.TransformJob.get(each["TransformJobName"]) for each in found if each["TransformJobStatus"] in ENDED]
    if not jobs:
        return None
    return Cost(
        instance=str(jobs[0].transform_resources.instance_type), billable_seconds=round(sum(map(_seconds, jobs)))
    )


def _seconds(job: "sdk.TransformJob") -> float:
    began, ended = job.transform_start_time, job.transform_end_time
    if not isinstance(began, dt.datetime) or not isinstance(ended, dt.datetime):  # it never got its instances
        return 0.0
    return (ended - began).total_seconds() * int(job.transform_resources.instance_count)
