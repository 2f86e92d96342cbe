"""From the bytes of a photo to a picture of the size that is wanted.

It needs Pillow only, so that the data stage packs photos exactly as training and serving see them, without torch.
"""

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, UnidentifiedImageError

from training.errors import LargePhotoError, PhotoError

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpg", ".jpeg", ".png")
"""How names of files with such photos end, in lower case."""

MAX_BYTES = 20 * 1024**2
MAX_PIXELS = 50_000_000
LARGE = 2_000_000
"""Pixels above which memory is looked after: threads decode `MAX_PIXELS` of such pictures together, not more."""
_ROWS = 256
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation."""
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
)  # what Pillow's readers raise on hostile bytes


def decode(data: bytes, size: int) -> Image.Image:
    """Decode a JPEG or PNG into an upright RGB picture, no smaller than ``size`` unless it was.

    Raises:
        PhotoError: not a picture, or cut short.
        LargePhotoError: larger than we decode (20 MiB, 50 megapixels).
    """
    if len(data) > MAX_BYTES:
        raise LargePhotoError(f"the photo has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise LargePhotoError(f"the photo is {width}x{height}; at most {MAX_PIXELS:,} pixels are decoded")
            image.draft("RGB", (size, size))  # lets the JPEG decoder skip detail that the resize throws away
            with _room(width * height):
                image.load()  # a PNG's orientation may stand behind its pixels
                turn = turn_of(image)
                picture = _to_rgb(image) if image.width * image.height <= LARGE else _reduced(image, size)
                return picture if turn is None else picture.transpose(turn)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, which only a picture beyond ours can meet
        raise LargePhotoError(f"at most {MAX_PIXELS:,} pixels are decoded: {error}") from error
    except UnidentifiedImageError as error:  # its own message has an address of memory in it
        raise PhotoError("not a whole JPEG or PNG: the format is not known") from error
    except _BROKEN as error:
        raise PhotoError(f"not a whole JPEG or PNG: {error}") from error


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes a loaded picture upright, by its EXIF data; where those are unusable, it counts as upright.

    Not Pillow's exif_transpose: it also writes all other tags anew, which fails on a photo that has an odd one.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except _BROKEN:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale; a plain convert would clip it to white
        image = image.point(lambda value: value / 256).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _reduced(image: Image.Image, size: int) -> Image.Image:
    """An RGB picture, at least twice ``size`` where it was; strips are converted, so that no copy is whole."""
    factor = max(1, min(image.size) // (2 * size))
    rows = factor * max(1, _ROWS // factor)
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    return small


class _Room:
    """Lets threads decode large pictures together as long as there is room for all their pixels."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self.clear()
        os.register_at_fork(after_in_child=self.clear)  # the threads that would leave it are not in the child

    def clear(self) -> None:
        """As if no picture were being decoded."""
        self._left, self._turn, self._changed = self._pixels, threading.Lock(), threading.Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        if pixels <= LARGE:
            yield
            return
        with self._turn, self._changed:  # in turn, so that none waits for ever while smaller ones pass
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


_room = _Room(MAX_PIXELS)


def squash(image: Image.Image, size: int) -> Image.Image:
    """Resize a picture to a square, whatever its shape, as ABID's published squashes are."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)
