"""What all SageMaker jobs have in common: names that re-attach, waiting, logs, and failing with the reason."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import boto3
from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from tasks import sdk
from tasks.polling import pauses
from tasks.progress import EPOCH
from tasks.run_record import digest_of
from tasks.settings import Settings
from training.errors import JobError

PYTORCH, PYTHON = "2.6.0", "py312"
ENDED = ("Completed", "Failed", "Stopped")
ATTEMPTS = 9
LOG_LINES = 20
RUN_TAG = "binventory-run"
GRACE_SECONDS = 600
"""So much longer than its time limit is a job waited for: an instance has to be found, and results to be stored."""

PULSE_SECONDS = 60.0
"""How long a job's log may say nothing until the flow's log says that the job goes on."""

SILENT_LOOKS, LEAST_OF_AN_ERROR = 2, 10
"""A failed job's log is whole after so many looks that bring nothing; a line that is shorter is not its error."""

Job = TypeVar("Job")
Logger = logging.Logger | logging.LoggerAdapter[Any]


def job_name(run_id: str, stage: str, inputs: Any) -> str:
    """A name that says run, stage and inputs; 32 characters at most, as tuning jobs need.

    The same stage of the same run with the same inputs always gets the same name. That is what makes a
    retried task or a resumed run find its job instead of paying for a second one.
    """
    return f"b{run_id}-{stage}-{digest_of(inputs)}"


def tags(run_id: str) -> list[dict[str, str]]:
    """Tags of everything that a run creates.

    Plain dictionaries, because the SDK has two classes named Tag and its resources disagree on which to take.
    """
    return [{"key": "project", "value": "binventory"}, {"key": RUN_TAG, "value": run_id}]


def api_tags(run_id: str) -> list[Any]:
    """`tags` as boto3 takes them."""
    return [{"Key": tag["key"], "Value": tag["value"]} for tag in tags(run_id)]


def image_uri(settings: Settings, scope: str, instance: str) -> str:
    """AWS's PyTorch container for training or inference on an instance type."""
    uri: str = sdk.image_uris.retrieve(
        "pytorch",
        settings.region,
        version=PYTORCH,
        py_version=PYTHON,
        instance_type=instance,
        image_scope=scope,
    )
    return uri


def has_gpu(instance: str) -> bool:
    """Whether an instance type is of a family with NVIDIA's GPUs."""
    return re.match(r"ml\.(g|gr|p)\d", instance) is not None


def is_missing(error: ClientError) -> bool:
    """Whether AWS says that the resource does not exist; the services say it in several ways."""
    detail = error.response.get("Error", {})
    message = detail.get("Message", "").lower()
    return detail.get("Code") == "ResourceNotFound" or any(
        words in message for words in ("could not find", "not found", "does not exist")
    )


def is_denied(error: ClientError) -> bool:
    """Whether AWS refuses a request because the policy of whoever asks does not allow it."""
    return error.response.get("Error", {}).get("Code") in ("AccessDenied", "AccessDeniedException")


def already_exists(error: ClientError) -> bool:
    """Whether AWS refuses a create because the name is taken."""
    detail = error.response.get("Error", {})
    message = detail.get("Message", "").lower()
    return detail.get("Code") == "ResourceInUse" or "already exist" in message


def is_unseen(error: BaseException) -> bool:
    """Whether what a request names is not there, or not seen yet: its part of AWS may learn of it seconds later."""
    if not isinstance(error, ClientError):
        return False
    return is_missing(error) or "assume role" in error.response.get("Error", {}).get("Message", "").lower()


def once_seen(call: Callable[[], Job]) -> Job:
    """Do a call that names what was just made, again and again for 15 seconds while AWS does not see that."""
    return _WHILE_UNSEEN(call)


_WHILE_UNSEEN = Retrying(
    retry=retry_if_exception(is_unseen),
    stop=stop_after_attempt(6),
    wait=wait_exponential(multiplier=0.5),
    reraise=True,
)


def find_or_create(get: Callable[[], Job], create: Callable[[], Job]) -> Job:
    """Get a resource, or create it; survives another process creating it in between, and what it needs being unseen."""
    try:
        return get()
    except ClientError as error:
        if not is_missing(error):
            raise
    try:
        return once_seen(create)
    except ClientError as error:
        if not already_exists(error):
            raise
        return once_seen(get)


def attempts(name: str) -> list[str]:
    """Names of a job and of the successors that it gets when it fails, in order."""
    return [name, *(f"{name}-{number}" for number in range(2, ATTEMPTS + 1))]


def attempts_before(name: str, last: str) -> list[str]:
    """Names of the attempts before the last one: they failed or were stopped, and are billed for too."""
    names = attempts(name)
    return names[: names.index(last)]


def attach(
    name: str,
    get: Callable[[str], Job],
    create: Callable[[str], Job],
    status: Callable[[Job], str],
    before_another: Callable[[Job], None] | None = None,
) -> Job:
    """Find the job of this name, running or completed, or start it; a failed one gets a numbered successor.

    Args:
        name: of the first such job.
        get: finds a job by name.
        create: starts one.
        status: reads a job's status.
        before_another: is shown a failed job before it gets a successor; what it raises keeps that from being made.

    Raises:
        JobError: it failed nine times.
    """
    for candidate in attempts(name):
        job = find_or_create(partial(get, candidate), partial(create, candidate))
        if status(job) not in ("Failed", "Stopped"):
            return job
        if before_another:
            before_another(job)
    raise JobError(
        f"{name} failed {ATTEMPTS} times, the last time as {candidate}, whose FailureReason says why. When that is "
        "mended, begin a new run: its jobs have names of their own."
    )


