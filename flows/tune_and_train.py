"""Search hyperparameters, then train with the best: ``python -m flows.tune_and_train --help``."""

import dataclasses

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.command_line import console, run
from flows.prepare_data import prepare_data
from tasks import run_table
from tasks.data.prepared_data import PreparedData, PrepareParameters
from tasks.debugger.stage import debug_job
from tasks.features import compute_features
from tasks.learning import LearnParameters
from tasks.plan import learning as plan_learning
from tasks.plan.plan import Draft
from tasks.prices import Cost, summed
from tasks.run_record import Run, run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from tasks.training_job import JobInputs, TrainedModel, train, upload_code
from tasks.tuning import tune
from tasks.weights import stage_weights
from training.features import can_stand_for_photos


class TuneAndTrainParameters(PrepareParameters, LearnParameters):
    """Prepare data unless that is done, tune, and train."""


@flow(name="tune-and-train", flow_run_name="tune and train on {parameters.source}")
def tune_and_train(parameters: TuneAndTrainParameters) -> str:
    """Prepare, tune and train; returns the run's id. A run that died is picked up where it stopped."""
    here = settings()
    use_cloud(here)
    with run_of(here, "tune_and_train", parameters) as record:
        record.record(source=parameters.source)
        learn(record, parameters, prepare(record, parameters), here)
    create_markdown_artifact(run_table.as_markdown(record.summary), key="run", description=f"Run {record.run_id}")
    run_table.show(record.summary, record.folder, console)
    return record.run_id


def prepare(record: Run, parameters: PrepareParameters) -> PreparedData:
    """Prepare the data that a flow's parameters name."""
    with record.stage("prepare"):
        wanted = PrepareParameters(**parameters.model_dump(include=set(PrepareParameters.model_fields)))
        data = prepare_data(wanted)
    record.record(images=data.images.model_dump(), splits=data.splits.model_dump())
    return data


def learn(record: Run, parameters: TuneAndTrainParameters, data: PreparedData, here: Settings) -> TrainedModel:
    """Tune, train with what tuning found, and judge what the training recorded."""
    inputs = JobInputs(
        run_id=record.run_id,
        code=upload_code(here),
        weights=stage_weights(parameters.backbone, here),
        train=data.shards_uri("train"),
        valid=data.shards_uri("valid"),
        data_digest=data.digest,
    )
    recipe = parameters.final_recipe(parameters.source, parameters.classes, parameters.seed, record.run_id)
    costs: dict[str, Cost] = {}
    trial = parameters.trial_recipe(recipe)
    if can_stand_for_photos(recipe):
        with record.stage("features"):
            stored = compute_features(inputs, trial, here)
        inputs = inputs.model_copy(update={"features": stored.uri})
        costs |= {"features": stored.cost} if stored.cost else {}
    with record.stage("tune"):
        best = tune(inputs, trial, parameters.search(), here)
    record.record(
        tuning={
            "job_name": best.job_name,
            "jobs": best.jobs,
            "objective": best.objective,
            "best": {"lr": best.lr, "batch_size": best.batch_size},
        }
    )
    with record.stage("train"):
        model = train(inputs, dataclasses.replace(recipe, lr=best.lr, batch_size=best.batch_size), here)
    record.record(training=model.model_dump(include={"job_name", "seconds", "phases"}))
    with record.stage("debug"):
        debugged = debug_job(model.job_name, record.folder)
    record.record(debugger=debugged.model_dump(mode="json", include={"rules", "idle"}))
    record.record(cost=summed(costs | {"tune": best.cost, "train": model.cost}))
    return model


def ask(draft: Draft, parameters: TuneAndTrainParameters) -> None:
    """What a run asks of the cloud, for a plan."""
    plan_learning.prepare(draft, parameters)
    plan_learning.learn(draft, parameters, parameters)


if __name__ == "__main__":
    raise SystemExit(run(tune_and_train, TuneAndTrainParameters, "tune_and_train", ask))
