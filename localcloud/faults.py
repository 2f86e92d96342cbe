"""Faults on request: what tests and drills ask the cloud to do wrong."""

import logging
import threading
from dataclasses import dataclass

from localcloud.errors import AwsError

_log = logging.getLogger(__name__)


@dataclass
class _Refusal:
    code: str
    message: str
    status: int
    operation: str | None
    left: int


class Faults:
    """The faults that are switched on now. They end with their count, with ``clear``, or with the service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: list[_Refusal] = []
        self._interruptions: list[float] = []

    def throttle(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls, of one operation or of any, with ThrottlingException."""
        self._add(_Refusal("ThrottlingException", "Rate exceeded", 400, operation, calls))

    def fail(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls, of one operation or of any, with HTTP 500."""
        self._add(_Refusal("InternalFailure", "An internal failure, asked for by `faults`", 500, operation, calls))

    def interrupt_spot(self, seconds: float) -> None:
        """Take the spot instance of the next spot job away once it has trained so many seconds."""
        with self._lock:
            self._interruptions.append(seconds)

    def interrupts(self, job: str, trained_seconds: float) -> bool:
        """Whether a spot job is interrupted now; each interruption strikes once."""
        with self._lock:
            for after in self._interruptions:
                if trained_seconds >= after:
                    self._interruptions.remove(after)
                    _log.info("spot interruption of %s after %.1f s", job, trained_seconds)
                    return True
        return False

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._refusals.clear()
            self._interruptions.clear()

    def strike(self, operation: str) -> None:
        """Raise what a call of this operation is to be answered with, if anything, and count it."""
        with self._lock:
            for refusal in self._refusals:
                if refusal.operation in (None, operation):
                    refusal.left -= 1
                    self._refusals = [one for one in self._refusals if one.left > 0]
                    raise AwsError(refusal.code, refusal.message, refusal.status)

    def _add(self, refusal: _Refusal) -> None:
        with self._lock:
            self._refusals.append(refusal)
