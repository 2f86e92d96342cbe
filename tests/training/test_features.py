"""Training on a frozen backbone's stored features is training on its photos, only quicker."""

import dataclasses
import tarfile
from pathlib import Path

import pytest
import torch

from tests.training.conftest import CLASSES
from training import compute_features, model
from training.distributed import World
from training.errors import TrainingError
from training.features import compute
from training.hyperparameters import Channels, preset
from training.job import run

FROZEN = preset("frozen", image_size=32, epochs=3, batch_size=16, lr=0.01, backbone="resnet18", classes=CLASSES)


@pytest.fixture
def stored(channels: Channels, tmp_path: Path) -> Channels:
    """The channels of a trial whose features a job has left in its archive, as SageMaker hands it on."""
    torch.manual_seed(FROZEN.seed)
    weights = model.net("resnet18", 1000).state_dict()
    (tmp_path / "weights").mkdir()
    torch.save(weights, tmp_path / "weights" / "resnet18.pth")
    channels = dataclasses.replace(channels, weights=tmp_path / "weights")
    file = compute(FROZEN, dataclasses.replace(channels, model=tmp_path / "computed"))
    (tmp_path / "features").mkdir()
    with tarfile.open(tmp_path / "features" / "model.tar.gz", "w:gz") as archive:
        archive.add(file, "features.pt")
    return dataclasses.replace(channels, features=tmp_path / "features")


def test_features_give_what_the_backbone_gives(stored: Channels, tmp_path: Path) -> None:
    on_photos = run(FROZEN, dataclasses.replace(stored, features=None))
    expected = torch.load(stored.model / "model.pth", weights_only=True)
    on_features = run(FROZEN, dataclasses.replace(stored, model=tmp_path / "other"))
    assert on_features.values == pytest.approx(on_photos.values, rel=1e-3)
    weights = torch.load(tmp_path / "other" / "model.pth", weights_only=True)
    assert weights.keys() == expected.keys()  # the whole network, ready to serve
    assert all(torch.allclose(weights[name], expected[name], atol=1e-3) for name in weights)


@pytest.mark.parametrize(
    "changes",
    [{"frozen": False}, {"augmentation": "full"}, {"mixup": 0.2}, {"test_flip": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_recipe_that_needs_the_photos_is_refused(stored: Channels, changes: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match="must be frozen"):
        run(dataclasses.replace(FROZEN, **changes), stored)  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_one_leaves_the_features(stored: Channels, tmp_path: Path, rank: int) -> None:
    compute_features.job(FROZEN, dataclasses.replace(stored, model=tmp_path / "again"), None, World(rank, 2))
    assert (tmp_path / "again" / "features.pt").exists() == (rank == 0)


def test_features_of_another_size_are_refused(stored: Channels) -> None:
    with pytest.raises(TrainingError, match="image_size 32, not 48"):
        run(dataclasses.replace(FROZEN, image_size=48), stored)


def test_damaged_features_are_named(stored: Channels) -> None:
    assert stored.features
    (stored.features / "model.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(TrainingError, match=r"model\.tar\.gz cannot be unpacked"):
        run(FROZEN, stored)
    (stored.features / "model.tar.gz").unlink()
    (stored.features / "features.pt").write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"features\.pt cannot be read"):
        run(FROZEN, stored)
    (stored.features / "features.pt").unlink()
    with pytest.raises(TrainingError, match=r"holds no features\.pt"):
        run(FROZEN, stored)
