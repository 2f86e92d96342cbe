"""From a list of photos to an endpoint that counts: ``python -m flows.full_pipeline --help``."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.command_line import console, run
from flows.tune_and_train import TuneAndTrainParameters, learn, prepare
from tasks import run_table
from tasks.batch_transform import batch_transform
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.evaluate import EvaluatedModel, evaluate
from tasks.evaluation.page import publish
from tasks.evaluation.reference import BENCHMARK
from tasks.plan import counting as plan_counting
from tasks.plan import learning as plan_learning
from tasks.plan import release as plan_release
from tasks.plan.plan import Draft
from tasks.release.deployment import release
from tasks.release.gate import judge
from tasks.release.package import package_model, read_cases
from tasks.release.registry import RegisteredModel, Status, register
from tasks.release.smoke import compare
from tasks.run_record import Run, run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from tasks.training_job import TrainedModel


class FullPipelineParameters(TuneAndTrainParameters):
    """Prepare data, tune, train, evaluate, deploy, and count a batch of photos."""

    endpoint_name: str = Field(
        "binventory",
        title="Endpoint",
        description="Endpoint to create or to update.",
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
    )
    smoke_photos: int = Field(20, ge=1, title="Smoke photos", description="Test photos to ask the endpoint about.")
    transform_photos: int = Field(50, ge=1, title="Batch photos", description="Test photos to count in one batch job.")


@flow(name="full-pipeline", flow_run_name="full pipeline on {parameters.source}")
def full_pipeline(parameters: FullPipelineParameters) -> str:
    """Run every stage; returns the run's id. A run that died is picked up where it stopped."""
    here = settings()
    use_cloud(here)
    with run_of(here, "full_pipeline", parameters) as record:
        record.record(source=parameters.source)
        data = prepare(record, parameters)
        model = learn(record, parameters, data, here)
        _serve(record, parameters, data, model, here)
    create_markdown_artifact(run_table.as_markdown(record.summary), key="run", description=f"Run {record.run_id}")
    run_table.show(record.summary, record.folder, console)
    return record.run_id


def _serve(
    record: Run, parameters: FullPipelineParameters, data: PreparedData, trained: TrainedModel, here: Settings
) -> None:
    """Evaluate and register; a model that is let in is deployed, and counts a batch."""
    with record.stage("evaluate"):
        evaluated = evaluate(trained.archive, data, parameters.endpoint_name, here)
        publish(evaluated, data, record.folder)
    record.record(evaluation=evaluated.evaluation.model_dump(mode="json"), benchmark=BENCHMARK)
    with record.stage("register"):
        model = _register(record, parameters, data, trained, evaluated, here)
    if model.status != "Approved":
        return
    with record.stage("deploy"):
        deployed = release(model, read_cases(model.uri), parameters.endpoint_name, record.run_id, here)
    record.record(endpoint=deployed.model_dump())
    with record.stage("transform"):
        counted = batch_transform(model.name, data, parameters.transform_photos, record.run_id, here)
    agreed = compare(
        {photo: counted[photo] for photo in counted if photo in evaluated.predictions}, evaluated.predictions
    )
    record.record(transform={"photos": len(counted), "equal": agreed.equal})


def _register(
    record: Run,
    parameters: FullPipelineParameters,
    data: PreparedData,
    trained: TrainedModel,
    evaluated: EvaluatedModel,
    here: Settings,
) -> RegisteredModel:
    """Package the model, judge it, and write both down in the registry."""
    packed = package_model(trained.archive, evaluated, data, record.run_id, parameters.smoke_photos, here)
    verdict = judge(evaluated, packed.uri, here)
    waits = here.approval == "manual"
    status: Status = "Rejected" if not verdict.passed else "PendingManualApproval" if waits else "Approved"
    model = register(packed, status, verdict.text, here)
    approved = model.status == "Approved"
    record.record(
        model={
            "uri": model.uri,
            "name": model.name,
            "package_arn": model.arn,
            "approved": approved,
            "reason": model.reason,
        }
    )
    return model


def ask(draft: Draft, parameters: FullPipelineParameters) -> None:
    """What a run asks of the cloud, for a plan."""
    plan_learning.prepare(draft, parameters)
    plan_learning.learn(draft, parameters, parameters)
    plan_release.evaluate(draft, parameters, parameters.endpoint_name)
    plan_release.register_model(draft)
    if draft.settings.approval == "automatic":
        plan_release.deploy(draft, parameters.endpoint_name, str(parameters.smoke_photos))
        plan_counting.count_batch(draft, parameters)


if __name__ == "__main__":
    raise SystemExit(run(full_pipeline, FullPipelineParameters, "full_pipeline", ask))
