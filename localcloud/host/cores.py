"""Shares the machine's cores among jobs, first come, first served."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class GaveUpError(Exception):
    """The job was stopped while it waited for a core."""


class Cores:
    """A fair, counting semaphore whose waiters can give up."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total or os.cpu_count() or 1
        self._free = self.total
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def hold(self, wanted: int, give_up: Callable[[], bool], *, at_once: bool = False) -> Iterator[None]:
        """Wait for so many cores (at most all) and hold them.

        ``at_once`` does not wait: for a job that was found running. Raises GaveUpError when ``give_up()`` is
        true before it is this job's turn.
        """
        wanted = min(wanted, self.total)
        if at_once:
            with self._changed:
                self._free -= wanted
        else:
            self._acquire(wanted, give_up)
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()

    def _acquire(self, wanted: int, give_up: Callable[[], bool]) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._free < wanted:
                    if give_up():
                        raise GaveUpError
                    self._changed.wait(0.2)
                self._free -= wanted
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
