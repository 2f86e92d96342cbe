"""How Prefect tries again what a cloud refused for a moment."""

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from tasks.transient import is_transient


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
