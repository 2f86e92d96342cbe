"""From a trained archive and its evaluation to one that can be served, registered and proven."""

import io
import json
import subprocess
import tarfile
from pathlib import PurePosixPath

import obstore
from prefect import task
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from serving.prediction import Prediction
from serving.requests import BUCKETS_VARIABLE, HOSTS_VARIABLE, MOST_READ
from tasks import code_archive, sdk
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.results import ANSWERS, EvaluatedModel
from tasks.jobs import image_uri
from tasks.large_objects import put_large
from tasks.nightly.policy import policy_facts
from tasks.object_store import fetch, open_store
from tasks.release.registry import Registration, make_model
from tasks.retries import RETRIES
from tasks.settings import Settings
from training.errors import ModelError
from training.files import CARD_FILE, WEIGHTS_FILE
from training.memory import SERVING_ENVIRONMENT

ARCHIVE, EVALUATION, CASES = "model.tar.gz", "evaluation.json", "smoke.json"


class SmokeCase(BaseModel):
    """A photo, and what the model must answer to it."""

    model_config = ConfigDict(frozen=True)

    photo: str = Field(description="S3 URI.")
    expected: Prediction


_CASES = TypeAdapter(list[SmokeCase])


@task(name="package model", task_run_name="package model", **RETRIES)
def package_model(
    archive: str, evaluated: EvaluatedModel, data: PreparedData, run_id: str, smoke_photos: int, settings: Settings
) -> Registration:
    """Put a servable archive on S3, with what evaluation found beside it, and make a SageMaker Model of it.

    Args:
        archive: S3 URI of the training job's archive.
        evaluated: its evaluation; calibration and arithmetic go into the model's card.
        data: what it was evaluated on.
        run_id: of the run that asks.
        smoke_photos: how many photos an endpoint will be tried with.
        settings: where and on what.

    Raises:
        ModelError: the archive lacks weights or card.
        TransferError: it could not be written this time.
    """
    found = evaluated.evaluation
    files = model_files(fetch(archive))
    card = json.loads(files[CARD_FILE]) | found.model_dump(include={"temperature", "tilt", "precision"})
    files[CARD_FILE] = json.dumps(card, indent=2, sort_keys=True).encode()
    packed = code_archive.pack(files | code_archive.serving_code())
    name = f"binventory-{run_id}-{code_archive.fingerprint(packed)}"
    store = open_store(folder_of(name, settings))
    obstore.put(store, ANSWERS, evaluated.table())
    obstore.put(
        store, EVALUATION, evaluated.model_dump_json(include={"evaluation", "comparison", "incomparable"}).encode()
    )
    obstore.put(store, CASES, _CASES.dump_json(choose_cases(evaluated, data, smoke_photos)))
    put_large(f"{folder_of(name, settings)}/{ARCHIVE}", packed)
    facts = {
        "run_id": run_id,
        "accuracy": f"{found.accuracy:.4f}",
        "rmse": f"{found.rmse:.4f}",
        "mae": f"{found.mae:.4f}",
        "within_one": f"{found.within_one:.4f}",
        "loss": f"{found.loss:.4f}",
        "ece": f"{found.ece:.4f}",
        "photos": str(found.n),
        "temperature": f"{found.temperature:.4f}",
        "tilt": f"{found.tilt:.4f}",
        "precision": found.precision,
        "dataset": data.dataset,
        "data_digest": data.digest,
        "code_version": code_version(),
    } | (policy_facts(evaluated.policy) if evaluated.policy else {})
    packed_model = registration(name, facts, settings)
    create_model(packed_model, settings)
    return packed_model


def folder_of(name: str, settings: Settings) -> str:
    """Where a model's archive lies, and what evaluation found beside it."""
    return f"s3://{settings.bucket}/models/{name}"


def registration(name: str, facts: dict[str, str], settings: Settings) -> Registration:
    """What is registered of the model of a name."""
    folder = folder_of(name, settings)
    return Registration(
        name=name,
        uri=f"{folder}/{ARCHIVE}",
        image=image_uri(settings, "inference", settings.serving_instance),
        environment=container_environment(settings),
        evaluation_uri=f"{folder}/{EVALUATION}",
        facts=facts,
    )


def create_model(model: Registration, settings: Settings) -> None:
    """Make the SageMaker Model of an archive, unless it is there."""
    container = sdk.ContainerDefinition(image=model.image, model_data_url=model.uri, environment=model.environment)
    make_model(model.name, container, model.facts["run_id"], settings)


def container_environment(settings: Settings) -> dict[str, str]:
    """Variables of the inference container: what to run, how much at once, where photos may come from, and memory.

    TorchServe, which runs in it, reads no more than 6.5 MB of a request unless it is told to.
    """
    workers = {"SAGEMAKER_MODEL_SERVER_WORKERS": str(settings.serving_workers)} if settings.serving_workers else {}
    return (
        {
            "SAGEMAKER_PROGRAM": "inference.py",
            HOSTS_VARIABLE: settings.photo_hosts,
            BUCKETS_VARIABLE: settings.photo_buckets,
            "TS_MAX_REQUEST_SIZE": str(MOST_READ),
        }
        | workers
        | SERVING_ENVIRONMENT
    )


def choose_cases(evaluated: EvaluatedModel, data: PreparedData, photos: int) -> list[SmokeCase]:
    """Test photos for the smoke test, spread over the split."""
    known = [each for each in evaluated.answers if each.split == "test"]
    chosen = known[:: max(1, len(known) // photos)][:photos]
    return [SmokeCase(photo=f"{data.uri}/{each.key}", expected=each.prediction) for each in chosen]


def read_cases(uri: str) -> list[SmokeCase]:
    """The smoke test of a model, by the URI of its archive.

    Raises:
        ModelError: it has none.
    """
    folder, _, _ = uri.rpartition("/")
    try:
        return _CASES.validate_json(fetch(f"{folder}/{CASES}"))
    except (FileNotFoundError, ValueError) as error:
        raise ModelError(f"{folder} has no readable {CASES}, so that an endpoint of it could not be tried") from error


def model_files(archive: bytes) -> dict[str, bytes]:
    """Weights and card out of a training job's archive, and nothing else.

    Raises:
        ModelError: one of them is absent.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            for member in opened:
                name, file = PurePosixPath(member.name).name, opened.extractfile(member)
                if file and name in (WEIGHTS_FILE, CARD_FILE):
                    found[name] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelError(f"the model archive cannot be unpacked: {error}") from error
    if absent := sorted({WEIGHTS_FILE, CARD_FILE} - found.keys()):
        raise ModelError(f"the model archive has no {' and no '.join(absent)}")
    return found


def code_version() -> str:
    """The commit that this code is at, with ``+`` where files were changed; and a digest of what is shipped."""
    digest = code_archive.fingerprint(code_archive.training_code() + code_archive.pack(code_archive.serving_code()))
    git = ["git", "-C", str(code_archive.ROOT), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"code {digest}"
    return f"{done.stdout.strip()} code {digest}"
