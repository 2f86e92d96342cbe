"""Prefect's record of a flow run whose process was killed: nobody told Prefect, so it says "Running" until we do."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Crashed

log = logging.getLogger(__name__)


def this_flow_run() -> str | None:
    """Id of the flow run that this code runs in; None outside of one."""
    return str(flow_run.id) if flow_run.id else None


def call_crashed(flow_run_id: str, successor: str) -> None:
    """Say that a flow run, and those that it called, were killed; leaves alone what has ended.

    Args:
        flow_run_id: of the run that was killed.
        successor: who picked it up, for people who look at it.
    """
    try:
        with get_client(sync_client=True) as client:
            _call_crashed(client, UUID(flow_run_id), f"Its process was killed; picked up by {successor}.")
    except (httpx.HTTPError, PrefectException) as error:  # another server now, perhaps: the run itself goes on
        log.info("flow run %s is not marked as crashed: %s", flow_run_id, error)


def _call_crashed(client: SyncPrefectClient, flow_run_id: UUID, message: str) -> None:
    found = client.read_flow_run(flow_run_id)
    if found.state is None or found.state.is_final():
        return
    client.set_flow_run_state(flow_run_id, Crashed(message=message), force=True)
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    for child in client.read_flow_runs(flow_run_filter=children):
        _call_crashed(client, child.id, message)
