"""From the bytes of a photo to the tensor that the network sees.

Training, serving and batch inference all come through here, so that none of them can drift apart.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.picture import decode, squash


def to_pixels(data: bytes, size: int) -> Tensor:
    """Decode a photo and squash it to a square, as ABID's published squashes are.

    Returns:
        uint8 tensor of shape (3, size, size).

    Raises:
        PhotoError: as `training.picture.decode`.
    """
    return squashed(decode(data, size), size)


def squashed(photo: Image.Image, size: int) -> Tensor:
    """Squash a decoded photo to a square.

    Returns:
        uint8 tensor of shape (3, size, size).
    """
    # As torchvision's pil_to_tensor does; importing that takes as long as importing torch, in every job and process.
    return torch.from_numpy(np.array(squash(photo, size))).permute(2, 0, 1)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale pixels to what the backbone was trained on.

    Args:
        pixels: uint8, shape (N, 3, H, W).
        mean: of each channel, on the scale 0-1.
        std: of each channel, on the scale 0-1.

    Returns:
        float32 in channels-last memory order, same shape.
    """
    shape = (1, -1, 1, 1)
    centre = torch.tensor(mean, device=pixels.device).view(shape) * 255
    spread = torch.tensor(std, device=pixels.device).view(shape) * 255
    return ((pixels.float() - centre) / spread).contiguous(memory_format=torch.channels_last)
