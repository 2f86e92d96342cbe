"""Where pretrained weights come from, and what is said where they cannot come."""

from http.client import IncompleteRead
from pathlib import Path

import pytest

from tasks.weights import find_weights
from training.errors import ModelError
from training.model import BACKBONES


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_weights_or_says_how_to_get_them(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def out_of_reach(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", out_of_reach)
    if backbone == "efficientnet_lite0":
        assert find_weights(backbone).stat().st_size > 10_000_000
        return
    with pytest.raises(ModelError, match="cannot be fetched from https://") as refused:
        find_weights(backbone)
    assert str(tmp_path) in str(refused.value)
    assert "put the file at" in str(refused.value)


@pytest.mark.parametrize("damage", [RuntimeError("invalid hash value"), IncompleteRead(b"")])
def test_weights_that_arrive_damaged_are_said_to_be(
    damage: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise damage

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", damaged)
    with pytest.raises(ModelError, match="cannot be fetched from https://"):
        find_weights("resnet18")


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ModelError, match="no pretrained weights are known for 'alexnet'"):
        find_weights("alexnet")
