"""Background work of the service: threads that are waited for when it stops."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Workers:
    """Threads by name. ``stopping`` is set when the service is about to end."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def start(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        """Run a function in a thread, after a worker of the same name that has not ended yet.

        A job's last act is to clear up after it has ended, when its name can be used for another.
        """
        with self._lock:
            before = self._threads.get(name)
            thread = threading.Thread(target=self._run, args=(before, name, work, arguments), name=name, daemon=True)
            self._threads[name] = thread
            thread.start()

    def running(self, name: str) -> bool:
        """Whether a worker of this name works, or waits for another."""
        with self._lock:
            return name in self._threads

    def insist(self, change: Callable[[], None]) -> bool:
        """Make a change to the store that must not be lost, such as a job's end, as often as it takes.

        The disk may be full for a while. Returns False when the service stops first.
        """
        while True:
            try:
                change()
            except sqlite3.OperationalError:
                _log.exception("a change cannot be stored; it is tried again every %s s", RETRY_SECONDS)
                if self.stopping.wait(RETRY_SECONDS):
                    return False
            else:
                return True

    def stop(self, patience: float = 10.0) -> None:
        """Ask all to end, and wait for them, together for so many seconds."""
        self.stopping.set()
        deadline = time.monotonic() + patience
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.error("worker %s did not end within %s s; left behind", thread.name, patience)

    def _run(
        self, before: threading.Thread | None, name: str, work: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        if before is not None:
            before.join()
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001 - logged; the service goes on
            _log.exception("worker %s failed", name)
        finally:
            with self._lock:
                if self._threads.get(name) is threading.current_thread():
                    del self._threads[name]
