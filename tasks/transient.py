"""Which failures are worth another try."""

from typing import Any

import httpx
from botocore.exceptions import ClientError
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from tasks.object_store import BROKEN_CONNECTION

THROTTLED = {
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
    "ServiceUnavailable",
    "InternalFailure",
    "InternalServerError",
}
CONNECTION = (*BROKEN_CONNECTION, httpx.TransportError, ConnectionError)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later: throttling, a server error, a broken connection."""
    if isinstance(error, ClientError):
        response = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return response.get("Error", {}).get("Code") in THROTTLED or status >= 500
    return isinstance(error, CONNECTION)


def _retry_if_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, BaseException) and is_transient(state.data)


RETRIES: dict[str, Any] = {
    "cache_policy": NO_CACHE,  # what was done already is found in the cloud and on disk, not by hashing inputs
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _retry_if_transient,
}
"""Options of every task that talks to a cloud: transient failures only, with backoff and jitter."""
