"""Faults on request: what tests and drills ask the cloud to do wrong."""

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from localcloud.errors import AwsError, ValidationException

_log = logging.getLogger(__name__)


@dataclass
class Refusal:
    """What the next ``left`` calls, of one operation or of any, are answered with."""

    code: str
    message: str
    status: int
    operation: str | None
    left: int


class Faults:
    """The faults that are switched on now. They end with their count, with ``clear``, or with the service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: list[Refusal] = []
        self._interruptions: list[float] = []

    def throttle(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls with ThrottlingException."""
        self._add(Refusal("ThrottlingException", "Rate exceeded", 400, operation, calls))

    def fail(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls with HTTP 500."""
        self._add(Refusal("InternalFailure", "An internal failure, asked for by `faults fail`", 500, operation, calls))

    def conflict(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls as AWS does while something else changes the same thing."""
        message = "A conflict with another change, asked for by `faults conflict`"
        self._add(Refusal("ConflictException", message, 400, operation, calls))

    def hide(self, calls: int, operation: str | None = None) -> None:
        """Answer the next calls as AWS does while what was just made has not got about yet."""
        message = "Could not find what the request names; asked for by `faults unseen`"
        self._add(Refusal("ValidationException", message, 400, operation, calls))

    def interrupt_spot(self, seconds: float) -> None:
        """Take the instance of the next spot job away once it has trained so many seconds."""
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

    def listed(self) -> dict[str, Any]:
        """What is on."""
        with self._lock:
            return {
                "refusals": [asdict(refusal) for refusal in self._refusals],
                "spot_interruptions": list(self._interruptions),
            }

    def strike(self, operation: str) -> None:
        """Raise what a call of this operation is to be answered with, if anything, and count it."""
        with self._lock:
            for refusal in self._refusals:
                if refusal.operation in (None, operation):
                    refusal.left -= 1
                    self._refusals = [one for one in self._refusals if one.left > 0]
                    raise AwsError(refusal.code, refusal.message, refusal.status)

    def _add(self, refusal: Refusal) -> None:
        with self._lock:
            self._refusals.append(refusal)


def perform(faults: Faults, body: bytes) -> dict[str, Any]:
    """Do what the ``faults`` command sent: ``{"do": ..., ...}``; answers with the faults that are on."""
    order = json.loads(body)
    actions: dict[str, Callable[[], object]] = {
        "throttle": lambda: faults.throttle(order["calls"], order.get("operation")),
        "fail": lambda: faults.fail(order["calls"], order.get("operation")),
        "conflict": lambda: faults.conflict(order["calls"], order.get("operation")),
        "unseen": lambda: faults.hide(order["calls"], order.get("operation")),
        "interrupt-spot": lambda: faults.interrupt_spot(order["seconds"]),
        "kill-endpoint": lambda: _kill_endpoint(order["endpoint"]),
        "clear": faults.clear,
        "list": lambda: None,
    }
    if order.get("do") not in actions:
        raise ValidationException(f"there is no fault {order.get('do')!r}")
    actions[order["do"]]()
    return faults.listed()


def _kill_endpoint(name: str) -> None:
    from localcloud.hosting.deployments import live

    if not live.kill_processes(name):
        raise ValidationException(f"no process serves an endpoint {name} now")
