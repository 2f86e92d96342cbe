"""Runs chunk tasks: on this machine, or on a Dask cluster for those who outgrow one machine."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

from prefect import Task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.data.chunk_processes import chunk_processes
from training.errors import SettingsError

Result = TypeVar("Result")
Runner = TaskRunner[PrefectFuture[Any]]

WORKERS = min(4, os.cpu_count() or 1)
_LOCAL_DASK = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}


@contextlib.contextmanager
def chunk_runner(
    kind: Literal["threads", "dask"], dask_address: str | None = None, *, workspace_lock: int
) -> Iterator[Runner]:
    """Start what runs chunks, for as long as the context lasts.

    Args:
        kind: ``threads`` of this process, each with a process that works for it, or ``dask``.
        dask_address: A Dask scheduler that is up already; by default a cluster on this machine is started.
        workspace_lock: What keeps other runs out of the workspace; see ``Workspace.in_use``.

    Raises:
        SettingsError: ``dask`` is asked for, but prefect-dask isn't installed.
    """
    runner: Any
    if kind == "threads":
        runner = ThreadPoolTaskRunner(max_workers=WORKERS)
    else:
        try:
            from prefect_dask import DaskTaskRunner
        except ModuleNotFoundError as error:
            raise SettingsError(
                "The Dask task runner is an extra: `uv pip install 'prefect-dask'` (or the project's [dask])."
            ) from error
        runner = DaskTaskRunner(address=dask_address) if dask_address else DaskTaskRunner(cluster_kwargs=_LOCAL_DASK)
    # The processes go first: an interrupted run doesn't wait for the chunks that they have under way.
    with runner, chunk_processes(workspace_lock) if kind == "threads" else contextlib.nullcontext():
        yield runner


def run_chunks(runner: Runner, task: Task[Any, Result], chunks: Sequence[dict[str, Any]], label: str) -> list[Result]:
    """Run ``task`` once for each of ``chunks`` (its arguments), and show the progress as an artifact.

    Raises:
        Exception: the first failure of a chunk, after all of them have ended.
    """
    futures = [runner.submit(task, parameters=arguments) for arguments in chunks]
    progress: Any = create_progress_artifact(0.0, description=label) if futures else None
    for done, _ in enumerate(as_completed(futures), 1):
        if isinstance(progress, UUID):
            update_progress_artifact(progress, 100.0 * done / len(futures), description=label)
    return [future.result() for future in futures]
