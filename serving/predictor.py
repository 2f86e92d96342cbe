"""The client: photos in, typed predictions out."""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from serving.prediction import Prediction
from training.errors import DeploymentError, PhotoError, RequestError

Photo = str | Path | bytes | Image.Image


class ImagePredictor:
    """Asks an endpoint how many objects are in a bin.

    Throttling and server errors are retried by boto3's standard mode.

    Example:
        >>> predictor = ImagePredictor("binventory")
        >>> predictor.predict("bin.jpg").count
        3
    """

    def __init__(self, endpoint_name: str, *, concurrency: int = 4) -> None:
        """Make a client.

        Args:
            endpoint_name: of the SageMaker endpoint.
            concurrency: requests in flight in `predict_many`.
        """
        self.endpoint_name = endpoint_name
        self._concurrency = concurrency
        self._client = boto3.client(
            "sagemaker-runtime",
            config=Config(
                retries={"mode": "standard", "max_attempts": 5},
                max_pool_connections=concurrency,
                read_timeout=70,
            ),
        )

    def predict(self, photo: Photo) -> Prediction:
        """Count one photo, given as a path, bytes, or a PIL image.

        Raises:
            PhotoError: the path holds no photo.
            RequestError: the endpoint refuses the photo, and says why.
            DeploymentError: the endpoint is absent or cannot answer.
        """
        body = _body(photo)
        kind = "image/png" if body.startswith(b"\x89PNG") else "image/jpeg"
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self.endpoint_name, ContentType=kind, Accept="application/json", Body=body
            )
        except ClientError as error:
            raise _explained(error, self.endpoint_name) from error
        return Prediction.from_json(answer["Body"].read())

    def predict_many(self, photos: Iterable[Photo]) -> list[Prediction]:
        """Count several photos, some at a time; in their order.

        Raises:
            PhotoError, RequestError, DeploymentError: as `predict`, for the first that fails.
        """
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(self.predict, photos))


def _body(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, Image.Image):
        buffer = io.BytesIO()
        photo.convert("RGB").save(buffer, "PNG")  # lossless: the model sees what the caller has
        return buffer.getvalue()
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise PhotoError(f"{photo} cannot be read: {error.strerror}") from error


def _explained(error: ClientError, endpoint: str) -> RequestError | DeploymentError:
    response = error.response
    status = int(response.get("OriginalStatusCode", 0))  # type: ignore[call-overload]
    if 400 <= status < 500:
        return RequestError(str(response.get("OriginalMessage", error)), status)
    return DeploymentError(f"endpoint {endpoint} did not answer: {error}")
