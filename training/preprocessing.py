"""From the bytes of a photo to the tensor that the network sees.

Training, serving and batch inference all come through here, so that none of them can drift apart.
"""

import io

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from training.errors import PhotoError

FORMATS = ("JPEG", "PNG")
MAX_BYTES = 20 * 1024**2
MAX_PIXELS = 50_000_000


def decode(data: bytes, size: int) -> Image.Image:
    """Decode a JPEG or PNG into an upright RGB picture, no smaller than ``size`` unless it was.

    Raises:
        PhotoError: not a picture, cut short, or larger than we decode (20 MiB, 50 megapixels).
    """
    if len(data) > MAX_BYTES:
        raise PhotoError(f"the photo has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PhotoError(f"the photo is {width}x{height}; at most {MAX_PIXELS:,} pixels are decoded")
            image.draft("RGB", (size, size))  # lets the JPEG decoder skip detail that the resize throws away
            return _to_rgb(ImageOps.exif_transpose(image))
    except PhotoError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PhotoError(f"not a whole JPEG or PNG: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale; a plain convert would clip it to white
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def to_pixels(data: bytes, size: int) -> Tensor:
    """Decode a photo and squash it to a square, as ABID's published squashes are.

    Returns:
        uint8 tensor of shape (3, size, size).

    Raises:
        PhotoError: as `decode`.
    """
    image = decode(data, size)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels: Tensor = pil_to_tensor(image)
    return pixels


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
