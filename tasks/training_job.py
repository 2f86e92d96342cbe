"""The final training, and the parts of a request that tuning has in common with it."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError
from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict, Field

from tasks import code_archive, sdk
from tasks.debugger import managed
from tasks.debugger.watch import Watch
from tasks.jobs import LogTail, attach, attempts_before, follow, has_gpu, image_uri, job_name, tags
from tasks.large_objects import put_large
from tasks.object_store import read_member
from tasks.prices import Cost
from tasks.progress import Progress
from tasks.retries import RETRIES
from tasks.settings import Settings
from training import metrics
from training.arguments import as_argument
from training.debugger.options import DebugOptions
from training.distributed import default_device
from training.errors import JobError, TrainingError
from training.features import can_stand_for_photos
from training.files import CARD_FILE
from training.hyperparameters import Hyperparameters
from training.memory import MEMORY_ENVIRONMENT

VOLUME_GB = 30
BY_DEFAULT = DebugOptions()


class JobInputs(BaseModel):
    """What a training job or a tuning trial is given, by address; the digests in it make its name."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    code: str = Field(description="S3 URI of sourcedir.tar.gz, named by its digest.")
    weights: str = Field(description="S3 prefix of the pretrained weights, named by their digest.")
    train: str = Field(description="S3 prefix of the training shards.")
    valid: str = Field(description="S3 prefix of the validation shards.")
    data_digest: str = Field(description="Fingerprint of the data.")
    features: str | None = Field(None, description="S3 prefix of a frozen backbone's features, instead of photos.")

    def channels(self) -> "list[sdk.Channel]":
        """The input channels of a job."""
        sources = {"weights": self.weights}
        sources |= {"features": self.features} if self.features else {"train": self.train, "valid": self.valid}
        return [
            sdk.Channel(
                channel_name=name,
                data_source=sdk.DataSource(s3_data_source=sdk.S3DataSource(s3_data_type="S3Prefix", s3_uri=uri)),
            )
            for name, uri in sources.items()
        ]


class TrainedModel(BaseModel):
    """What a finished training job left."""

    model_config = ConfigDict(frozen=True)

    job_name: str
    archive: str = Field(description="S3 URI of the job's model.tar.gz.")
    seconds: int = Field(description="Training time that SageMaker reports.")
    phases: dict[str, float] = Field(description="Seconds of the job by phase.")
    metrics: dict[str, float] = Field(description="Measured on the validation split.")
    cost: Cost


def code_uri(archive: bytes, settings: Settings) -> str:
    """Where training code goes: equal code to the same place."""
    return f"s3://{settings.bucket}/code/{code_archive.fingerprint(archive)}/sourcedir.tar.gz"


@task(name="upload training code", task_run_name="upload training code", **RETRIES)
def upload_code(settings: Settings) -> str:
    """Put the training room on S3 as ``sourcedir.tar.gz``; returns its URI, which holds its digest."""
    archive = code_archive.training_code()
    uri = code_uri(archive, settings)
    put_large(uri, archive)
    return uri


def script_hyperparameters(code: str, program: str, recipe: dict[str, Any]) -> dict[str, str]:
    """Script mode's hyperparameters: strings all of them, and where the script is."""
    values = {name: as_argument(value) for name, value in recipe.items()}
    return values | {"sagemaker_program": program, "sagemaker_submit_directory": code}


def metric_definitions() -> "list[sdk.MetricDefinition]":
    """What SageMaker reads from the log."""
    return [sdk.MetricDefinition(name=item["Name"], regex=item["Regex"]) for item in metrics.definitions()]


def resources(instance: str, count: int = 1) -> "sdk.ResourceConfig":
    """What a job runs on."""
    return sdk.ResourceConfig(instance_type=instance, instance_count=count, volume_size_in_gb=VOLUME_GB)


def jobs_prefix(settings: Settings) -> str:
    """Where jobs leave their archives."""
    return f"s3://{settings.bucket}/jobs"


def checkpoints(name: str, settings: Settings) -> "sdk.CheckpointConfig":
    """Where a job's checkpoints go, and come from when it starts again."""
    return sdk.CheckpointConfig(s3_uri=f"s3://{settings.bucket}/checkpoints/{name}")


