"""Changes to a batch of photos that leave the count as it is, and the mixing of two photos with their counts.

No crops: they cut objects out while the label stays. A photo is rather shrunk, differently in width and height,
with its border drawn out. Written for whole batches, with values drawn for each photo, because transforming photo
by photo costs more than the network's own forward pass.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("none", "flip", "full")

MAX_DEGREES = 8.0
MAX_SHIFT = 0.04
MAX_SHEAR = 0.05
ZOOM = (-0.06, 0.15)  # of the sampled window: above zero the photo shrinks
CONTRAST = (0.75, 1.3)
BRIGHTNESS = 0.25
COLOUR = 0.08
GRAY_SHARE = 0.1

_DRAWS = 10


def draw(photos: int, generator: torch.Generator) -> Tensor:
    """Random values for so many photos, shape (photos, 13): ten uniform on 0-1, three normal.

    They are drawn apart from their use, so that processes that share a batch see the same changes as one that
    has it all.
    """
    uniform = torch.rand(photos, _DRAWS, generator=generator)
    return torch.cat((uniform, torch.randn(photos, 3, generator=generator)), dim=1)


def augment(pixels: Tensor, draws: Tensor, kind: str = "full", strength: float = 1.0) -> Tensor:
    """Flip each photo or not, and with ``full`` tilt, shrink, shear and shift it a little, and change its light.

    Args:
        pixels: normalised float, shape (N, 3, H, W).
        draws: what `draw` gave for these photos.
        kind: one of `KINDS`.
        strength: multiplies the changes of shape, except the flip.

    Returns:
        the same shape, channels last.
    """
    if kind == "none":
        return pixels
    draws = draws.to(pixels.device)
    flipped = draws[:, 0] < 0.5
    if kind == "flip":
        turned = torch.where(flipped.view(-1, 1, 1, 1), pixels.flip(3), pixels)
        return turned.contiguous(memory_format=torch.channels_last)
    moved = F.grid_sample(
        pixels, _grid(draws, flipped, strength, list(pixels.shape)), padding_mode="border", align_corners=False
    )
    return _relit(moved, draws).contiguous(memory_format=torch.channels_last)


def _grid(draws: Tensor, flipped: Tensor, strength: float, shape: list[int]) -> Tensor:
    def spread(column: int, low: float, high: float) -> Tensor:
        return low + (high - low) * draws[:, column]

    side = torch.where(flipped, -1.0, 1.0)
    angle = torch.deg2rad(strength * spread(1, -MAX_DEGREES, MAX_DEGREES))
    width, height = (1 + strength * spread(column, *ZOOM) for column in (2, 3))
    shear = strength * spread(4, -MAX_SHEAR, MAX_SHEAR)
    right, down = (spread(column, -MAX_SHIFT, MAX_SHIFT) for column in (5, 6))
    rows = (
        torch.stack((width * angle.cos() * side, -width * angle.sin() + shear, right), dim=1),
        torch.stack((height * angle.sin() * side, height * angle.cos(), down), dim=1),
    )
    return F.affine_grid(torch.stack(rows, dim=1), shape, align_corners=False)


def _relit(pixels: Tensor, draws: Tensor) -> Tensor:
    gray = (draws[:, 7] < GRAY_SHARE).view(-1, 1, 1, 1)
    contrast = (CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * draws[:, 8]).view(-1, 1, 1, 1)
    brightness = (BRIGHTNESS * (2 * draws[:, 9] - 1)).view(-1, 1, 1, 1)
    colour = COLOUR * draws[:, _DRAWS:, None, None]
    return torch.where(gray, pixels.mean(1, keepdim=True), pixels) * contrast + brightness + colour


def mixing_share(alpha: float, seed: int, step: int) -> float:
    """How much of itself a photo keeps when it is mixed, at least half; the same for a step, whoever asks."""
    share = float(np.random.default_rng([seed, step]).beta(alpha, alpha))
    return max(share, 1 - share)


def mix(values: Tensor, share: float) -> Tensor:
    """Mix each of a batch with its opposite in it: the first with the last, and so on."""
    return share * values + (1 - share) * values.flip(0)
