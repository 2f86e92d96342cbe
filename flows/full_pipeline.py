"""From a list of photos to an endpoint that counts: ``python -m flows.full_pipeline --help``."""

import dataclasses

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows.command_line import console, run
from flows.prepare_data import prepare_data
from tasks import run_table
from tasks.batch_transform import batch_transform
from tasks.data.prepared_data import PreparedData, PrepareParameters
from tasks.evaluation.evaluate import EvaluatedModel, evaluate
from tasks.evaluation.page import publish
from tasks.evaluation.reference import BENCHMARK
from tasks.release.deployment import release
from tasks.release.gate import judge
from tasks.release.package import package_model, read_cases
from tasks.release.registry import RegisteredModel, Status, register
from tasks.release.smoke import compare
from tasks.run_record import Run, run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from tasks.training_job import JobInputs, TrainedModel, train, upload_code
from tasks.tuning import tune
from tasks.weights import stage_weights
from training.hyperparameters import Hyperparameters


class FullPipelineParameters(PrepareParameters):
    """Prepare data, tune, train, evaluate, deploy, and count a batch of photos."""

    backbone: str = Field("efficientnet_lite0", title="Backbone", description="Network that the counter is made of.")
    image_size: int = Field(112, ge=32, le=1024, title="Image size", description="Side of the network's input, pixels.")
    trials: int = Field(3, ge=1, le=500, title="Trials", description="Trainings that tuning runs.")
    parallel_trials: int = Field(1, ge=1, le=100, title="Parallel trials", description="Trials at the same time.")
    tuning_epochs: int = Field(2, ge=1, title="Tuning epochs", description="Passes over the data in a trial.")
    epochs: int = Field(4, ge=1, title="Epochs", description="Passes over the data in the final training.")
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
        data = _prepare(record, parameters)
        model = _learn(record, parameters, data, here)
        _serve(record, parameters, data, model, here)
    create_markdown_artifact(run_table.as_markdown(record.summary), key="run", description=f"Run {record.run_id}")
    run_table.show(record.summary, record.folder, console)
    return record.run_id


def _prepare(record: Run, parameters: FullPipelineParameters) -> PreparedData:
    with record.stage("prepare"):
        wanted = PrepareParameters(**parameters.model_dump(include=set(PrepareParameters.model_fields)))
        data = prepare_data(wanted)
    record.record(images=data.images.model_dump(), splits=data.splits.model_dump())
    return data


def _learn(record: Run, parameters: FullPipelineParameters, data: PreparedData, here: Settings) -> TrainedModel:
    """Tune, then train with what tuning found."""
    inputs = JobInputs(
        run_id=record.run_id,
        code=upload_code(here),
        weights=stage_weights(parameters.backbone, here),
        train=data.shards_uri("train"),
        valid=data.shards_uri("valid"),
        data_digest=data.digest,
    )
    recipe = Hyperparameters(
        backbone=parameters.backbone,
        image_size=parameters.image_size,
        classes=parameters.classes,
        epochs=parameters.tuning_epochs,
        seed=parameters.seed,
        version=record.run_id,
    )
    with record.stage("tune"):
        best = tune(inputs, recipe, parameters.trials, parameters.parallel_trials, here)
    record.record(
        tuning={
            "job_name": best.job_name,
            "jobs": best.jobs,
            "objective": best.objective,
            "best": {"lr": best.lr, "batch_size": best.batch_size},
        }
    )
    with record.stage("train"):
        final = dataclasses.replace(recipe, lr=best.lr, batch_size=best.batch_size, epochs=parameters.epochs)
        model = train(inputs, final, here)
    record.record(training=model.model_dump(include={"job_name", "seconds", "phases"}))
    return model


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


if __name__ == "__main__":
    raise SystemExit(run(full_pipeline, FullPipelineParameters, "full_pipeline"))