def stopping(settings: Settings) -> "sdk.StoppingCondition":
    """How long a job may run and, on spot capacity, wait for an instance besides."""
    seconds = settings.job_timeout_minutes * 60
    if settings.spot:
        return sdk.StoppingCondition(
            max_runtime_in_seconds=seconds, max_wait_time_in_seconds=settings.training_minutes * 60
        )
    return sdk.StoppingCondition(max_runtime_in_seconds=seconds)


class Script(BaseModel):
    """A script to run as a training job: everything that its request is made of."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Of the job; stands for everything that goes in.")
    inputs: JobInputs = Field(description="Data, code and weights.")
    request: dict[str, str] = Field(description="Script mode's hyperparameters.")
    outputs: str = Field(description="S3 prefix below which the job's archive goes.")
    instance: str = Field(description="Type of what it runs on.")
    instances: int = 1
    debugger: DebugOptions | None = Field(
        None, description="Ask for SageMaker Debugger, to record so much; where it is refused, go without."
    )


def start_script(
    script: Script, settings: Settings, before_another: "Callable[[sdk.TrainingJob], None] | None" = None
) -> "sdk.TrainingJob":
    """Start a script, or find the job of its name; see `attach`."""
    name, inputs, request = script.name, script.inputs, script.request

    def create(candidate: str) -> "sdk.TrainingJob":
        debugger = managed.request_members(settings, script.debugger) if script.debugger else {}
        try:
            return submit(candidate, debugger)
        except ClientError as error:
            if not debugger or not managed.is_refusal(error):
                raise
            get_run_logger().warning("%s", managed.explain(error))
            return submit(candidate, {})

    def submit(candidate: str, more: dict[str, Any]) -> "sdk.TrainingJob":
        return sdk.TrainingJob.create(
            training_job_name=candidate,
            role_arn=settings.role,
            algorithm_specification=sdk.AlgorithmSpecification(
                training_image=image_uri(settings, "training", script.instance),
                training_input_mode="File",
                metric_definitions=metric_definitions(),
            ),
            hyper_parameters=request,
            input_data_config=inputs.channels(),
            output_data_config=sdk.OutputDataConfig(s3_output_path=script.outputs),
            resource_config=resources(script.instance, script.instances),
            stopping_condition=stopping(settings),
            enable_managed_spot_training=settings.spot,
            # Not by the candidate's name: a second attempt goes on where the first one failed.
            checkpoint_config=checkpoints(name, settings),
            environment=MEMORY_ENVIRONMENT,
            tags=tags(inputs.run_id),
            **more,
        )

    return attach(name, sdk.TrainingJob.get, create, _status, before_another)


def run_script(
    script: Script, label: str, settings: Settings, stopping_rules: Mapping[str, Mapping[str, Any]] | None = None
) -> "sdk.TrainingJob":
    """Start a script, or find its job, and wait; returns the job completed. The progress artifact has the label.

    Args:
        script: what to run.
        label: of the progress artifact.
        settings: how often to ask, and for how long.
        stopping_rules: debugger rules that end the job when they fire; their parameters by name.

    Raises:
        JobError: the job failed; carries SageMaker's reason and the end of the log. Or a rule ended it.
    """
    with Watch(stopping_rules or {}) as watch:
        job = start_script(script, settings, watch.explain)
        log, progress = LogTail("TrainingJobs", job.training_job_name), Progress(label)

        def look(lines: list[str]) -> None:
            progress.read(lines)
            watch.look(job)

        try:
            follow(job, _status, settings, get_run_logger(), log, look, settings.training_minutes)
        except JobError as error:
            watch.explain(job)
            raise _with_places(error, job) from error
    progress.finish()
    return job


def _with_places(error: JobError, job: "sdk.TrainingJob") -> JobError:
    """The error with its job's name and, where it is about a checkpoint, with the place that a person can reach."""
    where = f"\nIts checkpoints are in {job.checkpoint_config.s3_uri}" if "checkpoint" in str(error) else ""
    return JobError(f"{error}{where}", str(job.training_job_name))


def _status(job: "sdk.TrainingJob") -> str:
    return str(job.training_job_status)


