"""Normalisation over the batches of all processes together, so that several train as one would.

PyTorch's own SyncBatchNorm is for GPUs only; there it is used.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are of all processes' batches."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training:
            return super().forward(input)
        values = (
            input if input.dtype.itemsize >= 4 else input.float()
        )  # sums in half precision would lose what they add
        pixels = values.new_tensor([values[:, 0].numel()])
        total = _sum(torch.cat((values.sum((0, 2, 3)), pixels)))
        mean, count = total[:-1] / total[-1], total[-1]
        centred = values - mean.view(
            1, -1, 1, 1
        )  # before squaring: the difference of two large sums has no digits left
        variance = _sum((centred * centred).sum((0, 2, 3))) / count
        self._follow(mean.detach(), (variance * count / (count - 1)).detach())
        scale = (self.weight * torch.rsqrt(variance + self.eps)).view(1, -1, 1, 1)
        normalised: Tensor = centred * scale + self.bias.view(1, -1, 1, 1)
        return normalised.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None  # noqa: S101
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


def synchronised(model: nn.Module) -> nn.Module:
    """The model with its normalisation layers, parameters and buffers kept, joined over the processes."""
    if dist.get_backend() == "nccl":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SyncBatchNorm2d
    return model
