"""Small pictures for the report, made many at a time."""

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from tasks.nightly.photos import read_object, s3_client
from training.errors import PhotoError, SourceError, TransferError
from training.picture import decode

SIDE = 220
_READERS = 16


def thumbnails(photos: Iterable[Any]) -> dict[str, str]:
    """Return a small WebP of every photo as a ``data:`` URI; photos that cannot be shown are absent.

    Args:
        photos: anything with ``photo``, ``bucket``, ``key`` and ``etag``.
    """
    client = s3_client()

    def make(photo: Any) -> tuple[str, str | None]:
        try:
            return photo.photo, thumbnail(read_object(client, photo.bucket, photo.key, photo.etag))
        except (FileNotFoundError, PhotoError, SourceError, TransferError):
            return photo.photo, None  # the page says "no picture" in its place

    with ThreadPoolExecutor(_READERS) as pool:
        return {photo: picture for photo, picture in pool.map(make, photos) if picture}


def thumbnail(content: bytes) -> str:
    """Return a small WebP of a photo as a ``data:`` URI.

    Raises:
        PhotoError: it cannot be read.
    """
    picture = decode(content, SIDE)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    body = io.BytesIO()
    picture.save(body, "WEBP", quality=60, method=2)
    return "data:image/webp;base64," + base64.b64encode(body.getvalue()).decode()
