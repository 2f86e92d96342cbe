"""A frozen backbone's features: computed by one job, once for the same photos, weights, size and code."""

import dataclasses

from botocore.exceptions import ClientError
from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from tasks import sdk
from tasks.jobs import is_missing, job_name
from tasks.object_store import open_store
from tasks.prices import Cost
from tasks.retries import RETRIES
from tasks.run_record import digest_of
from tasks.settings import Settings
from tasks.training_job import JobInputs, Script, cost_of_attempts, run_script, script_hyperparameters
from training.hyperparameters import Hyperparameters


class StoredFeatures(BaseModel):
    """Features on S3."""

    model_config = ConfigDict(frozen=True)

    uri: str = Field(description="Of the archive, as a channel takes it.")
    cost: Cost | None = Field(description="None where they were there already.")


@task(name="compute features", task_run_name="compute features", **RETRIES)
def compute_features(inputs: JobInputs, recipe: Hyperparameters, settings: Settings) -> StoredFeatures:
    """Have a job run the frozen backbone over all photos, unless that was done; returns where its output is.

    Raises:
        JobError: the job failed; carries SageMaker's reason and the end of the log.
    """
    script = features_script(inputs, recipe, settings)
    if found := finished_archive(script.outputs):
        return StoredFeatures(uri=found, cost=None)
    job = run_script(script, "Features", settings)
    return StoredFeatures(uri=str(job.model_artifacts.s3_model_artifacts), cost=cost_of_attempts(script.name, job))


def features_script(inputs: JobInputs, recipe: Hyperparameters, settings: Settings) -> Script:
    """The computation of features, as a script to run; its outputs are where equal features lie."""
    told = {"backbone": recipe.backbone, "image_size": recipe.image_size}
    digest = digest_of([inputs.code, inputs.weights, inputs.data_digest, told])
    # One phase: a schedule of growing photos would ask for features at each size.
    parameters = dataclasses.asdict(dataclasses.replace(recipe, schedule="", epochs=1, processes=1))
    return Script(
        name=job_name(inputs.run_id, "features", digest),
        inputs=inputs,
        request=script_hyperparameters(inputs.code, "compute_features.py", parameters),
        outputs=f"s3://{settings.bucket}/features/{digest}",
        instance=settings.training_instance,
    )


def finished_archive(prefix: str) -> str | None:
    """URI of what a completed job left below a prefix; one that was stopped leaves an archive too, without features."""
    for listed in open_store(f"{prefix}/").list():
        for item in listed:
            job, _, rest = item["path"].partition("/")
            if rest == "output/model.tar.gz" and _is_completed(job):
                return f"{prefix}/{item['path']}"
    return None


def _is_completed(job: str) -> bool:
    try:
        return bool(sdk.TrainingJob.get(job).training_job_status == "Completed")
    except ClientError as error:
        if is_missing(error):  # another account's, or one of an embedded cloud that is gone
            return False
        raise
