"""What the network should answer for a photo: a distribution over its outputs."""

import torch
from torch import Tensor

from training.outputs import Outputs


def soft_targets(counts: Tensor, outputs: Outputs, sigma: float) -> Tensor:
    """The target distribution of each photo.

    Args:
        counts: true counts, shape (N,), all of them covered by the outputs.
        outputs: what the network's outputs stand for.
        sigma: with 0 all of the target is on the true count; above, neighbours get a share, as a normal
            distribution of this width around the true count has it: taking 3 for 4 is a smaller mistake than
            taking 1 for 4.

    Returns:
        shape (N, outputs), rows sum to one.
    """
    values = torch.tensor(outputs.counts, device=counts.device)
    distance = (values[None] - counts.clamp(max=outputs.counts[-1])[:, None]).float()
    if sigma == 0:
        return (distance == 0).float()
    likelihood = torch.exp(-(distance**2) / (2 * sigma**2))
    return likelihood / likelihood.sum(dim=1, keepdim=True)
