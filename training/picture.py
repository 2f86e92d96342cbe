"""From the bytes of a photo to a picture of the size that is wanted.

It needs Pillow only, so that the data stage packs photos exactly as training and serving see them, without torch.
"""

import io
import struct
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError

from training.errors import PhotoError

FORMATS = ("JPEG", "PNG")
MAX_BYTES = 20 * 1024**2
MAX_PIXELS = 50_000_000
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)  # what Pillow's readers raise on hostile bytes


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
    except UnidentifiedImageError as error:  # its own message has an address of memory in it
        raise PhotoError("not a whole JPEG or PNG: the format is not known") from error
    except _BROKEN as error:
        raise PhotoError(f"not a whole JPEG or PNG: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale; a plain convert would clip it to white
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def squash(image: Image.Image, size: int) -> Image.Image:
    """Resize a picture to a square, whatever its shape, as ABID's published squashes are."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)
