"""The network, and the card that says how to use it."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.efficientnet import efficientnet_lite
from training.errors import ModelError
from training.files import CARD_FILE, WEIGHTS_FILE
from training.outputs import Outputs

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TENSORFLOW = ((127 / 255,) * 3, (128 / 255,) * 3)  # what EfficientNet-Lite was trained with

UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, pickle.PickleError)
"""What comes of loading a file that `torch.save` did not write, that was damaged since, or that holds other things."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """How to build one architecture, and the name of its last layer."""

    build: Callable[[], nn.Module]
    head: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _resnet(name: str) -> nn.Module:
    import torchvision  # as long an import as torch's, which only these need

    model: nn.Module = torchvision.models.get_model(name)
    return model


class Head(nn.Linear):
    """A last layer that leaves out a share of its inputs in training."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__(inputs, outputs)
        self.dropout = dropout

    def forward(self, input: Tensor) -> Tensor:
        """Logits of penultimate activations, shape (N, inputs)."""
        return super().forward(nn.functional.dropout(input, self.dropout, self.training))


BACKBONES = {
    "efficientnet_lite0": Backbone(partial(efficientnet_lite, "efficientnet-lite0"), "_fc", *TENSORFLOW),
    "resnet18": Backbone(partial(_resnet, "resnet18"), "fc", *IMAGENET),
    "resnet34": Backbone(partial(_resnet, "resnet34"), "fc", *IMAGENET),
    "resnet50": Backbone(partial(_resnet, "resnet50"), "fc", *IMAGENET),
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What stands in ``model.json``: everything besides the weights that using the model takes.

    Attributes:
        backbone: a key of `BACKBONES`.
        classes: the counts that are answered.
        extra_classes: counts that the network has outputs for besides; see `training.outputs`.
        test_flip: whether the answer is the mean over a photo and its mirror image.
        input_size: side of the square input, in pixels.
        mean: per channel, on the scale 0-1.
        std: per channel, on the scale 0-1.
        version: names this model in answers, logs and the ledger.
        data_digest: fingerprint of the data it was trained on.
        temperature: what the logits are divided by; fitted on the validation split by evaluation.
        tilt: what is added to the logits in range for each object more; fitted together with the temperature.
        precision: arithmetic of predictions, float32 or bfloat16.
        metrics: measured on the validation split.
        hyperparameters: what it was trained with.
        phases: seconds of the job by phase.
        versions: of the libraries it was trained with.
    """

    backbone: str
    classes: tuple[int, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    version: str = "unnamed"
    data_digest: str = ""
    extra_classes: tuple[int, ...] = ()
    test_flip: bool = False
    temperature: float = 1.0
    tilt: float = 0.0
    precision: str = "float32"
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    phases: dict[str, float] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def outputs(self) -> Outputs:
        """What the network's outputs stand for."""
        return Outputs(self.classes, self.extra_classes)


def net(
    backbone: str = "efficientnet_lite0", classes: int = 5, weights: Path | None = None, dropout: float = 0.0
) -> nn.Module:
    """Build the network: a backbone with a new last layer.

    Args:
        backbone: a key of `BACKBONES`.
        classes: number of outputs.
        weights: file with the backbone's pretrained state dict; None starts from random weights.
        dropout: share of the new layer's inputs that is left out in training.

    Returns:
        a module from float (N, 3, H, W) to logits (N, classes).

    Raises:
        ModelError: no such backbone, or the weights do not fit it.
    """
    if backbone not in BACKBONES:
        raise ModelError(f"no backbone named {backbone!r}; there are {', '.join(BACKBONES)}")
    model = BACKBONES[backbone].build()
    if weights is not None:
        try:
            model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except UNREADABLE as error:
            raise ModelError(f"the weights in {weights} are not those of {backbone}: {error}") from error
    last = head(model, backbone)
    setattr(model, BACKBONES[backbone].head, Head(last.in_features, classes, dropout))
    return model.to(memory_format=torch.channels_last)


def head(model: nn.Module, backbone: str) -> nn.Linear:
    """The last layer, the one that is always new; itself, where it stands alone on stored features."""
    if isinstance(model, Head):
        return model
    return cast(nn.Linear, getattr(model, BACKBONES[backbone].head))


def freeze(model: nn.Module, backbone: str) -> None:
    """Leave only the last layer trainable."""
    model.requires_grad_(False)
    head(model, backbone).requires_grad_(True)


def save(model: nn.Module, card: ModelCard, folder: Path) -> None:
    """Write ``model.pth`` and ``model.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / WEIGHTS_FILE)
    (folder / CARD_FILE).write_text(json.dumps(dataclasses.asdict(card), indent=2, sort_keys=True))


def load_card(folder: Path) -> ModelCard:
    """Read ``model.json``.

    Raises:
        ModelError: it is absent or not a model card; keys that a newer version added are refused too.
    """
    try:
        values = json.loads((folder / CARD_FILE).read_text())
        tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return ModelCard(**tuples)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / CARD_FILE} is not a model card: {error}") from error


def load(folder: Path) -> tuple[nn.Module, ModelCard]:
    """Load a saved model, ready to predict, and to nothing else: see `fold`.

    Raises:
        ModelError: a file is absent, or weights and card do not fit each other.
    """
    card = load_card(folder)
    model = net(card.backbone, len(card.outputs.counts))
    try:
        model.load_state_dict(torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        raise ModelError(f"{folder / WEIGHTS_FILE} does not fit {card.backbone}: {error}") from error
    return fold(model.eval()), card


def fold(model: nn.Module) -> nn.Module:
    """Move each batch normalisation into the convolution that is defined before it, in place.

    In all `BACKBONES` that is the one whose output it normalises. The answers are the same but for rounding, and come
    sooner, as `benchmarks.bench_serving` shows.
    """
    for layer in list(model.modules()):
        for (name, convolution), (next_name, normalisation) in pairwise(layer.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                setattr(layer, name, fuse_conv_bn_eval(convolution, normalisation))
                setattr(layer, next_name, nn.Identity())
    return model.to(memory_format=torch.channels_last)


@torch.inference_mode()
def probabilities(model: nn.Module, inputs: Tensor, test_flip: bool = False) -> Tensor:
    """Probability of each output; training, evaluation, serving and batch all come through here.

    Args:
        model: logits of normalised photos.
        inputs: normalised photos, shape (N, 3, H, W).
        test_flip: answer with the mean over each photo and its mirror image, as the model's card says.

    Returns:
        float32, shape (N, outputs), rows sum to one.
    """
    answer = torch.softmax(model(inputs).float(), dim=1)
    if not test_flip:
        return answer
    mirrored = inputs.flip(3).contiguous(memory_format=torch.channels_last)
    return (answer + torch.softmax(model(mirrored).float(), dim=1)) / 2
