"""List what a run left in the cloud, and delete it when told to: ``python -m flows.teardown --help``."""

from typing import Any

from botocore.exceptions import ClientError
from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from flows.command_line import console, run
from tasks.release.teardown import Leftover, leftovers
from tasks.services import use_cloud
from tasks.settings import settings
from training.errors import CloudError


class TeardownParameters(BaseModel):
    """List what a run left: endpoints, configurations, models, packages, and its objects on S3. Datasets stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(title="Run", description="Id of the run, as in the runs folder.", pattern=r"^\d{6}-\d{6}$")
    delete: bool = Field(False, title="Delete", description="Delete it. Without this, it is only listed.")


@flow(name="teardown", flow_run_name="teardown of {parameters.run_id}")
def teardown(parameters: TeardownParameters) -> list[dict[str, Any]]:
    """List what a run left, or delete it.

    Raises:
        CloudError: something could not be deleted; the rest was.
    """
    here = settings()
    use_cloud(here)
    found = leftovers(parameters.run_id, here)
    failed = _delete(found) if parameters.delete else []
    rows: list[dict[str, Any]] = [{"what": each.kind, "name": each.name, "note": each.note} for each in found]
    create_table_artifact(rows, key="teardown", description=f"What run {parameters.run_id} left")
    _show(parameters, found)
    if failed:
        raise CloudError("not everything could be deleted; run it again: " + "; ".join(failed))
    return rows


def _delete(found: list[Leftover]) -> list[str]:
    failed = []
    for each in found:
        try:
            each.delete()
        except ClientError as error:
            failed.append(f"{each.kind} {each.name}: {error}")
        else:
            get_run_logger().info("deleted %s %s", each.kind, each.name)
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
    console.print("All of it was deleted." if parameters.delete else "Nothing was deleted: add --delete to do so.")


if __name__ == "__main__":
    raise SystemExit(run(teardown, TeardownParameters, "teardown"))
