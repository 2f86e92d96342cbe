"""The evaluation of a trained model: calibrate it on validation, measure it on test, beside the one that serves now."""

import dataclasses
import io
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import PermissionDeniedError
from prefect import get_run_logger, task

from serving import inference
from tasks.data.prepared_data import PreparedData
from tasks.evaluation.calibration import fit_calibration
from tasks.evaluation.intervals import interval, resampled_means
from tasks.evaluation.looking import Looked, choose_precision, load_archive, look
from tasks.evaluation.measure import errors_of, measure
from tasks.evaluation.results import ANSWERS, SOURCE, Answer, Comparison, EvaluatedModel
from tasks.nightly.judge import Policy
from tasks.nightly.policy import policy_from_validation
from tasks.object_store import fetch
from tasks.release.serving_now import archive_behind
from tasks.retries import RETRIES
from tasks.settings import Settings
from training.errors import DataError, ModelError, SourceError

FEWEST = 30
"""On fewer photos two models are not compared, unless these are all."""


@task(name="evaluate", task_run_name="evaluate", **RETRIES)
def evaluate(archive: str, data: PreparedData, endpoint_name: str, settings: Settings) -> EvaluatedModel:
    """Measure a model on the test split, through the handlers that will serve it.

    Args:
        archive: S3 URI of a ``model.tar.gz``.
        data: the dataset; calibration and arithmetic are chosen on its ``valid`` split.
        endpoint_name: the model behind it, if any, is measured on the same photos.
        settings: the arithmetic that is wanted.

    Raises:
        ModelError: the archive cannot be loaded.
        DataError: a split is empty.
    """
    log = get_run_logger()
    with tempfile.TemporaryDirectory() as folder:
        model = load_archive(fetch(archive), Path(folder))
    model = with_precision(model, data, settings)
    valid, test = look(model, data, "valid"), look(model, data, "test")
    model = calibrated(model, valid)
    for photo_id, reason in (valid.unreadable | test.unreadable).items():
        log.warning("photo %s is not measured: %s", photo_id, reason)
    policy = chosen_policy(valid, model)
    result = measure(test, model, policy or Policy())
    log.info(
        "accuracy %.4f, temperature %.3f, tilt %.3f, %s",
        result.accuracy,
        result.temperature,
        result.tilt,
        result.precision,
    )
    comparison, incomparable = None, None
    try:
        comparison = compare_with_deployed(model, test, data, endpoint_name)
    except ModelError as error:
        incomparable = str(error)
        log.warning("not compared with the deployed model: %s", incomparable)
    return EvaluatedModel(
        evaluation=result,
        comparison=comparison,
        incomparable=incomparable,
        policy=policy,
        source=data.source,
        answers=[*_answers(valid, model, "valid"), *_answers(test, model, "test")],
    )


def with_precision(model: inference.Model, data: PreparedData, settings: Settings) -> inference.Model:
    """The model with the arithmetic that settings name, or that is faster and agrees.

    On AWS other processors serve than the one that evaluates. Without AMX, bfloat16 takes twice as long as float32.
    """
    precision: str = settings.serving_precision
    if precision == "auto" and settings.target == "aws" and not serves_on_amx(settings):
        precision = "float32"
    elif precision == "auto":
        precision, agreement = choose_precision(model, data)
        get_run_logger().info("bfloat16 gives the same count to %.2f%%: %s is used", 100 * agreement, precision)
    return inference.Model(model.network, dataclasses.replace(model.card, precision=precision))


def serves_on_amx(settings: Settings) -> bool:
    """Whether endpoint and batch jobs run on processors that multiply in bfloat16: Intel's since AWS's generation 7."""
    return all(re.match(r"ml\.[cmr][78]i", each) for each in (settings.serving_instance, settings.transform_instance))


def calibrated(model: inference.Model, valid: Looked) -> inference.Model:
    """The model with a temperature and a tilt that are fitted on validation photos in range."""
    outputs = model.card.outputs
    inside = valid.in_range(outputs)
    positions = np.searchsorted(outputs.classes, inside.counts)
    temperature, tilt = fit_calibration(outputs.answers(inside.raw)[0], inside.counts.new_tensor(positions))
    return inference.Model(model.network, dataclasses.replace(model.card, temperature=temperature, tilt=tilt))


