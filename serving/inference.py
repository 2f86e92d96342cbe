"""The handlers that SageMaker's PyTorch inference container calls: one photo in, one count out.

It goes into ``code/`` of ``model.tar.gz`` together with `MODULES`, the few files of ours that it imports.
"""

import base64
import binascii
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from serving.prediction import Prediction
from training.errors import PhotoError
from training.model import ModelCard, load, net, probabilities
from training.picture import MAX_BYTES
from training.preprocessing import normalise, to_pixels

try:
    from sagemaker_inference.errors import BaseInferenceToolkitError
except ImportError:  # outside AWS's container

    class BaseInferenceToolkitError(Exception):  # type: ignore[no-redef]
        """The container's own class, by name: its web server answers with the status that it carries."""

        def __init__(self, status_code: int, message: str, phrase: str) -> None:
            super().__init__(message)
            self.status_code, self.message, self.phrase = status_code, message, phrase


__all__ = ["MODULES", "Model", "input_fn", "model_fn", "net", "output_fn", "predict_batch", "predict_fn"]

MODULES = (
    "serving/__init__.py",
    "serving/prediction.py",
    "training/__init__.py",
    "training/errors.py",
    "training/model.py",
    "training/outputs.py",
    "training/picture.py",
    "training/preprocessing.py",
)
IMAGES = ("image/jpeg", "image/png")
JSON = "application/json"


class Refusal(BaseInferenceToolkitError):  # type: ignore[misc]
    """A request that is refused, as the container understands it; the status says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message, {400: "Bad Request", 406: "Not Acceptable"}.get(status, "Refused"))


class Model:
    """A network with the card that says how to use it."""

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        self.network, self.card = network, card

    def pixels(self, photo: bytes) -> Tensor:
        """Decode a photo to uint8 (3, size, size).

        Raises:
            PhotoError: it cannot be read.
        """
        return to_pixels(photo, self.card.input_size)


def model_fn(model_dir: str) -> Model:
    """Load ``model.pth`` and ``model.json``.

    Raises:
        ModelError: they are absent, or do not fit each other.
    """
    return Model(*load(Path(model_dir)))


def input_fn(body: bytes | str, content_type: str) -> bytes:
    """Take the photo out of a request: the body itself, or the base64 field ``image`` of a JSON object.

    Raises:
        Refusal: 400 when the body is not what its type says, 415 for other types.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in IMAGES and isinstance(body, bytes):
        return body
    if kind == JSON:
        return _from_json(body)
    raise Refusal(415, f"content type {content_type!r} is not one of {', '.join((*IMAGES, JSON))}")


def _from_json(body: bytes | str) -> bytes:
    if len(body) > 2 * MAX_BYTES:
        raise Refusal(400, f"the body has {len(body):,} bytes; at most {2 * MAX_BYTES:,} are read")
    try:
        photo = base64.b64decode(json.loads(body)["image"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Refusal(400, f'expected {{"image": "<base64 of a JPEG or PNG>"}}: {error!r}') from error
    return photo


def predict_fn(photo: bytes, model: Model) -> Prediction:
    """Count one photo.

    Raises:
        Refusal: 400 when the photo cannot be read.
    """
    try:
        return predict_batch(model.pixels(photo)[None], model)[0]
    except PhotoError as error:
        raise Refusal(400, str(error)) from error


def predict_batch(pixels: Tensor, model: Model) -> list[Prediction]:
    """Count a batch; pixels are uint8 of shape (N, 3, size, size)."""
    card = model.card
    with torch.inference_mode():
        inputs = normalise(pixels, card.mean, card.std)
        rows, outside = card.outputs.answers(probabilities(model.network, inputs, card.test_flip))
    return [
        Prediction.from_probabilities(card.classes, row, card.version, beyond)
        for row, beyond in zip(rows.tolist(), outside.tolist(), strict=True)
    ]


def output_fn(prediction: Prediction, accept: str) -> tuple[str, str]:
    """Write the answer as JSON, on one line.

    Raises:
        Refusal: 406 when the client accepts something else only.
    """
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not accepted & {JSON, "application/*", "*/*", ""}:
        raise Refusal(406, f"only {JSON} is answered, not {accept!r}")
    return json.dumps(prediction.to_dict()) + "\n", JSON
