"""Photos, and archives of models small enough for any test."""

import io
from pathlib import Path

import torch
from PIL import Image

from tasks.code_archive import pack, serving_code
from training import model
from training.files import CARD_FILE, WEIGHTS_FILE

CLASSES = (1, 2, 3, 4, 5)


def picture(size: tuple[int, int] = (90, 60), seed: int = 0) -> Image.Image:
    """A smooth picture that no turning or mirroring leaves as it is."""
    torch.manual_seed(seed)
    small = Image.fromarray(torch.randint(0, 255, (6, 9, 3), dtype=torch.uint8).numpy())
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def save_model(folder: Path, seed: int = 0, version: str = "v7", **card: object) -> Path:
    """An untrained ResNet-18 for 64-pixel photos; its answers differ from photo to photo."""
    torch.manual_seed(seed)
    network = model.net("resnet18", len(CLASSES)).eval()
    torch.nn.init.normal_(model.head(network, "resnet18").weight, std=0.4)
    backbone = model.BACKBONES["resnet18"]
    values = {"backbone": "resnet18", "classes": CLASSES, "input_size": 64, "mean": backbone.mean, "std": backbone.std}
    model.save(network, model.ModelCard(**values, version=version, **card), folder)  # type: ignore[arg-type]
    return folder


def archive(folder: Path, **files: bytes) -> bytes:
    """A ``model.tar.gz`` of a saved model with the real serving code, or with some of its files replaced."""
    content = {name: (folder / name).read_bytes() for name in (WEIGHTS_FILE, CARD_FILE)}
    return pack(content | serving_code() | files)
