"""The handlers that SageMaker's PyTorch inference container calls: a photo in, a count out.

It goes into ``code/`` of ``model.tar.gz`` together with `MODULES`, the few files of ours that it imports.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from serving import answers, requests
from serving.batching import Batcher
from serving.prediction import Prediction
from serving.refusal import Refusal
from training.errors import LargePhotoError, ModelError, PhotoError
from training.model import ModelCard, load, net, probabilities
from training.outputs import tempered, tilted
from training.preprocessing import normalise, squashed, to_pixels

__all__ = ["MODULES", "Model", "Refusal", "input_fn", "model_fn", "net", "output_fn", "predict_batch", "predict_fn"]

MODULES = (
    "serving/__init__.py",
    "serving/answers.py",
    "serving/batching.py",
    "serving/fetching.py",
    "serving/prediction.py",
    "serving/refusal.py",
    "serving/requests.py",
    "training/__init__.py",
    "training/efficientnet.py",
    "training/errors.py",
    "training/files.py",
    "training/model.py",
    "training/outputs.py",
    "training/picture.py",
    "training/preprocessing.py",
)

CORES = torch.get_num_threads()  # read here, as threads that are made after a batch was computed are told of one


class Model:
    """A network with the card that says how to use it."""

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        self.network, self.card = network, card
        # A batch for each core, each on one thread, is quicker than one after another on all: no core waits for others.
        self.count_together = Batcher(self._count, at_once=CORES, prepare=partial(torch.set_num_threads, 1))

    def pixels(self, photo: bytes) -> Tensor:
        """Decode a photo to uint8 (3, size, size).

        Raises:
            PhotoError: it cannot be read.
        """
        return to_pixels(photo, self.card.input_size)

    def probabilities(self, pixels: Tensor, precision: str | None = None) -> Tensor:
        """What the network says before calibration.

        Args:
            pixels: uint8, shape (N, 3, size, size).
            precision: of the arithmetic; the card's where none is given.

        Returns:
            float32, shape (N, outputs), rows sum to one.
        """
        low = (precision or self.card.precision) == "bfloat16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            inputs = normalise(pixels, self.card.mean, self.card.std)
            return probabilities(self.network, inputs, self.card.test_flip)

    def answers(self, raw: Tensor) -> list[Prediction]:
        """Predictions made of what `probabilities` returned, calibrated by the card's temperature and tilt."""
        card = self.card
        inside, outside = card.outputs.answers(tempered(raw, card.temperature))
        rows = tilted(inside, card.classes, card.tilt)
        return [
            Prediction.from_probabilities(card.classes, row, card.version, beyond)
            for row, beyond in zip(rows.tolist(), outside.tolist(), strict=True)
        ]

    def _count(self, photos: list[Tensor]) -> list[Prediction]:
        return predict_batch(torch.stack(photos), self)


def model_fn(model_dir: str) -> Model:
    """Load ``model.pth`` and ``model.json``, and try them on a grey picture.

    Raises:
        ModelError: they are absent, do not fit each other, or give no numbers. The endpoint then never becomes
            healthy, and SageMaker leaves the model before it in place.
    """
    model = Model(*load(Path(model_dir)))
    size = model.card.input_size
    with torch.inference_mode():
        raw = model.probabilities(torch.full((1, 3, size, size), 127, dtype=torch.uint8))
    if not torch.isfinite(raw).all():
        raise ModelError(f"{model_dir}: the network's answers are not numbers; its weights are broken")
    return model


def input_fn(body: bytes | bytearray | str, content_type: str) -> requests.Photos:
    """Take the photos out of a request; see `serving.requests.read`.

    Raises:
        Refusal: the request is refused, with the status that says why.
    """
    return requests.read(body, content_type)


def predict_fn(photos: requests.Photos, model: Model) -> answers.Answer:
    """Count one photo, or a batch; requests that come at the same time share one pass of the network.

    Raises:
        Refusal: 400 when a photo cannot be read, 413 when it is too large.
    """
    if isinstance(photos, bytes):
        try:
            pixels = model.pixels(photos)
        except PhotoError as error:
            raise Refusal(413 if isinstance(error, LargePhotoError) else 400, str(error)) from None
        return model.count_together([pixels])[0]
    size = model.card.input_size
    return model.count_together([squashed(photo, size) for photo in photos])


def predict_batch(pixels: Tensor, model: Model) -> list[Prediction]:
    """Count a batch; pixels are uint8 of shape (N, 3, size, size)."""
    return model.answers(model.probabilities(pixels))


def output_fn(answer: answers.Answer, accept: str) -> tuple[str, str]:
    """Write the answer as JSON, JSON lines or CSV; see `serving.answers.write`.

    Raises:
        Refusal: 406 when the client accepts something else only.
    """
    return answers.write(answer, accept)
