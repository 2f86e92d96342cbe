"""Changes to a batch of photos that leave the count as it is.

No random crops: they cut objects out while the label stays. Written for whole batches, with values drawn
for each photo, because transforming photo by photo costs more than the network's own forward pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_DEGREES = 6.0
MAX_SHIFT = 0.04
MAX_ZOOM = 0.06
LIGHT = 0.2


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, tilt a little, and relight each photo.

    Args:
        pixels: normalised float, shape (N, 3, H, W).
        generator: source of randomness; its state is part of a checkpoint.

    Returns:
        the same shape and memory order.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(count, generator=generator).to(pixels.device)
        return low + (high - low) * drawn

    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = torch.deg2rad(uniform(-MAX_DEGREES, MAX_DEGREES))
    zoom = uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM)
    rows = (
        torch.stack((zoom * angle.cos() * flip, -zoom * angle.sin(), uniform(-MAX_SHIFT, MAX_SHIFT)), dim=1),
        torch.stack((zoom * angle.sin() * flip, zoom * angle.cos(), uniform(-MAX_SHIFT, MAX_SHIFT)), dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness = uniform(1 - LIGHT, 1 + LIGHT), uniform(-LIGHT, LIGHT)
    lit = moved * contrast.view(-1, 1, 1, 1) + brightness.view(-1, 1, 1, 1)
    return lit.contiguous(memory_format=torch.channels_last)
