"""Is this a whole photo? Decoding says."""

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from training.errors import PhotoError

MOST_PIXELS = 50_000_000
"""A picture of more pixels is not decoded: it isn't a photo of a bin, but may be a decompression bomb."""

_SOI = b"\xff\xd8\xff"
_SHRINK = 8


class BadPhotoError(Exception):
    """A photo that can't be used; ``reason`` is one word for the catalog."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class PhotoSize:
    """Width and height in pixels."""

    width: int
    height: int


def check_jpeg(body: bytes) -> PhotoSize:
    """Decode a JPEG once, to its last row, and return its size.

    The picture is decoded at an eighth of its size, in grey, which reads all of the coded data but skips most of the
    arithmetic: a cut or damaged file fails as it does at full size, several times sooner. libjpeg-turbo does so
    without a detour through Python; where it has the least to complain about, Pillow judges, as training will.

    Raises:
        BadPhotoError: it is empty, no JPEG, too large, or cut short.
    """
    if not body:
        raise BadPhotoError("empty", "no bytes")
    if not body.startswith(_SOI):
        raise BadPhotoError("not_jpeg", f"starts with {body[:4].hex()}")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(body)
        _refuse_bombs(width, height)
        simplejpeg.decode_jpeg(body, "GRAY", True, True, 1, 1, _SHRINK)
    except ValueError:
        return _check_with_pillow(body)
    return PhotoSize(width, height)


@contextlib.contextmanager
def photo_errors(path: Path) -> Iterator[None]:
    """Say which photo it is that training could not read, although it is whole.

    Raises:
        PhotoError: with the photo's path, and what to do.
    """
    try:
        yield
    except PhotoError as error:
        raise PhotoError(f"{path} cannot be used: {error}. Leave {path.stem} out of the file list.") from error


def _check_with_pillow(body: bytes) -> PhotoSize:
    try:
        # Not Image.open: its bound on pixels is a warning that is global to the process; ours is below.
        picture = JpegImageFile(io.BytesIO(body))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise BadPhotoError("not_jpeg", str(error)) from error
    with picture:
        width, height = picture.size
        _refuse_bombs(width, height)
        try:
            picture.draft("RGB", (max(1, width // _SHRINK), max(1, height // _SHRINK)))
            picture.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise BadPhotoError("truncated", str(error)) from error
    return PhotoSize(width, height)


def _refuse_bombs(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadPhotoError("too_large", f"{width}x{height} pixels")
