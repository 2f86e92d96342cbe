"""Rules on a training while it runs, and its end when one of them fires."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ClientError
from prefect import get_run_logger

from tasks.debugger.evaluate import Verdict, judge
from tasks.debugger.records import Sources, fetch_tensors

PAUSE_SECONDS = 20.0
SHARE_OF_TIME = 0.05
"""So much of the time that passes goes into looking: a look reads all that was recorded so far."""


class Watch:
    """Looks at what a running job has recorded so far, and stops the job when a rule fires.

    Attributes:
        fired: the verdict that ended the job; None while there is none.
    """

    def __init__(self, job: Any, rules: Mapping[str, Mapping[str, Any]]) -> None:
        """``job`` is a TrainingJob of the SageMaker SDK; ``rules`` are parameters by name of rule."""
        self._job, self._rules = job, rules
        self._copy = tempfile.TemporaryDirectory()
        self._due = time.monotonic()
        self.fired: Verdict | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._copy.cleanup()

    def look(self) -> None:
        """Judge what there is, unless that was done a moment ago, or has ended the job."""
        started = time.monotonic()
        if not self._rules or self.fired or started < self._due:
            return
        trial = fetch_tensors(Sources.of(self._job), Path(self._copy.name)).trial()
        if trial is None:
            return
        self.fired = next((verdict for verdict in judge(trial, None, self._rules) if verdict.fired), None)
        if self.fired:
            get_run_logger().warning("%s; the training is stopped", self.reason)
            self._stop()
        took = time.monotonic() - started
        self._due = started + took + max(PAUSE_SECONDS, took / SHARE_OF_TIME)

    def _stop(self) -> None:
        try:
            self._job.stop()
        except ClientError:
            self._job.refresh()
            if self._job.training_job_status == "InProgress":  # otherwise it ended by itself meanwhile
                raise

    @property
    def reason(self) -> str:
        """Which rule fired, where, and what to do about it; empty when none did."""
        if self.fired is None:
            return ""
        return f"the rule {self.fired.rule} fired ({self.fired.findings[0]}). {self.fired.advice}".rstrip(". ")
