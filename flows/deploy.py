"""Deploy a registered model, or let one in first: ``python -m flows.deploy --help``."""

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.table import Table

from flows.command_line import console, run
from tasks.names import ENDPOINT, LOOKS_LIKE_A_MODEL, LOOKS_LIKE_AN_ENDPOINT, MODEL
from tasks.plan import release as plan_release
from tasks.plan.plan import Draft
from tasks.release.deployment import Deployment, release
from tasks.release.package import read_cases
from tasks.release.registry import (
    RegisteredModel,
    Status,
    approved_model,
    find_model,
    models,
    set_status,
    waiting_model,
)
from tasks.services import use_cloud
from tasks.settings import Settings, settings

NEWEST = "newest"


class DeployParameters(BaseModel):
    """Deploy the newest approved model, or another one; with a reason, approve or reject it first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        NEWEST,
        title="Model",
        description='A version number, an ARN, or "newest": the newest approved; to approve, the newest that waits.',
        pattern=MODEL,
        json_schema_extra=LOOKS_LIKE_A_MODEL,
    )
    approve: str | None = Field(
        None,
        min_length=1,
        title="Approve",
        description="Let the model in first, for this reason; it is written down with it.",
    )
    reject: str | None = Field(
        None,
        min_length=1,
        title="Reject",
        description="Turn the model away, for this reason, and deploy nothing. Needs the model.",
    )
    list: bool = Field(False, title="List", description="Only show the registered models.")
    endpoint_name: str = Field(
        "binventory",
        title="Endpoint",
        description="Endpoint to create or to update.",
        pattern=ENDPOINT,
        json_schema_extra=LOOKS_LIKE_AN_ENDPOINT,
    )

    @model_validator(mode="after")
    def _one_thing_is_done_to_one_model(self) -> "DeployParameters":
        if sum(map(bool, (self.approve, self.reject, self.list))) > 1:
            raise ValueError("a model is approved, or rejected, or all are listed: give one of the three")
        if self.reject and self.model == NEWEST:
            raise ValueError("--reject needs --model, so that no other one is turned away; --list has the versions")
        return self


def _name() -> str:
    parameters = DeployParameters.model_validate(flow_run.parameters["parameters"])
    version = parameters.model.rpartition("/")[2]  # which an ARN ends with
    return f"deploy model {version} to {parameters.endpoint_name}"


@flow(name="deploy", flow_run_name=_name)
def deploy(parameters: DeployParameters) -> Deployment | None:
    """Deploy a model and prove it; what served before serves again when that fails."""
    here = settings()
    use_cloud(here)
    if parameters.list:
        _show(here)
        return None
    model = _model(parameters, here)
    if parameters.reject:
        set_status(model.arn, "Rejected", parameters.reject)
        console.print(f"Model {model.version} is rejected: {parameters.reject}")
        return None
    if parameters.approve:
        set_status(model.arn, "Approved", parameters.approve)
        model = find_model(model.arn, here)
    deployed = release(model, read_cases(model.uri), parameters.endpoint_name, model.facts.get("run_id", ""), here)
    console.print(
        f"Endpoint {deployed.name} serves model {model.version}; {deployed.smoke.equal} of {deployed.smoke.photos} "
        f"answers equal evaluation's. It took {deployed.seconds:.0f} s."
    )
    return deployed


def _model(parameters: DeployParameters, here: Settings) -> RegisteredModel:
    if parameters.model != NEWEST:
        return find_model(parameters.model, here)
    return waiting_model(here) if parameters.approve else approved_model(here)


def _show(here: Settings) -> None:
    table = Table(title=f"Models in the group {here.model_group}")
    for column in ("version", "status", "accuracy", "rmse", "run", "reason"):
        table.add_column(column)
    for each in models(here):
        facts = [each.facts.get(name, "") for name in ("accuracy", "rmse", "run_id")]
        table.add_row(str(each.version), each.status, *facts, each.reason)
    console.print(table)


def ask(draft: Draft, parameters: DeployParameters) -> None:
    """What a deployment asks of the cloud, for a plan."""
    status: Status | None = "Rejected" if parameters.reject else "Approved" if parameters.approve else None
    plan_release.find(draft, status, parameters.reject or parameters.approve or "")
    if not (parameters.list or parameters.reject):
        plan_release.deploy(draft, parameters.endpoint_name, "its smoke test's")


if __name__ == "__main__":
    raise SystemExit(run(deploy, DeployParameters, "deploy", ask))