def final_training(
    inputs: JobInputs, recipe: Hyperparameters, settings: Settings, recording: DebugOptions = BY_DEFAULT
) -> Script:
    """The final training, as a script to run, and how much the debugger records of it."""
    processes = 1 if inputs.features else settings.training_processes  # a last layer alone is too small to share
    recipe = dataclasses.replace(recipe, processes=processes)
    request = script_hyperparameters(
        inputs.code, "finetune_debugger.py", dataclasses.asdict(recipe) | dataclasses.asdict(recording)
    )
    return Script(
        name=job_name(inputs.run_id, "train", [inputs.model_dump(exclude={"run_id"}), request]),
        inputs=inputs,
        request=request,
        outputs=jobs_prefix(settings),
        instance=settings.head_instance if inputs.features else settings.training_instance,
        instances=1 if inputs.features else settings.training_instances,
        debugger=recording if settings.debugger else None,
    )


def check_precision(recipe: Hyperparameters, settings: Settings) -> None:
    """Refuse what jobs would refuse, before data and other jobs are paid for.

    Raises:
        TrainingError: float16 is asked for where there is no GPU: on an instance, or, in the embedded cloud, here.
    """
    if recipe.precision != "float16":
        return
    asked = {settings.head_instance}
    if not can_stand_for_photos(recipe):
        asked = {settings.tuning_instance, settings.training_instance}
    without = "this machine" if default_device().type == "cpu" else ""
    if settings.target == "aws":
        without = ", ".join(sorted(name for name in asked if not has_gpu(name)))
    if without:
        raise TrainingError(f"precision float16 needs a GPU, and {without} has none: take auto, bfloat16 or float32")


@task(name="train", task_run_name="train", **RETRIES)
def train(
    inputs: JobInputs,
    recipe: Hyperparameters,
    settings: Settings,
    stopping_rules: Mapping[str, Mapping[str, Any]] | None = None,
    recording: DebugOptions = BY_DEFAULT,
) -> TrainedModel:
    """Run the final training, watched by the debugger, or find the one that already ran for the same inputs.

    Args:
        inputs: data, code and weights.
        recipe: hyperparameters.
        settings: where, and on what.
        stopping_rules: debugger rules that end the job when they fire; their parameters by name.
        recording: how much the debugger records.

    Raises:
        JobError: the job failed; carries SageMaker's reason and the end of the log. Or a rule ended it.
    """
    script = final_training(inputs, recipe, settings, recording)
    job = run_script(script, "Epochs of the training", settings, stopping_rules)
    archive = str(job.model_artifacts.s3_model_artifacts)
    card = json.loads(read_member(archive, CARD_FILE))
    seconds = int(job.training_time_in_seconds or 0)
    return TrainedModel(
        job_name=job.training_job_name,
        archive=archive,
        seconds=seconds,
        phases=job_phases(card["phases"], seconds),
        metrics=card["metrics"],
        cost=cost_of_attempts(script.name, job),
    )


def cost_of_attempts(name: str, job: "sdk.TrainingJob") -> Cost:
    """What a job is billed for, and with it those of its name that failed or were stopped before it."""
    earlier = [sdk.TrainingJob.get(each) for each in attempts_before(name, job.training_job_name)]
    return cost_of([*earlier, job])


def cost_of(jobs: "Sequence[sdk.TrainingJob]") -> Cost:
    """What these jobs are billed for, as if all were on the last one's kind of instance."""
    seconds = sum(int(job.billable_time_in_seconds or 0) * int(job.resource_config.instance_count) for job in jobs)
    return Cost(instance=str(jobs[-1].resource_config.instance_type), billable_seconds=seconds)


def job_phases(measured: dict[str, float], seconds: float) -> dict[str, float]:
    """Phases of the whole job: what the script could not see, its container's start among it, is ``other``.

    A job that went on from a failed one's checkpoint has more to tell than its own seconds.
    """
    claimed = {name: measured.get(name, 0.0) for name in ("train", "eval", "data")}
    other = max(measured.get("other", 0.0), seconds - sum(claimed.values()))
    return claimed | {"other": round(other, 3)}