def chosen_policy(valid: Looked, model: inference.Model) -> Policy | None:
    """What the nightly count will judge by; None where validation photos are too few to choose by."""
    counts = {photo.photo_id: photo.count for photo in valid.photos}
    try:
        return policy_from_validation(valid.predictions(model), counts)
    except DataError as error:
        get_run_logger().info("no thresholds for the nightly count, its default ones will hold: %s", error)
        return None


def compare_with_deployed(
    model: inference.Model, test: Looked, data: PreparedData, endpoint_name: str
) -> Comparison | None:
    """Measure the model behind an endpoint on the same photos; None when there is none.

    On those of them that it did not learn from: another split, or a dataset of another name, may have put some of this
    test split into its training, where it would look far better than it is. A model of another source's photos, as
    that of rendered ones, has learned from none.

    Raises:
        ModelError: there is one, and it cannot be compared with; says why.
    """
    uri = archive_behind(endpoint_name)
    if uri is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            deployed = load_archive(fetch(uri), Path(folder))
    except (ModelError, SourceError, FileNotFoundError, PermissionDeniedError) as error:
        raise ModelError(f"{uri} cannot be loaded: {error}") from error
    if deployed.card.classes != model.card.classes:
        raise ModelError(f"{uri} answers {deployed.card.classes}, this model {model.card.classes}")
    fair = _held_back(uri, data.source, {photo.photo_id for photo in test.photos})
    both = test.of(fair)
    mine, whole = both.in_range(model.card.outputs), test.in_range(model.card.outputs)
    if len(mine.photos) < min(FEWEST, len(whole.photos)):
        raise ModelError(
            f"{uri} may have learned from most of these photos: only {len(mine.photos)} of {len(whole.photos)} are "
            f"known to have been held back from it too, and {FEWEST} are needed to compare"
        )
    old = look(deployed, data, "test").of(fair)
    theirs, own = measure(old, deployed), measure(both, model)
    counts = mine.counts.numpy()
    right = errors_of(list(mine.predictions(model).values()), counts)[:, 0]
    before = errors_of(list(old.in_range(deployed.card.outputs).predictions(deployed).values()), counts)[:, 0]
    gain = right - before
    return Comparison(
        deployed=uri,
        version=deployed.card.version,
        **theirs.model_dump(include={"accuracy", "rmse", "within_one", "loss", "ece", "n"}),
        own_accuracy=own.accuracy,
        own_rmse=own.rmse,
        accuracy_gain=float(gain.mean()),
        accuracy_gain_interval=interval(resampled_means(gain[:, None], mine.groups)[:, 0]),
    )


def _held_back(archive: str, source: str, photos: set[str]) -> set[str]:
    """Those photos of a source that a model did not learn from: it was measured on them, or on another source's.

    Raises:
        ModelError: nothing says which they are.
    """
    answers = f"{archive.rpartition('/')[0]}/{ANSWERS}"
    try:
        table = pq.read_table(io.BytesIO(fetch(answers)), columns=["photo_id"])
    except (pa.ArrowException, SourceError, FileNotFoundError, PermissionDeniedError) as error:
        raise ModelError(f"which photos {archive} learned from is not known: {answers}: {error}") from error
    learned = (table.schema.metadata or {}).get(SOURCE, b"").decode()
    if learned and source and learned != source:  # ids of two sources say nothing about each other
        return photos
    return photos.intersection(table["photo_id"].to_pylist())


def _answers(looked: Looked, model: inference.Model, split: str) -> list[Answer]:
    predictions = looked.predictions(model)
    return [
        Answer(
            photo_id=photo.photo_id,
            key=photo.key,
            split=split,
            count=photo.count,
            bin_group=group,
            prediction=predictions[photo.photo_id],
        )
        for photo, group in zip(looked.photos, looked.groups, strict=True)
    ]
