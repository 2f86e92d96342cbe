"""Counting a night's photos by asking an endpoint about each."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.predictor import ImagePredictor
from tasks.nightly.outcomes import GONE, Outcome
from tasks.nightly.patience import Patience
from tasks.nightly.photos import NightPhoto, read_object, s3_client
from training.errors import DeploymentError, ForbiddenObjectError, PhotoError, RequestError, TransferError
from training.picture import decode

ASKERS = 16


def count_by_endpoint(photos: Sequence[NightPhoto], endpoint: str) -> dict[str, Outcome]:
    """Count photos by asking an endpoint about each, some at a time.

    A photo that gets no answer costs no other one its count. Where very many in a row get none, the endpoint or S3 is
    gone, and the rest stays uncounted without being asked for.
    """
    predictor = ImagePredictor(endpoint, concurrency=ASKERS)
    client, patience = s3_client(), Patience()

    def ask(photo: NightPhoto) -> Outcome:
        if patience.over:
            return Outcome(status="uncounted", reason=patience.over)
        try:
            body = read_object(client, photo.bucket, photo.key, photo.etag)
            outcome = _count(predictor, body)
        except FileNotFoundError:
            outcome = Outcome(status="unreadable", reason=GONE)
        except ForbiddenObjectError as error:
            outcome = Outcome(status="uncounted", reason=str(error))
        except (DeploymentError, TransferError) as error:
            patience.unanswered(error)
            return Outcome(status="uncounted", reason=str(error))
        patience.answered()
        return outcome

    with ThreadPoolExecutor(ASKERS) as pool:
        return dict(zip((photo.photo for photo in photos), pool.map(ask, photos), strict=True))


def _count(predictor: ImagePredictor, body: bytes) -> Outcome:
    try:
        return Outcome(status="counted", prediction=predictor.predict(body))
    except RequestError as error:
        return _refused(body, error)
    except PhotoError as error:
        return Outcome(status="uncounted", reason=str(error))


def _refused(body: bytes, error: RequestError) -> Outcome:
    """A photo that the endpoint refuses is unreadable for good only if our own decoder cannot read it either."""
    try:
        decode(body, 32)
    except PhotoError:
        return Outcome(status="unreadable", reason=str(error))
    return Outcome(status="uncounted", reason=f"the endpoint refuses it with status {error.status}: {error}")
