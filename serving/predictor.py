"""The client: photos in, typed predictions out."""

import io
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, overload

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image

from serving.prediction import Prediction
from training.errors import DeploymentError, FaultyModelError, NoAnswerError, PhotoError, RequestError
from training.picture import turn_of

Photo = str | Path | bytes | Image.Image
Result = TypeVar("Result")

MAX_BODY = 6_291_456
"""What InvokeEndpoint takes, in bytes; 4 MB for a serverless endpoint, but a client cannot tell which is one."""
BUSY = (429, 503)
AHEAD = 4
"""Photos taken for each request in flight, so that a generator of many is never in memory as a whole."""
_ATTEMPTS = 6


class ImagePredictor:
    """Asks an endpoint how many objects are in a bin.

    Throttling, server errors and a model server whose queue is full are tried again, with growing, random pauses.

    Example:
        >>> predictor = ImagePredictor("binventory")
        >>> predictor.predict("bin.jpg").count
        3
        >>> [each.count for each in predictor.predict(["a.jpg", "https://photos.example.com/b.jpg"])]
        [2, 5]
    """

    def __init__(self, endpoint_name: str, *, concurrency: int = 4) -> None:
        """Make a client.

        Args:
            endpoint_name: of the SageMaker endpoint.
            concurrency: requests in flight when several photos are given.
        """
        self.endpoint_name = endpoint_name
        self._concurrency = concurrency
        self._client = boto3.client(
            "sagemaker-runtime",
            config=Config(
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                max_pool_connections=concurrency,
                read_timeout=70,
            ),
        )

    @overload
    def predict(self, photos: Photo) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is no list of photos
    @overload
    def predict(self, photos: Iterable[Photo]) -> list[Prediction]: ...

    def predict(self, photos: Photo | Iterable[Photo]) -> Prediction | list[Prediction]:
        """Count one photo, or several at a time, in their order.

        Args:
            photos: a path, the bytes of a JPEG or PNG, a PIL image, or an address (``https://…``, ``s3://…``) that
                the endpoint is to fetch from; or any number of these, which are taken as answers come.

        Raises:
            PhotoError: a path holds no photo, or one is too large to be sent.
            RequestError: the endpoint refuses a photo, and says why.
            FaultyModelError: the model fails at a photo, or its answer is no prediction.
            NoAnswerError: the connection broke.
            DeploymentError: the endpoint is absent or cannot answer, whatever its model is like.
        """
        if isinstance(photos, str | Path | bytes | Image.Image):
            return self._ask(photos)
        answers: list[Prediction] = []
        asked: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="predict") as pool:
            try:
                for photo in photos:
                    if len(asked) == AHEAD * self._concurrency:
                        answers.append(asked.popleft().result())
                    asked.append(pool.submit(self._ask, photo))
                answers.extend(each.result() for each in asked)
            finally:
                for each in asked:
                    each.cancel()
        return answers

    def _ask(self, photo: Photo) -> Prediction:
        body, kind = _request(photo)

        def once() -> bytes:
            answer = self._client.invoke_endpoint(
                EndpointName=self.endpoint_name, ContentType=kind, Accept="application/json", Body=body
            )
            return answer["Body"].read()

        try:
            return Prediction.from_json(_with_patience(once))
        except ClientError as error:
            if _is_oversize(error):
                raise _too_large(
                    photo, body, f"endpoint {self.endpoint_name} takes less, a serverless one 4 MB"
                ) from error
            raise _explained(error, self.endpoint_name) from error
        except BotoCoreError as error:
            raise NoAnswerError(f"endpoint {self.endpoint_name} did not answer: {error}") from error


def _request(photo: Photo) -> tuple[bytes, str]:
    """The body of a request and its content type."""
    if isinstance(photo, str) and photo.startswith(("https://", "http://")):
        return json.dumps({"url": photo}).encode(), "application/json"
    if isinstance(photo, str) and photo.startswith("s3://"):
        return json.dumps({"s3_uri": photo}).encode(), "application/json"
    body = _encoded(photo)
    if len(body) > MAX_BODY:
        raise _too_large(photo, body, f"an endpoint takes at most {MAX_BODY:,}")
    return body, "image/png" if body.startswith(b"\x89PNG") else "image/jpeg"


def _too_large(photo: Photo, body: bytes, limit: str) -> PhotoError:
    what = "the photo" if isinstance(photo, bytes | Image.Image) else str(photo)
    return PhotoError(f"{what} has {len(body):,} bytes; {limit}: make it smaller")


def _encoded(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, Image.Image):
        buffer = io.BytesIO()
        _for_png(_upright(photo)).save(buffer, "PNG")  # lossless: the model sees what the caller has
        return buffer.getvalue()
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise PhotoError(f"{photo} cannot be read: {error.strerror}") from error


def _upright(photo: Image.Image) -> Image.Image:
    """Turned as its EXIF says, which the PNG lacks."""
    photo.load()  # a PNG's orientation may stand behind its pixels
    turn = turn_of(photo)
    return photo if turn is None else photo.transpose(turn)


def _for_png(photo: Image.Image) -> Image.Image:
    """In a mode that PNG has."""
    if photo.mode.startswith("I"):  # 16-bit grayscale; a plain convert would clip it to white
        return photo.convert("I").convert("I;16")
    return photo if photo.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else photo.convert("RGB")


def _with_patience(once: Callable[[], Result]) -> Result:
    """Try again while the model's own server says that it is busy; boto3 does not know that answer."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return once()
        except ClientError as error:
            if _status(error) not in BUSY:
                raise
        time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - spreads callers, hides nothing
    return once()


def _status(error: ClientError) -> int:
    members: Mapping[str, Any] = error.response
    return int(members.get("OriginalStatusCode", 0))


def _is_oversize(error: ClientError) -> bool:
    """Whether the service itself refuses a body for its size, in the words of serverless and of other endpoints."""
    told = error.response["Error"]
    code = told.get("Code")
    return code == "413" or (code == "ValidationError" and "oversize body" in told.get("Message", ""))


def _explained(error: ClientError, endpoint: str) -> RequestError | DeploymentError:
    status = _status(error)
    if 400 <= status < 500:
        said = str(error.response.get("OriginalMessage", error))
        return RequestError(said.partition("\n")[0], status)  # AWS's toolkit adds a traceback
    failed = error.response["Error"].get("Code") == "ModelError" and status not in BUSY
    kind = FaultyModelError if failed else DeploymentError
    return kind(f"endpoint {endpoint} did not answer: {error}")
