"""Counting a night's photos by SageMaker batch transform jobs."""

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import obstore
from botocore.exceptions import ClientError

from serving.prediction import Prediction
from tasks import sdk
from tasks.data.fetch import transfer_errors
from tasks.jobs import ENDED, LogTail, find_or_create, follow, job_name, tags
from tasks.nightly import misplaced
from tasks.nightly.copies import copies_uri, copy_name, copy_photos
from tasks.nightly.outcomes import GONE, Outcome
from tasks.nightly.patience import Patience
from tasks.nightly.photos import NightPhoto, read_object, s3_client
from tasks.nightly.plan import Chunk
from tasks.object_store import ensure_bucket, open_store
from tasks.settings import Settings
from training.errors import DeploymentError, ForbiddenObjectError, JobError, PhotoError, TransferError
from training.picture import decode

TRIES = 3
IN_FLIGHT = 64
LOOKERS = 16
SMALL_AT_ONCE, SMALL_MB = 16, 6
LARGE_AT_ONCE, LARGE_MB = 4, 21

Logger = logging.Logger | logging.LoggerAdapter[Any]


def count_by_jobs(
    chunk: Chunk, model_name: str, run_id: str, instances: int, settings: Settings, logger: Logger
) -> dict[str, Outcome]:
    """Count a chunk in a transform job; what it leaves over is looked at, and tried in another, three in all.

    A job that fails over some photos keeps the counts of the others. One that has not ended in time is stopped, and has
    no successor, which would be as late. Jobs are named by what goes in, so a night that was killed finds the jobs that
    it started.
    """
    ensure_bucket(f"s3://{settings.bucket}")
    outcomes = copy_photos(chunk.photos, run_id, settings) if chunk.copied else {}
    left = [photo for photo in chunk.photos if photo.photo not in outcomes]
    reason = ""
    for attempt in range(1, TRIES + 1):
        if not left:
            break
        name = job_name(run_id, "night", [model_name, chunk.number, attempt, [photo.photo for photo in left]])
        answers, reason, late = _transform(name, chunk, left, model_name, run_id, instances, settings, logger)
        outcomes |= {photo: Outcome(status="counted", prediction=answer) for photo, answer in answers.items()}
        left = [photo for photo in left if photo.photo not in outcomes]
        if late:
            break
        outcomes |= _look_at(left)
        if left := [photo for photo in left if photo.photo not in outcomes]:
            logger.warning("chunk %d: job %d left %d photos over: %s", chunk.number, attempt, len(left), reason)
    why = (reason or "the job gave no answer for it").splitlines()[0]
    outcomes |= {photo.photo: Outcome(status="uncounted", reason=why) for photo in left}
    return outcomes


def _transform(
    name: str,
    chunk: Chunk,
    photos: Sequence[NightPhoto],
    model_name: str,
    run_id: str,
    instances: int,
    settings: Settings,
    logger: Logger,
) -> tuple[dict[str, Prediction], str, bool]:
    """Run one job, or find it; return its answers by photo, why it failed if it did, and whether it was too late."""
    folder = folder_of(name, run_id, settings)

    def create() -> "sdk.TransformJob":
        manifest = _manifest(chunk, photos, run_id, settings)
        with transfer_errors(folder):
            obstore.put(open_store(folder), "photos.manifest", json.dumps(manifest).encode())
        return ask_for_counts(name, model_name, run_id, settings, large=chunk.large, instances=instances)

    reason, late = "", False
    job = find_or_create(partial(sdk.TransformJob.get, name), create)
    try:
        follow(job, _status, settings, logger, LogTail("TransformJobs", name))
    except JobError as error:
        reason, late = str(error), _status(job) not in ENDED
        if late:
            _stop(job, reason, logger)
    expected = {_output(chunk, photo): photo.photo for photo in photos}
    answers = read_answers(f"{folder}/out", expected)
    if not answers and not reason:
        answers, reason = _find_answers(f"{folder}/out", expected)
    return answers, reason, late


def _find_answers(uri: str, expected: dict[str, str]) -> tuple[dict[str, Prediction], str]:
    """Look for a completed job's answers that are not where they should be; if there are none, say where it looked."""
    there = misplaced.list_outputs(uri)
    answers = read_answers(uri, misplaced.match_outputs(there, expected))
    return answers, "" if answers else misplaced.explain(uri, expected, there)


