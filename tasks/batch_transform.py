"""Counting many photos at once, by a SageMaker batch transform job."""

import json
from pathlib import PurePosixPath

import obstore
from prefect import get_run_logger, task
from sagemaker.core.resources import TransformJob
from sagemaker.core.shapes import (
    TransformDataSource,
    TransformInput,
    TransformOutput,
    TransformResources,
    TransformS3DataSource,
)

from serving.prediction import Prediction
from tasks.data.prepared_data import PreparedData
from tasks.data.split_photos import list_photos
from tasks.jobs import LogTail, attach, follow, job_name, tags
from tasks.object_store import open_store
from tasks.settings import Settings
from tasks.transient import RETRIES


@task(name="batch transform", task_run_name="batch transform", **RETRIES)
def batch_transform(
    model_name: str, data: PreparedData, photos: int, run_id: str, settings: Settings
) -> dict[str, Prediction]:
    """Count test photos in one job; predictions by photo id.

    Args:
        model_name: the SageMaker Model.
        data: where the photos are.
        photos: how many, at most.
        run_id: of the run that asks.
        settings: where and on what.

    Raises:
        JobError: the job failed; carries SageMaker's reason and the end of the log.
    """
    keys = [photo.key for photo in list_photos(data, "test")[:photos]]
    name = job_name(run_id, "count", [model_name, data.digest, keys])
    folder = folder_of(name, settings)
    manifest = json.dumps([{"prefix": f"{data.uri}/"}, *keys])
    obstore.put(open_store(folder), "photos.manifest", manifest.encode())
    job = start_count(name, model_name, run_id, settings)
    follow(job, _status, settings, get_run_logger(), LogTail("TransformJobs", job.transform_job_name))
    return read_outputs(f"{folder}/out")


def folder_of(name: str, settings: Settings) -> str:
    """Where a job's manifest lies and its answers go."""
    return f"s3://{settings.bucket}/transform/{name}"


def start_count(name: str, model_name: str, run_id: str, settings: Settings) -> TransformJob:
    """Start the job whose manifest lies in its folder, or find it."""
    folder = folder_of(name, settings)

    def create(candidate: str) -> TransformJob:
        source = TransformS3DataSource(s3_data_type="ManifestFile", s3_uri=f"{folder}/photos.manifest")
        return TransformJob.create(
            transform_job_name=candidate,
            model_name=model_name,
            transform_input=TransformInput(
                data_source=TransformDataSource(s3_data_source=source), content_type="image/jpeg"
            ),
            transform_output=TransformOutput(s3_output_path=f"{folder}/out", accept="application/json"),
            transform_resources=TransformResources(instance_type=settings.transform_instance, instance_count=1),
            batch_strategy="SingleRecord",
            max_concurrent_transforms=2,
            max_payload_in_mb=20,
            tags=tags(run_id),
        )

    return attach(name, TransformJob.get, create, _status)


def _status(job: TransformJob) -> str:
    return str(job.transform_job_status)


def read_outputs(uri: str) -> dict[str, Prediction]:
    """The predictions that a transform job wrote below a prefix, by photo id."""
    store = open_store(uri)
    outputs = [entry["path"] for page in obstore.list(store) for entry in page if entry["path"].endswith(".out")]
    return {
        PurePosixPath(path.removesuffix(".out")).stem: Prediction.from_json(bytes(obstore.get(store, path).bytes()))
        for path in outputs
    }
