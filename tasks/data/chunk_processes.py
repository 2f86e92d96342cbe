"""Processes of their own for chunks, and for what is done with a whole list.

The work of chunks holds Python's lock, so threads of one process hinder each other. What is done with a whole list
takes memory that grows with the list and that a process rarely gives back; a worker that has grown is replaced.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from training.errors import WorkerError

Options = ParamSpec("Options")
Result = TypeVar("Result")

_ROOT = Path(__file__).resolve().parents[2]
_LEAN = {"MALLOC_ARENA_MAX": "2"}
"""Otherwise glibc keeps a heap for almost every thread of obstore's."""

_GROWN = 192 * 2**20
"""A worker that holds more bytes than this after a piece of work has done its last. One that has loaded what fetching
photos takes, and done nothing yet, holds 113 MiB."""


class Part(Protocol):
    """One of ``of`` parts of a stage's work."""

    @property
    def of(self) -> int: ...  # noqa: D102


PartOfWork = TypeVar("PartOfWork", bound=Part)


class ChunkProcesses:
    """Worker processes, started when they are needed. They end with the context, or with this process.

    Args:
        workspace_lock: The file that keeps other runs out of the workspace. Workers hold it too, so that after a
            ``kill -9`` of this process no run begins before the last of them is gone.
    """

    def __init__(self, workspace_lock: int) -> None:
        self._lock = workspace_lock
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._starting = threading.Lock()
        self._closed = False

    def __enter__(self) -> "ChunkProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        with self._starting:
            self._closed = True
        for worker in self._all:
            worker.kill()  # nobody waits for an answer any more, or the run was interrupted
        for worker in self._all:
            with contextlib.suppress(BrokenPipeError):  # a call that it died with is in the pipe still
                worker.__exit__(None, None, None)  # closes the pipes, and waits

    def call(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Call ``function`` in a worker of its own and return what it returns.

        Raises:
            WorkerError: the worker died, of a lack of memory for instance.
            Exception: what ``function`` raised.
        """
        worker = self._take()
        try:
            assert worker.stdin is not None  # noqa: S101 - both are pipes
            assert worker.stdout is not None  # noqa: S101
            worker.stdin.write(pickle.dumps((function, arguments, options)))
            worker.stdin.flush()
            done, answer, held = pickle.load(worker.stdout)  # noqa: S301 - from our own process
        except (EOFError, OSError) as error:
            raise WorkerError(
                f"A process that worked on {function.__module__}.{function.__name__} died (exit code {worker.wait()}). "
                "Exit code -9 is what a machine without enough memory gives. The same command goes on where it stopped."
            ) from error
        if held > _GROWN:
            self._dismiss(worker)
        else:
            self._idle.put(worker)
        if not done:
            raise answer
        result: Result = answer
        return result

    def keep_one(self) -> None:
        """Let all workers but one end that have nothing to do."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for worker in idle[1:]:
            self._dismiss(worker)
        for worker in idle[:1]:
            self._idle.put(worker)

    def _dismiss(self, worker: subprocess.Popen[bytes]) -> None:
        with self._starting:
            self._all.remove(worker)
        worker.__exit__(None, None, None)  # its input ends, and so does it

    def _take(self) -> subprocess.Popen[bytes]:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        command = [sys.executable, "-m", "tasks.data.chunk_worker"]
        with self._starting:
            if self._closed:
                raise RuntimeError("The run is over: no chunk is begun any more.")
            worker = subprocess.Popen(
                command,
                cwd=_ROOT,
                env=os.environ | _LEAN,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(self._lock,),
            )
            self._all.append(worker)
        return worker


_current: ContextVar[ChunkProcesses | None] = ContextVar("chunk processes", default=None)


@contextlib.contextmanager
def chunk_processes(workspace_lock: int) -> Iterator[ChunkProcesses]:
    """Let `apart` use processes for as long as the context lasts."""
    with ChunkProcesses(workspace_lock) as processes:
        token = _current.set(processes)
        try:
            yield processes
        finally:
            _current.reset(token)


def apart(
    function: Callable[Concatenate[PartOfWork, Options], Result],
    part: PartOfWork,
    *arguments: Options.args,
    **options: Options.kwargs,
) -> Result:
    """Do one part of a stage's work in a process of its own; right here if it is the only one, or on a Dask worker."""
    if part.of == 1:
        return function(part, *arguments, **options)
    return aside(function, part, *arguments, **options)


def aside(function: Callable[Options, Result], *arguments: Options.args, **options: Options.kwargs) -> Result:
    """Do something in a process of its own, so that this one keeps its size; right here on a Dask worker."""
    processes = _current.get()
    if processes is None:
        return function(*arguments, **options)
    return processes.call(function, *arguments, **options)


def make_room() -> None:
    """Before something that takes much memory, and is done while nothing else is: idle workers end, but for one."""
    if processes := _current.get():
        processes.keep_one()
