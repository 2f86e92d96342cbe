"""How good the model is on photos of bins that it has never seen, beside the benchmark."""

import tarfile
import tempfile
from pathlib import Path

import torch
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict, Field

from serving import inference
from serving.prediction import Prediction
from tasks.data.prepared_data import PreparedData
from tasks.data.split_photos import fetch_photos, list_photos
from tasks.training_job import fetch
from tasks.transient import RETRIES
from training import metrics
from training.errors import ModelError, PhotoError

BATCH = 64
BENCHMARK = {"accuracy": 0.5567, "rmse": 0.930}
"""abid_challenge, 2017: ResNet34 from scratch on 325,000 photos, random split, classes 0-5."""


class Evaluation(BaseModel):
    """What a model measures on the test split."""

    model_config = ConfigDict(frozen=True)

    accuracy: float = Field(description="Share of photos whose count is exactly right.")
    rmse: float = Field(description="Root mean squared error, in objects.")
    mae: float = Field(description="Mean absolute error, in objects.")
    within_one: float = Field(description="Share of photos at most one off.")
    loss: float = Field(description="Mean negative log-likelihood, in nats.")
    n: int = Field(description="Photos measured.")
    unreadable: int = Field(description="Photos of the split that could not be decoded.")
    per_class: dict[int, float] = Field(description="Accuracy by true count.")
    confusion: list[list[int]] = Field(description="Photos by true count (row) and count (column).")


class EvaluatedModel(BaseModel):
    """An evaluation with the prediction for every photo, which the endpoint will have to agree with."""

    model_config = ConfigDict(frozen=True)

    evaluation: Evaluation
    predictions: dict[str, Prediction] = Field(description="By photo id.")


@task(name="evaluate", task_run_name="evaluate", **RETRIES)
def evaluate(archive: str, data: PreparedData) -> EvaluatedModel:
    """Measure a model on the test split, through the handlers that will serve it.

    Args:
        archive: S3 URI of a ``model.tar.gz``.
        data: the dataset; its ``test`` split is used.

    Raises:
        ModelError: the archive cannot be loaded.
        DataError: the test split is empty.
    """
    photos = list_photos(data, "test")
    with tempfile.TemporaryDirectory() as folder:
        model = load_archive(fetch(archive), Path(folder))
    photos = [photo for photo in photos if photo.count in model.card.classes]
    predictions: dict[str, Prediction] = {}
    unreadable: dict[str, str] = {}
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        pixels: dict[str, torch.Tensor] = {}
        for photo, content in zip(batch, fetch_photos(data, batch), strict=True):
            try:
                pixels[photo.photo_id] = model.pixels(content)
            except PhotoError as error:
                unreadable[photo.photo_id] = str(error)
        if pixels:
            answers = inference.predict_batch(torch.stack(list(pixels.values())), model)
            predictions |= dict(zip(pixels, answers, strict=True))
    for photo_id, reason in unreadable.items():
        get_run_logger().warning("photo %s is not measured: %s", photo_id, reason)
    counts = {photo.photo_id: photo.count for photo in photos if photo.photo_id in predictions}
    result = measure(predictions, counts, model.card.classes, len(unreadable))
    create_markdown_artifact(as_markdown(result), key="evaluation", description="Evaluation on the test split")
    return EvaluatedModel(evaluation=result, predictions=predictions)


def load_archive(content: bytes, folder: Path) -> inference.Model:
    """Unpack a ``model.tar.gz`` into ``folder`` and load it.

    Raises:
        ModelError: it is no such archive, or does not hold a model of ours.
    """
    packed = folder / "model.tar.gz"
    packed.write_bytes(content)
    try:
        with tarfile.open(packed, "r:gz") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelError(f"the model archive cannot be unpacked: {error}") from error
    return inference.model_fn(str(folder))


def measure(
    predictions: dict[str, Prediction], counts: dict[str, int], classes: tuple[int, ...], unreadable: int = 0
) -> Evaluation:
    """Measure predictions against true counts, both by photo id.

    Raises:
        ModelError: there is nothing to measure.
    """
    if not counts:
        raise ModelError("no photo of the test split could be measured")
    ids = sorted(counts)
    truth = torch.tensor([counts[photo] for photo in ids])
    shares = torch.tensor([[predictions[photo].probabilities[count] for count in classes] for photo in ids])
    predicted = torch.tensor([predictions[photo].count for photo in ids])
    confusion = [[int(((truth == t) & (predicted == p)).sum()) for p in classes] for t in classes]
    per_class = {
        count: float((predicted[truth == count] == count).double().mean())
        for count in classes
        if (truth == count).any()
    }
    return Evaluation(
        **metrics.measure(shares, truth, classes),
        n=len(ids),
        unreadable=unreadable,
        per_class=per_class,
        confusion=confusion,
    )


def as_markdown(result: Evaluation) -> str:
    """The figures beside the benchmark's."""
    return (
        f"| | this model ({result.n} photos) | benchmark |\n|---|---|---|\n"
        f"| accuracy | {result.accuracy:.2%} | {BENCHMARK['accuracy']:.2%} |\n"
        f"| RMSE | {result.rmse:.3f} | {BENCHMARK['rmse']:.3f} |\n"
        f"| MAE | {result.mae:.3f} | |\n"
        f"| within one | {result.within_one:.2%} | |\n\n"
        "The benchmark was measured on a random split of 325,000 photos, classes 0-5; this model on bins "
        "that it has never seen.\n"
    )
