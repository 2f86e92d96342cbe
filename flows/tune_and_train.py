"""Search hyperparameters, then train with the best: ``python -m flows.tune_and_train --help``."""

import dataclasses
from functools import partial

from prefect import flow

from flows.command_line import console, run
from flows.prepare_data import prepare_data
from tasks.data.prepared_data import PreparedData, PrepareParameters
from tasks.debugger.parameters import Rules
from tasks.debugger.stage import debug_job
from tasks.features import StoredFeatures, compute_features
from tasks.pipeline.conclusion import conclude
from tasks.pipeline.parameters import TuneAndTrainParameters
from tasks.pipeline.results import tell_debugging, tell_preparation, tell_training, tell_tuning
from tasks.plan import pipeline as plan_pipeline
from tasks.run_record import Run
from tasks.runs import run_of
from tasks.services import use_cloud
from tasks.settings import Settings, settings
from tasks.training_job import JobInputs, TrainedModel, check_precision, train, upload_code
from tasks.tuning import TunedHyperparameters, tune
from tasks.warm_start import check_warm_start
from tasks.weights import stage_weights
from training.errors import JobError
from training.features import can_stand_for_photos


@flow(name="tune-and-train", flow_run_name="tune and train on {parameters.source}")
def tune_and_train(parameters: TuneAndTrainParameters) -> str:
    """Prepare, tune and train; returns the run's id. A run that died is picked up where it stopped."""
    here = settings()
    use_cloud(here)
    with run_of(here, "tune_and_train", parameters, ending=partial(conclude, console=console)) as record:
        check_training(record, parameters, here)
        prepare(record, parameters)
        if record.is_to_do("tune", "train"):
            _learn(record, parameters, here)
        record.do(
            "debug",
            lambda: debug_job(record.result("train", TrainedModel).job_name, record.folder, parameters.rules),
            tell_debugging,
        )
    return record.run_id


def check_training(record: Run, parameters: TuneAndTrainParameters, here: Settings) -> None:
    """Refuse a training that cannot be, before anything is prepared for it.

    Raises:
        TrainingError: its arithmetic is none for the instances that it is to run on, or its search cannot start from
            the earlier ones that it names.
    """
    if record.is_to_do("tune", "train"):
        recipe = parameters.final_recipe(parameters.source, parameters.classes, parameters.seed, record.run_id)
        check_precision(recipe, here)
        if record.is_to_do("tune"):
            check_warm_start(parameters.trial_recipe(recipe), parameters.search(), here)


def prepare(record: Run, parameters: PrepareParameters) -> None:
    """Prepare the data that a flow's parameters name."""
    if record.taken_from is None:
        record.record(source=parameters.source)
    wanted = PrepareParameters(**parameters.model_dump(include=set(PrepareParameters.model_fields)))
    record.do("prepare", lambda: prepare_data(wanted), tell_preparation)


def _learn(record: Run, parameters: TuneAndTrainParameters, here: Settings) -> None:
    """Tune, and train with what tuning found."""
    data = record.result("prepare", PreparedData)
    inputs = JobInputs(
        run_id=record.run_id,
        code=upload_code(here),
        weights=stage_weights(parameters.backbone, here),
        train=data.shards_uri("train"),
        valid=data.shards_uri("valid"),
        data_digest=data.digest,
    )
    recipe = parameters.final_recipe(record.summary["source"], parameters.classes, parameters.seed, record.run_id)
    trial = parameters.trial_recipe(recipe)
    if can_stand_for_photos(recipe):
        record.do("features", lambda: compute_features(inputs, trial, here))
        inputs = inputs.model_copy(update={"features": record.result("features", StoredFeatures).uri})
    record.do("tune", lambda: tune(inputs, trial, parameters.search(), here), tell_tuning)
    best = record.result("tune", TunedHyperparameters)
    chosen = dataclasses.replace(recipe, lr=best.lr, batch_size=best.batch_size)
    try:
        record.do(
            "train",
            lambda: train(inputs, chosen, here, parameters.stopping_rules, parameters.recording),
            tell_training,
        )
    except JobError as error:
        if error.job:
            raise JobError(f"{error}\n{_report_on(error.job, record, parameters.rules)}", error.job) from error
        raise


def _report_on(job: str, record: Run, rules: Rules) -> str:
    """Make the page about a training that failed; says where it is. The training's own error matters more."""
    try:
        return f"What it recorded, judged: {debug_job(job, record.folder, rules).report}"
    except Exception as error:  # noqa: BLE001 - whatever it is, the training's error comes first
        return f"Its report cannot be made now ({error}); later: python -m flows.debug_report --job-name {job}"


if __name__ == "__main__":
    raise SystemExit(run(tune_and_train, TuneAndTrainParameters, "tune_and_train", plan_pipeline.tune_and_train))
