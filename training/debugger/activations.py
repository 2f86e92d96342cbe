"""What activations tell about a layer's health: which units never fire, and which are stuck at an end.

Recorded for each unit (a channel, or a feature) rather than for each value: a rule then needs a few kilobytes where
the outputs themselves would be hundreds of megabytes.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)

# AWS's defaults of SaturatedActivation: beyond these inputs, the output is one in float32.
TANH = (-9.4999, 9.4999)
SIGMOID = (-23.0, 16.99999)


class Activations:
    """Measures the activation layers of one forward pass."""

    def look(self, module: nn.Module, name: str, inputs: Any, outputs: Any, call: int) -> Iterator[tuple[str, Tensor]]:
        """What there is to record of one call of a module.

        Yields:
            a tensor's name and its value, percentages of shape (units,): how often a rectifier's unit is above
            zero, or how often the input of a tanh's or sigmoid's unit is within its range.
        """
        if isinstance(module, RECTIFIERS):
            yield f"activity/{name}.relu_output_{call}", percent(outputs.detach() > 0)
            return
        for kind, label, (low, high) in ((nn.Tanh, "tanh", TANH), (nn.Sigmoid, "sigmoid", SIGMOID)):
            if isinstance(module, kind):
                given = inputs[0].detach()
                yield f"saturation/{name}.{label}_input_{call}", percent((given > low) & (given < high))


def percent(where: Tensor) -> Tensor:
    """Percentage of the values of each unit for which ``where`` holds; units are the second dimension."""
    over = [dimension for dimension in range(where.ndim) if dimension != 1] if where.ndim > 1 else [0]
    return (where.float().mean(dim=over) * 100).half()  # bytes: there are thousands of units
