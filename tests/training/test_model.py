"""A network that is loaded to predict answers what it answered when it was trained; what is none is refused."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import ModelError
from training.files import WEIGHTS_FILE
from training.model import BACKBONES, ModelCard, load, net, save


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_loaded_network_answers_as_before_without_its_normalisations(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = net(backbone).eval()
    for layer in trained.modules():
        if isinstance(layer, nn.BatchNorm2d):  # a new one changes nothing, which would hide what folding does
            for values, low, high in (
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 2.0),
                (layer.weight, 0.7, 1.4),
                (layer.bias, -0.2, 0.2),
            ):
                assert values is not None
                nn.init.uniform_(values, low, high)
    save(trained, ModelCard(backbone, (1, 2, 3, 4, 5), 96, (0.5,) * 3, (0.5,) * 3), tmp_path)
    loaded, _ = load(tmp_path)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in loaded.modules())
    photos = torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(photos), trained(photos), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps([1, 2]), b"PK\x03\x04half"])
def test_a_damaged_weights_file_is_named(content: bytes, tmp_path: Path) -> None:
    weights = tmp_path / WEIGHTS_FILE
    save(nn.Linear(1, 1), ModelCard("resnet18", (1, 2, 3), 96, (0.5,) * 3, (0.5,) * 3), tmp_path)
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{WEIGHTS_FILE} are not those of resnet18"):
        net("resnet18", weights=weights)
    with pytest.raises(ModelError, match=rf"{WEIGHTS_FILE} does not fit resnet18"):
        load(tmp_path)