def _stop(job: "sdk.TransformJob", reason: str, logger: Logger) -> None:
    """Stop a job that is too late: AWS gives transform jobs no time limit, so it would go on, and be paid for."""
    try:
        job.stop()
    except ClientError as error:
        logger.warning("%s; it cannot be stopped, and may go on: %s", reason, error)
    else:
        logger.warning("%s; it is stopped, and the next run tries its photos again", reason)


def folder_of(name: str, run_id: str, settings: Settings) -> str:
    """Where a job's manifest lies and its answers go."""
    return f"s3://{settings.bucket}/nightly/{run_id}/{name}"


def ask_for_counts(
    name: str, model_name: str, run_id: str, settings: Settings, *, large: bool, instances: int
) -> "sdk.TransformJob":
    """Start the job whose manifest lies in its folder; fewer photos at once where they are large."""
    folder = folder_of(name, run_id, settings)
    source = sdk.TransformS3DataSource(s3_data_type="ManifestFile", s3_uri=f"{folder}/photos.manifest")
    return sdk.TransformJob.create(
        transform_job_name=name,
        model_name=model_name,
        transform_input=sdk.TransformInput(
            data_source=sdk.TransformDataSource(s3_data_source=source), content_type="image/jpeg"
        ),
        transform_output=sdk.TransformOutput(s3_output_path=f"{folder}/out", accept="application/json"),
        transform_resources=sdk.TransformResources(instance_type=settings.transform_instance, instance_count=instances),
        batch_strategy="SingleRecord",
        max_concurrent_transforms=LARGE_AT_ONCE if large else SMALL_AT_ONCE,
        max_payload_in_mb=LARGE_MB if large else SMALL_MB,
        tags=tags(run_id),
    )


def _status(job: "sdk.TransformJob") -> str:
    return str(job.transform_job_status)


def _manifest(chunk: Chunk, photos: Sequence[NightPhoto], run_id: str, settings: Settings) -> list[Any]:
    """Name the photos, or copies of them where their keys have what a manifest cannot carry safely."""
    if chunk.copied:
        return [{"prefix": f"{copies_uri(run_id, settings)}/"}, *map(copy_name, photos)]
    return [{"prefix": f"s3://{photos[0].bucket}/"}, *(photo.key for photo in photos)]


def _output(chunk: Chunk, photo: NightPhoto) -> str:
    return f"{copy_name(photo)}.out" if chunk.copied else f"{photo.key}.out"


def read_answers(uri: str, photos: dict[str, str]) -> dict[str, Prediction]:
    """Read the predictions below a prefix; ``photos`` says which output is whose. Others are left alone."""
    return asyncio.run(_read_answers(uri, photos))


async def _read_answers(uri: str, photos: dict[str, str]) -> dict[str, Prediction]:
    store = open_store(uri)
    found: dict[str, Prediction] = {}
    names = iter(photos)

    async def reader() -> None:
        for name in names:
            try:
                with transfer_errors(f"{uri}/{name}"):
                    body = await (await obstore.get_async(store, name)).bytes_async()
                found[photos[name]] = Prediction.from_json(bytes(body))
            except (FileNotFoundError, DeploymentError):
                continue  # no answer, or none of ours: the photo is left over

    await asyncio.gather(*(reader() for _ in range(IN_FLIGHT)))
    return found


def _look_at(photos: Sequence[NightPhoto]) -> dict[str, Outcome]:
    """Which of the photos that a job left over no job can count: nobody can read them, or S3 does not give them.

    Whether one is unreadable is judged by the decoder that serving uses.
    """
    client, patience = s3_client(), Patience()

    def look(photo: NightPhoto) -> Outcome | None:
        if patience.over:
            return None
        try:
            outcome = _seen(read_object(client, photo.bucket, photo.key, photo.etag))
        except FileNotFoundError:
            outcome = Outcome(status="unreadable", reason=GONE)
        except ForbiddenObjectError as error:
            outcome = Outcome(status="uncounted", reason=str(error))
        except TransferError as error:
            patience.unanswered(error)
            return None  # nobody knows: the next job tries it
        patience.answered()
        return outcome

    with ThreadPoolExecutor(LOOKERS) as pool:
        looked = zip(photos, pool.map(look, photos), strict=True)
        return {photo.photo: outcome for photo, outcome in looked if outcome is not None}


def _seen(body: bytes) -> Outcome | None:
    try:
        decode(body, 32)
    except PhotoError as error:
        return Outcome(status="unreadable", reason=str(error))
    return None
