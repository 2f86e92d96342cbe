"""Rules on a training while it runs, and its end when one of them fires."""

import gc
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ClientError
from obstore.exceptions import BaseError
from prefect import get_run_logger

from tasks.debugger.evaluate import ERROR, Verdict, judge
from tasks.debugger.records import Sources, fetch_tensors
from training.errors import DebuggerError, JobError

PAUSE_SECONDS = 5.0
OUT_OF_TIME = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")
SHARE_OF_TIME = 0.05
"""So much of the time that passes goes into looking: a look reads all that was recorded so far."""


class Watch:
    """Looks at what a running job has recorded so far, and stops the job when a rule fires."""

    def __init__(self, rules: Mapping[str, Mapping[str, Any]]) -> None:
        """``rules`` are parameters by name of rule; without any, nothing is watched."""
        self._rules = dict(rules)
        self._copy = tempfile.TemporaryDirectory()
        self._due = time.monotonic()
        self._told: set[str] = set()
        self._stopped: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._copy.cleanup()

    def look(self, job: Any) -> None:
        """Judge what a job in progress has recorded, unless that was done a moment ago; stop it if a rule fires.

        What goes wrong in looking is a warning: the training matters more.
        """
        started = time.monotonic()
        if not self._rules or started < self._due or job.training_job_status != "InProgress":
            return
        if fired := self._fired(job, running=True):
            self._stop(job, fired)
        took = time.monotonic() - started
        self._due = started + took + max(PAUSE_SECONDS, took / SHARE_OF_TIME)

    def explain(self, job: Any) -> None:
        """Say which rule fires on a job that was stopped, unless SageMaker stopped it for its time was up.

        SageMaker does not say who stopped a job: that a rule did is known only of what was stopped here.

        Raises:
            JobError: it was stopped, and a rule fires on what it recorded. Training on would not change that.
        """
        if not self._rules or job.training_job_status != "Stopped" or job.secondary_status in OUT_OF_TIME:
            return
        if fired := self._fired(job, running=True):  # what it was at when it was stopped is cut short
            name = job.training_job_name
            who = "was stopped:" if name == self._stopped else "was stopped, SageMaker does not say by whom, and"
            raise JobError(
                f"{name} {who} {_in_words(fired)}. Begin a new run with other settings; `python -m "
                "flows.full_pipeline --from train` keeps the tuning, and the learning rate that it found. The report "
                f"of this one: python -m flows.debug_report --job-name {name}",
                name,
            )

    def _fired(self, job: Any, *, running: bool) -> Verdict | None:
        log = get_run_logger()
        try:
            trial = fetch_tensors(Sources.of(job), Path(self._copy.name)).trial()
            verdicts = judge(trial, None, self._rules, running=running)
        except (BaseError, OSError) as error:
            log.warning("what the job recorded cannot be read now: %s", error)
            return None
        except DebuggerError as error:
            log.warning("the training is watched no longer: %s", error)
            self._rules = {}
            return None
        finally:
            gc.collect()  # a trial and what it has read refer to each other
        for verdict in verdicts:
            if verdict.status == ERROR and verdict.rule not in self._told:
                self._told.add(verdict.rule)
                log.warning("the rule %s cannot be run: %s", verdict.rule, verdict.reason)
        return next((verdict for verdict in verdicts if verdict.fired), None)

    def _stop(self, job: Any, fired: Verdict) -> None:
        log = get_run_logger()
        self._rules = {fired.rule: self._rules[fired.rule]}
        try:
            job.stop()
        except ClientError as error:
            log.warning("%s; the training cannot be stopped, and goes on: %s", _in_words(fired), error)
            self._rules = {}
        else:
            self._stopped = job.training_job_name
            log.warning("%s; the training is stopped", _in_words(fired))


def _in_words(fired: Verdict) -> str:
    return f"the rule {fired.rule} fired ({fired.findings[0]}). {fired.advice}".rstrip(". ")