class LogTail:
    """Reads a job's log from CloudWatch as it grows."""

    def __init__(self, kind: str, job: str, *, of_trials: bool = False) -> None:
        """``kind`` ends the log group's name: TrainingJobs or TransformJobs; a tuning job has its trials' logs only."""
        self._group, self._prefix = f"/aws/sagemaker/{kind}", f"{job}{'-' if of_trials else '/'}"
        self._client = boto3.client("logs")
        self._tokens: dict[str, str] = {}

    def new_lines(self) -> list[str]:
        """Lines written since the last call; none while the job has no log yet."""
        pages = self._client.get_paginator("describe_log_streams")
        try:
            found = pages.paginate(logGroupName=self._group, logStreamNamePrefix=self._prefix)
            streams = [stream for page in found for stream in page["logStreams"]]
        except ClientError as error:
            if is_missing(error):
                return []
            raise
        return [line for stream in streams for line in self._read(stream["logStreamName"])]

    def _read(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            position: dict[str, Any] = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            page = self._client.get_log_events(
                logGroupName=self._group, logStreamName=stream, startFromHead=True, **position
            )
            lines += [event["message"] for event in page["events"]]
            if page["nextForwardToken"] == self._tokens.get(stream):
                return lines
            self._tokens[stream] = page["nextForwardToken"]


class _Pulse:
    """Says once a minute that a job goes on whose log says nothing; of a tuning job, which epoch a trial is at."""

    def __init__(self, name: str, logger: Logger, log: LogTail | None) -> None:
        self._name, self._logger = name, logger
        self._trials = None if log else LogTail("TrainingJobs", name, of_trials=True)
        self._began = self._last = time.monotonic()

    def beat(self, status: str, lines: list[str]) -> None:
        """Take a look's new lines; speak if there have been none for long."""
        now = time.monotonic()
        if not lines and now - self._last < PULSE_SECONDS:
            return
        self._last = now
        if not lines:
            epochs = [line for line in self._trials.new_lines() if EPOCH.search(line)] if self._trials else []
            newest = f"; a trial's newest epoch: {epochs[-1]}" if epochs else ""
            self._logger.info("%s is %s, watched for %d min%s", self._name, status, (now - self._began) // 60, newest)


def follow(
    job: Any,
    status: Callable[[Any], str],
    settings: Settings,
    logger: Logger,
    log: LogTail | None = None,
    watch: Callable[[list[str]], None] | None = None,
    minutes: int | None = None,
) -> None:
    """Wait for a job to end, passing its log on, line by line; where that is silent, say that the job goes on.

    Args:
        job: a resource of the SageMaker SDK with ``refresh`` and ``failure_reason``.
        status: reads the job's status.
        settings: how often to ask.
        logger: where the job's log lines go.
        log: the job's log; a tuning job has none.
        watch: is called at every look at the job, with the lines that are new in its log.
        minutes: how long the job may take; as long as any job may run, unless given.

    Raises:
        JobError: it failed or was stopped, with the reason and the end of its log; or it outlived its time.
    """
    minutes = minutes or settings.job_timeout_minutes
    deadline = time.monotonic() + minutes * 60 + GRACE_SECONDS
    seen: list[str] = []
    pulse, pause = _Pulse(job.get_name(), logger, log), pauses(settings.poll_seconds)
    while True:
        once_seen(job.refresh)
        ended = status(job) in ENDED  # read before the log, which may grow in between
        lines = log.new_lines() if log else []
        for line in lines:
            logger.info("%s", line)
        seen = [*seen, *lines][-LOG_LINES:]
        if watch:
            watch(lines)
        if ended:
            break
        pulse.beat(status(job), lines)
        if time.monotonic() > deadline:
            raise JobError(f"{job.get_name()} has not ended after {minutes} minutes")
        time.sleep(next(pause))
    if status(job) != "Completed":
        reason = job.failure_reason or "no reason given"
        if log and status(job) == "Failed":
            for line in _late_lines(log, seen, reason, settings.poll_seconds):
                logger.info("%s", line)
                seen = [*seen, line][-LOG_LINES:]
        tail = "\n".join(("", "The end of its log:", *seen)) if seen else ""
        raise JobError(f"{job.get_name()} ended as {status(job)}: {reason}{tail}")


def _late_lines(log: LogTail, seen: list[str], reason: str, pause: float) -> Iterator[str]:
    """Lines that come after a job has failed, until one of them all is its error: CloudWatch gets lines late."""
    silent = 0
    while silent < SILENT_LOOKS and not any(len(line) >= LEAST_OF_AN_ERROR and line in reason for line in seen):
        time.sleep(pause)
        new = log.new_lines()
        silent = 0 if new else silent + 1
        seen = [*seen, *new]
        yield from new
