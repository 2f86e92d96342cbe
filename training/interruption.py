"""SIGTERM: spot capacity is taken back, or somebody stops the job. The step is finished and kept."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 143
"""Exit code of a process that SIGTERM ended, as shells count."""


class Interruption:
    """Whether the job was told to end.

    Attributes:
        requested: set by SIGTERM, and never cleared.
    """

    def __init__(self) -> None:
        self.requested = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True

    @contextlib.contextmanager
    def heeded(self) -> Iterator["Interruption"]:
        """Take SIGTERM for a request while the block runs; outside the main thread nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)
