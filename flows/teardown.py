"""List what a run left in the cloud, and stop and delete it when told to: ``python -m flows.teardown --help``."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from flows.command_line import FORESEEN, console, run
from tasks.names import LOOKS_LIKE_A_RUN, RUN_ID
from tasks.object_store import brief
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
    delete: bool = Field(
        False,
        title="Delete",
        description="Stop and delete it, but for what is in use. Without this, it is only listed.",
    )
    in_use: bool = Field(
        False,
        title="In use too",
        description="With delete: also what is in service, and the newest approved model, which nights count with.",
    )


@flow(name="teardown", flow_run_name="teardown of {parameters.run_id}")
def teardown(parameters: TeardownParameters) -> list[dict[str, Any]]:
    """List what a run left, or stop its jobs and delete the rest; what is in use only when that is said.

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
    kept = [each for each in rest if each.in_use and not (parameters.delete and parameters.in_use)]
    if parameters.delete:
        failed += _delete([each for each in rest if each not in kept])
    found += rest
    rows: list[dict[str, Any]] = [{"what": each.kind, "name": each.name, "note": _note(each)} for each in found]
    create_table_artifact(rows, key="teardown", description=f"What run {parameters.run_id} left")
    _show(parameters, found)
    if failed:
        raise CloudError("not everything could be stopped and deleted; run it again: " + "; ".join(failed))
    if found:
        console.print(_conclusion(parameters.delete, bool(kept)), soft_wrap=True)
    return rows


def _note(each: Leftover) -> str:
    return "; ".join(filter(None, (each.note, each.in_use)))


def _conclusion(delete: bool, kept: bool) -> str:
    if not delete:
        more = ", and --in-use for what is in service or what nights count with" if kept else ""
        return f"Nothing was stopped or deleted: add --delete to do so{more}."
    if kept:
        return (
            "What is in service, or what nights count with, was kept: add --in-use to delete it too. The rest is gone."
        )
    return "All of it was stopped or deleted."


def _delete(found: list[Leftover]) -> list[str]:
    """Delete one after the other; what an endpoint needs stays where that could not be deleted. Returns what failed."""
    failed: list[str] = []
    still_there: set[str] = set()
    for each in found:
        if needed_by := sorted(each.behind & still_there):
            failed.append(f"{each.kind} {each.name} was kept, since endpoint {', '.join(needed_by)} is still there")
            continue
        if each.kind == "endpoint":
            get_run_logger().info("deleting endpoint %s, once nothing changes it any more", each.name)
        try:
            each.delete()
        except (*FORESEEN, OSError) as error:
            failed.append(f"{each.kind} {each.name}: {brief(error)}")
            if each.kind == "endpoint":
                still_there.add(each.name)
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
        table.add_row(each.kind, each.name, _note(each))
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(run(teardown, TeardownParameters, "teardown"))
