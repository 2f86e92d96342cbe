"""Hyperparameter tuning: learning rate and batch size, to the lowest "average test loss"."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from tasks import sdk
from tasks.jobs import ENDED, attach, attempts_before, follow, image_uri, job_name, tags
from tasks.learning import Search
from tasks.prices import Cost
from tasks.progress import Progress
from tasks.retries import RETRIES
from tasks.settings import Settings
from tasks.training_job import (
    JobInputs,
    checkpoints,
    cost_of,
    jobs_prefix,
    metric_definitions,
    resources,
    script_hyperparameters,
    stopping,
)
from tasks.tuning_picture import Trial, as_data_uri, draw_trials
from training.errors import JobError
from training.hyperparameters import Hyperparameters
from training.memory import MEMORY_ENVIRONMENT
from training.metrics import OBJECTIVE

TUNED = ("lr", "batch_size")


class TunedHyperparameters(BaseModel):
    """The best trial of a tuning job."""

    model_config = ConfigDict(frozen=True)

    job_name: str
    jobs: int = Field(description="Trials that ran.")
    objective: float = Field(description="The best trial's average test loss.")
    lr: float
    batch_size: int
    cost: Cost
    trials: list[Trial]


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
    job = start_search(inputs, recipe, search, settings)
    earlier = attempts_before(search_name(inputs, recipe, search), str(job.hyper_parameter_tuning_job_name))
    diary = _Diary(job, search.trials)
    follow(job, _status, settings, get_run_logger(), watch=diary.look, minutes=longest_minutes(search, settings))
    diary.progress.finish()
    return _outcome(job, [sdk.HyperParameterTuningJob.get(name) for name in earlier])


def longest_minutes(search: Search, settings: Settings) -> int:
    """How long a search may take, as trials wait for each other."""
    return math.ceil(search.trials / search.parallel) * settings.training_minutes


def start_search(
    inputs: JobInputs, recipe: Hyperparameters, search: Search, settings: Settings
) -> "sdk.HyperParameterTuningJob":
    """Start the search, or find the one of its name; see `tune`."""
    name, request = search_name(inputs, recipe, search), trial_hyperparameters(inputs.code, recipe)

    def create(candidate: str) -> "sdk.HyperParameterTuningJob":
        return sdk.HyperParameterTuningJob.create(
            hyper_parameter_tuning_job_name=candidate,
            hyper_parameter_tuning_job_config=_search(search, recipe.seed),
            training_job_definition=_trial(name, inputs, request, settings),
            warm_start_config=_warm_start(search),
            tags=tags(inputs.run_id),
        )

    return attach(name, sdk.HyperParameterTuningJob.get, create, _status)


def search_name(inputs: JobInputs, recipe: Hyperparameters, search: Search) -> str:
    """The name of the search's first attempt; stands for everything that goes in."""
    told = [
        inputs.model_dump(exclude={"run_id"}),
        trial_hyperparameters(inputs.code, recipe),
        search.model_dump(exclude={"parallel"}),
    ]
    return job_name(inputs.run_id, "hpo", told)


def trial_hyperparameters(code: str, recipe: Hyperparameters) -> dict[str, str]:
    """What all trials are told, besides what is tuned; the code is at this S3 URI."""
    fixed = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in TUNED}
    return script_hyperparameters(code, "hpo.py", fixed)


def _status(job: "sdk.HyperParameterTuningJob") -> str:
    return str(job.hyper_parameter_tuning_job_status)


def _search(search: Search, seed: int) -> "sdk.HyperParameterTuningJobConfig":
    low, high = search.learning_rates
    return sdk.HyperParameterTuningJobConfig(
        strategy="Bayesian",
        hyper_parameter_tuning_job_objective=sdk.HyperParameterTuningJobObjective(
            type="Minimize", metric_name=OBJECTIVE.name
        ),
        resource_limits=sdk.ResourceLimits(
            max_number_of_training_jobs=search.trials, max_parallel_training_jobs=search.parallel
        ),
        parameter_ranges=sdk.ParameterRanges(
            continuous_parameter_ranges=[
                sdk.ContinuousParameterRange(
                    name="lr", min_value=str(low), max_value=str(high), scaling_type="Logarithmic"
                )
            ],
            categorical_parameter_ranges=[
                sdk.CategoricalParameterRange(name="batch_size", values=[str(size) for size in search.batch_sizes])
            ],
        ),
        training_job_early_stopping_type="Auto" if search.early_stopping else "Off",
        random_seed=seed + 1,  # the SDK leaves a 0 out of the request, and the search is another each time
    )


