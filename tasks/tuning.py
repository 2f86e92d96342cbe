"""Hyperparameter tuning: learning rate and batch size, to the lowest "average test loss"."""

import dataclasses
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel, ConfigDict, Field
from sagemaker.core.resources import HyperParameterTuningJob
from sagemaker.core.shapes import (
    CategoricalParameterRange,
    ContinuousParameterRange,
    HyperParameterAlgorithmSpecification,
    HyperParameterTrainingJobDefinition,
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobConfig,
    HyperParameterTuningJobObjective,
    HyperParameterTuningJobWarmStartConfig,
    ParameterRanges,
    ParentHyperParameterTuningJob,
    ResourceLimits,
)

from tasks.jobs import attach, follow, image_uri, job_name, tags
from tasks.learning import Search
from tasks.settings import Settings
from tasks.training_job import JobInputs, metric_definitions, output, resources, script_hyperparameters, stopping
from tasks.transient import RETRIES
from training.errors import JobError
from training.hyperparameters import Hyperparameters
from training.metrics import OBJECTIVE


class TunedHyperparameters(BaseModel):
    """The best trial of a tuning job."""

    model_config = ConfigDict(frozen=True)

    job_name: str
    jobs: int = Field(description="Trials that ran.")
    objective: float = Field(description="The best trial's average test loss.")
    lr: float
    batch_size: int


@task(name="tune", task_run_name="tune", **RETRIES)
def tune(inputs: JobInputs, recipe: Hyperparameters, search: Search, settings: Settings) -> TunedHyperparameters:
    """Search learning rate and batch size, or find the search that already ran for the same inputs.

    Args:
        inputs: data, code and weights.
        recipe: all other hyperparameters; its own ``lr`` and ``batch_size`` are not used.
        search: what to try, and how.
        settings: where and on what.

    Raises:
        JobError: the tuning job failed, or no trial came to a number.
    """
    fixed = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in ("lr", "batch_size")}
    request = script_hyperparameters(inputs.code, "hpo.py", fixed)
    name = job_name(
        inputs.run_id, "hpo", [inputs.model_dump(exclude={"run_id"}), request, search.model_dump(exclude={"parallel"})]
    )

    def create(candidate: str) -> HyperParameterTuningJob:
        return HyperParameterTuningJob.create(
            hyper_parameter_tuning_job_name=candidate,
            hyper_parameter_tuning_job_config=_search(search, recipe.seed),
            training_job_definition=_trial(inputs, request, settings),
            warm_start_config=_warm_start(search),
            tags=tags(inputs.run_id),
        )

    def status(job: HyperParameterTuningJob) -> str:
        return str(job.hyper_parameter_tuning_job_status)

    job = attach(name, HyperParameterTuningJob.get, create, status)
    follow(job, status, settings, get_run_logger())
    return _outcome(job)


def _search(search: Search, seed: int) -> HyperParameterTuningJobConfig:
    low, high = search.learning_rates
    return HyperParameterTuningJobConfig(
        strategy="Bayesian",
        hyper_parameter_tuning_job_objective=HyperParameterTuningJobObjective(
            type="Minimize", metric_name=OBJECTIVE.name
        ),
        resource_limits=ResourceLimits(
            max_number_of_training_jobs=search.trials, max_parallel_training_jobs=search.parallel
        ),
        parameter_ranges=ParameterRanges(
            continuous_parameter_ranges=[
                ContinuousParameterRange(name="lr", min_value=str(low), max_value=str(high), scaling_type="Logarithmic")
            ],
            categorical_parameter_ranges=[
                CategoricalParameterRange(name="batch_size", values=[str(size) for size in search.batch_sizes])
            ],
        ),
        training_job_early_stopping_type="Auto" if search.early_stopping else "Off",
        random_seed=seed,
    )


def _warm_start(search: Search) -> HyperParameterTuningJobWarmStartConfig | None:
    """Start from what earlier tuning jobs found; the data or the recipe may have changed since."""
    if not search.warm_start:
        return None
    return HyperParameterTuningJobWarmStartConfig(
        warm_start_type="TransferLearning",
        parent_hyper_parameter_tuning_jobs=[
            ParentHyperParameterTuningJob(hyper_parameter_tuning_job_name=name) for name in search.warm_start
        ],
    )


def _trial(inputs: JobInputs, request: dict[str, str], settings: Settings) -> HyperParameterTrainingJobDefinition:
    return HyperParameterTrainingJobDefinition(
        algorithm_specification=HyperParameterAlgorithmSpecification(
            training_image=image_uri(settings, "training", settings.tuning_instance),
            training_input_mode="File",
            metric_definitions=metric_definitions(),
        ),
        role_arn=settings.role,
        static_hyper_parameters=request,
        input_data_config=inputs.channels(),
        output_data_config=output(settings),
        resource_config=resources(settings.tuning_instance),
        stopping_condition=stopping(settings),
        enable_managed_spot_training=settings.spot,
    )


def _outcome(job: HyperParameterTuningJob) -> TunedHyperparameters:
    name = str(job.hyper_parameter_tuning_job_name)
    rows = [_row(trial) for trial in job.get_all_training_jobs()]
    create_table_artifact(table=rows, key="tuning", description=f"Trials of {name}")
    best = job.best_training_job
    if not best or not best.final_hyper_parameter_tuning_job_objective_metric:
        failed = next((row["status"] for row in rows if row["status"] != "Completed"), "no trial completed")
        raise JobError(f"{name} found no best trial: {failed}")
    chosen = best.tuned_hyper_parameters
    return TunedHyperparameters(
        job_name=name,
        jobs=len(rows),
        objective=best.final_hyper_parameter_tuning_job_objective_metric.value,
        lr=float(chosen["lr"]),
        batch_size=int(chosen["batch_size"].strip('"')),
    )


def _row(trial: HyperParameterTrainingJobSummary) -> dict[str, Any]:
    metric = trial.final_hyper_parameter_tuning_job_objective_metric
    reason = f": {trial.failure_reason}" if trial.failure_reason else ""
    return {
        "trial": trial.training_job_name,
        "lr": trial.tuned_hyper_parameters["lr"],
        "batch size": trial.tuned_hyper_parameters["batch_size"].strip('"'),
        OBJECTIVE.name: metric.value if metric else "",
        "status": f"{trial.training_job_status}{reason}",
    }
