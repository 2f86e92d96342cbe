"""List what a run left in the cloud, and stop and delete it when told to: ``python -m flows.teardown --help``."""

from typing import Any

from botocore.exceptions import ClientError
from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from flows.command_line import console, run
from tasks.names import LOOKS_LIKE_A_RUN, RUN_ID
from tasks.release.teardown import Leftover, leftovers, running_jobs, wait_for_jobs
from tasks.services import use_cloud
from tasks.settings import settings
from training.errors import CloudError


class TeardownParameters(BaseModel):
    """List what a run left: jobs that go on, endpoints, configurations, models, packages, objects. Datasets stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(
        title="Run",
        description="Id of the run, as in the runs folder.",
        pattern=RUN_ID,
        json_schema_extra=LOOKS_LIKE_A_RUN,
    )
    delete: bool = Field(False, title="Delete", description="Stop and delete it. Without this, it is only listed.")


@flow(name="teardown", flow_run_name="teardown of {parameters.run_id}")
def teardown(parameters: TeardownParameters) -> list[dict[str, Any]]:
    """List what a run left, or stop its jobs and delete the rest.

    Raises:
        CloudError: something could not be stopped or deleted; the rest was.
    """
    here = settings()
    use_cloud(here)
    found, failed = running_jobs(parameters.run_id), []
    if parameters.delete and found:
        refused = _delete(found)  # also where a job has ended meanwhile; what counts is whether any goes on
        failed = [f"{name} has not ended yet" for name in wait_for_jobs(parameters.run_id, here)]
        failed += refused if failed else []
    rest = leftovers(parameters.run_id, here)
    if parameters.delete:
        failed += _delete(rest)
    found += rest
    rows: list[dict[str, Any]] = [{"what": each.kind, "name": each.name, "note": each.note} for each in found]
    create_table_artifact(rows, key="teardown", description=f"What run {parameters.run_id} left")
    _show(parameters, found)
    if failed:
        raise CloudError("not everything could be stopped and deleted; run it again: " + "; ".join(failed))
    if parameters.delete and found:
        console.print("All of it was stopped or deleted.")
    return rows


def _delete(found: list[Leftover]) -> list[str]:
    failed = []
    for each in found:
        try:
            each.delete()
        except ClientError as error:
            failed.append(f"{each.kind} {each.name}: {error}")
        else:
            done = "stopped" if each.kind.endswith(" job") else "deleted"
            get_run_logger().info("%s %s %s", done, each.kind, each.name)
    return failed


def _show(parameters: TeardownParameters, found: list[Leftover]) -> None:
    if not found:
        console.print(f"Run {parameters.run_id} left nothing in the cloud.")
        return
    table = Table(title=f"What run {parameters.run_id} {'had left' if parameters.delete else 'left'}")
    for column in ("what", "name", "note"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(each.kind, each.name, each.note)
    console.print(table)
    if not parameters.delete:
        console.print("Nothing was stopped or deleted: add --delete to do so.")


if __name__ == "__main__":
    raise SystemExit(run(teardown, TeardownParameters, "teardown"))