def _warm_start(search: Search) -> "sdk.HyperParameterTuningJobWarmStartConfig | None":
    """Start from what earlier tuning jobs found; the data or the recipe's values may have changed since.

    AWS refuses a job of an older checkout whose trials had more or fewer hyperparameters, and says so.
    """
    if not search.warm_start:
        return None
    return sdk.HyperParameterTuningJobWarmStartConfig(
        warm_start_type="TransferLearning",
        parent_hyper_parameter_tuning_jobs=[
            sdk.ParentHyperParameterTuningJob(hyper_parameter_tuning_job_name=name) for name in search.warm_start
        ],
    )


def _trial(
    name: str, inputs: JobInputs, request: dict[str, str], settings: Settings
) -> "sdk.HyperParameterTrainingJobDefinition":
    instance = settings.head_instance if inputs.features else settings.tuning_instance
    return sdk.HyperParameterTrainingJobDefinition(
        algorithm_specification=sdk.HyperParameterAlgorithmSpecification(
            training_image=image_uri(settings, "training", instance),
            training_input_mode="File",
            metric_definitions=metric_definitions(),
        ),
        role_arn=settings.role,
        static_hyper_parameters=request,
        input_data_config=inputs.channels(),
        output_data_config=sdk.OutputDataConfig(s3_output_path=jobs_prefix(settings)),
        resource_config=resources(instance),
        stopping_condition=stopping(settings),
        enable_managed_spot_training=settings.spot,
        checkpoint_config=checkpoints(name, settings),  # of all trials: each has a folder of its own there
        environment=MEMORY_ENVIRONMENT,
    )


class _Diary:
    """Says in the flow's log and in a progress artifact how the trials fare."""

    def __init__(self, job: "sdk.HyperParameterTuningJob", trials: int) -> None:
        self._job, self._trials = job, trials
        self.progress = Progress("Trials of the tuning")
        self._told: set[str] = set()

    def look(self, lines: list[str]) -> None:
        """Look at the trials; tell of those that have ended since the last look."""
        counters = self._job.training_job_status_counters
        ended = sum(int(n or 0) for n in (counters.completed, counters.stopped, counters.non_retryable_error))
        if ended == len(self._told):
            return
        for trial in map(_trial_of, self._job.get_all_training_jobs()):
            if trial.status.startswith(ENDED) and trial.name not in self._told:
                self._told.add(trial.name)
                found = f"{OBJECTIVE.name} {trial.objective}" if trial.objective is not None else "no result"
                get_run_logger().info(
                    "trial %s: lr %.4g, batch size %d: %s, %s",
                    *(trial.name, trial.lr, trial.batch_size, found, trial.status),
                )
        self.progress.show(len(self._told), self._trials)


def _outcome(
    job: "sdk.HyperParameterTuningJob", earlier: "Sequence[sdk.HyperParameterTuningJob]"
) -> TunedHyperparameters:
    """What a search came to; those of its name that failed before it are billed for too."""
    name = str(job.hyper_parameter_tuning_job_name)
    trials = [_trial_of(trial) for trial in job.get_all_training_jobs()]
    create_table_artifact(table=[_row(trial) for trial in trials], key="tuning", description=f"Trials of {name}")
    picture = as_data_uri(draw_trials(trials, name))
    create_image_artifact(picture, key="tuning-trials", description=f"What the trials of {name} came to")
    best = job.best_training_job
    if not best or not best.final_hyper_parameter_tuning_job_objective_metric:
        failed = next((trial.status for trial in trials if trial.status != "Completed"), "no trial completed")
        raise JobError(f"{name} found no best trial: {failed}")
    chosen = _trial_of(best)
    billed = [trial for each in (*earlier, job) for trial in each.get_all_training_jobs()]
    return TunedHyperparameters(
        job_name=name,
        jobs=len(trials),
        objective=best.final_hyper_parameter_tuning_job_objective_metric.value,
        lr=chosen.lr,
        batch_size=chosen.batch_size,
        cost=cost_of([sdk.TrainingJob.get(trial.training_job_name) for trial in billed]),
        trials=trials,
    )


def _trial_of(summary: "sdk.HyperParameterTrainingJobSummary") -> Trial:
    metric = summary.final_hyper_parameter_tuning_job_objective_metric
    reason = f": {summary.failure_reason}" if summary.failure_reason else ""
    return Trial(
        name=summary.training_job_name,
        lr=float(summary.tuned_hyper_parameters["lr"]),
        batch_size=int(summary.tuned_hyper_parameters["batch_size"].strip('"')),
        objective=metric.value if metric else None,
        status=f"{summary.training_job_status}{reason}",
    )


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "lr": trial.lr,
        "batch size": trial.batch_size,
        OBJECTIVE.name: "" if trial.objective is None else trial.objective,
        "status": trial.status,
    }
