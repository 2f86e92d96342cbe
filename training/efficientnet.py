"""EfficientNet-Lite as the registry has it, with convolutions that take less time for the same result."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATISTICS_MOMENTUM = 0.1
"""Of batch normalisation. The published 0.01 suits millions of steps; in hundreds the statistics stay ImageNet's."""


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding.

    Padding that is the same on all sides is left to the convolution itself, which saves a copy of its input.

    On CPUs oneDNN has no quick gradient in bfloat16 for depthwise kernels with a stride, or wider than 3:
    ``benchmarks.bench_training`` shows it. Those are computed in float32 when a network trains in bfloat16.
    """

    def __init__(self, original: nn.Conv2d) -> None:
        """Take over an ``efficientnet_lite_pytorch`` convolution and its weights."""
        super().__init__(
            original.in_channels,
            original.out_channels,
            original.kernel_size,  # type: ignore[arg-type]
            tuple(original.stride),  # type: ignore[arg-type]
            groups=original.groups,
            bias=original.bias is not None,
            device="meta",  # nothing is drawn for weights that are replaced
        )
        self.weight, self.bias = original.weight, original.bias
        padding = getattr(original.static_padding, "padding", (0, 0, 0, 0))  # left, right, top, bottom
        same_on_all_sides = len(set(padding)) == 1
        self.padding = (padding[0], padding[0]) if same_on_all_sides else (0, 0)
        self.uneven_padding = () if same_on_all_sides else padding
        self.slow_in_bfloat16 = self.groups > 1 and (max(self.stride) > 1 or max(self.kernel_size) > 3)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        padded = F.pad(input, self.uneven_padding) if self.uneven_padding else input
        if self.slow_in_bfloat16 and self.training and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(padded.to(self.weight.dtype))
        return super().forward(padded)


def efficientnet_lite(name: str) -> nn.Module:
    """Build one of the sizes, ``efficientnet-lite0`` for instance; its parameters are named as they always were."""
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name(name)
    model._dropout.p = 0.0  # type: ignore[union-attr]  # the head has its own
    for layer in list(model.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = STATISTICS_MOMENTUM
        for child_name, child in layer.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(layer, child_name, Convolution(child))
    return model
