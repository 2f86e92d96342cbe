"""The end of a run: its costs, its page, and its table in the terminal and in Prefect's UI."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from rich.console import Console

from tasks import run_table
from tasks.pipeline.report import write_report
from tasks.pipeline.results import costs_of
from tasks.retries import RETRIES
from tasks.run_record import Run


def conclude(run: Run, console: Console) -> None:
    """Write down and show what a run came to; to be called from a flow."""
    run.record(**costs_of(run))
    report(run)
    run_table.show(run.summary, run.folder, console)


@task(name="report", task_run_name="report", **RETRIES)
def report(run: Run) -> None:
    """Write ``report.html``, and the table for Prefect's UI."""
    write_report(run)
    create_markdown_artifact(run_table.as_markdown(run.summary), key="run", description=f"Run {run.run_id}")
