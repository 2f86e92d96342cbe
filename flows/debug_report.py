"""What a training job recorded, judged and told in one page: ``python -m flows.debug_report --job-name NAME``."""

from pathlib import Path

from prefect import flow
from pydantic import ConfigDict, Field

from flows.command_line import console, run
from tasks.debugger.parameters import RuleParameters
from tasks.debugger.stage import debug_job
from tasks.names import LOOKS_LIKE_A_NAME, NAME
from tasks.services import use_cloud
from tasks.settings import settings


class DebugReportParameters(RuleParameters):
    """Judge the records of a training job that ended, and write its report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_name: str = Field(
        title="Training job",
        description="Name of the SageMaker training job: training.job_name in a run's summary.json.",
        pattern=NAME,
        json_schema_extra=LOOKS_LIKE_A_NAME,
    )


@flow(name="debug-report", flow_run_name="debug report on {parameters.job_name}")
def debug_report(parameters: DebugReportParameters) -> Path:
    """Write the report of a job; returns where it is."""
    here = settings()
    use_cloud(here)
    debugged = debug_job(parameters.job_name, here.home / "debugger" / parameters.job_name, parameters.rules)
    console.print(debugged.line())
    console.print(f"The report is at {debugged.report}")
    return debugged.report


if __name__ == "__main__":
    raise SystemExit(run(debug_report, DebugReportParameters, "debug_report"))
