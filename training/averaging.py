"""A moving average of the weights: steadier than the weights themselves, and what is measured and saved."""

import copy

import torch
from torch import nn


class WeightAverage:
    """Follows a network's weights and statistics.

    Attributes:
        model: the averaged network, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the network as it is; ``decay`` is the share of the average that a step keeps, in the end."""
        self._decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = [(mine, theirs) for mine, theirs in zip(_tensors(self.model), _tensors(model), strict=True)]
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; the first steps count for more, so that the start is soon forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, value in self._others:
            average.copy_(value)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
