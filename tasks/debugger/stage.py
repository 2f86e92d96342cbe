"""The debugger's stage of a pipeline: fetch a job's records, judge them, write the report."""

import json
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from obstore.exceptions import BaseError
from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from tasks import sdk
from tasks.debugger.evaluate import FIRED, NO_DATA, RULES, Verdict, check, judge
from tasks.debugger.records import Sources, fetch_records
from tasks.debugger.report import OLD_SYSTEM_IDLE, JobFacts, Report, data_uri, make_report
from tasks.home import write_at_home
from tasks.jobs import is_missing
from tasks.object_store import read_member
from tasks.retries import RETRIES
from tasks.training_job import job_phases
from training.arguments import text_of
from training.errors import DebuggerError
from training.files import CARD_FILE

PICTURES = {
    "losses": "Loss by step",
    "phases": "Where the job's time went",
    "machine": "The machine",
    "gradients": "Gradients by layer",
    "updates": "How far each step moved the weights",
}


class DebuggedJob(BaseModel):
    """What the debugger says of a job."""

    model_config = ConfigDict(frozen=True)

    job_name: str
    report: Path = Field(description="The page.")
    rules: dict[str, str] = Field(description="Status by rule.")
    advice: dict[str, str] = Field(description="What to do about it, by rule that fired.")
    idle: float | None = Field(description="Share of the job's time outside TRAIN and EVAL.")

    @property
    def fired(self) -> list[str]:
        """Rules that fired."""
        return [name for name, status in self.rules.items() if status == FIRED]

    def line(self) -> str:
        """What came of it, in a line."""
        told = f"{len(self.fired)} of {sum(status != NO_DATA for status in self.rules.values())} rules fired"
        if self.fired:
            told += f" ({', '.join(self.fired)})"
        if self.idle is not None:
            told += f"; {self.idle:.1%} of the job outside TRAIN and EVAL (the old system: {OLD_SYSTEM_IDLE:.1%})"
        return told


@task(name="debug", task_run_name="debug {job_name}", **RETRIES)
def debug_job(job_name: str, folder: Path, rules: Mapping[str, Mapping[str, Any]] | None = None) -> DebuggedJob:
    """Judge what a training job recorded, and write ``debugger.html`` into ``folder``.

    Args:
        job_name: of a job that ended, well or not.
        folder: for the report.
        rules: parameters by name of rule, for those whose defaults do not suit; all rules run.

    Raises:
        DebuggerError: there is no such job, it still runs, or a rule or parameter is unknown.
    """
    chosen: dict[str, Mapping[str, Any]] = {**{key: {} for key in RULES}, **(rules or {})}
    check(chosen)
    job = find_job(job_name)
    with tempfile.TemporaryDirectory() as scratch:
        records = fetch_records(Sources.of(job), Path(scratch))
        trial, profile = records.trial(), records.profile()
        verdicts = judge(trial, profile, chosen)
        facts = facts_of(job, records.problems)
        report = make_report(facts, verdicts, trial, profile, records.problems)
    folder.mkdir(parents=True, exist_ok=True)
    write_at_home(folder / "debugger.html", report.page)
    publish(job_name, report, verdicts)
    statuses = {verdict.rule: verdict.status for verdict in verdicts}
    advice = {verdict.rule: f"{verdict.about} {verdict.advice}".strip() for verdict in verdicts if verdict.fired}
    debugged = DebuggedJob(
        job_name=job_name, report=folder / "debugger.html", rules=statuses, advice=advice, idle=facts.idle
    )
    for problem in records.problems:
        get_run_logger().warning("%s", problem)
    get_run_logger().info("%s", debugged.line())
    return debugged


def find_job(name: str) -> "sdk.TrainingJob":
    """The training job of a name, once it has ended.

    Raises:
        DebuggerError: there is none, or it still runs.
    """
    try:
        job = sdk.TrainingJob.get(name)
    except ClientError as error:
        if is_missing(error):
            raise DebuggerError(f"there is no training job {name!r} in this account and region") from error
        raise
    if job.training_job_status not in ("Completed", "Failed", "Stopped"):
        raise DebuggerError(f"the training job {name} still runs ({job.training_job_status}); wait for its end")
    return job


def facts_of(job: Any, problems: list[str]) -> JobFacts:
    """What the report tells of the job itself."""
    seconds = int(job.training_time_in_seconds) if isinstance(job.training_time_in_seconds, int) else 0
    phases: dict[str, float] = {}
    if job.training_job_status == "Completed":
        try:
            card = json.loads(read_member(str(job.model_artifacts.s3_model_artifacts), CARD_FILE))
            phases = job_phases(card["phases"], seconds)
        except (OSError, EOFError, zlib.error, tarfile.TarError, BaseError, KeyError, ValueError) as error:
            problems.append(f"The job's model card cannot be read, so its phases are unknown: {error}")
    told = job.hyper_parameters if isinstance(job.hyper_parameters, dict) else {}
    reason = job.failure_reason if isinstance(job.failure_reason, str) else ""
    return JobFacts(
        name=str(job.training_job_name),
        status=str(job.training_job_status),
        seconds=seconds,
        instance=str(job.resource_config.instance_type),
        failure=reason,
        phases=phases,
        hyperparameters={k: text_of(v) for k, v in sorted(told.items()) if not k.startswith("sagemaker_")},
    )


def publish(job_name: str, report: Report, verdicts: list[Verdict]) -> None:
    """Show the rules and the pictures in Prefect's UI."""
    rows = [
        {"rule": v.rule, "status": v.status, "fired": v.fired, "first": str(v.findings[0]) if v.findings else v.reason}
        for v in verdicts
    ]
    create_table_artifact(rows, key="debugger-rules", description=f"Rules on {job_name}")
    for name, title in PICTURES.items():
        if name in report.pictures:
            uri = data_uri(report.pictures[name])
            create_image_artifact(uri, key=f"debugger-{name}", description=f"{title}: {job_name}")
