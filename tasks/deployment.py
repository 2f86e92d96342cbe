"""From a trained model to an endpoint that answers."""

import io
import tarfile
import time
from pathlib import PurePosixPath

import obstore
from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict, Field
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

from serving.prediction import Prediction
from serving.predictor import ImagePredictor
from tasks import code_archive
from tasks.data.prepared_data import PreparedData
from tasks.data.split_photos import fetch_photos, list_photos
from tasks.jobs import find_or_create, image_uri, tags
from tasks.object_store import open_store, split_uri
from tasks.settings import Settings
from tasks.training_job import fetch
from tasks.transient import RETRIES
from training.errors import DeploymentError
from training.model import CARD_FILE, WEIGHTS_FILE

ENDPOINT_MINUTES = 30
VARIANT = "main"
TOLERANCE = 1e-3
"""How far a probability may differ between evaluation's batches and the endpoint's single photos."""


class ServableModel(BaseModel):
    """A model archive with everything that serving takes, and the SageMaker Model made of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    uri: str = Field(description="S3 URI of model.tar.gz.")


class SmokeTest(BaseModel):
    """What the endpoint answered to photos whose answer evaluation knows."""

    model_config = ConfigDict(frozen=True)

    photos: int
    equal: int = Field(description="Photos with the same count as in evaluation.")
    largest_difference: float = Field(description="Of any probability, to evaluation's.")


@task(name="package model", task_run_name="package model", **RETRIES)
def package_model(archive: str, run_id: str, settings: Settings) -> ServableModel:
    """Add the inference code to a trained archive, put it on S3 and make a SageMaker Model of it.

    Raises:
        KeyError: the archive lacks weights or card.
    """
    packed = code_archive.pack(model_files(fetch(archive)) | code_archive.serving_code())
    name = f"binventory-{run_id}-{code_archive.fingerprint(packed)}"
    uri = f"s3://{settings.bucket}/models/{name}/model.tar.gz"
    bucket, key = split_uri(uri)
    obstore.put(open_store(f"s3://{bucket}"), key, packed)
    container = ContainerDefinition(
        image=image_uri(settings, "inference", settings.serving_instance),
        model_data_url=uri,
        environment={"SAGEMAKER_PROGRAM": "inference.py"},
    )
    find_or_create(
        lambda: Model.get(name),
        lambda: Model.create(
            model_name=name, primary_container=container, execution_role_arn=settings.role, tags=tags(run_id)
        ),
    )
    return ServableModel(name=name, uri=uri)


def model_files(archive: bytes) -> dict[str, bytes]:
    """Weights and card out of a training job's archive, and nothing else.

    Raises:
        KeyError: one of them is absent.
    """
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        for member in opened:
            name, file = PurePosixPath(member.name).name, opened.extractfile(member)
            if file and name in (WEIGHTS_FILE, CARD_FILE):
                found[name] = file.read()
    return {name: found[name] for name in (WEIGHTS_FILE, CARD_FILE)}


@task(name="deploy", task_run_name="deploy {endpoint_name}", **RETRIES)
def deploy(model: ServableModel, endpoint_name: str, run_id: str, settings: Settings) -> str:
    """Put the model behind the endpoint, new or there already, and wait until it serves; returns its status.

    Raises:
        DeploymentError: the endpoint did not come up; says why.
    """
    config = model.name
    variant = ProductionVariant(
        variant_name=VARIANT,
        model_name=model.name,
        instance_type=settings.serving_instance,
        initial_instance_count=1,
    )
    find_or_create(
        lambda: EndpointConfig.get(config),
        lambda: EndpointConfig.create(endpoint_config_name=config, production_variants=[variant], tags=tags(run_id)),
    )
    endpoint = find_or_create(
        lambda: Endpoint.get(endpoint_name),
        lambda: Endpoint.create(endpoint_name=endpoint_name, endpoint_config_name=config, tags=tags(run_id)),
    )
    _await(endpoint, settings)
    if endpoint.endpoint_status == "Failed":
        # A failed endpoint can neither serve nor be updated.
        endpoint.delete()
        raise DeploymentError(f"endpoint {endpoint_name} did not come up: {endpoint.failure_reason}")
    if endpoint.endpoint_config_name != config:
        endpoint.endpoint_config_name = config
        endpoint.update()
        _await(endpoint, settings)
    if endpoint.endpoint_status != "InService" or endpoint.endpoint_config_name != config:
        raise DeploymentError(
            f"endpoint {endpoint_name} is {endpoint.endpoint_status}, still with its earlier model: "
            f"{endpoint.failure_reason or 'no reason given'}"
        )
    return str(endpoint.endpoint_status)


def _await(endpoint: Endpoint, settings: Settings) -> None:
    deadline = time.monotonic() + ENDPOINT_MINUTES * 60
    while endpoint.refresh().endpoint_status not in ("InService", "Failed"):
        if time.monotonic() > deadline:
            raise DeploymentError(
                f"endpoint {endpoint.endpoint_name} is {endpoint.endpoint_status} after {ENDPOINT_MINUTES} minutes"
            )
        time.sleep(settings.poll_seconds)


@task(name="smoke test", task_run_name="smoke test", **RETRIES)
def smoke_test(endpoint_name: str, data: PreparedData, expected: dict[str, Prediction], photos: int) -> SmokeTest:
    """Ask the endpoint about test photos; its answers must be evaluation's.

    Args:
        endpoint_name: to ask.
        data: where the photos are.
        expected: evaluation's predictions, by photo id.
        photos: how many to ask about.

    Raises:
        DeploymentError: an answer differs from evaluation's.
    """
    chosen = [photo for photo in list_photos(data, "test") if photo.photo_id in expected][:photos]
    answers = ImagePredictor(endpoint_name).predict(fetch_photos(data, chosen))
    result = compare(dict(zip((p.photo_id for p in chosen), answers, strict=True)), expected)
    get_run_logger().info("%d of %d answers equal evaluation's", result.equal, result.photos)
    if result.equal < result.photos or result.largest_difference > TOLERANCE:
        raise DeploymentError(
            f"endpoint {endpoint_name} answers {result.photos - result.equal} of {result.photos} photos with another "
            f"count than evaluation did; probabilities differ by up to {result.largest_difference:.4f}"
        )
    return result


def compare(answers: dict[str, Prediction], expected: dict[str, Prediction]) -> SmokeTest:
    """How far answers are from those expected; by photo id."""
    equal = sum(answer.count == expected[photo].count for photo, answer in answers.items())

    def difference(photo: str) -> float:
        known = expected[photo].probabilities
        return max(abs(share - known[count]) for count, share in answers[photo].probabilities.items())

    return SmokeTest(photos=len(answers), equal=equal, largest_difference=max(map(difference, answers), default=0.0))
